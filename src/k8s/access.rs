//! Asking the API server what we may do, so that a missing right is known before it is needed.

use std::time::Duration;

use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::wire;
use crate::model::Right;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MAX_BYTES: usize = 64 << 10;

/// Whether we have a right; an error says why that is not known.
pub async fn may(client: &Client, right: &Right) -> Result<bool, String> {
    let Right { verb, group, resource, subresource, namespace, name } = right;
    let asked = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": verb, "group": group, "resource": resource,
            "subresource": subresource, "namespace": namespace, "name": name}}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let request = wire::build(Method::POST, uri, "application/json", asked.to_string().into());
    let answered = async {
        let what = "create selfsubjectaccessreviews";
        let response = wire::send(client, request, what).await.map_err(|failure| failure.text)?;
        let body = wire::collect(response.into_body(), MAX_BYTES).await?;
        let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        body["status"]["allowed"].as_bool().ok_or_else(|| "an answer without `allowed`".to_owned())
    };
    let late = || Err(format!("no answer within {TIMEOUT:?}"));
    timeout(TIMEOUT, answered).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::fake::{Fake, FakeAnswer};

    #[tokio::test]
    async fn a_right_is_there_missing_or_unknown() {
        let right = Right::PATCH_POD_STATUS;
        let answers = [
            (FakeAnswer::json(201, r#"{"status":{"allowed":true}}"#), Ok(true)),
            (FakeAnswer::json(201, r#"{"status":{"allowed":false,"reason":"no"}}"#), Ok(false)),
            (FakeAnswer::json(201, "{}"), Err("without `allowed`")),
            (
                FakeAnswer::refusal(403, "no"),
                Err("forbidden: cannot create selfsubjectaccessreviews"),
            ),
            (FakeAnswer::Cut, Err("cannot create")),
        ];
        for (answer, want) in answers {
            let fake = Fake::start(vec![answer]).await;
            match (may(&fake.client(), &right).await, want) {
                (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
                (got, want) => assert_eq!(got, want.map_err(str::to_owned)),
            }
            let seen = &fake.seen()[0];
            assert_eq!(seen.uri, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
            let body: Value = serde_json::from_str(&seen.body).expect("JSON");
            let asked = &body["spec"]["resourceAttributes"];
            assert_eq!(
                (&asked["verb"], &asked["subresource"]),
                (&"patch".into(), &"status".into())
            );
        }
    }
}

//! The path of a kind in the API. For a kind without a fixed version, the newest version that serves the
//! resource is looked up.

use std::cmp::Reverse;

use bytes::Bytes;
use http::Method;
use kube::Client;
use serde::de::DeserializeOwned;

use super::kinds::Version;
use super::list_watch::WatchFailure;
use super::slim::{list, nullable};
use super::wire;
use crate::model::Kind;

/// Longest answer that is read.
const MAX_BYTES: usize = 4 << 20;

/// The path of a kind, without a look-up. `None` if there must be one.
pub(super) fn fixed_path(kind: Kind, version: Version) -> Option<String> {
    match version {
        Version::Fixed(version) => Some(path(kind, version)),
        Version::Newest => None,
    }
}

/// Looks the path of a kind up. The code of the error is 404 if no version serves the resource.
pub(super) async fn newest_path(client: &Client, kind: Kind) -> Result<String, WatchFailure> {
    let group = format!("/apis/{}", kind.group);
    let found: RawApiGroup = get(client, &group, kind).await?;
    let mut versions: Vec<String> = found.versions.into_iter().map(|it| it.version).collect();
    versions.sort_by_key(|it| Reverse(age(it)));
    for version in versions {
        match get::<RawResources>(client, &format!("{group}/{version}"), kind).await {
            Ok(found) if found.serves(kind.resource) => return Ok(path(kind, &version)),
            // A version that ends between the two answers serves nothing.
            Err(failure) if failure.code != Some(404) => return Err(failure),
            _ => {}
        }
    }
    let Kind { group, resource, .. } = kind;
    let text = format!("no version of {group} serves {resource}");
    Err(WatchFailure { code: Some(404), retry_after: None, text })
}

fn path(kind: Kind, version: &str) -> String {
    match kind.group {
        "" => format!("/api/{version}/{}", kind.resource),
        group => format!("/apis/{group}/{version}/{}", kind.resource),
    }
}

async fn get<T: DeserializeOwned>(
    client: &Client,
    uri: &str,
    kind: Kind,
) -> Result<T, WatchFailure> {
    let what = format!("discover {}", kind.name);
    let request = wire::build(Method::GET, uri, "application/json", Bytes::new());
    let response = wire::send(client, request, &what).await?;
    let broken =
        |why| WatchFailure { code: None, retry_after: None, text: format!("cannot {what}: {why}") };
    let body = wire::collect(response.into_body(), MAX_BYTES).await.map_err(broken)?;
    serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))
}

/// An order of versions in which a later one is greater, as in `k8s.io/apimachinery/pkg/version`: stable
/// before beta before alpha, then by number. Other texts are the oldest.
fn age(version: &str) -> (u8, u32, u32) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let (major, stage) = match rest.find(|it: char| !it.is_ascii_digit()) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (rank, minor) = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
            _ if stage.is_empty() => (3, "0"),
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return None,
        };
        Some((rank, major.parse().ok()?, minor.parse().ok()?))
    };
    parse().unwrap_or_default()
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RawApiGroup {
    #[serde(deserialize_with = "list")]
    versions: Vec<RawApiVersion>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RawApiVersion {
    #[serde(deserialize_with = "nullable")]
    version: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RawResources {
    #[serde(deserialize_with = "list")]
    resources: Vec<RawResource>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RawResource {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "list")]
    verbs: Vec<String>,
}

impl RawResources {
    fn serves(&self, resource: &str) -> bool {
        let verb = |it: &RawResource, verb| it.verbs.iter().any(|have| have == verb);
        self.resources.iter().any(|it| it.name == resource && verb(it, "list") && verb(it, "watch"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::fake::{Fake, FakeAnswer};

    const KIND: Kind = Kind::of("test.sigma.io", "widgets");

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = ["v1alpha1", "v10", "foo", "v2", "v1beta10", "v1beta2", "v2alpha1"];
        versions.sort_by_key(|it| Reverse(age(it)));
        let want = ["v10", "v2", "v1beta10", "v1beta2", "v2alpha1", "v1alpha1", "foo"];
        assert_eq!(versions, want);
        assert_eq!(age("v99999999999"), age("vbeta1"));
    }

    #[test]
    fn a_path_has_the_group_and_the_version() {
        let fixed = |kind| fixed_path(kind, Version::Fixed("v1"));
        assert_eq!(fixed(Kind::PODS).as_deref(), Some("/api/v1/pods"));
        assert_eq!(fixed(KIND).as_deref(), Some("/apis/test.sigma.io/v1/widgets"));
        assert_eq!(fixed_path(KIND, Version::Newest), None);
    }

    fn group(versions: &[&str]) -> FakeAnswer {
        let versions = versions.iter().map(|it| format!(r#"{{"version":"{it}"}}"#));
        let versions = versions.collect::<Vec<_>>().join(",");
        FakeAnswer::json(200, format!(r#"{{"kind":"APIGroup","versions":[{versions}]}}"#))
    }

    fn resources(name: &str, verbs: &str) -> FakeAnswer {
        FakeAnswer::json(
            200,
            format!(r#"{{"resources":[{{"name":"{name}","verbs":[{verbs}]}},{{"name":null}}]}}"#),
        )
    }

    #[tokio::test]
    async fn the_newest_version_that_serves_the_resource_is_taken() {
        let verbs = r#""get","list","watch""#;
        let cases = [
            (vec![group(&["v1alpha1", "v1"]), resources("widgets", verbs)], Ok("v1")),
            (
                vec![
                    group(&["v1alpha1", "v2", "v1"]),
                    resources("gadgets", verbs),
                    FakeAnswer::refusal(404, "it ends"),
                    resources("widgets", verbs),
                ],
                Ok("v1alpha1"),
            ),
            (
                vec![group(&["v1"]), resources("widgets", r#""get""#)],
                Err((Some(404), "no version")),
            ),
            (vec![group(&[])], Err((Some(404), "no version of test.sigma.io serves widgets"))),
            (vec![FakeAnswer::refusal(404, "no")], Err((Some(404), "cannot discover widgets"))),
            (vec![FakeAnswer::refusal(403, "no")], Err((Some(403), "forbidden: cannot discover"))),
            (vec![group(&["v1"]), FakeAnswer::refusal(503, "no")], Err((Some(503), "cannot"))),
            (vec![FakeAnswer::json(200, "<html>")], Err((None, "cannot discover widgets: "))),
            (vec![FakeAnswer::Cut], Err((None, "cannot discover widgets: "))),
        ];
        for (script, want) in cases {
            let fake = Fake::start(script).await;
            let got = newest_path(&fake.client(), KIND).await;
            match (got, want) {
                (Ok(path), Ok(version)) => {
                    assert_eq!(path, format!("/apis/test.sigma.io/{version}/widgets"));
                }
                (Err(failure), Err((code, text))) => {
                    assert_eq!(failure.code, code);
                    assert!(failure.text.starts_with(text), "{}", failure.text);
                }
                (got, want) => unreachable!("{got:?}, not {want:?}"),
            }
        }
    }
}

//! A `coordination.k8s.io/v1` Lease: reading it, taking it, giving it back. When to do what is the
//! election's; here is only that every write is fenced by the version that it was decided on.

use std::time::Duration;

use http::Method;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::list_watch::WatchFailure;
use super::wire::{self, percent_encoded};
use crate::model::Right;

/// A lease as it was read or written. Of its fields only those are looked at that matter: one of another
/// version, or that was edited to nonsense, can be taken as well, and what is not ours in it stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenLease(Map<String, Value>);

/// Why a lease was not read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// Somebody else has written it, or made it.
    Conflict,
    /// We lack the right, which the text names.
    Forbidden(String),
    /// It may work later. A write may have been carried out all the same.
    Failed(String),
}

/// One lease.
#[derive(Clone)]
pub struct LeaseClient {
    client: Client,
    namespace: String,
    name: String,
}

/// How long a request may take: a renewal that takes longer must be tried again before it is too late.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest lease that is read.
const MAX_BYTES: usize = 1 << 20;
/// No holder is waited for longer than this, whatever the lease says.
const MAX_DURATION_S: i64 = 600;
/// What the API server has room for.
const MAX_TRANSITIONS: i64 = i32::MAX as i64;

impl SeenLease {
    /// Who has it; `None` when it was given back.
    pub fn holder(&self) -> Option<&str> {
        let holder = self.spec("holderIdentity")?.as_str();
        holder.filter(|it| !it.is_empty())
    }

    /// True when it is older than the other, which it followed: the server's store was restored.
    pub fn is_before(&self, other: &Self) -> bool {
        let version = |lease: &Self| {
            let version = lease.0.get("metadata")?.get("resourceVersion")?.as_str()?;
            version.parse::<u64>().ok()
        };
        version(self).zip(version(other)).is_some_and(|(it, other)| it < other)
    }

    /// For how long its holder has it after each renewal, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        let seconds = self.spec("leaseDurationSeconds").and_then(Value::as_i64).unwrap_or(0);
        seconds.clamp(0, MAX_DURATION_S).unsigned_abs() * 1000
    }

    /// Whether both say the same of their holder. One that renews says something new every time.
    pub fn says_as(&self, other: &Self) -> bool {
        self.0.get("spec") == other.0.get("spec")
    }

    /// What a lease becomes when `holder` takes or renews it at `now`.
    pub fn taken(seen: Option<&Self>, holder: &str, duration_s: u32, now: Timestamp) -> Self {
        let mut lease = seen.cloned().unwrap_or_default();
        let renews = lease.holder() == Some(holder);
        let transitions = lease.spec("leaseTransitions").and_then(Value::as_i64);
        let spec = object(&mut lease.0, "spec");
        let now = Value::from(format!("{now:.6}"));
        if !renews {
            let next = transitions.map_or(0, |it| it.clamp(0, MAX_TRANSITIONS - 1) + 1);
            spec.insert("leaseTransitions".to_owned(), next.into());
            spec.insert("acquireTime".to_owned(), now.clone());
        }
        spec.insert("holderIdentity".to_owned(), holder.into());
        spec.insert("leaseDurationSeconds".to_owned(), duration_s.into());
        spec.insert("renewTime".to_owned(), now);
        lease
    }

    /// What a lease becomes when its holder gives it back at `now`.
    pub fn released(&self, now: Timestamp) -> Self {
        let mut released = Self::taken(Some(self), "", 1, now);
        let transitions = self.spec("leaseTransitions").cloned().unwrap_or_default();
        object(&mut released.0, "spec").insert("leaseTransitions".to_owned(), transitions);
        released
    }

    fn spec(&self, field: &str) -> Option<&Value> {
        self.0.get("spec")?.get(field)
    }
}

/// A field that is to be an object, and becomes one where it is not.
fn object<'a>(of: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let value = of.entry(field).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made one")
}

impl LeaseClient {
    /// The lease of this name.
    pub fn new(client: Client, namespace: String, name: String) -> Self {
        Self { client, namespace, name }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What reading and writing it takes. A right to create cannot be bound to a name.
    pub fn rights(&self) -> Vec<Right> {
        let right = |verb: &'static str, name: &str| Right {
            verb,
            group: "coordination.k8s.io",
            resource: "leases",
            subresource: "",
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        };
        vec![right("get", &self.name), right("update", &self.name), right("create", "")]
    }

    /// Reads it; `None` when there is none.
    pub async fn get(&self) -> Result<Option<SeenLease>, LeaseError> {
        match self.send(Method::GET, &self.path(), Vec::new(), "get leases").await {
            Ok(lease) => Ok(Some(lease)),
            Err(failure) if failure.code == Some(404) => Ok(None),
            Err(failure) => Err(error_of(failure)),
        }
    }

    /// Writes `lease`, unless it was written since it was seen; makes it where there was none.
    pub async fn put(&self, lease: &SeenLease) -> Result<SeenLease, LeaseError> {
        let mut lease = lease.0.clone();
        lease.insert("apiVersion".to_owned(), "coordination.k8s.io/v1".into());
        lease.insert("kind".to_owned(), "Lease".into());
        let metadata = object(&mut lease, "metadata");
        metadata.insert("namespace".to_owned(), self.namespace.clone().into());
        metadata.insert("name".to_owned(), self.name.clone().into());
        let is_new = !metadata.contains_key("resourceVersion");
        let body = Value::Object(lease).to_string().into_bytes();
        let sent = match is_new {
            true => self.send(Method::POST, &self.folder(), body, "create leases").await,
            false => self.send(Method::PUT, &self.path(), body, "update leases").await,
        };
        sent.map_err(error_of)
    }

    fn folder(&self) -> String {
        let namespace = percent_encoded(&self.namespace);
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }

    fn path(&self) -> String {
        format!("{}/{}", self.folder(), percent_encoded(&self.name))
    }

    async fn send(
        &self,
        method: Method,
        uri: &str,
        body: Vec<u8>,
        what: &str,
    ) -> Result<SeenLease, WatchFailure> {
        let failed = |text: String| WatchFailure { code: None, retry_after: None, text };
        let request = wire::build(method, uri, "application/json", body.into());
        let answered = async {
            let response = wire::send(&self.client, request, what).await?;
            let body = wire::collect(response.into_body(), MAX_BYTES).await.map_err(failed)?;
            let lease = serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
            Ok(SeenLease(lease))
        };
        let late = || Err(failed(format!("cannot {what}: no answer within {TIMEOUT:?}")));
        timeout(TIMEOUT, answered).await.unwrap_or_else(|_| late())
    }
}

fn error_of(failure: WatchFailure) -> LeaseError {
    match failure.code {
        Some(409) => LeaseError::Conflict,
        Some(403) => LeaseError::Forbidden(failure.text),
        _ => LeaseError::Failed(failure.text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::k8s::fake::{Fake, FakeAnswer};

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/sigma-system/leases";

    fn lease(spec: Value) -> SeenLease {
        let lease =
            json!({"metadata": {"resourceVersion": "7", "labels": {"a": "b"}}, "spec": spec});
        SeenLease(serde_json::from_value(lease).expect("an object"))
    }

    fn spec_of(lease: &SeenLease) -> Value {
        lease.0["spec"].clone()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a moment")
    }

    #[test]
    fn taking_renewing_and_giving_back_are_told_as_client_go_tells_them() {
        let first = SeenLease::taken(None, "a", 15, at("2026-11-11T00:00:00.5Z"));
        let want = json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2026-11-11T00:00:00.500000Z", "renewTime": "2026-11-11T00:00:00.500000Z"});
        assert_eq!(spec_of(&first), want);
        let again = SeenLease::taken(Some(&first), "a", 15, at("2026-11-11T00:00:02Z"));
        assert_eq!(spec_of(&again)["acquireTime"], want["acquireTime"]);
        assert_eq!(spec_of(&again)["renewTime"], "2026-11-11T00:00:02.000000Z");
        assert!(again.says_as(&again.clone()) && !again.says_as(&first));
        let other = SeenLease::taken(Some(&again), "b", 15, at("2026-11-11T00:01:00Z"));
        assert_eq!(spec_of(&other)["leaseTransitions"], 1);
        assert_eq!(spec_of(&other)["acquireTime"], "2026-11-11T00:01:00.000000Z");
        let back = other.released(at("2026-11-11T00:02:00Z"));
        assert_eq!((back.holder(), back.duration_ms()), (None, 1000));
        assert_eq!(spec_of(&back)["leaseTransitions"], 1);
    }

    #[test]
    fn leases_that_make_no_sense_are_read() {
        for (spec, holder, duration_ms) in [
            (Value::Null, None, 0),
            (json!({"holderIdentity": "", "leaseDurationSeconds": null}), None, 0),
            (json!({"holderIdentity": "a", "leaseDurationSeconds": -5}), Some("a"), 0),
            (json!({"holderIdentity": "a", "leaseDurationSeconds": i32::MAX}), Some("a"), 600_000),
            (json!({"holderIdentity": 7, "leaseDurationSeconds": "soon"}), None, 0),
            (json!("nothing"), None, 0),
        ] {
            let lease = lease(spec);
            assert_eq!((lease.holder(), lease.duration_ms()), (holder, duration_ms));
        }
        let worn = lease(json!({"holderIdentity": "a", "leaseTransitions": i32::MAX}));
        let taken = SeenLease::taken(Some(&worn), "b", 15, Timestamp::UNIX_EPOCH);
        assert_eq!(spec_of(&taken)["leaseTransitions"], i32::MAX);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..3)
                    .prop_map(|it| Value::Object(it.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever a lease says, it can be taken, and given back, and what comes of it makes sense.
        #[test]
        fn any_lease_can_be_taken(whole in any_json(), fields in prop::array::uniform5(any_json())) {
            let names =
                ["holderIdentity", "leaseDurationSeconds", "leaseTransitions", "renewTime", "else"];
            let named = names.iter().map(|it| (*it).to_owned()).zip(fields.iter().cloned());
            for spec in [whole, Value::Object(named.collect())] {
                let seen = lease(spec);
                prop_assert!(seen.duration_ms() <= 600_000);
                let taken = SeenLease::taken(Some(&seen), "me", 15, Timestamp::UNIX_EPOCH);
                prop_assert_eq!((taken.holder(), taken.duration_ms()), (Some("me"), 15_000));
                let transitions = spec_of(&taken)["leaseTransitions"].as_i64();
                prop_assert!(transitions.is_some_and(|it| i32::try_from(it).is_ok_and(|it| it >= 0)));
                prop_assert_eq!(seen.0.get("metadata"), taken.0.get("metadata"));
                let released = taken.released(Timestamp::UNIX_EPOCH);
                prop_assert_eq!(released.holder(), None);
            }
        }
    }

    #[test]
    fn a_lease_is_older_by_its_version_alone() {
        let at = |version: Value| {
            let lease = json!({"metadata": {"resourceVersion": version}});
            SeenLease(lease.as_object().expect("it is one").clone())
        };
        let (seven, ten, none) = (at("7".into()), at("10".into()), SeenLease::default());
        assert!(seven.is_before(&ten));
        for (it, other) in
            [(&ten, &seven), (&ten, &ten), (&none, &ten), (&ten, &none), (&at(7.into()), &ten)]
        {
            assert!(!it.is_before(other), "{it:?} {other:?}");
        }
    }

    #[tokio::test]
    async fn writes_are_fenced_by_the_version_that_was_seen() {
        let seen = r#"{"metadata":{"resourceVersion":"8","labels":{"a":"b"}},"spec":{"holderIdentity":"a"}}"#;
        let script = vec![
            FakeAnswer::refusal(404, "not found"),
            FakeAnswer::json(201, seen),
            FakeAnswer::json(200, seen),
            FakeAnswer::json(200, seen),
        ];
        let fake = Fake::start(script).await;
        let it = LeaseClient::new(fake.client(), "sigma-system".to_owned(), "sigma".to_owned());
        assert_eq!(it.get().await, Ok(None));
        let first = SeenLease::taken(None, "a", 15, Timestamp::UNIX_EPOCH);
        let made = it.put(&first).await.expect("it is made");
        assert_eq!(it.get().await.as_ref(), Ok(&Some(made.clone())));
        assert_eq!(it.put(&made).await.as_ref(), Ok(&made));
        let seen = fake.seen();
        let asked: Vec<_> = seen.iter().map(|it| format!("{} {}", it.method, it.uri)).collect();
        let one = format!("{PATH}/sigma");
        let want = ["GET", "POST", "GET", "PUT"].map(|method| match method {
            "POST" => format!("POST {PATH}"),
            _ => format!("{method} {one}"),
        });
        assert_eq!(asked, want);
        let body = |at: usize| -> Value { serde_json::from_str(&seen[at].body).expect("JSON") };
        assert_eq!(body(1)["metadata"], json!({"namespace": "sigma-system", "name": "sigma"}));
        let kept = json!({"namespace": "sigma-system", "name": "sigma", "resourceVersion": "8",
            "labels": {"a": "b"}});
        assert_eq!((&body(3)["metadata"], &body(3)["kind"]), (&kept, &"Lease".into()));
    }

    #[tokio::test]
    async fn what_keeps_a_write_from_being_done_is_told_apart() {
        let forbidden = "forbidden: cannot update leases: no".to_owned();
        for (answer, want) in [
            (FakeAnswer::refusal(409, "modified"), LeaseError::Conflict),
            (
                FakeAnswer::refusal(404, "deleted"),
                LeaseError::Failed("cannot update leases: 404: deleted".to_owned()),
            ),
            (FakeAnswer::refusal(403, "no"), LeaseError::Forbidden(forbidden)),
            (
                FakeAnswer::refusal(500, "etcd"),
                LeaseError::Failed("cannot update leases: 500: etcd".to_owned()),
            ),
        ] {
            let fake = Fake::start(vec![answer]).await;
            let it = LeaseClient::new(fake.client(), "ns".to_owned(), "sigma".to_owned());
            assert_eq!(it.put(&lease(Value::Null)).await, Err(want));
        }
    }
}

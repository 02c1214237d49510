//! Optional kinds: forbidden, not served, coming and going; and sources that are polled.

use serde_json::Value;

use super::*;
use crate::cluster::ClusterState;
use crate::cluster::test_kinds::{Gadget, Widget};
use crate::k8s::decode::DecodeError;
use crate::k8s::kinds::{Absent, Facts, KindSpec, PollAnswer, Version};
use crate::k8s::objects::{SlimObject, named};
use crate::k8s::slim::{SlimIdentityMeta, nullable};
use crate::model::{AnyFact, Fact};

/// A kind of a custom group, whose version is looked up.
const WIDGETS: KindSpec = KindSpec::watched::<SlimWidget>(Version::Newest);

/// A kind of a custom group with a fixed version. Its objects outlive it.
const GADGETS: KindSpec = KindSpec {
    absent: Absent::Keep,
    without: "no test has gadgets",
    ..KindSpec::watched::<SlimGadget>(Version::Fixed("v2"))
};

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct SlimWidget {
    #[serde(deserialize_with = "nullable")]
    metadata: SlimIdentityMeta,
    #[serde(deserialize_with = "nullable")]
    spec: Value,
}

impl SlimObject for SlimWidget {
    const KIND: Kind = Widget::KIND;
    const NAMESPACED: bool = true;

    fn into_version(self) -> String {
        self.metadata.resource_version
    }

    fn change(&self) -> Result<Change, DecodeError> {
        let name = ObjectName::of(&self.metadata.namespace, named(&self.metadata)?);
        Ok(Change::seen(name, self.spec["size"].as_i64().map(Widget)))
    }
}

#[derive(Default, serde::Deserialize)]
struct SlimGadget(SlimWidget);

impl SlimObject for SlimGadget {
    const KIND: Kind = Gadget::KIND;

    fn into_version(self) -> String {
        self.0.into_version()
    }

    fn change(&self) -> Result<Change, DecodeError> {
        let name = ObjectName::of("", named(&self.0.metadata)?);
        Ok(Change::seen(name, self.0.spec["size"].as_i64().map(Gadget)))
    }
}

fn hasty() -> WatchOptions {
    WatchOptions { absent_pause: Duration::from_millis(5), ..quick() }
}

/// A reflector and a state that it fills.
struct KindRig {
    rig: ReflectorRig,
    kind: Kind,
    state: ClusterState,
    fake: Fake,
}

impl KindRig {
    async fn start(spec: &KindSpec, script: Vec<FakeAnswer>) -> Self {
        let fake = Fake::start(script).await;
        let (out, changes) = mpsc::channel(64);
        let health = Arc::new(WatchHealth::default());
        spawn_with(fake.client(), spec, out, health.clone(), hasty());
        let rig = ReflectorRig { changes, health };
        Self { rig, kind: spec.kind, state: ClusterState::default(), fake }
    }

    /// Applies what comes until the state has these widgets or gadgets. Gadgets are never swept.
    async fn until(&mut self, want: &[(&str, i64)]) {
        let want: Vec<_> = want.iter().map(|it| (ObjectName::of("n", it.0), it.1)).collect();
        while self.facts() != want {
            match timeout(SOON, self.rig.changes.recv()).await {
                Ok(Some(change)) => {
                    let swept = self.state.apply(change).swept;
                    assert!(swept == 0 || self.kind == Widget::KIND);
                }
                other => unreachable!("{other:?}, {:?}", self.facts()),
            }
        }
        assert_eq!(self.state.audit(), []);
    }

    fn facts(&mut self) -> Vec<(ObjectName, i64)> {
        let tables = &self.state.publish().0.tables;
        let widgets = tables.widgets.iter().map(|(name, it)| (name, it.0));
        let gadgets = tables.gadgets.iter().map(|(_, it)| (ObjectName::of("n", "g"), it.0));
        let mut facts: Vec<_> = widgets.chain(gadgets).collect();
        facts.sort_unstable();
        facts
    }

    /// Waits until the health says so of the kind.
    async fn says_absent(&self, is_forbidden: Option<bool>) {
        for _ in 0..1000 {
            let absent = self.rig.health.kind(self.kind).absent;
            if absent.map(|it| it.is_forbidden) == is_forbidden {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        unreachable!("{:?}", self.rig.health.kind(self.kind));
    }

    fn push(&self, answers: impl IntoIterator<Item = FakeAnswer>) {
        answers.into_iter().for_each(|it| self.fake.push(it));
    }
}

fn no() -> FakeAnswer {
    FakeAnswer::refusal(404, "the server could not find the requested resource")
}

fn object(name: &str, size: i64, version: u32) -> String {
    format!(
        r#"{{"metadata":{{"namespace":"n","name":"{name}","resourceVersion":"{version}"}},"spec":{{"size":{size}}}}}"#
    )
}

/// The answers to a look-up of the newest version.
fn serves(version: &str) -> [FakeAnswer; 2] {
    let verbs = r#""list","watch""#;
    [
        FakeAnswer::json(200, format!(r#"{{"versions":[{{"version":"{version}"}}]}}"#)),
        FakeAnswer::json(
            200,
            format!(r#"{{"resources":[{{"name":"widgets","verbs":[{verbs}]}}]}}"#),
        ),
    ]
}

/// An absent kind is as if there were no objects of it, and no failure.
#[tokio::test]
async fn a_kind_that_is_not_served_has_no_objects() {
    let mut it = KindRig::start(&WIDGETS, vec![no(), no(), no()]).await;
    it.fake.wait_for(4).await;
    it.says_absent(Some(false)).await;
    let health = it.rig.health.kind(it.kind);
    assert_eq!((health.num_failures, health.listed, health.error), (0, false, None));
    assert_eq!(it.rig.take(2).await, ["begin", "end"], "it is swept once");
    assert!(it.rig.changes.try_recv().is_err());
}

/// A custom resource comes, goes and comes back in another version.
#[tokio::test]
async fn a_kind_of_a_custom_group_comes_and_goes() {
    let events = [
        event("ADDED", &object("a", 1, 7)),
        event("ADDED", &object("b", 2, 8)),
        bookmark(9, true),
        event("MODIFIED", &object("a", 3, 10)),
        event("DELETED", &object("b", 2, 11)),
    ];
    let mut script = vec![no(), no()];
    script.extend(serves("v1alpha1"));
    // The watch is resumed where it stood. Then the version is no longer served.
    script.extend([
        lines(&events, After::End),
        lines(&[event("ADDED", &object("c", 5, 12))], After::End),
    ]);
    script.extend([no(), no(), no()]);
    script.extend(serves("v1"));
    script.extend([refuse_stream(), page(20, "", &[object("a", 4, 19)]), lines(&[], After::Hang)]);
    let mut it = KindRig::start(&WIDGETS, script).await;
    for want in [&[("a", 3)][..], &[("a", 3), ("c", 5)], &[], &[("a", 4)]] {
        it.until(want).await;
    }
    it.says_absent(None).await;
    let paths = it.fake.wait_for(14).await.into_iter().map(|it| it.uri);
    let mut paths: Vec<String> =
        paths.map(|it| it.split('?').next().unwrap_or_default().to_owned()).collect();
    paths.dedup();
    let group = "/apis/test.sigma.io".to_owned();
    let of = |rest: &str| format!("{group}/{rest}");
    let first = [group.clone(), of("v1alpha1"), of("v1alpha1/widgets")];
    let second = [group.clone(), of("v1"), of("v1/widgets")];
    assert_eq!(paths, [first, second].concat());
    let health = it.rig.health.kind(it.kind);
    assert_eq!((health.num_failures, health.listed), (0, true));
}

/// The newest version is looked up again when a list begins, and when a list has expired.
#[tokio::test]
async fn a_newer_version_is_taken_with_the_next_list() {
    let mut it = KindRig::start(&WIDGETS, serves("v1").into()).await;
    it.push([refuse_stream(), page(10, "t", &[object("a", 1, 7)])]);
    it.push([FakeAnswer::refusal(410, "the token has expired")]);
    it.push(serves("v1"));
    it.push([page(10, "", &[object("a", 2, 7)]), lines(&[], After::Hang)]);
    it.until(&[("a", 2)]).await;
    it.fake.wait_for(8).await;
    it.push(serves("v2"));
    it.push([page(11, "", &[object("a", 3, 11)]), lines(&[], After::Hang)]);
    it.rig.health.request_relist(it.kind);
    it.until(&[("a", 3)]).await;
    let uris: Vec<String> = it.fake.wait_for(13).await.into_iter().map(|it| it.uri).collect();
    assert!(uris[11].starts_with("/apis/test.sigma.io/v2/widgets?limit"), "{uris:?}");
    assert!(uris[12].starts_with("/apis/test.sigma.io/v2/widgets?watch"), "{uris:?}");
}

/// A right that is granted later is noticed; a kind that goes keeps its objects if it says so.
#[tokio::test]
async fn a_kind_that_is_forbidden_at_first_begins_when_it_may() {
    let forbidden = || FakeAnswer::refusal(403, "no");
    let mut it = KindRig::start(&GADGETS, vec![forbidden(), forbidden(), forbidden()]).await;
    it.fake.wait_for(4).await;
    it.says_absent(Some(true)).await;
    while let Ok(change) = it.rig.changes.try_recv() {
        assert_eq!(brief(&change), "lost", "nothing is known of the objects");
    }
    let health = it.rig.health.kind(it.kind);
    assert_eq!((health.num_failures, health.listed), (0, false));
    let text = health.absent.expect("it is").text;
    assert_eq!(text, "forbidden: cannot watch test-gadgets: no");
    let listed = |size, version| {
        let all = [event("ADDED", &object("g", size, version)), bookmark(version, true)];
        lines(&all, After::End)
    };
    // It is listed, no longer served, and back.
    it = KindRig::start(&GADGETS, vec![forbidden(), listed(5, 9), no(), no(), listed(6, 19)]).await;
    for want in [("g", 5), ("g", 6)] {
        it.until(&[want]).await;
    }
    it.says_absent(None).await;
    let path = "/apis/test.sigma.io/v2/gadgets?";
    assert!(it.fake.seen().iter().all(|it| it.uri.starts_with(path) && it.method == "GET"));
}

/// A server that refuses a kind that it has listed is one that has not read its roles yet: a failure.
#[tokio::test]
async fn an_optional_kind_that_was_listed_is_not_given_up() {
    let no = || FakeAnswer::refusal(403, "no");
    let claim = r#"{"metadata":{"name":"a","namespace":"n"}}"#.to_owned();
    let script = vec![no(), no(), refuse_stream(), page(5, "", &[claim]), no()];
    let fake = Fake::start(script).await;
    fake.push(lines(&[], After::Hang));
    let mut rig = watch(fake.port(), Kind::CLAIMS, hasty());
    let name = ObjectName::of("n", "a").0;
    assert_eq!(rig.take(3).await, ["begin", &format!("+{name}"), "end"]);
    assert_eq!([rig.next().await, rig.next().await], ["back", "lost"]);
    fake.wait_for(6).await;
    let state = rig.health.kind(Kind::CLAIMS);
    assert_eq!((state.num_failures, state.absent), (1, None));
}

/// A core kind is always served: a server that does not know it is broken.
#[tokio::test]
async fn a_core_kind_that_is_not_found_is_a_failure() {
    let no = || FakeAnswer::refusal(404, "no");
    let fake = Fake::start(vec![no(), no(), no()]).await;
    let rig = watch(fake.port(), Kind::VOLUMES, hasty());
    fake.wait_for(4).await;
    let state = rig.health.kind(Kind::VOLUMES);
    assert!(state.num_failures >= 2 && state.absent.is_none(), "{state:?}");
}

fn facts(sizes: &[(u64, i64)]) -> Facts {
    sizes.iter().map(|it| (ObjectName(it.0), AnyFact::new(Widget(it.1)))).collect()
}

/// A source that is asked over HTTP, as a real one would be.
fn calls(client: kube::Client) -> PollAnswer {
    Box::pin(async move {
        let request = crate::k8s::wire::build(
            http::Method::GET,
            "/sizes",
            "application/json",
            bytes::Bytes::new(),
        );
        let sent = crate::k8s::wire::send(&client, request, "ask").await;
        let response = sent.map_err(|failure| failure.text)?;
        let body = crate::k8s::wire::collect(response.into_body(), 1 << 10).await?;
        let sizes: Vec<(u64, i64)> =
            serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(facts(&sizes))
    })
}

/// A polled source needs the same things as a watch: changes, health, a state, supervision by its task.
#[tokio::test]
async fn a_polled_source_lists_at_each_answer() {
    const POLLED: KindSpec = KindSpec::polled(Widget::KIND, Duration::from_millis(20), calls);
    let script = vec![
        FakeAnswer::refusal(503, "no"),
        FakeAnswer::json(200, "[[1,10],[2,20]]"),
        FakeAnswer::Cut,
        FakeAnswer::Cut,
        FakeAnswer::json(200, "<html>"),
        FakeAnswer::json(200, "[[2,21]]"),
        // A late answer is a failure.
        FakeAnswer::Silence,
    ];
    let mut it = KindRig::start(&POLLED, script).await;
    assert_eq!(POLLED.rights(), None);
    let first = ["lost", "begin", "+1", "+2", "end", "lost", "begin", "+2", "end", "lost"];
    it.rig.says(&first).await;
    let health = it.rig.health.kind(it.kind);
    assert!(health.listed && health.num_failures >= 5, "{health:?}");
    assert_eq!(health.error.as_deref(), Some("cannot poll widgets: no answer within 20ms"));
    // A list that is asked for does not wait for the interval.
    it.push([FakeAnswer::json(200, "[]")]);
    it.rig.health.request_relist(it.kind);
    it.rig.says(&["begin", "end"]).await;
    drop(it.rig.changes);
}

//! How many instructions a decision takes, counted by callgrind: `just instructions`.
//!
//! Wall time on a shared machine says little; the number of instructions is the same on every run.
//! Only what [`measured_case`] calls is counted, and callgrind writes one file for each call of it.
//! Without valgrind, this runs every case twice and checks that it decided something.

mod fixture;
#[path = "fixture/server.rs"]
mod server;

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use fixture::{SIZES, Setting, setting};
use server::{Server, args, names_in};
use sigma::engine::{Decider, View};
use sigma::model::{
    Amounts, Constraints, HashedText, LabelOperator, Namespaces, NodeOrd, Pod, PodAffinityTerm,
    PodUid, Requirement, Selector, SpreadTerm, Tick,
};

/// Pods that hold something in the case with many holds: what a burst leaves before its events come.
const NUM_HOLDS: u128 = 2_000;

/// Requests of all names after which a template is scanned.
const UNTIL_KNOWN: usize = 8;

/// How often each case is counted.
const TIMES: usize = 3;

/// The one function that callgrind counts.
#[inline(never)]
fn measured_case(case: &mut dyn FnMut()) {
    case();
}

/// Runs a case once unmeasured, so that every buffer is there, and once measured. An argument chooses
/// one case, `filter online, decision 500`: for `callgrind_annotate`, which needs a file of its own.
fn measure(name: &str, num_names: usize, case: impl FnMut()) {
    measure_after(|| (), name, num_names, case);
}

/// As [`measure`], with something that comes before the case each time and is not measured.
fn measure_after(mut before: impl FnMut(), name: &str, num_names: usize, mut case: impl FnMut()) {
    before();
    case();
    before();
    let mut chosen = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    if chosen.next().is_some_and(|it| it != format!("{name} {num_names}")) {
        return;
    }
    println!("{name}\t{num_names}");
    measured_case(&mut case);
    // The allocator tidies up now and then: the least of some counts is the case's own.
    for _ in 1..TIMES {
        before();
        println!("{name}\t{num_names}");
        measured_case(&mut case);
    }
}

fn main() {
    let setting = setting();
    let server = Server::new(&setting);
    requests(&server, &setting);
    decisions(&server, &setting);
}

/// From the bytes of a request to those of its reply.
fn requests(server: &Server, setting: &Setting) {
    let pods =
        [("online", &setting.online), ("offline", &setting.offline), ("exempt", &setting.exempt)];
    // A round of all nodes goes before, from which their order is learned.
    server.ask("filter", &args(&setting.exempt, &setting.names));
    for (class, pod) in pods {
        // The template is known, as nearly all are: what a new one costs is in `decisions`.
        for _ in 0..UNTIL_KNOWN {
            server.ask("filter", &args(pod, &setting.names));
        }
        for size in SIZES {
            let body: Bytes = args(pod, &setting.names[..size]);
            let mut reply = Bytes::new();
            let name = format!("filter {class}, request to reply");
            measure(&name, size, || reply = server.ask("filter", &body));
            check(server, "filter", &setting.names[..size], &reply);
        }
    }
    for (class, pod) in pods {
        for size in SIZES {
            let body: Bytes = args(pod, &setting.names[..size]);
            let mut reply = Bytes::new();
            // Names that its filter did not return.
            let name = format!("prioritize {class}, other names");
            let last = &setting.names[setting.names.len() - 1..];
            let before = || drop(server.ask("filter", &args(pod, last)));
            measure_after(before, &name, size, || reply = server.ask("prioritize", &body));
            check(server, "prioritize", &setting.names[..size], &reply);
        }
    }
    for size in SIZES {
        // Asked about the names that the pod's filter has just returned, as kube-scheduler does.
        let filter: Bytes = args(&setting.exempt, &setting.names[..size]);
        let returned = names_in(&server.ask("filter", &filter));
        let body: Bytes = args(&setting.exempt, &returned);
        let before = || drop(server.ask("filter", &filter));
        let mut reply = Bytes::new();
        let name = "prioritize exempt, after its filter";
        measure_after(before, name, size, || reply = server.ask("prioritize", &body));
        check(server, "prioritize", &returned, &reply);
    }
    assert!(server.num_remembered() > 0, "prioritize was answered from its filter");
}

/// Panics unless some of the names were returned, by decisions alone.
fn check(server: &Server, verb: &str, names: &[String], reply: &Bytes) {
    let text = std::str::from_utf8(reply).expect("replies are UTF-8");
    let known = names.iter().any(|name| text.contains(name));
    assert!(known && server.names_returned(verb) > 0, "{verb}: {text}");
}

/// The engine alone: ordinals in, positions or scores out.
fn decisions(server: &Server, setting: &Setting) {
    let view = server.shared.view();
    let ords = setting.names.iter().map(|name| view.snapshot.names.ord(name));
    let ords: Vec<NodeOrd> = ords.collect::<Option<_>>().expect("all nodes are known");
    let pod = Arc::new(setting.online.clone());
    for (template, mut decider) in [
        ("", Decider::default()),
        // Each node is looked at, as it is until a template was asked about often enough.
        (", new template", Decider::default().without_equivalence_cache()),
    ] {
        for _ in 0..UNTIL_KNOWN {
            decider.filter(&view, &pod, &ords, Tick(0));
        }
        for size in SIZES {
            measure(&format!("filter online, decision{template}"), size, || {
                let answer = decider.filter(&view, &pod, &ords[..size], Tick(0));
                assert!(!black_box(answer).accepted.is_empty());
            });
            measure(&format!("prioritize online, decision{template}"), size, || {
                let scores = decider.prioritize(&view, &pod, &ords[..size]);
                assert!(black_box(scores).iter().any(|score| *score > 0));
            });
        }
    }
    best(&view, &ords, setting);
    let mut decider = Decider::default();
    // The first node is left alone: it is the one that a request of one name is about.
    for (at, window) in (1..=NUM_HOLDS).zip(ords[1..].chunks(SIZES[1]).cycle()) {
        let mut other = setting.offline.clone();
        (other.uid, other.name) = (PodUid(at), format!("other-{at}").into());
        other.requests.base = Amounts { cpu_milli: 1, pods: 1, ..Amounts::default() };
        decider.filter(&view, &Arc::new(other), window, Tick(0));
    }
    assert!(decider.holds().len() as u128 == NUM_HOLDS, "they hold");
    for _ in 0..UNTIL_KNOWN {
        decider.filter(&view, &pod, &ords, Tick(0));
    }
    for size in SIZES {
        measure("filter online, decision, 2,000 holds", size, || {
            let answer = decider.filter(&view, &pod, &ords[..size], Tick(0));
            assert!(!black_box(answer).accepted.is_empty());
        });
    }
}

/// What a steer costs: the best of these nodes, by kube-scheduler's own constraints as well. Whatever the
/// number of nodes, constraints look at all of the cluster.
fn best(view: &View, ords: &[NodeOrd], setting: &Setting) {
    let plain = setting.online.clone();
    let constrained = Pod { constraints: Some(Arc::new(all_kinds(&plain))), ..plain.clone() };
    for (with, pod) in [("", plain), (", with constraints", constrained)] {
        let mut decider = Decider::default();
        for _ in 0..UNTIL_KNOWN {
            decider.best_of(view, &pod, ords);
        }
        for size in SIZES {
            measure(&format!("best of the nodes{with}"), size, || {
                assert!(black_box(decider.best_of(view, &pod, &ords[..size])).is_some());
            });
        }
    }
}

/// Node affinity, anti-affinity by node, and spread over zones, as a careful owner has them.
fn all_kinds(pod: &Pod) -> Constraints {
    let app = HashedText::of("app");
    let value = pod.labels.value(app).expect("it has the label");
    let own: Selector<HashedText> =
        [Requirement { key: app, is: LabelOperator::NotIn([value].into()) }].into();
    let zone = "topology.kubernetes.io/zone";
    Constraints {
        node_selector: [Requirement { key: zone.into(), is: LabelOperator::Exists }].into(),
        pod_anti_affinity: [PodAffinityTerm {
            key: "kubernetes.io/hostname".into(),
            selector: Some(
                [Requirement { key: app, is: LabelOperator::In([value].into()) }].into(),
            ),
            namespaces: Namespaces {
                named: [HashedText::of(&pod.namespace)].into(),
                selected: None,
            },
        }]
        .into(),
        spread: [SpreadTerm {
            key: zone.into(),
            max_skew: 1_000_000,
            min_domains: 1,
            selector: Some(own),
            honors_affinity: true,
            honors_taints: false,
        }]
        .into(),
        ..Constraints::default()
    }
}

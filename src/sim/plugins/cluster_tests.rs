//! Whole scores, with figures worked out by hand from kube-scheduler's source.

use super::*;
use crate::model::TaintEffect;

const ZONE: &str = "topology.kubernetes.io/zone";
const MIB: i64 = 1 << 20;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn amounts(cpu_milli: i64, gib: i64) -> Amounts {
    Amounts { cpu_milli, memory_bytes: gib << 30, ephemeral_bytes: 0, pods: 1 }
}

/// Four cores and 8 GiB; nodes 0 and 1 are in zone a, 2 in zone b, 3 tells no zone.
fn cluster() -> ScoredCluster {
    let node = |name: &str, zone: &str| {
        let zone = [(ZONE, zone)];
        let zone = if zone[0].1.is_empty() { &[][..] } else { &zone[..] };
        let labels = labels(&[&[(HOSTNAME, name)], zone].concat());
        ScoredNode { allocatable: amounts(4000, 8), labels, ..ScoredNode::default() }
    };
    let nodes = vec![node("n0", "a"), node("n1", "a"), node("n2", "b"), node("n3", "")];
    ScoredCluster { nodes, pods: Vec::new() }
}

fn pod() -> ScoredPod {
    ScoredPod { requests: amounts(1000, 2), labels: labels(&[("app", "x")]), ..Default::default() }
}

fn check(cluster: &ScoredCluster, pod: &ScoredPod, plugin: Plugin, want: [i64; 4]) {
    assert_eq!(cluster.scores(pod, &[0, 1, 2, 3])[&plugin], want, "{plugin:?}");
}

#[test]
fn resources_and_taints() {
    let mut cluster = cluster();
    let busy = ScoredPod { requests: amounts(2000, 0), ..pod() };
    cluster.pods = vec![(1, busy)];
    let soft = Taint { key: "k".into(), value: "".into(), effect: TaintEffect::PreferNoSchedule };
    cluster.nodes[2].taints = vec![soft];
    // 3 of 4 cores and 6 of 8 GiB stay free; on node 1 a quarter of the cores, and of the memory 200 MiB
    // less: (8192 − 200 − 2048) ÷ 8192 = 72 %.
    check(&cluster, &pod(), Plugin::NodeResourcesFit, [75, (25 + 72) / 2, 75, 75]);
    // On node 1 the deviation goes from 25 to 25 (0.5 and 0, then 0.75 and 0.25).
    check(&cluster, &pod(), Plugin::NodeResourcesBalancedAllocation, [75; 4]);
    let cpu_only = ScoredPod { requests: amounts(2000, 0), ..pod() };
    // 100 → 75 on an empty node: 50 + (50 − 25) ÷ 2; 75 → 50 on node 1.
    check(&cluster, &cpu_only, Plugin::NodeResourcesBalancedAllocation, [62; 4]);
    check(&cluster, &pod(), Plugin::TaintToleration, [100, 100, 0, 100]);
}

#[test]
fn images() {
    let mut cluster = cluster();
    cluster.nodes[0].images = [("app:latest".to_owned(), 600 * MIB)].into();
    cluster.nodes[1].images = cluster.nodes[0].images.clone();
    cluster.nodes[1].images.insert("side:1".to_owned(), 100 * MIB);
    let pod = ScoredPod { images: vec!["app".to_owned(), "side:1".to_owned()], ..pod() };
    // Half of the nodes have 600 MiB, a quarter 100: (300 − 23) ÷ 1977 and (325 − 23) ÷ 1977.
    check(&cluster, &pod, Plugin::ImageLocality, [14, 15, 0, 0]);
}

#[test]
fn spread_by_default_counts_what_the_owner_selects() {
    let mut cluster = cluster();
    let mine = ScoredPod { default_selector: labels(&[("app", "x")]), ..pod() };
    let other = ScoredPod { labels: labels(&[("app", "y")]), ..pod() };
    let elsewhere = ScoredPod { namespace: "other".to_owned(), ..pod() };
    cluster.pods = vec![(0, pod()), (0, pod()), (2, other), (2, elsewhere)];
    // Weights: ln 6 (four candidates), ln 5 (zones a, b and none). Raw: 2 · 1.79 + 2 + 2 · 1.61 + 4 = 13,
    // 2 + 3.22 + 4 = 9, 6, and for who tells no zone 2: 100 · (13 + 2 − raw) ÷ 13.
    check(&cluster, &mine, Plugin::PodTopologySpread, [15, 46, 69, 100]);
    check(&cluster, &pod(), Plugin::PodTopologySpread, [0; 4]);
}

#[test]
fn own_constraints_leave_out_who_lacks_the_label() {
    let mut cluster = cluster();
    let selector = labels(&[("app", "x")]);
    let zone = SpreadConstraint { max_skew: 1, key: ZONE.to_owned(), selector };
    let mine = ScoredPod { spread: vec![zone], ..pod() };
    cluster.pods = vec![(0, pod()), (2, pod()), (2, pod()), (3, pod())];
    // ln 4 = 1.39: raw 1 and 3.
    check(&cluster, &mine, Plugin::PodTopologySpread, [100, 100, 33, 0]);
}

#[test]
fn preferred_nodes() {
    let mut cluster = cluster();
    cluster.nodes[3].labels.insert("disk".to_owned(), "ssd".to_owned());
    let zone =
        |of: fn(String, Vec<String>) -> ScoredRequirement| of(ZONE.to_owned(), vec!["a".into()]);
    let preferred_nodes = vec![
        (10, vec![zone(ScoredRequirement::In)]),
        (30, vec![zone(ScoredRequirement::NotIn), ScoredRequirement::Exists("disk".to_owned())]),
        (5, vec![ScoredRequirement::DoesNotExist("disk".to_owned())]),
        (90, vec![]),
    ];
    let mine = ScoredPod { preferred_nodes, ..pod() };
    check(&cluster, &mine, Plugin::NodeAffinity, [50, 50, 16, 100]);
    check(&cluster, &pod(), Plugin::NodeAffinity, [0; 4]);
}

#[test]
fn affinity_goes_both_ways() {
    let mut cluster = cluster();
    let term = |weight, app: &str| ScoredPodTerm {
        weight,
        key: ZONE.to_owned(),
        selector: labels(&[("app", app)]),
    };
    let db = ScoredPod { labels: labels(&[("app", "db")]), ..pod() };
    let shy = ScoredPod { pod_terms: vec![term(Some(-8), "x")], ..db.clone() };
    let fond = ScoredPod { pod_terms: vec![term(None, "x")], ..db.clone() };
    cluster.pods = vec![(0, db), (2, shy), (2, fond)];
    let mine = ScoredPod { pod_terms: vec![term(Some(5), "db"), term(None, "db")], ..pod() };
    // Zone a: 5. Zone b: 2 · 5 − 8 + 1 = 3. No zone: 0.
    check(&cluster, &mine, Plugin::InterPodAffinity, [100, 100, 60, 0]);
    // Without terms of its own: zone b −7.
    check(&cluster, &pod(), Plugin::InterPodAffinity, [100, 100, 0, 100]);
}

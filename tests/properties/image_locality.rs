//! The scorer `imageLocality` beside the model of kube-scheduler's plugin, which is checked against the
//! real one.

use proptest::prelude::*;
use sigma::cluster::Uncommitted;
use sigma::rules::{CATALOGUE, ClassParams, Rule, RuleContext, Scored};
use sigma::sim::plugins::{Plugin, ScoredCluster, ScoredNode, ScoredPod};

use crate::cluster::ClusterState;
use crate::config;
use crate::model::{ImageName, Node, Now, Pod};
use crate::testing::{image, node, pod, seen_node};

/// MB of the images.
const SIZES: [i64; 6] = [20, 150, 300, 700, 2000, 5000];

proptest! {
    #![proptest_config(config(256))]

    /// Points are kube-scheduler's score, ten times as fine.
    #[test]
    fn points_are_the_score_of_kube_schedulers_plugin(
        nodes in prop::collection::vec(prop::collection::btree_set(0..SIZES.len(), 0..5), 1..80),
        asked in prop::collection::vec(0..SIZES.len() + 1, 0..5),
    ) {
        let name = |at: &usize| format!("reg.example:5000/image-{at}:1");
        let mut state = ClusterState::default();
        let mut cluster = ScoredCluster::default();
        for (at, has) in nodes.iter().enumerate() {
            let images = has.iter().map(|it| (name(it), SIZES[*it] << 20));
            cluster.nodes.push(ScoredNode { images: images.clone().collect(), ..Default::default() });
            let images = images.map(|(name, bytes)| image(&name, bytes)).collect();
            state.apply(seen_node(Node { images, ..node(&format!("n{at}"), &[]) }));
        }
        let (snapshot, _) = state.publish();
        let images: Vec<String> = asked.iter().map(name).collect();
        let pod = Pod { images: images.iter().map(|it| ImageName::of(it)).collect(), ..pod(1, 1) };
        let spec = CATALOGUE.iter().find(|it| it.name == "imageLocality").expect("is there");
        let Some(Rule::Scorer(scorer)) = (spec.build)(&ClassParams::default()) else {
            unreachable!("it is for every class");
        };
        let ords: Vec<_> = snapshot.live_nodes().collect();
        let (mut points, uncommitted) = (Vec::new(), Uncommitted::default());
        let mut buffers = [vec![7; 9], vec![8; 5]];
        let (uncommitted, extended, now) = (&uncommitted, &[][..], Now::default());
        let cx = RuleContext { snapshot: &snapshot, uncommitted, pod: &pod, extended, now };
        let scored = Scored { nodes: &ords, fills: &[], points: &mut points, buffers: &mut buffers };
        scorer.score(&cx, scored);
        points.resize(ords.len(), 0);
        let candidates: Vec<usize> = (0..nodes.len()).collect();
        let want = &cluster.scores(&ScoredPod { images, ..Default::default() }, &candidates)
            [&Plugin::ImageLocality];
        for (points, want) in points.iter().zip(want) {
            // Ours counts KiB, theirs bytes: a hair below a whole number.
            let score = i64::from(*points) / 10;
            prop_assert!(score == *want || *points % 10 == 9 && score + 1 == *want, "{points} {want}");
        }
    }
}

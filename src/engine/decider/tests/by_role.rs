//! Answers that are given without the rules, by the role of the class.

use super::*;
use crate::engine::degraded;

#[test]
fn a_degraded_answer_is_by_class() {
    let site = site(&["a", "v"]);
    let nodes = [site.ords(&["a", "v"]), vec![NodeOrd::UNKNOWN]].concat();
    let (kept, closed, why) = (Reason::Kept, Reason::PoolClosed, Reason::Overloaded);
    let lowered = Pod { qos_claim: Some(QosClaim::Offline), ..pod(1, 1) };
    for (it, want) in [
        (Pod { priority: 9, ..pod(1, 1) }, [kept, closed, kept]),
        (pod(1, 1), [kept, closed, kept]),
        (Pod { priority: 99, ..pod(1, 1) }, [kept, kept, kept]),
        (Pod { priority: 3, ..pod(1, 1) }, [why, why, why]),
        (lowered, [why, why, why]),
    ] {
        assert_eq!(degraded(&site.view, &it, &nodes, why), want, "priority {}", it.priority);
    }
}

#[test]
fn a_degraded_refusal_keeps_the_text_and_is_requeued() {
    let mut site = site(&["a"]);
    let it = Arc::new(Pod { priority: 3, ..pod(1, 6) });
    site.see([seen_pod(&it)]);
    let nodes = site.ords(&["a"]);
    let refuse = |site: &mut TestReplica, why, now| {
        let view = site.view.clone();
        site.decider.refuse(&view, &it, &nodes, why, Tick(now))
    };
    assert_eq!(refuse(&mut site, Reason::NotSynced, 0), Reason::NotSynced);
    // The first decision replaces what was said instead of one; after that the text stays.
    assert_eq!(site.filter(&it, &["a"], 1), Err(Reason::AllocationLimit));
    assert_eq!(refuse(&mut site, Reason::Overloaded, 2), Reason::AllocationLimit);
    let small = Pod { priority: 3, ..pod(2, 1) };
    site.see([seen_pod(&small)]);
    let view = site.view.clone();
    let small = Arc::new(small);
    let told = site.decider.refuse(&view, &small, &nodes, Reason::Overloaded, Tick(3));
    assert_eq!((told, site.requeued_uids(4)), (Reason::Overloaded, vec![2]));
}

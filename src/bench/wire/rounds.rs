//! Who is asked when: paired, interleaved, palindromic.
//!
//! ```text
//! A B B A   A A' A' A   A B B A   A A' A' A   …
//! └round─┘  └──round─┘
//! ```
//!
//! A letter is a block of requests. A and B are asked the same (in a larger cluster, the same number of
//! its nodes); what drifts while a round lasts falls on both alike. A' is a second process of A's program: what differs between the two is noise.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::setting::{OfferedPod, OfferedPods};
use super::side::{Side, Times};
use crate::stats::median;

/// Pods in a block: each is a call of filter and one of prioritize.
pub(super) const PODS_PER_BLOCK: usize = 10;
/// Rounds before the first that counts: connections, buffers and heaps get their size.
const WARM_UP: usize = 3;

/// What was measured at one number of names, by verb.
#[derive(Default)]
pub(super) struct Measured {
    /// A beside B; empty without one.
    pub(super) peer: Paired,
    /// A beside A'.
    pub(super) same: Paired,
}

/// The rounds of a pair.
#[derive(Default)]
pub(super) struct Paired {
    /// ln(t_other ÷ t_ours) of each round.
    pub(super) logs: [Vec<f64>; 2],
    pub(super) ours: Times,
    pub(super) others: Times,
}

/// All that are asked.
pub(super) struct Sides<'a> {
    pub(super) ours: Side<'a>,
    pub(super) same: Side<'a>,
    /// The peer, or sigma in a larger cluster.
    pub(super) peer: Option<Side<'a>>,
    pub(super) asks: OfferedPods<'a>,
    /// What is asked in the larger cluster.
    pub(super) larger: Option<OfferedPods<'a>>,
}

impl Sides<'_> {
    /// Asks about pods with `size` names until `rounds` are done or it is `until`; at least once.
    pub(super) fn measure(
        &mut self,
        size: usize,
        rounds: usize,
        until: Option<Instant>,
        progress: &ProgressBar,
    ) -> anyhow::Result<Measured> {
        for _ in 0..WARM_UP {
            self.round(size, &mut Measured::default())?;
        }
        let mut measured = Measured::default();
        for _ in 0..rounds {
            self.round(size, &mut measured)?;
            progress.inc(1);
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
        }
        Ok(measured)
    }

    fn round(&mut self, size: usize, measured: &mut Measured) -> anyhow::Result<()> {
        let Self { ours, same, peer, asks, larger } = self;
        // No side sees a pod twice, since a pod that was asked about before is answered faster.
        let mut take = |larger: Option<&mut OfferedPods<'_>>| {
            let asked = asks.take(PODS_PER_BLOCK, size);
            let other = larger.map(|it| it.take(PODS_PER_BLOCK, size));
            (other.unwrap_or_else(|| asked.clone()), asked)
        };
        if let Some(peer) = peer {
            let blocks = [take(larger.as_mut()), take(larger.as_mut())];
            measured.peer.round(ours, peer, &blocks)?;
        }
        measured.same.round(ours, same, &[take(None), take(None)])
    }
}

impl Paired {
    fn round(
        &mut self,
        ours: &mut Side<'_>,
        other: &mut Side<'_>,
        [(b_first, a_first), (b_second, a_second)]: &[(Vec<OfferedPod>, Vec<OfferedPod>); 2],
    ) -> anyhow::Result<()> {
        let (a1, b1) = (ours.ask(a_first)?, other.ask(b_first)?);
        let (b2, a2) = (other.ask(b_second)?, ours.ask(a_second)?);
        for (verb, logs) in self.logs.iter_mut().enumerate() {
            let blocks = [&a1, &b1, &b2, &a2].map(|times| typical_ln(&times[verb]));
            if let [Some(a1), Some(b1), Some(b2), Some(a2)] = blocks {
                logs.push(f64::midpoint(b1 - a1, b2 - a2));
            }
        }
        extend(&mut self.ours, [a1, a2]);
        extend(&mut self.others, [b1, b2]);
        Ok(())
    }
}

/// ln of the median of a block; `None` when nothing was asked.
fn typical_ln(times: &[Duration]) -> Option<f64> {
    let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    // A clock that stood still would make it infinite.
    median(&mut seconds).map(|it| it.max(1e-9).ln())
}

fn extend(all: &mut Times, blocks: [Times; 2]) {
    for block in blocks {
        all.iter_mut().zip(block).for_each(|(all, block)| all.extend(block));
    }
}

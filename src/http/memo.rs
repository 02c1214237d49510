//! What was answered to the last filter, until prioritize asks about the same pod and the same nodes.
//!
//! kube-scheduler asks prioritize right after filter, with the same pod, byte for byte, and the names
//! that filter returned. Such a request is known by comparing bytes: neither the pod nor the names are
//! read again, and what filter has scored already is not scored again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::name_list::{CutList, NameList};
use super::reply;
use crate::cluster::NamesId;
use crate::model::{NodeOrd, Pod};

/// Larger requests are not kept: their bytes would be, until the next filter.
const MAX_BYTES: usize = 4 << 20;

/// The last filter's answer.
#[derive(Debug, Default)]
pub(super) struct Memo {
    kept: Option<KeptFilter>,
    /// Where each name that was returned ends, and its node.
    ends: Vec<u32>,
    nodes: Vec<NodeOrd>,
    /// Empty when they are not known yet.
    scores: Vec<u32>,
}

/// What a filter was asked and what it said.
#[derive(Debug)]
pub(super) struct KeptFilter {
    /// The request up to the bracket before its names.
    pub(super) head: Bytes,
    /// The names that were returned.
    pub(super) names: Bytes,
    /// The pod.
    pub(super) pod: Arc<Pod>,
    /// The table that the nodes were looked up in.
    pub(super) known: NamesId,
    /// Of the policy in force.
    pub(super) plan_generation: u64,
    /// When the request came.
    pub(super) at: Instant,
}

impl Memo {
    /// Forgets; lends the buffer for the nodes that the next answer will name.
    pub(super) fn forget(&mut self) -> &mut Vec<NodeOrd> {
        self.kept = None;
        self.nodes.clear();
        &mut self.nodes
    }

    /// Keeps an answer that named `accepted` of `offered`; their scores, if known, are taken.
    pub(super) fn keep(
        &mut self,
        kept: KeptFilter,
        (offered, accepted): (&CutList<'_>, &[u32]),
        scores: &mut Vec<u32>,
    ) {
        let num_bytes = kept.head.len() + offered.text.len();
        if num_bytes > MAX_BYTES || self.nodes.len() != accepted.len() {
            return;
        }
        offered.ends_of(accepted, &mut self.ends);
        std::mem::swap(&mut self.scores, scores);
        self.kept = Some(kept);
    }

    /// The reply to a prioritize about the same pod and the nodes that were returned at most `max_age`
    /// ago, and how many they are; `None` for any other, or when they cannot be scored now.
    pub(super) fn reply(
        &mut self,
        body: &[u8],
        (plan_generation, at): (u64, Instant),
        max_age: Duration,
        score: impl FnOnce(&KeptFilter, &[NodeOrd], &mut Vec<u32>),
    ) -> Option<(Vec<u8>, usize)> {
        let kept = self.kept.as_ref()?;
        let is_valid = kept.plan_generation == plan_generation
            && at.saturating_duration_since(kept.at) <= max_age;
        let names = body.strip_prefix(&*kept.head)?.strip_suffix(b"]}")?;
        if !is_valid || names != kept.names {
            return None;
        }
        if self.scores.is_empty() {
            score(kept, &self.nodes, &mut self.scores);
        }
        let (text, ends) = (&*kept.names, &*self.ends);
        let names = CutList { text, ends, ords: &[], num_guessed: 0, in_blocks: true };
        let reply = || reply::prioritize(&NameList::Cut(names), &self.scores);
        (self.scores.len() == ends.len()).then(|| (reply(), ends.len()))
    }
}

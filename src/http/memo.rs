//! What was answered to the last filter, until prioritize asks about the same pod and the same nodes.
//!
//! kube-scheduler asks prioritize right after filter, with the same pod, byte for byte, and the names
//! that filter returned. Such a request is known by comparing bytes; it is answered with the scores
//! that the filter decided on, on the picture that the filter saw.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::name_list::{CutList, NameList};
use super::reply;

/// Larger requests are not kept: their bytes would be, until the next filter.
const MAX_BYTES: usize = 4 << 20;

/// The last filter's answer.
#[derive(Debug, Default)]
pub(super) struct Memo {
    kept: Option<Kept>,
    ends: Vec<u32>,
    scores: Vec<u32>,
}

#[derive(Debug)]
struct Kept {
    /// The request up to the bracket before its names, and the names that were returned.
    head: Bytes,
    names: Bytes,
    plan_generation: u64,
    at: Instant,
}

impl Memo {
    /// Forgets.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    /// Keeps an answer: the request's head, the names as replied, `accepted` of `offered` and their
    /// scores, which are taken.
    pub(super) fn keep(
        &mut self,
        head: Bytes,
        names: Bytes,
        (offered, accepted): (&CutList<'_>, &[u32]),
        scores: &mut Vec<u32>,
        (plan_generation, at): (u64, Instant),
    ) {
        let num_bytes = head.len() + offered.text.len();
        if num_bytes > MAX_BYTES || scores.len() != accepted.len() {
            return;
        }
        offered.ends_of(accepted, &mut self.ends);
        std::mem::swap(&mut self.scores, scores);
        self.kept = Some(Kept { head, names, plan_generation, at });
    }

    /// The reply to a prioritize about the same pod and the nodes that were returned at most `max_age`
    /// ago, and how many they are; `None` for any other.
    pub(super) fn reply(
        &self,
        body: &[u8],
        (plan_generation, at): (u64, Instant),
        max_age: Duration,
    ) -> Option<(Vec<u8>, usize)> {
        let kept = self.kept.as_ref()?;
        let is_valid = kept.plan_generation == plan_generation
            && at.saturating_duration_since(kept.at) <= max_age;
        let names = body.strip_prefix(&*kept.head)?.strip_suffix(b"]}")?;
        if !is_valid || names != kept.names {
            return None;
        }
        let (text, ends) = (&*kept.names, &*self.ends);
        let names = CutList { text, ends, ords: &[], num_guessed: 0, in_blocks: true };
        Some((reply::prioritize(&NameList::Cut(names), &self.scores), self.scores.len()))
    }
}

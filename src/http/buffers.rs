//! What one request leaves for the next: buffers, what was learned of the order of names, the memo.
//! Answers do not depend on it, only their cost does.

use std::sync::{Mutex, TryLockError};

use super::memo::Memo;
use super::name_list::Cutter;
use crate::engine::Answer;
use crate::model::NodeOrd;

/// Buffers that live as long as the extender.
#[derive(Debug, Default)]
pub(super) struct RequestBuffers {
    pub(super) cutter: Cutter,
    pub(super) ords: Vec<NodeOrd>,
    pub(super) answer: Answer,
    pub(super) scores: Vec<u32>,
    pub(super) memo: Memo,
}

/// The one [`RequestBuffers`] of an extender.
#[derive(Debug, Default)]
pub(super) struct SharedBuffers(Mutex<RequestBuffers>);

impl SharedBuffers {
    /// Lends it. Who comes while it is lent gets an empty one: nobody waits for a shortcut.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut RequestBuffers) -> T) -> T {
        match self.0.try_lock() {
            Ok(mut scratch) => work(&mut scratch),
            Err(TryLockError::WouldBlock) => work(&mut RequestBuffers::default()),
            // A handler panicked with it in hand: what it holds may be half of something.
            Err(TryLockError::Poisoned(poisoned)) => {
                self.0.clear_poison();
                let mut scratch = poisoned.into_inner();
                *scratch = RequestBuffers::default();
                work(&mut scratch)
            }
        }
    }
}

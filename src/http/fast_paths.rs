//! Which shortcuts are taken.

use crate::engine::Decider;

/// The shortcuts of filter and prioritize. Each has a slow twin that gives the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastPaths {
    /// Cut the list of names at its quotes; else it is read as JSON.
    pub cut: bool,
    /// Guess which name comes next; else each is searched and looked up.
    pub guess: bool,
    /// Copy names side by side in one piece; else one by one.
    pub blocks: bool,
    /// Answer prioritize with what its filter found; else everything is done again.
    pub memo: bool,
    /// Keep what local rules find on every node; else each offered node is looked at again. The decider's
    /// matter: see [`FastPaths::on_decider`].
    pub scan: bool,
}

impl FastPaths {
    /// All on.
    pub const ALL: Self = Self { cut: true, guess: true, blocks: true, memo: true, scan: true };
    /// All off.
    pub const NONE: Self =
        Self { cut: false, guess: false, blocks: false, memo: false, scan: false };
}

impl FastPaths {
    /// A decider that takes those of them that are its own.
    #[must_use]
    pub fn on_decider(self, decider: Decider) -> Decider {
        if self.scan { decider } else { decider.without_equivalence_cache() }
    }
}

impl Default for FastPaths {
    fn default() -> Self {
        Self::ALL
    }
}

//! Which shortcuts are taken.

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
}

impl FastPaths {
    /// All on.
    pub const ALL: Self = Self { cut: true, guess: true, blocks: true, memo: true };
    /// All off.
    pub const NONE: Self = Self { cut: false, guess: false, blocks: false, memo: false };
}

impl Default for FastPaths {
    fn default() -> Self {
        Self::ALL
    }
}

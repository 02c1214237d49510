//! What rules are built from: a policy's settings as one class sees them, resolved and typed.

use crate::model::{Amounts, DomainLevel, PoolOrd};

/// Shares of a node's allocatable, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of CPU.
    pub cpu_permille: u32,
    /// Of memory.
    pub memory_permille: u32,
}

impl Share {
    /// All of it: what in-tree fit allows anyway.
    pub const ALL: Self = Self { cpu_permille: 1000, memory_permille: 1000 };

    /// `permille` of `amount`, rounded down; exact for any amount.
    pub fn of(permille: u32, amount: i64) -> i64 {
        match amount.checked_mul(i64::from(permille)) {
            Some(product) => product / 1000,
            // Rare, and a division of 128 bits costs as much as a whole rule.
            None => {
                i64::try_from(i128::from(amount) * i128::from(permille) / 1000).unwrap_or(i64::MAX)
            }
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
}

/// A pool as one class sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolParams {
    /// Its nodes' capacity is not real; only `limit` bounds it.
    pub elastic: bool,
    /// Most that requests may take of each node: the class's own `allocation`, else the pool's.
    pub allocation: Share,
    /// Most that requests may take of the whole pool.
    pub limit: Option<Amounts>,
}

/// What replicas of an app spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpreadKey {
    /// A level of the topology.
    Level(DomainLevel),
    /// The node itself (`kubernetes.io/hostname`).
    Node,
}

impl SpreadKey {
    /// The label of nodes whose values are the domains.
    pub fn label(self) -> &'static str {
        match self {
            Self::Level(level) => level.label(),
            Self::Node => "kubernetes.io/hostname",
        }
    }
}

/// How a class spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpreadParams {
    /// Over what.
    pub key: SpreadKey,
    /// Most of an app's replicas in one domain, in thousandths; `None`: only scored.
    pub max_share_permille: Option<u32>,
}

/// A class's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassParams {
    /// Every pool of the policy, by ordinal.
    pub pools: Vec<PoolParams>,
    /// The pools open to the class, in order of preference. `None`: the class names none, so every
    /// node is open, in a pool or not.
    pub order: Option<Vec<PoolOrd>>,
    /// The policy itself names the pools of the class, so their order is a preference.
    pub is_ordered: bool,
    /// How replicas spread.
    pub spread: Option<SpreadParams>,
    /// Preemption never evicts its pods: declared, or the class is exempt.
    pub is_protected: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_do_not_overflow() {
        assert_eq!(Share::of(900, 96_000), 86_400);
        assert_eq!(Share::of(333, 10), 3);
        assert_eq!(Share::of(1000, i64::MAX), i64::MAX);
    }
}

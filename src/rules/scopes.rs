//! Scopes: the inputs that a rule's result on a node depends on.
//!
//! Every rule also sees the class, the policy's pools, and the pod's requests and tolerations. These are the same for
//! all pods of an equivalence class, so they are no scope. Caches keep a result only as long as its scopes allow.

/// A set of inputs. A result changes only if an input of the set changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// The node's own row: its state, capacity and pool, what its pods request, and what is uncommitted on it.
    pub const NODE: Self = Self(1);
    /// The sums over all nodes of the node's pool.
    pub const POOL: Self = Self(1 << 1);
    /// The node's failure domain at the class's level, and the other nodes of it.
    pub const DOMAIN: Self = Self(1 << 2);
    /// The replicas of the pod's app. A replica on a node never makes that node better for another one.
    pub const APP: Self = Self(1 << 3);
    /// The pod's images, and the nodes that have them.
    pub const IMAGES: Self = Self(1 << 4);
    /// The moment of the decision.
    pub const TIME: Self = Self(1 << 5);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if the sets have an input in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True if the node's row is the only input. The result then holds for every pod of the equivalence class until the
    /// row changes.
    pub const fn is_local(self) -> bool {
        self.0 & !Self::NODE.0 == 0
    }

    /// True if the result is the same on all nodes of one pool and one failure domain that have no replica of the pod's
    /// app.
    pub const fn is_alike_in_groups(self) -> bool {
        !self.intersects(Self::NODE.and(Self::IMAGES))
    }
}

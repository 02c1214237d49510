//! Bounds: the numbers behind a verdict, for people. No answer is made of them.

use super::Share;
use crate::model::{Amounts, Reason};

/// One comparison of a rule with a limit. The rule objects where it is [exceeded](Self::is_exceeded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The verdict where it is exceeded.
    pub reason: Reason,
    /// What is compared: [`CPU`], [`MEMORY`], [`EPHEMERAL_STORAGE`], [`PODS`], [`REPLICAS`], or an extended
    /// resource.
    pub resource: Box<str>,
    /// Over what it is summed.
    pub scope: BoundScope,
    /// By the pod itself.
    pub asked: i64,
    /// By placed pods.
    pub requested: i64,
    /// By holds and nominations of other pods.
    pub uncommitted: i64,
    /// The most that all of these may be together.
    pub limit: i64,
    /// What the limit is a share of, and the share in thousandths.
    pub share: Option<(i64, u32)>,
}

/// Over what a bound is summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundScope {
    /// The node.
    Node,
    /// All nodes of this pool.
    Pool(Box<str>),
    /// A failure domain: a node label's key and value.
    Domain(Box<str>, Box<str>),
}

/// CPU in thousandths of a core.
pub const CPU: &str = "cpu_milli";
/// Memory in bytes.
pub const MEMORY: &str = "memory_bytes";
/// Ephemeral storage in bytes.
pub const EPHEMERAL_STORAGE: &str = "ephemeral_storage_bytes";
/// Number of pods.
pub const PODS: &str = "pods";
/// Number of replicas of the pod's app.
pub const REPLICAS: &str = "replicas";

impl Bound {
    /// What there would be with the pod.
    pub fn sum(&self) -> i64 {
        self.asked.saturating_add(self.requested).saturating_add(self.uncommitted)
    }

    /// True when the pod does not fit under the limit.
    pub fn is_exceeded(&self) -> bool {
        self.sum() > self.limit
    }
}

/// The base resources by name, out of `asked`, `requested`, `uncommitted` and `limit`.
pub(super) fn base(
    reason: Reason,
    scope: &BoundScope,
    [asked, requested, uncommitted, limit]: [Amounts; 4],
) -> [Bound; 4] {
    let bound = |resource: &str, of: fn(&Amounts) -> i64| Bound {
        reason,
        resource: resource.into(),
        scope: scope.clone(),
        asked: of(&asked),
        requested: of(&requested),
        uncommitted: of(&uncommitted),
        limit: of(&limit),
        share: None,
    };
    [
        bound(CPU, |it| it.cpu_milli),
        bound(MEMORY, |it| it.memory_bytes),
        bound(EPHEMERAL_STORAGE, |it| it.ephemeral_bytes),
        bound(PODS, |it| it.pods),
    ]
}

impl Bound {
    /// The same comparison with a share of the limit.
    pub(super) fn with_share(self, reason: Reason, permille: u32) -> Self {
        let (limit, share) = (Share::of(permille, self.limit), Some((self.limit, permille)));
        Self { reason, limit, share, ..self }
    }
}

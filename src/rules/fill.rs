//! How full nodes would be with the pod on them: computed once for all scorers that look at it.

use super::{MAX_POINTS, RuleContext};
use crate::model::{NodeOrd, PoolOrd};

/// A node's CPU and memory in use with the pod on it, in thousandths of what it has, at most 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// CPU.
    pub cpu_permille: u16,
    /// Memory.
    pub memory_permille: u16,
}

impl Fill {
    /// Of an elastic node: its capacity is not real and must not be compared with a real one.
    pub const UNBOUNDED: Self = Self { cpu_permille: u16::MAX, memory_permille: u16::MAX };

    /// Puts the fill of each node into `fills`, by position.
    pub fn of(cx: &RuleContext<'_>, nodes: &[NodeOrd], fills: &mut Vec<Self>) {
        let mut elastic = [false; PoolOrd::MAX_POOLS + 1];
        for (slot, pool) in elastic.iter_mut().zip(&*cx.snapshot.pools) {
            *slot = pool.elastic;
        }
        let (columns, uncommitted, ask) =
            (&cx.snapshot.columns, cx.uncommitted, cx.pod.requests.base);
        // Columns of one length: a row is checked against it once.
        let rows = columns.pool.len();
        let pools = &columns.pool[..rows];
        let cpu = FillInput::new(
            ask.cpu_milli,
            rows,
            [&columns.used_cpu_milli, &uncommitted.cpu_milli, &columns.allocatable_cpu_milli],
        );
        let memory = FillInput::new(
            ask.memory_bytes,
            rows,
            [
                &columns.used_memory_bytes,
                &uncommitted.memory_bytes,
                &columns.allocatable_memory_bytes,
            ],
        );
        fills.clear();
        fills.extend(nodes.iter().map(move |ord| {
            let at = ord.index();
            if at >= rows || elastic[pools[at].index().min(PoolOrd::MAX_POOLS)] {
                return Self::UNBOUNDED;
            }
            Self { cpu_permille: cpu.permille(at), memory_permille: memory.permille(at) }
        }));
    }
}

#[derive(Clone, Copy)]
struct FillInput<'a> {
    ask: i64,
    used: &'a [i64],
    uncommitted: &'a [i64],
    has: &'a [i64],
}

impl<'a> FillInput<'a> {
    fn new(ask: i64, rows: usize, [used, uncommitted, has]: [&'a [i64]; 3]) -> Self {
        let ask = ask.min(1 << 48);
        Self { ask, used: &used[..rows], uncommitted: &uncommitted[..rows], has: &has[..rows] }
    }

    /// A node without the resource is full.
    #[inline]
    fn permille(&self, at: usize) -> u16 {
        let (part, whole) = (self.used[at] + self.uncommitted[at] + self.ask, self.has[at]);
        if whole <= 0 || part >= whole {
            return MAX_POINTS;
        }
        // Below 2^48 by construction, so the product fits.
        (part.max(0) as u64 * u64::from(MAX_POINTS) / whole as u64) as u16
    }
}

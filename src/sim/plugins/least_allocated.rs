//! NodeResourcesFit, strategy LeastAllocated: the unused share of CPU and memory, averaged.

use super::MAX_NODE_SCORE;
use crate::model::Amounts;

/// What scoring counts for a pod that asks for no CPU, in milli-cores.
const DEFAULT_CPU_MILLI: i64 = 100;
/// What scoring counts for a pod that asks for no memory: 200 MiB.
const DEFAULT_MEMORY_BYTES: i64 = 200 << 20;

/// What scoring counts for a pod: defaults for what it does not ask for. (The real one has a default
/// for each container that does not ask; here a pod is one container.)
pub fn non_zero(ask: Amounts) -> Amounts {
    let or = |asked: i64, default: i64| if asked == 0 { default } else { asked };
    Amounts {
        cpu_milli: or(ask.cpu_milli, DEFAULT_CPU_MILLI),
        memory_bytes: or(ask.memory_bytes, DEFAULT_MEMORY_BYTES),
        ..ask
    }
}

/// The score of a node on which pods ask for `used`, summed over [`non_zero`] amounts.
pub fn score(ask: Amounts, used: Amounts, allocatable: Amounts) -> i64 {
    let mut after = used;
    after += non_zero(ask);
    let shares =
        [(after.cpu_milli, allocatable.cpu_milli), (after.memory_bytes, allocatable.memory_bytes)];
    let known = shares.into_iter().filter(|(_, has)| *has != 0);
    let (mut sum, mut count) = (0, 0);
    for (used, has) in known {
        let free = i128::from(has.saturating_sub(used).max(0));
        sum += (free * i128::from(MAX_NODE_SCORE) / i128::from(has)) as i64;
        count += 1;
    }
    sum.checked_div(count).unwrap_or(0)
}

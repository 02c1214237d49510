//! NodeResourcesBalancedAllocation: since 1.36 the gain in balance that the pod brings, not the balance.

use super::MAX_NODE_SCORE;
use crate::model::Amounts;

/// The score of a node on which pods ask for `used`: 75 ± 25, and 0 for a pod that asks for nothing.
pub fn score(ask: Amounts, used: Amounts, allocatable: Amounts) -> i64 {
    if ask.cpu_milli == 0 && ask.memory_bytes == 0 {
        return 0;
    }
    let mut after = used;
    after += ask;
    let gain = balance(after, allocatable) - balance(used, allocatable);
    MAX_NODE_SCORE / 2 + (MAX_NODE_SCORE / 2 + gain) / 2
}

/// 100 when CPU and memory are used in equal shares, 50 when one is used up and the other unused.
fn balance(used: Amounts, has: Amounts) -> i64 {
    if has.cpu_milli == 0 || has.memory_bytes == 0 {
        return MAX_NODE_SCORE;
    }
    // Division, subtraction and halving are exact to the last bit everywhere (IEEE 754).
    let share = |used: i64, has: i64| (used as f64 / has as f64).min(1.0);
    let cpu = share(used.cpu_milli, has.cpu_milli);
    let memory = share(used.memory_bytes, has.memory_bytes);
    let deviation = ((cpu - memory) / 2.0).abs();
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}

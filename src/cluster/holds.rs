//! Holds: what we answered and no watch has confirmed yet.
//!
//! We do not bind, so after an answer the winner is unknown until the watch tells. In-tree fit
//! protects plain requests in the meantime; our own limits would be overrun by back-to-back filters
//! without a note of the pod's request on every node that was answered, once per pool and domain.
//!
//! ```text
//!   filter answers ──▶ held ──▶ released by: a snapshot that counts the pod · its next filter ·
//!                               deletion · TTL
//! ```
//!
//! No condition of the pod ends a hold. `PodScheduled=False` does not name the attempt that failed:
//! kube-scheduler may write the condition of one attempt after we have answered the next one.
//!
//! A hold is never the truth: it lives in the memory of the replica that answered, and expires; not
//! while the watch is silent or interrupted, since nobody else tells of what is bound then.

mod nominated;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::change_log::ChangeLog;
use super::existing_anti_affinity::ExistingAntiAffinity;
use super::pod_records::{Nominee, ResourceOrd, bounded, bounded_amount, claim_of, name_hash};
use super::snapshot::{Snapshot, Watch};
use super::state::Confirmed;
use crate::model::{
    Amounts, AppKey, Constraints, NodeOrd, Nomination, Pod, PodUid, PoolOrd, Requests, Tick,
};

/// Most pods that may hold something; beyond it, the hold that would end first ends. A scheduler asks
/// a few hundred times a second, so only a caller gone wild gets here.
const MAX_HOLDS: usize = 1 << 14;

/// How long the watch of pods may say nothing before it is taken for dead, as far as holds go. A
/// pod's binding would have been told within the rest of a hold's time.
pub const MAX_SILENCE_MS: u64 = 15_000;

/// How long a hold may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    /// For a pod whose binding takes one write.
    pub ttl_ms: u64,
    /// For a pod with volumes, whose binding may wait for a provisioner.
    pub volume_ttl_ms: u64,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { ttl_ms: 30_000, volume_ttl_ms: 600_000 }
    }
}

/// Names one hold of a replica. The hold of a pod's next answer has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldId(pub u64);

/// What a pod that was answered may still take.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Which hold this is.
    pub id: HoldId,
    /// The nodes that were answered.
    pub nodes: Vec<NodeOrd>,
    /// The pools of these nodes, each once.
    pub pools: Vec<PoolOrd>,
    /// Who holds how much.
    pub claim: Nomination,
    /// The claim's extended requests by ordinal.
    pub extended: Vec<(ResourceOrd, i64)>,
    /// When it ends by itself.
    pub expires: Tick,
    /// Of the pod's namespace and name.
    name_hash: u64,
}

/// What is taken beside the snapshot's sums, as the pod under decision sees it: holds of other pods,
/// nominations of its priority and above, and (negative) the victims of a preemption.
#[derive(Clone, Debug, Default)]
pub struct Uncommitted {
    /// CPU in milli-cores, by node.
    pub cpu_milli: Vec<i64>,
    /// Memory in bytes, by node.
    pub memory_bytes: Vec<i64>,
    /// Ephemeral storage in bytes, by node.
    pub ephemeral_bytes: Vec<i64>,
    /// Pods, by node.
    pub pods: Vec<i64>,
    /// Sums by pool.
    pub pools: Vec<Amounts>,
    /// Extended resources, few: `(node, resource, amount)`.
    pub extended: Vec<(NodeOrd, ResourceOrd, i64)>,
    /// Possible places of the same app's unconfirmed replicas, grouped by replica: each group counts
    /// once per failure domain.
    pub replicas: Vec<(u32, NodeOrd)>,
    /// Replicas of the same app that a preemption would remove.
    pub removed_replicas: Vec<NodeOrd>,
    /// Nodes where more or less is taken than by the holds alone: what the pod itself holds does not
    /// count, and nominations do.
    pub differs: Vec<NodeOrd>,
}

impl Uncommitted {
    /// Makes every column long enough for a snapshot.
    pub fn fit(&mut self, snapshot: &Snapshot) {
        let rows = snapshot.capacity();
        for column in
            [&mut self.cpu_milli, &mut self.memory_bytes, &mut self.ephemeral_bytes, &mut self.pods]
        {
            if column.len() < rows {
                column.resize(rows, 0);
            }
        }
        if self.pools.len() < snapshot.pools.len() {
            self.pools.resize(snapshot.pools.len(), Amounts::default());
        }
    }

    /// Adds (`sign` 1) or takes away (−1) amounts on a node.
    pub fn shift_node(&mut self, ord: NodeOrd, amounts: Amounts, sign: i64) {
        let at = ord.index();
        for (column, amount) in [
            (&mut self.cpu_milli, amounts.cpu_milli),
            (&mut self.memory_bytes, amounts.memory_bytes),
            (&mut self.ephemeral_bytes, amounts.ephemeral_bytes),
            (&mut self.pods, amounts.pods),
        ] {
            if let Some(cell) = column.get_mut(at) {
                *cell += amount * sign;
            }
        }
    }

    /// Adds (`sign` 1) or takes away (−1) amounts in a pool.
    pub fn shift_pool(&mut self, pool: PoolOrd, amounts: Amounts, sign: i64) {
        if let Some(row) = self.pools.get_mut(pool.index()) {
            if sign < 0 {
                *row -= amounts;
            } else {
                *row += amounts;
            }
        }
    }
}

/// All holds of a replica, and the sums over them.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    limits: HoldLimits,
    last_id: HoldId,
    by_uid: FxHashMap<PodUid, Hold>,
    by_name: FxHashMap<u64, PodUid>,
    /// Who holds something, by app: a request looks at its own app's holds only.
    by_app: BTreeSet<(AppKey, PodUid)>,
    /// Those of them that must be apart from somebody.
    existing_anti_affinity: BTreeMap<PodUid, Arc<Constraints>>,
    sums: Uncommitted,
    changes: ChangeLog,
}

impl Holds {
    /// No holds yet, with these limits.
    pub fn new(limits: HoldLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Number of pods that hold something.
    pub fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// True when nobody holds anything.
    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }

    /// A pod's hold.
    pub fn get(&self, uid: PodUid) -> Option<&Hold> {
        self.by_uid.get(&uid)
    }

    /// Notes that `pod` may take its request on any of `nodes`. Replaces what it held before.
    pub fn place(&mut self, snapshot: &Snapshot, pod: &Pod, nodes: &[NodeOrd], now: Tick) {
        self.release(pod.uid);
        if nodes.is_empty() {
            return;
        }
        self.sums.fit(snapshot);
        let ttl_ms =
            if pod.claims_volumes() { self.limits.volume_ttl_ms } else { self.limits.ttl_ms };
        if self.by_uid.len() >= MAX_HOLDS {
            let first = self.by_uid.iter().min_by_key(|(uid, hold)| (hold.expires, **uid));
            if let Some(uid) = first.map(|(uid, _)| *uid) {
                self.release(uid);
            }
        }
        let mut claim = claim_of(pod);
        claim.requests.base = bounded(claim.requests.base);
        // A request that offers a node twice still means one place on it.
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        self.last_id.0 += 1;
        let hold = Hold {
            id: self.last_id,
            pools: pools_of(snapshot, &nodes),
            nodes,
            extended: extended_of(snapshot, &claim.requests),
            claim,
            expires: now.plus_ms(ttl_ms),
            name_hash: name_hash(&pod.namespace, &pod.name),
        };
        self.count(&hold, 1);
        self.by_name.insert(hold.name_hash, pod.uid);
        self.by_app.extend(hold.claim.app.map(|app| (app, pod.uid)));
        self.existing_anti_affinity.extend(pod.pod_anti_affinity().map(|it| (pod.uid, it.clone())));
        self.by_uid.insert(pod.uid, hold);
    }

    /// A new filter of a pod proves that its earlier attempt is dead, and that another pod of its
    /// name is: both give up what they hold.
    ///
    /// Not so while the watch is interrupted: the earlier binding may have been carried out and only
    /// its answer be lost. Then the nodes are given back for the caller to hold on to.
    pub fn supersede(&mut self, snapshot: &Snapshot, pod: &Pod) -> Vec<NodeOrd> {
        if snapshot.pods_watch == Watch::Disconnected {
            let nodes = self.get(pod.uid).map(|hold| hold.nodes.clone());
            self.release(pod.uid);
            return nodes.unwrap_or_default();
        }
        self.release(pod.uid);
        if let Some(uid) = self.by_name.get(&name_hash(&pod.namespace, &pod.name)) {
            self.release(*uid);
        }
        Vec::new()
    }

    /// Ends a pod's hold; false when it had none.
    pub fn release(&mut self, uid: PodUid) -> bool {
        let Some(hold) = self.by_uid.remove(&uid) else {
            return false;
        };
        self.count(&hold, -1);
        if self.by_name.get(&hold.name_hash) == Some(&uid) {
            self.by_name.remove(&hold.name_hash);
        }
        if let Some(app) = hold.claim.app {
            self.by_app.remove(&(app, uid));
        }
        self.existing_anti_affinity.remove(&uid);
        true
    }

    /// Takes note of what a publication confirmed; true when a hold ended.
    pub fn confirm(&mut self, confirmed: Confirmed) -> bool {
        match confirmed {
            Confirmed::Placed(uid) | Confirmed::Gone(uid) => self.release(uid),
            // The pod may still be bound by its answer.
            Confirmed::Restored(_) => false,
            Confirmed::Recycled(ord) => {
                let sums = &mut self.sums;
                self.changes.note(ord);
                for hold in self.by_uid.values_mut().filter(|hold| hold.nodes.contains(&ord)) {
                    hold.nodes.retain(|it| *it != ord);
                    sums.shift_node(ord, hold.claim.requests.base, -1);
                    sums.extended.retain(|(node, _, _)| *node != ord);
                }
                false
            }
        }
    }

    /// Ends what has lived too long; gives the number of holds that ended.
    pub fn expire(&mut self, now: Tick) -> usize {
        let over = self.by_uid.iter().filter(|(_, hold)| hold.expires <= now);
        let over: Vec<PodUid> = over.map(|(uid, _)| *uid).collect();
        over.iter().filter(|uid| self.release(**uid)).count()
    }

    /// Sums anew over the pools of another policy.
    pub fn repool(&mut self, snapshot: &Snapshot) {
        self.sums = Uncommitted::default();
        self.sums.fit(snapshot);
        self.changes.note_all();
        for hold in self.by_uid.values_mut() {
            hold.pools = pools_of(snapshot, &hold.nodes);
            shift_hold(&mut self.sums, hold, 1);
        }
    }

    /// What all holds take, and on which nodes that changed lately.
    pub fn sums(&mut self, snapshot: &Snapshot) -> (&Uncommitted, &ChangeLog) {
        self.sums.fit(snapshot);
        (&self.sums, &self.changes)
    }

    /// Adds (1) a hold to the sums or takes it away (−1).
    fn count(&mut self, hold: &Hold, sign: i64) {
        hold.nodes.iter().for_each(|ord| self.changes.note(*ord));
        shift_hold(&mut self.sums, hold, sign);
    }

    /// Lends `decide` what is taken beside the snapshot's sums, as `pod` sees it: every hold but its
    /// own, and nominations of other pods of its priority and above.
    pub fn seen_by<T>(
        &mut self,
        snapshot: &Snapshot,
        pod: &Pod,
        decide: impl FnOnce(&mut Uncommitted) -> T,
    ) -> T {
        self.sums.fit(snapshot);
        let own = self.by_uid.get(&pod.uid).cloned();
        if let Some(own) = &own {
            shift_hold(&mut self.sums, own, -1);
            self.sums.differs.extend_from_slice(&own.nodes);
        }
        let num_extended = self.sums.extended.len();
        let claims = self.claims_seen_by(snapshot, pod);
        for claim in &claims {
            shift_claim(&mut self.sums, snapshot, claim, 1);
        }
        let on_node = claims.iter().filter(|claim| claim.on_node);
        self.sums.differs.extend(on_node.map(|claim| claim.nominee.node));
        let mut replicas = std::mem::take(&mut self.sums.replicas);
        self.replicas_seen_by(snapshot, pod, &mut replicas);
        self.sums.replicas = replicas;
        let out = decide(&mut self.sums);
        self.sums.replicas.clear();
        self.sums.removed_replicas.clear();
        self.sums.differs.clear();
        for claim in &claims {
            shift_claim(&mut self.sums, snapshot, claim, -1);
        }
        self.sums.extended.truncate(num_extended);
        if let Some(own) = &own {
            shift_hold(&mut self.sums, own, 1);
        }
        out
    }

    /// Nominations that `pod` must respect. What the nominated pod holds as well counts once, on the
    /// node and in the pool.
    fn claims_seen_by<'a>(&self, snapshot: &'a Snapshot, pod: &Pod) -> Vec<Claim<'a>> {
        if snapshot.nominees.is_empty() {
            return Vec::new();
        }
        let nominees = snapshot.nominees.iter().map(|(_, nominee)| &**nominee);
        let others = nominees.filter(|it| respects(pod, &it.claim));
        let claims = others.map(|nominee| {
            let hold = self.by_uid.get(&nominee.claim.uid);
            let pool = snapshot.pool(nominee.node);
            Claim {
                nominee,
                on_node: hold.is_none_or(|hold| !hold.nodes.contains(&nominee.node)),
                in_pool: hold.is_none_or(|hold| !hold.pools.contains(&pool)),
            }
        });
        claims.filter(|claim| claim.on_node || claim.in_pool).collect()
    }

    /// Adds the possible places of the unconfirmed replicas of `pod`'s app, as in [`Uncommitted::replicas`].
    pub fn replicas_seen_by(
        &self,
        snapshot: &Snapshot,
        pod: &Pod,
        replicas: &mut Vec<(u32, NodeOrd)>,
    ) {
        let Some(app) = pod.app() else {
            return;
        };
        let mut group = 0;
        let of_app = self.by_app.range((app, PodUid(0))..=(app, PodUid(u128::MAX)));
        let holds = of_app.filter_map(|(_, uid)| self.by_uid.get(uid));
        for hold in holds.filter(|it| it.claim.uid != pod.uid) {
            replicas.extend(hold.nodes.iter().map(|ord| (group, *ord)));
            let nominee = snapshot.nominees.get(hold.claim.uid.0);
            let nominee = nominee.filter(|it| respects(pod, &it.claim));
            replicas.extend(nominee.map(|it| (group, it.node)));
            group += 1;
        }
        if snapshot.nominees.is_empty() {
            return;
        }
        for (_, nominee) in snapshot.nominees.iter() {
            let claim = &nominee.claim;
            let unheld = !self.by_uid.contains_key(&claim.uid);
            if unheld && claim.app == Some(app) && respects(pod, claim) {
                replicas.push((group, nominee.node));
                group += 1;
            }
        }
    }

    /// From whom pods must be apart, placed or on their way: those that hold something wherever they may come
    /// to, and nominated ones. All of them, or those that `pod` must respect.
    pub fn existing_anti_affinity(
        &self,
        snapshot: &Snapshot,
        pod: Option<&Pod>,
    ) -> ExistingAntiAffinity {
        let mut all = snapshot.existing_anti_affinity.clone();
        let others = self
            .existing_anti_affinity
            .iter()
            .filter(|(uid, _)| pod.is_none_or(|pod| pod.uid != **uid));
        for (hold, existing_anti_affinity) in
            others.filter_map(|(uid, it)| Some((self.by_uid.get(uid)?, it)))
        {
            hold.nodes
                .iter()
                .for_each(|ord| all.count(&existing_anti_affinity.pod_anti_affinity, *ord, 1));
        }
        if snapshot.nominees.is_empty() {
            return all;
        }
        for (_, nominee) in snapshot.nominees.iter() {
            let counts = |pod: &Pod| respects(pod, &nominee.claim);
            if let Some(existing_anti_affinity) =
                nominee.existing_anti_affinity.as_ref().filter(|_| pod.is_none_or(counts))
            {
                all.count(&existing_anti_affinity.pod_anti_affinity, nominee.node, 1);
            }
        }
        all
    }
}

/// A nomination, and where it counts beside its pod's hold.
struct Claim<'a> {
    nominee: &'a Nominee,
    on_node: bool,
    in_pool: bool,
}

/// A pod respects the claims of other pods of its priority and above.
fn respects(pod: &Pod, claim: &Nomination) -> bool {
    claim.uid != pod.uid && claim.priority >= pod.priority
}

/// Adds (1) or takes away (−1) a nomination; its extended requests are only added, at the end.
fn shift_claim(sums: &mut Uncommitted, snapshot: &Snapshot, claim: &Claim<'_>, sign: i64) {
    let Nominee { node, claim: Nomination { requests, .. }, .. } = claim.nominee;
    if claim.in_pool {
        sums.shift_pool(snapshot.pool(*node), bounded(requests.base), sign);
    }
    if claim.on_node {
        sums.shift_node(*node, bounded(requests.base), sign);
        if sign > 0 && !requests.extended.is_empty() {
            let extended = extended_of(snapshot, requests).into_iter();
            sums.extended.extend(extended.map(|(resource, amount)| (*node, resource, amount)));
        }
    }
}

fn pools_of(snapshot: &Snapshot, nodes: &[NodeOrd]) -> Vec<PoolOrd> {
    let mut pools: Vec<PoolOrd> = nodes.iter().map(|ord| snapshot.pool(*ord)).collect();
    pools.sort_unstable();
    pools.dedup();
    pools
}

pub(super) fn extended_of(snapshot: &Snapshot, requests: &Requests) -> Vec<(ResourceOrd, i64)> {
    let known = requests.extended.iter();
    known.filter_map(|it| Some((snapshot.resource(&it.name)?, bounded_amount(it.amount)))).collect()
}

fn shift_hold(sums: &mut Uncommitted, hold: &Hold, sign: i64) {
    for ord in &hold.nodes {
        sums.shift_node(*ord, hold.claim.requests.base, sign);
        for &(resource, amount) in &hold.extended {
            if sign > 0 {
                sums.extended.push((*ord, resource, amount));
            } else if let Some(at) =
                sums.extended.iter().position(|it| *it == (*ord, resource, amount))
            {
                sums.extended.swap_remove(at);
            }
        }
    }
    for pool in &hold.pools {
        sums.shift_pool(*pool, hold.claim.requests.base, sign);
    }
}

#[cfg(test)]
mod tests;

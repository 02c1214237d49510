//! What the admin listener shows of the server itself: readiness, watches, the policy on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::ServeMetrics;
use super::policy_state::PolicyState;
use super::tls_files::TlsFiles;
use super::watch_metrics::WatchMetrics;
use crate::control::{Ground, Obstacle, SteeringPart};
use crate::engine::PreemptVerb;
use crate::http::{
    Acting, Admin, Check, PolicyOnDisk, PolicyOrigin, PolicySourceKind, ProcessState,
};
use crate::k8s::kinds::kinds;
use crate::k8s::{AbsentKind, RefusedWatch, WatchHealth};
use crate::metrics::Metrics;
use crate::model::Kind;
use crate::runtime::{SharedState, WriterMetrics};

/// How often gauges follow what they show.
const REFRESH: Duration = Duration::from_secs(1);

/// What only the process knows of itself.
pub(super) struct ServeState {
    pub(super) shared: Arc<SharedState>,
    pub(super) health: Arc<WatchHealth>,
    pub(super) policy: Arc<PolicyState>,
    pub(super) tls: Option<Arc<TlsFiles>>,
    pub(super) acting: Acting,
}

impl ServeState {
    /// An admin listener that shows this and the rest of the replica.
    pub(super) fn admin(self, metrics: Arc<Metrics>) -> Admin {
        let (shared, acting) = (self.shared.clone(), Some(self.acting.clone()));
        Admin { shared, metrics, process: Arc::new(self), acting }
    }
}

impl ProcessState for ServeState {
    fn checks(&self) -> Vec<Check> {
        let Self { shared, health, policy, tls, acting } = self;
        let watches = shown(health).map(|kind| watch_check(shared, health, kind));
        // The last good identity serves, as the last good policy does: never unready.
        let tls = tls.iter().map(|it| Check {
            name: "tls".into(),
            ok: true,
            failing: it.is_stale(),
            detail: it.summary(),
        });
        let own =
            [policy_check(shared, policy), steering_check(shared, acting), actions_check(acting)];
        watches.chain(own).chain(tls).collect()
    }

    fn policy_on_disk(&self) -> PolicyOnDisk {
        self.policy.on_disk()
    }

    fn policy_origin(&self) -> PolicyOrigin {
        self.policy.origin()
    }
}

/// The kinds that are watched, and those that we tried to.
fn shown(health: &WatchHealth) -> impl Iterator<Item = Kind> {
    let is_tried = |kind: &Kind| {
        let state = health.kind(*kind);
        let is_asked = state.last_heard.is_some() || state.error.is_some();
        kind.is_required() || is_asked || state.absent.is_some()
    };
    kinds().filter(is_tried)
}

fn watch_check(shared: &SharedState, health: &WatchHealth, kind: Kind) -> Check {
    let state = health.kind(kind);
    let behind = health.behind(kind, Instant::now());
    let heard = behind
        .map_or("not heard of yet".to_owned(), |it| format!("heard {:.1} s ago", it.as_secs_f64()));
    // Being listed once is enough: stale data serves better than none, and taking every replica out
    // of service helps nobody.
    let listed = shared.listed(kind);
    let mut detail = match listed {
        true => format!("list complete, {heard}, at {}", state.resource_version),
        false => format!("list not complete, {} objects so far, {heard}", state.num_objects),
    };
    // An absent kind is no fault. A missing right is one that somebody can mend.
    let is_forbidden = state.absent.as_ref().is_some_and(|it| it.is_forbidden);
    let failing = state.error.is_some() || state.refused.is_some() || is_forbidden;
    match (state.refused, state.error) {
        (Some(refused), error) => {
            let ago = refused.since.map_or(Duration::ZERO, |since| since.elapsed()).as_secs();
            let RefusedWatch { count, text, .. } = refused;
            detail += &format!("; refused {count} times in {ago} s: {text}");
            detail += &error.filter(|it| *it != text).map_or(String::new(), |it| format!("; {it}"));
        }
        (None, Some(error)) => detail += &format!("; {error}"),
        (None, None) => {}
    }
    if let Some(AbsentKind { is_forbidden, text }) = state.absent {
        let why = if is_forbidden { "no right to list it" } else { "not served" };
        detail += &format!("; {why}, looked for again: {text}");
    }
    if state.num_undecodable > 0 {
        let last = state.last_undecodable.unwrap_or_default();
        detail += &format!("; {} undecodable, last {last}", state.num_undecodable);
    }
    let ok = listed || !kind.is_required();
    Check { name: format!("watch {}", kind.name), ok, failing, detail }
}

/// Unready only without any policy: a last good one serves. An old pod of a rollout has one, and stays.
fn policy_check(shared: &SharedState, policy: &PolicyState) -> Check {
    let (view, origin) = (shared.view(), policy.origin());
    let ok = origin.source != PolicySourceKind::None;
    let mut detail = match ok {
        true => format!("{} generation {}", view.plan.name, view.plan_generation),
        false => "none, and virtual nodes are shut".to_owned(),
    };
    let why = policy.on_disk().why();
    let failing = !ok || why.is_some() || origin.state_error.is_some();
    if let Some(why) = why {
        detail += &format!("; the one on disk is not in force: {why}");
    }
    if let Some(age) = origin.age_seconds() {
        let place = origin.source.name().replace('_', " ");
        detail += &format!("; from the {place}, accepted {age} s ago");
    }
    if let Some(why) = origin.state_error {
        detail += &format!("; not kept: {why}");
    }
    Check { name: "policy".to_owned(), ok, failing, detail }
}

/// Never unready: pods are placed without it.
fn steering_check(shared: &SharedState, acting: &Acting) -> Check {
    let found = obstacles(shared, acting);
    let failing = found.iter().any(|it| matches!(it.ground, Ground::Right | Ground::Breaker));
    let detail = if found.is_empty() { "on".to_owned() } else { told(&found) };
    Check { name: "steering".to_owned(), ok: true, failing, detail }
}

/// Never unready: pods are placed without it.
fn actions_check(acting: &Acting) -> Check {
    let stopped = acting.actor.stopped();
    let detail = match &stopped[..] {
        [] => "no kind is stopped".to_owned(),
        names => format!("stopped by the policy: {}", names.join(", ")),
    };
    Check { name: "actions".to_owned(), ok: true, failing: !stopped.is_empty(), detail }
}

/// What is off of steering, for all pods or for some classes.
fn obstacles(shared: &SharedState, acting: &Acting) -> Vec<Obstacle> {
    shared.decide(|decider, view, _| acting.steering(decider).of_all(&view.plan))
}

fn told(obstacles: &[Obstacle]) -> String {
    obstacles.iter().map(ToString::to_string).collect::<Vec<_>>().join(". ")
}

/// Says once what is off of steering, and when that changes.
#[derive(Default)]
struct SteeringLog {
    said: String,
    warned: bool,
}

impl SteeringLog {
    fn follow(&mut self, obstacles: &[Obstacle], metrics: &ServeMetrics) {
        for (part, ground) in
            SteeringPart::ALL.iter().flat_map(|it| Ground::COMMON.map(|why| (it, why)))
        {
            let is_off = obstacles.iter().any(|it| (it.part, it.ground) == (*part, ground));
            let gauge = metrics.steering_off.with_label_values(&[part.name(), ground.name()]);
            gauge.set(i64::from(is_off));
        }
        let now = told(obstacles);
        // Rights are not known yet at the start.
        if obstacles.iter().any(|it| it.is_brief) || now == self.said {
            return;
        }
        match now.is_empty() {
            true => tracing::info!("steering is on"),
            false => tracing::warn!("steering: {now}"),
        }
        self.said = now;
    }

    /// Once: whom no offered node takes is refused anyway, and kube-scheduler may preempt for it anyway.
    fn warn(&mut self, steers: bool, preempt_verb: PreemptVerb) {
        if !self.warned && steers && preempt_verb == PreemptVerb::Absent {
            self.warned = true;
            tracing::warn!(
                "the configuration of kube-scheduler has no `preemptVerb` for sigma: kube-scheduler may evict \
                 others for a pod that sigma sends to a node with room"
            );
        }
    }
}

/// Keeps the metrics of what counts for itself up to date for as long as the process runs.
pub(super) async fn refresh(
    (shared, health, acting): (Arc<SharedState>, Arc<WatchHealth>, Acting),
    (metrics, of_watches, sizes): (Arc<ServeMetrics>, Arc<WatchMetrics>, Arc<WriterMetrics>),
) {
    let mut steering = SteeringLog::default();
    loop {
        watches(&shared, &health, &of_watches);
        let leads = acting.leadership.as_ref().is_some_and(|it| it.is_leader());
        metrics.leader.set(i64::from(leads));
        if shared.synced() {
            steering.follow(&obstacles(&shared, &acting), &metrics);
            steering.warn(shared.view().plan.steers(), acting.preempt_verb);
        }
        sizes.count(&shared.view().snapshot);
        tokio::time::sleep(REFRESH).await;
    }
}

fn watches(shared: &SharedState, health: &WatchHealth, metrics: &WatchMetrics) {
    let now = Instant::now();
    for kind in shown(health) {
        let (label, state) = ([kind.name], health.kind(kind));
        let age = health.behind(kind, now).map_or(-1, |it| it.as_secs() as i64);
        metrics.watch_age_seconds.with_label_values(&label).set(age);
        let refused = i64::from(state.refused.is_some());
        metrics.watch_refused.with_label_values(&label).set(refused);
        metrics.watch_absent.with_label_values(&label).set(i64::from(state.absent.is_some()));
        metrics.watch_synced.with_label_values(&label).set(i64::from(shared.listed(kind)));
        for (counter, count) in [
            (&metrics.watch_relists, state.num_relists),
            (&metrics.watch_reconnects, state.num_reconnects),
            (&metrics.watch_failures, state.num_failures),
            (&metrics.undecodable_objects, state.num_undecodable),
        ] {
            let counter = counter.with_label_values(&label);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

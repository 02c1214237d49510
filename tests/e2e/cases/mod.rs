//! The cases, in the order in which they run. Each gives its measured facts.

mod ahead;
mod bind;
mod closed;
mod constraints;
mod devices;
mod requeue;
mod faults;
mod fill;
mod plugins;
mod late_condition;
mod latency;
mod lease;
mod manifests;
mod nominate;
mod outage;
mod preempt;
mod preempt_nomination;
mod replicas;
mod restored;
pub(crate) mod soak;
mod steer;
mod steer_broken;
mod steer_lost;
mod steer_unproven;
mod steer_volume;
mod tls;

use std::pin::Pin;

use anyhow::Result;

/// What a case measured, a line each.
pub(crate) type Facts = Vec<String>;
/// A case.
pub(crate) type Case = fn() -> Pin<Box<dyn Future<Output = Result<Facts>>>>;

/// All of them.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("a_fill_every_node_offered", || Box::pin(fill::every_node_offered())),
    ("a_fill_default_sampling", || Box::pin(fill::default_sampling())),
    ("b_closed_policy_E01_E02_E03_F02", || Box::pin(closed::idle_then_open())),
    ("b_requeue", || Box::pin(requeue::late_watch())),
    ("c_sigma_killed_under_load", || Box::pin(outage::sigma_killed())),
    ("c_late_condition", || Box::pin(late_condition::ends_nothing())),
    ("c_lost_delete", || Box::pin(outage::lost_delete())),
    ("d_preempt_allocation_90", || Box::pin(preempt::at_allocation("90%"))),
    ("d_preempt_allocation_100", || Box::pin(preempt::at_allocation("100%"))),
    ("d_preempt_nomination", || Box::pin(preempt_nomination::left_alone())),
    ("plugin_scores", || Box::pin(plugins::scores())),
    ("plugin_constraints", || Box::pin(constraints::feasible())),
    ("bind_by_sigma", || Box::pin(bind::by_sigma())),
    ("lease_and_rights", || Box::pin(lease::lease_and_rights())),
    ("nominate_fences", || Box::pin(nominate::fences())),
    ("ahead_backlog", || Box::pin(ahead::backlog())),
    ("devices_published_by_some", || Box::pin(devices::published_by_some())),
    ("steer_to_the_only_node", || Box::pin(steer::to_the_only_node())),
    ("steer_without_the_flag", || Box::pin(steer_unproven::without_the_flag())),
    ("steer_faults", || Box::pin(steer::faults())),
    ("filter_latency_under_faults", || Box::pin(latency::under_faults())),
    ("steer_killed", || Box::pin(steer_broken::killed())),
    ("steer_target_lost", || Box::pin(steer_lost::lost())),
    ("steer_to_its_volume", || Box::pin(steer_volume::into_its_zone())),
    ("two_schedulers_two_replicas", || Box::pin(replicas::two())),
    ("tls_service", || Box::pin(tls::service())),
    ("deploy_is_accepted", || Box::pin(manifests::accepted())),
    ("f_faults_before_the_apiserver", || Box::pin(faults::spoiled())),
    ("etcd_restored", || Box::pin(restored::etcd_restored())),
    ("e_apiserver_restarted", || Box::pin(outage::apiserver_restarted())),
];

/// Those that take too long for every run: only by name.
pub(crate) const ON_REQUEST: &[(&str, Case)] = &[
    ("steer_at_ten_thousand", || Box::pin(steer::at_ten_thousand())),
    ("steer_without_preempt_verb", || Box::pin(steer_unproven::without_preempt_verb())),
    ("steer_all_at_once", || Box::pin(steer::all_at_once())),
    ("steer_behind_a_queue", || Box::pin(steer::behind_a_queue())),
];

//! What sigma writes to the cluster by itself. Each kind of action has a queue: bounded, paced, with one action for each
//! object, retried with a back-off. Every action leaves a record.
//!
//! ```text
//!   requeue ─┐                 ┌─ queue ─┐  next   ┌───────────────┐
//!   steer …  ─┴──▶ submit ─────▶│control │────────▶│ k8s::writes   │
//!                     ▲         └────▲───┘         └──────┬────────┘
//!            on_done ─┴── record ◀───┴──── finish ◀───────┘
//! ```
//!
//! Submitting takes a lock and no more: the request path may do it. The kinds are values of `model`, and their table is
//! [`ACTION_KINDS`](crate::model::ACTION_KINDS). Not here: bindings, which kube-scheduler waits for, and events, which
//! may be lost.

mod actor;
mod carry_out;
mod effect;
mod election;
mod leadership;
mod metrics;
mod queue;
mod requeue;
mod rights;
mod steers;

pub use actor::Actor;
pub use leadership::{Leadership, Leading};
pub use metrics::ActionMetrics;
pub use requeue::run as run_requeue;
pub use rights::Inquiry;
pub use steers::action as steer_action;

#[cfg(test)]
mod tests;

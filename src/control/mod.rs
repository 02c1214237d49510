//! What sigma does by itself, as state machines without threads, sockets or clocks: time and outcomes are passed in.
//!
//! ```text
//!   Backlog ─▶ Nominations ─┐            ┌─ WorkQueue ─┐ next
//!   requeue, steers ────────┴─▶ actions ▶│ paced,      ├──────▶ a write, by the rooms below
//!                                        │ with backoff│◀────── its outcome ─▶ Breaker, NotHonoured
//!                                        └─────────────┘
//! ```
//!
//! `actions` and `nominator` own these machines, tell them the time and carry the writes out.

mod adoption;
mod backlog;
mod backoff;
mod breaker;
mod filter_delay;
mod nominations;
mod not_honoured;
mod obstacles;
mod outcome;
mod scheduler_rate;
mod work_queue;

pub use adoption::Adoption;
pub use backlog::{BacklogScan, Place, place_of};
pub use breaker::{Breaker, BreakerState, Sign};
pub use filter_delay::FilterDelay;
pub use nominations::{Ended, NominationEnd, Nominations, REST_MS, ToClear, Trial};
pub use not_honoured::NotHonoured;
pub use obstacles::{Ground, Obstacle, SteeringPart, SteeringState};
pub use outcome::{
    ActionKindState, ActionOutcome, OnDone, PendingAction, Record, StillNeeded, WhyOff,
};
pub use scheduler_rate::{Delay, SchedulerRate};
pub use work_queue::{Finished, Next, Submission, Submitted, Verdict, WorkItem, WorkQueue};

#[cfg(test)]
mod tests;

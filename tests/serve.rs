//! `sigma serve` and its sisters from the outside: the real binary against an API server in memory.
#![cfg(feature = "live")]

mod support;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/tls.rs"]
mod tls_client;

#[path = "serve/shortlist.rs"]
mod shortlist;
#[path = "serve/site.rs"]
mod site;

#[path = "serve/start.rs"]
mod start;
#[path = "serve/reload.rs"]
mod reload;
#[path = "serve/last_good.rs"]
mod last_good;
#[path = "serve/tls.rs"]
mod tls;
#[path = "serve/volumes.rs"]
mod volumes;
#[path = "serve/stage.rs"]
mod stage;

#[path = "serve/actor.rs"]
mod actor;
#[path = "serve/note.rs"]
mod note;
#[path = "serve/kinds.rs"]
mod kinds;
#[path = "serve/election.rs"]
mod election;
#[path = "serve/ahead.rs"]
mod ahead;
#[path = "serve/lease.rs"]
mod lease;
#[path = "serve/requeue.rs"]
mod requeue;
#[path = "serve/steer.rs"]
mod steer;
#[path = "serve/bad_input.rs"]
mod bad_input;
#[path = "serve/bench.rs"]
mod bench;
#[path = "serve/cannot_start.rs"]
mod cannot_start;
#[path = "serve/stop.rs"]
mod stop;
#[path = "serve/storm.rs"]
mod storm;
#[path = "serve/metrics.rs"]
mod metrics;
#[path = "serve/cli.rs"]
mod cli;
#[path = "faults/mod.rs"]
mod faults;

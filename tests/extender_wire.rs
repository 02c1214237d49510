//! The conformance table of the extender protocol (`extender-protocol.md` §9): one test per row, named
//! by its id. A row that is request → reply is a pair of files in `tests/wire/`; `UPDATE=1` rewrites
//! the replies.
#![cfg(feature = "live")]

#[path = "wire/site.rs"]
mod site;
#[path = "wire/api.rs"]
mod api;
#[path = "wire/client.rs"]
mod client;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/tls.rs"]
mod tls_client;

#[path = "wire/filter.rs"]
mod filter;
#[path = "wire/filter_edges.rs"]
mod filter_edges;
#[path = "wire/prioritize.rs"]
mod prioritize;
#[path = "wire/fast_paths.rs"]
mod fast_paths;
#[path = "wire/preempt.rs"]
mod preempt;
#[path = "wire/bind.rs"]
mod bind;
#[path = "wire/concurrency.rs"]
mod concurrency;
#[path = "wire/connections.rs"]
mod connections;
#[path = "wire/tls.rs"]
mod tls;
#[path = "wire/overload.rs"]
mod overload;

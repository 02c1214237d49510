//! The extender's HTTP: the verbs that kube-scheduler calls. Nothing here decides: a request becomes
//! ordinals, the engine answers, the answer becomes bytes.
//!
//! ```text
//!   conn ── bytes, timers, limits ──▶ extender ── wire ──▶ engine
//!                                      │    ▲                 │
//!                                     bind  └──── reply ◀─────┘
//! ```

mod conn;
mod metrics;
mod tls;
mod certificate;
mod conn_timeouts;
mod extender;
mod verbs;
mod bind;
mod body;
mod fast_paths;
mod wire;
mod name_predictor;
mod steer;
mod name_list;
mod reply;
mod memo;
mod buffers;
pub(crate) mod admin;

pub use admin::{Acting, Admin, Check, PolicyOnDisk, PolicyOrigin, PolicySourceKind, ProcessState};
pub use bind::{BindFuture, Binder};
pub use body::BodyLimits;
pub use conn::{ConnLimits, CurrentIdentity, runtime, serve, serve_tls};
pub use extender::{Extender, ExtenderOptions, NotReady};
pub use fast_paths::FastPaths;
pub use metrics::ExtenderMetrics;
pub use steer::SteerOptions;
pub use tls::{BadIdentity, IdentityNames, IdentityPart, IdentityPem, TlsIdentity};

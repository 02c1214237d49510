//! Talking to a Kubernetes API server: watching what the cluster is, and the few writes that sigma
//! makes. It decides nothing and keeps no copy of the cluster: what it learns leaves as a [`Change`].
//!
//! ```text
//! driver ── asks ──> watch (what next?)      slim ──> decode ──> model
//!   │ └── wire: requests, lines, errors        ▲
//!   └──────────── each object ─────────────────┘
//! ```
//!
//! [`Change`]: crate::model::Change

mod asks;
pub mod decode;
pub mod slim;

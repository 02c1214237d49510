//! The language: bytes in, a [`Plan`] or every fault at once out; never something in between.
//!
//! [`compile`] goes `tree` (YAML, which knows nothing of the language) → `compile` with one file a
//! section (`pools`, `classes`, `scoring`, `steering`, `actions`) → [`Settings`] → [`Plan::build`]. Nothing here opens a
//! file: a caller brings the bytes and only names where they came from.

mod actions;
mod causes;
mod classes;
pub mod codes;
mod compile;
mod diagnostic;
mod grant;
mod grant_checks;
mod manifest;
mod names;
mod neutral;
mod nominate_ahead;
mod objects;
mod patterns;
mod plan;
mod pools;
mod quantities;
mod reader;
mod render;
mod schema;
mod schema_examples;
mod scoring;
mod steering;
mod tree;
mod yaml_hints;
mod yaml_scan;

pub use causes::{Bounds, Cause, Steering};
pub use compile::{API_VERSION, Compiled, KIND, compile, compile_known, diagnose};
pub use diagnostic::{Diagnostic, Severity};
pub use grant::{Claimant, Grant, Granted, NamespaceSelector};
pub use manifest::{diagnose_manifest, is_foreign};
pub use nominate_ahead::NominateAhead;
pub use plan::{
    Class, ClassSettings, FilterRule, Plan, PoolSettings, Role, ScorerRule, Settings, Shortlist,
    default_class,
};
pub use reader::is_dns_label;
pub use render::render;
pub use schema::schema;
pub use tree::MAX_BYTES;

//! The language: bytes in, a [`Plan`] or every fault at once out; never something in between.

mod grant;
mod plan;

pub use grant::{Claimant, Grant, Granted, NamespaceSelector};
pub use plan::{
    Class, ClassSettings, FilterRule, Plan, PoolSettings, Role, ScorerRule, Settings, default_class,
};

//! The cases, in the order in which they run. Each gives its measured facts.

mod fill;

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
];

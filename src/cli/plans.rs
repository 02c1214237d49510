//! The policy that a verb runs by: a file, or the one that is built in.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;

use super::{Failure, files};
use crate::policy::{Plan, compile, render};

/// `policies/default.yaml`, as it was when this binary was built.
pub const DEFAULT: &str = include_str!("../../policies/default.yaml");

/// A policy file compiled, or the built-in policy.
pub fn load(path: Option<&Path>) -> Result<Arc<Plan>, Failure> {
    let Some(path) = path else {
        return compiled("policies/default.yaml", DEFAULT.as_bytes());
    };
    let name = path.display().to_string();
    compiled(&name, &files::read(path).map_err(Failure::usage)?)
}

/// A policy that is built in, or was read already, compiled.
pub fn compiled(name: &str, bytes: &[u8]) -> Result<Arc<Plan>, Failure> {
    let refused = |faults: Vec<_>| anyhow!("{name} is not a policy\n{}", render(&faults, bytes));
    Ok(compile(name, bytes).map_err(refused)?.plan)
}

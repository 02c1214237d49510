//! The policy that a verb runs by: a file, or the one that is built in.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::Failure;
use crate::policy::{self, Plan, compile, render};

/// `policies/default.yaml`, as it was when this binary was built.
pub(super) const DEFAULT: &str = include_str!("../../policies/default.yaml");

/// A policy file compiled, or the built-in policy.
pub(super) fn load(path: Option<&Path>) -> Result<Arc<Plan>, Failure> {
    let Some(path) = path else {
        return compiled("policies/default.yaml", DEFAULT.as_bytes());
    };
    let name = path.display().to_string();
    compiled(&name, &read(path).map_err(Failure::usage)?)
}

/// A policy file's bytes; of one that is too large only so much that it shows.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|it| it.take(policy::MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// A policy that is built in, or was read already, compiled.
pub(super) fn compiled(name: &str, bytes: &[u8]) -> Result<Arc<Plan>, Failure> {
    let refused = |faults: Vec<_>| anyhow!("{name} is not a policy\n{}", render(&faults, bytes));
    Ok(compile(name, bytes).map_err(refused)?.plan)
}

//! The policy to start with: the present one, else the last good one, else none.
//!
//! Nothing about a policy ends the process: it would come back to the same file, and meanwhile nobody
//! would answer. A path that does not exist is no exception, since a file may be written or mounted later.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use super::config::PolicySource;
use super::last_good::{AcceptedPolicy, LastGood};
use super::reload::Fingerprint;
use crate::http::{PolicyOnDisk, PolicyOrigin, PolicySourceKind};
use crate::policy::{self, Compiled, Diagnostic, Plan};

/// What a look at the file found.
pub(super) type Look = Result<(String, Vec<u8>), String>;

/// What a start begins with.
pub(super) struct FirstPolicy {
    /// What is decided by.
    pub(super) plan: Arc<Plan>,
    /// Of the bytes in force; `None`: no policy is.
    pub(super) in_force: Option<Fingerprint>,
    /// Where they came from.
    pub(super) origin: PolicyOrigin,
    /// Of the bytes on disk; `None`: they could not be read.
    pub(super) judged: Option<Fingerprint>,
    /// Why these are not in force.
    pub(super) on_disk: PolicyOnDisk,
    /// What is worth knowing about those in force.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Looks at the file.
///
/// A blank one is no policy: it is what a full disk or an editor that died leaves, and would take every limit
/// away. One that says nothing but has a comment in it, or the header, is meant.
pub(super) fn look(source: &PolicySource) -> Look {
    let found = source.read().map_err(|error| format!("{error:#}"))?;
    match found.1.trim_ascii().is_empty() {
        true => Err(format!("the policy {} has become empty, or was never filled", found.0)),
        false => Ok(found),
    }
}

/// Compiles a policy; `accepted_by`: an earlier sigma accepted these very bytes, by the checks of this
/// generation. One that crashes the compiler is as bad as one that cannot be read.
pub(super) fn compile(
    name: &str,
    bytes: &[u8],
    accepted_by: Option<u32>,
) -> Result<Compiled, PolicyOnDisk> {
    let compile = || match accepted_by {
        Some(checks) => policy::compile_known(name, bytes, checks),
        None => policy::compile(name, bytes),
    };
    match catch_unwind(AssertUnwindSafe(compile)) {
        Ok(Ok(compiled)) => Ok(compiled),
        Ok(Err(faults)) => Err(PolicyOnDisk { faults, unreadable: None }),
        Err(_) => {
            let crashed = format!("{name} crashes the policy compiler");
            Err(PolicyOnDisk { faults: Vec::new(), unreadable: Some(crashed) })
        }
    }
}

impl FirstPolicy {
    /// Chooses. A present policy that is good is kept for the next start.
    pub(super) fn choose(source: &PolicySource, last_good: &LastGood) -> Self {
        let kept = last_good.read();
        let (judged, on_disk) = match look(source) {
            Err(why) => (None, PolicyOnDisk { faults: Vec::new(), unreadable: Some(why) }),
            Ok((name, bytes)) => {
                let print = Fingerprint::of(&bytes);
                let known = kept.as_ref().filter(|it| it.bytes == bytes);
                match compile(&name, &bytes, known.map(|it| it.checks)) {
                    Ok(compiled) => {
                        let accepted = known.map(|it| it.accepted);
                        if accepted.is_none() {
                            last_good.keep(SystemTime::now(), bytes);
                        }
                        let accepted = accepted.unwrap_or_else(SystemTime::now);
                        return Self::of(compiled, PolicySourceKind::File, print, accepted);
                    }
                    Err(refused) => (Some(print), refused),
                }
            }
        };
        let first = kept.and_then(from_kept).unwrap_or_else(Self::none);
        Self { judged, on_disk, ..first }
    }

    fn of(
        compiled: Compiled,
        source: PolicySourceKind,
        print: Fingerprint,
        accepted: SystemTime,
    ) -> Self {
        let origin = PolicyOrigin { source, accepted: Some(accepted), state_error: None };
        Self {
            plan: compiled.plan,
            in_force: Some(print),
            origin,
            judged: Some(print),
            on_disk: PolicyOnDisk::default(),
            warnings: compiled.warnings,
        }
    }

    fn none() -> Self {
        Self {
            plan: Plan::neutral(),
            in_force: None,
            origin: PolicyOrigin::default(),
            judged: None,
            on_disk: PolicyOnDisk::default(),
            warnings: Vec::new(),
        }
    }
}

/// The last good policy, if this sigma accepts it as well.
fn from_kept(kept: AcceptedPolicy) -> Option<FirstPolicy> {
    let AcceptedPolicy { name, bytes, accepted, checks } = kept;
    match compile(&name, &bytes, Some(checks)) {
        Ok(compiled) => {
            let print = Fingerprint::of(&bytes);
            Some(FirstPolicy::of(compiled, PolicySourceKind::StateDir, print, accepted))
        }
        Err(refused) => {
            let why = refused.why().unwrap_or_default();
            tracing::error!("the last good policy is of no use to this sigma: {why}");
            None
        }
    }
}

#[cfg(test)]
mod tests;

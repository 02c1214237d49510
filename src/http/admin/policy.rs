//! `/api/v1/policy`: the policy in force as compiled, and how the one on disk relates to it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Admin, AdminPage, NoQuery, Problem};
use crate::engine::View;
use crate::policy::{Class, Diagnostic, Role, Severity};

/// The place that the policy in force came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicySourceKind {
    /// No policy is in force.
    #[default]
    None,
    /// `--policy`.
    File,
    /// `--state-dir`: the last good one.
    StateDir,
}

impl PolicySourceKind {
    /// All names.
    pub const NAMES: [&str; 3] = ["none", "file", "state_dir"];

    /// As the admin API and metrics call it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Where the policy in force came from, and since when it has been good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOrigin {
    /// The place.
    pub source: PolicySourceKind,
    /// When it was first accepted, by this process or one before it.
    pub accepted: Option<SystemTime>,
    /// Why it could not be kept in the state directory.
    pub state_error: Option<String>,
}

impl PolicyOrigin {
    /// Seconds since it was first accepted. A clock that was set back makes it new.
    pub fn age_seconds(&self) -> Option<u64> {
        self.accepted.map(|it| it.elapsed().unwrap_or_default().as_secs())
    }
}

/// Why the policy on disk is not in force; empty when it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOnDisk {
    /// What is wrong in it.
    pub faults: Vec<Diagnostic>,
    /// Why it could not be read at all.
    pub unreadable: Option<String>,
}

impl PolicyOnDisk {
    /// The reason in one line; `None` when it is in force.
    pub fn why(&self) -> Option<String> {
        if let Some(why) = &self.unreadable {
            return Some(why.clone());
        }
        let mut errors = self.faults.iter().filter(|it| it.severity == Severity::Error);
        let first = errors.next()?;
        let place = format!("{}:{}:{}", first.file, first.line, first.column);
        let rest = match errors.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{place}: {} {}{rest}", first.code, first.message))
    }
}

/// The page.
#[derive(Deserialize, Serialize)]
pub(crate) struct PolicyView {
    name: String,
    hash: String,
    generation: u64,
    /// `file`, `state_dir` or `none`.
    source: String,
    /// Since it was first accepted.
    age_seconds: Option<u64>,
    /// Why it could not be kept for the next start.
    state_error: Option<String>,
    pools: Vec<String>,
    classes: Vec<ClassView>,
    /// Why the policy on disk is not in force; empty when it is.
    faults_on_disk: Vec<FaultView>,
    /// Why it could not even be read.
    unreadable_on_disk: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct ClassView {
    name: String,
    role: String,
    protected: bool,
    /// Pools open to it, in order; null when it names none.
    pools: Option<Vec<String>>,
    filters: Vec<String>,
    scorers: Vec<ScorerView>,
}

#[derive(Deserialize, Serialize)]
struct ScorerView {
    name: String,
    weight: u32,
}

/// A finding of the policy compiler, as in `sigma policy lint -o json`.
#[derive(Deserialize, Serialize)]
struct FaultView {
    file: String,
    line: u32,
    column: u32,
    code: String,
    severity: String,
    message: String,
    hint: Option<String>,
}

impl From<Diagnostic> for FaultView {
    fn from(it: Diagnostic) -> Self {
        let Diagnostic { file, line, column, code, severity, message, hint } = it;
        let (code, severity) = (code.to_owned(), severity.name().to_owned());
        Self { file, line, column, code, severity, message, hint }
    }
}

impl AdminPage for PolicyView {
    const PATH: &'static str = "/api/v1/policy";
    type Query = NoQuery;

    fn of(admin: &Admin, _: NoQuery) -> Result<Self, Problem> {
        let (view, origin) = (admin.shared.view(), admin.process.policy_origin());
        let (plan, on_disk) = (&view.plan, admin.process.policy_on_disk());
        Ok(Self {
            name: plan.name.clone(),
            hash: plan.hash.clone(),
            generation: view.plan_generation,
            source: origin.source.name().to_owned(),
            age_seconds: origin.age_seconds(),
            state_error: origin.state_error,
            pools: plan.pools.iter().map(|pool| pool.name.clone()).collect(),
            classes: plan.classes.iter().map(|class| ClassView::of(&view, class)).collect(),
            faults_on_disk: on_disk.faults.into_iter().map(FaultView::from).collect(),
            unreadable_on_disk: on_disk.unreadable,
        })
    }
}

impl ClassView {
    fn of(view: &View, class: &Class) -> Self {
        let scorers = class.scorers.iter();
        let scorers =
            scorers.map(|it| ScorerView { name: it.name.to_owned(), weight: it.weight.into() });
        Self {
            name: class.name.clone(),
            role: match class.role {
                Role::Online => "online",
                Role::Offline => "offline",
                Role::Default => "default",
                Role::Exempt => "exempt",
            }
            .to_owned(),
            protected: class.params.is_protected,
            pools: open_pools(view, class),
            filters: class.filters.iter().map(|rule| rule.name.to_owned()).collect(),
            scorers: scorers.collect(),
        }
    }
}

/// The pools that are open to a class, in order; `None` where every node is.
pub(super) fn open_pools(view: &View, class: &Class) -> Option<Vec<String>> {
    let order = class.params.order.as_ref()?;
    let named = order.iter().filter_map(|pool| view.plan.pools.get(pool.index()));
    Some(named.map(|it| it.name.clone()).collect())
}

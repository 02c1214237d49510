//! The policy that is in force when no file is named.
//!
//! Written in code as long as the policy language is not there: once it is, `default_plan` becomes
//! `policy::compile` of `include_str!("../../policies/default.yaml")`, `load` its compile of the
//! file, and everything below goes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::Failure;
use crate::model::{Amounts, DomainLevel, NodeMatcher, PoolOrd};
use crate::policy::{
    ClassSettings, Grant, NamespaceSelector, Plan, PoolSettings, Role, Settings, default_class,
};
use crate::rules::{Share, SpreadKey, SpreadParams};

const SHENLONG: PoolOrd = PoolOrd(0);
const ECS: PoolOrd = PoolOrd(1);
const ECI: PoolOrd = PoolOrd(2);

/// The built-in policy: bare metal, ECS and ECI as one pool of capacity.
pub fn default_plan() -> Arc<Plan> {
    let settings = Settings { name: "default".to_owned(), pools: pools(), classes: classes() };
    Plan::build(&settings, "built-in".to_owned())
}

/// A policy file, compiled.
pub(super) fn load(path: &Path) -> Result<Arc<Plan>, Failure> {
    std::fs::read(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(Failure::usage)?;
    Err(anyhow!("{}: this build does not understand policy files yet", path.display()).into())
}

fn pools() -> Vec<PoolSettings> {
    let fixed = |name: &str, instance_type: &str| PoolSettings {
        name: name.to_owned(),
        matcher: NodeMatcher {
            instance_types: vec![instance_type.to_owned()],
            ..NodeMatcher::default()
        },
        allocation: Share { cpu_permille: 950, memory_permille: 950 },
        ..PoolSettings::default()
    };
    let eci = PoolSettings {
        name: "eci".to_owned(),
        matcher: NodeMatcher {
            labels: vec![("type".to_owned(), "virtual-kubelet".to_owned())],
            ..NodeMatcher::default()
        },
        elastic: true,
        limit: Some(Amounts {
            cpu_milli: 2_000_000,
            memory_bytes: 8 << 40,
            ephemeral_bytes: i64::MAX,
            pods: 1000,
        }),
        ..PoolSettings::default()
    };
    vec![fixed("shenlong", "ecs.ebm*"), fixed("ecs", "ecs.*"), eci]
}

fn classes() -> Vec<ClassSettings> {
    let class = |name: &str, role, grant, pools| ClassSettings {
        name: name.to_owned(),
        role,
        grant,
        pools,
        ..default_class()
    };
    let raised = |priority_class: &str, tier: &str| Grant {
        priority_classes: vec![priority_class.to_owned()],
        namespaces: Some(NamespaceSelector {
            match_labels: vec![("tier".to_owned(), tier.to_owned())],
            ..NamespaceSelector::default()
        }),
        ..Grant::default()
    };
    let system =
        NamespaceSelector { names: vec!["kube-system".to_owned()], ..NamespaceSelector::default() };
    let exempt = Grant { namespaces: Some(system), ..Grant::default() };
    let zones =
        SpreadParams { key: SpreadKey::Level(DomainLevel::Zone), max_share_permille: Some(400) };
    let online = raised("prod-*", "production");
    let offline = raised("batch-*", "batch");
    vec![
        ClassSettings {
            spread: Some(zones),
            ..class("online", Role::Online, online, Some(vec![SHENLONG, ECS, ECI]))
        },
        class("offline", Role::Offline, offline, Some(vec![ECS, SHENLONG])),
        class("default", Role::Default, Grant::default(), Some(vec![ECS, SHENLONG])),
        class("exempt", Role::Exempt, exempt, None),
    ]
}

//! The compiled policy: per class, the rules that have something to do, with their parameters in flat
//! slots. Nothing here is looked up by name while a request waits.

use std::sync::Arc;

use super::causes::Steering;
use super::grant::Grant;
use super::nominate_ahead::NominateAhead;
use crate::model::{Amounts, ClassOrd, NodeMatcher, PoolOrd, PoolSpec};
use crate::rules::{
    CATALOGUE, CandidateRule, ClassParams, Filter, MAX_WEIGHT, PoolParams, Rule, RuleKind, Scopes,
    Scorer, Share, SpreadParams,
};

/// How a class is treated where rules do not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Fails open: in doubt its pods are let through.
    Online,
    /// Fails static: in doubt its pods wait.
    Offline,
    /// Who matches nothing.
    Default,
    /// Never moved, never a victim, never held up.
    Exempt,
}

/// How many of the nodes that may take a pod an answer names. A limit of ours may name fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortlist {
    /// At most this many; 0: all of them.
    pub nodes: u16,
    /// At most this many of one zone, unless the other zones cannot fill the list.
    pub per_domain: u16,
}

impl Shortlist {
    /// All nodes are named.
    pub const OFF: Self = Self { nodes: 0, per_domain: 0 };

    /// So many nodes, of four zones where there are as many: in-tree plugins that weigh zones, and
    /// whoever comes after a zone has failed, still have a choice.
    pub fn of(nodes: u16) -> Self {
        Self { nodes, per_domain: nodes.div_ceil(4) }
    }

    /// What a class has of which the policy says nothing.
    pub fn of_role(role: Role) -> Self {
        match role {
            // `default` is no exception: our points outweigh all in-tree scores whether the other
            // nodes are named or not, so that naming them would only cost kube-scheduler its time.
            Role::Online | Role::Default => Self::of(16),
            Role::Offline => Self::of(1),
            Role::Exempt => Self::OFF,
        }
    }
}

/// A pool as the policy describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSettings {
    /// The pool's name.
    pub name: String,
    /// Who belongs.
    pub matcher: NodeMatcher,
    /// Virtual nodes.
    pub elastic: bool,
    /// Σ requests on a node, of allocatable.
    pub allocation: Share,
    /// Σ requests over an elastic pool.
    pub limit: Option<Amounts>,
}

/// A class as the policy describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSettings {
    /// The class's name.
    pub name: String,
    /// How it is treated.
    pub role: Role,
    /// Who gets it.
    pub grant: Grant,
    /// The pools open to it, in order. `None`: it names none.
    pub pools: Option<Vec<PoolOrd>>,
    /// How its replicas spread.
    pub spread: Option<SpreadParams>,
    /// Never a victim of preemption.
    pub protected: bool,
    /// Its own `allocation`, over the pools'.
    pub allocation: Option<Share>,
    /// Weights by scorer name; a scorer that is not named has its default weight.
    pub weights: Vec<(String, u16)>,
    /// How many nodes are named. `None`: as many as for every class of its role.
    pub shortlist: Option<Shortlist>,
    /// What it is steered for. `None`: what every class of its role is.
    pub steering: Option<Steering>,
}

/// A whole policy, resolved and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `metadata.name`.
    pub name: String,
    /// Pools in order; the first that matches a node wins.
    pub pools: Vec<PoolSettings>,
    /// Classes in order; the first that grants wins. `default` and `exempt` are always among them.
    pub classes: Vec<ClassSettings>,
    /// When pods are nominated ahead. `None`: never.
    pub nominate_ahead: Option<NominateAhead>,
    /// The names of the kinds of action that are stopped.
    pub stopped_actions: Vec<&'static str>,
}

/// A hard rule with its name.
pub struct FilterRule {
    /// As in the catalogue.
    pub name: &'static str,
    /// As in the catalogue.
    pub scopes: Scopes,
    /// The rule.
    pub filter: Box<dyn Filter>,
}

/// A soft rule with its name and weight.
pub struct ScorerRule {
    /// As in the catalogue.
    pub name: &'static str,
    /// As in the catalogue.
    pub kind: RuleKind,
    /// Its weight, 1..=[`MAX_WEIGHT`].
    pub weight: u16,
    /// As in the catalogue.
    pub scopes: Scopes,
    /// The rule.
    pub scorer: Box<dyn Scorer>,
}

/// A compiled class.
pub struct Class {
    /// The class's name.
    pub name: String,
    /// How it is treated.
    pub role: Role,
    /// Who gets it.
    pub grant: Grant,
    /// Its settings as the rules see them.
    pub params: ClassParams,
    /// Hard rules in the order of evaluation.
    pub filters: Vec<FilterRule>,
    /// Soft rules with weights above 0.
    pub scorers: Vec<ScorerRule>,
    /// Rules about candidates for preemption, for a pod of this class to be placed.
    pub candidate_rules: Vec<Box<dyn CandidateRule>>,
    /// A rule of the kind [`RuleKind::Bands`] has a weight: pools are in disjoint bands, whatever the other scorers say.
    pub ordered: bool,
    /// The band of each pool, by ordinal, and at the end of a node in no pool; see [`Class::band`].
    bands: [u8; PoolOrd::MAX_POOLS + 1],
    /// Answers to it bear limits of ours that in-tree fit does not protect: they need holds.
    pub bears_limits: bool,
    /// How many nodes are named.
    pub shortlist: Shortlist,
    /// What its pods are steered for.
    pub steering: Steering,
}

/// A compiled policy.
pub struct Plan {
    /// `metadata.name`.
    pub name: String,
    /// SHA-256 of the source, in hex.
    pub hash: String,
    /// The pools, for the state to recognise nodes by.
    pub pools: Vec<PoolSpec>,
    /// The classes, in order of grants.
    pub classes: Vec<Class>,
    /// Who matches nothing.
    pub default_class: ClassOrd,
    /// Whom a QoS label lowers a pod to.
    pub offline_class: Option<ClassOrd>,
    /// When pods are nominated ahead. `None`: never.
    pub nominate_ahead: Option<NominateAhead>,
    /// The names of the kinds of action that are stopped.
    pub stopped_actions: Vec<&'static str>,
    /// The class of a DaemonSet's pods, whatever the grants say. `None`: grants decide.
    pub daemon_class: Option<ClassOrd>,
    /// It stands for a policy that could not be had, see [`Plan::neutral`].
    pub is_neutral: bool,
}

impl Class {
    /// Position of a pool in the class's order: the last for one that is not in it, and 0 for all
    /// where pools are not ordered.
    pub fn band(&self, pool: PoolOrd) -> u8 {
        self.bands[pool.index().min(PoolOrd::MAX_POOLS)]
    }

    /// The scorers whose points are summed.
    pub fn summed_scorers(&self) -> impl Iterator<Item = &ScorerRule> {
        self.scorers.iter().filter(|rule| rule.kind == RuleKind::Scorer)
    }

    /// Number of bands.
    pub fn num_bands(&self) -> usize {
        let order = self.params.order.as_ref().filter(|_| self.ordered);
        order.map_or(1, |order| order.len().max(1))
    }
}

impl Plan {
    /// Compiles checked settings. `hash` identifies their source.
    pub fn build(settings: &Settings, hash: String) -> Arc<Self> {
        Arc::new(Self::of(settings, hash))
    }

    /// The plan of these settings.
    pub(super) fn of(settings: &Settings, hash: String) -> Self {
        let pools = settings.pools.iter().map(|pool| PoolSpec {
            name: pool.name.clone(),
            matcher: pool.matcher.clone(),
            elastic: pool.elastic,
            limit: pool.limit,
        });
        let mut classes: Vec<Class> =
            settings.classes.iter().map(|class| build_class(class, &settings.pools)).collect();
        let with_role = |classes: &[Class], role| {
            let at = classes.iter().position(|class| class.role == role);
            at.map(|at| ClassOrd(at as u8))
        };
        if with_role(&classes, Role::Default).is_none() {
            classes.push(build_class(&default_class(), &settings.pools));
        }
        Self {
            name: settings.name.clone(),
            hash,
            pools: pools.collect(),
            default_class: with_role(&classes, Role::Default).unwrap_or(ClassOrd(0)),
            offline_class: with_role(&classes, Role::Offline),
            nominate_ahead: settings.nominate_ahead,
            stopped_actions: settings.stopped_actions.clone(),
            daemon_class: None,
            is_neutral: false,
            classes,
        }
    }

    /// Some class is steered.
    pub fn steers(&self) -> bool {
        self.classes.iter().any(|class| !class.steering.is_off())
    }

    /// Nodes are chosen that were not offered: for a steer, or ahead.
    pub fn chooses_anywhere(&self) -> bool {
        self.steers() || self.nominate_ahead.is_some()
    }

    /// A class by ordinal.
    pub fn class(&self, ord: ClassOrd) -> &Class {
        &self.classes[ord.index().min(self.classes.len() - 1)]
    }
}

/// The class of who matches nothing, where the policy does not describe it.
pub fn default_class() -> ClassSettings {
    ClassSettings {
        name: "default".to_owned(),
        role: Role::Default,
        grant: Grant::default(),
        pools: None,
        spread: None,
        protected: false,
        allocation: None,
        weights: Vec::new(),
        shortlist: None,
        steering: None,
    }
}

fn build_class(class: &ClassSettings, pools: &[PoolSettings]) -> Class {
    // Exempt pods are never held up: the pools' limits are not theirs.
    let exempt = class.role == Role::Exempt;
    let params = ClassParams {
        pools: pools
            .iter()
            .map(|pool| PoolParams {
                elastic: pool.elastic,
                allocation: class.allocation.unwrap_or(match exempt {
                    true => Share::ALL,
                    false => pool.allocation,
                }),
                limit: pool.limit.filter(|_| !exempt),
            })
            .collect(),
        order: open_pools(class, pools),
        is_ordered: class.pools.is_some(),
        spread: class.spread,
        is_protected: class.protected || exempt,
    };
    let (mut filters, mut scorers, mut candidate_rules) = (Vec::new(), Vec::new(), Vec::new());
    for spec in CATALOGUE {
        let weight = class.weights.iter().find(|(name, _)| name == spec.name);
        let weight = weight.map_or(spec.default_weight, |(_, weight)| *weight).min(MAX_WEIGHT);
        if spec.kind.has_weight() && weight == 0 {
            continue;
        }
        let (name, kind, scopes) = (spec.name, spec.kind, spec.scopes);
        match (spec.build)(&params) {
            Some(Rule::Filter(filter)) => filters.push(FilterRule { name, scopes, filter }),
            Some(Rule::Scorer(scorer)) => {
                scorers.push(ScorerRule { name, kind, weight, scopes, scorer });
            }
            Some(Rule::Candidates(rule)) => candidate_rules.push(rule),
            None => {}
        }
    }
    let bears_limits = bears_limits(&params);
    let ordered = scorers.iter().any(|rule| rule.kind == RuleKind::Bands);
    let bands = bands(params.order.as_deref().filter(|_| ordered).unwrap_or_default());
    Class {
        name: class.name.clone(),
        role: class.role,
        grant: class.grant.clone(),
        ordered,
        bands,
        params,
        filters,
        scorers,
        candidate_rules,
        bears_limits,
        shortlist: class.shortlist.unwrap_or_else(|| Shortlist::of_role(class.role)),
        steering: class.steering.unwrap_or_else(|| Steering::of_role(class.role)),
    }
}

/// The pools open to a class. A class that names none may go anywhere, except that `default` never
/// goes to an elastic pool: nobody who was granted nothing spends money.
fn open_pools(class: &ClassSettings, pools: &[PoolSettings]) -> Option<Vec<PoolOrd>> {
    let elastic = |pool: &PoolOrd| pools.get(pool.index()).is_some_and(|pool| pool.elastic);
    let default = class.role == Role::Default;
    match &class.pools {
        Some(order) if default => Some(order.iter().copied().filter(|it| !elastic(it)).collect()),
        Some(order) => Some(order.clone()),
        None if default && pools.iter().any(|pool| pool.elastic) => {
            let all = (0..pools.len()).map(|at| PoolOrd(at as u8));
            Some(all.filter(|it| !elastic(it)).chain([PoolOrd::NONE]).collect())
        }
        None => None,
    }
}

fn bands(order: &[PoolOrd]) -> [u8; PoolOrd::MAX_POOLS + 1] {
    let mut bands = [order.len().saturating_sub(1) as u8; PoolOrd::MAX_POOLS + 1];
    // Of a pool that is named twice the first place counts.
    for (at, pool) in order.iter().enumerate().rev() {
        bands[pool.index().min(PoolOrd::MAX_POOLS)] = at as u8;
    }
    bands
}

/// True when a limit that only we know bounds some node that the class may go to.
fn bears_limits(params: &ClassParams) -> bool {
    let open = |at: usize| {
        let order = params.order.as_ref();
        order.is_none_or(|order| order.contains(&PoolOrd(at as u8)))
    };
    let pools = params.pools.iter().enumerate().filter(|(at, _)| open(*at));
    params.spread.is_some_and(|spread| spread.max_share_permille.is_some())
        || pools.into_iter().any(|(_, pool)| {
            pool.limit.is_some() || (!pool.elastic && pool.allocation != Share::ALL)
        })
}

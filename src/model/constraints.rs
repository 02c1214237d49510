//! What must hold of a pod's node by kube-scheduler's own rules, as its pod asks for it.
//!
//! kube-scheduler judges the nodes that it offers. This is for nodes that it has not offered: to send a
//! pod where it may not go costs a look in vain.

use std::borrow::Borrow;

use super::labels::{HashedText, LabelSet};
use super::node::Namespace;

/// What the value of a label must be. Source: `k8s.io/apimachinery/pkg/labels`, `Requirement.Matches`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelOperator<V> {
    /// One of these.
    In(Box<[V]>),
    /// None of these, or absent.
    NotIn(Box<[V]>),
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
    /// A whole number above this one.
    Gt(i64),
    /// A whole number below this one.
    Lt(i64),
}

impl<V> LabelOperator<V> {
    fn holds<T>(&self, value: Option<&T>, number: impl Fn(&T) -> Option<i64>) -> bool
    where
        V: Borrow<T>,
        T: PartialEq + ?Sized,
    {
        let is_among = |all: &[V]| value.is_some_and(|it| all.iter().any(|one| one.borrow() == it));
        match self {
            Self::In(all) => is_among(all),
            Self::NotIn(all) => !is_among(all),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::Gt(bound) => value.and_then(number).is_some_and(|it| it > *bound),
            Self::Lt(bound) => value.and_then(number).is_some_and(|it| it < *bound),
        }
    }
}

/// What must hold of one label; of nodes and namespaces by its text, of pods by its hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement<V> {
    /// The label's key.
    pub key: V,
    /// What its value must be.
    pub is: LabelOperator<V>,
}

impl Requirement<Box<str>> {
    /// True for a node or a namespace whose label has this value.
    pub fn holds(&self, value: Option<&str>) -> bool {
        self.is.holds(value, |text| text.parse().ok())
    }
}

impl Requirement<HashedText> {
    /// True for a pod with these labels. A hash is no number: selectors of pods know none.
    pub fn holds(&self, labels: &LabelSet) -> bool {
        self.is.holds(labels.value(self.key).as_ref(), |_| None)
    }
}

/// Requirements that all must hold.
pub type Selector<V> = Box<[Requirement<V>]>;

/// A term of `nodeSelectorTerms`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    /// `matchExpressions`.
    pub labels: Selector<Box<str>>,
    /// `matchFields`, of which `metadata.name` is the only one.
    pub names: Selector<Box<str>>,
}

impl NodeTerm {
    /// True for a node of this name with these labels. A term that asks for nothing holds nowhere.
    pub fn holds<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let is_empty = self.labels.is_empty() && self.names.is_empty();
        !is_empty
            && self.names.iter().all(|it| it.holds(Some(name)))
            && self.labels.iter().all(|it| it.holds(label(&it.key)))
    }
}

/// Which namespaces a term of pod affinity looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespaces {
    /// Of these names: the pod's own where the term says nothing.
    pub named: Box<[HashedText]>,
    /// Whose labels are so.
    pub selected: Option<Selector<Box<str>>>,
}

/// A required term of `podAffinity` or `podAntiAffinity`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodAffinityTerm {
    /// `topologyKey`: nodes with one value of this label are one domain.
    pub key: Box<str>,
    /// `labelSelector`; `None` selects nothing.
    pub selector: Option<Selector<HashedText>>,
    /// Where it looks for pods.
    pub namespaces: Namespaces,
}

impl PodAffinityTerm {
    /// True when it means a pod with these labels; `home` is the pod's namespace, which has no labels while
    /// it is not known. Source: `framework.AffinityTerm.Matches`.
    pub fn means(&self, labels: &LabelSet, home: Option<&Namespace>) -> bool {
        let is_at_home = |asked: &Selector<Box<str>>| {
            asked.iter().all(|it| it.holds(home.and_then(|home| home.label(&it.key))))
        };
        self.selector.as_ref().is_some_and(|all| all.iter().all(|it| it.holds(labels)))
            && (labels.namespace().is_some_and(|it| self.namespaces.named.contains(&it))
                || self.namespaces.selected.as_ref().is_some_and(is_at_home))
    }

    /// A label, key and value, that every pod has which it means; `None` where it asks for none.
    pub fn common_label(&self) -> Option<(HashedText, HashedText)> {
        let mut asked = self.selector.as_ref()?.iter();
        asked.find_map(|it| match &it.is {
            LabelOperator::In(values) if values.len() == 1 => Some((it.key, values[0])),
            _ => None,
        })
    }
}

/// A topology spread constraint with `whenUnsatisfiable: DoNotSchedule`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadTerm {
    /// `topologyKey`.
    pub key: Box<str>,
    /// `maxSkew`: so many pods more than the emptiest domain has.
    pub max_skew: u32,
    /// `minDomains`: while there are fewer, the emptiest one counts as empty.
    pub min_domains: u32,
    /// `labelSelector`; `None` selects nothing.
    pub selector: Option<Selector<HashedText>>,
    /// `nodeAffinityPolicy: Honor`: only nodes that the pod's node affinity leaves count.
    pub honors_affinity: bool,
    /// `nodeTaintsPolicy: Honor`: only nodes whose taints the pod tolerates count.
    pub honors_taints: bool,
}

/// A port of the node that a pod takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// `hostPort`.
    pub port: u16,
    /// `protocol`.
    pub protocol: Protocol,
    /// `hostIP`; `None` for all of the node's.
    pub ip: Option<HashedText>,
}

impl HostPort {
    /// True when no node has room for both.
    pub fn conflicts(&self, other: &Self) -> bool {
        (self.port, self.protocol) == (other.port, other.protocol)
            && (self.ip.is_none() || other.ip.is_none() || self.ip == other.ip)
    }
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Also where none is given.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Why nobody but kube-scheduler can tell which nodes a pod may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CannotJudge {
    /// It mounts a claim of which we do not know to which nodes its volume is bound.
    Volumes,
    /// It has `resourceClaims`: devices that a driver allocates.
    ResourceClaims,
    /// It asks for an extended resource that a DeviceClass stands for, so that a driver allocates devices; or
    /// DeviceClasses are not known.
    ExtendedResources,
    /// Its profile adds constraints that are not known here.
    Profile,
    /// It asks for something in words that are not known here.
    Unclear,
}

impl CannotJudge {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 5] = [
        Self::Volumes,
        Self::ResourceClaims,
        Self::ExtendedResources,
        Self::Profile,
        Self::Unclear,
    ];

    /// As a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Volumes => "volumes",
            Self::ResourceClaims => "resource_claims",
            Self::ExtendedResources => "extended_resources",
            Self::Profile => "scheduler_profile",
            Self::Unclear => "unclear",
        }
    }
}

/// All that a pod requires of its node, but for the ports that it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Constraints {
    /// `nodeSelector`.
    pub node_selector: Selector<Box<str>>,
    /// `nodeSelectorTerms`, of which one must hold; `None` where any node will do.
    pub node_terms: Option<Box<[NodeTerm]>>,
    /// Pod affinity: some pod that all of these select must be in the domain.
    pub pod_affinity: Box<[PodAffinityTerm]>,
    /// Pod anti-affinity: no pod that one of these selects may be in the domain.
    pub pod_anti_affinity: Box<[PodAffinityTerm]>,
    /// Hard spread.
    pub spread: Box<[SpreadTerm]>,
    /// What is not told by the rest; of volumes, that depends on what their claims are bound to.
    pub cannot_judge: Option<CannotJudge>,
}

impl Constraints {
    /// True when it names the nodes that it may go to, as a DaemonSet's pod does: kube-scheduler looks at
    /// no others. Source: `nodeaffinity.PreFilter`.
    pub fn names_nodes(&self) -> bool {
        let names =
            |term: &NodeTerm| term.names.iter().any(|it| matches!(it.is, LabelOperator::In(_)));
        self.node_terms.as_ref().is_some_and(|terms| !terms.is_empty() && terms.iter().all(names))
    }

    /// True for a node of this name with these labels, as far as node affinity goes.
    pub fn admits<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.node_selector.iter().all(|it| it.holds(label(&it.key)))
            && self
                .node_terms
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|term| term.holds(name, &label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hold_as_kubernetes_has_it() {
        let two = || -> Box<[Box<str>]> { ["a".into(), "b".into()].into() };
        let cases = [
            (LabelOperator::In(two()), [true, false, false, false]),
            (LabelOperator::NotIn(two()), [false, true, true, true]),
            (LabelOperator::Exists, [true, true, true, false]),
            (LabelOperator::DoesNotExist, [false, false, false, true]),
            (LabelOperator::Gt(6), [false, true, false, false]),
            (LabelOperator::Gt(7), [false, false, false, false]),
            (LabelOperator::Lt(8), [false, true, false, false]),
            (LabelOperator::Lt(7), [false, false, false, false]),
        ];
        for (is, want) in cases {
            let it = Requirement { key: "key".into(), is };
            let got = [Some("a"), Some("7"), Some(""), None].map(|value| it.holds(value));
            assert_eq!(got, want, "{it:?}");
        }
    }

    #[test]
    fn a_term_that_asks_for_nothing_holds_nowhere() {
        let label = |key: &str| (key == "disk").then_some("ssd");
        assert!(!NodeTerm::default().holds("n", label));
        let terms = |terms: &[NodeTerm]| Constraints {
            node_terms: Some(terms.into()),
            ..Constraints::default()
        };
        let ssd = Requirement { key: "disk".into(), is: LabelOperator::In(["ssd".into()].into()) };
        let named =
            Requirement { key: "metadata.name".into(), is: LabelOperator::In(["n".into()].into()) };
        let term = NodeTerm { labels: [ssd.clone()].into(), names: [named].into() };
        assert!(term.holds("n", label) && !term.holds("m", label));
        assert!(terms(&[NodeTerm::default(), term.clone()]).admits("n", label));
        assert!(!terms(&[]).admits("n", label));
        assert!(Constraints::default().admits("n", label));
        assert!(terms(&[term.clone(), term.clone()]).names_nodes());
        let unnamed = NodeTerm { names: Box::default(), ..term.clone() };
        assert!(!terms(&[term.clone(), unnamed]).names_nodes() && !terms(&[]).names_nodes());
        let both = Constraints { node_selector: [ssd].into(), ..terms(&[term]) };
        assert!(both.admits("n", label) && !both.admits("n", |_| None));
    }

    #[test]
    fn a_term_means_pods_by_their_labels_and_by_their_namespaces() {
        let hashed = |all: &[&str]| -> Box<[HashedText]> {
            all.iter().map(|it| HashedText::of(it)).collect()
        };
        let asked = |values: &[&str]| Requirement {
            key: HashedText::of("app"),
            is: LabelOperator::In(hashed(values)),
        };
        let term = |selector, named: &[&str], selected: Option<&[Requirement<Box<str>>]>| {
            PodAffinityTerm {
                key: "zone".into(),
                selector,
                namespaces: Namespaces { named: hashed(named), selected: selected.map(Into::into) },
            }
        };
        let cart: Selector<HashedText> = [asked(&["cart"])].into();
        let rich = [Requirement { key: "rich".into(), is: LabelOperator::Exists }];
        let poor = [Requirement { key: "rich".into(), is: LabelOperator::DoesNotExist }];
        let bank = Namespace { name: "bank".into(), labels: [("rich".into(), "".into())].into() };
        let pod = |namespace, app| {
            LabelSet::new(namespace, [(HashedText::of("app"), HashedText::of(app))])
        };
        let (at_bank, at_shop) = (pod("bank", "cart"), pod("shop", "cart"));
        for (term, want) in [
            (term(Some(cart.clone()), &["bank"], None), [true, false]),
            (term(Some(cart.clone()), &["shop"], Some(&rich)), [true, true]),
            (term(Some(cart.clone()), &[], Some(&rich)), [true, false]),
            // Of a namespace that is not known no label is.
            (term(Some(cart.clone()), &[], Some(&poor)), [false, true]),
            (term(Some(cart.clone()), &[], Some(&[])), [true, true]),
            (term(Some(cart), &[], None), [false, false]),
            (term(Some([asked(&["song"])].into()), &["bank"], Some(&[])), [false, false]),
            (term(Some(Box::default()), &["bank"], None), [true, false]),
            (term(None, &["bank"], Some(&[])), [false, false]),
        ] {
            assert_eq!(
                [term.means(&at_bank, Some(&bank)), term.means(&at_shop, None)],
                want,
                "{term:?}"
            );
        }
    }

    #[test]
    fn ports_conflict_where_addresses_meet() {
        let port = |port, protocol, ip: &str| {
            let ip = (!ip.is_empty()).then(|| HashedText::of(ip));
            HostPort { port, protocol, ip }
        };
        let one = port(80, Protocol::Tcp, "10.0.0.1");
        for (other, want) in [
            (one, true),
            (port(80, Protocol::Tcp, ""), true),
            (port(80, Protocol::Tcp, "10.0.0.2"), false),
            (port(80, Protocol::Udp, ""), false),
            (port(81, Protocol::Tcp, ""), false),
        ] {
            assert_eq!((one.conflicts(&other), other.conflicts(&one)), (want, want), "{other:?}");
        }
    }
}

//! Pools of capacity and how a node is recognised as a member.

use super::node::Node;
use super::quantity::Amounts;

/// Which nodes belong to a pool; all conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMatcher {
    /// Patterns of `node.kubernetes.io/instance-type` (`ecs.ebm*`); any of them. Empty: not asked.
    pub instance_types: Vec<String>,
    /// Labels that the node must carry with exactly these values.
    pub labels: Vec<(String, String)>,
    /// The node must be virtual, see [`Node::is_virtual`].
    pub is_virtual: bool,
}

impl NodeMatcher {
    /// True when `node` belongs. A matcher without conditions matches every node.
    pub fn matches(&self, node: &Node) -> bool {
        let instance_type = || {
            node.label("node.kubernetes.io/instance-type")
                .or_else(|| node.label("beta.kubernetes.io/instance-type"))
                .unwrap_or("")
        };
        (self.instance_types.is_empty()
            || self.instance_types.iter().any(|pattern| glob(pattern, instance_type())))
            && self.labels.iter().all(|(key, value)| node.label(key) == Some(value))
            && (!self.is_virtual || node.is_virtual())
    }
}

/// A pool of the policy: 神龙, ECS, ECI, or whatever a site calls its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSpec {
    /// The pool's name.
    pub name: String,
    /// Who belongs; the first pool that matches wins.
    pub matcher: NodeMatcher,
    /// Its nodes are virtual: their capacity is not real, and only `limit` bounds them.
    pub elastic: bool,
    /// Most that all pods in an elastic pool may ask for together; `i64::MAX` where not given.
    pub limit: Option<Amounts>,
}

/// Matches `text` against a pattern in which `*` stands for any run of characters.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((prefix, mut rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(prefix) else {
        return false;
    };
    while let Some((middle, tail)) = rest.split_once('*') {
        let Some(at) = text.find(middle) else {
            return false;
        };
        text = &text[at + middle.len()..];
        rest = tail;
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        let cases = [
            ("ecs.ebm*", "ecs.ebmg5.24xlarge", true),
            ("ecs.ebm*", "ecs.g7.large", false),
            ("ecs.*", "ecs.g7.large", true),
            ("prod", "prod", true),
            ("prod", "prod-1", false),
            ("*", "", true),
            ("a*b*c", "a__b__c", true),
            ("a*b*c", "a__c__b", false),
            ("a*a", "a", false),
            ("*large*", "ecs.large.x", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn a_matcher_needs_all_that_it_names() {
        let labels: Box<[(Box<str>, Box<str>)]> = Box::new([
            ("node.kubernetes.io/instance-type".into(), "ecs.g7.large".into()),
            ("tier".into(), "gold".into()),
        ]);
        let node = Node { labels, ..Node::default() };
        let matcher = |types: &[&str], labels: &[(&str, &str)]| NodeMatcher {
            instance_types: types.iter().map(|it| (*it).to_owned()).collect(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            is_virtual: false,
        };
        assert!(matcher(&[], &[]).matches(&node));
        assert!(matcher(&["ecs.ebm*", "ecs.g7.*"], &[]).matches(&node));
        assert!(matcher(&["ecs.*"], &[("tier", "gold")]).matches(&node));
        assert!(!matcher(&["ecs.*"], &[("tier", "iron")]).matches(&node));
        assert!(!matcher(&["ecs.*"], &[]).matches(&Node::default()));
    }
}

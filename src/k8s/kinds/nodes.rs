//! Nodes.

use super::{KindSpec, Version};
use crate::k8s::decode::{self, DecodeError};
use crate::k8s::images::{self, SlimImage};
use crate::k8s::objects::{SlimObject, named};
use crate::k8s::resource_requests;
use crate::k8s::slim::{SlimAmounts, SlimCondition, SlimIdentityMeta, SlimMeta, list, nullable};
use crate::model::{Amounts, Change, Conditions, Kind, Node, Taint};

/// Required: every decision is about nodes.
pub const SPEC: KindSpec = KindSpec::watched::<SlimNode>(Version::Fixed("v1"));

impl SlimObject for SlimNode {
    const KIND: Kind = Kind::NODES;

    fn into_version(self) -> String {
        self.metadata.resource_version
    }

    fn change(&self) -> Result<Change, DecodeError> {
        Ok(Change::NodeSeen(Box::new(node(self)?)))
    }

    fn gone(meta: &SlimIdentityMeta) -> Result<Change, DecodeError> {
        Ok(Change::NodeGone { name: named(meta)?.into() })
    }
}

/// A node.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimNode {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: SlimMeta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: SlimNodeSpec,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: SlimNodeStatus,
}

/// A node's spec.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimNodeSpec {
    /// `unschedulable`.
    #[serde(deserialize_with = "nullable")]
    pub unschedulable: bool,
    /// `taints`.
    #[serde(deserialize_with = "list")]
    pub taints: Vec<SlimTaint>,
}

/// A taint.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimTaint {
    /// `key`.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// `value`.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// `effect`.
    #[serde(deserialize_with = "nullable")]
    pub effect: String,
}

/// A node's status.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimNodeStatus {
    /// `allocatable`; a node that has just registered may lack it.
    pub allocatable: Option<SlimAmounts>,
    /// `capacity`.
    pub capacity: Option<SlimAmounts>,
    /// `conditions`.
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<SlimCondition>,
    /// `images`.
    #[serde(deserialize_with = "list")]
    pub images: Vec<SlimImage>,
}

/// Makes a node.
pub fn node(slim: &SlimNode) -> Result<Node, DecodeError> {
    decode::required(&slim.metadata.name, "metadata.name")?;
    let status = &slim.status;
    let (allocatable, extended) = match (&status.allocatable, &status.capacity) {
        (Some(amounts), _) => {
            resource_requests::capacity(amounts, &|| "status.allocatable".to_owned())?
        }
        (None, Some(amounts)) => {
            resource_requests::capacity(amounts, &|| "status.capacity".to_owned())?
        }
        // A node that has only just registered offers nothing yet.
        (None, None) => (Amounts::default(), Box::default()),
    };
    let mut conditions = node_conditions(&status.conditions);
    if slim.spec.unschedulable {
        conditions = conditions.with(Conditions::CORDONED);
    }
    Ok(Node {
        name: slim.metadata.name.as_str().into(),
        uid: slim.metadata.uid.as_str().into(),
        resource_version: decode::number(&slim.metadata.resource_version),
        allocatable,
        extended,
        conditions,
        taints: slim.spec.taints.iter().filter_map(taint).collect(),
        labels: decode::labels(&slim.metadata),
        images: images::of_node(status),
    })
}

/// `None` for a taint without an effect, which has none.
fn taint(slim: &SlimTaint) -> Option<Taint> {
    let effect = (!slim.effect.is_empty()).then(|| decode::effect(&slim.effect))?;
    Some(Taint { key: slim.key.as_str().into(), value: slim.value.as_str().into(), effect })
}

fn node_conditions(conditions: &[SlimCondition]) -> Conditions {
    conditions.iter().fold(Conditions::default(), |set, condition| {
        let bad = match (condition.kind.as_str(), condition.status.as_str()) {
            ("Ready", "False" | "Unknown") => Conditions::NOT_READY,
            ("MemoryPressure", "True") => Conditions::MEMORY_PRESSURE,
            ("DiskPressure", "True") => Conditions::DISK_PRESSURE,
            ("PIDPressure", "True") => Conditions::PID_PRESSURE,
            ("NetworkUnavailable", "True") => Conditions::NETWORK_UNAVAILABLE,
            _ => Conditions::default(),
        };
        set.with(bad)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExtendedAmount, TaintEffect};

    fn read_node(json: &str) -> Result<Node, DecodeError> {
        node(&serde_json::from_str(json)?)
    }

    #[test]
    fn a_taint_whose_effect_is_not_known_is_kept() {
        let taints = r#"{"metadata":{"name":"n"},"spec":{"taints":[{"key":"a","effect":"NoBreathing"},
            {"key":"b","value":"c","effect":"NoExecute"},{"key":"d"},null]}}"#;
        let got = read_node(taints).expect("a valid node").taints;
        let want = [("a", "", TaintEffect::Unclear), ("b", "c", TaintEffect::NoExecute)];
        let want =
            want.map(|(key, value, effect)| Taint { key: key.into(), value: value.into(), effect });
        assert_eq!(*got, want);
    }

    #[test]
    fn nodes_are_read() {
        let got = read_node(include_str!("../testdata/node.json")).expect("a valid node");
        assert_eq!((&*got.name, got.resource_version), ("bm-17", 99));
        let want = Amounts {
            cpu_milli: 95_500,
            memory_bytes: 376 << 30,
            ephemeral_bytes: 1 << 40,
            pods: 110,
        };
        assert_eq!(got.allocatable, want);
        let gpu = ExtendedAmount { name: "nvidia.com/gpu".into(), amount: 8 };
        let huge = ExtendedAmount { name: "hugepages-1Gi".into(), amount: 0 };
        assert_eq!(*got.extended, [huge, gpu]);
        assert_eq!(got.conditions, Conditions::CORDONED.with(Conditions::DISK_PRESSURE));
        let effects: Vec<TaintEffect> = got.taints.iter().map(|it| it.effect).collect();
        assert_eq!(effects, [TaintEffect::NoSchedule, TaintEffect::Unclear]);
        assert_eq!(got.label("topology.kubernetes.io/zone"), Some("cn-hangzhou-h"));
        assert!(got.labels.is_sorted());
    }

    #[test]
    fn nodes_without_figures_offer_capacity_or_nothing() {
        let node = |status: &str| {
            read_node(&format!(r#"{{"metadata":{{"name":"a"}},"status":{status}}}"#))
        };
        let cpu = |status: &str| node(status).map(|it| it.allocatable.cpu_milli);
        assert_eq!(cpu(r#"{"capacity":{"cpu":"4"}}"#), Ok(4000));
        assert_eq!(cpu(r#"{"capacity":{"cpu":"4"},"allocatable":{"cpu":"3"}}"#), Ok(3000));
        assert_eq!(cpu(r#"{"capacity":null,"allocatable":null}"#), Ok(0));
        assert_eq!(cpu("null"), Ok(0));
        let bad = node(r#"{"allocatable":{"pods":"many"}}"#).map_err(|it| it.to_string());
        assert_eq!(
            bad.err().as_deref(),
            Some("status.allocatable.pods: not a Kubernetes quantity")
        );
        assert_eq!(read_node("{}"), Err(DecodeError::Missing { field: "metadata.name" }));
        let ready = |status: &str| {
            let text = format!(r#"{{"conditions":[{{"type":"Ready","status":"{status}"}}]}}"#);
            node(&text).map(|it| it.conditions.intersects(Conditions::NOT_READY))
        };
        for (status, want) in [("True", false), ("False", true), ("Unknown", true), ("", false)] {
            assert_eq!(ready(status), Ok(want), "{status}");
        }
    }
}

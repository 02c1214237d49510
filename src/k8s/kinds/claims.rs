//! Claims to persistent volumes, reduced to the volume that each is bound to.

use super::{KindSpec, Version};
use crate::k8s::decode::{DecodeError, required};
use crate::k8s::objects::SlimObject;
use crate::k8s::slim::{SlimOwner, list, nullable, present};
use crate::model::{BoundClaim, Change, Kind, ObjectName, PodUid, owner_of};
use crate::policy::Plan;

/// Of use for pods that may go to nodes that were not offered.
pub const SPEC: KindSpec = KindSpec {
    wanted: Plan::chooses_anywhere,
    without: "pods that mount claims are left to kube-scheduler",
    ..KindSpec::watched::<SlimClaim>(Version::Fixed("v1"))
};

impl SlimObject for SlimClaim {
    const KIND: Kind = Kind::CLAIMS;
    const NAMESPACED: bool = true;

    fn into_version(self) -> String {
        self.metadata.resource_version
    }

    fn change(&self) -> Result<Change, DecodeError> {
        let (name, bound) = claim(self)?;
        Ok(Change::seen(name, bound))
    }
}

/// A claim to a volume.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimClaim {
    /// `metadata`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: SlimClaimMeta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: SlimClaimSpec,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: SlimClaimStatus,
}

/// A claim's metadata.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimClaimMeta {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `namespace`.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// `resourceVersion`.
    #[serde(deserialize_with = "nullable")]
    pub resource_version: String,
    /// Whether `deletionTimestamp` is set.
    #[serde(deserialize_with = "present")]
    pub deletion_timestamp: bool,
    /// `annotations`.
    #[serde(deserialize_with = "nullable")]
    pub annotations: SlimClaimMarks,
    /// `ownerReferences`.
    #[serde(deserialize_with = "list")]
    pub owner_references: Vec<SlimOwner>,
}

/// The annotation by which a binding is known to be complete.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimClaimMarks {
    /// Whether it is there.
    #[serde(rename = "pv.kubernetes.io/bind-completed", deserialize_with = "present")]
    pub bind_completed: bool,
}

/// A claim's spec.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimClaimSpec {
    /// `volumeName`.
    #[serde(deserialize_with = "nullable")]
    pub volume_name: String,
    /// `accessModes`.
    #[serde(deserialize_with = "list")]
    pub access_modes: Vec<String>,
}

/// A claim's status.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct SlimClaimStatus {
    /// `phase`.
    #[serde(deserialize_with = "nullable")]
    pub phase: String,
}

/// What a claim is, and what it is bound to. A claim that is not bound, that is lost or being deleted, or
/// whose volume one pod alone may use, says nothing of where its pod may go.
pub fn claim(slim: &SlimClaim) -> Result<(ObjectName, Option<BoundClaim>), DecodeError> {
    let SlimClaim { metadata: meta, spec, status } = slim;
    required(&meta.name, "metadata.name")?;
    required(&meta.namespace, "metadata.namespace")?;
    let is_bound = !spec.volume_name.is_empty() && meta.annotations.bind_completed;
    let is_odd = status.phase == "Lost"
        || meta.deletion_timestamp
        || spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod");
    let owner = meta.owner_references.iter().find(|it| it.controller);
    let owner = owner.and_then(|it| PodUid::parse(&it.uid)).map_or(0, owner_of);
    let volume = ObjectName::of("", &spec.volume_name);
    let bound = (is_bound && !is_odd).then_some(BoundClaim { volume, owner });
    Ok((ObjectName::of(&meta.namespace, &meta.name), bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(more: &str) -> Option<BoundClaim> {
        let text = format!(r#"{{"metadata":{{"name":"a","namespace":"n"{more}"#);
        let slim = serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"));
        let (name, bound) = claim(&slim.expect("a claim")).expect("a claim");
        assert_eq!(name, ObjectName::of("n", "a"));
        bound
    }

    #[test]
    fn a_claim_is_bound_when_kube_scheduler_takes_it_for_bound() {
        const DONE: &str =
            r#","annotations":{"other":"x","pv.kubernetes.io/bind-completed":"yes"}"#;
        let volume = ObjectName::of("", "pv-1");
        let spec = r#"},"spec":{"volumeName":"pv-1","accessModes":["ReadWriteOnce"]}}"#;
        let done = format!("{DONE}{spec}");
        assert_eq!(bound(&done), Some(BoundClaim { volume, owner: 0 }));
        let uid = "0f3a1c2e-9d3b-4f6a-8d57-2b1c0a9e8f77";
        let owners = |controls: bool| {
            format!(
                r#","ownerReferences":[{{"uid":"x"}},{{"uid":"{uid}","controller":{controls}}}]"#
            )
        };
        let owner = PodUid::parse(uid).map_or(0, owner_of);
        for (controls, owner) in [(true, owner), (false, 0)] {
            let more = format!("{}{done}", owners(controls));
            assert_eq!(bound(&more), Some(BoundClaim { volume, owner }));
        }
        for unbound in [
            // Not yet: by name alone, or by the annotation alone.
            spec.to_owned(),
            format!(r#"{DONE}}},"spec":{{"volumeName":""}}}}"#),
            format!("{DONE}}}}}"),
            // On its way out, lost, or for one pod alone.
            format!(r#","deletionTimestamp":"t"{done}"#),
            done.replace(r#""ReadWriteOnce"]}"#, r#""ReadWriteOnce"]},"status":{"phase":"Lost"}"#),
            done.replace(r#""ReadWriteOnce"]"#, r#""ReadOnlyMany","ReadWriteOncePod"]"#),
        ] {
            assert_eq!(bound(&unbound), None, "{unbound}");
        }
        for nobody in [r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"namespace":"n"}}"#] {
            let slim = serde_json::from_str(nobody).expect("JSON");
            assert!(claim(&slim).is_err(), "{nobody}");
        }
    }
}

use super::*;
use crate::k8s::decode;
use crate::model::{LabelOperator, NodeTerm, Requirement};

fn claims(namespace: &str, name: &str, volumes: &str) -> Box<[PodClaim]> {
    let text = format!(
        r#"{{"metadata":{{"uid":"u","name":"{name}","namespace":"{namespace}"}},"spec":{{{volumes}}}}}"#
    );
    decode::pod(&serde_json::from_str(&text).expect("a pod")).expect("a pod").claims
}

#[test]
fn a_pod_mounts_claims_and_those_that_are_made_for_it() {
    let volumes = r#""volumes":[null,{"name":"tmp","emptyDir":{}},{"name":"a\n","emptyDir":null},
        {"name":"data","persistentVolumeClaim":{"claimName":"cart-data","readOnly":true}},
        {"ephemeral":{"volumeClaimTemplate":{"spec":{}}},"name":"scratch"},
        {"name":"none","persistentVolumeClaim":null,"ephemeral":null},
        {"name":null,"persistentVolumeClaim":{}}]"#;
    let claim = |name: &str, ephemeral| PodClaim { name: ObjectName::of("shop", name), ephemeral };
    let want = [claim("cart-data", false), claim("cart-0-scratch", true), claim("", false)];
    assert_eq!(*claims("shop", "cart-0", volumes), want);
    assert_eq!(*claims("shop", "cart-0", r#""volumes":null"#), []);
    let placed = format!(r#""nodeName":"n1",{volumes}"#);
    assert_eq!(*claims("shop", "cart-0", &placed), [], "where it may go is no question any more");
}

fn bound(more: &str) -> Option<BoundClaim> {
    let text = format!(r#"{{"metadata":{{"name":"a","namespace":"n"{more}"#);
    let slim = serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"));
    let (name, bound) = claim(&slim.expect("a claim")).expect("a claim");
    assert_eq!(name, ObjectName::of("n", "a"));
    bound
}

#[test]
fn a_claim_is_bound_when_kube_scheduler_takes_it_for_bound() {
    const DONE: &str = r#","annotations":{"other":"x","pv.kubernetes.io/bind-completed":"yes"}"#;
    let volume = ObjectName::of("", "pv-1");
    let spec = r#"},"spec":{"volumeName":"pv-1","accessModes":["ReadWriteOnce"]}}"#;
    let done = format!("{DONE}{spec}");
    assert_eq!(bound(&done), Some(BoundClaim { volume, owner: 0 }));
    let uid = "0f3a1c2e-9d3b-4f6a-8d57-2b1c0a9e8f77";
    let owners = |controls: bool| {
        format!(r#","ownerReferences":[{{"uid":"x"}},{{"uid":"{uid}","controller":{controls}}}]"#)
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

fn reach(labels: &str, spec: &str) -> Option<VolumeTopology> {
    let text = format!(r#"{{"metadata":{{"name":"pv","labels":{labels}}},"spec":{spec}}}"#);
    let slim = serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"));
    let (name, reach) = volume(&slim.expect("a volume")).expect("a volume");
    assert_eq!(name, ObjectName::of("", "pv"));
    reach
}

#[test]
fn a_volume_says_where_it_can_be_used() {
    let nowhere_special = [
        ("null", "null"),
        ("{}", r#"{"csi":{"driver":"d"},"nodeAffinity":null}"#),
        (r#"{"topology.kubernetes.io/rack":"r"}"#, r#"{"nodeAffinity":{"required":null}}"#),
        // A label with an empty value among them is as if it were not there.
        (r#"{"topology.kubernetes.io/zone":"a____b"}"#, r#"{"nfs":{"server":"s"}}"#),
        (r#"{"topology.kubernetes.io/zone":null}"#, "{}"),
    ];
    for (labels, spec) in nowhere_special {
        assert_eq!(reach(labels, spec), Some(VolumeTopology::default()), "{labels} {spec}");
    }
    let affinity = r#"{"local":{},"nodeAffinity":{"required":{"nodeSelectorTerms":[
        {"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}],"matchFields":null}]}}}"#;
    let ssd = Requirement { key: "disk".into(), is: LabelOperator::In(["ssd".into()].into()) };
    let term = NodeTerm { labels: [ssd].into(), names: Box::default() };
    let labels = r#"{"topology.kubernetes.io/region":"r","app":"x",
        "failure-domain.beta.kubernetes.io/zone":"a__ b"}"#;
    let zones: [ZoneLabel; 2] = [
        ("failure-domain.beta.kubernetes.io/zone".into(), ["a".into(), "b".into()].into()),
        ("topology.kubernetes.io/region".into(), ["r".into()].into()),
    ];
    let want = VolumeTopology { node_terms: Some([term].into()), zones: zones.into() };
    assert_eq!(reach(labels, affinity), Some(want));
}

#[test]
fn of_a_volume_that_is_not_understood_nothing_is_said() {
    let affinity = |terms: &str| {
        format!(r#"{{"nodeAffinity":{{"required":{{"nodeSelectorTerms":[{terms}]}}}}}}"#)
    };
    let mut unclear = vec![
        affinity(r#"{"matchExpressions":[{"key":"a","operator":"Near","values":["b"]}]}"#),
        affinity(r#"{"matchFields":[{"key":"metadata.name","operator":"In","values":["n"]}]}"#),
    ];
    for source in [
        "awsElasticBlockStore",
        "gcePersistentDisk",
        "cinder",
        "azureDisk",
        "azureFile",
        "vsphereVolume",
        "portworxVolume",
    ] {
        unclear.push(format!(r#"{{"{source}":{{}}}}"#));
        assert!(reach("{}", &format!(r#"{{"{source}":null}}"#)).is_some());
    }
    for spec in unclear {
        assert_eq!(reach("{}", &spec), None, "{spec}");
    }
}

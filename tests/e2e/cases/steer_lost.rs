//! A steer whose target is lost, or whose pod is deleted, on the site of `steer_broken`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use super::Facts;
use super::steer::plain_node;
use super::steer_broken::{DEAF_MS, HOLD, HOME, STRICT, Site, Step};
use crate::faults::Fault;
use crate::harness::api::node_of;
use crate::harness::objects::{PodShape, pod};
use crate::harness::until;

/// Pods may go anywhere, and are best off on the one node.
const BETTER: &str = "
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: better}
pools:
- {name: home, match: {labels: {pool: home}}, allocation: {cpu: 15%}}
- {name: rest, match: {labels: {pool: rest}}}
classes:
- {name: default, pools: [home, rest]}
steering:
  default: {steer: {better: {margin: 10%, perSecond: 100}}}
";

/// The target is deleted, cordoned or filled when it is nominated and kube-scheduler has not heard of it.
pub(super) async fn lost() -> Result<Facts> {
    let mut site = Site::start(BETTER, None).await?;
    let home = format!("/api/v1/nodes/{HOME}");
    let mut facts = Facts::new();
    for loss in ["deleted", "cordoned", "filled"] {
        let name = site.steer(STRICT, HOLD).await?;
        site.nominated(STRICT, &name).await?;
        let filler = PodShape {
            namespace: "plain",
            scheduler: "another",
            cpu_milli: 3900,
            on: Some(HOME),
            ..PodShape::PLAIN
        };
        match loss {
            "deleted" => site.api.delete(&home, &json!({})).await?,
            "cordoned" => {
                drop(site.api.merge(&home, &json!({"spec": {"unschedulable": true}})).await?)
            }
            _ => site.api.post_all(vec![pod("filler", &filler)]).await?,
        }
        site.thaw();
        let (pod, took) = site.bound(STRICT, &name, Duration::from_secs(5)).await?;
        let node = node_of(&pod).context("a node")?;
        ensure!(node != HOME, "{loss}: {name} is on the node that is lost");
        let nominated = &pod["status"]["nominatedNodeName"];
        ensure!(nominated.is_null() || *nominated == node, "{loss}: {name} claims {nominated}");
        site.remove(STRICT, &name).await.context(loss)?;
        facts.push(format!("{loss}: bound elsewhere after {:.2} s", took.as_secs_f64()));
        match loss {
            "deleted" => site.api.post_all(vec![plain_node(HOME, ("pool", Some("home")))]).await?,
            "cordoned" => {
                drop(site.api.merge(&home, &json!({"spec": {"unschedulable": null}})).await?)
            }
            _ => site.api.delete_pod("plain", "filler").await?,
        }
        sleep(Duration::from_millis(2 * DEAF_MS)).await;
    }
    facts.push(deleted_pods(&mut site).await?);
    Ok(facts)
}

/// Pods that are deleted on their way leave nothing, and are counted as gone; one that is deleted once its
/// target was accepted has been honoured. The home, which takes one pod, is free for the next at once.
async fn deleted_pods(site: &mut Site) -> Result<String> {
    for step in [Step::Refused, Step::Written, Step::Accepted] {
        let before = (site.steers("gone").await?, site.steers("honoured").await?);
        let name = site.steer(STRICT, HOLD).await?;
        if step == Step::Written {
            site.nominated(STRICT, &name).await?;
        }
        if step == Step::Accepted {
            let binding = format!("/{name}/binding");
            site.to_scheduler.spoil(&binding, 1, Fault::Late(HOLD));
            let look = async || Ok((site.to_scheduler.asked(&binding) > 0).then_some(()));
            until("the binding is on its way", Duration::from_secs(10), look).await?;
        }
        site.api.delete_pod(STRICT.namespace, &name).await?;
        site.thaw();
        let want = match step {
            Step::Accepted => (before.0, before.1 + 1),
            _ => (before.0 + 1, before.1),
        };
        let counted = async || {
            let seen = (site.steers("gone").await?, site.steers("honoured").await?);
            ensure!(seen <= want, "{seen:?} are gone and honoured, not {want:?}");
            Ok((seen == want).then_some(()))
        };
        let counted = until("it is counted", Duration::from_secs(5), counted).await;
        counted.with_context(|| format!("{step:?}"))?;
        site.nothing_left().await.with_context(|| format!("{step:?}"))?;
        let next = site.steer(STRICT, HOLD).await?;
        let (pod, _) = site.bound(STRICT, &next, Duration::from_secs(5)).await?;
        ensure!(node_of(&pod) == Some(HOME), "{next} is on {:?}, not at home", node_of(&pod));
        site.remove(STRICT, &next).await?;
    }
    Ok("3 pods are deleted on their way: no nomination and no hold is left, and the next has the node \
        at once"
        .to_owned())
}

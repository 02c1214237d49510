//! Resource lists as written, turned into amounts; and which of them a pod's request is made of.

use crate::model::{
    Amounts, ContainerKind, ExtendedAmount, PodRequests, Requests, RequestsBlock, is_pod_level,
    parse_milli, parse_value,
};

use super::decode::DecodeError;
use super::slim::{SlimAmounts, SlimContainer, SlimContainerStatus, SlimPod, SlimQuantity};

/// What a pod asks for, counted as kube-scheduler 1.37 counts it.
pub(super) fn requests(pod: &SlimPod) -> Result<Requests, DecodeError> {
    let infeasible = resize_is_infeasible(pod);
    let mut containers = Vec::new();
    for (at, container) in pod.spec.init_containers.iter().enumerate() {
        let path = || format!("spec.initContainers[{at}].resources.requests");
        let kind = match container.restart_policy.as_str() {
            "Always" => ContainerKind::Sidecar,
            _ => ContainerKind::Init,
        };
        // Only what stays can be resized: the status of a finished init container means nothing.
        let status = match kind {
            ContainerKind::Sidecar => find(&pod.status.init_container_statuses, container),
            _ => None,
        };
        containers.push((kind, container_ask(container, status, infeasible, &path)?));
    }
    for (at, container) in pod.spec.containers.iter().enumerate() {
        let path = || format!("spec.containers[{at}].resources.requests");
        let status = find(&pod.status.container_statuses, container);
        let ask = container_ask(container, status, infeasible, &path)?;
        containers.push((ContainerKind::Regular, ask));
    }
    let overhead = ask(&pod.spec.overhead, &|| "spec.overhead".to_owned())?;
    let reported = reported(pod)?;
    let pod_level = pod_level(pod, infeasible)?;
    Ok(PodRequests { containers, reported, pod_level, overhead: Some(overhead) }.total())
}

/// A node's amounts; everything that is not one of the four base resources, sorted by name.
pub(super) fn capacity(
    amounts: &SlimAmounts,
    path: &dyn Fn() -> String,
) -> Result<(Amounts, Box<[ExtendedAmount]>), DecodeError> {
    let mut ask = RequestsBlock::default();
    for (name, quantity) in &amounts.0 {
        match &**name {
            "pods" => ask.base.pods = value(quantity, name, path)?,
            _ => set(&mut ask, name, quantity, path)?,
        }
    }
    ask.extended.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((ask.base, ask.extended.into()))
}

fn container_ask(
    container: &SlimContainer,
    status: Option<&SlimContainerStatus>,
    infeasible: bool,
    path: &dyn Fn() -> String,
) -> Result<RequestsBlock, DecodeError> {
    let wanted = ask(&container.resources.requests, path)?;
    let Some((status, actual)) = status.and_then(|it| Some((it, it.resources.as_ref()?))) else {
        return Ok(wanted);
    };
    let status_path = |field: &str| format!("status.containerStatuses[{}].{field}", status.name);
    let actual = ask(&actual.requests, &|| status_path("resources.requests"))?;
    let allocated = ask(&status.allocated_resources, &|| status_path("allocatedResources"))?;
    Ok(effective(wanted, actual, &allocated, infeasible))
}

fn pod_level(pod: &SlimPod, infeasible: bool) -> Result<Option<RequestsBlock>, DecodeError> {
    let wanted = &pod.spec.resources.requests;
    let ask_of_pod = ask(wanted, &|| "spec.resources.requests".to_owned())?.of_pod_level();
    if !wanted.0.iter().any(|(name, _)| is_pod_level(name)) {
        return Ok(None);
    }
    let Some((actual, allocated)) = status_of_pod(pod)? else { return Ok(Some(ask_of_pod)) };
    let given = (actual.of_pod_level(), allocated.of_pod_level());
    Ok(Some(effective(ask_of_pod, given.0, &given.1, infeasible)))
}

/// What a kubelet of 1.36 and later says the pod has in all, where it says both.
fn reported(pod: &SlimPod) -> Result<Option<RequestsBlock>, DecodeError> {
    let is_there = |amounts: &SlimAmounts| !amounts.0.is_empty();
    let actual = pod.status.resources.as_ref().map(|it| &it.requests);
    if !actual.is_some_and(is_there) || !is_there(&pod.status.allocated_resources) {
        return Ok(None);
    }
    Ok(status_of_pod(pod)?.map(|(actual, allocated)| actual.max(&allocated)))
}

/// What the pod's status says it has, and was given; `None` where it does not say.
fn status_of_pod(pod: &SlimPod) -> Result<Option<(RequestsBlock, RequestsBlock)>, DecodeError> {
    let Some(actual) = &pod.status.resources else { return Ok(None) };
    let actual = ask(&actual.requests, &|| "status.resources.requests".to_owned())?;
    let path = || "status.allocatedResources".to_owned();
    Ok(Some((actual, ask(&pod.status.allocated_resources, &path)?)))
}

/// Of a request that is being resized the largest figure counts, except that a wish which the node
/// has refused for good counts no more.
fn effective(
    wanted: RequestsBlock,
    actual: RequestsBlock,
    allocated: &RequestsBlock,
    infeasible: bool,
) -> RequestsBlock {
    let given = actual.max(allocated);
    if infeasible { given } else { wanted.max(&given) }
}

fn resize_is_infeasible(pod: &SlimPod) -> bool {
    let pending = pod.status.conditions.iter().find(|it| it.kind == "PodResizePending");
    pending.is_some_and(|it| it.reason == "Infeasible") || pod.status.resize == "Infeasible"
}

fn find<'a>(
    statuses: &'a [SlimContainerStatus],
    container: &SlimContainer,
) -> Option<&'a SlimContainerStatus> {
    statuses.iter().find(|status| status.name == container.name)
}

fn ask(amounts: &SlimAmounts, path: &dyn Fn() -> String) -> Result<RequestsBlock, DecodeError> {
    let mut ask = RequestsBlock::default();
    for (name, quantity) in &amounts.0 {
        set(&mut ask, name, quantity, path)?;
    }
    Ok(ask)
}

fn set(
    ask: &mut RequestsBlock,
    name: &str,
    quantity: &SlimQuantity,
    path: &dyn Fn() -> String,
) -> Result<(), DecodeError> {
    match name {
        "cpu" => {
            ask.base.cpu_milli = parse_milli(&quantity.0)
                .map_err(|why| DecodeError::Quantity { field: field(path, name), why })?;
        }
        "memory" => ask.base.memory_bytes = value(quantity, name, path)?,
        "ephemeral-storage" => ask.base.ephemeral_bytes = value(quantity, name, path)?,
        _ => {
            let amount = value(quantity, name, path)?;
            // A JSON object may name a key twice; as in Go the last one counts.
            ask.extended.retain(|it| *it.name != *name);
            ask.extended.push(ExtendedAmount { name: name.into(), amount });
        }
    }
    Ok(())
}

fn value(
    quantity: &SlimQuantity,
    name: &str,
    path: &dyn Fn() -> String,
) -> Result<i64, DecodeError> {
    parse_value(&quantity.0).map_err(|why| DecodeError::Quantity { field: field(path, name), why })
}

fn field(path: &dyn Fn() -> String, name: &str) -> String {
    format!("{}.{name}", path())
}

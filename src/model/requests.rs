//! What a pod asks of a node, summed as kube-scheduler 1.37 sums it
//! (`k8s.io/component-helpers/resource.PodRequests` with `UseStatusResources`).

use super::quantity::{Amounts, ExtendedAmount, Requests};

/// One set of amounts as written in a `requests:` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestsBlock {
    /// CPU, memory and ephemeral storage; `pods` stays 0.
    pub base: Amounts,
    /// Everything else, in any order, names at most once.
    pub extended: Vec<ExtendedAmount>,
}

/// How a container takes part in the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// Runs for the pod's life.
    Regular,
    /// An init container with `restartPolicy: Always`: started in order, then stays.
    Sidecar,
    /// Runs alone, in order, before the regular ones.
    Init,
}

/// The parts of a pod that its request is made of.
#[derive(Clone, Debug, Default)]
pub struct PodRequests {
    /// Each container in order, init containers first. For a container that is being resized in
    /// place the ask is the larger of spec, actual and allocated: see [`RequestsBlock::max`].
    pub containers: Vec<(ContainerKind, RequestsBlock)>,
    /// What the kubelet reports for the pod as a whole: the containers' sum is no less.
    pub reported: Option<RequestsBlock>,
    /// `spec.resources.requests`: overrides the containers' sum for what it names. Names that are not
    /// [supported there](is_pod_level) are left out.
    pub pod_level: Option<RequestsBlock>,
    /// `spec.overhead`, added at the end.
    pub overhead: Option<RequestsBlock>,
}

impl RequestsBlock {
    /// Component-wise maximum.
    #[must_use]
    pub fn max(mut self, other: &Self) -> Self {
        self.base = self.base.max(other.base);
        for theirs in &other.extended {
            match self.find(&theirs.name) {
                Some(mine) => mine.amount = mine.amount.max(theirs.amount),
                None => self.extended.push(theirs.clone()),
            }
        }
        self
    }

    /// Component-wise sum.
    pub fn add(&mut self, other: &Self) {
        self.base += other.base;
        for theirs in &other.extended {
            match self.find(&theirs.name) {
                Some(mine) => mine.amount = mine.amount.saturating_add(theirs.amount),
                None => self.extended.push(theirs.clone()),
            }
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut ExtendedAmount> {
        self.extended.iter_mut().find(|it| *it.name == *name)
    }

    /// Pod-level requests replace the sum of what they name; 0 counts as "not named".
    fn overridden_by(mut self, pod_level: &Self) -> Self {
        if pod_level.base.cpu_milli > 0 {
            self.base.cpu_milli = pod_level.base.cpu_milli;
        }
        if pod_level.base.memory_bytes > 0 {
            self.base.memory_bytes = pod_level.base.memory_bytes;
        }
        for theirs in pod_level.extended.iter().filter(|it| it.amount > 0) {
            match self.find(&theirs.name) {
                Some(mine) => mine.amount = theirs.amount,
                None => self.extended.push(theirs.clone()),
            }
        }
        self
    }

    /// The same without what cannot be asked for on the pod level.
    #[must_use]
    pub fn of_pod_level(mut self) -> Self {
        self.base.ephemeral_bytes = 0;
        self.extended.retain(|it| is_pod_level(&it.name));
        self
    }
}

/// True for a resource that a pod may ask for as a whole: cpu, memory, huge pages of any size. Source:
/// `k8s.io/component-helpers/resource.IsSupportedPodLevelResource`, the same from 1.34 to 1.37.
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

impl PodRequests {
    /// The pod's request on a node.
    pub fn total(&self) -> Requests {
        let mut running = RequestsBlock::default();
        let mut sidecars = RequestsBlock::default();
        let mut starting = RequestsBlock::default();
        for (kind, ask) in &self.containers {
            match kind {
                ContainerKind::Regular => running.add(ask),
                ContainerKind::Sidecar => {
                    running.add(ask);
                    sidecars.add(ask);
                    starting = starting.max(&sidecars);
                }
                ContainerKind::Init => {
                    let mut alone = ask.clone();
                    alone.add(&sidecars);
                    starting = starting.max(&alone);
                }
            }
        }
        let mut total = running.max(&starting);
        if let Some(reported) = &self.reported {
            total = total.max(reported);
        }
        if let Some(pod_level) = &self.pod_level {
            total = total.overridden_by(pod_level);
        }
        if let Some(overhead) = &self.overhead {
            total.add(overhead);
        }
        total.base.pods = 1;
        total.extended.retain(|it| it.amount != 0);
        total.extended.sort_by(|a, b| a.name.cmp(&b.name));
        Requests { base: total.base, extended: total.extended.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(cpu_milli: i64) -> RequestsBlock {
        RequestsBlock { base: Amounts { cpu_milli, ..Amounts::default() }, extended: Vec::new() }
    }

    fn check(containers: &[(ContainerKind, i64)], want_cpu_milli: i64) {
        let containers = containers.iter().map(|&(kind, milli)| (kind, cpu(milli))).collect();
        let ask = PodRequests { containers, ..PodRequests::default() };
        assert_eq!(ask.total().base.cpu_milli, want_cpu_milli, "{ask:?}");
    }

    #[test]
    fn containers_sum_as_kube_scheduler_sums_them() {
        use ContainerKind::{Init, Regular, Sidecar};
        check(&[], 0);
        check(&[(Regular, 100), (Regular, 200)], 300);
        check(&[(Init, 500), (Regular, 100)], 500);
        check(&[(Init, 50), (Regular, 100)], 100);
        check(&[(Sidecar, 100), (Regular, 100)], 200);
        // An init container that starts after a sidecar runs beside it …
        check(&[(Sidecar, 100), (Init, 500), (Regular, 100)], 600);
        // … and one that starts before it does not.
        check(&[(Init, 500), (Sidecar, 100), (Regular, 100)], 500);
    }

    #[test]
    fn pod_level_requests_override_and_overhead_adds() {
        let ask = PodRequests {
            containers: vec![(ContainerKind::Regular, cpu(100))],
            reported: Some(cpu(500)),
            pod_level: Some(cpu(1000)),
            overhead: Some(cpu(10)),
        };
        assert_eq!(ask.total().base.cpu_milli, 1010);
        assert_eq!(ask.total().base.pods, 1);
        let ask = PodRequests { pod_level: None, ..ask };
        assert_eq!(ask.total().base.cpu_milli, 510);
    }

    #[test]
    fn a_pod_asks_as_a_whole_for_cpu_memory_and_huge_pages() {
        let names = ["cpu", "memory", "hugepages-2Mi", "hugepages-1Gi", "hugepages-64Ki"];
        assert!(names.into_iter().all(is_pod_level));
        for name in
            ["ephemeral-storage", "pods", "nvidia.com/gpu", "a.com/hugepages-2Mi", "hugepages"]
        {
            assert!(!is_pod_level(name), "{name}");
        }
        let pages = |name: &str, amount| ExtendedAmount { name: name.into(), amount };
        let gpu = pages("nvidia.com/gpu", 1);
        let asks = |extended: &[ExtendedAmount]| RequestsBlock {
            extended: extended.into(),
            ..RequestsBlock::default()
        };
        let of_pod =
            [pages("hugepages-2Mi", 8), pages("hugepages-1Gi", 4), pages("nvidia.com/gpu", 9)];
        let of_pod = RequestsBlock {
            base: Amounts { ephemeral_bytes: 7, ..Amounts::default() },
            ..asks(&of_pod)
        };
        let ask = PodRequests {
            containers: vec![
                (ContainerKind::Init, asks(&[pages("hugepages-2Mi", 3)])),
                (ContainerKind::Regular, asks(&[pages("hugepages-2Mi", 2), gpu.clone()])),
            ],
            pod_level: Some(of_pod.of_pod_level()),
            overhead: Some(asks(&[pages("hugepages-2Mi", 1)])),
            ..PodRequests::default()
        };
        let total = ask.total();
        // The containers' gpu stays, and nothing is made of what cannot be asked for there.
        assert_eq!(*total.extended, [pages("hugepages-1Gi", 4), pages("hugepages-2Mi", 9), gpu]);
        assert_eq!(total.base.ephemeral_bytes, 0);
    }

    #[test]
    fn extended_resources_are_summed_by_name_and_sorted() {
        let gpu = |amount| ExtendedAmount { name: "nvidia.com/gpu".into(), amount };
        let fpga = ExtendedAmount { name: "a.com/fpga".into(), amount: 1 };
        let one =
            RequestsBlock { extended: vec![gpu(1), fpga.clone()], ..RequestsBlock::default() };
        let two = RequestsBlock { extended: vec![gpu(2)], ..RequestsBlock::default() };
        let containers = vec![(ContainerKind::Regular, one), (ContainerKind::Regular, two)];
        let total = PodRequests { containers, ..PodRequests::default() }.total();
        assert_eq!(*total.extended, [fpga, gpu(3)]);
    }
}

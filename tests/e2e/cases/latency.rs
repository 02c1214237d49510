//! What a filter call takes while sigma's writes fail: nothing more, since none waits for one. Blocks of
//! calls with the fault and without take turns, A B B A; times are reported, not asserted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Request;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Facts;
use super::steer::{plain_node, steers};
use crate::faults::{self, Fault};
use crate::harness::api::Api;
use crate::harness::control_plane::ControlPlane;
use crate::harness::objects::{PodShape, pod};
use crate::harness::proxy::Proxy;
use crate::harness::scheduler::{Scheduler, SchedulerOptions};
use crate::harness::sigma::{Sigma, SigmaOptions};

const NUM_NODES: usize = 600;
/// As many as kube-scheduler offers.
const OFFERED: usize = 276;
/// Calls of a block, behind those that warm it up.
const CALLS: usize = 300;
const WARM_UP: usize = 50;
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(2);
/// kube-scheduler's in a block, of which about half are steered: the failures of five open the breaker.
const PODS: usize = 16;
/// Longer than the case, and than sigma waits.
const FOR_EVER: Duration = Duration::from_secs(3600);

const FAULTS: [(&str, Fault); 4] = [
    ("403", Fault::Refused(403, 0)),
    ("500", Fault::Refused(500, 0)),
    ("409", Fault::Refused(409, 0)),
    ("late", Fault::Late(FOR_EVER)),
];

/// kube-scheduler's pods may go to the one node and to no other; the calls of the case are about a pod
/// that is content with what it is offered.
const POLICY: &str = "
apiVersion: sigma.io/v1alpha1
kind: SchedulingPolicy
metadata: {name: latency}
pools:
- {name: one, match: {labels: {pool: one}}}
- {name: rest, match: {labels: {pool: rest}}}
classes:
- name: single
  pools: [one]
  grant: {priorityClasses: [prod-high], namespaces: {names: [online]}}
- {name: default, pools: [rest]}
";

struct Site {
    sigma: Sigma,
    /// What sigma writes through.
    proxy: faults::Proxy,
    secured: Proxy,
    api: Api,
    body: Vec<u8>,
    num_pods: usize,
    control_plane: ControlPlane,
}

/// What was seen of a block.
struct Block {
    /// Milliseconds of each call.
    times: Vec<f64>,
    /// Calls that began after the first write was sent and ended before any had an answer.
    during: usize,
    writes: usize,
}

pub(super) async fn under_faults() -> Result<Facts> {
    let mut site = Site::start().await?;
    let options =
        SchedulerOptions { percentage: None, ..SchedulerOptions::new("sigma", &site.sigma) };
    let mut scheduler = Scheduler::start(&site.control_plane, &options).await?;
    let rounds = std::env::var("SIGMA_ROUNDS").map_or(Ok(1), |it| it.parse())?;
    let mut facts = Facts::new();
    for (what, fault) in FAULTS {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for is_on in [false, true, true, false].repeat(rounds) {
            let fault = is_on.then_some(fault);
            let block = site.block(fault).await.with_context(|| format!("{what}, on: {is_on}"))?;
            if is_on { with.push(block) } else { without.push(block) }
        }
        let during: usize = with.iter().map(|it| it.during).sum();
        let writes: usize = with.iter().map(|it| it.writes).sum();
        // Did a call wait for a write, no more calls than writes could be answered meanwhile.
        ensure!(
            !matches!(fault, Fault::Late(_)) || during > writes,
            "{during} calls were answered while {writes} writes were not"
        );
        facts.push(format!("{what}: {}", compared(&without, &with)));
        if during > 0 {
            facts.push(format!("{during} calls were answered while none of {writes} writes was"));
        }
    }
    scheduler.process.check()?;
    Ok(facts)
}

impl Site {
    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let api = control_plane.admin.clone();
        let pool = |at: usize| Some(if at == 0 { "one" } else { "rest" });
        let nodes = (0..NUM_NODES).map(|at| plain_node(&format!("n-{at:03}"), ("pool", pool(at))));
        api.post_all(nodes.collect()).await?;
        let upstream = Api::from_kubeconfig(&control_plane.kubeconfig("sigma")).await?;
        let secured = Proxy::start(upstream).await?;
        let proxy = faults::Proxy::start(secured.port);
        let options = SigmaOptions {
            kubeconfig: way(&control_plane, &proxy)?,
            knows_scheduler: true,
            ..SigmaOptions::new(&control_plane, "sigma", POLICY)
        };
        let sigma = Sigma::start(&control_plane, options).await?;
        let mut probe = pod("probe", &PodShape { namespace: "plain", ..PodShape::PLAIN });
        probe["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001".into();
        let names: Vec<String> = (1..=OFFERED).map(|at| format!("n-{at:03}")).collect();
        let body = json!({"Pod": probe, "NodeNames": names}).to_string().into_bytes();
        Ok(Self { sigma, proxy, secured, api, body, num_pods: 0, control_plane })
    }

    /// Calls one after the other, while kube-scheduler asks about pods that sigma steers; in a life of
    /// its own, whose breaker is closed at first.
    async fn block(&mut self, fault: Option<Fault>) -> Result<Block> {
        let next = faults::Proxy::start(self.secured.port);
        way(&self.control_plane, &next)?;
        self.sigma.restart().await?;
        self.proxy = next;
        steers(&self.sigma).await?;
        if let Some(fault) = fault {
            self.proxy.spoil("PATCH ", 1000, fault);
        }
        let caller = Api::anonymous(&self.sigma.url())?;
        for _ in 0..WARM_UP {
            self.call(&caller).await?;
        }
        let first = self.num_pods;
        self.num_pods += PODS;
        let (mut block, ()) = tokio::try_join!(self.calls(&caller), self.pods(first))?;
        block.writes = self.proxy.asked("PATCH ");
        ensure!(block.writes > 0, "sigma has written nothing");
        if self.sigma.metric("sigma_actions_total", "").await? > 0 {
            block.during = 0;
        }
        for result in ["degraded", "error"] {
            let label = format!("result=\"{result}\"");
            let count = self.sigma.metric("sigma_verb_results_total", &label).await?;
            ensure!(count == 0, "{count} answers are {result}");
        }
        self.api
            .delete("/api/v1/namespaces/online/pods", &json!({"gracePeriodSeconds": 0}))
            .await?;
        Ok(block)
    }

    async fn calls(&self, caller: &Api) -> Result<Block> {
        let mut block = Block { times: Vec::with_capacity(CALLS), during: 0, writes: 0 };
        for _ in 0..CALLS {
            let is_writing = self.proxy.asked("PATCH ") > 0;
            block.times.push(self.call(caller).await?);
            block.during += usize::from(is_writing);
            sleep(PAUSE).await;
        }
        Ok(block)
    }

    /// Gives how many milliseconds the answer took.
    async fn call(&self, caller: &Api) -> Result<f64> {
        let request = Request::post("/filter").header("content-type", "application/json");
        let request = request.body(self.body.clone())?;
        let begun = Instant::now();
        let text = caller.0.request_text(request).await?;
        let took = begun.elapsed();
        let answer: Value = serde_json::from_str(&text)?;
        let names = answer["NodeNames"].as_array().map_or(0, Vec::len);
        ensure!(names > 0, "no node for a pod that any may have: {text}");
        Ok(took.as_secs_f64() * 1e3)
    }

    async fn pods(&self, first: usize) -> Result<()> {
        let shape = PodShape {
            namespace: "online",
            priority_class: "prod-high",
            cpu_milli: 10,
            ..PodShape::PLAIN
        };
        for at in first..first + PODS {
            let next = pod(&format!("p-{at:04}"), &shape);
            self.api.post("/api/v1/namespaces/online/pods", &next).await?;
            sleep(Duration::from_millis(40)).await;
        }
        Ok(())
    }
}

/// sigma's way to the server, by a proxy.
fn way(control_plane: &ControlPlane, proxy: &faults::Proxy) -> Result<std::path::PathBuf> {
    control_plane.kubeconfig_by("sigma", &format!("http://127.0.0.1:{}", proxy.port))
}

/// Medians without the fault and with it, and their ratio: of all calls, and of the pairs of blocks the
/// least and the most.
fn compared(without: &[Block], with: &[Block]) -> String {
    let all = |blocks: &[Block]| median(blocks.iter().flat_map(|it| it.times.iter().copied()));
    let of = |block: &Block| median(block.times.iter().copied());
    let pairs = without.iter().zip(with).map(|(without, with)| of(with) / of(without));
    let (least, most) =
        pairs.fold((f64::MAX, f64::MIN), |(least, most), it| (it.min(least), it.max(most)));
    let (without, with) = (all(without), all(with));
    format!(
        "a filter call takes {without:.3} ms, with the fault {with:.3} ms: {:.2} ({least:.2} to {most:.2})",
        with / without
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

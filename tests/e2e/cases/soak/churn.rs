//! Pods that are made at a steady rate, and deleted as fast once there are enough.

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::SoakArgs;
use crate::harness::api::{Api, path_of};
use crate::harness::objects::{PodShape, pod};

/// Requests under way at once.
const AT_ONCE: usize = 8;
/// Between two portions of pods.
const TICK: Duration = Duration::from_millis(20);
/// A request to an API server that has just been killed may never be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// What was made.
#[derive(Debug, Default)]
pub(super) struct Churn {
    pub(super) num_made: usize,
    alive: Vec<(&'static str, String)>,
    draws: u64,
}

impl Churn {
    fn draw(&mut self, sides: usize) -> usize {
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.draws >> 33) as usize % sides.max(1)
    }

    /// The next pod: of one of two classes, of 0.5 to 4 cores.
    fn next(&mut self) -> Value {
        let (namespace, priority_class) =
            [("online", "prod-normal"), ("offline", "batch-normal")][self.draw(2)];
        let name = format!("p-{:06}", self.num_made);
        let cpu_milli = 500 * (1 + self.draw(8) as i64);
        self.num_made += 1;
        let shape = PodShape { namespace, priority_class, cpu_milli, ..PodShape::PLAIN };
        let it = pod(&name, &shape);
        self.alive.push((namespace, name));
        it
    }

    /// Makes as many pods as shall be alive.
    pub(super) async fn fill(&mut self, api: &Api, count: usize) -> Result<()> {
        let pods = (0..count).map(|_| self.next()).collect();
        api.post_all(pods).await
    }

    /// Makes and deletes pods until then. A request that fails is not repeated: the server may be away.
    pub(super) async fn run(&mut self, api: &Api, args: &SoakArgs, until: Instant) -> Result<()> {
        let (began, before) = (Instant::now(), self.num_made);
        while Instant::now() < until {
            let due = before + (began.elapsed().as_secs_f64() * args.rate) as usize;
            let new: Vec<Value> = (self.num_made..due).map(|_| self.next()).collect();
            make(api, new).await;
            let mut old = Vec::new();
            while self.alive.len() > args.alive {
                let at = self.draw(self.alive.len());
                old.push(self.alive.swap_remove(at));
            }
            delete(api, old).await;
            sleep(TICK).await;
        }
        Ok(())
    }
}

async fn make(api: &Api, pods: Vec<Value>) {
    let posts = pods.into_iter().map(|pod| async move {
        let Ok(path) = path_of(&pod) else { return };
        let _ = tokio::time::timeout(ANSWERED_WITHIN, api.post(&path, &pod)).await;
    });
    stream::iter(posts).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn delete(api: &Api, pods: Vec<(&'static str, String)>) {
    let deaths = pods.into_iter().map(|(namespace, name)| async move {
        let _ = tokio::time::timeout(ANSWERED_WITHIN, api.delete_pod(namespace, &name)).await;
    });
    stream::iter(deaths).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

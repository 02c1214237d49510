//! A source that is polled at an interval. Each answer is a complete list of its kind.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::health::KindCell;
use super::kinds::Facts;
use super::warnings::Warnings;
use crate::model::{Change, Kind};

/// Polls for as long as `out` has a receiver. An answer may take as long as the interval.
pub(super) async fn run<F: Future<Output = Result<Facts, String>>>(
    kind: Kind,
    out: mpsc::Sender<Change>,
    cell: Arc<KindCell>,
    interval: Duration,
    call: impl Fn() -> F,
) {
    let mut failures = Warnings::default();
    let mut is_lost = false;
    loop {
        let answer = timeout(interval, call()).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {interval:?}")));
        let changes = match answer {
            Ok(facts) => {
                is_lost = false;
                cell.update(|it| {
                    (it.num_objects, it.num_relists) = (
                        it.num_objects + facts.len() as u64,
                        it.num_relists + u64::from(it.listed),
                    );
                    (it.listed, it.error) = (true, None);
                    it.last_heard = Some(std::time::Instant::now());
                });
                let seen = facts.into_iter();
                let seen = seen.map(|(name, fact)| Change::Seen { kind, name, fact: Some(fact) });
                let list = [Change::RelistBegin(kind)].into_iter().chain(seen);
                list.chain([Change::RelistEnd(kind)]).collect()
            }
            Err(text) => {
                if let Some(num_unreported) = failures.admit_of(&text, Instant::now()) {
                    tracing::warn!(kind = kind.name, num_unreported, "cannot poll: {text}");
                }
                cell.update(|it| {
                    it.num_failures += 1;
                    it.error = Some(format!("cannot poll {}: {text}", kind.name));
                });
                let is_news = !std::mem::replace(&mut is_lost, true);
                is_news.then_some(Change::WatchLost(kind)).into_iter().collect::<Vec<_>>()
            }
        };
        for change in changes {
            if out.send(change).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = out.closed() => return,
            () = cell.relist_requested() => {}
            () = sleep(interval) => {}
        }
    }
}

//! The shell of a watch. It asks `list_watch` for the next request, sends the request over HTTP, and passes the
//! changes on.
//!
//! Each kind has one task. The task ends when the receiver is gone, and never because of the API server.

mod connections;
mod lines;
mod report;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use self::lines::Heard;
use crate::model::Change;

use super::deadline::Deadline;
use super::health::{KindCell, WatchHealth};
use super::kinds::{KindSource, KindSpec, Version};
use super::list_watch::{self, ListWatch, ListWatchRequest, WatchEnd, WatchOptions};
use super::objects::{First, ObjectReader};
use super::page::PagePart;
use super::warnings::Warnings;
use super::watch_freshness::{FreshnessChange, WatchFreshness};
use super::{discovery, poll};

/// The longest time for which a requested list waits for a pause of the watch.
const RELIST_PATIENCE: Duration = Duration::from_secs(10);

/// Follows one kind for as long as `out` has a receiver.
pub fn spawn(
    client: Client,
    spec: &KindSpec,
    out: mpsc::Sender<Change>,
    health: Arc<WatchHealth>,
) -> JoinHandle<()> {
    spawn_with(client, spec, out, health, WatchOptions::default())
}

/// As [`spawn`], with other times and sizes.
pub fn spawn_with(
    client: Client,
    spec: &KindSpec,
    out: mpsc::Sender<Change>,
    health: Arc<WatchHealth>,
    options: WatchOptions,
) -> JoinHandle<()> {
    let (version, reader) = match spec.source {
        KindSource::Watch(version, reader) => (version, reader),
        KindSource::Poll(interval, call) => {
            let cell = health.cell(spec.kind);
            return tokio::spawn(poll::run(spec.kind, out, cell, interval, move || {
                call(client.clone())
            }));
        }
    };
    let list_watch = ListWatch::new(&options);
    let started = Instant::now();
    let sight = WatchFreshness::new(&options, started);
    let (warnings, failures) = Default::default();
    let driver = Reflector {
        client,
        spec: *spec,
        reader,
        path: discovery::fixed_path(spec.kind, version),
        version,
        has_listed: false,
        out,
        cell: health.cell(spec.kind),
        health,
        options,
        list_watch,
        sight,
        started,
        begun: started,
        warnings,
        failures,
    };
    tokio::spawn(driver.run())
}

struct Reflector {
    client: Client,
    spec: KindSpec,
    reader: ObjectReader,
    version: Version,
    /// The kind's path in the API, if it is known.
    path: Option<String>,
    /// A list of this path is complete.
    has_listed: bool,
    out: mpsc::Sender<Change>,
    health: Arc<WatchHealth>,
    /// The kind's part of the health.
    cell: Arc<KindCell>,
    options: WatchOptions,
    list_watch: ListWatch,
    sight: WatchFreshness,
    started: Instant,
    /// When the last list was asked for.
    begun: Instant,
    warnings: Warnings,
    failures: Warnings,
}

/// The receiver of the changes is gone.
struct Abandoned;

impl Reflector {
    async fn run(mut self) {
        while self.turn().await.is_ok() {}
        tracing::debug!(kind = self.spec.kind.name, "watch ends: the receiver is gone");
    }

    /// One request, and the pause after it.
    async fn turn(&mut self) -> Result<(), Abandoned> {
        let ask = self.list_watch.next();
        let end = match &ask {
            ListWatchRequest::Page { after } => self.page(&ask, after.is_none()).await?,
            ListWatchRequest::Stream | ListWatchRequest::Watch { .. } => {
                Some(self.follow(&ask).await?)
            }
        };
        let Some(end) = end else { return Ok(()) };
        let word = self.sight.ended(Instant::now(), &end);
        self.say(word).await?;
        if let WatchEnd::Failed(failure) = &end
            && self.is_absence(failure)
        {
            self.path = discovery::fixed_path(self.spec.kind, self.version);
            self.is_absent(failure.code, &failure.text).await?;
            return self.rest(self.options.absent_pause).await;
        }
        let wait = self.list_watch.ended(&end, self.started.elapsed(), fastrand::f64());
        // Without a pause the next request is of another sort: the server does not stream lists.
        if let WatchEnd::Failed(failure) = end
            && !wait.is_zero()
        {
            self.note_failure(failure, wait);
        }
        self.rest(wait).await
    }

    /// Waits until the next request may be sent. A list that is requested meanwhile comes before the watch.
    async fn rest(&mut self, wait: Duration) -> Result<(), Abandoned> {
        let until = Instant::now() + wait;
        // A list under way may be older than the request.
        let may_list = matches!(self.list_watch.next(), ListWatchRequest::Watch { .. });
        loop {
            tokio::select! {
                biased;
                () = self.out.closed() => return Err(Abandoned),
                () = self.cell.relist_requested(), if may_list => {
                    self.list_watch.want_list();
                }
                () = sleep_until(until) => break,
            }
        }
        self.list_watch.begin_wanted_list(self.started.elapsed());
        Ok(())
    }

    /// Reads one page of a list.
    async fn page(
        &mut self,
        ask: &ListWatchRequest,
        is_first: bool,
    ) -> Result<Option<WatchEnd>, Abandoned> {
        let limit = self.options.page_timeout;
        let asked = Instant::now();
        let deadline = asked + limit;
        let late = format!("no page within {limit:?}");
        let mut page = match timeout_at(deadline, self.open_page(ask)).await {
            Ok(Ok(page)) => page,
            Ok(Err(failure)) => return Ok(Some(WatchEnd::Failed(failure))),
            Err(_) => return Ok(Some(self.failed(&late))),
        };
        if is_first {
            self.begin(asked).await?;
        }
        let meta = loop {
            match timeout_at(deadline, page.next(self.reader)).await {
                Ok(Ok(PagePart::Object(First::Read(read)))) => {
                    self.send_object(read.change).await?
                }
                Ok(Ok(PagePart::Object(First::Unread(error, object)))) => {
                    self.undecodable(&object, &error).await?;
                }
                Ok(Ok(PagePart::End(meta))) => break meta,
                Ok(Err(error)) => return Ok(Some(self.bad_page(error))),
                Err(_) => return Ok(Some(self.failed(&late))),
            }
        };
        self.heard();
        let Some(version) = meta.resource_version.filter(|it| !it.is_empty()) else {
            return Ok(Some(self.failed("a list without resourceVersion")));
        };
        let next = meta.r#continue.as_deref().filter(|token| !token.is_empty());
        if self.list_watch.page_read(&version, next) {
            self.listed(&version).await?;
        }
        Ok(None)
    }

    /// Follows a watch, or a streamed list that becomes one, to its end.
    async fn follow(&mut self, ask: &ListWatchRequest) -> Result<WatchEnd, Abandoned> {
        let opened = Instant::now();
        let mut is_list = *ask == ListWatchRequest::Stream;
        let mut lines = match self.answered(ask, opened, is_list).await {
            Ok(lines) => lines,
            Err(failure) => return Ok(WatchEnd::Failed(failure)),
        };
        let mut deadline = Deadline::new(&self.options, is_list, opened, Instant::now());
        if is_list {
            self.begin(opened).await?;
        }
        self.sight.opened(Instant::now());
        let (mut num_lines, mut relist_by) = (0, None);
        loop {
            if relist_by.is_some_and(|by| Instant::now() >= by) {
                return Ok(WatchEnd::Relist);
            }
            let next = self.sight.next();
            let may_relist = !is_list && relist_by.is_none();
            let wanted = self.list_watch.list_wanted_at().filter(|_| may_relist);
            let heard = tokio::select! {
                biased;
                () = self.cell.relist_requested(), if may_relist => {
                    self.list_watch.want_list();
                    relist_by = Some(Instant::now() + RELIST_PATIENCE);
                    continue;
                }
                heard = timeout_at(deadline.at(), lines.next()) => heard,
                // The list would count a deletion that is still to be read as a lost one.
                () = sleep(self.options.relist_pause), if relist_by.is_some() => {
                    return Ok(WatchEnd::Relist);
                }
                // A requested list that could not begin earlier.
                () = sleep_until(self.started + wanted.unwrap_or_default()), if wanted.is_some() => {
                    relist_by = Some(Instant::now() + RELIST_PATIENCE);
                    continue;
                }
                // Only when no line is left to read: a pause of sigma is no pause of the server.
                () = sleep_until(next.unwrap_or(opened)), if next.is_some() => {
                    let word = self.sight.passed(Instant::now());
                    self.say(word).await?;
                    continue;
                }
            };
            let line = match heard {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Ok(WatchEnd::Failed(self.failure(&error))),
                Err(_) if num_lines > 0 && !is_list => return Ok(WatchEnd::Overdue),
                Err(_) => return Ok(self.failed(&deadline.missed())),
            };
            num_lines += 1;
            match self.take_line(line, is_list, &mut deadline).await? {
                Heard::Listed => is_list = false,
                Heard::Failed(failure) => return Ok(WatchEnd::Failed(failure)),
                Heard::Going | Heard::Changed | Heard::Bookmark => {}
            }
        }
        Ok(WatchEnd::Closed { lived: opened.elapsed(), num_lines })
    }

    /// The server has begun to answer a list that was asked for then.
    async fn begin(&mut self, asked: Instant) -> Result<(), Abandoned> {
        self.begun = asked;
        self.list_watch.list_begun();
        self.update(|it| it.num_relists += u64::from(it.listed));
        self.send(Change::RelistBegin(self.spec.kind)).await
    }

    async fn say(&self, word: Option<FreshnessChange>) -> Result<(), Abandoned> {
        let change = match word {
            None => return Ok(()),
            Some(FreshnessChange::Silent) => Change::WatchSilent(self.spec.kind),
            Some(FreshnessChange::Lost) => Change::WatchLost(self.spec.kind),
            Some(FreshnessChange::Back) => Change::WatchBack(self.spec.kind),
        };
        self.send(change).await
    }

    async fn listed(&mut self, version: &str) -> Result<(), Abandoned> {
        self.send(Change::RelistEnd(self.spec.kind)).await?;
        let word = self.sight.listed(self.begun, Instant::now());
        self.say(word).await?;
        self.has_listed = true;
        self.list_watch.listed(self.started.elapsed());
        let before = self.cell.lock().resource_version.clone();
        if self.health.listed(self.spec.kind, list_watch::is_before(version, &before)) {
            self.restored(&before, version);
        }
        self.update(|it| {
            (it.listed, it.absent) = (true, None);
            version.clone_into(&mut it.resource_version);
        });
        tracing::info!(kind = self.spec.kind.name, version, "list complete");
        Ok(())
    }

    fn advance(&mut self, version: &str) {
        if self.list_watch.advanced(version) {
            self.update(|it| version.clone_into(&mut it.resource_version));
        }
    }

    async fn send_object(&self, change: Change) -> Result<(), Abandoned> {
        self.update(|it| it.num_objects += 1);
        self.send(change).await
    }

    async fn send(&self, change: Change) -> Result<(), Abandoned> {
        self.out.send(change).await.map_err(|_| Abandoned)
    }
}

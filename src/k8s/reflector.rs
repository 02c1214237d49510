//! The shell of a watch: asks `watch` what comes next, does it over HTTP, sends on what it reads.
//!
//! One task per kind. It ends when nobody receives any more, and never because of the API server.

mod report;

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use kube::Client;
use kube::client::Body;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::model::Change;

use super::deadline::Deadline;
use super::health::{KindCell, WatchHealth};
use super::kinds::{KindSource, KindSpec, Version};
use super::list_watch::{self, ListWatch, ListWatchRequest, WatchEnd, WatchFailure, WatchOptions};
use super::objects::{self, DecodedObject, First, ObjectReader};
use super::page::{Page, PagePart};
use super::warnings::Warnings;
use super::watch_freshness::{FreshnessChange, WatchFreshness};
use super::wire::{self, Line, Lines, RawEvent};
use super::{discovery, poll};

/// How long a list that was asked for waits for a pause of the watch, at most.
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

/// Nobody receives any more.
struct Abandoned;

/// What a line means for the connection it came on.
enum Heard {
    /// Nothing.
    Going,
    /// An object that was there before has changed: the objects of a list are behind us.
    Changed,
    /// What the server had for us when it sent this came before it.
    Bookmark,
    /// The list is complete; from here on the connection is a watch.
    Listed,
    /// The server ends it.
    Failed(WatchFailure),
}

impl Reflector {
    async fn run(mut self) {
        while self.turn().await.is_ok() {}
        tracing::debug!(kind = self.spec.kind.name, "watch ends: nobody receives any more");
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
        // No pause means that the next request is another one: the server does not stream lists.
        if let WatchEnd::Failed(failure) = end
            && !wait.is_zero()
        {
            self.note_failure(failure, wait);
        }
        self.rest(wait).await
    }

    /// A list that was asked for is had whatever the watch does, but no sooner than we may ask again.
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

    async fn open_page(&mut self, ask: &ListWatchRequest) -> Result<Page, WatchFailure> {
        let response = self.requested("list", ask).await?;
        Ok(Page::new(response.into_body(), self.options.max_object_bytes))
    }

    /// Sends a request and gives its answer. `verb` is for the text of a failure.
    async fn requested(
        &mut self,
        verb: &str,
        ask: &ListWatchRequest,
    ) -> Result<Response<Body>, WatchFailure> {
        let what = format!("{verb} {}", self.spec.kind.name);
        let request = wire::request(&self.path(ask).await?, ask, &self.options);
        let answer = wire::send(&self.client, request, &what).await;
        if answer.as_ref().is_err_and(|it| matches!(it.code, Some(404 | 410))) {
            self.path = discovery::fixed_path(self.spec.kind, self.version);
        }
        answer
    }

    /// The kind's path. A path that was looked up holds until the next list begins.
    async fn path(&mut self, ask: &ListWatchRequest) -> Result<String, WatchFailure> {
        let is_new =
            matches!(ask, ListWatchRequest::Stream | ListWatchRequest::Page { after: None });
        if is_new && std::mem::take(&mut self.has_listed) {
            self.path = discovery::fixed_path(self.spec.kind, self.version);
        }
        let path = match self.path.take() {
            Some(path) => path,
            None => discovery::newest_path(&self.client, self.spec.kind).await?,
        };
        Ok(self.path.insert(path).clone())
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
                // A deletion that is still to be read would be taken for one that nobody told us of.
                () = sleep(self.options.relist_pause), if relist_by.is_some() => {
                    return Ok(WatchEnd::Relist);
                }
                // One that could not begin when it was asked for.
                () = sleep_until(self.started + wanted.unwrap_or_default()), if wanted.is_some() => {
                    relist_by = Some(Instant::now() + RELIST_PATIENCE);
                    continue;
                }
                // Only once there is no line: a pause of ours is none of the server's.
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

    /// The lines that answer a request.
    async fn answered(
        &mut self,
        ask: &ListWatchRequest,
        asked: Instant,
        is_list: bool,
    ) -> Result<Lines, WatchFailure> {
        let deadline = asked + self.options.watch_timeout + self.options.silence_margin;
        // A watch that nobody answers is no better than a silent one, and nobody would say so.
        let clear_until = self.sight.clear_until().filter(|_| !is_list);
        let by = clear_until.unwrap_or(deadline).min(deadline);
        let late = self.failure(&format!("no answer within {:?}", by - asked));
        timeout_at(by, self.open(ask)).await.map_err(|_| late)?
    }

    /// Reads a line of a watch, or of a list.
    async fn take_line(
        &mut self,
        line: Line,
        is_list: bool,
        deadline: &mut Deadline,
    ) -> Result<Heard, Abandoned> {
        let heard = self.hear(line).await?;
        let now = Instant::now();
        match heard {
            Heard::Going | Heard::Changed | Heard::Bookmark if is_list => {
                deadline.heard(matches!(heard, Heard::Changed), now);
            }
            Heard::Going | Heard::Changed | Heard::Bookmark => {
                let word = self.sight.heard(now, matches!(heard, Heard::Bookmark));
                self.say(word).await?;
            }
            Heard::Listed => deadline.listed(now),
            Heard::Failed(_) => {}
        }
        Ok(heard)
    }

    async fn open(&mut self, ask: &ListWatchRequest) -> Result<Lines, WatchFailure> {
        let response = self.requested("watch", ask).await?;
        // An open watch ends an error, but says nothing yet about how fresh our snapshot is.
        self.update(|it| {
            it.absent = None;
            it.num_reconnects += u64::from(matches!(ask, ListWatchRequest::Watch { .. }));
            it.error = None;
            it.refused = None;
        });
        Ok(Lines::new(response.into_body(), self.options.max_object_bytes))
    }

    async fn hear(&mut self, line: Line) -> Result<Heard, Abandoned> {
        self.heard();
        let Line::Text(line) = line else {
            let max = self.options.max_object_bytes;
            self.unreadable("unknown", &format!("an event longer than {max} bytes"));
            return Ok(Heard::Going);
        };
        if line.trim_ascii().is_empty() {
            return Ok(Heard::Going);
        }
        if let Some(object) = wire::added_or_modified(&line)
            && let Ok(Some((first, length))) = (self.reader.first)(object)
            && object[length..].trim_ascii() == b"}"
        {
            self.pass(first).await?;
            let is_change = line.starts_with(b"{\"type\":\"M");
            return Ok(if is_change { Heard::Changed } else { Heard::Going });
        }
        let event: RawEvent<'_> = match serde_json::from_slice(&line) {
            Ok(event) => event,
            Err(error) => {
                self.unreadable("unknown", &format!("not a watch event: {error}"));
                return Ok(Heard::Going);
            }
        };
        match &*event.kind {
            "ADDED" | "MODIFIED" => {
                match (self.reader.first)(event.object.get().as_bytes()) {
                    Ok(Some((first, _))) => self.pass(first).await?,
                    // It is whole JSON, or there would be no event.
                    Ok(None) => self.unreadable("unknown", "not an object"),
                    Err(error) => self.unreadable("unknown", &error.to_string()),
                }
            }
            "DELETED" => {
                let object = event.object;
                self.pass(match (self.reader.gone)(object) {
                    Ok(read) => First::Read(read),
                    Err(error) => First::Unread(error, object.get().as_bytes().into()),
                })
                .await?;
                return Ok(Heard::Changed);
            }
            "BOOKMARK" => return self.bookmark(event.object).await,
            "ERROR" => {
                let what = format!("watch {}", self.spec.kind.name);
                return Ok(Heard::Failed(wire::error_event(&what, event.object)));
            }
            other => self.unreadable("unknown", &format!("unknown event type {other:?}")),
        }
        Ok(Heard::Going)
    }

    /// Sends an object on, or skips it; in both cases the watch has got so far.
    async fn pass(&mut self, first: First) -> Result<(), Abandoned> {
        match first {
            First::Read(DecodedObject { change, version }) => {
                self.send_object(change).await?;
                self.advance(&version);
            }
            First::Unread(error, object) => {
                self.undecodable(&object, &error).await?;
                self.advance(&objects::identity(&object).metadata.resource_version);
            }
        }
        Ok(())
    }

    async fn bookmark(&mut self, object: &RawValue) -> Result<Heard, Abandoned> {
        let meta = objects::identity(object.get().as_bytes()).metadata;
        let ends_list = meta.annotations.initial_events_end == "true";
        if ends_list && self.list_watch.initial_events_end(&meta.resource_version) {
            self.listed(&meta.resource_version).await?;
            return Ok(Heard::Listed);
        }
        if self.list_watch.goes_back(&meta.resource_version) {
            let version = &meta.resource_version;
            let why = format!("versions have gone back to {version}, as after a restore");
            return Ok(Heard::Failed(WatchFailure { code: Some(410), ..self.failure(&why) }));
        }
        self.advance(&meta.resource_version);
        Ok(Heard::Bookmark)
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

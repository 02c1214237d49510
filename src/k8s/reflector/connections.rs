//! The requests of a reflector, and the path that they go to.

use http::Response;
use kube::client::Body;
use tokio::time::{Instant, timeout_at};

use super::Reflector;
use crate::k8s::discovery;
use crate::k8s::list_watch::{ListWatchRequest, WatchFailure};
use crate::k8s::page::Page;
use crate::k8s::wire::{self, Lines};

impl Reflector {
    pub(super) async fn open_page(&mut self, ask: &ListWatchRequest) -> Result<Page, WatchFailure> {
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

    /// The lines that answer a request.
    pub(super) async fn answered(
        &mut self,
        ask: &ListWatchRequest,
        asked: Instant,
        is_list: bool,
    ) -> Result<Lines, WatchFailure> {
        let deadline = asked + self.options.watch_timeout + self.options.silence_margin;
        // A watch without an answer is no better than a silent one, and nothing else would report it.
        let clear_until = self.sight.clear_until().filter(|_| !is_list);
        let by = clear_until.unwrap_or(deadline).min(deadline);
        let late = self.failure(&format!("no answer within {:?}", by - asked));
        timeout_at(by, self.open(ask)).await.map_err(|_| late)?
    }

    async fn open(&mut self, ask: &ListWatchRequest) -> Result<Lines, WatchFailure> {
        let response = self.requested("watch", ask).await?;
        // An open watch ends an error, but it does not show yet that the snapshot is fresh.
        self.update(|it| {
            it.absent = None;
            it.num_reconnects += u64::from(matches!(ask, ListWatchRequest::Watch { .. }));
            it.error = None;
            it.refused = None;
        });
        Ok(Lines::new(response.into_body(), self.options.max_object_bytes))
    }
}

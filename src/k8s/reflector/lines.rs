//! The lines of a watch, or of a list that is streamed.

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Abandoned, Reflector};
use crate::k8s::deadline::Deadline;
use crate::k8s::list_watch::WatchFailure;
use crate::k8s::objects::{self, DecodedObject, First};
use crate::k8s::wire::{self, Line, RawEvent};

/// The meaning of a line for its connection.
pub(super) enum Heard {
    /// None.
    Going,
    /// A known object has changed, so the objects of a streamed list are complete.
    Changed,
    /// The server has sent everything that it had before this line.
    Bookmark,
    /// The list is complete. From here on the connection is a watch.
    Listed,
    /// The server ends the connection.
    Failed(WatchFailure),
}

impl Reflector {
    /// Reads a line of a watch, or of a list.
    pub(super) async fn take_line(
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
                    // The object is whole JSON, or the event would not be one.
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

    /// Passes an object on, or skips it. The watch has advanced in both cases.
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
}

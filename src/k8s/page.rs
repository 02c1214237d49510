//! Reads a page of a list while it arrives, object by object: a page of 500 pods is 4 MB and more,
//! and none of it has to wait for its end.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::de::IgnoredAny;

use super::objects::{self, First, ObjectReader};
use super::plain;
use super::wire::RawPageMeta;

/// What comes next on a page.
#[derive(Debug)]
pub(super) enum PagePart {
    /// An object, or why it is none and its text.
    Object(First),
    /// The page is complete.
    End(RawPageMeta),
}

/// A page as far as it has arrived.
#[derive(Debug)]
pub(super) struct Page {
    body: Body,
    buffer: BytesMut,
    place: PagePosition,
    meta: RawPageMeta,
    max: usize,
}

/// Where in its text we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PagePosition {
    Start,
    Fields,
    Items,
}

/// Why there is no more of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PageError {
    /// It broke off.
    Broken(String),
    /// What came is none.
    Unreadable(String),
}

/// From here on an object that is not whole is looked at again when twice as much of it is there,
/// and not with every piece.
const PATIENT: usize = 64 << 10;

impl Page {
    /// Objects may be `max` bytes long.
    pub(super) fn new(body: Body, max: usize) -> Self {
        let meta = RawPageMeta::default();
        Self { body, buffer: BytesMut::new(), place: PagePosition::Start, meta, max }
    }

    /// The next part.
    pub(super) async fn next(&mut self, reader: ObjectReader) -> Result<PagePart, PageError> {
        loop {
            if let Some(part) = self.take(reader).map_err(PageError::Unreadable)? {
                if matches!(part, PagePart::End(_)) {
                    // A body that was read to its end leaves a connection that can be used again.
                    while self.more().await? {}
                }
                return Ok(part);
            }
            let tried = self.buffer.len();
            let wanted = if tried < PATIENT { tried + 1 } else { 2 * tried };
            while self.buffer.len() < wanted && self.more().await? {}
            if self.buffer.len() == tried {
                return Err(PageError::Broken("unreadable page: it ends in the middle".to_owned()));
            }
            if tried > self.max {
                let why = format!("unreadable page: an object exceeds {} bytes", self.max);
                return Err(PageError::Unreadable(why));
            }
        }
    }

    /// Waits for more of it; false at the end.
    async fn more(&mut self) -> Result<bool, PageError> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        let broken = |error: kube::Error| PageError::Broken(plain::of_error(&error));
        if let Some(data) = frame.map_err(broken)?.data_ref() {
            self.buffer.extend_from_slice(data);
        }
        Ok(true)
    }

    /// What can be told from what has arrived; `None` when that is not enough.
    fn take(&mut self, reader: ObjectReader) -> Result<Option<PagePart>, String> {
        while let Some(at) = self.buffer.iter().position(|byte| !byte.is_ascii_whitespace()) {
            self.buffer.advance(at);
            match (self.place, self.buffer[0]) {
                (PagePosition::Start, b'{') => self.enter(PagePosition::Fields),
                (PagePosition::Fields | PagePosition::Items, b',') => self.buffer.advance(1),
                (PagePosition::Fields, b'}') => {
                    self.buffer.advance(1);
                    return Ok(Some(PagePart::End(std::mem::take(&mut self.meta))));
                }
                (PagePosition::Fields, b'"') => match self.field().map_err(unreadable)? {
                    Some(place) => self.place = place,
                    None => return Ok(None),
                },
                (PagePosition::Items, b']') => self.enter(PagePosition::Fields),
                (PagePosition::Items, _) => {
                    let first = (reader.first)(&self.buffer).map_err(unreadable)?;
                    let Some((first, length)) = first else { return Ok(None) };
                    self.buffer.advance(length);
                    return Ok(Some(PagePart::Object(first)));
                }
                (_, other) => return Err(format!("unreadable page: {:?}", char::from(other))),
            }
        }
        Ok(None)
    }

    fn enter(&mut self, place: PagePosition) {
        self.buffer.advance(1);
        self.place = place;
    }

    /// A field of the list itself; gives where we are after it.
    fn field(&mut self) -> Result<Option<PagePosition>, serde_json::Error> {
        let Some((name, length)) = objects::value::<String>(&self.buffer)? else { return Ok(None) };
        let colon = self.buffer[length..].iter().position(|byte| *byte == b':');
        let Some(start) = colon.map(|at| length + at + 1) else { return Ok(None) };
        let rest = &self.buffer[start..];
        let Some(space) = rest.iter().position(|byte| !byte.is_ascii_whitespace()) else {
            return Ok(None);
        };
        let (place, length) = match (&*name, rest[space]) {
            ("items", b'[') => (PagePosition::Items, space + 1),
            ("metadata", _) => match objects::value(rest)? {
                Some((meta, length)) => {
                    self.meta = meta;
                    (PagePosition::Fields, length)
                }
                None => return Ok(None),
            },
            _ => match objects::value::<IgnoredAny>(rest)? {
                Some((_, length)) => (PagePosition::Fields, length),
                None => return Ok(None),
            },
        };
        self.buffer.advance(start + length);
        Ok(Some(place))
    }
}

fn unreadable(error: serde_json::Error) -> String {
    format!("unreadable page: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::slim::SlimPod;

    fn pod(name: &str) -> String {
        format!(r#"{{"metadata":{{"uid":"u","name":"{name}","namespace":"n"}}}}"#)
    }

    /// What a page that arrives in these pieces has: `+name`, `?text`, and `end version token`.
    fn read(pieces: &[&str]) -> Result<Vec<String>, String> {
        let mut page = Page::new(Body::empty(), 1 << 20);
        let mut all = Vec::new();
        for piece in pieces {
            page.buffer.extend_from_slice(piece.as_bytes());
            while let Some(part) = page.take(ObjectReader::of::<SlimPod>())? {
                all.push(match part {
                    PagePart::Object(First::Read(read)) => match read.change {
                        crate::model::Change::PodSeen(pod) => format!("+{}", pod.name),
                        other => format!("{other:?}"),
                    },
                    PagePart::Object(First::Unread(_, text)) => {
                        format!("?{}", String::from_utf8_lossy(&text))
                    }
                    PagePart::End(meta) => {
                        format!("end {:?} {:?}", meta.resource_version, meta.r#continue)
                    }
                });
            }
        }
        Ok(all)
    }

    #[test]
    fn a_page_is_read_wherever_it_is_cut_and_whatever_the_order_of_its_fields() {
        let items = format!("[ {} ,{}\n,\t7,null,{{\"spec\":[\"]}}\"]}}]", pod("a"), pod("b{]"));
        let meta = r#"{"resourceVersion":"10","continue":"t/1","remainingItemCount":-5}"#;
        let want = ["+a", "+b{]", "?7", "?null", r#"?{"spec":["]}"]}"#];
        let want: Vec<_> = want.map(str::to_owned).into_iter().collect();
        let end = r#"end Some("10") Some("t/1")"#.to_owned();
        let want = [want, vec![end]].concat();
        for whole in [
            format!(r#"{{"kind":"PodList","apiVersion":"v1","metadata":{meta},"items":{items}}}"#),
            format!(r#" {{ "items" : {items} , "x" : [{{}}], "metadata" : {meta} , "y":1 }} "#),
        ] {
            assert_eq!(read(&[&whole]).as_ref(), Ok(&want), "{whole}");
            for at in 0..whole.len() {
                let (head, tail) = whole.split_at(at);
                assert_eq!(read(&[head, tail]).as_ref(), Ok(&want), "cut at {at} of {whole}");
            }
        }
    }

    #[test]
    fn a_page_without_objects_is_a_page() {
        for items in ["", r#","items":null"#, r#","items":[]"#] {
            let got = read(&[&format!(r#"{{"metadata":{{"resourceVersion":"1"}}{items}}}"#)]);
            assert_eq!(got, Ok(vec![r#"end Some("1") None"#.to_owned()]), "{items}");
        }
    }

    #[test]
    fn what_is_no_page_is_an_error_and_half_a_page_has_no_end() {
        let bad = ["[]", "<html>", "{7}", r#"{"metadata":7}"#, r#"{"items":[}"#, r#"{"items":[{]"#];
        for text in bad {
            let error = read(&[text]).expect_err(text);
            assert!(error.starts_with("unreadable page: "), "{error}");
        }
        let half = format!(r#"{{"items":[{},{{"metadata":{{"#, pod("a"));
        assert_eq!(read(&[&half]), Ok(vec!["+a".to_owned()]));
    }
}

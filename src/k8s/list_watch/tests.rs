mod refused;

use super::*;

const LONG: Duration = Duration::from_secs(45);

fn failed(code: impl Into<Option<u16>>) -> WatchEnd {
    WatchEnd::Failed(WatchFailure { code: code.into(), retry_after: None, text: String::new() })
}

fn closed(num_lines: u64) -> WatchEnd {
    WatchEnd::Closed { lived: LONG, num_lines }
}

fn page(after: Option<&str>) -> ListWatchRequest {
    ListWatchRequest::Page { after: after.map(Into::into) }
}

fn watch(from: &str) -> ListWatchRequest {
    ListWatchRequest::Watch { from: from.into() }
}

fn list_watch() -> ListWatch {
    ListWatch::new(&WatchOptions::default())
}

/// A state of the watch whose server does not stream lists.
fn paging() -> ListWatch {
    let mut list_watch = list_watch();
    assert_eq!(list_watch.ended(&failed(422), Duration::ZERO, 1.0), Duration::ZERO);
    list_watch
}

fn end(list_watch: &mut ListWatch, end: &WatchEnd) -> Duration {
    list_watch.ended(end, Duration::ZERO, 1.0)
}

#[test]
fn a_streamed_list_becomes_a_watch_and_resumes() {
    let mut it = list_watch();
    assert_eq!(it.next(), ListWatchRequest::Stream);
    it.advanced("999");
    assert_eq!(it.next(), ListWatchRequest::Stream, "objects of a streamed list come in no order");
    assert!(it.initial_events_end("10"));
    assert!(!it.initial_events_end("11"), "a list is complete once");
    it.advanced("12");
    it.advanced("");
    assert_eq!(end(&mut it, &closed(2)), Duration::ZERO);
    assert_eq!(it.next(), watch("12"));
    assert!(end(&mut it, &failed(None)) > Duration::ZERO);
    assert_eq!(it.next(), watch("12"));
}

#[test]
fn a_refused_stream_is_never_asked_for_again() {
    for code in [400, 404, 405, 422] {
        let mut it = list_watch();
        assert_eq!(end(&mut it, &failed(code)), Duration::ZERO);
        assert_eq!(it.next(), page(None));
        assert!(it.page_read("5", None));
        end(&mut it, &failed(410));
        assert_eq!(it.next(), page(None));
    }
    for code in [401, 403, 408, 410, 429, 500, 503] {
        let mut it = list_watch();
        assert!(end(&mut it, &failed(code)) > Duration::ZERO);
        assert_eq!(it.next(), ListWatchRequest::Stream, "{code}");
    }
    let mut it = list_watch();
    for _ in 0..MAX_UNFINISHED {
        assert_eq!(it.next(), ListWatchRequest::Stream);
        end(&mut it, &closed(7));
    }
    assert_eq!(it.next(), page(None));
}

#[test]
fn pages_are_followed_retried_and_restarted() {
    let mut it = paging();
    assert!(!it.page_read("5", Some("t1")));
    assert_eq!(it.next(), page(Some("t1")));
    end(&mut it, &failed(503));
    assert_eq!(it.next(), page(Some("t1")));
    end(&mut it, &failed(410));
    assert_eq!(it.next(), page(None), "an expired token restarts the list");
    it.page_read("5", Some("garbled"));
    end(&mut it, &failed(400));
    assert_eq!(it.next(), page(None), "so does one that is refused");
    assert!(!it.page_read("6", Some("t2")));
    assert!(it.page_read("6", None));
    assert_eq!(it.next(), watch("6"));
}

#[test]
fn an_expired_watch_relists_at_once_but_not_again_and_again() {
    let mut it = list_watch();
    it.initial_events_end("10");
    let mut expires = |at| {
        for _ in 0..5 {
            it.ended(&failed(None), Duration::from_secs(at), 1.0);
        }
        let wait = it.ended(&failed(410), Duration::from_secs(at), 1.0);
        assert_eq!(it.next(), ListWatchRequest::Stream);
        it.initial_events_end("20");
        (wait, it.ended(&failed(503), Duration::from_secs(at), 1.0))
    };
    let ms = Duration::from_millis;
    assert_eq!(expires(0), (ms(0), ms(800)), "a server that answers has no failures to its name");
    assert_eq!(expires(119), (ms(30_000), ms(3_000)));
    assert_eq!(expires(240), (ms(0), ms(800)));
}

#[test]
fn lists_for_versions_that_expire_at_once_come_at_most_every_five_minutes() {
    let mut it = paging();
    let (mut now, mut pauses) = (Duration::ZERO, Vec::new());
    for _ in 0..14 {
        it.page_read("10", None);
        // A list takes its time, which is no time without trouble.
        now += Duration::from_secs(130);
        it.listed(now);
        let pause = it.ended(&failed(410), now, 1.0);
        pauses.push(pause.as_secs());
        now += pause;
        assert_eq!(it.next(), page(None));
    }
    assert_eq!(pauses[..5], [0, 0, 1, 3, 6]);
    assert_eq!(pauses[10..], [300; 4], "{pauses:?}");
    it.page_read("10", None);
    it.listed(now);
    assert_eq!(it.ended(&failed(410), now + Duration::from_secs(600), 1.0), Duration::ZERO);
}

#[test]
fn back_off_doubles_is_jittered_and_resets_after_health() {
    let delays = |it: &mut ListWatch, code| {
        let ends = (0..8).map(|_| end(it, &failed(code)).as_millis());
        ends.collect::<Vec<_>>()
    };
    let doubled = [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
    for code in [None, Some(401), Some(403), Some(429), Some(503)] {
        let mut it = list_watch();
        it.initial_events_end("10");
        let capped = doubled.map(|ms: u128| ms.min(3000));
        assert_eq!(delays(&mut it, code), capped, "a watch after {code:?}");
    }
    let mut it = paging();
    assert_eq!(delays(&mut it, None), doubled, "a list");
    let ms = |it: &mut ListWatch, at, jitter| {
        it.ended(&failed(None), Duration::from_secs(at), jitter).as_millis()
    };
    assert_eq!(ms(&mut it, 119, 0.0), 15_000);
    assert_eq!(ms(&mut it, 239, 0.5), 600, "two minutes of health");
    assert_eq!(ms(&mut it, 240, f64::NAN.max(7.0)), 1600, "jitter is clamped");
}

#[test]
fn retry_after_is_respected_within_reason() {
    let wait = |seconds| {
        let retry_after = Some(Duration::from_secs(seconds));
        let failure = WatchFailure { code: Some(429), retry_after, text: String::new() };
        end(&mut paging(), &WatchEnd::Failed(failure))
    };
    assert_eq!(wait(0), Duration::from_millis(800));
    assert_eq!(wait(7), Duration::from_secs(7));
    assert_eq!(wait(86_400), MAX_RETRY_AFTER);
}

#[test]
fn a_server_that_closes_at_once_is_not_hammered() {
    let mut it = list_watch();
    it.initial_events_end("10");
    let brief = WatchEnd::Closed { lived: Duration::from_millis(3), num_lines: 1 };
    assert_eq!(end(&mut it, &brief), Duration::from_millis(800));
    assert_eq!(end(&mut it, &brief), Duration::from_millis(1600));
}

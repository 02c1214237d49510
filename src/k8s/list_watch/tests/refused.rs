//! Watches that the server refuses, ends, or leaves without a word: when that is a reason to list.

use super::*;

const STEP: u64 = 3;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn after(code: u16, retry_after: u64) -> WatchEnd {
    let retry_after = Some(secs(retry_after));
    WatchEnd::Failed(WatchFailure { code: Some(code), retry_after, text: String::new() })
}

fn brief(num_lines: u64) -> WatchEnd {
    WatchEnd::Closed { lived: Duration::from_millis(3), num_lines }
}

/// A watch from version 10, of a server that gives pages.
fn watching() -> ListWatch {
    let mut it = paging();
    assert!(it.page_read("10", None));
    it
}

/// After how many seconds it lists if each watch ends so, within an hour.
fn lists_after(it: &mut ListWatch, mut end: impl FnMut(u64) -> WatchEnd) -> Option<u64> {
    let start = 1000;
    for second in (0..3600).step_by(STEP as usize) {
        let ListWatchRequest::Watch { .. } = it.next() else { return Some(second - STEP) };
        it.ended(&end(second), secs(start + second), 1.0);
    }
    None
}

#[test]
fn refusals_for_half_a_minute_are_a_reason_to_list_unless_they_ask_to_wait() {
    let lasting = [
        200, 204, 301, 302, 307, 308, 400, 404, 405, 406, 408, 409, 412, 415, 422, 451, 500, 501,
        502, 503, 504, 507, 520, 599, 0,
    ];
    for code in lasting {
        assert_eq!(lists_after(&mut watching(), |_| failed(code)), Some(30), "{code}");
        // As some proxies say where they mean nothing by it.
        assert_eq!(lists_after(&mut watching(), |_| after(code, 0)), Some(30), "{code}");
        assert_eq!(lists_after(&mut watching(), |_| after(code, 1)), None, "{code}");
    }
    assert_eq!(lists_after(&mut watching(), |_| failed(410)), Some(0), "it has expired");
    assert_eq!(lists_after(&mut watching(), |_| failed(None)), None, "nobody answers");
    for code in [401, 403, 429] {
        assert_eq!(lists_after(&mut watching(), |_| failed(code)), None, "{code}");
        assert_eq!(lists_after(&mut watching(), |_| after(code, 1)), None, "{code}");
    }
}

#[test]
fn five_of_them_in_a_row_are_needed() {
    let slow = |it: &mut ListWatch, num: u64| {
        (0..num).for_each(|at| {
            it.ended(&failed(504), secs(30 * at), 1.0);
        });
        it.next()
    };
    assert_eq!(slow(&mut watching(), 4), watch("10"));
    assert_eq!(slow(&mut watching(), 5), page(None));
    for other in [failed(None), failed(429), failed(401), failed(403), after(503, 7)] {
        let mixed = |second: u64| if second % 12 == 9 { other.clone() } else { failed(503) };
        // Ten in a row, and another one.
        assert_eq!(lists_after(&mut watching(), mixed), None, "{other:?}");
    }
}

#[test]
fn the_pause_between_such_lists_doubles_to_five_minutes() {
    for streams in [false, true] {
        let mut it = if streams { list_watch() } else { paging() };
        let mut pauses = Vec::new();
        for _ in 0..7 {
            // Whoever refuses watches refuses streamed lists.
            for _ in 0..3 {
                if it.next() == ListWatchRequest::Stream {
                    it.ended(&failed(504), secs(0), 1.0);
                }
            }
            assert_eq!(it.next(), page(None), "streams: {streams}");
            it.list_begun();
            assert!(it.page_read("10", None));
            pauses.extend(lists_after(&mut it, |_| failed(504)));
        }
        assert_eq!(pauses, [30, 60, 120, 240, 300, 300, 300], "streams: {streams}");
        while it.next() == ListWatchRequest::Stream {
            it.ended(&failed(504), secs(0), 1.0);
        }
        it.page_read("10", None);
        it.ended(&failed(504), secs(0), 1.0);
        it.advanced("11");
        assert_eq!(lists_after(&mut it, |_| failed(504)), Some(30), "it has worked in between");
    }
}

#[test]
fn events_of_a_streamed_list_do_not_show_that_its_watch_can_be_resumed() {
    let mut it = list_watch();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        it.list_begun();
        assert!(it.initial_events_end("10"));
        it.advanced("11");
        it.ended(&closed(7), secs(0), 1.0);
        pauses.extend(lists_after(&mut it, |_| failed(503)));
        assert_eq!(it.next(), ListWatchRequest::Stream);
    }
    assert_eq!(pauses, [30, 60, 120]);
}

#[test]
fn a_list_that_cannot_begin_leaves_the_watch_where_it_was() {
    for end in [failed(None), failed(503), failed(403), after(429, 60), failed(400), failed(410)] {
        let mut it = watching();
        assert_eq!(lists_after(&mut it, |_| failed(504)), Some(30));
        let wait = it.ended(&end, secs(2000), 1.0);
        assert_eq!(it.next(), watch("10"), "{end:?}");
        let most =
            if matches!(&end, WatchEnd::Failed(it) if it.code == Some(429)) { 60 } else { 30 };
        assert!(wait <= secs(most), "{end:?}: {wait:?}");
        assert_eq!(lists_after(&mut it, |_| failed(504)), Some(60), "{end:?}");
    }
    // Once it has begun, it is gone on with.
    let mut it = watching();
    it.ended(&WatchEnd::Relist, secs(0), 1.0);
    it.list_begun();
    it.ended(&failed(None), secs(0), 1.0);
    assert_eq!(it.next(), page(None));
}

#[test]
fn a_streamed_list_that_fails_gives_way_to_pages_for_this_time() {
    for code in [None, Some(302), Some(408), Some(410), Some(500), Some(503), Some(504)] {
        let mut it = list_watch();
        for _ in 0..MAX_UNFINISHED {
            assert_eq!(it.next(), ListWatchRequest::Stream, "{code:?}");
            end(&mut it, &failed(code));
        }
        assert_eq!(it.next(), page(None), "{code:?}");
        it.page_read("10", None);
        end(&mut it, &failed(410));
        assert_eq!(it.next(), ListWatchRequest::Stream, "{code:?}: it may do by now");
        end(&mut it, &failed(code));
        assert_eq!(it.next(), page(None), "{code:?}: it still does not");
    }
    for code in [401, 403, 429] {
        let mut it = list_watch();
        (0..20).for_each(|_| {
            end(&mut it, &failed(code));
        });
        assert_eq!(it.next(), ListWatchRequest::Stream, "{code}");
    }
}

#[test]
fn a_page_that_is_refused_for_half_a_minute_begins_the_list_anew() {
    for (end, want) in [
        (failed(500), Some(30)),
        (failed(302), Some(30)),
        (failed(200), Some(30)),
        (failed(None), None),
        (failed(429), None),
        (after(503, 1), None),
        (failed(410), Some(0)),
    ] {
        let mut it = paging();
        it.page_read("10", Some("t"));
        let mut begun_anew = None;
        for second in (0..300).step_by(3) {
            it.ended(&end, secs(second), 1.0);
            if it.next() == page(None) {
                begun_anew.get_or_insert(second);
            }
        }
        assert_eq!(begun_anew, want, "{end:?}");
    }
}

#[test]
fn watches_that_end_without_a_word_are_suspect() {
    // At once, as if it was refused.
    assert_eq!(lists_after(&mut watching(), |_| brief(0)), Some(30));
    // Lines that get it no further say nothing.
    assert_eq!(lists_after(&mut watching(), |_| brief(3)), Some(30));
    let mut it = watching();
    for version in 11..200 {
        it.advanced(&version.to_string());
        let wait = it.ended(&brief(1), secs(version), 1.0);
        assert!(wait <= secs(3), "it is resumed soon: {wait:?}");
        assert_eq!(it.next(), watch(&version.to_string()));
    }
    // At their time.
    for end in [closed(0), closed(3), WatchEnd::Overdue] {
        let mut it = watching();
        for at in 1..=MAX_QUIET {
            assert_eq!(it.next(), watch("10"), "{end:?} {at}");
            super::end(&mut it, &end);
        }
        assert_eq!(it.next(), page(None), "{end:?}");
    }
    // A server that was away may be another one.
    let mut it = watching();
    super::end(&mut it, &failed(None));
    super::end(&mut it, &closed(0));
    assert_eq!(it.next(), watch("10"));
    super::end(&mut it, &closed(0));
    assert_eq!(it.next(), page(None));
    let mut it = watching();
    super::end(&mut it, &failed(None));
    it.advanced("11");
    (0..5).for_each(|_| {
        super::end(&mut it, &closed(0));
    });
    assert_eq!(it.next(), watch("11"), "it is the same");
}

#[test]
fn a_list_that_is_asked_for_is_had_whatever_the_watch_does() {
    for end in [failed(504), failed(None), after(429, 30), failed(403), closed(0), brief(0)] {
        let mut it = watching();
        assert_eq!(it.list_wanted_at(), None);
        it.want_list();
        it.ended(&end, secs(1), 1.0);
        it.begin_wanted_list(secs(2));
        assert_eq!((it.next(), it.list_wanted_at()), (page(None), None), "{end:?}");
        it.list_begun();
        it.page_read("20", None);
        assert_eq!((it.next(), it.list_wanted_at()), (watch("20"), None), "{end:?}");
        it.begin_wanted_list(secs(3));
        assert_eq!(it.next(), watch("20"), "once");
    }
    // One that cannot begin is tried again, less and less often.
    let (mut it, mut now, mut pauses) = (watching(), secs(0), Vec::new());
    it.want_list();
    for _ in 0..12 {
        it.begin_wanted_list(now);
        assert_eq!(it.next(), page(None));
        it.ended(&failed(None), now, 1.0);
        assert_eq!(it.next(), watch("10"));
        let at = it.list_wanted_at().expect("it is still wanted");
        it.begin_wanted_list(at - Duration::from_millis(1));
        assert_eq!(it.next(), watch("10"));
        pauses.push((at - now).as_millis());
        now = at;
    }
    assert_eq!((pauses[..3].to_vec(), pauses[11]), (vec![800, 1600, 3200], 300_000));
}

#[test]
fn how_long_it_is_refused_is_told_until_it_works() {
    let mut it = watching();
    assert_eq!(it.refused(), None);
    for (second, code) in [(5, Some(504)), (8, None), (9, Some(403)), (12, Some(429))] {
        it.ended(&failed(code), secs(second), 1.0);
    }
    assert_eq!(it.refused(), Some((3, secs(5))));
    it.advanced("11");
    assert_eq!(it.refused(), None);
}

#[test]
fn only_a_bookmark_can_go_back() {
    let mut it = watching();
    for (version, goes_back) in
        [("9", true), ("10", false), ("11", false), ("", false), ("x", false)]
    {
        assert_eq!(it.goes_back(version), goes_back, "{version:?}");
    }
    it.ended(&failed(410), secs(0), 1.0);
    assert!(!it.goes_back("9"), "no watch stands anywhere");
}

use super::super::list_watch::WatchFailure;
use super::*;

/// Of a watch that is silent after 15 s and has paused after 0.1 s; times are in tenths of a second.
struct FreshnessRun {
    sight: WatchFreshness,
    start: Instant,
}

#[derive(Clone, Copy, Debug)]
enum FreshnessStep {
    Opened,
    Line,
    Bookmark,
    /// A list that began then is complete.
    Listed(u64),
    /// Nothing comes.
    Passed,
    ClosedAsAgreed,
    Overdue,
    Relist,
    Broken,
}

use FreshnessStep::{
    Bookmark, Broken, ClosedAsAgreed, Line, Listed, Opened, Overdue, Passed, Relist,
};

/// Takes the steps, each with its time and what is said at it.
fn check(steps: &[(u64, FreshnessStep, Option<FreshnessChange>)]) -> FreshnessRun {
    let start = Instant::now();
    let options =
        WatchOptions { caught_up_pause: Duration::from_millis(100), ..Default::default() };
    let mut run = FreshnessRun { sight: WatchFreshness::new(&options, start), start };
    for (at, step, word) in steps {
        assert_eq!(run.take(*at, *step), *word, "{step:?} at {at} of {steps:?}");
    }
    run
}

impl FreshnessRun {
    fn at(&self, tenths: u64) -> Instant {
        self.start + Duration::from_millis(tenths * 100)
    }

    fn take(&mut self, at: u64, step: FreshnessStep) -> Option<FreshnessChange> {
        let now = self.at(at);
        match step {
            Opened => {
                self.sight.opened(now);
                None
            }
            Line => self.sight.heard(now, false),
            Bookmark => self.sight.heard(now, true),
            Listed(begun) => self.sight.listed(self.at(begun), now),
            Passed => self.sight.passed(now),
            ClosedAsAgreed => {
                self.sight.ended(now, &WatchEnd::Closed { lived: Duration::ZERO, num_lines: 1 })
            }
            Overdue => self.sight.ended(now, &WatchEnd::Overdue),
            Relist => self.sight.ended(now, &WatchEnd::Relist),
            Broken => {
                let failure = WatchFailure { code: None, retry_after: None, text: String::new() };
                self.sight.ended(now, &WatchEnd::Failed(failure))
            }
        }
    }
}

const SILENT: Option<FreshnessChange> = Some(FreshnessChange::Silent);
const LOST: Option<FreshnessChange> = Some(FreshnessChange::Lost);
const BACK: Option<FreshnessChange> = Some(FreshnessChange::Back);

#[test]
fn silence_is_said_once_and_ends_with_a_line_and_a_pause() {
    let it = check(&[
        (0, Opened, None),
        (10, Line, None),
        (159, Passed, None),
        (160, Passed, SILENT),
        (400, Passed, None),
    ]);
    assert_eq!(it.sight.next(), None, "nothing is waited for but a line");
    let mut it = it;
    assert_eq!(it.take(401, Line), None, "more may be behind it");
    assert_eq!(it.sight.next(), Some(it.at(402)));
    assert_eq!(it.take(402, Passed), BACK);
    assert_eq!(it.sight.next(), Some(it.at(552)));
}

#[test]
fn lines_for_as_long_as_it_lasted_end_silence_and_a_bookmark_is_one_of_them() {
    // Sure at 0, the first line at 300: at 600 it has caught up even without a pause.
    let lines = [(300, Line, None), (301, Bookmark, None), (450, Line, None), (599, Line, None)];
    check(&[&[(150, Passed, SILENT)], &lines[..], &[(600, Line, BACK)]].concat());
}

#[test]
fn who_looks_too_late_takes_the_line_for_an_old_one() {
    check(&[(10, Line, None), (160, Line, SILENT), (161, Passed, BACK)]);
    check(&[(10, Line, None), (160, Bookmark, SILENT), (160, Bookmark, None)]);
    check(&[(10, Line, None), (159, Line, None), (308, Line, None)]);
    // It was stopped in the middle of a pause, with lines behind it: all begins again.
    let silent = [(150, Passed, SILENT), (300, Line, None)];
    let late = [(800, Passed, None), (800, Line, None), (801, Passed, BACK)];
    check(&[&silent[..], &late[..]].concat());
    check(&[&silent[..], &[(800, Line, None), (801, Passed, BACK)]].concat());
    check(&[&silent[..], &[(450, Passed, BACK)]].concat());
    let lost = [(10, Broken, LOST), (20, Line, None), (800, Line, None), (801, Passed, BACK)];
    check(&lost);
}

#[test]
fn a_watch_that_closes_as_agreed_is_only_silent_until_it_tells_more() {
    let it = check(&[(0, Opened, None), (10, Bookmark, None), (12, ClosedAsAgreed, SILENT)]);
    let mut again = it;
    assert_eq!(again.take(12, Opened), None);
    assert_eq!(again.take(100, Passed), None);
    assert_eq!(again.take(101, Line), None);
    assert_eq!(again.take(102, Passed), BACK);
    // What came after the bookmark may not be all.
    check(&[(10, Bookmark, None), (11, Line, None), (12, ClosedAsAgreed, LOST)]);
    // The server had to close it, and did not.
    check(&[(10, Bookmark, None), (80, Overdue, LOST)]);
    // It had not caught up, though it had come to a bookmark.
    check(&[(10, Broken, LOST), (20, Bookmark, None), (20, ClosedAsAgreed, None)]);
    // The bookmark was that of an earlier watch.
    let before = [(10, Listed(0), None), (20, Bookmark, None), (30, Broken, LOST)];
    let after = [(40, Listed(31), None), (41, Passed, BACK), (42, ClosedAsAgreed, LOST)];
    check(&[&before[..], &after[..]].concat());
    // The next attempt fails, or ends without having said a word.
    check(&[(10, Bookmark, None), (12, ClosedAsAgreed, SILENT), (13, Broken, LOST)]);
    let mute = [(12, ClosedAsAgreed, SILENT), (13, Opened, None), (14, ClosedAsAgreed, LOST)];
    check(&[&[(10, Bookmark, None)], &mute[..]].concat());
}

#[test]
fn a_watch_that_we_close_for_a_list_is_silent_until_that_has_caught_up() {
    let list = [(0, Listed(0), None), (100, Line, None), (110, Relist, SILENT)];
    check(&[&list[..], &[(400, Listed(110), None), (401, Passed, BACK)]].concat());
    check(&[&list[..], &[(120, Broken, LOST), (400, Listed(130), None)]].concat());
    // That it was closed is no news where it is lost, and it had not told all where it was silent.
    check(&[(0, Listed(0), None), (20, Broken, LOST), (30, Relist, None)]);
    check(&[(0, Listed(0), None), (150, Passed, SILENT), (160, Relist, LOST)]);
}

#[test]
fn a_lost_watch_is_back_once_it_has_caught_up() {
    check(&[(10, Broken, LOST), (20, Broken, None), (30, Opened, None), (900, Passed, None)]);
    let lost = [(10, Line, None), (20, Broken, LOST), (30, Opened, None), (31, Line, None)];
    check(&[&lost[..], &[(32, Passed, BACK)]].concat());
    check(&[&lost[..], &[(31, Bookmark, None)]].concat());
    // It was away for 2.1 s.
    check(&[&lost[..], &[(51, Line, None), (52, Line, BACK)]].concat());
    // Broken once more: what was heard is no pause of the next connection.
    check(&[&lost[..], &[(31, Broken, None), (40, Opened, None), (90, Passed, None)]].concat());
}

#[test]
fn a_list_is_as_old_as_its_beginning() {
    // Nothing was promised before the first one.
    check(&[(10, Broken, LOST), (300, Listed(20), BACK)]);
    check(&[(300, Listed(0), None)]);
    let first = [(10, Listed(0), None), (20, Broken, LOST)];
    // A stream goes on, and a watch that is opened has its time too.
    check(&[&first[..], &[(300, Listed(100), None), (301, Passed, BACK)]].concat());
    let pages = [(300, Listed(100), None), (350, Opened, None), (350, Passed, None)];
    check(&[&first[..], &pages[..], &[(351, Passed, BACK)]].concat());
    // What came during it is sent once it is open, however long that takes.
    let slow = [(300, Listed(200), None), (450, Opened, None), (450, Line, None)];
    check(&[&first[..], &slow[..], &[(451, Passed, BACK)]].concat());
    // The list took 20 s, whatever the watch was away.
    let busy = [(300, Listed(100), None), (400, Line, None), (499, Line, None), (500, Line, BACK)];
    check(&[&first[..], &busy[..]].concat());
}

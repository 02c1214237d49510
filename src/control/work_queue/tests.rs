use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: QueueLimits = QueueLimits {
    max_waiting: 4,
    max_in_flight: 2,
    pace: Rate { tokens: 10, period_ms: 1000, burst: 3 },
    max_attempts: 3,
    first_pause_ms: 100,
    most_pause_ms: 1000,
    max_age_ms: 5000,
};

fn queue() -> WorkQueue<u32> {
    WorkQueue::new(LIMITS, Tick(0))
}

fn wanted(action: u32, key: u128, priority: Priority) -> Submission<u32> {
    Submission { action, key: ObjectKey(key), priority, must_complete: false }
}

/// Starts what can be started.
fn start_all(queue: &mut WorkQueue<u32>, at_ms: u64) -> Vec<WorkItem<u32>> {
    let next = || match queue.next(Tick(at_ms), true) {
        Next::Start(job) => Some(job),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

fn actions(jobs: &[WorkItem<u32>]) -> Vec<u32> {
    jobs.iter().map(|job| job.action).collect()
}

#[test]
fn the_highest_priority_is_first_and_then_who_came_first() {
    let mut queue = queue();
    for (action, priority) in [(1, 0), (2, 5), (3, 5), (4, -1)] {
        assert_eq!(
            queue.submit(wanted(action, action.into(), priority), true, Tick(0)),
            Submitted::No
        );
    }
    assert!(
        matches!(queue.submit(wanted(5, 5, 9), true, Tick(0)), Submitted::Full(job) if job.action == 5)
    );
    let first = start_all(&mut queue, 0);
    assert_eq!(actions(&first), [2, 3], "two are in flight at most");
    for job in first {
        assert!(matches!(queue.finish(job, Verdict::Over, Tick(0)), Finished::Over(_)));
    }
    assert_eq!(actions(&start_all(&mut queue, 0)), [1], "three tokens are in a full bucket");
    assert_eq!(queue.next(Tick(0), true), Next::At(Tick(100)));
    assert_eq!(actions(&start_all(&mut queue, 100)), [4]);
    assert_eq!((queue.num_waiting(), queue.num_in_flight()), (0, 2));
}

#[test]
fn a_newer_order_about_a_pod_replaces_the_older() {
    let mut queue = queue();
    queue.submit(wanted(1, 7, 0), true, Tick(0));
    let replaced = queue.submit(wanted(2, 7, 0), true, Tick(0));
    assert!(matches!(replaced, Submitted::Replaced(job) if job.action == 1));
    let mut jobs = start_all(&mut queue, 0);
    assert_eq!(actions(&jobs), [2]);
    // While a write about the pod is on its way, no other is.
    queue.submit(wanted(3, 7, 0), true, Tick(10));
    assert_eq!(actions(&start_all(&mut queue, 10)), [0; 0]);
    let left = queue.finish(jobs.remove(0), Verdict::Again(0), Tick(20));
    assert!(matches!(left, Finished::Replaced(job) if job.action == 2), "it is not tried again");
    assert_eq!(actions(&start_all(&mut queue, 20)), [3]);
}

#[test]
fn attempts_are_spaced_and_counted() {
    let mut queue = queue();
    queue.submit(wanted(1, 7, 0), true, Tick(0));
    for (at_ms, most_ms) in [(0, 100), (100, 200)] {
        let job = start_all(&mut queue, at_ms).remove(0);
        assert_eq!(queue.finish(job, Verdict::Again(0), Tick(at_ms)), Finished::No);
        let Next::At(due) = queue.next(Tick(at_ms), true) else { unreachable!("it waits") };
        assert!((at_ms + most_ms / 2..=at_ms + most_ms).contains(&due.0), "{due:?}");
    }
    let job = start_all(&mut queue, 300).remove(0);
    assert_eq!(job.attempts, 3);
    assert!(matches!(queue.finish(job, Verdict::Again(0), Tick(300)), Finished::Over(_)));
    assert_eq!(queue.next(Tick(300), true), Next::Idle);
}

#[test]
fn who_is_asked_to_wait_waits_as_long_and_repeating_does_not_shorten_it() {
    let mut queue = queue();
    queue.submit(wanted(1, 7, 0), true, Tick(0));
    let job = start_all(&mut queue, 0).remove(0);
    assert_eq!(queue.finish(job, Verdict::Again(3000), Tick(0)), Finished::No);
    queue.submit(wanted(2, 7, 0), true, Tick(1));
    assert_eq!(queue.next(Tick(1), true), Next::At(Tick(3000)));
    assert_eq!(actions(&start_all(&mut queue, 3000)), [2]);
}

#[test]
fn a_pause_holds_everybody_up_and_is_news_once() {
    let mut queue = queue();
    queue.submit(wanted(1, 7, 0), true, Tick(0));
    assert!(queue.pause(Tick(500), Tick(0)) && !queue.pause(Tick(700), Tick(100)));
    assert_eq!((queue.room(Tick(699)), queue.room(Tick(700))), (0, 1));
    assert_eq!(queue.next(Tick(100), true), Next::At(Tick(700)));
    assert!(queue.pause(Tick(7000), Tick(700)));
    let next = queue.next(Tick(700), true);
    assert_eq!(next, Next::At(Tick(LIMITS.max_age_ms)), "it will be too old before");
    assert!(
        matches!(queue.next(Tick(LIMITS.max_age_ms), true), Next::Expired(job) if job.action == 1)
    );
}

#[test]
fn who_orders_as_much_as_there_is_appetite_for_has_all_of_it_begun_in_time() {
    let mut queue = queue();
    assert_eq!(queue.num_wanted_within(50), 1, "one, however slow the pace");
    assert_eq!(queue.num_wanted_within(300), 3);
    for action in 1..=3 {
        queue.submit(wanted(action, action.into(), 0), true, Tick(0));
    }
    assert_eq!((queue.num_wanted_within(300), queue.num_wanted_within(400)), (0, 1));
    let first = start_all(&mut queue, 0);
    assert_eq!((first.len(), queue.num_wanted_within(300)), (2, 2), "one waits");
}

#[test]
fn what_must_be_done_is_neither_turned_away_nor_given_up() {
    let mut queue = queue();
    let closed = queue.submit(wanted(1, 1, 0), false, Tick(0));
    assert!(matches!(closed, Submitted::Closed(job) if job.action == 1));
    queue.submit(Submission { must_complete: true, ..wanted(2, 2, 0) }, false, Tick(0));
    assert_eq!(queue.next(Tick(1_000_000), false), Next::Idle);
    let mut now = 1_000_000;
    for _ in 0..10 {
        let job = start_all(&mut queue, now).remove(0);
        assert_eq!(queue.finish(job, Verdict::Again(0), Tick(now)), Finished::No);
        now += LIMITS.most_pause_ms;
    }
    // The action that replaces it takes that over.
    queue.submit(wanted(3, 2, 0), true, Tick(now));
    let job = start_all(&mut queue, now).remove(0);
    assert_eq!(
        (job.action, queue.finish(job.clone(), Verdict::Again(9000), Tick(now))),
        (3, Finished::No)
    );
    let job = start_all(&mut queue, now + 9000).remove(0);
    queue.submit(wanted(4, 2, 0), true, Tick(now + 9000));
    assert!(matches!(
        queue.finish(job, Verdict::Again(0), Tick(now + 9000)),
        Finished::Replaced(_)
    ));
    assert_eq!(queue.next(Tick(now + 90_000), false), Next::Idle, "it does not expire");
    assert_eq!(actions(&start_all(&mut queue, now + 90_000)), [4]);
}

#[derive(Clone, Debug)]
enum QueueStep {
    Submit { key: u128, priority: Priority, must_complete: bool, open: bool },
    Next { open: bool },
    Finish { which: usize, again: Option<u64> },
    Pause(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = QueueStep> {
    let submit = (0..6_u128, -1..3_i32, prop::bool::weighted(0.2), prop::bool::weighted(0.8));
    prop_oneof![
        4 => submit.prop_map(|(key, priority, must_complete, open)| {
            QueueStep::Submit { key, priority, must_complete, open }
        }),
        6 => prop::bool::weighted(0.8).prop_map(|open| QueueStep::Next { open }),
        3 => (0..2_usize, prop::option::of(0..2000_u64))
            .prop_map(|(which, again)| QueueStep::Finish { which, again }),
        1 => (0..3000_u64).prop_map(QueueStep::Pause),
        2 => (0..1500_u64).prop_map(QueueStep::Wait),
    ]
}

/// A queue, and what is known of it from outside.
struct Watched {
    queue: WorkQueue<u32>,
    now: u64,
    in_flight: Vec<WorkItem<u32>>,
    /// Actions that have not left, and whether they must be carried out.
    inside: BTreeMap<u32, bool>,
    num_submitted: u32,
    num_started: u64,
}

impl Watched {
    fn leaves(&mut self, job: &WorkItem<u32>) {
        assert!(self.inside.remove(&job.action).is_some(), "{} left before", job.action);
    }

    fn next(&mut self, open: bool) {
        match self.queue.next(Tick(self.now), open) {
            Next::Start(job) => {
                assert!(open && self.in_flight.iter().all(|it| it.key != job.key), "{job:?}");
                assert!(job.must_complete || job.attempts <= LIMITS.max_attempts);
                assert!(job.must_complete || self.now < job.since.0 + LIMITS.max_age_ms);
                self.num_started += 1;
                self.in_flight.push(job);
            }
            Next::Expired(job) => {
                assert!(!job.must_complete && self.now >= job.since.0 + LIMITS.max_age_ms);
                self.leaves(&job);
            }
            Next::At(at) => assert!(at.0 > self.now, "no busy waiting"),
            Next::Idle => {}
        }
    }

    fn take(&mut self, step: QueueStep) {
        match step {
            QueueStep::Submit { key, priority, must_complete, open } => {
                self.num_submitted += 1;
                self.inside.insert(self.num_submitted, must_complete);
                let wanted =
                    Submission { must_complete, ..wanted(self.num_submitted, key, priority) };
                match self.queue.submit(wanted, open, Tick(self.now)) {
                    Submitted::No => {}
                    Submitted::Replaced(job) => self.leaves(&job),
                    Submitted::Full(job) => self.leaves(&job),
                    Submitted::Closed(job) => {
                        assert!(!open && !job.must_complete);
                        self.leaves(&job);
                    }
                }
            }
            QueueStep::Next { open } => self.next(open),
            QueueStep::Finish { which, again } if which < self.in_flight.len() => {
                let job = self.in_flight.remove(which);
                let verdict = again.map_or(Verdict::Over, Verdict::Again);
                match self.queue.finish(job, verdict, Tick(self.now)) {
                    Finished::No => assert!(again.is_some()),
                    Finished::Over(job) => {
                        assert!(!job.must_complete || again.is_none(), "{job:?} is given up");
                        self.leaves(&job);
                    }
                    Finished::Replaced(job) => self.leaves(&job),
                }
            }
            QueueStep::Finish { .. } => {}
            QueueStep::Pause(ms) => {
                self.queue.pause(Tick(self.now + ms), Tick(self.now));
            }
            QueueStep::Wait(ms) => self.now += ms,
        }
        assert!(self.in_flight.len() <= LIMITS.max_in_flight);
        assert_eq!(self.queue.num_in_flight(), self.in_flight.len());
        // One whose attempt failed comes back although there are too many.
        assert!(self.queue.num_waiting() <= LIMITS.max_waiting + LIMITS.max_in_flight);
        assert_eq!(self.inside.len(), self.queue.num_waiting() + self.in_flight.len());
        let Rate { tokens, period_ms, burst } = LIMITS.pace;
        assert!(self.num_started * period_ms <= burst * period_ms + self.now * tokens);
    }
}

proptest! {
    /// Whatever happens in whatever action: bounds hold, and every action leaves once.
    #[test]
    fn every_order_leaves_once(steps in prop::collection::vec(step(), 1..120)) {
        let (in_flight, inside) = (Vec::new(), BTreeMap::new());
        let (num_submitted, num_started, now) = (0, 0, 0);
        let mut it = Watched { queue: queue(), now, in_flight, inside, num_submitted, num_started };
        steps.into_iter().for_each(|step| it.take(step));
        for _ in 0..200 {
            it.now += 500;
            it.next(true);
            it.take(QueueStep::Finish { which: 0, again: None });
        }
        prop_assert!(it.inside.is_empty(), "{:?}", it.inside);
    }
}

#[test]
fn what_waits_is_taken_in_order_and_leaves_nothing_behind() {
    let mut queue = queue();
    let must = |it: Submission<u32>| Submission { must_complete: true, ..it };
    for (action, key) in [(1, 1), (2, 2), (3, 3)] {
        queue.submit(must(wanted(action, key, 0)), true, Tick(0));
    }
    let in_flight = start_all(&mut queue, 0);
    assert_eq!(actions(&in_flight), [1, 2], "these are beyond recall");
    queue.submit(wanted(4, 4, 9), true, Tick(0));
    assert_eq!(actions(&queue.take_waiting()), [3, 4]);
    assert_eq!((queue.num_waiting(), queue.num_in_flight()), (0, 2));
    assert_eq!(queue.next(Tick(1_000_000), true), Next::Idle);
    for job in in_flight {
        assert!(matches!(queue.finish(job, Verdict::Over, Tick(1)), Finished::Over(_)));
    }
    assert_eq!(queue.num_in_flight(), 0);
}

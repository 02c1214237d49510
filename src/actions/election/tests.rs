use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms { duration_ms: 15_000, deadline_ms: 10_000, retry_ms: 2_000 };

fn candidate(me: &str) -> Election {
    Election::new(me.to_owned(), TERMS, Tick(0))
}

/// What `holder` writes at this moment of the wall clock.
fn taken(seen: Option<&SeenLease>, holder: &str, at_ms: u64) -> SeenLease {
    let at_ms = i64::try_from(at_ms).expect("a short test");
    let at = Timestamp::from_millisecond(at_ms).expect("a moment");
    SeenLease::taken(seen, holder, 15, at)
}

#[test]
fn a_lease_that_is_not_there_is_made_and_renewed() {
    let mut a = candidate("a");
    assert_eq!(a.step(Tick(0)), ElectionStep::Read);
    assert_eq!(a.read(None, Tick(10)), ElectionStep::Take(None));
    assert!(!a.is_leader(Tick(10)));
    let lease = taken(None, "a", 0);
    a.took(lease.clone(), Tick(10), Tick(90));
    assert!(a.is_leader(Tick(90)) && a.is_leader(Tick(10_009)) && !a.is_leader(Tick(10_010)));
    assert_eq!((a.holder(), a.step(Tick(90))), (Some("a"), ElectionStep::Wait(Tick(2010))));
    // What was written is known: it need not be read again.
    assert_eq!(a.step(Tick(2010)), ElectionStep::Take(Some(lease.clone())));
    a.failed(Tick(2020));
    assert_eq!(a.step(Tick(2020)), ElectionStep::Wait(Tick(4020)));
    assert_eq!(a.step(Tick(4020)), ElectionStep::Read);
    assert_eq!(a.read(Some(lease.clone()), Tick(4030)), ElectionStep::Take(Some(lease)));
    a.resign();
    assert!(!a.is_leader(Tick(4030)));
    a.took(taken(None, "a", 0), Tick(5000), Tick(5000));
    a.failed(Tick(7000));
    assert!(a.is_leader(Tick(7000)), "it may have been renewed, and nobody else may begin yet");
    a.lost(Tick(7000));
    assert_eq!((a.is_leader(Tick(7000)), a.step(Tick(9000))), (false, ElectionStep::Read));
}

#[test]
fn a_holder_is_waited_out_by_the_own_clock() {
    let mut b = candidate("b");
    let lease = taken(None, "a", 0);
    assert_eq!(b.read(Some(lease.clone()), Tick(1000)), ElectionStep::Wait(Tick(3000)));
    assert_eq!(b.read(Some(lease.clone()), Tick(15_999)), ElectionStep::Wait(Tick(17_999)));
    // A renewal begins the wait anew, whatever its date says.
    let renewed = taken(Some(&lease), "a", 1);
    assert_eq!(b.read(Some(renewed.clone()), Tick(16_000)), ElectionStep::Wait(Tick(18_000)));
    assert_eq!(b.read(Some(renewed.clone()), Tick(30_999)), ElectionStep::Wait(Tick(32_999)));
    assert_eq!(
        b.read(None, Tick(30_999)),
        ElectionStep::Wait(Tick(32_999)),
        "its holder may not know"
    );
    assert_eq!(b.read(None, Tick(31_000)), ElectionStep::Take(None));
    assert_eq!(
        b.read(Some(renewed.clone()), Tick(31_000)),
        ElectionStep::Take(Some(renewed.clone()))
    );
    let back = renewed.released(Timestamp::UNIX_EPOCH);
    assert_eq!(b.read(Some(back.clone()), Tick(31_001)), ElectionStep::Take(Some(back)));
    // Somebody who asks for more time has it.
    let longer = SeenLease::taken(None, "c", 60, Timestamp::UNIX_EPOCH);
    assert_eq!(b.read(Some(longer.clone()), Tick(40_000)), ElectionStep::Wait(Tick(42_000)));
    assert_eq!(b.read(Some(longer.clone()), Tick(99_999)), ElectionStep::Wait(Tick(101_999)));
    assert_eq!(b.read(Some(longer.clone()), Tick(100_000)), ElectionStep::Take(Some(longer)));
}

#[test]
fn who_reads_that_another_has_it_leads_no_longer() {
    let mut a = candidate("a");
    a.took(taken(None, "a", 0), Tick(0), Tick(0));
    a.read(Some(taken(None, "b", 0)), Tick(1));
    assert!(!a.is_leader(Tick(1)));
}

#[test]
fn a_lease_of_a_backup_that_names_us_is_no_reason_to_lead_beside_another() {
    let ours = taken(None, "b", 0);
    let mut b = candidate("b");
    b.took(ours.clone(), Tick(0), Tick(0));
    // Another one takes over, and then the server's store is restored.
    b.read(Some(taken(None, "a", 1)), Tick(20_000));
    assert_eq!(b.read(Some(ours.clone()), Tick(22_000)), ElectionStep::Wait(Tick(24_000)));
    assert_eq!((b.is_leader(Tick(22_000)), b.holder()), (false, Some("a")));
    assert_eq!(b.read(Some(ours.clone()), Tick(34_999)), ElectionStep::Wait(Tick(36_999)));
    assert_eq!(b.read(Some(ours.clone()), Tick(35_000)), ElectionStep::Take(Some(ours)));
    // One that was made after the backup is gone, or another's again: both are waited out.
    for found in [None, Some(taken(None, "c", 0))] {
        let mut b = candidate("b");
        b.read(Some(taken(None, "a", 1)), Tick(0));
        assert_eq!(b.read(found, Tick(2000)), ElectionStep::Wait(Tick(4000)));
    }
}

/// A step of the simulation, in milliseconds.
const PACE_MS: u64 = 100;
/// A request without an answer is given up.
const TIMEOUT_MS: u64 = 5_000;

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Until the server has it; `None`: it is lost.
    arrives_ms: Option<u64>,
    /// From there until the answer is back; `None`: it is lost.
    returns_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Request {
    lease: Option<SeenLease>,
    version: u64,
    is_write: bool,
    begun: u64,
    fate: Fate,
    /// When the server had it, and what it answered.
    answer: Option<(u64, LeaseAnswer)>,
}

#[derive(Clone, Debug)]
enum LeaseAnswer {
    Seen(Option<SeenLease>, u64),
    Conflict,
}

/// A candidate's process, its clock, and what it has on the way.
struct ReplicaProcess {
    election: Election,
    /// Ticks of its clock in a thousand milliseconds.
    rate: u64,
    /// The version of what the election has seen.
    version: u64,
    waits: Option<Request>,
    /// Given up by us, but not by the network.
    strays: Vec<Request>,
    /// Stands still until then.
    paused_until: u64,
}

#[derive(Default)]
struct LeaseServer {
    lease: Option<SeenLease>,
    version: u64,
}

impl LeaseServer {
    fn serve(&mut self, request: &Request) -> LeaseAnswer {
        if !request.is_write {
            return LeaseAnswer::Seen(self.lease.clone(), self.version);
        }
        if self.version != request.version {
            return LeaseAnswer::Conflict;
        }
        self.version += 1;
        self.lease = request.lease.clone();
        LeaseAnswer::Seen(self.lease.clone(), self.version)
    }
}

impl ReplicaProcess {
    fn clock(&self, now: u64) -> Tick {
        Tick(now * self.rate / 1000)
    }

    fn deliver(&mut self, server: &mut LeaseServer, now: u64) {
        for request in self.waits.iter_mut().chain(&mut self.strays) {
            let arrived = request.fate.arrives_ms.is_some_and(|ms| request.begun + ms <= now);
            if arrived && request.answer.is_none() {
                request.answer = Some((now, server.serve(request)));
            }
        }
    }

    fn act(&mut self, now: u64, mut fate: impl FnMut() -> Fate) {
        if now < self.paused_until {
            return;
        }
        let clock = self.clock(now);
        let mut step = None;
        if let Some(request) = self.waits.take() {
            let back = request.answer.clone().zip(request.fate.returns_ms);
            match back.filter(|((at, _), ms)| at + ms <= now) {
                Some(((_, LeaseAnswer::Seen(lease, version)), _)) => {
                    self.version = version;
                    match lease.filter(|_| request.is_write) {
                        Some(lease) => {
                            self.election.took(lease, self.clock(request.begun), clock);
                        }
                        None => {
                            let Some((_, LeaseAnswer::Seen(lease, _))) = request.answer else {
                                return;
                            };
                            step = Some(self.election.read(lease, clock));
                        }
                    }
                }
                Some(_) => self.election.lost(clock),
                None if now - request.begun >= TIMEOUT_MS => {
                    self.election.failed(clock);
                    self.strays.push(request);
                }
                None => self.waits = Some(request),
            }
        }
        if self.waits.is_some() {
            return;
        }
        let (lease, is_write) = match step.unwrap_or_else(|| self.election.step(clock)) {
            ElectionStep::Wait(_) => return,
            ElectionStep::Read => (None, false),
            ElectionStep::Take(seen) => (Some(taken(seen.as_ref(), self.election.me(), now)), true),
        };
        let (version, fate, begun) = (self.version, fate(), now);
        self.waits = Some(Request { lease, version, is_write, begun, fate, answer: None });
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    let way = || {
        prop_oneof![
            6 => (0..200_u64).prop_map(Some),
            2 => (0..4_000_u64).prop_map(Some),
            1 => (4_000..40_000_u64).prop_map(Some),
            1 => Just(None),
        ]
    };
    (way(), way()).prop_map(|(arrives_ms, returns_ms)| Fate { arrives_ms, returns_ms })
}

/// At most one leads, and it is the one that the server knows.
fn check(processes: &[ReplicaProcess], server: &LeaseServer, now: u64) -> Option<usize> {
    let leads = |it: &ReplicaProcess| it.election.is_leader(it.clock(now));
    let leaders: Vec<usize> = (0..processes.len()).filter(|at| leads(&processes[*at])).collect();
    assert!(leaders.len() <= 1, "at {now} ms: {leaders:?}");
    let leader = *leaders.first()?;
    let holder = server.lease.as_ref().and_then(SeenLease::holder);
    assert_eq!(holder, Some(processes[leader].election.me()), "deposed at {now} ms");
    Some(leader)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Requests and answers that are late or lost, processes that stand still, clocks that differ by
    /// up to 45 %: there are never two leaders, nor one who was deposed and does not know. Once all
    /// is well again, there is one.
    #[test]
    fn there_is_one_leader_at_most(
        rates in prop::array::uniform3(830..1200_u64),
        fates in prop::collection::vec(fate(), 20..80),
        pauses in prop::collection::vec((0..3_usize, 0..120_000_u64, 0..30_000_u64), 0..8),
    ) {
        let process = |at: usize| ReplicaProcess {
            election: candidate(["a", "b", "c"][at]),
            rate: rates[at],
            version: 0,
            waits: None,
            strays: Vec::new(),
            paused_until: 0,
        };
        let mut processes = [process(0), process(1), process(2)];
        let (mut server, mut num_requests, mut leader) = (LeaseServer::default(), 0, None);
        for now in (0..240_000).step_by(PACE_MS as usize) {
            let well = Fate { arrives_ms: Some(10), returns_ms: Some(10) };
            for (at, from, length) in pauses.iter().filter(|it| it.1 / PACE_MS == now / PACE_MS) {
                processes[*at].paused_until = from + length;
            }
            for at in 0..processes.len() {
                processes[at].deliver(&mut server, now);
                processes[at].act(now, || {
                    num_requests += 1;
                    if now < 120_000 { fates[num_requests % fates.len()] } else { well }
                });
                leader = check(&processes, &server, now);
            }
        }
        prop_assert!(leader.is_some(), "nobody leads although all is well");
    }
}

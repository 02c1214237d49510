//! Who of several replicas leads: a state machine over one Lease. Pure: whoever owns it tells the time,
//! reads and writes.
//!
//! ```text
//!            ┌──────────── nobody has it, or long unrenewed ────────┐
//!   Read ────┤                                                      ├──▶ Take ──▶ leads for
//!    ▲       └── somebody has it ──▶ Wait ──▶ Read                  │     │      deadline_ms
//!    │                                                    we have it┘     │          │
//!    └───────────── refused, or no answer ◀───────────────────────────────┘◀─ retry_ms
//! ```
//!
//! No wall clocks are compared. A leader counts from before it sent its last renewal, the others from
//! after they saw it; so as long as no clock runs more than half as fast again as another
//! (`duration_ms / deadline_ms`), a leader stops before anybody else begins. Nothing else is needed of
//! the network, nor of how long a process stands still. A machine that is suspended with its clock may
//! write late, as may a request on its way: that is what the fences of each write are for.

use crate::k8s::lease::SeenLease;
use crate::model::Tick;

/// The times of an election, those of kube-scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// How long the others wait for a holder that does not renew.
    pub(super) duration_ms: u64,
    /// How long a leader believes in a renewal. A write that it begins has the rest of the duration to
    /// end in, as long as the time limit of a write.
    pub(super) deadline_ms: u64,
    /// Between two requests.
    pub(super) retry_ms: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { duration_ms: 15_000, deadline_ms: 10_000, retry_ms: 2_000 }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ElectionStep {
    /// Nothing, until then.
    Wait(Tick),
    /// Read the lease, and tell [`Election::read`].
    Read,
    /// Take it as it was seen, or make it where there was none; tell [`Election::took`],
    /// [`Election::lost`] or [`Election::failed`].
    Take(Option<SeenLease>),
}

/// One candidate's view.
#[derive(Clone, Debug)]
pub(super) struct Election {
    /// Differs from every other candidate's, and from that of an earlier life.
    me: String,
    terms: Terms,
    /// As it was read or written last.
    seen: Option<SeenLease>,
    /// When what it says was new to us.
    seen_at: Tick,
    /// Nobody has written it since, as far as we know.
    is_fresh: bool,
    /// Just before the request was sent by which we have it.
    renewed: Option<Tick>,
    /// Nothing is asked of the server before.
    next: Tick,
}

impl Election {
    pub(super) fn new(me: String, terms: Terms, now: Tick) -> Self {
        Self { me, terms, seen: None, seen_at: now, is_fresh: false, renewed: None, next: now }
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Who has the lease, as far as is known.
    pub(super) fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.holder()
    }

    /// True while nobody else can be the leader. To be asked right before each write.
    pub(super) fn is_leader(&self, now: Tick) -> bool {
        self.renewed.is_some_and(|at| now.since_ms(at) < self.terms.deadline_ms)
    }

    pub(super) fn step(&self, now: Tick) -> ElectionStep {
        if now < self.next {
            ElectionStep::Wait(self.next)
        } else if self.is_fresh && self.renewed.is_some() {
            ElectionStep::Take(self.seen.clone())
        } else {
            ElectionStep::Read
        }
    }

    /// The lease was read at `now`; `None`: there is none.
    pub(super) fn read(&mut self, found: Option<SeenLease>, now: Tick) -> ElectionStep {
        if self.is_from_a_backup(found.as_ref(), now) {
            return self.retry(now);
        }
        let is_news = |it: &SeenLease| self.seen.as_ref().is_none_or(|seen| !seen.says_as(it));
        if found.as_ref().is_some_and(is_news) {
            self.seen_at = now;
        }
        // One that was deleted while somebody had it is waited out: he may not know yet.
        let said = found.as_ref().or(self.seen.as_ref());
        let is_free = said.is_none_or(|said| {
            let duration_ms = said.duration_ms().max(self.terms.duration_ms);
            let is_over = now.since_ms(self.seen_at) >= duration_ms;
            is_over || said.holder().is_none_or(|holder| holder == self.me)
        });
        let is_ours = found.as_ref().is_some_and(|it| it.holder() == Some(&*self.me));
        if !is_ours {
            self.renewed = None;
        }
        self.seen = found.clone().or_else(|| self.seen.take());
        if is_free {
            return ElectionStep::Take(found);
        }
        self.retry(now)
    }

    /// It names us, who have not had it since somebody else did: the API server's store was restored, and he
    /// may not know yet. He is waited out as if it still named him.
    fn is_from_a_backup(&self, found: Option<&SeenLease>, now: Tick) -> bool {
        let is_other = |seen: &&SeenLease| seen.holder().is_some_and(|holder| holder != self.me);
        let Some(seen) = self.seen.as_ref().filter(is_other) else { return false };
        let is_over = now.since_ms(self.seen_at) >= seen.duration_ms().max(self.terms.duration_ms);
        !is_over && found.is_some_and(|it| it.holder() == Some(&*self.me))
    }

    /// The lease is ours by a request that was sent at `begun`.
    pub(super) fn took(&mut self, lease: SeenLease, begun: Tick, now: Tick) {
        self.seen = Some(lease);
        (self.seen_at, self.is_fresh) = (now, true);
        self.renewed = Some(begun);
        self.next = begun.plus_ms(self.terms.retry_ms);
    }

    /// A request failed, or it is not known what became of it.
    pub(super) fn failed(&mut self, now: Tick) {
        self.is_fresh = false;
        self.retry(now);
    }

    /// Somebody else has written the lease since it was seen: it may be his by now.
    pub(super) fn lost(&mut self, now: Tick) {
        self.renewed = None;
        self.failed(now);
    }

    /// We lead no longer, and are about to give the lease back.
    pub(super) fn resign(&mut self) {
        self.renewed = None;
    }

    fn retry(&mut self, now: Tick) -> ElectionStep {
        self.next = now.plus_ms(self.terms.retry_ms);
        ElectionStep::Wait(self.next)
    }
}

#[cfg(test)]
mod tests;

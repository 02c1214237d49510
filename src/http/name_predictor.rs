//! Which names come next: a guess from the requests before.
//!
//! kube-scheduler goes round its nodes in an order that is random but stays while it runs, sixteen
//! workers a little out of step. So names stand here as it writes them, side by side in that order,
//! and a request is compared with as many at a time as are equal. Where that ends, a worker is out of
//! step, and the next name is the one that came there the last time or the one at which another worker
//! was left. Nothing here changes an answer, only what it costs.

use std::ops::Range;

use crate::cluster::{Names, NamesId};
use crate::model::NodeOrd;

/// Where there is no slot.
const NONE: u32 = u32::MAX;
/// What kube-scheduler writes between two names.
const BETWEEN: &[u8] = b"\",\"";
/// Of a link that was right.
const MAX_TRUST: u8 = 3;
/// A link of so much trust was right, and since then the slot beside it hardly ever.
const PROVEN: u8 = 2;
/// Workers out of step that are followed.
const NUM_TAILS: usize = 4;
/// So many more wrong guesses than right ones, and the rest of the list is not guessed.
const PATIENCE: usize = 256;

/// The names that requests had, one a slot, in the order that was learned.
#[derive(Debug, Default)]
pub(super) struct NamePredictor {
    /// The table in which the node of every slot has its name.
    checked_with: NamesId,
    /// `a","b","c","`: plain names only.
    text: Vec<u8>,
    /// By slot: where its name ends in the text.
    ends: Vec<u32>,
    /// By slot: its node.
    ords: Vec<NodeOrd>,
    /// By slot: what came after it when that was not the slot beside it.
    links: Vec<u32>,
    /// By slot: wrong guesses that its link survives, so that workers out of step do not unlearn it.
    trust: Vec<u8>,
    /// By ordinal: its slot.
    slots: Vec<u32>,
    /// Links that were right since the slots were laid out.
    num_followed: usize,
}

/// Slots side by side, whose names come next.
#[derive(Debug)]
pub(super) struct NameRun<'a> {
    /// The node of each.
    pub(super) ords: &'a [NodeOrd],
    ends: &'a [u32],
    start: u32,
}

impl NameRun<'_> {
    /// Where each name ends if the first begins at `at`.
    pub(super) fn ends(&self, at: usize) -> impl Iterator<Item = u32> {
        let shift = (at as u32).wrapping_sub(self.start);
        self.ends.iter().map(move |end| end.wrapping_add(shift))
    }
}

impl NamePredictor {
    /// Begins a list of names of the table `known`.
    pub(super) fn walk<'a>(&'a mut self, known: &'a Names) -> Walk<'a> {
        if self.checked_with != known.id() {
            self.check(known);
        } else if self.num_followed > self.ords.len() {
            // By now following has cost more than this.
            self.lay_out(&self.linked());
        }
        Walk { sequence: self, known, tails: [NONE; NUM_TAILS], patience: PATIENCE }
    }

    /// Drops the slots whose node does not have their name in this table.
    fn check(&mut self, known: &Names) {
        let is_good = |slot: &u32| {
            let ord = self.ords.get(*slot as usize);
            ord.is_some_and(|ord| known.plain(*ord) == self.name(*slot))
        };
        let good: Vec<u32> = (0..self.ords.len() as u32).filter(is_good).collect();
        if good.len() < self.ords.len() {
            self.lay_out(&good);
        }
        self.slots.resize(known.capacity(), NONE);
        self.checked_with = known.id();
    }

    /// All slots, each before what mostly came after it.
    fn linked(&self) -> Vec<u32> {
        let mut placed = vec![false; self.ords.len()];
        let mut order = Vec::with_capacity(placed.len());
        for first in 0..placed.len() as u32 {
            let mut slot = first;
            while let Some(placed @ false) = placed.get_mut(slot as usize) {
                *placed = true;
                order.push(slot);
                let proven = self.trust[slot as usize] >= PROVEN;
                slot = if proven { self.links[slot as usize] } else { slot + 1 };
            }
        }
        order
    }

    /// Puts these slots side by side in this order, and drops the others.
    fn lay_out(&mut self, order: &[u32]) {
        let mut old = std::mem::take(self);
        self.checked_with = std::mem::take(&mut old.checked_with);
        self.slots = vec![NONE; old.slots.len()];
        self.text.reserve(old.text.len());
        for slot in order {
            self.push(old.ords[*slot as usize], old.name(*slot).unwrap_or_default());
        }
        for (slot, before) in order.iter().enumerate() {
            let link = old.ords.get(old.links[*before as usize] as usize);
            let link = link.map_or(NONE, |ord| self.slot(*ord));
            if link != NONE && link as usize != slot + 1 {
                (self.links[slot], self.trust[slot]) = (link, old.trust[*before as usize]);
            }
        }
    }

    /// Puts a node that has no slot at the end.
    fn push(&mut self, ord: NodeOrd, name: &[u8]) {
        let end = u32::try_from(self.text.len() + name.len());
        let (Ok(end), Some(slot)) = (end, self.slots.get_mut(ord.index())) else {
            return;
        };
        *slot = self.ords.len() as u32;
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(BETWEEN);
        self.ends.push(end);
        self.ords.push(ord);
        self.links.push(NONE);
        self.trust.push(0);
    }

    fn slot(&self, ord: NodeOrd) -> u32 {
        self.slots.get(ord.index()).copied().unwrap_or(NONE)
    }

    /// Where the name of a slot stands in the text.
    fn place(&self, slot: u32) -> Option<Range<usize>> {
        let end = *self.ends.get(slot as usize)? as usize;
        let before = (slot as usize).checked_sub(1).and_then(|before| self.ends.get(before));
        Some(before.map_or(0, |end| *end as usize + BETWEEN.len())..end)
    }

    fn name(&self, slot: u32) -> Option<&[u8]> {
        self.text.get(self.place(slot)?)
    }

    /// How many slots from this one on have the names that `text` begins with, the last one's before
    /// a quote; `None` for none.
    fn num_equal(&self, slot: u32, text: &[u8]) -> Option<usize> {
        let place = self.place(slot)?;
        // With its quote. Mostly this decides alone when workers take turns name by name.
        let len = place.len() + 1;
        let (own, others) = self.text.get(place.start..)?.split_at_checked(len)?;
        let (first, rest) = text.split_at_checked(len)?;
        if own != first {
            return None;
        }
        let equal = num_common(others, rest);
        // Not more names than fit in there, or short runs would cost a search of all.
        let ends = self.ends.get(slot as usize..)?;
        let most = ends.len().min(1 + equal / BETWEEN.len());
        Some(ends[..most].partition_point(|end| *end as usize <= place.end + equal))
    }
}

/// How many bytes both begin with.
fn num_common(a: &[u8], b: &[u8]) -> usize {
    fn blocks<const LEN: usize>(a: &[u8], b: &[u8]) -> usize {
        let (a, b) = (a.as_chunks::<LEN>().0, b.as_chunks::<LEN>().0);
        LEN * a.iter().zip(b).take_while(|(a, b)| a == b).count()
    }
    let mut equal = blocks::<32>(a, b);
    equal += blocks::<8>(&a[equal..], &b[equal..]);
    equal + blocks::<1>(&a[equal..], &b[equal..])
}

/// On the way through a list.
pub(super) struct Walk<'a> {
    sequence: &'a mut NamePredictor,
    known: &'a Names,
    /// The last slot that was named, and those before it that nothing came after yet.
    tails: [u32; NUM_TAILS],
    patience: usize,
}

impl Walk<'_> {
    /// The names that `text` begins with, the last of them before a quote: one to `most`. `None` when
    /// no guess was right.
    pub(super) fn next(&mut self, text: &[u8], most: usize) -> Option<NameRun<'_>> {
        self.patience.checked_sub(1)?;
        let Some((which, slot, num)) = self.guess(text) else {
            self.patience -= 1;
            return None;
        };
        let num = num.min(most);
        self.note(self.tails[which], slot, num);
        self.patience += num;
        self.tails.copy_within(..which, 1);
        self.tails[0] = slot + num as u32 - 1;
        let (it, slots) = (&*self.sequence, slot as usize..slot as usize + num);
        let start = it.place(slot)?.start as u32;
        Some(NameRun { ords: &it.ords[slots.clone()], ends: &it.ends[slots], start })
    }

    /// After which tail come which slot and how many beside it.
    fn guess(&self, text: &[u8]) -> Option<(usize, u32, usize)> {
        for (which, tail) in self.tails.iter().enumerate() {
            let link = *self.sequence.links.get(*tail as usize)?;
            for slot in [tail + 1, link] {
                if let Some(num) = self.sequence.num_equal(slot, text) {
                    return Some((which, slot, num));
                }
            }
        }
        None
    }

    /// Notes that after `tail` came so many slots from this one on.
    fn note(&mut self, tail: u32, slot: u32, num: usize) {
        let it = &mut *self.sequence;
        let mut beside = slot as usize..slot as usize + num - 1;
        if slot == tail + 1 {
            beside.start = tail as usize;
        } else {
            it.trust[tail as usize] = MAX_TRUST;
            it.num_followed += 1;
        }
        it.trust[beside].iter_mut().for_each(|trust| *trust = trust.saturating_sub(1));
    }

    /// Learns what was not guessed.
    pub(super) fn learn(&mut self, ord: NodeOrd) {
        let Some(name) = self.known.plain(ord) else {
            return;
        };
        let it = &mut *self.sequence;
        if it.slot(ord) == NONE {
            it.push(ord, name);
        }
        let (slot, tail) = (it.slot(ord), self.tails[0]);
        if slot == NONE {
            return;
        }
        // What stands beside it needs no link.
        if let Some(trust) = it.trust.get_mut(tail as usize).filter(|_| slot != tail + 1) {
            match trust.checked_sub(1) {
                Some(less) => *trust = less,
                None => (it.links[tail as usize], *trust) = (slot, 1),
            }
        }
        self.tails.copy_within(..NUM_TAILS - 1, 1);
        self.tails[0] = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks through a list of these nodes; gives how many names were guessed, in how many runs.
    fn walked(sequence: &mut NamePredictor, known: &Names, nodes: &[usize]) -> (usize, usize) {
        let names: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
        let text = names.join("\",\"") + "\"";
        let mut walk = sequence.walk(known);
        let (mut at, mut done, mut num_guessed, mut num_runs) = (0, 0, 0, 0);
        while let Some(name) = names.get(done) {
            let rest = &text.as_bytes()[at..];
            if let Some(run) = walk.next(rest, usize::MAX) {
                let named = &names[done..done + run.ords.len()];
                assert!(
                    named
                        .iter()
                        .map(|name| known.ord(name))
                        .eq(run.ords.iter().map(|it| Some(*it)))
                );
                (done, num_runs) = (done + named.len(), num_runs + 1);
                num_guessed += named.len();
                let len = named.join("\",\"").len();
                assert_eq!(run.ends(at).last(), Some((at + len) as u32));
                at += len + BETWEEN.len();
            } else {
                walk.learn(known.ord(name).unwrap_or(NodeOrd::UNKNOWN));
                (at, done) = (at + name.len() + BETWEEN.len(), done + 1);
            }
        }
        (num_guessed, num_runs)
    }

    fn known(num_nodes: usize) -> Names {
        let mut known = Names::default();
        for node in 0..num_nodes {
            known.intern(&format!("n{node}"));
        }
        known
    }

    /// Not the order in which they were interned.
    fn order(num_nodes: usize, step: usize) -> Vec<usize> {
        (0..num_nodes).map(|at| at * step % num_nodes).collect()
    }

    #[test]
    fn an_order_that_stays_is_learned_and_not_forgotten() {
        let (known, order, mut it) = (known(100), order(100, 37), NamePredictor::default());
        assert_eq!(walked(&mut it, &known, &order), (0, 0));
        assert_eq!(walked(&mut it, &known, &order[10..]), (89, 1));
        for at in 10..30 {
            // Two workers out of step: one guess is lost where it begins, the tails find back.
            let mut shuffled = order.clone();
            shuffled[at..at + 40].rotate_left(20);
            assert_eq!(walked(&mut it, &known, &shuffled), (98, 4));
            assert_eq!(walked(&mut it, &known, &order), (99, 1));
        }
        // The round is closed by a link, which one other list does not unlearn.
        let rotated = [&order[50..], &order[..50]].concat();
        assert_eq!(walked(&mut it, &known, &rotated), (98, 2));
        assert_eq!(walked(&mut it, &known, &rotated), (99, 2));
        assert_eq!(walked(&mut it, &known, &[order[98], order[99], order[40]]), (1, 1));
        assert_eq!(walked(&mut it, &known, &rotated), (99, 2));
        // A name that goes on after what was guessed is another name.
        assert_eq!(walked(&mut it, &known, &[order[0], order[1] * 10]), (0, 0));
        assert_eq!(walked(&mut it, &known, &[1000, 1001]), (0, 0), "unknown names");
        assert_eq!(walked(&mut it, &known, &[order[0]; 3]), (1, 1), "learned");
        assert_eq!(walked(&mut it, &known, &[order[0]; 3]), (2, 2), "one name thrice");
    }

    #[test]
    fn another_order_is_laid_out_anew() {
        let (known, mut it) = (known(1000), NamePredictor::default());
        for step in [37, 333, 701] {
            let order = order(1000, step);
            let (num_guessed, _) = walked(&mut it, &known, &order);
            assert!(num_guessed < 10, "{num_guessed} of an order that is new");
            // Name by name, where each was put the last time.
            for _ in 0..2 {
                let (num_guessed, _) = walked(&mut it, &known, &order);
                assert!(num_guessed > 990, "{num_guessed}");
            }
            let (num_guessed, num_runs) = walked(&mut it, &known, &order);
            assert!(num_guessed > 990 && num_runs < 5, "{num_guessed} in {num_runs}");
        }
    }

    #[test]
    fn workers_that_take_turns_are_told_apart() {
        let (known, order, mut it) = (known(1000), order(1000, 37), NamePredictor::default());
        // Each takes the half of 100 names, a few at a time, and no two rounds are the same.
        let mut last = (0, 0);
        for round in 0..40 {
            let mut nodes = Vec::new();
            for pair in order.chunks(100) {
                let (mut a, mut b) = pair.split_at(50);
                for turn in 1.. {
                    let num = (turn * 7 + round * 5) % 4;
                    let (now, later) = a.split_at(num.min(a.len()));
                    nodes.extend_from_slice(now);
                    (a, b) = (b, later);
                    if a.is_empty() && b.is_empty() {
                        break;
                    }
                }
            }
            last = walked(&mut it, &known, &nodes);
        }
        assert!(last.0 > 960, "{last:?}");
    }

    #[test]
    fn nodes_come_and_go() {
        let (mut known, order, mut it) = (known(100), order(100, 37), NamePredictor::default());
        walked(&mut it, &known, &order);
        let before = known.clone();
        // A name given up, one whose ordinal another node has now, one that has another ordinal.
        let gone: Vec<NodeOrd> =
            [5, 6, 7].map(|node| known.ord(&format!("n{node}"))).into_iter().flatten().collect();
        gone.iter().for_each(|ord| known.release(*ord));
        assert_eq!((known.intern("n100"), known.intern("n6")), ((gone[2], true), (gone[1], true)));
        known.intern("n5");
        known.release(gone[0]);
        let (num_guessed, num_runs) = walked(&mut it, &known, &order);
        assert!(num_guessed > 90 && num_runs < 10, "{num_guessed} in {num_runs}");
        // A node more drops nothing.
        let all: Vec<usize> = order.iter().copied().chain([100, 101]).collect();
        walked(&mut it, &known, &all);
        known.intern("n101");
        walked(&mut it, &known, &all);
        assert_eq!(walked(&mut it, &known, &all).0, 101 - 2, "all that is known but the first");
        // Back to a table that was before.
        walked(&mut it, &before, &all);
        assert!(it.ords.len() <= before.capacity());
        // A name that is not plain stands at no place.
        known.intern("ü");
        assert_eq!(walked(&mut it, &known, &all), (0, 0));
        assert_eq!(it.ords.len(), 0);
    }
}

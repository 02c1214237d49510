//! A set of nodes.

use crate::model::NodeOrd;

const BITS: usize = u32::BITS as usize;

/// A set of nodes: a list while that is shorter than a bit for each node up to the last.
#[derive(Clone, Debug)]
pub enum NodeSet {
    /// Ascending.
    Few(Vec<NodeOrd>),
    /// Many.
    Many {
        /// A bit for each ordinal.
        words: Vec<u32>,
        /// How many are set.
        len: usize,
    },
}

impl Default for NodeSet {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl PartialEq for NodeSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl NodeSet {
    /// Number of nodes.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(ords) => ords.len(),
            Self::Many { len, .. } => *len,
        }
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = NodeOrd> + '_ {
        let (ords, words): (&[NodeOrd], &[u32]) = match self {
            Self::Few(ords) => (ords, &[]),
            Self::Many { words, .. } => (&[], words),
        };
        let all = (0..(words.len() * BITS) as u32).map(NodeOrd);
        ords.iter().copied().chain(all.filter(|ord| is_in(words, *ord)))
    }

    /// A bit for each ordinal up to the last; those of a list are made in `buffer`.
    pub fn words<'a>(&'a self, buffer: &'a mut Vec<u32>) -> &'a [u32] {
        match self {
            Self::Few(ords) => words_of(ords.iter().copied(), buffer),
            Self::Many { words, .. } => words,
        }
    }

    /// Puts a node in.
    pub(super) fn insert(&mut self, node: NodeOrd) {
        match self {
            Self::Few(ords) => {
                if let Err(at) = ords.binary_search(&node) {
                    ords.insert(at, node);
                }
                if ords.len() > 1 + ords.last().map_or(0, |last| last.index() / BITS) {
                    let (mut words, len) = (Vec::new(), ords.len());
                    words_of(ords.iter().copied(), &mut words);
                    *self = Self::Many { words, len };
                }
            }
            // Its first nodes had small ordinals.
            Self::Many { words, len } if words.len().max(2 * *len) < node.index() / BITS => {
                *self = Self::Few(self.iter().collect());
                self.insert(node);
            }
            Self::Many { words, len } => {
                let at = node.index();
                if words.len() <= at / BITS {
                    words.resize(at / BITS + 1, 0);
                }
                *len += usize::from(!is_in(words, node));
                words[at / BITS] |= 1 << (at % BITS);
            }
        }
    }

    /// Takes a node out.
    pub(super) fn remove(&mut self, node: NodeOrd) {
        match self {
            Self::Few(ords) => ords.retain(|it| *it != node),
            Self::Many { words, len } => {
                let at = node.index();
                if is_in(words, node) {
                    words[at / BITS] &= !(1 << (at % BITS));
                    *len -= 1;
                }
            }
        }
    }
}

/// Whether a node is in a set that is kept as bits.
pub fn is_in(words: &[u32], node: NodeOrd) -> bool {
    let at = node.index();
    words.get(at / BITS).is_some_and(|word| word >> (at % BITS) & 1 == 1)
}

/// A bit for each ordinal up to the last; made in `buffer`, which is used again.
pub fn words_of(nodes: impl Iterator<Item = NodeOrd>, buffer: &mut Vec<u32>) -> &[u32] {
    buffer.clear();
    for at in nodes.map(NodeOrd::index) {
        if buffer.len() <= at / BITS {
            buffer.resize(at / BITS + 1, 0);
        }
        buffer[at / BITS] |= 1 << (at % BITS);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_the_set_that_was_put_in_however_it_is_kept() {
        let (mut set, mut want) = (NodeSet::default(), BTreeSet::new());
        let mut kept_as = [false; 2];
        for step in 0_u32..4000 {
            let ord = NodeOrd(step.wrapping_mul(2_654_435_761) >> 7 & 0x7ff);
            // It grows, and shrinks to nothing.
            match step < 2500 && step % 3 > 0 {
                true => (set.insert(ord), want.insert(ord)),
                false => {
                    let gone = want.iter().nth(step as usize % 7).copied().unwrap_or(ord);
                    (set.remove(gone), want.remove(&gone))
                }
            };
            kept_as[usize::from(matches!(set, NodeSet::Many { .. }))] = true;
            assert_eq!((set.len(), set.is_empty()), (want.len(), want.is_empty()));
            let mut buffer = vec![u32::MAX; 3];
            let words = set.words(&mut buffer);
            assert!((0..2100).all(|at| is_in(words, NodeOrd(at)) == want.contains(&NodeOrd(at))));
            assert!(set.iter().eq(want.iter().copied()), "step {step}");
        }
        assert_eq!(kept_as, [true; 2]);
        assert!(set.is_empty() && set == NodeSet::default());
    }
}

//! Which rows changed lately: what lets others keep results about rows and renew only a few.

use crate::model::NodeOrd;

/// At least so many changes are remembered.
const MAX_REMEMBERED: usize = 2048;

/// The rows that changed, oldest first. Whoever remembers how far it has read learns what changed
/// since; the oldest changes are forgotten.
#[derive(Clone, Debug, Default)]
pub struct ChangeLog {
    /// Number of changes that are forgotten.
    first: u64,
    rows: Vec<NodeOrd>,
}

impl ChangeLog {
    /// Number of all changes there ever were: how far one has read who has read everything.
    pub fn end(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    /// The rows that changed since the end was `seen`, some of them more than once; `None` when that
    /// is forgotten, or was never so.
    pub fn since(&self, seen: u64) -> Option<&[NodeOrd]> {
        let at = seen.checked_sub(self.first)?;
        self.rows.get(usize::try_from(at).ok()?..)
    }

    /// Notes that a row changed.
    pub(super) fn note(&mut self, row: NodeOrd) {
        if self.rows.len() >= 2 * MAX_REMEMBERED {
            self.rows.drain(..MAX_REMEMBERED);
            self.first += MAX_REMEMBERED as u64;
        }
        self.rows.push(row);
    }

    /// Notes that any row may have changed.
    pub(super) fn note_all(&mut self) {
        self.first = self.end() + 1;
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_learns_what_changed_since_or_that_it_cannot() {
        let mut changes = ChangeLog::default();
        assert_eq!(changes.since(0), Some(&[][..]));
        changes.note(NodeOrd(7));
        let seen = changes.end();
        changes.note(NodeOrd(8));
        changes.note(NodeOrd(7));
        assert_eq!(changes.since(seen), Some(&[NodeOrd(8), NodeOrd(7)][..]));
        assert_eq!(changes.since(changes.end()), Some(&[][..]));
        assert_eq!(changes.since(changes.end() + 1), None, "that is yet to come");
        for row in 0..MAX_REMEMBERED as u32 * 3 {
            changes.note(NodeOrd(row));
        }
        assert_eq!(changes.since(seen), None, "that is forgotten");
        let recent = changes.end() - MAX_REMEMBERED as u64;
        assert_eq!(changes.since(recent).map(<[_]>::len), Some(MAX_REMEMBERED));
        let seen = changes.end();
        changes.note_all();
        assert_eq!(changes.since(seen), None);
        assert_eq!(changes.since(changes.end()), Some(&[][..]));
    }
}

//! The node names of a request: where each stands in its bytes, and which node it is.
//!
//! Names are most of the text, and Go writes a list of plain strings in one way only. Such a list is
//! cut at its quotes, and mostly not even searched for them: the names that come next are guessed and
//! compared. Any other list is read as JSON.

use super::fast_paths::FastPaths;
use super::name_predictor::NamePredictor;
use super::wire::{MAX_ITEMS, Name};
use crate::cluster::{Names, is_plain};
use crate::model::NodeOrd;

/// Names of usual length, with their quotes, have no more bytes.
const MOVED: usize = 48;
/// Short pieces are put together here before they are written: longer ones are not copied faster.
const BLOCK: usize = 1024;

/// The names that a request offers.
#[derive(Clone, Debug)]
pub(super) enum NameList<'a> {
    /// A list as Go writes it.
    Cut(CutList<'a>),
    /// Any list.
    Read(Vec<Name<'a>>),
}

/// A list of plain names, cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutList<'a> {
    /// From the first quote to the last: `"a","b"`.
    pub(super) text: &'a [u8],
    /// Where each name ends in the text: the place of its closing quote.
    pub(super) ends: &'a [u32],
    /// The node of each name, in the table that the list was cut with.
    pub(super) ords: &'a [NodeOrd],
    /// How many names were guessed.
    pub(super) num_guessed: usize,
    /// Names side by side are copied in one piece.
    pub(super) in_blocks: bool,
}

impl<'a> CutList<'a> {
    /// The text of the names from `first` to `last`, with their quotes.
    #[inline]
    fn quoted(&self, first: usize, last: usize) -> &'a [u8] {
        let before = first.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.map_or(0, |end| *end as usize + 2);
        let end = self.ends.get(last).map_or(start, |end| *end as usize + 1);
        self.text.get(start..end).unwrap_or_default()
    }

    /// Where the names at ascending positions end when written with commas between them.
    pub(super) fn ends_of(&self, positions: &[u32], ends: &mut Vec<u32>) {
        ends.clear();
        if positions.len() == self.ends.len() {
            return ends.extend_from_slice(self.ends);
        }
        let mut start = 0;
        ends.extend(positions.iter().map(|at| {
            let end = start + self.quoted(*at as usize, *at as usize).len() - 1;
            start = end + 2;
            end as u32
        }));
    }

    /// To copy a length that is known here is a few moves, any other is a call: so more is copied than
    /// is needed, and the next piece written over the rest. In a block on the stack this is half the
    /// instructions of what it is at the end of a vector.
    fn write_each<'t>(&self, texts: impl Iterator<Item = &'t Short>, out: &mut Vec<u8>) {
        let (mut block, mut at, mut start) = ([0; BLOCK], 0, 0);
        for (end, text) in self.ends.iter().zip(texts) {
            let end = *end as usize + 1;
            let len = end.saturating_sub(start);
            if at > BLOCK - MOVED - Short::MOVED {
                write(&block, at, out);
                at = 0;
            }
            match self.text.get(start..start + MOVED) {
                Some(moved) if len <= MOVED => {
                    block[at..at + MOVED].copy_from_slice(moved);
                    at += len;
                }
                _ => {
                    write(&block, at, out);
                    write(self.text.get(start..end).unwrap_or_default(), len, out);
                    at = 0;
                }
            }
            block[at..at + Short::MOVED].copy_from_slice(&text.padded);
            at += text.len;
            start = end + 1;
        }
        write(&block, at, out);
    }

    fn name(&self, at: usize) -> &'a str {
        let quoted = self.quoted(at, at);
        let name = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        // What was cut is plain.
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl NameList<'_> {
    /// Number of names.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Cut(list) => list.ends.len(),
            Self::Read(names) => names.len(),
        }
    }

    /// About how many bytes all names take in a reply.
    pub(super) fn num_bytes(&self) -> usize {
        match self {
            Self::Cut(list) => list.text.len() + 1,
            Self::Read(names) => names.iter().map(|name| name.as_str().len() + 3).sum(),
        }
    }

    /// The node of each name in the table `known`: as found when the list was cut with the same table,
    /// else put into `ords`.
    pub(super) fn ords<'b>(
        &'b self,
        cut_with: &Names,
        known: &Names,
        ords: &'b mut Vec<NodeOrd>,
    ) -> &'b [NodeOrd] {
        let ord = |name: &str| known.ord(name).unwrap_or(NodeOrd::UNKNOWN);
        ords.clear();
        match self {
            Self::Cut(list) if cut_with.is_same(known) => return list.ords,
            Self::Cut(list) => ords.extend((0..self.len()).map(|at| ord(list.name(at)))),
            Self::Read(names) => ords.extend(names.iter().map(|name| ord(name.as_str()))),
        }
        ords
    }

    /// Writes each name that there is a text for as a JSON string, and the text after it.
    pub(super) fn write_each<'t>(&self, texts: impl Iterator<Item = &'t Short>, out: &mut Vec<u8>) {
        match self {
            Self::Cut(list) => list.write_each(texts, out),
            Self::Read(names) => {
                for (name, text) in names.iter().zip(texts) {
                    name.write_json(out);
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    /// Writes one name as a JSON string; nothing for one that there is not.
    pub(super) fn write(&self, at: usize, out: &mut Vec<u8>) {
        match self {
            Self::Cut(list) => out.extend_from_slice(list.quoted(at, at)),
            Self::Read(names) => {
                if let Some(name) = names.get(at) {
                    name.write_json(out);
                }
            }
        }
    }

    /// Writes the names at ascending positions, with commas between them.
    pub(super) fn write_all(&self, positions: &[u32], out: &mut Vec<u8>) {
        let in_blocks = matches!(self, Self::Cut(list) if list.in_blocks);
        let mut first = true;
        for block in positions.chunk_by(|a, b| in_blocks && a + 1 == *b) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            match (self, block) {
                (Self::Cut(list), [first, .., last]) => {
                    out.extend_from_slice(list.quoted(*first as usize, *last as usize));
                }
                _ => block.iter().for_each(|at| self.write(*at as usize, out)),
            }
        }
    }
}

/// Not inlined: the loop that calls it would keep less of its own in registers.
#[inline(never)]
fn write(block: &[u8], len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(block.get(..len).unwrap_or_default());
}

/// A text that is short and padded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    padded: [u8; Self::MOVED],
    len: usize,
}

impl Short {
    const MOVED: usize = 24;

    /// The first `len` bytes.
    pub(super) const fn new(padded: [u8; Self::MOVED], len: usize) -> Self {
        assert!(len <= Self::MOVED);
        Self { padded, len }
    }

    fn as_bytes(&self) -> &[u8] {
        self.padded.get(..self.len).unwrap_or_default()
    }
}

/// Cuts lists into buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    ends: Vec<u32>,
    ords: Vec<NodeOrd>,
    sequence: NamePredictor,
}

impl Cutter {
    /// Cuts the text between the brackets of a list; `None` for one that must be read as JSON.
    pub(super) fn cut<'a>(
        &'a mut self,
        text: &'a [u8],
        known: &Names,
        fast: FastPaths,
    ) -> Option<CutList<'a>> {
        self.ends.clear();
        self.ords.clear();
        let num_guessed = self.try_cut(text, known, fast.guess)?;
        let (ends, ords) = (&self.ends, &self.ords);
        Some(CutList { text, ends, ords, num_guessed, in_blocks: fast.blocks })
    }

    /// Gives how many names were guessed.
    fn try_cut(&mut self, text: &[u8], known: &Names, guesses: bool) -> Option<usize> {
        let mut num_guessed = 0;
        let mut walk = guesses.then(|| self.sequence.walk(known));
        let mut at = usize::from(text.first() == Some(&b'"'));
        // Places are 32 bits wide.
        u32::try_from(text.len()).ok().filter(|_| at == 1)?;
        while self.ends.len() < MAX_ITEMS {
            let (rest, most) = (text.get(at..)?, MAX_ITEMS - self.ends.len());
            if let Some(run) = walk.as_mut().and_then(|walk| walk.next(rest, most)) {
                num_guessed += run.ords.len();
                self.ends.extend(run.ends(at));
                self.ords.extend_from_slice(run.ords);
            } else {
                let name = rest.get(..memchr::memchr(b'"', rest)?)?;
                // A name that stands in the table is plain if all in the table are.
                let ord = known.ord(std::str::from_utf8(name).ok()?).unwrap_or(NodeOrd::UNKNOWN);
                if known.plain(ord).is_none() && !is_plain(name) {
                    return None;
                }
                if let Some(walk) = &mut walk {
                    walk.learn(ord);
                }
                self.ends.push((at + name.len()) as u32);
                self.ords.push(ord);
            }
            at = *self.ends.last()? as usize + 1;
            match text.get(at..)? {
                [] => return Some(num_guessed),
                [b',', b'"', ..] => at += 2,
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Rng;

    #[test]
    fn a_list_is_cut_looked_up_and_written_again() {
        let (mut known, mut buffer) = (Names::default(), Vec::new());
        for name in ["a", "bb", "c"] {
            known.intern(name);
        }
        let (text, mut cutter) = (r#""a","bb","","x","c""#, Cutter::default());
        for num_guessed in [0, 2] {
            let list = cutter.cut(text.as_bytes(), &known, FastPaths::ALL).expect("it is plain");
            assert_eq!(list.num_guessed, num_guessed);
            let want = [NodeOrd(0), NodeOrd(1), NodeOrd::UNKNOWN, NodeOrd::UNKNOWN, NodeOrd(2)];
            assert_eq!(list.ords, want);
            let names = NameList::Cut(list);
            assert_eq!(names.ords(&Names::default(), &known, &mut buffer), want);
            let mut out = Vec::new();
            names.write_all(&[0, 1, 3, 4], &mut out);
            assert_eq!(String::from_utf8_lossy(&out), r#""a","bb","x","c""#);
            let mut ends = Vec::new();
            list.ends_of(&[0, 1, 3, 4], &mut ends);
            let again = CutList { text: &out, ends: &ends, ..list };
            assert_eq!([0, 1, 2, 3].map(|at| again.name(at)), ["a", "bb", "x", "c"]);
        }
    }

    #[test]
    fn names_of_any_length_are_written_whole() {
        // The first ones fill blocks, and later none does before a name that is too long for one.
        let lens = [3, 20, 45].into_iter().cycle().take(100);
        let lens = lens.chain([0, 1, 45, 46, 47, 48, 99, 3].into_iter().cycle().take(103));
        let names: Vec<String> = lens.map(|len| "x".repeat(len)).collect();
        let text = format!("\"{}\"", names.join("\",\""));
        let mut cutter = Cutter::default();
        let list = cutter.cut(text.as_bytes(), &Names::default(), FastPaths::NONE).expect("plain");
        let mut out = Vec::new();
        let texts: Vec<Short> =
            (0..25).map(|len| Short::new([b'a' + len; 24], len.into())).collect();
        NameList::Cut(list).write_each(texts.iter().cycle(), &mut out);
        let want = names
            .iter()
            .zip(texts.iter().cycle())
            .map(|(name, text)| format!("\"{name}\"{}", String::from_utf8_lossy(text.as_bytes())));
        assert_eq!(String::from_utf8_lossy(&out), want.collect::<String>());
    }

    #[test]
    fn odd_lists_are_not_cut() {
        let known = Names::default();
        let mut cutter = Cutter::default();
        let mut is_cut = |text: &str| cutter.cut(text.as_bytes(), &known, FastPaths::ALL).is_some();
        let odd = [
            "",
            "\"",
            "a",
            "\"a",
            "\"a\",",
            "\"a\",\"",
            "\"a\"\"b\"",
            "\"a\", \"b\"",
            "\"a\",null",
            "\"a\\\"b\"",
            "\"ü\"",
            "\"a\nb\"",
            "null",
            "[\"a\"]",
            "\"a\"]",
        ];
        for text in odd {
            assert!(!is_cut(text), "{text}");
        }
        for text in ["\"\"", "\"a\"", "\"],:{}\",\"b\""] {
            assert!(is_cut(text), "{text}");
        }
    }

    #[test]
    fn the_longest_list_may_be_guessed_and_no_longer_one() {
        let (mut known, mut cutter) = (Names::default(), Cutter::default());
        let names: Vec<String> = (0..7).map(|at| format!("\"n{at}\"")).collect();
        for name in &names {
            known.intern(name.trim_matches('"'));
        }
        let mut cut = |num_names: usize| {
            let names: Vec<&str> = (0..num_names).map(|at| names[at % 7].as_str()).collect();
            let text = names.join(",");
            let list = cutter.cut(text.as_bytes(), &known, FastPaths::ALL)?;
            assert_eq!(list.ends.len(), num_names);
            Some(list.num_guessed)
        };
        cut(20);
        assert_eq!(cut(MAX_ITEMS), Some(MAX_ITEMS - 1));
        assert_eq!(cut(MAX_ITEMS + 1), None);
    }

    /// Names of which many begin with others, and one is empty.
    fn some_name(rng: &mut Rng) -> String {
        let (ones, zeros) = (rng.below(5) as usize, rng.below(5) as usize);
        format!("{}{}", &"n111"[..ones], &"0000"[..zeros])
    }

    #[test]
    fn guessing_changes_no_list() {
        let mut rng = Rng::new(1, 0);
        let mut order: Vec<String> = (0..40).map(|_| some_name(&mut rng)).collect();
        let (mut known, mut before) = (Names::default(), Names::default());
        let (mut guessing, mut num_names, mut num_guessed) = (Cutter::default(), 0, 0);
        for step in 1..=5000 {
            let at = rng.below(order.len() as u64) as usize;
            // Some changes are made to a table that nobody else holds.
            match rng.below(12) {
                0 => known.release(NodeOrd(rng.below(known.capacity() as u64 + 1) as u32)),
                1..4 => _ = known.intern(&order[at]),
                4 => before = known.clone(),
                5 => order[at] = some_name(&mut rng),
                _ => {}
            }
            if step % 500 == 0 {
                rng.shuffle(&mut order);
            }
            let mut names = order.clone();
            names.rotate_left(at);
            names.truncate(1 + rng.below(60) as usize);
            let worker = rng.below(names.len() as u64) as usize;
            let out_of_step = &mut names[worker..];
            out_of_step.rotate_left(rng.below(out_of_step.len() as u64) as usize);
            let mut text = format!("\"{}\"", names.join("\",\""));
            match rng.below(50) {
                0 => _ = text.pop(),
                1 => text.push(','),
                2 => text = text.replacen(r#"",""#, r#"", ""#, 1),
                3 => text = text.replacen(r#"",""#, r#"ü",""#, 1),
                _ => {}
            }
            let table = if rng.below(20) == 0 { &before } else { &known };
            let parts = |list: CutList<'_>| (list.ends.to_vec(), list.ords.to_vec());
            let mut slow = Cutter::default();
            let slow = slow.cut(text.as_bytes(), table, FastPaths::NONE);
            let fast = guessing.cut(text.as_bytes(), table, FastPaths::ALL);
            num_names += fast.map_or(0, |list| list.ends.len());
            num_guessed += fast.map_or(0, |list| list.num_guessed);
            assert_eq!(fast.map(parts), slow.map(parts), "step {step}: {text}");
        }
        assert!(num_guessed * 3 > num_names, "{num_guessed} of {num_names}");
    }
}

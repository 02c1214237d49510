//! Runs a target: the corpus first, then mutants of whatever has shown a new outcome so far.
//!
//! No coverage is measured, since cargo-fuzz needs a nightly compiler. What a target says of an input
//! (a verdict, the text of an error) stands in for it: an input with an outcome not seen before is
//! kept and mutated further.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use sigma::sim::Rng;

use crate::mutate::mutate;

/// One edge.
pub(crate) struct Target<'a> {
    /// Also the folder of its corpus.
    pub(crate) name: &'static str,
    /// What a friend would send.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Mutants in a short run.
    pub(crate) mutants: u64,
    /// Panics when an invariant does not hold, and else says what became of the input.
    pub(crate) check: &'a dyn Fn(&[u8]) -> String,
}

/// Longest input; what is longer is cut.
const MAX_BYTES: usize = 16 << 10;
/// Inputs kept for their outcomes.
const MAX_KEPT: usize = 4096;
/// Attempts to make a found case smaller.
const SHRINKS: u32 = 3000;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

impl Target<'_> {
    /// A short run with a fixed seed, or for `FUZZ_SECONDS` with a seed that it prints (`FUZZ_SEED`
    /// repeats it).
    pub(crate) fn run(&self) {
        be_silent_when_asked();
        let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
        let seconds = number("FUZZ_SECONDS");
        let fresh = || seconds.map_or(1, |_| fastrand::u64(..));
        let seed = number("FUZZ_SEED").unwrap_or_else(fresh);
        let (mut pool, started) = (self.corpus(), Instant::now());
        let seeds = pool.len();
        let mut known: HashSet<String> = pool.iter().map(|it| self.outcome(it)).collect();
        let mut rng = Rng::new(seed, 0);
        let (mut count, mut slowest) = (0, Duration::ZERO);
        let over = |count: u64| match seconds {
            Some(seconds) => started.elapsed() >= Duration::from_secs(seconds),
            None => count >= self.mutants,
        };
        while !over(count) {
            count += 1;
            let mut input = mutate(&pool, seeds, &mut rng);
            input.truncate(MAX_BYTES);
            let begun = Instant::now();
            let outcome = self.outcome(&input);
            slowest = slowest.max(begun.elapsed());
            if pool.len() < MAX_KEPT && known.insert(outcome) {
                pool.push(input);
            }
        }
        println!(
            "fuzz {}: {count} mutants in {:.0?}, {} outcomes, slowest {slowest:.1?}, seed {seed}",
            self.name,
            started.elapsed(),
            known.len(),
        );
    }

    /// Seeds and found cases. Each of the latter failed once.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let mut found: Vec<PathBuf> = fs::read_dir(folder(self.name))
            .map(|entries| entries.filter_map(|it| Some(it.ok()?.path())).collect())
            .unwrap_or_default();
        found.sort();
        let found = found.iter().map(|path| fs::read(path).expect("a readable case"));
        self.seeds.iter().cloned().chain(found).collect()
    }

    /// Numbers do not make an outcome.
    fn outcome(&self, input: &[u8]) -> String {
        match catch_unwind(AssertUnwindSafe(|| (self.check)(input))) {
            Ok(text) => text.chars().filter(|c| !c.is_ascii_digit()).take(200).collect(),
            Err(_) => self.found(input),
        }
    }

    fn found(&self, input: &[u8]) -> ! {
        let small = self.shrunk(input);
        let path = folder(self.name).join(format!("{:016x}", hash(&small)));
        fs::create_dir_all(folder(self.name)).expect("a folder");
        fs::write(&path, &small).expect("the case is written");
        eprintln!("fuzz {}: kept as {}", self.name, path.display());
        // Once more, aloud.
        (self.check)(&small);
        unreachable!("it failed a moment ago: the target has a memory");
    }

    /// Cuts pieces off for as long as it still fails.
    fn shrunk(&self, input: &[u8]) -> Vec<u8> {
        SILENT.set(true);
        let mut small = input.to_vec();
        let (mut piece, mut tries) = (small.len().div_ceil(2), 0);
        while piece > 0 && tries < SHRINKS {
            let mut at = 0;
            while at < small.len() && tries < SHRINKS {
                tries += 1;
                let mut less = small.clone();
                less.drain(at..(at + piece).min(small.len()));
                if catch_unwind(AssertUnwindSafe(|| (self.check)(&less))).is_err() {
                    small = less;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
        SILENT.set(false);
        small
    }
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// FNV-1a: a name for a case.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A thousand attempts to shrink must not print a thousand panics.
fn be_silent_when_asked() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !SILENT.get() {
                loud(info);
            }
        }));
    });
}

/// Files as seeds: those of a folder whose names begin and end like this.
pub(crate) fn files(folder: &str, start: &str, end: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("a folder").filter_map(Result::ok);
    let entries = entries.filter(|it| {
        let name = it.file_name();
        let name = name.to_string_lossy();
        name.starts_with(start) && name.ends_with(end)
    });
    let mut paths: Vec<PathBuf> = entries.map(|it| it.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

#[test]
fn a_target_that_panics_is_noticed_and_its_case_made_small() {
    be_silent_when_asked();
    let check = |input: &[u8]| {
        assert!(!input.windows(2).any(|it| it == b"!!"), "two in a row");
        String::new()
    };
    let target = Target { name: "none", seeds: Vec::new(), mutants: 0, check: &check };
    assert_eq!(target.shrunk(b"some text and !! and more of it"), b"!!");
    assert_eq!(target.outcome(b"fine"), "");
}

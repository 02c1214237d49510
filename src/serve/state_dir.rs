//! A small store for what must outlive the process: one file for each name, written whole or not at all.
//!
//! ```text
//!   policy.state   sigma-state 1 policy 1 1764560000 2048 5301f1…\n   format, name, version, time, length, SHA-256
//!                  the payload
//! ```
//!
//! Nothing here is fatal. A file that cannot be used is set aside under another name, where a person may
//! look at it; the next write makes a good one. Several processes may share a directory: each file is
//! replaced by a rename, so a reader sees one whole file or the other, and the last writer wins.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Begins every file.
const MAGIC: &str = "sigma-state";
/// The version of the line that begins a file.
const FORMAT: u32 = 1;
/// That line is shorter than this.
const MAX_HEADER: usize = 256;
/// A file in the making is older than this only if its writer has died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// One thing to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Names the file: letters and dashes.
    pub(super) name: &'static str,
    /// The version of the payload. Another one is not read.
    pub(super) version: u32,
    /// The longest payload.
    pub(super) max_bytes: usize,
}

/// What was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The bytes, as they were written.
    pub(super) payload: Vec<u8>,
    /// The time that the writer gave, in whole seconds.
    pub(super) time: SystemTime,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// The system refused.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    /// It was read, and makes no sense here.
    #[error("{0} cannot be used: {1}; {2}")]
    Content(PathBuf, Fault, String),
}

/// What is wrong with a file's content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is not a file")]
    NoFile,
    #[error("it does not begin as a state file does")]
    Foreign,
    #[error("its version {0} is unknown to this sigma")]
    Version(String),
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    #[error("it has {0} bytes instead of {1}")]
    Cut(usize, usize),
    #[error("its checksum does not match")]
    Checksum,
}

/// A directory of such files.
#[derive(Clone, Debug)]
pub(super) struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// The store in this directory, which need not exist yet.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The file of a slot.
    pub(super) fn path(&self, slot: &Slot) -> PathBuf {
        self.dir.join(format!("{}.state", slot.name))
    }

    /// What was kept last; `None`: nothing yet. A file whose content is of no use is set aside.
    pub(super) fn read(&self, slot: &Slot) -> Result<Option<Stored>, Unusable> {
        let path = self.path(slot);
        let content = match read_bounded(&path, slot) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Unusable::Read(path, error)),
        };
        match content.and_then(|bytes| decode(slot, &bytes)) {
            Ok(stored) => Ok(Some(stored)),
            Err(fault) => {
                let done = set_aside(&path);
                Err(Unusable::Content(path, fault, done))
            }
        }
    }

    /// Keeps a payload in place of the one before. When this returns, it survives a loss of power.
    pub(super) fn write(&self, slot: &Slot, time: SystemTime, payload: &[u8]) -> io::Result<()> {
        if payload.len() > slot.max_bytes {
            return Err(io::Error::other(Fault::TooLarge(slot.max_bytes)));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        self.remove_abandoned(slot);
        // Process IDs are no names: those of two containers are both 1.
        let temporary = self.dir.join(format!(".{}.{:016x}.tmp", slot.name, fastrand::u64(..)));
        let done = write_new(&temporary, &encode(slot, time, payload))
            .and_then(|()| fs::rename(&temporary, self.path(slot)));
        if done.is_err() {
            // The next write looks for it again.
            let _ = fs::remove_file(&temporary);
        }
        done?;
        match File::open(&self.dir)?.sync_all() {
            // Some network file systems know no such thing.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }

    /// Removes what writers left that died half-way.
    fn remove_abandoned(&self, slot: &Slot) {
        let prefix = format!(".{}.", slot.name);
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let age = entry.metadata().and_then(|it| it.modified()).ok();
            let is_old = age.and_then(|it| it.elapsed().ok()).is_some_and(|it| it > ABANDONED);
            if is_old && name.starts_with(&prefix) && name.ends_with(".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The file's bytes, if it is a file and not too large. A pipe or a device is not even opened: that may
/// wait for ever.
fn read_bounded(path: &Path, slot: &Slot) -> io::Result<Result<Vec<u8>, Fault>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(Err(Fault::NoFile));
    }
    let most = MAX_HEADER + slot.max_bytes;
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > most { Err(Fault::TooLarge(most)) } else { Ok(bytes) })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Moves a file out of the way, over the one that was moved there before. Says what became of it.
fn set_aside(path: &Path) -> String {
    let aside = path.with_extension("state.bad");
    match fs::rename(path, &aside) {
        Ok(()) => format!("it is now {}", aside.display()),
        Err(error) => format!("it cannot be set aside: {error}"),
    }
}

fn encode(slot: &Slot, time: SystemTime, payload: &[u8]) -> Vec<u8> {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Slot { name, version, .. } = slot;
    let head = format!("{MAGIC} {FORMAT} {name} {version} {seconds} {}", payload.len());
    let sum = checksum(&head, payload);
    [format!("{head} {sum}\n").as_bytes(), payload].concat()
}

fn decode(slot: &Slot, bytes: &[u8]) -> Result<Stored, Fault> {
    let end = bytes.iter().take(MAX_HEADER).position(|it| *it == b'\n').ok_or(Fault::Foreign)?;
    let (line, payload) = bytes.split_at(end);
    let payload = payload.get(1..).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Fault::Foreign)?;
    let mut words = line.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Fault::Foreign);
    }
    let mut word = || words.next().ok_or(Fault::Foreign);
    let format = word()?;
    if format != FORMAT.to_string() {
        return Err(Fault::Version(format.chars().take(20).collect()));
    }
    let (name, version, seconds, length, sum) = (word()?, word()?, word()?, word()?, word()?);
    if name != slot.name {
        return Err(Fault::Foreign);
    }
    if version != slot.version.to_string() {
        return Err(Fault::Version(version.chars().take(20).collect()));
    }
    let length: usize = length.parse().map_err(|_| Fault::Foreign)?;
    if length != payload.len() {
        return Err(Fault::Cut(payload.len(), length));
    }
    let head = line.rsplit_once(' ').map_or("", |(head, _)| head);
    if sum != checksum(head, payload) {
        return Err(Fault::Checksum);
    }
    let seconds = Duration::from_secs(seconds.parse().map_err(|_| Fault::Foreign)?);
    let time = UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH);
    Ok(Stored { payload: payload.to_vec(), time })
}

/// Over everything but itself.
fn checksum(head: &str, payload: &[u8]) -> String {
    let sum = Sha256::new().chain_update(head).chain_update(payload).finalize();
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;

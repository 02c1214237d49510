//! The files that a verb is given: a name, a folder, or `-` for stdin.

use std::fs;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::policy::MAX_BYTES;

/// The folders in a folder that are looked into.
const MAX_DEPTH: usize = 16;

/// How a file is called in what is printed.
pub(super) fn name_of(path: &Path) -> String {
    if is_stdin(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file's bytes; of one that is too large for a policy only so much that it shows.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    let read = match is_stdin(path) {
        true => stdin().lock().take(most).read_to_end(&mut bytes),
        false => fs::File::open(path).and_then(|it| it.take(most).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("cannot read {}", name_of(path)))?;
    Ok(bytes)
}

/// The path itself, or the YAML and JSON files of a folder and those in it, by name. What begins with a
/// dot is left out: a mounted ConfigMap keeps its older versions so.
pub(super) fn under(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    collect(path, MAX_DEPTH, &mut found)?;
    if found.is_empty() {
        bail!("cannot read {}: no YAML or JSON file in this folder", path.display());
    }
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot = || format!("cannot read the folder {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|it| it.map(|it| it.path())).collect();
    let mut paths = paths.with_context(cannot)?;
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|it| it.to_string_lossy().starts_with('.'));
        let ends = path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json");
        // A link to a folder may lead back here.
        let folder = path.is_dir() && !path.is_symlink();
        match (hidden, folder) {
            (true, _) => {}
            (false, true) if depth > 0 => collect(&path, depth - 1, found)?,
            (false, true) => bail!("cannot read {}: too many folders", path.display()),
            (false, false) if ends && !path.is_dir() => found.push(path),
            (false, false) => {}
        }
    }
    Ok(())
}

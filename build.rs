//! Tells the crate which revision it is built from, as `SIGMA_REVISION`: from the environment variable of that
//! name, else from the git repository of this folder, else `unknown`. Git's files are read here, so that a
//! build needs no git; a tarball has no repository, and one around it is not asked.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SIGMA_REVISION");
    let given = std::env::var("SIGMA_REVISION").unwrap_or_default();
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let repository = Repository::of(Path::new(&root));
    // A file that is watched and does not exist would build anew each time.
    let watched = repository.iter().flat_map(Repository::watched).filter(|it| it.exists());
    for path in watched.filter(|_| given.is_empty()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let revision = revision(&given, repository.as_ref());
    println!("cargo:rustc-env=SIGMA_REVISION={revision}");
}

pub(crate) fn revision(given: &str, repository: Option<&Repository>) -> String {
    let is_plain = |it: &char| it.is_ascii_alphanumeric() || "-._+/".contains(*it);
    let given: String = given.chars().filter(is_plain).collect();
    if !given.is_empty() {
        return given;
    }
    repository.and_then(Repository::revision).unwrap_or_else(|| "unknown".to_owned())
}

/// The files of a git repository.
pub(crate) struct Repository {
    /// Of this work tree.
    dir: PathBuf,
    /// Of all work trees.
    common: PathBuf,
}

impl Repository {
    /// The repository whose work tree begins at `root`.
    pub(crate) fn of(root: &Path) -> Option<Self> {
        let dot_git = root.join(".git");
        // In a linked work tree, `.git` is a file that names the folder.
        let dir = match fs::read_to_string(&dot_git) {
            Ok(text) => root.join(text.trim().strip_prefix("gitdir:")?.trim()),
            Err(_) => dot_git,
        };
        let common = match fs::read_to_string(dir.join("commondir")) {
            Ok(text) => dir.join(text.trim()),
            Err(_) => dir.clone(),
        };
        dir.join("HEAD").is_file().then_some(Self { dir, common })
    }

    /// The revision that is checked out.
    fn revision(&self) -> Option<String> {
        let head = fs::read_to_string(self.dir.join("HEAD")).ok()?;
        let Some(name) = head.trim().strip_prefix("ref: ") else {
            return full(&head);
        };
        let loose = [&self.dir, &self.common].map(|dir| fs::read_to_string(dir.join(name)).ok());
        if let Some(found) = loose.into_iter().flatten().next() {
            return full(&found);
        }
        let packed = fs::read_to_string(self.common.join("packed-refs")).ok()?;
        let mut refs = packed.lines().filter_map(|line| line.split_once(' '));
        refs.find(|(_, of)| *of == name).and_then(|(revision, _)| full(revision))
    }

    /// What changes when another revision is checked out: `HEAD` by a switch, its log by a commit.
    fn watched(&self) -> Vec<PathBuf> {
        let mut watched = vec![self.dir.join("HEAD"), self.dir.join("logs/HEAD")];
        let head = fs::read_to_string(self.dir.join("HEAD")).unwrap_or_default();
        if let Some(name) = head.trim().strip_prefix("ref: ") {
            watched.extend([self.dir.join(name), self.common.join(name)]);
        }
        watched.push(self.common.join("packed-refs"));
        watched
    }
}

/// A whole object name.
fn full(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name = text.len() >= 40 && text.chars().all(|it| it.is_ascii_hexdigit());
    is_name.then(|| text.to_owned())
}

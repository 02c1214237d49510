//! `sigma version`: which build this is.

use clap::Args;

use super::table::Output;
use super::{Failure, print};

/// Prints the version, and the revision that it was built from.
#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    /// One line for a person, or one JSON object.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) fn run(args: &VersionArgs) -> Result<(), Failure> {
    let (version, revision) = (crate::VERSION, crate::REVISION);
    match args.output {
        Output::Table => print(&format!("sigma {version}\n")),
        Output::Json => {
            let json = serde_json::json!({"version": version, "revision": revision});
            print(&format!("{json}\n"))
        }
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "its main is not called here")]
#[path = "../../build.rs"]
mod build;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::build::{Repository, revision};

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn of(root: &Path, given: &str) -> String {
        revision(given, Repository::of(root).as_ref())
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        let made = path.parent().map(fs::create_dir_all).transpose();
        assert!(made.is_ok() && fs::write(&path, text).is_ok(), "{}", path.display());
    }

    #[test]
    fn the_revision_is_that_of_the_variable_else_of_the_work_tree() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| unreachable!("{error}"));
        let root = folder.path();
        assert_eq!(of(root, ""), "unknown", "a tarball");
        write(root, ".git/HEAD", &format!("{ONE}\n"));
        assert_eq!(of(root, ""), ONE, "a detached head");
        assert_eq!(of(root, "v1.2+dirty\n"), "v1.2+dirty");
        assert_eq!(of(&root.join("vendor/sigma"), ""), "unknown", "a repository around it");
        write(root, ".git/HEAD", "ref: refs/heads/main\n");
        assert_eq!(of(root, ""), "unknown", "no commit yet");
        write(root, ".git/packed-refs", &format!("# pack-refs\n{ONE} refs/heads/main\n"));
        assert_eq!(of(root, ""), ONE, "a packed branch");
        write(root, ".git/refs/heads/main", TWO);
        assert_eq!(of(root, ""), TWO, "a loose branch");
        // A linked work tree has a head of its own, and shares the branches.
        write(root, ".git/worktrees/w/HEAD", "ref: refs/heads/main\n");
        write(root, ".git/worktrees/w/commondir", "../..\n");
        write(root, "linked/.git", "gitdir: ../.git/worktrees/w\n");
        assert_eq!(of(&root.join("linked"), ""), TWO);
        write(root, ".git/refs/heads/main", "not a revision");
        assert_eq!(of(root, ""), "unknown");
    }
}

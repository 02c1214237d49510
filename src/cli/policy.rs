//! `sigma policy lint` and `sigma policy schema`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, files, print};
use crate::policy::{self, Diagnostic, Severity};

/// Checks policy files, or prints their JSON Schema.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Lint(LintArgs),
    /// Prints the JSON Schema of the policy language, for editors.
    Schema,
}

/// Reports every fault of policy files at once.
///
/// A file is a policy, or manifests of ConfigMaps with policies in their `data`. Of a folder, all files
/// that end in .yaml, .yml or .json are checked; those of another API are skipped.
///
/// Exit code: 0 no errors, 1 errors (with --strict: or warnings), 2 a file cannot be read.
#[derive(Debug, Args)]
struct LintArgs {
    /// Policy files, ConfigMap manifests, or folders of them; `-` is stdin.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    strict: bool,
    /// How findings are printed.
    #[arg(short, long, value_enum, default_value_t = LintOutput::Text)]
    output: LintOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LintOutput {
    Text,
    Json,
}

pub(super) fn run(args: &PolicyArgs) -> Result<(), Failure> {
    match &args.command {
        PolicyCommand::Lint(args) => lint(args),
        PolicyCommand::Schema => print(&policy::schema()),
    }
}

fn lint(args: &LintArgs) -> Result<(), Failure> {
    let mut report = LintReport { strict: args.strict, ..LintReport::default() };
    for path in &args.files {
        let found = files::under(path);
        let named = found.as_ref().is_ok_and(|found| found.len() == 1 && found[0] == *path);
        match found {
            Ok(found) => found.iter().for_each(|it| report.file(it, named)),
            // The other files are still worth a word.
            Err(error) => report.unreadable(path, &error),
        }
    }
    match args.output {
        LintOutput::Text => print(&report.text)?,
        LintOutput::Json => {
            let json = serde_json::to_string_pretty(&report.all);
            print(&format!("{}\n", json.map_err(anyhow::Error::from)?))?;
        }
    }
    if !report.unreadable.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("{}", report.unreadable.join("; "))));
    }
    match report.all.iter().any(|it| refuses(it, args.strict)) {
        true => Err(Failure::silent(1)),
        false => Ok(()),
    }
}

fn refuses(it: &Diagnostic, strict: bool) -> bool {
    it.severity == Severity::Error || strict && it.severity == Severity::Warning
}

/// What has been found in all files.
#[derive(Default)]
struct LintReport {
    strict: bool,
    all: Vec<Diagnostic>,
    text: String,
    unreadable: Vec<String>,
}

impl LintReport {
    /// Checks a file; one that was not `named` is skipped if it is of another API.
    fn file(&mut self, path: &Path, named: bool) {
        let bytes = match files::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.unreadable(path, &error),
        };
        let name = files::name_of(path);
        let found = policy::diagnose_manifest(&name, &bytes);
        let found = found.unwrap_or_else(|| policy::diagnose(&name, &bytes));
        if !named && policy::is_foreign(&bytes) {
            return self.text += &format!("{name}: skipped, no policy\n");
        }
        self.text += &policy::render(&found, &bytes);
        if !found.iter().any(|it| refuses(it, self.strict)) {
            self.text += &format!("{name}: ok\n");
        }
        self.all.extend(found);
    }

    fn unreadable(&mut self, path: &Path, error: &anyhow::Error) {
        let why = format!("{error:#}");
        self.all.push(Diagnostic::unreadable(&files::name_of(path), &why));
        self.unreadable.push(why);
    }
}

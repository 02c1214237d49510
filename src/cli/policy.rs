//! `sigma policy lint` and `sigma policy schema`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, print};
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
/// Exit code: 0 clean or info only, 1 findings, 2 a file cannot be read.
#[derive(Debug, Args)]
struct LintArgs {
    /// Policy files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How findings are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
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
    let mut all: Vec<Diagnostic> = Vec::new();
    let mut text = String::new();
    let mut unreadable = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        match super::plans::read(path) {
            Ok(bytes) => {
                let found = policy::compile(&name, &bytes);
                let found = found.map_or_else(|faults| faults, |it| it.warnings);
                text += &policy::render(&found, &bytes);
                all.extend(found);
            }
            // The other files are still worth a word.
            Err(error) => unreadable.push(format!("{error:#}")),
        }
    }
    match args.output {
        Output::Text => print(&text)?,
        Output::Json => {
            let json = serde_json::to_string_pretty(&all);
            print(&format!("{}\n", json.map_err(anyhow::Error::from)?))?;
        }
    }
    if !unreadable.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("{}", unreadable.join("; "))));
    }
    match all.iter().any(|it| it.severity != Severity::Info) {
        true => Err(Failure::silent(1)),
        false => Ok(()),
    }
}

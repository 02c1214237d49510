//! The command line: one file a verb. The only room, beside `serve`, that speaks to a person.
//!
//! A verb gives its exit code and one line of error; nothing below this room prints or exits.
//! Exit codes: 0 done, 1 failed, 2 not understood (flags, or a file that cannot be read).

mod files;
pub mod plans;
pub mod stats;
pub mod table;
pub mod loopback;
mod demo;
mod serve;
mod policy;
mod version;
mod why;

pub use why::get as get_admin;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A Kubernetes scheduler extender that runs bare metal, ECS and ECI as one pool of capacity.
#[derive(Debug, Parser)]
#[command(name = "sigma", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Serve(Box<serve::ServeArgs>),
    Why(why::WhyArgs),
    Policy(policy::PolicyArgs),
    Version(version::VersionArgs),
}

/// Runs a verb and gives the process's exit code.
pub fn run(args: Cli) -> ExitCode {
    let done = match args.command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(*args),
        Command::Why(args) => why::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Version(args) => version::run(&args),
    };
    exit_code(done)
}

/// The exit code of a verb that is done; an error is written to stderr as one line.
pub fn exit_code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.silent => ExitCode::from(failure.code),
        Err(failure) => {
            // Nobody is left to be told when even stderr is closed.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// Ends the process before any verb: its flags or its environment are not understood.
pub fn refuse(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {why}");
    ExitCode::from(2)
}

/// Why a verb ends early, as one line, and the exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    /// The output said it already.
    silent: bool,
    error: anyhow::Error,
}

impl Failure {
    /// What was asked for makes no sense, or a file that was named cannot be read.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, silent: false, error: error.into() }
    }

    /// Only the exit code is left to be given.
    fn silent(code: u8) -> Self {
        Self { code, silent: true, error: anyhow::anyhow!("findings") }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: 1, silent: false, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The alternate form has the causes on the same line.
        write!(out, "{:#}", self.error)
    }
}

/// A progress bar on stderr, and only where a person watches; `tail` is what comes after the bar.
pub fn progress_bar(length: u64, tail: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(&format!("{{bar:40}} {{human_pos}}/{{human_len}} {tail}")) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Writes to stdout. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to stdout").into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// clap breaks what is longer, in the middle of a paragraph.
    const MAX_COLUMNS: usize = 100;

    fn too_long(command: &clap::Command, found: &mut Vec<String>) {
        let texts = [command.get_long_about(), command.get_after_help()].into_iter().flatten();
        for text in texts.map(ToString::to_string) {
            // A paragraph of one line is not broken yet.
            let paragraphs = text.split("\n\n").filter(|it| it.contains('\n'));
            let lines = paragraphs.flat_map(str::lines);
            let long = lines.filter(|line| line.chars().count() > MAX_COLUMNS);
            found.extend(long.map(|line| format!("{}: {line}", command.get_name())));
        }
        command.get_subcommands().for_each(|it| too_long(it, found));
    }

    #[test]
    fn help_is_shown_as_it_is_written() {
        let mut found = Vec::new();
        too_long(&Cli::command(), &mut found);
        assert!(found.is_empty(), "lines that clap would break: {found:#?}");
    }
}

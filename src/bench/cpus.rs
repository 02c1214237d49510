//! Which CPU a process runs on: whoever asks and whoever answers must not take turns on one.
//!
//! By `taskset` of util-linux, which nearly every Linux has. Where it is missing or there is only
//! one CPU, nothing is pinned, and the report says so.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// A CPU for the client and another for the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReservedCpus {
    /// Where the client runs.
    pub(super) client: u32,
    /// Where the servers run.
    pub(super) servers: u32,
}

impl ReservedCpus {
    /// Pins this process to the first CPU that it may use, with the last for the servers.
    pub(super) fn pin() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let (client, servers) = first_and_last(allowed.trim())?;
        let mut taskset = Command::new("taskset");
        taskset.args(["-a", "-c", "-p", &client.to_string(), &std::process::id().to_string()]);
        let pinned = taskset.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        pinned.status().ok()?.success().then_some(Self { client, servers })
    }
}

/// A command that will run on this CPU, or wherever the system likes.
pub(super) fn on_cpu(program: &OsStr, cpu: Option<u32>) -> Command {
    let Some(cpu) = cpu else {
        return Command::new(program);
    };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(cpu.to_string()).arg(program);
    command
}

/// The ends of a list such as `0-3,8`; `None` when they are one.
fn first_and_last(list: &str) -> Option<(u32, u32)> {
    let first = list.split([',', '-']).next()?.parse().ok()?;
    let last = list.rsplit([',', '-']).next()?.parse().ok()?;
    (first != last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_as_the_kernel_writes_them() {
        assert_eq!(first_and_last("0-1"), Some((0, 1)));
        assert_eq!(first_and_last("2,4-6,9"), Some((2, 9)));
        for list in ["0", "", "x-1", "3,3"] {
            assert_eq!(first_and_last(list), None, "{list}");
        }
    }
}

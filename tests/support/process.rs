//! The binary as a process.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::http::{self, Reply};
use super::{eventually, wait};

/// The binary, without anything of the caller's environment.
pub(crate) fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    command_of(env!("CARGO_BIN_EXE_sigma"), args)
}

/// A binary, without anything of the caller's environment.
pub(crate) fn command_of<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: &[S]) -> Output {
    command(args).output().expect("the binary runs")
}

/// A running `sigma serve`, killed when dropped.
pub(crate) struct Sigma {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Reads its log, to the end.
    reader: Option<JoinHandle<()>>,
    pub(crate) verbs: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Sigma {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let to = log.clone();
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                to.lock().expect("no panic").push(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sigma = Self { child, log, reader: Some(reader), verbs: nowhere, admin: nowhere };
        let (_, line) = eventually("it serves", || {
            let line = sigma.lines().into_iter().find(|it| it.contains("\"serving\""));
            let ended = sigma.child.try_wait().expect("a child");
            assert!(line.is_some() || ended.is_none(), "{ended:?} {:?}", sigma.lines());
            line
        });
        let line: Value = serde_json::from_str(&line).expect("the log is JSON");
        let addr = |field: &str| line[field].as_str().and_then(|it| it.parse().ok());
        sigma.verbs = addr("listen").expect("an address");
        sigma.admin = addr("admin_listen").expect("an address");
        sigma
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        http::get(self.admin, path)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).body).expect("JSON")
    }

    pub(crate) fn wait_ready(&self) {
        wait("it is ready", || self.get("/readyz").status == 200);
    }

    /// Waits until something in the status has a value.
    pub(crate) fn wait_status(&self, field: &str, value: impl Into<Value>) {
        let value = value.into();
        wait(&format!("{field} is {value}"), || self.json("/api/v1/status")[field] == value);
    }

    /// The policy in force: its name and generation.
    pub(crate) fn policy(&self) -> (String, u64) {
        let policy = &self.json("/api/v1/status")["policy"];
        let name = policy["name"].as_str().expect("a name").to_owned();
        (name, policy["generation"].as_u64().expect("a number"))
    }

    pub(crate) fn filter(&self, pod: &Value, nodes: &[&str]) -> Value {
        let args = json!({"Pod": pod, "Nodes": null, "NodeNames": nodes});
        let reply = http::post(self.verbs, "/filter", args.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_str(&reply.body).expect("JSON")
    }

    /// All series of `/metrics`.
    pub(crate) fn metrics(&self) -> HashMap<String, f64> {
        let text = self.get("/metrics").body;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        lines.map(|line| read(line).expect("name and value")).collect()
    }

    /// One series; one that does not exist is 0.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        self.metrics().get(series).copied().unwrap_or(0.0)
    }

    pub(crate) fn wait_metric(&self, series: &str, value: f64) {
        wait(&format!("{series} is {value}"), || self.metric(series) == value);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// How many lines of the log contain this.
    pub(crate) fn logged(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// The names and nice values of its threads.
    pub(crate) fn threads(&self) -> Vec<(String, i32)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux");
        let threads = tasks.map(|task| {
            let stat = task.expect("a task").path().join("stat");
            let stat = std::fs::read_to_string(stat).expect("it lives");
            let (name, rest) = stat.rsplit_once(')').expect("a name in parentheses");
            let name = name.split_once('(').expect("a name in parentheses").1;
            // The 19th field; the state, after the name, is the third.
            let nice = rest.split_whitespace().nth(16).and_then(|it| it.parse().ok());
            (name.to_owned(), nice.expect("a number"))
        });
        threads.collect()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The exit code, once it ends.
    pub(crate) fn wait_exit(&mut self) -> Option<i32> {
        let (_, status) = eventually("it ends", || self.child.try_wait().expect("a child"));
        status.code()
    }
}

impl Drop for Sigma {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if !std::thread::panicking() {
            assert_eq!(self.logged("panicked"), 0, "{:?}", self.lines());
        } else {
            eprintln!("log of sigma:\n{}", self.lines().join("\n"));
        }
    }
}

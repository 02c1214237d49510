//! The end: whoever is under way is answered, nobody new is let in, and the exit code is 0.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::site::{Site, pod};
use crate::support::{http, wait};

/// Turns true when dropped.
pub(crate) struct AtDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for AtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ends_well(signal: &str) {
    let site = Site::new();
    let mut sigma = site.serve(&[]);
    let body = json!({"Pod": pod("cart", "1"), "Nodes": null, "NodeNames": ["n1", "n2"]});
    let request = http::post_request("/filter", body.to_string().as_bytes(), "close");
    // One request is half sent when the signal comes.
    let kept = http::post_request("/filter", body.to_string().as_bytes(), "keep-alive");
    let mut slow = http::connect(sigma.verbs).expect("it listens");
    let (head, rest) = kept.split_at(kept.len() - 20);
    slow.write_all(head).expect("it reads");
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (signalled, verbs) = (AtomicBool::new(false), sigma.verbs);
    thread::scope(|scope| {
        // A case that fails must end as well.
        let _over = AtDrop(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let Ok(reply) = http::exchange(verbs, &request) else {
                        // Only a connection that came too late is cut unanswered.
                        assert!(signalled.load(Ordering::Relaxed), "cut before the signal");
                        break;
                    };
                    assert_eq!(reply.status, 200, "{reply:?}");
                    assert!(reply.body.contains("\"n1\""), "{reply:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait("it is under load", || answered.load(Ordering::Relaxed) > 100);
        signalled.store(true, Ordering::Relaxed);
        sigma.signal(signal);
        wait("it says so", || sigma.logged("stopping: no new requests") == 1);
        wait("the listener is closed", || http::connect(verbs).is_err());
        slow.write_all(rest).expect("it still reads");
        let reply = http::read(&mut slow).expect("who is under way is answered");
        assert!(reply.status == 200 && reply.head.contains("connection: close"), "{reply:?}");
        assert_eq!(sigma.wait_exit(), Some(0), "{:?}", sigma.lines());
    });
    assert!(http::connect(sigma.admin).is_err());
    assert_eq!(sigma.logged("panicked"), 0, "{:?}", sigma.lines());
}

/// Row 46, a rolling upgrade (SIGTERM): sigma answers the requests in progress with `Connection: close`. It accepts
/// no new connections. The exit code is 0.
#[test]
fn sigterm_under_load() {
    ends_well("TERM");
}

#[test]
fn sigint_under_load() {
    ends_well("INT");
}

#[test]
fn a_server_without_an_api_server_ends_as_well() {
    let site = Site::new();
    site.api.withhold("pods", true);
    let mut sigma = site.start(&[]);
    sigma.signal("TERM");
    assert_eq!(sigma.wait_exit(), Some(0), "{:?}", sigma.lines());
}

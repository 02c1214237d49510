//! Pods of the setting that go and come back while requests run: sums of nodes change, and what must
//! be answered does not.
//!
//! ```text
//! event   1  2  …  LAG   +1    +2     +3    +4
//! gone    a  b     …           next         next …
//! back                   a            b
//! ```

use std::ops::Range;

use super::setting::Setting;
use crate::apiserver::{ObjectSource, write_line};
use sigma::cli::loopback::wire;
use sigma::model::{Kind, Pod, PodUid};
use sigma::sim::Fleet;

/// Most pods that are gone at a time.
const LAG: u64 = 50;
/// As long as a pod's JSON is in production, `managedFields` included.
const POD_BYTES: usize = 8600;
/// What pads it: fields as an API server lists them.
const FIELD: &str =
    r#"{"f:image":{},"f:name":{},"f:resources":{".":{},"f:requests":{".":{},"f:cpu":{}}}},"#;

/// The placed pods of a setting, some of which move.
pub(super) struct Churn {
    pods: Vec<Pod>,
    /// Positions of those that go and come back, in the order in which they do.
    moving: Vec<u32>,
}

/// What an event is about: a pod's position, and how often it had come back before.
type SteerReply = (u32, u64);

impl Churn {
    pub(super) fn new(setting: &Setting) -> Self {
        Self { pods: setting.placed.clone(), moving: setting.moving() }
    }

    fn lag(&self) -> u64 {
        LAG.min(self.moving.len() as u64 / 2)
    }

    /// Whether the pod comes back, and which one it is.
    fn turn(&self, version: u64) -> Option<(bool, SteerReply)> {
        let nth = version.checked_sub(Fleet::version(1))?;
        let at = |nth: u64| {
            let laps = nth.checked_div(self.moving.len() as u64)?;
            Some((self.moving[(nth % self.moving.len() as u64) as usize], laps))
        };
        let Some(after) = nth.checked_sub(self.lag()) else {
            return Some((false, at(nth)?));
        };
        match after % 2 {
            0 => at(after / 2).map(|(pod, laps)| (true, (pod, laps + 1))),
            _ => Some((false, at(after / 2 + self.lag())?)),
        }
    }

    fn write(&self, out: &mut Vec<u8>, (at, laps): SteerReply, version: u64) {
        let mut pod = self.pods[at as usize].clone();
        // What has ended never comes back under its UID.
        pod.uid = PodUid(pod.uid.0.wrapping_add(u128::from(laps) << 64));
        pod.uid_text = wire::uuid_text(pod.uid.0).into();
        pod.resource_version = version;
        let text = wire::pod_json(&pod);
        let start = "{\"metadata\":{";
        let rest = text.strip_prefix(start).unwrap_or_default();
        out.extend_from_slice(start.as_bytes());
        out.extend_from_slice(b"\"managedFields\":[");
        let fields = POD_BYTES.saturating_sub(text.len()) / FIELD.len();
        (0..fields).for_each(|_| out.extend_from_slice(FIELD.as_bytes()));
        out.extend_from_slice(b"{}],");
        out.extend_from_slice(rest.as_bytes());
    }
}

impl ObjectSource for Churn {
    /// The first: whoever lists later is told of all events since.
    fn list_version(&self, _: u64) -> u64 {
        Fleet::version(0)
    }

    fn numbers(&self, kind: Kind, _: u64) -> Range<u64> {
        match kind {
            Kind::PODS => 0..self.pods.len() as u64,
            _ => 0..0,
        }
    }

    fn write_listed(&self, out: &mut Vec<u8>, _: Kind, number: u64) {
        self.write(out, (number as u32, 0), Fleet::version(0));
    }

    fn write_event(&self, out: &mut Vec<u8>, kind: Kind, version: u64) {
        if kind == Kind::PODS
            && let Some((comes, turn)) = self.turn(version)
        {
            let change = if comes { "ADDED" } else { "DELETED" };
            write_line(out, change, |out| self.write(out, turn, version));
        }
    }
}

//! What kube-scheduler is told: bytes written by hand into one buffer, keys always in one order.
//!
//! A `null` inside a preemption reply ends the kube-scheduler process, and a score with a fraction
//! loses all scores: neither can be expressed here.

use std::ops::Range;

use super::name_list::{NameList, Short};
use super::wire::{Name, Victims, write_json};
use crate::engine::MAX_SCORE;
use crate::model::Reason;

/// A filter's answer: the names at the accepted positions, or one name with the reason that it stands
/// for. Gives the reply, and where in it the accepted names are.
pub(super) fn filter(
    names: &NameList<'_>,
    accepted: &[u32],
    refused: Option<(u32, Reason)>,
) -> (Vec<u8>, Range<usize>) {
    // Exact when all are accepted; a buffer that is too small is copied as a whole.
    let named = names.num_bytes().saturating_mul(accepted.len()) / names.len().max(1);
    let mut out = Vec::with_capacity(named + 256);
    out.extend_from_slice(br#"{"Nodes":null,"NodeNames":["#);
    let start = out.len();
    names.write_all(accepted, &mut out);
    let named = start..out.len();
    out.extend_from_slice(br#"],"FailedNodes":{},"FailedAndUnresolvableNodes":{"#);
    if let Some((at, reason)) = refused {
        names.write(at as usize, &mut out);
        out.push(b':');
        write_json(reason.text(), &mut out);
    }
    out.extend_from_slice(br#"},"Error":""}"#);
    (out, named)
}

/// A filter that could not be answered; the text reaches the pod's condition.
pub(super) fn filter_error(text: &str) -> Vec<u8> {
    let head =
        br#"{"Nodes":null,"NodeNames":null,"FailedNodes":{},"FailedAndUnresolvableNodes":{},"#;
    let mut out = head.to_vec();
    out.extend_from_slice(br#""Error":"#);
    write_json(text, &mut out);
    out.push(b'}');
    out
}

/// Scores, one for each name.
pub(super) fn prioritize(names: &NameList<'_>, scores: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(names.num_bytes() + names.len() * 24 + 32);
    out.extend_from_slice(br#"[{"Host":"#);
    let [.., highest] = &AFTER_NAME;
    let texts = scores.iter().map(|score| AFTER_NAME.get(*score as usize).unwrap_or(highest));
    names.write_each(texts, &mut out);
    out.truncate(out.len().saturating_sub(br#",{"Host":"#.len()).max(1));
    out.push(b']');
    out
}

/// What stands between two names, by the score of the first.
static AFTER_NAME: [Short; MAX_SCORE as usize + 1] = {
    let mut all = [Short::new(*br#","Score":10},{"Host":   "#, 21); MAX_SCORE as usize + 1];
    let mut score = 0;
    while score < 10 {
        let mut text = *br#","Score":0},{"Host":    "#;
        text[9] += score as u8;
        all[score] = Short::new(text, 20);
        score += 1;
    }
    all
};

/// The candidates that stand.
pub(super) fn preempt<'a>(
    stands: impl Iterator<Item = (&'a Name<'a>, &'a Victims<'a>)>,
) -> Vec<u8> {
    let mut out = br#"{"NodeNameToMetaVictims":{"#.to_vec();
    let mut first = true;
    for (name, victims) in stands.filter(|(_, victims)| !victims.uids.is_empty()) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        name.write_json(&mut out);
        out.extend_from_slice(br#":{"Pods":["#);
        for (at, uid) in victims.uids.iter().enumerate() {
            out.extend_from_slice(if at > 0 { br#",{"UID":"# } else { br#"{"UID":"# });
            uid.write_json(&mut out);
            out.push(b'}');
        }
        out.extend_from_slice(br#"],"NumPDBViolations":"#);
        write_number(victims.num_pdb_violations, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
    out
}

/// A bind's outcome; empty for success.
pub(super) fn bind(error: &str) -> Vec<u8> {
    let mut out = br#"{"Error":"#.to_vec();
    write_json(error, &mut out);
    out.push(b'}');
    out
}

fn write_number(number: i64, out: &mut Vec<u8>) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.push(b'0' + digit),
        _ => out.extend_from_slice(number.to_string().as_bytes()),
    }
}

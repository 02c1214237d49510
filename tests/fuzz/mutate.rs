//! Mutants of an input: of its JSON where it is JSON, of its bytes everywhere.

use serde_json::{Map, Value, json};
use sigma::sim::Rng;

/// Texts that have hurt somebody.
const TOKENS: [&str; 44] = [
    "null",
    "true",
    "{}",
    "[]",
    "[[",
    "\"\"",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "\\u003c",
    "\u{feff}",
    "\u{202e}",
    "é",
    "-0",
    "-1",
    "1e999",
    "1e-999",
    "0.1",
    "NaN",
    "9223372036854775808",
    "18446744073709551616",
    "1e3Ki",
    "100m",
    "8Ei",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\x1b[31m",
    ",",
    ":",
    "]}",
    "}]}",
    ",\"Nodes\":null,\"NodeNames\":[\"a\"]}",
    "\"nodenames\":[\"b\"],",
    "&a",
    "*a",
    "<<: *a",
    "!!binary",
    "---\n",
    "#",
    "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n",
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n",
    "%00",
];

/// A mutant of one of them, perhaps crossed with another. Half come of the `seeds` that stand first, or
/// what is refused at once would soon outnumber what is read to its end.
pub(crate) fn mutate(pool: &[Vec<u8>], seeds: usize, rng: &mut Rng) -> Vec<u8> {
    let pick = |rng: &mut Rng| {
        let most = if rng.percent(50) { seeds } else { pool.len() };
        &pool[rng.below(most as u64) as usize]
    };
    let mut input = pick(rng).clone();
    let other = pick(rng);
    let json = rng.percent(60).then(|| serde_json::from_slice::<Value>(&input).ok()).flatten();
    if let Some(mut value) = json {
        let donor = serde_json::from_slice(other).unwrap_or_default();
        for _ in 0..=small(3, rng) {
            change(&mut value, &donor, rng);
        }
        input.clear();
        write(&value, rng.percent(75), rng, &mut input);
        if rng.percent(70) {
            return input;
        }
    }
    for _ in 0..=small(3, rng) {
        change_bytes(&mut input, other, rng);
    }
    input
}

/// Writes JSON without spaces, as Go does. Backwards, the arguments of a filter come as kube-scheduler
/// sends them: the pod, no nodes, the names. Now and then a key comes twice.
fn write(value: &Value, backwards: bool, rng: &mut Rng, out: &mut Vec<u8>) {
    let Value::Object(map) = value else {
        return match value.as_array() {
            None => out.extend_from_slice(value.to_string().as_bytes()),
            Some(list) => {
                out.push(b'[');
                for (at, it) in list.iter().enumerate() {
                    out.extend_from_slice(if at > 0 { b"," } else { b"" });
                    write(it, backwards, rng, out);
                }
                out.push(b']');
            }
        };
    };
    let mut entries: Vec<_> = map.iter().collect();
    if backwards {
        entries.reverse();
    }
    if !entries.is_empty() && rng.percent(1) {
        entries.push(entries[rng.below(entries.len() as u64) as usize]);
    }
    out.push(b'{');
    for (at, (key, it)) in entries.into_iter().enumerate() {
        out.extend_from_slice(if at > 0 { b"," } else { b"" });
        out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
        out.push(b':');
        write(it, backwards, rng, out);
    }
    out.push(b'}');
}

/// A number of at most so many bits, rather a small one.
fn small(bits: u64, rng: &mut Rng) -> usize {
    let bits = rng.below(bits);
    rng.below(1 << bits) as usize
}

fn change_bytes(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let mut at = rng.below(input.len() as u64 + 1) as usize;
    if rng.percent(30) {
        // The end is where names are, and half an event.
        at = input.len().saturating_sub(small(7, rng));
    }
    let len = 1 + small(8, rng);
    let end = (at + len).min(input.len());
    match rng.below(9) {
        0 => drop(input.drain(at..end)),
        1 => {
            let piece = input[at..end].to_vec();
            drop(input.splice(at..at, piece));
        }
        2 => input.truncate(at),
        3 => {
            let from = rng.below(other.len() as u64 + 1) as usize;
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        4 if at < input.len() => input[at] ^= 1 << rng.below(8),
        5 if at < input.len() => input[at] = rng.below(256) as u8,
        6 => input.insert(at, b" \n,:\"{}[]-&*#0"[rng.below(14) as usize]),
        _ => {
            let token = TOKENS[rng.below(TOKENS.len() as u64) as usize].as_bytes();
            let until = if rng.percent(50) { end } else { at };
            drop(input.splice(at..until, token.iter().copied()));
        }
    }
}

/// Changes one place of a value.
fn change(value: &mut Value, donor: &Value, rng: &mut Rng) {
    let deeper = rng.percent(85);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let at = rng.below(map.len() as u64) as usize;
            let Some(key) = map.keys().nth(at).cloned() else { return };
            match rng.below(12) {
                0 => drop(map.remove(&key)),
                1 => rename(map, &key, rng),
                2 => drop(map.insert("unknown".to_owned(), odd(donor, rng))),
                _ => change(&mut map[&key], donor, rng),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = rng.below(list.len() as u64) as usize;
            match rng.below(8) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                2 => list.insert(at, odd(donor, rng)),
                _ => change(&mut list[at], donor, rng),
            }
        }
        it => *it = odd(donor, rng),
    }
}

fn rename(map: &mut Map<String, Value>, key: &str, rng: &mut Rng) {
    let Some(value) = map.remove(key) else { return };
    let name = match rng.below(3) {
        0 => key.to_lowercase(),
        1 => key.to_uppercase(),
        _ => format!("{key}\u{0}"),
    };
    map.insert(name, value);
}

/// A value that nobody expects.
fn odd(donor: &Value, rng: &mut Rng) -> Value {
    match rng.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!({}),
        3 => json!([]),
        4 => json!(""),
        5 => json!(-1),
        6 => json!(0.1),
        7 => json!(u64::MAX),
        8 => json!(1e300),
        9 => json!("x".repeat(small(12, rng))),
        10 => json!(format!("{}", rng.next_u64())),
        11 => (0..rng.below(200)).fold(json!(1), |inner, _| json!([inner])),
        12 => json!(vec![Value::Null; rng.below(64) as usize]),
        13 => part(donor, rng).clone(),
        _ => json!(TOKENS[rng.below(TOKENS.len() as u64) as usize]),
    }
}

/// Some part of a value.
fn part<'a>(value: &'a Value, rng: &mut Rng) -> &'a Value {
    let inner = match value {
        Value::Object(map) if !map.is_empty() => {
            map.values().nth(rng.below(map.len() as u64) as usize)
        }
        Value::Array(list) if !list.is_empty() => list.get(rng.below(list.len() as u64) as usize),
        _ => None,
    };
    match inner {
        Some(inner) if rng.percent(80) => part(inner, rng),
        _ => value,
    }
}

#[test]
fn mutants_differ_and_are_the_same_for_the_same_seed() {
    let pool = [b"{\"a\":[1,{\"b\":\"c\"}]}".to_vec(), b"plain: text\n".to_vec()];
    let of = |seed| {
        let mut rng = Rng::new(seed, 0);
        (0..200).map(|_| mutate(&pool, 2, &mut rng)).collect::<Vec<_>>()
    };
    assert_eq!(of(1), of(1));
    let unlike = of(2).iter().filter(|it| !pool.contains(it)).count();
    assert!(unlike > 180, "{unlike}");
}

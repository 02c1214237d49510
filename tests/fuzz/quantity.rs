//! Amounts as text: exact, never below zero, never a panic.

use sigma::model::{QuantityError, parse_milli, parse_value};

use crate::harness::Target;

/// What a text says, digit by digit; `None` when it is no quantity. Up to this many digits the answer
/// must be exact.
fn naive(text: &str, more_digits: i64) -> Option<(i64, usize)> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
    let (number, suffix) = body.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|it| *it == suffix);
    let decimal =
        ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"].iter().position(|it| *it == suffix);
    let exponent = match (decimal, suffix.strip_prefix(['e', 'E'])) {
        (Some(at), _) => at as i64 * 3 - 9,
        _ if binary.is_some() => 0,
        (None, power) => power?.parse::<i64>().ok()?.clamp(-100, 100),
    };
    // Least significant digit first.
    let mut digits: Vec<u32> = whole
        .chars()
        .chain(fraction.chars())
        .rev()
        .map(|c| c.to_digit(10))
        .collect::<Option<_>>()?;
    let significant = digits.len();
    for _ in 0..binary.map_or(0, |at| 10 * (at + 1)) {
        let mut carry = 0;
        for digit in &mut digits {
            let twice = *digit * 2 + carry;
            (*digit, carry) = (twice % 10, twice / 10);
        }
        digits.push(carry);
    }
    let power = exponent + more_digits - fraction.len() as i64;
    let lost: Vec<u32> = match power {
        0.. => {
            drop(digits.splice(0..0, vec![0; power as usize]));
            Vec::new()
        }
        _ => digits.drain(..digits.len().min(-power as usize)).collect(),
    };
    let up = i64::from(lost.iter().any(|it| *it > 0));
    let value = digits
        .iter()
        .rev()
        .try_fold(0_i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(*digit)));
    Some((value.and_then(|it| it.checked_add(up)).unwrap_or(i64::MAX), significant))
}

fn check(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let (milli, value) = (parse_milli(&text), parse_value(&text));
    for (found, more_digits) in [(milli, 3), (value, 0)] {
        match found {
            Ok(amount) => {
                let (want, significant) = naive(&text, more_digits).expect("no quantity, but read");
                assert!(amount >= 0, "{text:?}: {amount}");
                // Beyond 18 digits the last place is a matter of rounding.
                let slack = if significant <= 18 { 0 } else { 1 + (want >> 58) };
                assert!(want.abs_diff(amount) <= slack as u64, "{text:?}: {amount}, not {want}");
            }
            Err(QuantityError::Negative) => assert!(text.starts_with('-'), "{text:?}"),
            Err(QuantityError::Malformed) => {}
        }
    }
    assert_eq!(milli.is_ok(), value.is_ok(), "{text:?}");
    if let (Ok(milli), Ok(value)) = (milli, value) {
        assert!(
            milli >= value
                && (milli == i64::MAX
                    || milli.unsigned_abs().div_ceil(1000) == value.unsigned_abs()),
            "{text:?}"
        );
    }
    format!("{milli:?} {}", text.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn quantities() {
    let seeds =
        ["0", "100m", "1.5Gi", "12e3", "1E", "8Ei", "-5", "+3", ".5", "1e-30", "250Mi", "1k"];
    let seeds = seeds.map(|it| it.as_bytes().to_vec()).to_vec();
    Target { name: "quantity", seeds, mutants: 60_000, check: &check }.run();
}

//! Kubernetes quantities, exact, and the amounts that are made of them.
//!
//! Arithmetic on amounts saturates: a hostile `1e30` becomes "more than any node has" instead of
//! a wrapped negative number that fits everywhere.

use std::ops::{AddAssign, SubAssign};

/// What every node has and every pod may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    /// CPU in thousandths of a core.
    pub cpu_milli: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral_bytes: i64,
    /// Number of pods; 1 for a pod's own request.
    pub pods: i64,
}

impl Amounts {
    /// Component-wise maximum.
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            ephemeral_bytes: self.ephemeral_bytes.max(other.ephemeral_bytes),
            pods: self.pods.max(other.pods),
        }
    }

    /// True when every component is 0.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.cpu_milli = self.cpu_milli.saturating_add(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.saturating_add(other.ephemeral_bytes);
        self.pods = self.pods.saturating_add(other.pods);
    }
}

impl SubAssign for Amounts {
    fn sub_assign(&mut self, other: Self) {
        self.cpu_milli = self.cpu_milli.saturating_sub(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_sub(other.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.saturating_sub(other.ephemeral_bytes);
        self.pods = self.pods.saturating_sub(other.pods);
    }
}

/// An amount of an extended resource (`nvidia.com/gpu`, `sigma.io/offline-cpu`, …), in its own unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedAmount {
    /// The resource's full name.
    pub name: Box<str>,
    /// The amount, rounded up to an integer as kube-scheduler counts it.
    pub amount: i64,
}

/// What a pod asks of a node, counted as kube-scheduler counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// CPU, memory, ephemeral storage, and the pod itself.
    pub base: Amounts,
    /// Extended resources, sorted by name.
    pub extended: Box<[ExtendedAmount]>,
}

/// Why a text is not a usable quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form `<number><suffix>`.
    #[error("not a Kubernetes quantity")]
    Malformed,
    /// A request or a capacity below zero means nothing.
    #[error("a quantity below zero")]
    Negative,
}

/// Parses a quantity in thousandths, rounded up (`100m` → 100, `1` → 1000); saturates at `i64::MAX`.
pub fn parse_milli(text: &str) -> Result<i64, QuantityError> {
    parse_scaled(text, 3)
}

/// Parses a quantity in units, rounded up (`1Ki` → 1024, `1500m` → 2); saturates at `i64::MAX`.
pub fn parse_value(text: &str) -> Result<i64, QuantityError> {
    parse_scaled(text, 0)
}

/// The longest text that is read as a quantity; the API server writes at most about 30 characters.
const MAX_LEN: usize = 64;
/// Beyond this power of ten a value is out of `i64` whatever its digits.
const MAX_EXPONENT: i64 = 80;

fn parse_scaled(text: &str, milli_digits: i64) -> Result<i64, QuantityError> {
    if text.is_empty() || text.len() > MAX_LEN || !text.is_ascii() {
        return Err(QuantityError::Malformed);
    }
    let (negative, body) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
    let (number, suffix) = body.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.is_empty() && fraction.is_empty() {
        return Err(QuantityError::Malformed);
    }
    let (binary_shift, exponent) = scale_of(suffix)?;
    let digits = Digits { whole, fraction };
    if digits.all_zero() {
        return Ok(0);
    }
    if negative {
        return Err(QuantityError::Negative);
    }
    Ok(digits.scaled(exponent + milli_digits, binary_shift))
}

struct Digits<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl Digits<'_> {
    fn all_zero(&self) -> bool {
        self.whole.bytes().chain(self.fraction.bytes()).all(|b| b == b'0')
    }

    /// `digits × 10^exponent × 2^shift`, rounded up, saturated.
    fn scaled(&self, exponent: i64, shift: u32) -> i64 {
        let mut mantissa: u128 = 0;
        let mut dropped = 0_i64;
        let mut inexact = false;
        for byte in self.whole.bytes().chain(self.fraction.bytes()) {
            // 19 digits shifted by 60 bits still fit into 128; the rest only decides the rounding.
            if mantissa < 10_u128.pow(18) {
                mantissa = mantissa * 10 + u128::from(byte - b'0');
            } else {
                dropped += 1;
                inexact |= byte != b'0';
            }
        }
        let power = exponent - self.fraction.len() as i64 + dropped;
        let mut value = mantissa << shift;
        if power >= 0 {
            for _ in 0..power.min(MAX_EXPONENT) {
                value = value.saturating_mul(10);
            }
        } else {
            for _ in 0..(-power).min(MAX_EXPONENT) {
                inexact |= !value.is_multiple_of(10);
                value /= 10;
            }
        }
        i64::try_from(value.saturating_add(u128::from(inexact))).unwrap_or(i64::MAX)
    }
}

/// The binary shift and decimal exponent of a suffix.
fn scale_of(suffix: &str) -> Result<(u32, i64), QuantityError> {
    Ok(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Malformed)?;
            let parsed: i64 = exponent.parse().map_err(|_| QuantityError::Malformed)?;
            (0, parsed.clamp(-MAX_EXPONENT, MAX_EXPONENT))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact_and_round_up() {
        let cases = [
            ("0", 0, 0),
            ("100m", 100, 1),
            ("1", 1000, 1),
            ("1.5", 1500, 2),
            ("0.0001", 1, 1),
            ("1k", 1_000_000, 1000),
            ("1Ki", 1_024_000, 1024),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("12e3", 12_000_000, 12_000),
            ("1E3", 1_000_000, 1000),
            ("1E", i64::MAX, 1_000_000_000_000_000_000),
            ("8Ei", i64::MAX, i64::MAX),
            ("1e30", i64::MAX, i64::MAX),
            ("1e-30", 1, 1),
            (".5", 500, 1),
            ("5.", 5000, 5),
            ("+3", 3000, 3),
            ("-0", 0, 0),
            ("9223372036854775807", i64::MAX, i64::MAX),
            ("100000000000000000000n", 100_000_000_000_000, 100_000_000_000),
        ];
        for (text, milli, value) in cases {
            assert_eq!(parse_milli(text), Ok(milli), "milli of {text}");
            assert_eq!(parse_value(text), Ok(value), "value of {text}");
        }
    }

    #[test]
    fn absurd_quantities_are_refused_not_guessed() {
        for text in ["", "abc", "1.2.3", "1 ", "Ki", "--1", "1Kii", "1e", "1e1.5", "ⅷ", "."] {
            assert_eq!(parse_value(text), Err(QuantityError::Malformed), "{text:?}");
        }
        assert_eq!(parse_value("-5"), Err(QuantityError::Negative));
        assert_eq!(parse_value(&"9".repeat(65)), Err(QuantityError::Malformed));
    }

    #[test]
    fn amounts_saturate() {
        let mut sum = Amounts { cpu_milli: i64::MAX, ..Amounts::default() };
        sum += Amounts { cpu_milli: 1, ..Amounts::default() };
        assert_eq!(sum.cpu_milli, i64::MAX);
    }
}

//! The quantities of a `limit`: what Kubernetes can read, and what can be meant by it.

use super::codes;
use super::diagnostic::{Faults, quoted};
use super::reader::{narrow, wrong_type};
use super::tree::{Value, YamlNode};
use crate::model::{QuantityError, parse_milli, parse_value};

/// What a quantity counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum QuantityKind {
    /// Cores, in thousandths.
    Cpu,
    /// Bytes.
    Memory,
    /// Pods.
    Pods,
}

/// Below this many bytes no pod fits.
pub(super) const LEAST_MEMORY: i64 = 1 << 20;
/// Below this many bytes hardly a pod fits.
const LITTLE_MEMORY: i64 = 1 << 30;
/// More than the memory of ten clusters of the largest size.
const MUCH_MEMORY: i64 = 100 << 50;
/// More cores, and more pods, than any cluster has; and than anybody can mean.
const MANY: i64 = 1_000_000;
pub(super) const FAR_TOO_MANY: i64 = 1_000_000_000;

/// A quantity, split where its suffix begins.
#[derive(Clone, Copy)]
struct Spelled<'t> {
    whole: &'t str,
    number: &'t str,
    suffix: &'t str,
}

impl<'t> Spelled<'t> {
    fn of(whole: &'t str) -> Self {
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-');
        let end = whole.find(|c: char| !is_number(c)).unwrap_or(whole.len());
        let (number, suffix) = whole.split_at(end);
        Self { whole, number, suffix }
    }

    /// `Ki` … `Ei`.
    fn is_binary(self) -> bool {
        self.suffix.ends_with('i')
    }

    /// `n`, `u` or `m`.
    fn is_part(self) -> bool {
        matches!(self.suffix, "n" | "u" | "m")
    }

    /// A part of one stands behind the point, and no suffix.
    fn has_fraction(self) -> bool {
        let fraction = self.number.split_once('.').map_or("", |(_, fraction)| fraction);
        self.suffix.is_empty() && fraction.bytes().any(|byte| byte != b'0')
    }
}

/// What is wrong with a quantity that Kubernetes can read.
struct Doubt {
    code: &'static codes::Code,
    message: String,
    hint: String,
}

/// The most that a pool may take of a resource. What is doubtful is noted and read all the same.
pub(super) fn limit(node: &YamlNode, resource: QuantityKind, faults: &mut Faults) -> Option<i64> {
    let what = match resource {
        QuantityKind::Cpu => "`cpu`",
        QuantityKind::Memory => "`memory`",
        QuantityKind::Pods => "`pods`",
    };
    let (Value::Number(spelled) | Value::Text(spelled)) = &node.value else {
        wrong_type(node, &format!("{what} is a quantity such as `2000` or `8Ti`"), faults);
        return None;
    };
    let parsed = match resource {
        QuantityKind::Cpu => parse_milli(spelled),
        QuantityKind::Memory | QuantityKind::Pods => parse_value(spelled),
    };
    let message = match parsed {
        Ok(value) => {
            if let Some(doubt) = doubt(Spelled::of(spelled), value, resource) {
                let message = format!("{what} {}", doubt.message);
                faults.report_hint(doubt.code, node.at, message, doubt.hint);
            }
            return Some(value);
        }
        Err(QuantityError::Negative) => format!("{what} cannot be {}: below zero", quoted(spelled)),
        Err(QuantityError::Malformed) => {
            format!("{what} is a Kubernetes quantity, and {} is none", quoted(spelled))
        }
    };
    faults.report_hint(&codes::BAD_QUANTITY, node.at, message, suffix_hint(spelled));
    None
}

fn doubt(spelled: Spelled<'_>, value: i64, resource: QuantityKind) -> Option<Doubt> {
    let shown = quoted(spelled.whole);
    if value == i64::MAX {
        return Some(Doubt {
            code: &codes::QUANTITY_OVERFLOW,
            message: format!("is beyond 64 bits: {shown} would bound nothing"),
            hint: "leave it out if nothing is to bound the pool".to_owned(),
        });
    }
    if value == 0 {
        return Some(Doubt {
            code: &codes::ZERO_LIMIT,
            message: format!("is {shown}: the pool takes no pod that asks for any"),
            hint: "leave the pool out of the classes' `pools` to close it".to_owned(),
        });
    }
    match resource {
        QuantityKind::Cpu => doubt_cpu(spelled, value),
        QuantityKind::Memory => doubt_memory(spelled, value),
        QuantityKind::Pods => doubt_pods(spelled, value),
    }
}

fn senseless(message: String, hint: impl Into<String>) -> Option<Doubt> {
    Some(Doubt { code: &codes::SENSELESS_QUANTITY, message, hint: hint.into() })
}

fn unlikely(message: String, hint: impl Into<String>) -> Option<Doubt> {
    Some(Doubt { code: &codes::UNLIKELY_NUMBER, message, hint: hint.into() })
}

const TOO_MUCH: &str = "leave it out if nothing is to bound the pool";

fn doubt_cpu(spelled: Spelled<'_>, milli: i64) -> Option<Doubt> {
    let (shown, number) = (quoted(spelled.whole), spelled.number);
    let cores = || format!("{}.{:03}", milli / 1000, milli % 1000);
    match spelled.suffix {
        _ if spelled.is_binary() => {
            senseless(format!("is a number of cores, and {shown} looks like bytes"), "cpu: 2000")
        }
        "n" | "u" => senseless(format!("cannot be so small a part of a core: {shown}"), ""),
        _ if milli / 1000 >= FAR_TOO_MANY => {
            senseless(format!("cannot be so many cores: {shown}"), TOO_MUCH)
        }
        _ if milli / 1000 > MANY => {
            unlikely(format!("is more cores than any cluster has: {shown}"), TOO_MUCH)
        }
        "m" => {
            let message = format!("of a whole pool is {} cores: {shown}", cores());
            unlikely(message, format!("cpu: {number}, if that many cores are meant"))
        }
        _ if milli < 1000 => {
            unlikely(format!("of a whole pool is less than one core: {shown}"), "")
        }
        _ if decimals(spelled) > 3 => {
            unlikely(format!("is exact to 0.001 cores, and {shown} is not"), cores())
        }
        _ => None,
    }
}

/// Digits behind the point, without the zeros at the end.
fn decimals(spelled: Spelled<'_>) -> usize {
    let fraction = spelled.number.split_once('.').map_or("", |(_, fraction)| fraction);
    if spelled.suffix.is_empty() { fraction.trim_end_matches('0').len() } else { 0 }
}

fn doubt_memory(spelled: Spelled<'_>, bytes: i64) -> Option<Doubt> {
    let (shown, number) = (quoted(spelled.whole), spelled.number);
    if spelled.is_part() {
        let message = format!("cannot be parts of a byte: {shown}");
        return senseless(message, format!("memory: {number}Mi"));
    }
    if bytes < LEAST_MEMORY {
        let message = format!("of a whole pool is {bytes} bytes: {shown}");
        let hint = match spelled.suffix {
            "" => format!("give it a unit: {number}Gi, {number}Ti"),
            _ => "8Ti and 64Gi are usual".to_owned(),
        };
        return senseless(message, hint);
    }
    if spelled.has_fraction() {
        return senseless(format!("cannot be parts of a byte: {shown}"), "");
    }
    if bytes < LITTLE_MEMORY {
        return unlikely(format!("of a whole pool is less than 1Gi: {shown}"), "");
    }
    if bytes > MUCH_MEMORY {
        return unlikely(format!("is more than any cluster has: {shown}"), TOO_MUCH);
    }
    None
}

fn doubt_pods(spelled: Spelled<'_>, pods: i64) -> Option<Doubt> {
    let shown = quoted(spelled.whole);
    let exact = parse_milli(spelled.whole) == Ok(pods.saturating_mul(1000));
    let shrinks = spelled.suffix.starts_with(['e', 'E']) && spelled.suffix.contains('-');
    if spelled.is_part() || spelled.has_fraction() || shrinks || !exact && pods < FAR_TOO_MANY {
        let message = format!("is a number of pods, and {shown} is no whole number");
        return senseless(message, if spelled.is_part() { spelled.number } else { "" });
    }
    if pods >= FAR_TOO_MANY {
        return senseless(format!("cannot be so many pods: {shown}"), TOO_MUCH);
    }
    if pods > MANY {
        return unlikely(format!("is more pods than any cluster has: {shown}"), TOO_MUCH);
    }
    if spelled.is_binary() {
        return unlikely(format!("is {pods} pods: {shown} looks like bytes"), "");
    }
    None
}

/// `8TB`, `8 Ti`, `8ti`, `８Ti`: the quantity that was probably meant.
fn suffix_hint(spelled: &str) -> String {
    let spelled = narrow(spelled).replace([',', '_', '"'], "");
    let spelled = spelled.trim().trim_start_matches(['-', '+']);
    let end = spelled.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(spelled.len());
    let (number, suffix) = spelled.split_at(end);
    let suffix = match suffix.trim().to_ascii_lowercase().as_str() {
        "" => "",
        "k" | "kb" => "k",
        "m" | "mb" => "M",
        "g" | "gb" => "G",
        "t" | "tb" => "T",
        "p" | "pb" => "P",
        "ki" | "kib" => "Ki",
        "mi" | "mib" => "Mi",
        "gi" | "gib" => "Gi",
        "ti" | "tib" => "Ti",
        "pi" | "pib" => "Pi",
        _ => return "2000, 500m, 64Gi and 8Ti are quantities".to_owned(),
    };
    if number.is_empty() { String::new() } else { format!("{number}{suffix}") }
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;

    /// The codes that a `limit` gets.
    fn codes_of(field: &str, value: &str) -> Vec<&'static str> {
        let source = format!(
            "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\npools:\n- name: eci\n  \
             match: {{labels: {{type: virtual-kubelet}}}}\n  elastic: true\n  \
             limit: {{{field}: {value}}}\nclasses:\n- name: offline\n  \
             grant: {{priorityClasses: [batch]}}\n  pools: [eci]\n"
        );
        let found = compile("p.yaml", source.as_bytes());
        let found = found.map_or_else(|found| found, |it| it.warnings);
        found.iter().map(|it| it.code).collect()
    }

    #[test]
    fn each_quantity_is_judged_by_what_it_counts() {
        let (overflow, senseless) = ("P0115", "P0116");
        let (unlikely, zero, malformed) = ("P0117", "P0118", "P0111");
        let cases: &[(&str, &str, &[&str])] = &[
            ("cpu", "", &["2000", "2k", "1.5", "64.25", "2e3", "1e+06", "\"2000\"", "1000000"]),
            ("memory", "", &["8Ti", "8T", "1Gi", "8796093022208", "1.5Ti", "8e12", "100Pi"]),
            ("pods", "", &["1", "1000", "1k", "1.5k", "1e3", "1.0", "+10"]),
            ("cpu", unlikely, &["2000m", "1500m", "0.5", "500m", "2M", "0.0001", "1.0005001"]),
            ("memory", unlikely, &["512Mi", "2M", "1048576", "900000000", "1Ei", "101Pi", "8E"]),
            ("pods", unlikely, &["1Ki", "1000001", "2M", "4Mi"]),
            ("cpu", senseless, &["8Gi", "1Ki", "8Ti", "5n", "5u", "1G", "1000000000", "8T", "1e9"]),
            (
                "memory",
                senseless,
                &["8", "8192m", "8192", "1", "8k", "1Ki", "1023Ki", "5e3", "0.5"],
            ),
            ("memory", senseless, &["8192000000000m", "5u", "8589934592.5", "1e-3"]),
            ("pods", senseless, &["1.5", "500m", "1000m", "1.0005k", "0.9999999", "1e-1", "2e9"]),
            ("pods", senseless, &["9999999e-7", "1Gi", "1u", ".5"]),
            ("cpu", overflow, &["1000Ei", "9223372036854776", "1e30", "10E", "\"1e400\""]),
            ("memory", overflow, &["1000Ei", "8Ei", "9223372036854775807", "10E", "1e19", "16Ei"]),
            ("pods", overflow, &["1000Ei", "9223372036854775808", "1e300"]),
            ("cpu", zero, &["0", "0m", "0.0", "0Ei", "-0", "0e9"]),
            ("memory", zero, &["0", "0Gi", "\"0\"", "00", "0.000"]),
            ("cpu", malformed, &["-1", "2 000", "2000cores", "２０００", "0x10", "much"]),
            ("memory", malformed, &["8TB", "8ti", "8 Ti", "８Ti", "8Zi", "-8Ti", "\"\"", "8Tii"]),
            ("pods", malformed, &["-1", "1_000", "ten", "1e", "1..5", ".inf", ".nan", "\"1 \""]),
        ];
        for (field, want, values) in cases {
            for value in *values {
                let want: &[&str] = if want.is_empty() { &[] } else { &[want] };
                assert_eq!(codes_of(field, value), want, "{field}: {value}");
            }
        }
    }

    #[test]
    fn the_hint_has_the_suffix_that_was_meant() {
        for (text, want) in [("8TB", "8T"), ("8 ti", "8Ti"), ("８Ｔｉ", "8Ti"), ("8,000", "8000")]
        {
            assert_eq!(suffix_hint(text), want, "{text}");
        }
    }
}

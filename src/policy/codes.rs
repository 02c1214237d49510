//! Every diagnostic there is: its code, how bad it is, and one line for people.
//!
//! A code is a promise: it never changes its meaning and is never given out twice, because people
//! search for it and silence it by name.

use super::diagnostic::Severity;

/// An entry of the table.
#[derive(Debug)]
pub struct Code {
    /// `P0123`.
    pub id: &'static str,
    /// How bad it is, always.
    pub severity: Severity,
    /// What it means, in one line.
    pub summary: &'static str,
    /// The generation of checks that it came with, see [`CHECKS`].
    pub since: u32,
}

/// The generation of the checks. It grows by one with each release that brings new errors.
pub const CHECKS: u32 = 2;

impl Code {
    /// True for an error that the version before did not know. That version may have accepted a policy
    /// with this fault, so the fault alone is no reason to stop at a start.
    pub fn is_new_error(&self) -> bool {
        self.severity == Severity::Error && self.since == CHECKS
    }
}

/// The entry of a code such as `P0123`.
pub fn find(id: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.id == id)
}

macro_rules! since {
    () => {
        1
    };
    ($generation:literal) => {
        $generation
    };
}

macro_rules! codes {
    ($($name:ident = $id:literal $severity:ident $(since $since:literal)? $summary:literal;)*) => {
        $(
            #[doc = concat!($id, ": ", $summary, ".")]
            pub static $name: Code = Code {
                id: $id,
                severity: Severity::$severity,
                summary: $summary,
                since: since!($($since)?),
            };
        )*
        /// The whole table, by code.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    // The file itself.
    FILE_TOO_LARGE = "P0001" Error "the file is larger than 1 MiB";
    NOT_UTF8 = "P0002" Error "the file is not UTF-8 text";
    CONTROL_CHARACTER = "P0003" Error "the file has a NUL or another control character in it";
    NOT_YAML = "P0004" Error "the file is not valid YAML";
    SEVERAL_DOCUMENTS = "P0005" Error "the file holds more than one YAML document";
    OVER_BUDGET = "P0006" Error "the YAML is nested too deep, too large, or expands without end";
    DUPLICATE_KEY = "P0007" Error "a key stands twice in one mapping";
    FOREIGN_YAML = "P0008" Error
        "a YAML feature that the language leaves out: tag, merge key, complex key";
    UNREADABLE = "P0009" Error since 2 "the file cannot be read";
    // The shape of the document.
    API_VERSION = "P0101" Error "`apiVersion` is missing or not `sigma.io/v1alpha1`";
    KIND = "P0102" Error "`kind` is missing or not `SchedulingPolicy`";
    UNKNOWN_FIELD = "P0103" Error "a field that the language does not know";
    NOT_SUPPORTED_YET = "P0104" Error
        "a section, field or scorer that this version does not support yet";
    WRONG_TYPE = "P0105" Error "a value of the wrong type";
    MISSING_FIELD = "P0106" Error "a field that must be given is missing";
    BAD_NAME = "P0107" Error "a name that is not a DNS label";
    TOO_MANY = "P0108" Error "more entries than there may be";
    EMPTY = "P0109" Error "a list or mapping that must not be empty";
    BAD_PERCENTAGE = "P0110" Error
        "a percentage without its unit, not exact to 0.1%, or not within 1–100%";
    BAD_QUANTITY = "P0111" Error "a value that is not a Kubernetes quantity";
    BAD_PATTERN = "P0112" Error "a pattern that can match nothing";
    BAD_LABEL = "P0113" Error "a label key or value that Kubernetes does not allow";
    BAD_INTEGER = "P0114" Error "a value that is not a whole number within its range";
    QUANTITY_OVERFLOW = "P0115" Error since 2
        "a quantity beyond 64 bits, which would bound nothing";
    SENSELESS_QUANTITY = "P0116" Error since 2
        "a quantity that cannot be meant: the unit of another resource, or next to nothing";
    UNLIKELY_NUMBER = "P0117" Warning since 2
        "a quantity, percentage or priority that is hardly meant";
    ZERO_LIMIT = "P0118" Warning since 2 "a `limit` of 0";
    COVERED_PATTERN = "P0119" Warning since 2
        "a pattern that adds nothing to another one of its list";
    UNMATCHED_PATTERN = "P0120" Warning since 2
        "a pattern that no name matches, because of how it begins or ends";
    AMBIGUOUS_TEXT = "P0121" Warning since 2
        "text without quotes that other readers of YAML take for a number";
    RETIRED_NAME = "P0122" Warning since 2 "a name of an earlier version";
    RETIRED_TWICE = "P0123" Error since 2 "a name of an earlier version beside its name of now";
    // Pools.
    DUPLICATE_POOL = "P0201" Error "two pools of one name";
    CATCH_ALL_NOT_LAST = "P0202" Error "a pool without `match` before the last pool";
    POOL_UNREACHABLE = "P0203" Warning
        "a pool that gets no node, because an earlier one matches all of its nodes";
    ALLOCATION_ON_ELASTIC = "P0204" Error
        "`allocation` on an elastic pool, whose capacity is not real";
    LIMIT_ON_FIXED = "P0205" Error "`limit` on a pool that is not elastic";
    ELASTIC_WITHOUT_LIMIT = "P0206" Warning
        "an elastic pool without `limit`: nothing bounds what it may cost";
    POOL_UNOPENED = "P0207" Warning since 2 "a pool that no class opens";
    ELASTIC_UNOPENED = "P0208" Warning since 2 "an elastic pool that no class may use";
    ELASTIC_CATCH_ALL = "P0209" Warning since 2
        "an elastic pool without `match`, which makes every other node a virtual one";
    // Classes.
    DUPLICATE_CLASS = "P0301" Error "two classes of one name";
    UNKNOWN_POOL = "P0302" Error "a class names a pool that is not there";
    POOL_LISTED_TWICE = "P0303" Error "a class names a pool twice";
    RAISED_WITHOUT_PROOF = "P0304" Error
        "a raised class without both a priority and a namespace in its `grant`";
    EXEMPT_WITHOUT_NAMES = "P0305" Error "`exempt` without namespaces by name";
    DEFAULT_WITH_GRANT = "P0306" Error "`default` with a `grant`: it is who matches nothing";
    GRANTS_TO_NOBODY = "P0307" Error "a class without a `grant`, which no pod could ever get";
    DEFAULT_ON_ELASTIC = "P0308" Error "`default` names an elastic pool";
    UNKNOWN_DOMAIN = "P0309" Error "`spread.domain` is not a label that nodes are grouped by";
    NEEDS_MANY_DOMAINS = "P0310" Info "a `maxShare` that two domains cannot hold";
    GRANT_SHADOWED = "P0311" Warning
        "a class that no pod can get, because an earlier one admits all of its pods";
    BINDS_NOTHING = "P0312" Warning "a pattern `*` in a `grant` that binds nothing";
    PRIORITY_BAND = "P0313" Error "a priority band whose `min` is above its `max`";
    NEARLY_A_ROLE = "P0314" Warning since 2
        "a class that is nearly called `offline`, `default` or `exempt`, and is raised";
    OPEN_EVERYWHERE = "P0315" Warning since 2
        "a class without `pools`, raised or `offline`, which may go to every node";
    EXEMPT_EVERYWHERE = "P0316" Error since 2 "`exempt` for every namespace";
    RAISES_EVERYBODY = "P0317" Error since 2
        "a raised class whose priority and namespaces match every pod";
    EXEMPT_WITHOUT_SYSTEM = "P0318" Warning since 2 "an `exempt` that leaves `kube-system` out";
    BANDS_OVERLAP = "P0319" Warning since 2
        "two priority bands that overlap in part, so that the order of the classes decides";
    BOUNDS_NOTHING = "P0320" Warning since 2 "a share of a class that bounds nothing";
    // Scoring.
    UNKNOWN_CLASS = "P0401" Error "`scoring` names a class that is not there";
    UNKNOWN_SCORER = "P0402" Error "`scoring` names a scorer that is not there";
    FILTER_WEIGHED = "P0403" Error "`scoring` gives a weight to a filter";
    BAD_WEIGHT = "P0404" Error "a weight that is not a whole number from 0 to 1000";
    ALL_WEIGHTS_ZERO = "P0405" Warning since 2 "a class whose weights are all 0";
    WEIGHTS_CANCEL = "P0406" Warning since 2
        "scorers of one weight that cancel each other";
    // Steering.
    STEERED_UNKNOWN_CLASS = "P0501" Error "`steering` names a class that is not there";
    PER_DOMAIN_ABOVE = "P0502" Warning since 2
        "`shortlistPerDomain` above `shortlist`, so that it bounds nothing";
    WINDOW_BELOW_BATCH = "P0503" Warning since 2
        "`window` below `batch`, so that no batch is ever full";
    // Actions.
    UNKNOWN_ACTION = "P0601" Error since 2
        "`actions.stop` names a kind of action that is not there";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ordered_and_explained() {
        assert!(ALL.is_sorted_by(|a, b| a.id < b.id));
        for code in ALL {
            assert!(code.id.len() == 5 && code.id.starts_with('P'), "{}", code.id);
            assert!(!code.summary.is_empty() && !code.summary.ends_with('.'), "{}", code.id);
            assert!((1..=CHECKS).contains(&code.since), "{}", code.id);
            assert!(std::ptr::eq(*code, find(code.id).expect("it is in the table")));
        }
        assert!(find("P9999").is_none() && !NOT_YAML.is_new_error());
    }
}

//! Names of sigma 0.1 that have other names now. No other file of `src/` knows them.
//!
//! A policy with an old name is read, with a warning. A flag or an environment variable with an old name ends
//! the start: nothing is switched off or on in silence. An annotation with the old name is read for as long as
//! pods carry it.

/// A name of sigma 0.1, and its name now.
pub type Renamed = (&'static str, &'static str);

/// Rules, as the section `scoring` of a policy names them.
pub const RULES: [Renamed; 4] = [
    ("hostSpread", "nodeSpread"),
    ("failureSpread", "topologySpread"),
    ("shapeMatch", "balancedAllocation"),
    ("domainShare", "maxReplicaShare"),
];

/// Fields of `steering.nominateAhead` of a policy.
pub const NOMINATE_AHEAD_FIELDS: [Renamed; 1] = [("headStartMs", "filterDelayMs")];

/// Flags of `sigma serve`. Flags that are gone have no name now.
pub const FLAGS: [(&str, Option<&str>); 5] = [
    ("--doorbell", Some("--requeue")),
    ("--qps", Some("--nominations-per-second")),
    ("--not-ready", Some("--before-sync")),
    ("--siblings", Some("--other-extenders")),
    ("--without", None),
];

/// Environment variables of `sigma serve`.
pub const ENVIRONMENT: [(&str, Option<&str>); 5] = [
    ("SIGMA_DOORBELL", Some("SIGMA_REQUEUE")),
    ("SIGMA_QPS", Some("SIGMA_NOMINATIONS_PER_SECOND")),
    ("SIGMA_NOT_READY", Some("SIGMA_BEFORE_SYNC")),
    ("SIGMA_SIBLINGS", Some("SIGMA_OTHER_EXTENDERS")),
    ("SIGMA_WITHOUT", None),
];

/// The annotation by which sigma 0.1 woke a pod and marked its nominations.
pub const REQUEUE_ANNOTATION: &str = "sigma.io/ring";

/// The name that a retired one has now; any other name stays.
pub fn current<'a>(table: &[Renamed], name: &'a str) -> &'a str {
    table.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new)
}

/// The verb that is a binary of its own now.
const BENCH: &str = "bench";

/// Why the process may not start: the verb `bench`, or `sigma serve` with a retired flag among its arguments or
/// a retired variable that has a value. Other verbs have no retired names.
pub fn refuse(
    arguments: impl IntoIterator<Item = String>,
    is_set: impl Fn(&str) -> bool,
) -> Option<String> {
    let named = |argument: &str| {
        let flag = argument.split('=').next().unwrap_or_default();
        FLAGS.iter().find(|(old, _)| *old == flag)
    };
    let mut arguments = arguments.into_iter().take_while(|it| it != "--");
    let verb = arguments.next()?;
    if verb == BENCH {
        let rest: String = arguments.map(|it| format!(" {it}")).collect();
        return Some(format!("sigma bench is a binary of its own now: run `sigma-bench{rest}`"));
    }
    if verb != "serve" {
        return None;
    }
    let flag = arguments.filter_map(|it| named(&it)).next();
    let (old, new) = flag.or_else(|| ENVIRONMENT.iter().find(|(old, _)| is_set(old)))?;
    Some(match new {
        Some(new) => format!("{old} is a name of sigma 0.1: it is {new} now"),
        None => format!("{old} is a name of sigma 0.1 and is gone: remove it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str], variables: &[&str]) -> Option<String> {
        let arguments = arguments.iter().map(|it| (*it).to_owned());
        refuse(arguments, |name| variables.contains(&name))
    }

    #[test]
    fn an_old_flag_or_variable_is_refused_with_its_new_name() {
        for (arguments, variables, want) in [
            (
                &["serve", "--doorbell=off"][..],
                &[][..],
                "--doorbell is a name of sigma 0.1: it is --requeue now",
            ),
            (
                &["serve", "--qps", "5"],
                &[],
                "--qps is a name of sigma 0.1: it is --nominations-per-second now",
            ),
            (
                &["serve"],
                &["SIGMA_SIBLINGS"],
                "SIGMA_SIBLINGS is a name of sigma 0.1: it is SIGMA_OTHER_EXTENDERS now",
            ),
            (
                &["serve", "--without", "memo"],
                &[],
                "--without is a name of sigma 0.1 and is gone: remove it",
            ),
            (
                &["bench", "wire", "--names", "500"],
                &[],
                "sigma bench is a binary of its own now: run `sigma-bench wire --names 500`",
            ),
        ] {
            assert_eq!(refused(arguments, variables).as_deref(), Some(want));
        }
        assert_eq!(refused(&["serve", "--requeue=off", "--", "--qps"], &["SIGMA_REQUEUE"]), None);
        assert_eq!(refused(&["why", "--qps"], &["SIGMA_QPS"]), None);
    }

    #[test]
    fn a_name_that_is_not_retired_stays() {
        assert_eq!(
            ["hostSpread", "binPack"].map(|it| current(&RULES, it)),
            ["nodeSpread", "binPack"]
        );
    }
}

//! What kube-scheduler's configuration changes of its filters, by profile. Who judges beside us is read in
//! `other_extenders`.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BadConfig, OtherExtendersSource};
use crate::k8s;
use crate::model::{Profile, Profiles};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// The name of a profile that gives none.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// Of a KubeSchedulerConfiguration, what concerns filters.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProfilesConfig {
    profiles: Option<Vec<SchedulerProfile>>,
    extenders: Option<Vec<ProfileExtender>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SchedulerProfile {
    scheduler_name: Option<String>,
    plugin_config: Option<Vec<PluginConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PluginConfig {
    name: String,
    args: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProfileExtender {
    managed_resources: Option<Vec<ProfileResource>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProfileResource {
    name: String,
    ignored_by_scheduler: Option<bool>,
}

/// `NodeResourcesFitArgs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FitArgs {
    ignored_resources: Option<Vec<Box<str>>>,
    ignored_resource_groups: Option<Vec<Box<str>>>,
}

/// `NodeAffinityArgs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AffinityArgs {
    added_affinity: Option<k8s::AddedAffinity>,
}

/// `PodTopologySpreadArgs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpreadArgs {
    default_constraints: Option<Vec<DefaultSpread>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DefaultSpread {
    when_unsatisfiable: String,
}

/// The profiles of kube-scheduler. They are empty if its configuration is not given.
pub(super) fn of(source: &OtherExtendersSource) -> Result<Arc<Profiles>, BadConfig> {
    let profiles = match source {
        OtherExtendersSource::SchedulerConfig { path, .. } => read(path)?,
        OtherExtendersSource::Told(_) => Profiles::default(),
    };
    Ok(Arc::new(profiles))
}

/// Reads the file. What else is in it is none of our business here.
fn read(path: &Path) -> Result<Profiles, BadConfig> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let found = file.and_then(|it| it.take(MAX_BYTES).read_to_string(&mut text));
    let found = found.map_err(|error| error.to_string()).and_then(|_| profiles(&text));
    found.map_err(|why| BadConfig(format!("--scheduler-config {}: {why}", path.display())))
}

fn profiles(text: &str) -> Result<Profiles, String> {
    // `other_extenders` refuses a second document.
    let documents: Vec<ProfilesConfig> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let config = documents.into_iter().next().unwrap_or_default();
    let managed = config.extenders.unwrap_or_default().into_iter();
    let managed = managed.flat_map(|it| it.managed_resources.unwrap_or_default());
    let ignored = managed.filter(|it| it.ignored_by_scheduler == Some(true));
    let by_scheduler = config.profiles.unwrap_or_default().into_iter().map(|it| {
        let name = it.scheduler_name.filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| DEFAULT_SCHEDULER.to_owned());
        let profile = profile(it.plugin_config.unwrap_or_default());
        Ok((name.as_str().into(), profile.map_err(|why| format!("profile {name}: {why}"))?))
    });
    Ok(Profiles {
        by_scheduler: by_scheduler.collect::<Result<_, String>>()?,
        ignored: ignored.map(|it| it.name.into()).collect(),
    })
}

fn profile(plugins: Vec<PluginConfig>) -> Result<Profile, String> {
    let mut profile = Profile::default();
    for PluginConfig { name, args } in plugins {
        match name.as_str() {
            "NodeResourcesFit" => {
                let args: FitArgs = read_args(&name, args)?;
                profile.ignored = args.ignored_resources.unwrap_or_default().into();
                profile.ignored_groups = args.ignored_resource_groups.unwrap_or_default().into();
            }
            "NodeAffinity" => {
                let args: AffinityArgs = read_args(&name, args)?;
                match args.added_affinity.as_ref().map(k8s::AddedAffinity::node_terms) {
                    None => {}
                    Some(Some(terms)) => profile.node_terms = terms,
                    Some(None) => profile.is_unclear = true,
                }
            }
            "PodTopologySpread" => {
                let args: SpreadArgs = read_args(&name, args)?;
                let all = args.default_constraints.unwrap_or_default();
                profile.spreads = all.iter().any(|it| it.when_unsatisfiable != "ScheduleAnyway");
            }
            _ => {}
        }
    }
    Ok(profile)
}

fn read_args<T: DeserializeOwned + Default>(name: &str, args: Value) -> Result<T, String> {
    if args.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(args).map_err(|error| format!("the args of {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "example.com/gpu";

    fn check(text: &str, want: [bool; 2], (unclear, spreads, terms): (bool, bool, Option<usize>)) {
        let got = profiles(text).expect("a configuration");
        let ignored = ["default-scheduler", "second"].map(|it| got.ignore(it, POD));
        assert_eq!(ignored, want, "{text}");
        let profile = got.of("default-scheduler").cloned().unwrap_or_default();
        let num_terms = profile.node_terms.map(|it| it.len());
        assert_eq!(
            (profile.is_unclear, profile.spreads, num_terms),
            (unclear, spreads, terms),
            "{text}"
        );
    }

    #[test]
    fn what_profiles_and_extenders_ignore_is_read() {
        let plain = (false, false, None);
        check("kind: KubeSchedulerConfiguration", [false, false], plain);
        check("profiles: [{}, {schedulerName: second}]\n---\n", [false, false], plain);
        check(
            "extenders: [{managedResources: [{name: example.com/gpu, ignoredByScheduler: true}]}]",
            [true, true],
            plain,
        );
        check("extenders: [{managedResources: [{name: example.com/gpu}]}]", [false, false], plain);
        let fit = |name: &str, args: &str| {
            format!(
                "profiles: [{{schedulerName: {name}, pluginConfig: [{{name: NodeResourcesFit, args: {args}}}]}}]"
            )
        };
        check(&fit("second", "{ignoredResources: [example.com/gpu]}"), [false, true], plain);
        check(&fit("''", "{ignoredResourceGroups: [example.com]}"), [true, false], plain);
        check(&fit("second", "null"), [false, false], plain);
    }

    #[test]
    fn what_a_profile_adds_is_read() {
        let with = |plugin: &str, args: &str| {
            format!(
                "profiles: [{{pluginConfig: [{{name: Own, args: 7}}, {{name: {plugin}, args: {args}}}]}}]"
            )
        };
        let added = |required: &str| {
            let required = format!(
                "{{addedAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {required}}}}}"
            );
            with("NodeAffinity", &required)
        };
        let term =
            "{nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: ['1']}]}]}";
        check(&added(term), [false; 2], (false, false, Some(1)));
        check(&added("null"), [false; 2], (false, false, None));
        let odd = "{nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Near}]}]}";
        check(&added(odd), [false; 2], (true, false, None));
        let spread = |word: &str| {
            with(
                "PodTopologySpread",
                &format!("{{defaultConstraints: [{{maxSkew: 1, whenUnsatisfiable: {word}}}]}}"),
            )
        };
        check(&spread("ScheduleAnyway"), [false; 2], (false, false, None));
        check(&spread("DoNotSchedule"), [false; 2], (false, true, None));
        let error =
            profiles(&with("NodeResourcesFit", "{ignoredResources: 7}")).expect_err("no list");
        assert!(
            error.starts_with("profile default-scheduler: the args of NodeResourcesFit: "),
            "{error}"
        );
        let error = read(Path::new("/no/such")).expect_err("there is no such file");
        assert!(error.to_string().starts_with("--scheduler-config /no/such: "), "{error}");
    }
}

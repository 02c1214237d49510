//! `sigma serve`: answers a real kube-scheduler.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::OsStringValueParser;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::http::{IdentityNames, NotReady};
use crate::k8s::client::KubeconfigSource;
use crate::policy::is_dns_label;
use crate::serve::{
    self, BadConfig, BadUrl, ExtenderUrl, LeaseSource, OtherExtendersSource, PolicySource,
    ServeConfig, TlsSource,
};

/// Answers a real kube-scheduler: watches the cluster, serves filter, prioritize, preempt and bind.
///
/// Run it beside kube-scheduler and register it under `extenders:` of the KubeSchedulerConfiguration
/// (deploy/ has both). Every flag can be given as an environment variable instead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sigma serve --kubeconfig ~/.kube/config --policy policies/default.yaml
  sigma serve --policy /etc/sigma/policy          # in a pod, policy from a ConfigMap
  sigma serve --policy policy.yaml --tls-cert tls.crt --tls-key tls.key --tls-client-ca ca.crt

Then: curl -s 127.0.0.1:9091/readyz?verbose, and sigma why NAMESPACE/POD")]
pub(super) struct ServeArgs {
    /// A kubeconfig file, or `in-cluster` for the service account of the pod that sigma runs in. Default:
    /// the files of KUBECONFIG if that is set, merged as kubectl does it.
    #[arg(
        long,
        env = "SIGMA_KUBECONFIG",
        default_value_t = default_kubeconfig(),
        value_name = "FILE"
    )]
    kubeconfig: String,
    /// The kubeconfig's context, when not its current one.
    #[arg(long, env = "SIGMA_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// The policy: a file, or a directory with exactly one *.yaml (a mounted ConfigMap). Followed
    /// while sigma runs. One that cannot be loaded leaves the last good one in force; without any, sigma
    /// answers and is not ready.
    #[arg(long, env = "SIGMA_POLICY", value_name = "FILE|DIR")]
    policy: PathBuf,
    /// A directory for what outlives the process. sigma keeps the last good policy there, and starts from it
    /// when the one of --policy has errors. Default, or empty: nothing is kept.
    #[arg(long, env = "SIGMA_STATE_DIR", value_name = "DIR", value_parser = OsStringValueParser::new())]
    state_dir: Option<OsString>,
    /// Where kube-scheduler calls. Without TLS keep it on loopback: whoever reaches it learns what we
    /// know.
    #[arg(long, env = "SIGMA_LISTEN", default_value = "127.0.0.1:9090", value_name = "ADDR")]
    listen: SocketAddr,
    /// Speak TLS (HTTP/2 or HTTP/1.1), only to clients with a certificate: our own certificate in PEM,
    /// those of intermediate authorities after it. All TLS files are followed while we run; ones that
    /// cannot be used leave the last good ones in force.
    #[arg(
        long,
        env = "SIGMA_TLS_CERT",
        value_name = "FILE",
        requires_all = ["tls_key", "tls_client_ca"]
    )]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert.
    #[arg(long, env = "SIGMA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authorities that a client's certificate must come from.
    #[arg(long, env = "SIGMA_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// The host of kube-scheduler's `urlPrefix`, or its `tlsConfig.serverName`. A --tls-cert for other
    /// names is then refused; put in force, it would make every call fail.
    #[arg(long, env = "SIGMA_TLS_SERVER_NAME", value_name = "NAME", requires = "tls_cert")]
    tls_server_name: Option<String>,
    /// Clients that may ask: a common name, DNS name or URI of their certificate. Default: every one
    /// that the authorities vouch for.
    #[arg(
        long,
        env = "SIGMA_TLS_CLIENT_NAMES",
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "tls_cert"
    )]
    tls_client_names: Vec<String>,
    /// Where probes, Prometheus and `sigma why` call. Read-only.
    #[arg(long, env = "SIGMA_ADMIN_LISTEN", default_value = "127.0.0.1:9091", value_name = "ADDR")]
    admin_listen: SocketAddr,
    /// What filter answers until all lists are in.
    #[arg(long, env = "SIGMA_BEFORE_SYNC", value_enum, default_value_t = BeforeSync::Degraded)]
    before_sync: BeforeSync,
    /// Whether a pod is woken when an unschedulable answer of ours no longer holds (needs `patch pods/status`).
    #[arg(long, env = "SIGMA_REQUEUE", value_enum, default_value_t = Switch::On)]
    requeue: Switch,
    /// Where the Lease is by which replicas agree who acts for the whole cluster (needs `get`, `create`,
    /// `update leases`). Default: where our own pod is; outside of a pod, or empty: there is no Lease,
    /// and what one replica alone must do is not done.
    #[arg(long, env = "SIGMA_LEASE_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    lease_namespace: Option<String>,
    /// The Lease's name.
    #[arg(
        long, env = "SIGMA_LEASE_NAME", default_value = "sigma", value_name = "NAME",
        value_parser = object_name
    )]
    lease_name: String,
    /// The `schedulerName` of pods that may be nominated ahead (`steering.nominateAhead` in the policy);
    /// can be given more than once.
    #[arg(
        long,
        env = "SIGMA_SCHEDULER_NAME",
        value_delimiter = ',',
        default_value = "default-scheduler",
        value_name = "NAME"
    )]
    scheduler_name: Vec<String>,
    /// Nominations ahead a second, at most. Never more than 32 are on their way, which keeps below what API
    /// priority and fairness lets one client have of a small control plane.
    #[arg(
        long, env = "SIGMA_NOMINATIONS_PER_SECOND", default_value_t = 1000, value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    nominations_per_second: u32,
    /// Whether the bind verb writes bindings (needs `create pods/binding`).
    #[arg(long, env = "SIGMA_BIND", value_enum, default_value_t = Switch::Off)]
    bind: Switch,
    /// From a request's first byte to the decision; later, the answer is the degraded verdict. Keep
    /// it far below the extender's `httpTimeout`.
    #[arg(long, env = "SIGMA_DEADLINE", default_value = "50ms", value_parser = duration)]
    deadline: Duration,
    /// kube-scheduler's own configuration, read once at the start: when other extenders filter after us
    /// or score, the shortlist is off for their pods. --extender-url tells which of them sigma is.
    #[arg(
        long,
        env = "SIGMA_SCHEDULER_CONFIG",
        value_name = "FILE",
        conflicts_with = "other_extenders"
    )]
    scheduler_config: Option<PathBuf>,
    /// The `urlPrefix` by which that configuration names sigma; entries below its path are sigma's too.
    /// Default: a loopback host, or the host of --listen, with the port of --listen.
    #[arg(long, env = "SIGMA_EXTENDER_URL", value_name = "URL")]
    extender_url: Option<String>,
    /// Where kube-scheduler's configuration cannot be read here: whether other extenders filter after us
    /// or score. `on` switches the shortlist off for all pods.
    #[arg(long, env = "SIGMA_OTHER_EXTENDERS", value_enum, default_value_t = Switch::Off)]
    other_extenders: Switch,
    /// How often all sums are recounted and all objects listed anew.
    #[arg(long, env = "SIGMA_AUDIT_INTERVAL", default_value = "10m", value_parser = duration)]
    audit_interval: Duration,
    /// What is logged, as in RUST_LOG; JSON unless stderr is a terminal.
    #[arg(long, env = "SIGMA_LOG", default_value = "info,kube_client=off", value_name = "FILTER")]
    log: String,
}

/// The word for the service account of the pod that sigma runs in.
const IN_CLUSTER: &str = "in-cluster";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BeforeSync {
    /// Online and default pods pass (but not to elastic pools), offline pods wait.
    Degraded,
    /// A constant Error: kube-scheduler backs off, or goes on without us if we are ignorable.
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    log_to_stderr(&args.log)?;
    // A manifest that leaves a variable empty means that it is not set.
    let kubeconfig =
        Some(args.kubeconfig).filter(|it| !it.is_empty()).unwrap_or_else(default_kubeconfig);
    let source = match kubeconfig.as_str() {
        IN_CLUSTER => KubeconfigSource::InCluster,
        path => KubeconfigSource::Kubeconfig {
            path: path.into(),
            context: args.context.filter(|it| !it.is_empty()),
        },
    };
    let files = (args.tls_cert, args.tls_key, args.tls_client_ca);
    let tls = if let (Some(cert), Some(key), Some(client_ca)) = files {
        let names = IdentityNames { server: args.tls_server_name, clients: args.tls_client_names };
        Some(TlsSource { cert, key, client_ca, names })
    } else {
        None
    };
    let own = args.extender_url.filter(|it| !it.is_empty()).map(|it| extender_url(&it));
    let own = own.transpose()?;
    let config = ServeConfig {
        source,
        policy: PolicySource(args.policy),
        state_dir: args.state_dir.filter(|it| !it.is_empty()).map(PathBuf::from),
        listen: args.listen,
        tls,
        admin_listen: args.admin_listen,
        not_ready: match args.before_sync {
            BeforeSync::Degraded => NotReady::Degraded,
            BeforeSync::Reject => NotReady::Reject,
        },
        requeue: args.requeue == Switch::On,
        lease: LeaseSource { namespace: args.lease_namespace, name: args.lease_name },
        schedulers: args.scheduler_name,
        nominations_per_second: args.nominations_per_second,
        bind: args.bind == Switch::On,
        deadline: args.deadline,
        other_extenders: match args.scheduler_config {
            Some(path) => OtherExtendersSource::SchedulerConfig { path, own },
            None => OtherExtendersSource::Told(args.other_extenders == Switch::On),
        },
        audit_interval: args.audit_interval,
    };
    serve::run(config).map_err(|error| match error.downcast::<BadConfig>() {
        Ok(bad) => Failure::usage(bad),
        Err(error) => error.into(),
    })
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(without_addresses(filter))
        .map_err(|error| Failure::usage(anyhow::anyhow!("--log {filter:?}: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match std::io::stderr().is_terminal() {
        true => builder.try_init(),
        false => builder.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("cannot start logging: {error}").into())
}

/// The files that kubectl would read, if it was told; else the pod's service account.
fn default_kubeconfig() -> String {
    let told = std::env::var("KUBECONFIG").ok().filter(|it| !it.is_empty());
    told.unwrap_or_else(|| IN_CLUSTER.to_owned())
}

/// The text is not shown: a password may be in it.
fn extender_url(text: &str) -> Result<ExtenderUrl, Failure> {
    text.parse().map_err(|error: BadUrl| {
        Failure::usage(anyhow::anyhow!("--extender-url {error}, such as http://127.0.0.1:9090"))
    })
}

/// The libraries that speak to the API server write where it is: who wants that names them.
fn without_addresses(filter: &str) -> String {
    let mut all = filter.to_owned();
    for (library, level) in [("kube_client", "off"), ("hyper_util", "info")] {
        if !filter.contains(library) {
            let comma = if all.is_empty() { "" } else { "," };
            all += &format!("{comma}{library}={level}");
        }
    }
    all
}

/// A namespace, or none. One that the API server cannot have would be a Lease that nobody ever gets.
fn namespace(text: &str) -> Result<String, String> {
    match text.is_empty() || is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} cannot be a namespace: it is no DNS label")),
    }
}

/// The name of an object: DNS labels with dots between.
fn object_name(text: &str) -> Result<String, String> {
    match text.len() <= 253 && text.split('.').all(is_dns_label) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} cannot be an object's name: it is no DNS name")),
    }
}

/// `50ms`, `2s`, `10m`, `1h`: a whole number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a duration such as 50ms, 2s, 10m or 1h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(unit_ms).filter(|ms| *ms > 0 && *ms <= 7 * 24 * 3_600_000);
    total.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_api_server_can_have() {
        for (text, is_namespace, is_name) in [
            ("", true, false),
            ("sigma-system", true, true),
            ("sigma.east-1", false, true),
            ("sigma..1", false, false),
            ("sigma/lease", false, false),
            ("Sigma", false, false),
            ("../x", false, false),
        ] {
            assert_eq!(namespace(text).is_ok(), is_namespace, "{text}");
            assert_eq!(object_name(text).is_ok(), is_name, "{text}");
        }
        assert!(
            object_name(&"a.".repeat(127)).is_err() && object_name(&["a"; 128].join(".")).is_err()
        );
        assert!(object_name(&["a"; 127].join(".")).is_ok());
    }

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for text in ["", "50", "ms", "-1s", "1.5s", "1d", "0s", "99999999999999999999s", "200h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

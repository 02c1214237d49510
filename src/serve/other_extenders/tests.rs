use super::*;

const OURS: &str = "{urlPrefix: 'http://127.0.0.1:9090', filterVerb: filter, ignorable: true}";

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9090))
}

fn file(extenders: &[&str]) -> String {
    let list: String = extenders.iter().map(|it| format!("- {it}\n")).collect();
    format!("apiVersion: {API_VERSION}\nkind: {KIND}\nextenders:\n{list}")
}

fn read_text(text: &str) -> Result<SchedulerFacts, String> {
    scheduler(text, OwnEntries { url: None, listen: listen() })
}

fn known_as(url: &str, extenders: &[&str]) -> Result<SchedulerFacts, String> {
    let url = url.parse().expect("a URL");
    scheduler(&file(extenders), OwnEntries { url: Some(&url), listen: listen() })
}

fn check(extenders: &[&str], want: Result<OtherExtenders, &str>) {
    let text = file(extenders);
    let got = read_text(&text).map(|it| it.other_extenders);
    match (&got, &want) {
        (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
        _ => assert_eq!(got, want.map_err(str::to_owned), "{text}"),
    }
}

#[test]
fn who_judges_after_us_is_another_extender() {
    let other = |rest: &str| format!("{{urlPrefix: 'http://gpu:80/x', {rest}}}");
    let filters = other("filterVerb: filter, ignorable: true");
    check(&[OURS], Ok(OtherExtenders::None));
    check(&[OURS, &filters], Ok(OtherExtenders::Judging));
    check(&[&filters, OURS], Ok(OtherExtenders::None));
    // Asked before us wherever it stands, because kube-scheduler cannot do without it.
    check(&[OURS, &other("filterVerb: filter")], Ok(OtherExtenders::None));
    // It scores what we leave.
    check(&[&other("prioritizeVerb: score, weight: 1"), OURS], Ok(OtherExtenders::Judging));
    check(&[OURS, &other("bindVerb: bind, filterVerb: ''")], Ok(OtherExtenders::None));
    let managing = other(
        "prioritizeVerb: p, weight: 1, managedResources: [{name: example.com/gpu}, \
         {name: example.com/fpga, ignoredByScheduler: true}]",
    );
    let names = vec!["example.com/gpu".into(), "example.com/fpga".into()];
    check(&[OURS, &managing], Ok(OtherExtenders::Managing(names)));
    check(&[OURS, &managing, &filters], Ok(OtherExtenders::Judging));
    // The same port of another machine is another extender.
    let same_port = "{urlPrefix: 'http://gpu:9090', filterVerb: filter, ignorable: true}";
    check(&[OURS, same_port], Ok(OtherExtenders::Judging));
    check(&[same_port, OURS], Ok(OtherExtenders::None));
}

#[test]
fn we_are_the_entry_on_the_loopback_or_the_one_that_was_named() {
    for url in [
        "http://127.0.0.1:9090",
        "http://localhost:9090/",
        "HTTP://LocalHost:9090/sigma",
        "http://[::1]:9090",
        "https://127.0.0.1:9090/online/",
    ] {
        check(&[&format!("{{urlPrefix: '{url}', filterVerb: filter}}")], Ok(OtherExtenders::None));
    }
    let at = |url: &str| format!("{{urlPrefix: '{url}', filterVerb: filter}}");
    let error = |it: Result<SchedulerFacts, String>| it.expect_err("it is none of them");
    for url in ["http://127.0.0.1:9091", "http://gpu:9090", "http://10.0.0.1:9090"] {
        check(&[&at(url)], Err("none of its extenders has the port of --listen, 127.0.0.1:9090"));
        check(&[&at(url)], Err("as --extender-url"));
    }
    // The very address of --listen, if it is one.
    let listening = |listen: &str| {
        let listen = listen.parse().expect("an address");
        scheduler(&file(&[&at("http://10.0.0.1:9090")]), OwnEntries { url: None, listen })
    };
    assert!(listening("10.0.0.1:9090").is_ok());
    for other in ["10.0.0.2:9090", "10.0.0.1:9091", "0.0.0.0:9090", "[::]:9090"] {
        assert!(listening(other).is_err(), "{other}");
    }
    let service = "https://sigma.sigma-system.svc:9443";
    let got = known_as(service, &[&at("https://SIGMA.sigma-system.svc.:9443/"), &at("http://gpu")]);
    assert_eq!(got.map(|it| it.other_extenders), Ok(OtherExtenders::Judging));
    // Whoever has been named is not somebody on the loopback.
    let got = error(known_as(service, &[OURS]));
    assert!(got.contains("the urlPrefix of --extender-url") && got.contains(service), "{got}");
    assert!(got.contains("there are http://localhost:9090"), "{got}");
    let secret = error(known_as(service, &[&at("http://u:secret@gpu:80")]));
    assert!(!secret.contains("secret") && secret.contains("http://gpu:80"), "{secret}");
}

#[test]
fn several_own_entries_have_different_paths() {
    let own = |path: &str, rest: &str| {
        format!("{{urlPrefix: 'http://127.0.0.1:9090{path}', filterVerb: filter, {rest}}}")
    };
    let other = |rest: &str| format!("{{urlPrefix: 'http://gpu:80', {rest}}}");
    let (online, offline) = (own("/online", "ignorable: true"), own("/offline", "weight: 1"));
    check(&[&online, &offline], Ok(OtherExtenders::None));
    check(&[&own("", ""), &own("/offline", "")], Ok(OtherExtenders::None));
    // The first of our filters may leave nodes out: `offline`, which is asked first.
    check(&[&online, &offline, &other("filterVerb: f")], Ok(OtherExtenders::Judging));
    check(&[&other("filterVerb: f"), &online, &offline], Ok(OtherExtenders::None));
    let scores_only = "{urlPrefix: 'http://127.0.0.1:9090/s', prioritizeVerb: p, weight: 1}";
    check(&[scores_only, &other("filterVerb: f"), &own("", "")], Ok(OtherExtenders::None));
    for twice in [["", ""], ["", "/"], ["/a", "/a/"]] {
        let want = "several of its extenders have the urlPrefix http://localhost:9090";
        check(&[&own(twice[0], ""), &own(twice[1], "")], Err(want));
    }
    // What stands below another path of the same address is another extender.
    let got = known_as(
        "http://gw/sigma",
        &[
            "{urlPrefix: 'http://gw/sigma', filterVerb: f}",
            "{urlPrefix: 'http://gw/gpu', filterVerb: f}",
        ],
    );
    assert_eq!(got.map(|it| it.other_extenders), Ok(OtherExtenders::Judging));
}

#[test]
fn every_pod_that_we_filter_must_be_one_that_we_are_asked_about() {
    let gpu = "managedResources: [{name: example.com/gpu}]";
    let both = "managedResources: [{name: example.com/gpu}, {name: example.com/fpga}]";
    let cases: &[(&[&str], bool)] = &[
        (&["filterVerb: f, preemptVerb: p"], true),
        (&["filterVerb: f"], false),
        (&["filterVerb: f, preemptVerb: ''"], false),
        (&["preemptVerb: p"], true),
        // kube-scheduler asks each extender that has the verb.
        (&["filterVerb: f", "preemptVerb: p"], true),
        (&["filterVerb: f, preemptVerb: p", "filterVerb: f"], true),
        // But only about pods that concern it.
        (&["filterVerb: f", "filterVerb: f, preemptVerb: p, GPU"], false),
        (&["filterVerb: f, GPU", "filterVerb: f, preemptVerb: p"], true),
        (&["filterVerb: f, GPU", "preemptVerb: p, BOTH"], true),
        (&["filterVerb: f, BOTH", "preemptVerb: p, GPU"], false),
        (&["filterVerb: f, preemptVerb: p, GPU"], true),
    ];
    for (entries, want) in cases {
        let entries: Vec<String> = (0..)
            .zip(*entries)
            .map(|(at, it)| {
                let it = it.replace("GPU", gpu).replace("BOTH", both);
                format!("{{urlPrefix: 'http://localhost:9090/{at}', {it}}}")
            })
            .collect();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let want = if *want { PreemptVerb::Configured } else { PreemptVerb::Absent };
        assert_eq!(read_text(&file(&entries)).map(|it| it.preempt_verb), Ok(want), "{entries:?}");
    }
}

#[test]
fn a_line_of_dashes_is_no_document() {
    let good = file(&[OURS]);
    for text in [
        format!("---\n{good}"),
        format!("{good}---\n"),
        format!("{good}---"),
        format!("{good}...\n"),
        format!("{good}...\n---\n# the end\n"),
        format!("# sigma\n---\n# beside it\n---\n{good}---\n\n# the end\n---\n"),
        format!("%YAML 1.2\n---\n{good}"),
        format!("\u{feff}---\r\n{}---\r\n", good.replace('\n', "\r\n")),
        serde_json::json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "extenders": [{"urlPrefix": "http://127.0.0.1:9090/", "filterVerb": "filter"}],
        })
        .to_string(),
    ] {
        assert_eq!(
            read_text(&text).map(|it| it.other_extenders),
            Ok(OtherExtenders::None),
            "{text}"
        );
    }
    for (text, line) in [
        (format!("{good}---\n{good}"), "line 6"),
        (format!("{good}---\nkind: ConfigMap\n"), "line 6"),
        (format!("{good}---\n# of what?\n{{}}\n"), "line 7"),
    ] {
        let error = read_text(&text).expect_err("there are two");
        assert!(error.contains("a second YAML document begins in "), "{error}");
        assert!(error.contains(line), "{error}");
    }
}

#[test]
fn a_file_that_is_something_else_is_said() {
    let config = |version: &str, kind: &str| format!("apiVersion: {version}\nkind: {kind}\n");
    let said = "not a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1: ";
    for (text, want) in [
        (String::new(), "its apiVersion is none, its kind none"),
        ("---\n".to_owned(), "its apiVersion is none"),
        ("kind: KubeSchedulerConfiguration".to_owned(), "its apiVersion is none, its kind \"Kube"),
        (config("kubescheduler.config.k8s.io/v1beta3", KIND), "scheduler.config.k8s.io/v1beta3\""),
        (config("v1", "ConfigMap"), "its apiVersion is \"v1\", its kind \"ConfigMap\""),
        (config("kubescheduler.config.k8s.io/v1", "Policy"), "its kind \"Policy\""),
    ] {
        let error = read_text(&text).expect_err("it is something else");
        assert!(error.starts_with(said) && error.contains(want), "{error}");
    }
    for text in ["[]", "a: b: c", "extenders: 5", "[oops", "\0"] {
        let error = read_text(text).expect_err("it is no mapping");
        assert!(!error.contains('\n') && !error.contains("none of its"), "{error}");
    }
    for none in ["", "extenders:\n", "extenders: []\n", "extenders: null\n"] {
        let error = read_text(&(config(API_VERSION, KIND) + none)).expect_err("nobody is there");
        assert!(error.contains("none of its extenders has the port of --listen"), "{error}");
        assert!(error.contains("there is none"), "{error}");
    }
    check(&["{filterVerb: filter}", "{urlPrefix: 'sigma:9090'}"], Err("there is none with a URL"));
    let own = OwnEntries { url: None, listen: listen() };
    let error = read(Path::new("/no/such"), own).expect_err("there is no such file");
    assert!(error.to_string().starts_with("--scheduler-config /no/such: "), "{error}");
    let long = "#".repeat(1 << 20) + "\n" + &file(&[OURS]);
    assert!(read_text(&long).is_err_and(|it| it.contains("more than 1048576 bytes")));
}

#[test]
fn what_is_shipped_has_no_other_extender_and_asks_before_it_preempts() -> Result<(), BadConfig> {
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
    let service: ExtenderUrl = "https://sigma.sigma-system.svc:9443".parse().expect("a URL");
    for (folder, url) in [
        ("base", None),
        ("overlays/kubeadm-static-pod", None),
        ("overlays/service-mtls", Some(&service)),
    ] {
        let path = format!("{deploy}/{folder}/kube-scheduler-config.yaml");
        let want = SchedulerFacts {
            other_extenders: OtherExtenders::None,
            preempt_verb: PreemptVerb::Configured,
        };
        assert_eq!(read(Path::new(&path), OwnEntries { url, listen: listen() })?, want);
    }
    Ok(())
}

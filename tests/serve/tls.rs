//! `--tls-*`: what is not put in force, at the start and later, and what is without a restart.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::cannot_start::ends;
use crate::pki::{Authority, EXPIRED, Issued};
use crate::site::{Site, pod};
use crate::support::process::Sigma;
use crate::support::wait;
use crate::tls_client::{self, HOST};

const NAME: &str = "system:kube-scheduler";
const ERRORS: &str = "sigma_tls_load_errors_total";
const STALE: &str = "sigma_tls_stale";

/// A Secret as the kubelet mounts it: all files change at once, by a link.
struct Mounted {
    path: PathBuf,
    versions: usize,
}

impl Mounted {
    fn new(site: &Site) -> Self {
        let path = site.path("tls");
        fs::create_dir(&path).expect("a directory");
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(format!("..data/{name}"), path.join(name)).expect("a link");
        }
        Self { path, versions: 0 }
    }

    fn put(&mut self, server: &Issued, client_ca: &Authority) {
        self.put_texts(&server.cert, &server.key, &client_ca.pem);
    }

    fn put_texts(&mut self, cert: &str, key: &str, client_ca: &str) {
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        let folder = self.path.join(&version);
        fs::create_dir(&folder).expect("a directory");
        for (name, text) in [("tls.crt", cert), ("tls.key", key), ("ca.crt", client_ca)] {
            fs::write(folder.join(name), text).expect("written");
        }
        symlink(&version, self.path.join("..data_tmp")).expect("a link");
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).expect("swapped");
    }

    fn file(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// `sigma serve` with these files.
    fn command(&self, site: &Site) -> Command {
        let mut command = site.command(&["--tls-server-name", HOST, "--tls-client-names", NAME]);
        for (flag, name) in
            [("--tls-cert", "tls.crt"), ("--tls-key", "tls.key"), ("--tls-client-ca", "ca.crt")]
        {
            command.args([flag, &self.file(name)]);
        }
        command
    }
}

/// Whether a client is answered over a new connection.
fn answers(sigma: &Sigma, server_ca: &Authority, client: &Issued) -> bool {
    let args = json!({"Pod": pod("cart", "1"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let posted = runtime.expect("a runtime").block_on(tls_client::post_once(
        sigma.verbs,
        server_ca,
        Some(client),
        &args,
    ));
    posted.is_ok_and(|it| it.status() == 200)
}

#[test]
fn files_that_are_no_identity_are_named_and_nothing_starts() {
    let site = Site::new();
    let mut mounted = Mounted::new(&site);
    let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (good, other) = (ca.issue("sigma", &[HOST]), ca.issue("sigma", &[HOST]));
    let (cert, key, client_ca) =
        (mounted.file("tls.crt"), mounted.file("tls.key"), mounted.file("ca.crt"));
    let mut check = |cert: &str, key: &str, client_ca: &str, parts: &[&str]| {
        mounted.put_texts(cert, key, client_ca);
        ends(mounted.command(&site), 2, &[&["error: "], parts].concat());
    };
    let expired = ca.issue_for("sigma", &[HOST], EXPIRED);
    let said = format!("cannot use --tls-cert {cert}: expired at 2021-01-01T00:00:00Z");
    check(&expired.cert, &expired.key, &clients.pem, &[&said]);
    let future = ca.issue_for("sigma", &[HOST], (2089, 2090));
    check(&future.cert, &future.key, &clients.pem, &["not valid before 2089-01-01T00:00:00Z"]);
    let elsewhere = ca.issue("x", &["other.svc"]);
    let said = format!("cannot use --tls-cert {cert}: for x, other.svc and not for {HOST}");
    check(&elsewhere.cert, &elsewhere.key, &clients.pem, &[&said]);
    let said = format!("cannot use --tls-key {key}: not the key of the certificate");
    check(&good.cert, &other.key, &clients.pem, &[&said]);
    check(&good.key, &good.cert, &clients.pem, &[&cert, "no certificate in PEM"]);
    check(&good.cert, &good.cert, &clients.pem, &[&key, "no private key in PEM"]);
    check("", &good.key, &clients.pem, &[&cert, "no certificate in PEM"]);
    check(&good.cert, &good.key, "", &[&client_ca, "no certificate in PEM"]);
    check(&good.cert, &good.key, &good.cert, &[&client_ca, "no authority's (CA:FALSE)"]);
    let old = Authority::with_years("old", EXPIRED);
    check(&good.cert, &good.key, &old.pem, &[&client_ca, "expired at 2021-01-01T00:00:00Z"]);
    let broken = good.cert.replace("MII", "MIJ");
    check(&broken, &good.key, &clients.pem, &[&cert, "not a certificate"]);
    fs::remove_file(mounted.path.join("tls.key")).expect("removed");
    let said = format!("cannot read --tls-key {key}: No such file");
    ends(mounted.command(&site), 2, &[&said]);
    for (flag, other) in [("--tls-cert", "--tls-key"), ("--tls-client-names", "--tls-cert")] {
        ends(site.command(&[flag, "x"]), 2, &[other]);
    }
}

#[test]
fn certificates_and_authorities_are_reloaded_and_bad_ones_are_not() {
    let site = Site::new();
    let mut mounted = Mounted::new(&site);
    let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
    let client = clients.issue(NAME, &[]);
    mounted.put(&ca.issue("first", &[HOST]), &clients);
    let sigma = Sigma::start(mounted.command(&site));
    sigma.wait_ready();
    let page = || sigma.get("/readyz?verbose").body;
    let line = format!("[+] tls: first, {HOST} until 2090-01-01T00:00:00Z\n");
    assert!(page().contains(&line), "{}", page());
    assert_eq!(sigma.metric("sigma_tls_expiry_timestamp_seconds"), 3_786_912_000.0);
    assert!(answers(&sigma, &ca, &client));
    assert!(!answers(&sigma, &ca, &clients.issue("somebody", &[])));

    // Bad ones change nothing but what is told.
    let good = ca.issue("second", &[HOST]);
    let expired = ca.issue_for("second", &[HOST], EXPIRED);
    let elsewhere = ca.issue("second", &["other.svc"]);
    for (count, (cert, key, why)) in (1..).zip([
        (&*expired.cert, &*expired.key, "expired at 2021"),
        (&good.cert, &elsewhere.key, "not the key of the certificate"),
        (&elsewhere.cert, &elsewhere.key, "and not for sigma.sigma-system.svc"),
    ]) {
        mounted.put_texts(cert, key, &clients.pem);
        sigma.wait_metric(ERRORS, f64::from(count));
        assert_eq!(sigma.metric(STALE), 1.0);
        let told = format!("Z; the files on disk are not in force: cannot use {}", "--tls-");
        let page = page();
        assert!(page.contains("[-] tls: first") && page.contains(&told), "{page}");
        assert!(page.contains(why), "{page}");
        assert!(answers(&sigma, &ca, &client), "{why}");
    }
    assert_eq!(sigma.logged("the last good ones stay in force"), 3);
    fs::remove_file(mounted.path.join("..data")).expect("removed");
    sigma.wait_metric(ERRORS, 4.0);
    assert!(page().contains("cannot read --tls-cert"), "{}", page());
    assert!(answers(&sigma, &ca, &client));

    // A good one, with other authorities.
    let new_clients = Authority::new("clients 2");
    mounted.put(&good, &new_clients);
    wait("the second one is in force", || page().contains("[+] tls: second, "));
    assert_eq!((sigma.metric(STALE), sigma.metric(ERRORS)), (0.0, 4.0));
    assert!(!page().contains("not in force"), "{}", page());
    assert!(!answers(&sigma, &ca, &client));
    assert!(answers(&sigma, &ca, &new_clients.issue(NAME, &[])));
}

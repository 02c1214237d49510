//! What is read from where.

use super::net::self_signed;
use super::*;

/// The lines of a request that tell who asks.
fn who(seen: &str) -> Vec<&str> {
    let lines = seen.lines().filter(|line| {
        ["client: ", "authorization: ", "impersonate-"].iter().any(|it| line.starts_with(it))
    });
    lines.filter(|line| *line != "client: nobody").collect()
}

#[tokio::test]
async fn who_we_are() {
    let site = Site::new().await;
    site.write("token", "  from-file\n\n");
    site.write("sub/token", "from-sub\r\n");
    let pem = format!("{}{}", site.client.key, site.client.cert);
    site.write("both.pem", &pem);
    let (cert, key) = (base64(&site.client.cert), base64(&site.client.key));
    let dir = site.dir.path().display().to_string();
    let blocks = format!(
        "client-certificate-data: |\n{}client-key-data: >-\n{}",
        folded(&site.client.cert, "  "),
        folded(&site.client.key, "  ")
    );
    let certificate = ["client: cn=sigma"];
    let cases: Vec<(String, &[&str])> = vec![
        ("{}".into(), &[]),
        ("".into(), &[]),
        ("{token: Abc}".into(), &["authorization: bearer abc"]),
        ("{token: ' abc '}".into(), &["authorization: bearer abc"]),
        ("{tokenFile: token}".into(), &["authorization: bearer from-file"]),
        (format!("{{tokenFile: '{dir}/token'}}"), &["authorization: bearer from-file"]),
        ("{tokenFile: ./sub/../sub/token}".into(), &["authorization: bearer from-sub"]),
        // The file is newer than what was written down.
        ("{token: abc, tokenFile: token}".into(), &["authorization: bearer from-file"]),
        ("{token: abc, tokenFile: none}".into(), &["authorization: bearer abc"]),
        ("{token: '', tokenFile: token}".into(), &["authorization: bearer from-file"]),
        ("{username: u, password: 'p:w'}".into(), &["authorization: basic dtpwonc="]),
        ("{username: u}".into(), &["authorization: basic dto="]),
        ("{password: p}".into(), &[]),
        ("{client-certificate: client.crt, client-key: client.key}".into(), &certificate),
        (
            format!("{{client-certificate: '{dir}/client.crt', client-key: client.key}}"),
            &certificate,
        ),
        ("{client-certificate: both.pem, client-key: both.pem}".into(), &certificate),
        (format!("{{client-certificate-data: {cert}, client-key-data: {key}}}"), &certificate),
        (blocks, &certificate),
        // Beside data the file is not looked at.
        (
            format!(
                "{{client-certificate-data: {cert}, client-key-data: {key}, \
            client-certificate: none, client-key: none}}"
            ),
            &certificate,
        ),
        (
            format!(
                "{{client-certificate-data: '', client-certificate: client.crt, \
            client-key-data: {key}}}"
            ),
            &certificate,
        ),
        // A key by itself means nothing.
        ("{client-key: none}".into(), &[]),
        (
            "{client-certificate: client.crt, client-key: client.key, token: abc}".into(),
            &["client: cn=sigma", "authorization: bearer abc"],
        ),
        (
            "{auth-provider: {name: oidc, config: {id-token: abc}}}".into(),
            &["authorization: bearer abc"],
        ),
        (
            "{token: t, auth-provider: {name: oidc, config: {id-token: abc}}}".into(),
            &["authorization: bearer t"],
        ),
        (
            "{token: t, as: jane, as-uid: '7', as-groups: [a, b], \
           as-user-extra: {Scopes/x: [one, two]}}"
                .into(),
            &[
                "authorization: bearer t",
                "impersonate-user: jane",
                "impersonate-uid: 7",
                "impersonate-group: a",
                "impersonate-group: b",
                "impersonate-extra-scopes%2fx: one",
                "impersonate-extra-scopes%2fx: two",
            ],
        ),
    ];
    for (user, want) in cases {
        let text = site.kubeconfig(&site.cluster(""), &user);
        let seen = site.seen(&text).await.unwrap_or_else(|error| panic!("{user}: {error}"));
        let mut found = who(&seen);
        let mut want = want.to_vec();
        (found.sort_unstable(), want.sort_unstable());
        assert_eq!(found, want, "{user}\n{seen}");
    }
}

#[tokio::test]
async fn who_the_server_is() {
    let site = Site::new().await;
    let (url, port) = (site.url(), site.server.port);
    let ca = &site.authority.pair.cert;
    let other = Authority::new("other").pair.cert;
    let p521 = include_str!("p521-ca.pem");
    site.write("bundle", &format!("# ours\n{other}and text between\n{ca}{p521}"));
    site.write("sub/ca.pem", ca);
    site.write("other.crt", &other);
    let data = base64(ca);
    let cases: Vec<(String, Result<&str, &str>)> = vec![
        (format!("{{server: '{url}', certificate-authority: ca.crt}}"), Ok("get /x ")),
        (format!("{{server: '{url}', certificate-authority: sub/ca.pem}}"), Ok("get /x ")),
        (format!("{{server: '{url}', certificate-authority: bundle}}"), Ok("get /x ")),
        (format!("{{server: '{url}', certificate-authority-data: {data}}}"), Ok("get /x ")),
        (
            format!("server: {url}\ncertificate-authority-data: |\n{}", folded(ca, "  ")),
            Ok("get /x "),
        ),
        (
            format!("server: {url}\ncertificate-authority-data: >\n{}", folded(ca, "    ")),
            Ok("get /x "),
        ),
        (
            format!(
                "{{server: '{url}', certificate-authority: other.crt, \
            certificate-authority-data: {data}}}"
            ),
            Ok("get /x "),
        ),
        (
            format!(
                "{{server: '{url}', certificate-authority: ca.crt, \
            certificate-authority-data: ''}}"
            ),
            Ok("get /x "),
        ),
        (format!("{{server: '{url}', insecure-skip-tls-verify: true}}"), Ok("get /x ")),
        (
            format!("{{server: '{url}', certificate-authority: other.crt}}"),
            Err("none of the authorities given for the cluster"),
        ),
        (format!("{{server: '{url}'}}"), Err("UnknownIssuer")),
        // Paths, as Rancher has them, and spellings.
        (format!("{{server: '{url}/', certificate-authority: ca.crt}}"), Ok("get /x ")),
        (
            format!("{{server: '{url}/k8s/clusters/c-1/', certificate-authority: ca.crt}}"),
            Ok("get /k8s/clusters/c-1/x "),
        ),
        (format!("{{server: '{url}?a=b#c', certificate-authority: ca.crt}}"), Ok("get /x ")),
        (
            format!("{{server: 'HTTPS://127.0.0.1:{port}', certificate-authority: ca.crt}}"),
            Ok("get /x "),
        ),
        (format!("{{server: '127.0.0.1:{port}', certificate-authority: ca.crt}}"), Ok("get /x ")),
        // The name that the certificate must have.
        (
            format!("{{server: 'https://localhost:{port}', certificate-authority: ca.crt}}"),
            Err("not valid for name \"localhost\""),
        ),
        (
            format!(
                "{{server: 'https://localhost:{port}', certificate-authority: ca.crt, \
            tls-server-name: api.sigma.test}}"
            ),
            Ok("sni: api.sigma.test"),
        ),
        (
            format!(
                "{{server: '{url}', certificate-authority: ca.crt, \
            tls-server-name: 127.0.0.1}}"
            ),
            Ok("sni: nobody"),
        ),
        (
            format!(
                "{{server: '{url}', certificate-authority: ca.crt, \
            tls-server-name: else.sigma.test}}"
            ),
            Err("not valid for name \"else.sigma.test\""),
        ),
    ];
    for (cluster, want) in cases {
        let seen = site.seen(&site.kubeconfig(&cluster, "{}")).await;
        match (&seen, want) {
            (Ok(seen), Ok(want)) => assert!(seen.contains(want), "{cluster}: {seen}"),
            (Err(seen), Err(want)) => assert!(seen.contains(want), "{cluster}: {seen}"),
            _ => panic!("{cluster}: {seen:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_tls_library_refuses_is_named_and_what_it_does_not_works() {
    // One that vouches for itself alone, as a development server has it.
    let own = self_signed("alone");
    let site = Site::with(Authority::new("unused"), &own).await;
    site.write("ca.crt", &own.cert);
    let seen = site.seen(&site.kubeconfig(&site.cluster(""), "{}")).await;
    assert!(seen.is_ok(), "{seen:?}");
    // An authority that shows its own certificate.
    let authority = Authority::new("authority");
    let own = authority.pair.clone();
    let site = Site::with(authority, &own).await;
    let error = site.seen(&site.kubeconfig(&site.cluster(""), "{}")).await.expect_err("refused");
    assert!(error.contains("shows the certificate of an authority as its own"), "{error}");
    // A server whose key only others can verify.
    let server = net::server_without_common_algorithm().await;
    let cluster =
        format!("{{server: 'https://127.0.0.1:{}', certificate-authority: ca.crt}}", server.port);
    let client = site.connect(&site.kubeconfig(&cluster, "{}")).await.expect("a client");
    let error = request(&client).await.expect_err("no handshake");
    assert!(error.contains("that sigma's TLS library cannot verify, such as P-521"), "{error}");
    // `openssl ecparam -genkey` writes a block before the key.
    site.write("ec.key", include_str!("ec-parameters.key.pem"));
    site.write("ec.crt", include_str!("ec-parameters.pem"));
    let user = "{client-certificate: ec.crt, client-key: ec.key}";
    let made = site.connect(&site.kubeconfig(&site.cluster(""), user)).await;
    assert!(made.is_ok(), "{:?}", made.err());
}

#[tokio::test]
async fn what_is_not_used_is_not_judged() {
    let site = Site::new().await;
    let odd = "- name: gke\n  user: {auth-provider: {name: gcp}}\n\
        - name: twice\n  user: {token: a, token: b}\n\
        - name: broken\n  user: {client-key-data: '%', client-certificate: /none, exec: 5}\n\
        - name: nothing\n  user:\n- name: empty\n- {}\n- 7\n- name: 5\n";
    let clusters = "- name: far\n  cluster: {proxy-url: 'ftp://x', server: 5, server: 6}\n\
        - name: far\n- name: none\n";
    let text = site.kubeconfig(&site.cluster(""), "{token: abc, token: abd, x-new: [1]}");
    let text = text.replace("users:\n", &format!("users:\n{odd}"));
    let text = text.replace("clusters:\n", &format!("clusters:\n{clusters}"));
    for text in [
        format!("{text}x-new: {{}}\npreferences: {{}}\nextensions: null\n"),
        // The last of two equal keys counts.
        format!("current-context: none\n{text}---\n"),
        format!("---\n# mine\n{text}...\n"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        text.replace("apiVersion: v1\nkind: Config\n", ""),
    ] {
        let seen = site.seen(&text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(seen.contains("authorization: bearer abd"), "{seen}");
    }
    let json = serde_json::json!({
        "current-context": "prod",
        "clusters": [{"name": "c", "cluster": {"server": site.url(),
            "certificate-authority": "ca.crt"}}],
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": ""}}],
        "users": null,
    });
    let json = serde_json::to_string_pretty(&json).expect("JSON").replace("  ", "\t");
    assert!(site.seen(&json).await.is_ok());
    // As PowerShell writes it.
    let units = json.encode_utf16().flat_map(u16::to_le_bytes);
    let path = site.dir.path().join("utf16");
    std::fs::write(&path, [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>())
        .expect("written");
    assert!(connect(&Source::Kubeconfig { path, context: None }).await.is_ok());
}

#[tokio::test]
async fn several_files_are_merged() {
    let site = Site::new().await;
    site.write("b/token", "from-b\n");
    site.write(
        "a/config",
        "contexts: [{name: prod, context: {cluster: c, user: u}}]\n\
        users: [{name: other, user: {}}]\n",
    );
    let of_b = site.kubeconfig(&site.cluster(""), "{tokenFile: token}");
    site.write("b/config", &of_b.replace("ca.crt", "../ca.crt"));
    // A name that was there before stays, whole.
    site.write("c/config", "current-context: lost\nusers: [{name: u, user: {token: from-c}}]\n");
    let path = |list: &[&str]| {
        let files = list.iter().map(|it| match *it {
            "" => String::new(),
            it => site.dir.path().join(it).display().to_string(),
        });
        PathBuf::from(files.collect::<Vec<_>>().join(":"))
    };
    let at = |list: &[&str]| Source::Kubeconfig { path: path(list), context: None };
    for list in [
        &["a/config", "b/config", "c/config"][..],
        &["", "none", "a/config", "", "b/config", "b/config", "c/config"],
    ] {
        let client = connect(&at(list)).await.unwrap_or_else(|error| panic!("{error}"));
        request(&client).await.expect("an answer");
        let seen = site.server.log.take().concat();
        assert!(seen.contains("authorization: bearer from-b"), "{seen}");
    }
    // The other way round the token of `c` counts, and the context that it names.
    let text = connect(&at(&["c/config", "b/config"])).await.err().expect("it is lost").to_string();
    assert!(text.contains("no context \"lost\"") && text.contains("contexts prod"), "{text}");
    let source =
        Source::Kubeconfig { path: path(&["c/config", "b/config"]), context: Some("prod".into()) };
    request(&connect(&source).await.expect("a client")).await.expect("an answer");
    assert!(site.server.log.take().concat().contains("authorization: bearer from-c"));
    site.write("d/config", "clusters: [oops");
    let text = connect(&at(&["b/config", "d/config"])).await.err().expect("broken").to_string();
    assert!(text.contains("/d/config: failed to parse"), "{text}");
    let text = connect(&at(&["none", "neither"])).await.err().expect("no file").to_string();
    assert!(text.contains("/none: No such file"), "{text}");
}

#[tokio::test]
async fn credentials_are_kept_up_to_date() {
    let site = Site::new().await;
    site.write("token", "stale\n");
    let text = site.kubeconfig(&site.cluster(""), "{tokenFile: token}");
    let client = site.connect(&text).await.expect("a client");
    assert!(request(&client).await.expect_err("401").contains("unauthorized"));
    // The server has refused it, so the file is read again before its time.
    site.write("token", "fresh\n");
    assert_eq!(request(&client).await, Ok(()));
    // A file that is taken away leaves the last token.
    std::fs::remove_file(site.dir.path().join("token")).expect("removed");
    assert_eq!(request(&client).await, Ok(()));
    let seen = site.server.log.take();
    let tokens = seen.iter().map(|it| it.contains("authorization: bearer fresh"));
    assert_eq!(tokens.collect::<Vec<_>>(), [false, true, true], "{seen:?}");
}

fn plugin(site: &Site, body: &str) {
    site.write("bin/plugin", &format!("#!/bin/sh\n{body}"));
    let path = site.dir.path().join("bin/plugin");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("executable");
}

#[tokio::test]
async fn plugins_are_run_as_kubectl_runs_them() {
    let site = Site::new().await;
    let exec = |more: &str| {
        format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./bin/plugin, \
            interactiveMode: Never{more}}}}}"
        )
    };
    let credential = |status: &str| {
        format!(
            "cat <<END\n{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\
            \"kind\":\"ExecCredential\",\"status\":{{{status}}}}}\nEND\n"
        )
    };
    // The token tells what the plugin was told.
    let told = credential("\"token\":\"$1-$REGION-$SHORT\"");
    let look = "case \"$KUBERNETES_EXEC_INFO\" in *server*) SHORT=knows;; *) SHORT=not;; esac\n";
    plugin(&site, &format!("{look}{told}"));
    let user = exec(", args: [a b], env: [{name: REGION, value: east}], provideClusterInfo: true");
    // One word of the header: the argument has a blank in it.
    let seen = site.seen(&site.kubeconfig(&site.cluster(""), &user)).await.expect("an answer");
    assert!(seen.contains("authorization: bearer a b-east-knows"), "{seen}");

    // A token that has expired, or that the server refuses, is asked for again; another one is not.
    let count = "n=$(cat runs 2>/dev/null | wc -c); printf x >> runs\n"
        .replace("runs", &site.dir.path().join("runs").display().to_string());
    for (status, want) in [
        ("\"token\":\"t$n\"", ["t0", "t0"]),
        ("\"token\":\"t$n\",\"expirationTimestamp\":\"2020-01-01T00:00:00Z\"", ["t1", "t2"]),
        ("\"token\":\"t$n\",\"expirationTimestamp\":\"2120-01-01T00:00:00Z\"", ["t0", "t0"]),
        ("\"token\":\"stale$n\"", ["stale0", "stale1"]),
    ] {
        plugin(&site, &format!("{count}{}", credential(status)));
        let text = site.kubeconfig(&site.cluster(""), &exec(""));
        let client = site.connect(&text).await.expect("a client");
        for _ in want {
            // A stale one is refused.
            let _ = request(&client).await;
        }
        let seen = site.server.log.take();
        let found = seen.iter().map(|it| it.lines().find(|it| it.starts_with("authorization")));
        let want = want.map(|it| format!("authorization: bearer {it}"));
        assert_eq!(found.flatten().collect::<Vec<_>>(), want, "{status}");
        std::fs::remove_file(site.dir.path().join("runs")).expect("removed");
    }

    // Certificates.
    let one = |pem: &str| pem.replace('\n', "\\\\n");
    let (cert, key) = (one(&site.client.cert), one(&site.client.key));
    let status = format!("\"clientCertificateData\":\"{cert}\",\"clientKeyData\":\"{key}\"");
    plugin(&site, &credential(&status));
    let text = site.kubeconfig(&site.cluster(""), &exec(""));
    let seen = site.seen(&text).await.expect("an answer");
    assert!(seen.contains("client: cn=sigma"), "{seen}");

    // Beside anything else it is not run.
    plugin(&site, "exit 1\n");
    for more in
        ["token: abc", "username: u", "client-certificate: client.crt, client-key: client.key"]
    {
        let user = exec("").replacen('{', &format!("{{{more}, "), 1);
        assert!(site.seen(&site.kubeconfig(&site.cluster(""), &user)).await.is_ok(), "{more}");
    }
}

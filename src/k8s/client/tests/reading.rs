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

/// Connects as each user, and compares what the server is told with what is wanted.
async fn check_users(site: &ClientSite, cases: Vec<(String, &[&str])>) {
    for (user, want) in cases {
        let text = site.kubeconfig(&site.cluster(""), &user);
        let seen = site.seen(&text).await.expect(&user);
        let mut found = who(&seen);
        let mut want = want.to_vec();
        found.sort_unstable();
        want.sort_unstable();
        assert_eq!(found, want, "{user}\n{seen}");
    }
}

#[tokio::test]
async fn who_we_are() {
    let site = ClientSite::new().await;
    site.write("token", "  from-file\n\n");
    site.write("sub/token", "from-sub\r\n");
    let dir = site.dir.path().display().to_string();
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
    check_users(&site, cases).await;
}

#[tokio::test]
async fn which_certificate_we_show() {
    let site = ClientSite::new().await;
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
    ];
    check_users(&site, cases).await;
}

/// Connects to each cluster: what the server sees, or the error, has the text that is wanted.
async fn check_clusters(site: &ClientSite, cases: Vec<(String, Result<&str, &str>)>) {
    for (cluster, want) in cases {
        let seen = site.seen(&site.kubeconfig(&cluster, "{}")).await;
        match (&seen, want) {
            (Ok(seen), Ok(want)) => assert!(seen.contains(want), "{cluster}: {seen}"),
            (Err(seen), Err(want)) => assert!(seen.contains(want), "{cluster}: {seen}"),
            _ => assert!(want.is_err() && seen.is_err(), "{cluster}: {seen:?}"),
        }
    }
}

#[tokio::test]
async fn who_the_server_is() {
    let site = ClientSite::new().await;
    let url = site.url();
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
        (format!("{{server: '{url}'}}"), Err("none of the authorities given for the cluster")),
    ];
    check_clusters(&site, cases).await;
}

#[tokio::test]
async fn where_the_server_is_and_what_it_is_called() {
    let site = ClientSite::new().await;
    let (url, port) = (site.url(), site.server.port);
    let cases: Vec<(String, Result<&str, &str>)> = vec![
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
            Err("it is for other names"),
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
            Err("it is for other names"),
        ),
    ];
    check_clusters(&site, cases).await;
}

#[tokio::test]
async fn what_the_tls_library_refuses_is_named_and_what_it_does_not_works() {
    // One that vouches for itself alone, as a development server has it.
    let own = self_signed("alone");
    let site = ClientSite::with(Authority::new("unused"), &own).await;
    site.write("ca.crt", &own.cert);
    let seen = site.seen(&site.kubeconfig(&site.cluster(""), "{}")).await;
    assert!(seen.is_ok(), "{seen:?}");
    // An authority that shows its own certificate.
    let authority = Authority::new("authority");
    let own = authority.pair.clone();
    let site = ClientSite::with(authority, &own).await;
    let error = site.seen(&site.kubeconfig(&site.cluster(""), "{}")).await.expect_err("refused");
    assert!(error.contains("shows the certificate of an authority as its own"), "{error}");
    // A server whose key only others can verify.
    let server = net::server_without_common_algorithm().await;
    let cluster =
        format!("{{server: 'https://127.0.0.1:{}', certificate-authority: ca.crt}}", server.port);
    let client = site.connect(&site.kubeconfig(&cluster, "{}")).await.expect("a client");
    let error = request(&client).await.expect_err("no handshake");
    assert!(error.contains("that sigma's TLS library cannot verify, such as P-521"), "{error}");
    // A server whose certificate such an authority has signed; another one makes the list usable.
    let own = net::Pair {
        cert: include_str!("p521-issued.pem").to_owned(),
        key: include_str!("p521-issued.key.pem").to_owned(),
    };
    let other = Authority::new("other");
    let bundle = format!("{}{}", include_str!("p521-ca.pem"), other.pair.cert);
    let site = ClientSite::with(other, &own).await;
    site.write("ca.crt", &bundle);
    let error = site.seen(&site.kubeconfig(&site.cluster(""), "{}")).await.expect_err("refused");
    assert!(error.contains("signature or a key that sigma's TLS library cannot verify"), "{error}");
    // `openssl ecparam -genkey` writes a block before the key.
    site.write("ec.key", include_str!("ec-parameters.key.pem"));
    site.write("ec.crt", include_str!("ec-parameters.pem"));
    let user = "{client-certificate: ec.crt, client-key: ec.key}";
    let made = site.connect(&site.kubeconfig(&site.cluster(""), user)).await;
    assert!(made.is_ok(), "{:?}", made.err());
}

#[tokio::test]
async fn credentials_are_kept_up_to_date() {
    let site = ClientSite::new().await;
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

#[tokio::test]
async fn a_certificate_that_is_renewed_counts_from_the_next_connection_on() {
    let site = ClientSite::new().await;
    let user = "{client-certificate: client.crt, client-key: client.key}";
    let client = site.connect(&site.kubeconfig(&site.cluster(""), user)).await.expect("a client");
    get(&client, "/last").await.expect("an answer");
    let renewed = site.clients.issue("renewed", &[]);
    site.write("client.crt", &renewed.cert);
    site.write("client.key", &renewed.key);
    get(&client, "/last").await.expect("an answer");
    // Half of a pair is not taken.
    site.write("client.crt", &site.client.cert);
    get(&client, "/last").await.expect("an answer");
    let seen = site.server.log.take();
    let shown = seen.iter().map(|it| it.lines().nth(1).unwrap_or_default());
    let want = ["client: cn=sigma", "client: cn=renewed", "client: cn=renewed"];
    assert_eq!(shown.collect::<Vec<_>>(), want);
}

//! What cannot be used: each with a word that names the file and the entry, and no secret in it.

use super::*;

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_said() {
    let good = kubeconfig("https://127.0.0.1:1");
    let cases = [
        (None, None, "No such file"),
        (Some("clusters: [oops"), None, "failed to parse"),
        (Some(""), None, "no context"),
        (Some("current-context: ''\n"), None, "no current-context"),
        (Some("- 1"), None, "it is not a mapping"),
        (Some("clusters: {}\ncontexts: 5\ncurrent-context: a"), None, "contexts is not a list"),
        (Some("kind: Deployment\napiVersion: apps/v1"), None, "its kind is \"Deployment\""),
        (Some(&*good), Some("test"), "contexts prod, lost"),
        (Some(&*good), Some("lost"), "nowhere"),
    ];
    for (text, context, want) in cases {
        let error = try_connect(text, context).await.err().expect("it cannot work");
        assert!(error.starts_with("kubeconfig /") && error.contains(want), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(try_connect(Some(&good), None).await.is_ok(), "TLS is set up without a panic");
    let twice = good.replace("users: [", "users: [{name: u, user: {token: other}}, ");
    let error = try_connect(Some(&twice), None).await.err().expect("which one?");
    assert!(error.contains("user \"u\" stands there twice"), "{error}");
    for (from, to, want) in [
        ("user: u}}]", "user: v}}]", None),
        ("{cluster: c, user: u}", "{cluster: c, user: v}", Some("names the user \"v\", which no")),
        ("{cluster: c, user: u}", "{user: u}", Some("context \"prod\" names no cluster")),
        ("{cluster: c, user: u}", "5", Some("context \"prod\" is not a mapping")),
        ("{cluster: c, user: u}", "{cluster: c}", None),
    ] {
        let error = try_connect(Some(&good.replacen(from, to, 1)), None).await.err();
        match want {
            Some(want) => assert!(error.is_some_and(|it| it.contains(want)), "{to}"),
            None => assert_eq!(error, None, "{to}"),
        }
    }
    // A line of the file is no part of what is said about it.
    let broken = good.replace("token: secret", "token: secret, : [");
    let error = try_connect(Some(&broken), None).await.err().expect("it is broken");
    assert!(error.contains("failed to parse") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_a_cluster_is_said() {
    let site = ClientSite::new().await;
    let leaf = base64(&site.authority.issue("leaf", &[]).cert);
    let p521 = base64(include_str!("p521-ca.pem"));
    let rsa = base64(include_str!("rsa1024-ca.pem"));
    site.write("p521.pem", include_str!("p521-ca.pem"));
    site.write("empty", "\n");
    let cases = [
        ("{}".to_owned(), "has no server"),
        ("{server: ''}".into(), "has no server"),
        ("{server: 5}".into(), "has a server that is not text"),
        ("{server: 'ftp://api'}".into(), "begins with neither https:// nor http://"),
        ("{server: 'https://'}".into(), "is no URL"),
        ("{server: 'https://api:99999'}".into(), "has no host or no port"),
        ("{server: 'https://::1:6443'}".into(), "server that "),
        ("{server: 'https://a b'}".into(), "is no URL"),
        ("{server: 'api/path'}".into(), "is neither a URL nor a host with a port"),
        ("{server: 'https://jane:secret@api'}".into(), "has a user in it"),
        ("{server: 'https://api', insecure-skip-tls-verify: 'true'}".into(),
            "insecure-skip-tls-verify that is neither true nor false"),
        ("{server: 'https://api', insecure-skip-tls-verify: true, certificate-authority: ca.crt}"
            .into(), "leave one of them out"),
        ("{server: 'https://api', certificate-authority: none}".into(), "/none: No such file"),
        ("{server: 'https://api', certificate-authority: empty}".into(),
            "certificate-authority that holds no certificate in PEM (it is empty)"),
        ("{server: 'https://api', certificate-authority: client.key}".into(),
            "(it holds a private key)"),
        ("{server: 'https://api', certificate-authority-data: '!secret!'}".into(),
            "certificate-authority-data that is not base64"),
        ("{server: 'https://api', certificate-authority-data: '-----BEGIN secret-----'}".into(),
            "is PEM, and must be PEM in base64"),
        (format!("{{server: 'https://api', certificate-authority-data: {}}}", base64("secret")),
            "holds no certificate in PEM"),
        (format!("{{server: 'https://api', certificate-authority-data: {leaf}}}"),
            "holds the certificate of a server (CN=leaf) and not of an authority"),
        (format!("{{server: 'https://api', certificate-authority-data: {p521}}}"),
            "an authority (CN=p521-ca) with a P-521 key, which sigma's TLS library cannot verify"),
        (format!("{{server: 'https://api', certificate-authority-data: {rsa}}}"),
            "with an RSA key of 1024 bits"),
        ("{server: 'https://api', certificate-authority: p521.pem}".into(), "P-521"),
        ("{server: 'https://api', proxy-url: 'ftp://u:secret@p'}".into(),
            "has a proxy-url that has a scheme other than"),
        ("{server: 'https://api', proxy-url: 'p:3128'}".into(), "proxy-url that has no scheme"),
        ("{server: 'https://api', proxy-url: 'proxy'}".into(), "proxy-url that has no scheme"),
        (
            "{server: 'https://api', tls-server-name: 'a b'}".into(),
            "has a tls-server-name that is neither a name nor an address",
        ),
    ];
    for (cluster, want) in cases {
        said(&site, &site.kubeconfig(&cluster, "{}"), "cluster \"c\" has", want).await;
    }
}

async fn said(site: &ClientSite, text: &str, entry: &str, want: &str) {
    let error = site.connect(text).await.err().expect(text);
    let file = format!("kubeconfig {}: ", site.dir.path().join("config").display());
    assert!(error.starts_with(&file), "{error}");
    assert!(error.contains(entry) && error.contains(want), "{want}: {error}");
    assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_said() {
    let site = ClientSite::new().await;
    let other = site.clients.issue("other", &[]);
    site.write("other.key", &other.key);
    site.write("empty", " \n");
    site.write("p521.crt", include_str!("p521-client.pem"));
    site.write("p521.key", include_str!("p521-client.key.pem"));
    site.write("encrypted.key", include_str!("encrypted.key.pem"));
    let with_key = |key: &str| format!("{{client-certificate: client.crt, client-key: {key}}}");
    let cases = [
        ("{token: 5}".to_owned(), "has a token that is not text"),
        ("{token: \"secret\\nsecret\"}".into(), "has a token that no header can hold"),
        ("{tokenFile: none}".into(), "the token file "),
        ("{tokenFile: empty}".into(), "/empty is empty"),
        ("{token: secret, username: u, password: secret}".into(), "has a token and a username"),
        ("{tokenFile: empty, username: u}".into(), "has a token and a username"),
        ("{client-certificate: client.crt}".into(), "has a client-certificate and no client-key"),
        (
            "{client-certificate: none, client-key: none}".into(),
            "has a client-certificate that cannot be read",
        ),
        (with_key("none"), "has a client-key that cannot be read"),
        (with_key("client.crt"), "has a client-key that holds no private key in PEM"),
        (with_key("other.key"), "has a client-key that is not the key of the certificate"),
        (with_key("encrypted.key"), "has a client-key that is encrypted"),
        (with_key("p521.key"), "has a client-key that is a P-521 key, which sigma's TLS library"),
        ("{client-certificate: p521.crt, client-key: p521.key}".into(), "is a P-521 key"),
        (
            "{client-certificate: client.key, client-key: client.key}".into(),
            "client-certificate that holds no certificate in PEM (it holds a private key)",
        ),
        (
            "{client-certificate: client.crt, client-key-data: 'secret!'}".into(),
            "has a client-key-data that is not base64",
        ),
        (
            "{auth-provider: {name: gcp, config: {access-token: secret}}}".into(),
            "auth-provider is \"gcp\", which is no longer supported",
        ),
        ("{auth-provider: {name: gcp}, token: secret}".into(), "no longer supported"),
        ("{auth-provider: {}}".into(), "no longer supported"),
        ("{auth-provider: {name: oidc}}".into(), "auth-provider has no id-token"),
        ("{auth-provider: 5}".into(), "has a auth-provider that is not a mapping"),
        ("{auth-provider: {name: oidc}, exec: {}}".into(), "has an auth-provider and an exec"),
        ("{as-uid: '7'}".into(), "has as-uid, as-groups or as-user-extra without as"),
        ("{as-groups: [a]}".into(), "without as"),
        ("{as: jane, as-groups: a}".into(), "has a as-groups that is not a list"),
        ("{as: \"ja\\nne\"}".into(), "has a value in as that no header can hold"),
    ];
    for (user, want) in cases {
        let text = site.kubeconfig(&site.cluster(""), &user);
        said(&site, &text, "user \"u\"", want).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_plugin_is_said() {
    let site = ClientSite::new().await;
    let cases = [
        ("{exec: {}}".to_owned(), "exec has no command"),
        ("{exec: {command: x}}".into(), "exec has no apiVersion"),
        (exec("x", "v1alpha1", ""), "has an apiVersion other than"),
        (exec("x", "v1", ", interactiveMode: Always"), "nobody is here to answer"),
        (exec("x", "v1", ", interactiveMode: Often"), "an unknown interactiveMode"),
        (exec("x", "v1", ", env: [{value: secret}]"), "env has no name"),
        (exec("x", "v1", ", args: x"), "args that is not a list"),
        (
            exec("no-such-program", "v1", ", installHint: 'get it there'"),
            "the exec plugin no-such-program cannot be run: No such file or directory (os error 2) \
             (get it there)",
        ),
        (exec("./none", "v1", ""), "/./none cannot be run"),
        (shell("echo secret; exit 3"), "failed: exit status: 3"),
        (shell("kill -9 $$"), "failed: signal: 9"),
        (shell("echo secret"), "printed no ExecCredential"),
        (printing("apiVersion: v1, kind: Secret"), "printed no ExecCredential"),
        (
            printing("apiVersion: client.authentication.k8s.io/v1beta1, kind: ExecCredential"),
            "an ExecCredential of another version than client.authentication.k8s.io/v1",
        ),
        (credential(""), "without a status"),
        (credential(", status: {}"), "neither a token nor a certificate"),
        (
            credential(", status: {clientKeyData: secret}"),
            "a certificate or a key without the other",
        ),
        (credential(", status: {token: secret, expirationTimestamp: soon}"), "that is no time"),
        (
            credential(", status: {clientCertificateData: secret, clientKeyData: secret}"),
            "the exec plugin's clientCertificateData holds no certificate",
        ),
    ];
    for (user, want) in cases {
        let text = site.kubeconfig(&site.cluster(""), &user);
        said(&site, &text, "user \"u\"", want).await;
    }
}

fn exec(command: &str, version: &str, more: &str) -> String {
    format!(
        "{{exec: {{command: '{command}', \
         apiVersion: client.authentication.k8s.io/{version}{more}}}}}"
    )
}

fn shell(script: &str) -> String {
    exec("sh", "v1", &format!(", args: [-c, '{script}']"))
}

fn printing(yaml: &str) -> String {
    shell(&format!("echo \"{{{yaml}}}\""))
}

fn credential(more: &str) -> String {
    printing(&format!("apiVersion: client.authentication.k8s.io/v1, kind: ExecCredential{more}"))
}

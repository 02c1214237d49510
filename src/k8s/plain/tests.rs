use std::io;

use super::*;

#[test]
fn addresses_paths_and_tokens_are_taken_out_and_all_else_stays() {
    let cases = [
        ("error trying to connect: tcp connect error: Connection refused (os error 111)", "="),
        (
            "error sending request for url (https://10.96.0.1:443/api/v1/pods?limit=500): timed out",
            "error sending request for url (<address>): timed out",
        ),
        (
            "dial tcp 10.0.0.5:2379: connect: connection refused",
            "dial tcp <address>: connect: connection refused",
        ),
        (
            "dial tcp: lookup etcd-0.internal on 10.0.0.2:53: no such host",
            "dial tcp: lookup <address> on <address>: no such host",
        ),
        (
            "read tcp 10.0.0.5:41234->10.0.0.6:2379: read: connection reset by peer",
            "read tcp <address> -> <address>: read: connection reset by peer",
        ),
        ("dial tcp [fd00::1]:6443: i/o timeout", "dial tcp <address>: i/o timeout"),
        (
            "connect to fd00::1 failed, then to [::1]",
            "connect to <address> failed, then to <address>",
        ),
        ("api.prod.example.com:6443 is away", "<address> is away"),
        (
            r#"failed calling webhook "v.x.io": Post "https://a.b.svc:443/v?timeout=10s": dial tcp 10.1.1.1:443: no"#,
            r#"failed calling webhook "v.x.io": Post "<address>": dial tcp <address>: no"#,
        ),
        (
            r#"open "/var/run/secrets/kubernetes.io/serviceaccount/token": no such file"#,
            r#"open "<path>": no such file"#,
        ),
        ("kms: unix:///var/run/kms/socket.sock is gone", "kms: <address> is gone"),
        ("Authorization: Bearer abc.def said", "Authorization: Bearer <token> said"),
        ("token=eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJr is old", "token=<token> is old"),
        ("bad key -----BEGIN PRIVATE KEY-----\nMIIB", "bad key"),
        ("two\nlines\u{1b}[31m and a\ttab", "two lines [31m and a tab"),
        // What says something of the cluster stays.
        (
            r#"pods is forbidden: User "system:serviceaccount:kube-system:sigma" cannot list resource "pods" in API group "" at the cluster scope"#,
            "=",
        ),
        ("too old resource version: 1500 (1600)", "="),
        ("Too large resource version: 1500, current: 900", "="),
        (r#"testing path "/metadata/uid" failed: Pod.v1 "web-7d9f8b6c5d-abcde" is invalid"#, "="),
        ("patch pods/status apps/v1 at 10:30 and 2026-11-30T10:30:00Z, line 3:7", "="),
        (
            "uid 00000000-0000-4000-8000-00000000000a of shop/a-very-long-name-of-a-pod-7d9f8b6c5-abcde",
            "=",
        ),
        ("", "="),
    ];
    for (text, want) in cases {
        let want = if want == "=" { text } else { want };
        assert_eq!(of_text(text), want, "{text}");
        assert_eq!(of_text(want), want, "it is stable");
    }
    let long = of_text(&"ü".repeat(5000));
    assert!(long.len() <= MAX_BYTES + 4, "{}", long.len());
}

#[test]
fn errors_of_the_client_tell_what_is_wrong_and_not_with_whom() {
    let tls = |error: rustls::Error| {
        kube::Error::Service(Box::new(io::Error::new(io::ErrorKind::InvalidData, error)))
    };
    let invalid = |error| tls(rustls::Error::InvalidCertificate(error));
    let names = rustls::CertificateError::NotValidForNameContext {
        expected: rustls::pki_types::ServerName::try_from("api.internal").expect("a name"),
        presented: vec!["DnsName(\"kubernetes\")".to_owned()],
    };
    let file = "/var/run/secrets/token".into();
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let cases = [
        (invalid(names), "TLS: the server's certificate is not accepted: it is for other names"),
        (
            invalid(rustls::CertificateError::UnknownIssuer),
            "TLS: the server's certificate is not accepted: none of the authorities given for the cluster \
             has issued it",
        ),
        (tls(rustls::Error::DecryptError), "TLS: the handshake failed"),
        (
            kube::Error::Auth(kube::client::AuthError::ReadTokenFile(refused, file)),
            "credentials: the token file cannot be read",
        ),
        (
            kube::Error::Auth(kube::client::AuthError::AuthExec("curl https://10.0.0.1".into())),
            "credentials: the exec plugin has failed",
        ),
        (
            kube::Error::Service("cannot reach https://10.0.0.1:6443/api".into()),
            "ServiceError: cannot reach <address>",
        ),
    ];
    for (error, want) in cases {
        assert_eq!(of_error(&error), want);
    }
}

use super::*;

/// A server, the environment, and the proxy.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);

fn proxy_of(target: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
    let env = |name: &str| {
        let found = variables.iter().find(|(it, _)| *it == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let target = target.parse().expect("a URI");
    of_environment(&target, &env).map(|it| it.map(|(proxy, _)| proxy.to_string()))
}

#[test]
fn the_environment_is_read_as_go_reads_it() {
    let (https, http) = ("https://api.example.com:6443", "http://api.example.com:8080");
    let cases: &[Case<'_>] = &[
        (https, &[], None),
        (https, &[("HTTPS_PROXY", "")], None),
        (https, &[("HTTPS_PROXY", "http://p:3128")], Some("http://p:3128")),
        (https, &[("https_proxy", "http://p:3128")], Some("http://p:3128")),
        (
            https,
            &[("https_proxy", "http://l:1"), ("HTTPS_PROXY", "http://u:1")],
            Some("http://l:1"),
        ),
        (https, &[("https_proxy", ""), ("HTTPS_PROXY", "http://u:1")], Some("http://u:1")),
        // Without a scheme it is http.
        (https, &[("HTTPS_PROXY", "p:3128")], Some("http://p:3128")),
        (https, &[("HTTPS_PROXY", "p")], Some("http://p:80")),
        (https, &[("HTTPS_PROXY", "https://p/")], Some("https://p:443")),
        (https, &[("HTTPS_PROXY", "socks5://p")], Some("socks5://p:1080")),
        (https, &[("HTTPS_PROXY", "socks5h://u:secret@[::2]:99")], Some("socks5://[::2]:99")),
        // Each scheme has its own.
        (https, &[("HTTP_PROXY", "http://p:3128"), ("ALL_PROXY", "http://p:3128")], None),
        (http, &[("HTTPS_PROXY", "http://p:3128")], None),
        (http, &[("HTTP_PROXY", "http://p:3128")], Some("http://p:3128")),
        (http, &[("http_proxy", "http://p:3128"), ("NO_PROXY", "example.com")], None),
    ];
    for (target, variables, want) in cases {
        let want = Ok(want.map(str::to_owned));
        assert_eq!(proxy_of(target, variables), want, "{target} {variables:?}");
    }
}

#[test]
fn who_is_reached_without_a_proxy() {
    let direct = |target: &str, variable: &str, rules: &str| {
        proxy_of(target, &[("HTTPS_PROXY", "http://p:1"), (variable, rules)]) == Ok(None)
    };
    let cases = [
        ("https://api.example.com:6443", "*", true),
        ("https://api.example.com:6443", " , *", true),
        ("https://api.example.com:6443", "api.example.com", true),
        ("https://API.Example.com:6443", "api.EXAMPLE.com", true),
        ("https://api.example.com:6443", "example.com", true),
        ("https://api.example.com:6443", "com", true),
        ("https://api.example.com:6443", ".example.com", true),
        ("https://api.example.com:6443", "*.example.com", true),
        ("https://example.com:6443", "example.com", true),
        ("https://example.com:6443", ".example.com", false),
        ("https://example.com:6443", "*.example.com", false),
        ("https://badexample.com:6443", "example.com", false),
        ("https://api.example.com:6443", "example.org, other, ,.com ", true),
        ("https://api.example.com:6443", "example.com:6443", true),
        ("https://api.example.com:6443", "example.com:443", false),
        ("https://api.example.com", "example.com:443", true),
        ("https://api.example.com:6443", "https://api.example.com", false),
        ("https://api.example.com:6443", ":6443", false),
        ("https://10.0.0.7:6443", "10.0.0.7", true),
        ("https://10.0.0.7:6443", "10.0.0.7:6443", true),
        ("https://10.0.0.7:6443", "10.0.0.7:443", false),
        ("https://10.0.0.7:6443", "10.0.0.0/8", true),
        ("https://10.0.0.7:6443", "192.168.0.0/16,10.0.0.0/29", true),
        ("https://10.0.0.8:6443", "10.0.0.0/29", false),
        ("https://10.0.0.7:6443", "0.0.0.0/0", true),
        ("https://10.0.0.7:6443", "::/0", false),
        ("https://10.0.0.7:6443", "10.0.0.0/33", false),
        ("https://10.0.0.7:6443", "10.0.0", false),
        ("https://10.0.0.7:6443", "0.7", false),
        ("https://[fd00::7]:6443", "fd00::7", true),
        ("https://[fd00::7]:6443", "[FD00::7]:6443", true),
        ("https://[fd00::7]:6443", "fd00::/8", true),
        ("https://[fd00::7]:6443", "fe80::/10", false),
        ("https://api.example.com:6443", "10.0.0.0/8", false),
        ("https://127.0.0.1:6443", "", true),
        ("https://127.1.2.3:6443", "", true),
        ("https://[::1]:6443", "", true),
        ("https://[::ffff:127.0.0.1]:6443", "", true),
        ("https://localhost:6443", "", true),
        ("https://LOCALHOST:6443", "", true),
        ("https://localhost.example.com:6443", "", false),
    ];
    for (target, rules, want) in cases {
        for variable in ["NO_PROXY", "no_proxy"] {
            assert_eq!(direct(target, variable, rules), want, "{target} {variable}={rules}");
        }
    }
    // Names: lower case first. Networks: either.
    let both = |target: &str| {
        let rules = [("no_proxy", "lower.example"), ("NO_PROXY", "upper.example,10.0.0.0/8")];
        proxy_of(target, &[&[("https_proxy", "p")][..], &rules].concat()) == Ok(None)
    };
    assert!(both("https://lower.example") && !both("https://upper.example"));
    assert!(both("https://10.1.1.1:6443"));
}

#[test]
fn a_proxy_that_is_none_is_said_without_its_password() {
    for (text, want) in [
        ("ftp://u:secret@p:1", "a scheme other than http, https, socks5 and socks5h"),
        ("http://u:secret@", "host"),
        ("http://u:secret@p:99999", "port"),
        ("http://u:secret@p:x", "port"),
        ("http://u:secret@p q", "host"),
        ("u:secret@ ", "host"),
    ] {
        let error = proxy_of("https://api.example.com", &[("HTTPS_PROXY", text)]);
        let error = error.expect_err(text);
        assert!(error.starts_with("the environment's HTTPS_PROXY has"), "{error}");
        assert!(error.contains(want) && !error.contains("secret"), "{text}: {error}");
    }
    let proxy = Proxy::parse("http://user%40corp:p%3Ass%20@p:3128").expect("a proxy");
    assert_eq!(proxy.user, Some(("user@corp".to_owned(), "p:ss ".to_owned())));
    assert_eq!(format!("{proxy} {proxy:?}"), "http://p:3128 http://p:3128");
    assert!(Proxy::parse("p:3128").is_err_and(|it| it.contains("no scheme")));
}

//! Proxies of the environment and of the kubeconfig. Each leads to the server, whatever it is asked for.

use super::net::{http_proxy, socks_proxy};
use super::*;

/// The server under a name that only a proxy can reach.
const NAMED: &str = "https://api.sigma.test:6443";

fn cluster(server: &str, more: &str) -> String {
    format!("{{server: '{server}', certificate-authority: ca.crt{more}}}")
}

#[tokio::test]
async fn the_environments_proxy_is_used_but_not_for_the_loopback() {
    let site = ClientSite::new().await;
    let proxy = http_proxy(site.server.port, None).await;
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let named = site.kubeconfig(&cluster(NAMED, ""), "{token: abc}");
    let connect = "CONNECT api.sigma.test:6443 HTTP/1.1\nHost: api.sigma.test:6443";
    for name in ["HTTPS_PROXY", "https_proxy"] {
        for value in [&url, &url["http://".len()..]] {
            let seen = site.seen_in(&named, &[(name, value)]).await.expect("an answer");
            assert!(seen.contains("sni: api.sigma.test"), "{seen}");
            assert!(seen.contains("authorization: bearer abc"), "{seen}");
            // What is for the server is not for the proxy.
            assert_eq!(proxy.log.take(), [connect]);
        }
    }
    // Name and password, as they may stand in a URL.
    let with_user = format!("http://jane:p%40ss%3A@127.0.0.1:{}", proxy.port);
    site.seen_in(&named, &[("HTTPS_PROXY", &with_user)]).await.expect("an answer");
    let header = format!("\nProxy-Authorization: Basic {}", base64("jane:p@ss:"));
    assert_eq!(proxy.log.take(), [connect.to_owned() + &header]);

    // The loopback is reached directly; `NO_PROXY` says what else is.
    let direct = site.kubeconfig(&site.cluster(""), "{}");
    for no_proxy in ["", "example.com"] {
        let env = [("HTTPS_PROXY", &*url), ("NO_PROXY", no_proxy)];
        assert!(site.seen_in(&direct, &env).await.is_ok());
    }
    for no_proxy in ["*", "sigma.test", ".sigma.test", "other,api.sigma.test:6443"] {
        let client =
            site.connect_in(&named, &[("HTTPS_PROXY", &url), ("no_proxy", no_proxy)]).await;
        // The name leads nowhere.
        assert!(request(&client.expect("a client")).await.is_err());
    }
    let address = site.kubeconfig(&cluster("https://192.0.2.1:6443", ""), "{}");
    let env = [("HTTPS_PROXY", &*url), ("NO_PROXY", "10.0.0.0/8,192.0.3.0/24,sigma.test")];
    let client = site.connect_in(&address, &env).await.expect("a client");
    let _ = request(&client).await;
    assert_eq!(proxy.log.take(), ["CONNECT 192.0.2.1:6443 HTTP/1.1\nHost: 192.0.2.1:6443"]);
}

#[tokio::test]
async fn the_kubeconfigs_proxy_counts_whatever_the_environment_says() {
    let site = ClientSite::new().await;
    let (own, other) =
        (http_proxy(site.server.port, None).await, http_proxy(site.server.port, None).await);
    let other_url = format!("http://127.0.0.1:{}", other.port);
    let env = [("HTTPS_PROXY", &*other_url), ("NO_PROXY", "*")];
    let more = format!(", proxy-url: 'http://127.0.0.1:{}/'", own.port);
    let port = site.server.port;
    for (server, target) in
        [(NAMED, "api.sigma.test:6443"), (&*site.url(), &*format!("127.0.0.1:{port}"))]
    {
        let text = site.kubeconfig(&cluster(server, &more), "{}");
        site.seen_in(&text, &env).await.expect("an answer");
        let want = format!("CONNECT {target} HTTP/1.1\nHost: {target}");
        assert_eq!((own.log.take(), other.log.take()), (vec![want], vec![]));
    }
    // An empty one is none.
    let text = site.kubeconfig(&cluster(NAMED, ", proxy-url: ''"), "{}");
    site.seen_in(&text, &env[..1]).await.expect("an answer");
    assert_eq!((own.log.take().len(), other.log.take().len()), (0, 1));
}

#[tokio::test]
async fn proxies_over_tls_and_socks() {
    let site = ClientSite::new().await;
    let pair = site.authority.issue("proxy", &["127.0.0.1"]);
    let over_tls = http_proxy(site.server.port, Some((&pair, &site.clients))).await;
    let text = |url: String| {
        site.kubeconfig(&cluster(NAMED, &format!(", proxy-url: '{url}'")), "{token: abc}")
    };
    let seen = site.seen(&text(format!("https://127.0.0.1:{}", over_tls.port))).await;
    assert!(seen.expect("an answer").contains("authorization: bearer abc"));
    assert_eq!(over_tls.log.take().len(), 1);

    let socks = socks_proxy(site.server.port).await;
    for scheme in ["socks5", "socks5h", "SOCKS5"] {
        let url = format!("{scheme}://127.0.0.1:{}", socks.port);
        site.seen(&text(url.clone())).await.expect("an answer");
        // The proxy looks up the name.
        assert_eq!(socks.log.take(), ["api.sigma.test:6443"]);
        let env = [("HTTPS_PROXY", &*url)];
        let named = site.kubeconfig(&cluster(NAMED, ""), "{}");
        site.seen_in(&named, &env).await.expect("an answer");
        assert_eq!(socks.log.take(), ["api.sigma.test:6443"]);
    }
    site.seen(&text(format!("socks5://jane:p%3Aw@127.0.0.1:{}", socks.port))).await.expect("one");
    assert_eq!(socks.log.take(), ["jane:p:w", "api.sigma.test:6443"]);
    let direct = site.kubeconfig(
        &site.cluster(&format!(", proxy-url: 'socks5://127.0.0.1:{}'", socks.port)),
        "{}",
    );
    site.seen(&direct).await.expect("an answer");
    assert_eq!(socks.log.take(), [format!("127.0.0.1:{}", site.server.port)]);
}

#[tokio::test]
async fn what_a_proxy_refuses_is_said_without_its_password() {
    let site = ClientSite::new().await;
    let proxy = http_proxy(site.server.port, None).await;
    let more = format!(", proxy-url: 'http://jane:secret@127.0.0.1:{}'", proxy.port);
    let text = site.kubeconfig(&cluster("https://refused.test", &more), "{}");
    let error = request(&site.connect(&text).await.expect("a client")).await.expect_err("407");
    assert!(error.contains("proxy authorization required"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    let env = [("https_proxy", "ftp://jane:secret@p")];
    let named = site.kubeconfig(&cluster(NAMED, ""), "{}");
    let error = site.connect_in(&named, &env).await.err().expect("no proxy");
    assert!(error.contains("the environment's https_proxy has a scheme other"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

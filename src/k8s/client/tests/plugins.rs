//! Credential plugins.

use super::*;

fn plugin(site: &ClientSite, body: &str) {
    site.write("bin/plugin", &format!("#!/bin/sh\n{body}"));
    let path = site.dir.path().join("bin/plugin");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("executable");
}

#[tokio::test]
async fn plugins_are_run_as_kubectl_runs_them() {
    let site = ClientSite::new().await;
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

//! Which files and entries are read.

use super::*;

#[tokio::test]
async fn what_is_not_used_is_not_judged() {
    let site = ClientSite::new().await;
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
        let seen = site.seen(&text).await.expect(&text);
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
    assert!(connect(&KubeconfigSource::Kubeconfig { path, context: None }).await.is_ok());
}

#[tokio::test]
async fn several_files_are_merged() {
    let site = ClientSite::new().await;
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
    let at = |list: &[&str]| KubeconfigSource::Kubeconfig { path: path(list), context: None };
    for list in [
        &["a/config", "b/config", "c/config"][..],
        &["", "none", "a/config", "", "b/config", "b/config", "c/config"],
    ] {
        let client = connect(&at(list)).await.expect("a client");
        request(&client).await.expect("an answer");
        let seen = site.server.log.take().concat();
        assert!(seen.contains("authorization: bearer from-b"), "{seen}");
    }
    // The other way round the token of `c` counts, and the context that it names.
    let text = connect(&at(&["c/config", "b/config"])).await.err().expect("it is lost").to_string();
    assert!(text.contains("no context \"lost\"") && text.contains("contexts prod"), "{text}");
    let source = KubeconfigSource::Kubeconfig {
        path: path(&["c/config", "b/config"]),
        context: Some("prod".into()),
    };
    request(&connect(&source).await.expect("a client")).await.expect("an answer");
    assert!(site.server.log.take().concat().contains("authorization: bearer from-c"));
    site.write("d/config", "clusters: [oops");
    let text = connect(&at(&["b/config", "d/config"])).await.err().expect("broken").to_string();
    assert!(text.contains("/d/config: failed to parse"), "{text}");
    let text = connect(&at(&["none", "neither"])).await.err().expect("no file").to_string();
    assert!(text.contains("/none: No such file"), "{text}");
}

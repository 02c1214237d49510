//! Every shortcut beside its slow twin: the same requests, the same bytes.

use http::StatusCode;
use serde_json::{Value, json};
use sigma::http::FastPaths;
use sigma::model::Change;
use sigma::sim::Rng;

use crate::site::{OFFLINE, ONLINE, Site, accepted, node, node_seen, placed, pod_json, pod_seen};

const NUM_NODES: usize = 40;
const NUM_STEPS: u64 = 400;

/// A site per shortcut that is switched off, the one without any first, the one with all last.
async fn sites() -> Vec<(&'static str, Site)> {
    let all = FastPaths::ALL;
    let choices = [
        ("none", FastPaths::NONE),
        ("all but cut", FastPaths { cut: false, ..all }),
        ("all but guess", FastPaths { guess: false, ..all }),
        ("all but blocks", FastPaths { blocks: false, ..all }),
        ("all but memo", FastPaths { memo: false, ..all }),
        ("all but scan", FastPaths { scan: false, ..all }),
        ("all", all),
    ];
    let mut sites = Vec::new();
    for (name, fast_paths) in choices {
        let site = Site::with(&crate::site::settings(), |it| it.fast_paths = fast_paths).await;
        let pool = |at: usize| ["metal", "ecs", "eci"][at % 3];
        let nodes = (0..NUM_NODES).map(|at| node_seen(node(&format!("n{at}"), pool(at))));
        site.see(nodes).await;
        sites.push((name, site));
    }
    sites
}

/// A request as Go writes it: keys in the order of its struct, names last.
fn body(pod: &Value, names: &[String]) -> String {
    let names = serde_json::to_string(names).expect("names are JSON");
    format!(r#"{{"Pod":{pod},"Nodes":null,"NodeNames":{names}}}"#)
}

/// kube-scheduler's window: a rotation of an order that stays, two or three workers out of step by
/// some names; and now and then what no kube-scheduler sends.
fn window(rng: &mut Rng, order: &[String]) -> Vec<String> {
    let mut names = order.to_vec();
    names.rotate_left(rng.below(order.len() as u64) as usize);
    names.truncate(1 + rng.below(order.len() as u64) as usize);
    for _ in 0..rng.below(3) {
        let at = rng.below(names.len() as u64) as usize;
        let pair = names[at..].len().min(2 * (1 + rng.below(4) as usize));
        names[at..at + pair].rotate_left(pair / 2);
    }
    let odd = ["ghost", "", "ü", "a\"b", "a\\b", "a<b", "],\"Nodes\":null,\"NodeNames\":[", "n1"];
    if rng.below(6) == 0 {
        let at = rng.below(names.len() as u64 + 1) as usize;
        names.insert(at, odd[rng.below(odd.len() as u64) as usize].to_owned());
    }
    names
}

/// A node goes, comes, or comes in the place of another: its ordinal was the other's, and its name
/// begins with the other's, or the other way round.
fn nodes_move(rng: &mut Rng, order: &mut [String], choice: u64) -> Vec<Change> {
    let name = &mut order[rng.below(NUM_NODES as u64) as usize];
    let gone = |name: &String| Change::NodeGone { name: name.as_str().into() };
    match choice {
        1 => vec![gone(name)],
        2 | 3 => vec![node_seen(node(name, "ecs"))],
        4 => {
            let before = name.clone();
            match rng.below(2) {
                0 if name.len() > 2 => _ = name.pop(),
                _ => name.push('0'),
            }
            vec![gone(&before), node_seen(node(name, "ecs"))]
        }
        _ => Vec::new(),
    }
}

fn pod(rng: &mut Rng) -> Value {
    let priority = [ONLINE, OFFLINE, 0][rng.below(3) as usize];
    let mut pod = pod_json(1 + u128::from(rng.below(30)), priority, "500m");
    if rng.below(3) == 0 {
        pod["metadata"]["namespace"] = json!("kube-system");
    }
    pod
}

/// Asks all sites; all must answer as the first does.
async fn ask(sites: &[(&str, Site)], verb: &str, body: &str) -> String {
    let mut replies = Vec::new();
    for (name, site) in sites {
        let (status, reply) = site.post(verb, body.to_owned()).await;
        assert_eq!(status, StatusCode::OK, "{name}: {reply}");
        replies.push(reply);
        assert_eq!(replies.last(), replies.first(), "{name} for {verb} {body}");
    }
    replies.swap_remove(0)
}

/// A filter is followed by its prioritize, but another node has the ordinal of one that was named.
#[tokio::test]
async fn what_was_named_is_not_mistaken_for_who_took_its_place() {
    let sites = sites().await;
    let mut pod = pod_json(1, 0, "500m");
    pod["metadata"]["namespace"] = json!("kube-system");
    let request = body(&pod, &["n0".to_owned(), "n1".to_owned()]);
    ask(&sites, "/filter", &request).await;
    for (_, site) in &sites {
        let gone = Change::NodeGone { name: "n0".into() };
        site.see([gone, node_seen(node("other", "metal"))]).await;
    }
    let scores: Value = serde_json::from_str(&ask(&sites, "/prioritize", &request).await)
        .expect("replies are JSON");
    assert_eq!(scores[0], json!({"Host": "n0", "Score": 0}));
}

#[tokio::test]
async fn shortcuts_change_no_byte() {
    let sites = sites().await;
    let mut rng = Rng::new(1, 0);
    let mut order: Vec<String> = (0..NUM_NODES).map(|at| format!("n{at}")).collect();
    rng.shuffle(&mut order);
    for step in 0..NUM_STEPS {
        let (pod, names) = (pod(&mut rng), window(&mut rng, &order));
        let mut request = body(&pod, &names);
        if step % 9 == 0 {
            // The same name, spelled as Go never does.
            request = request.replace(r#""n2""#, r#""\u006e2""#);
        }
        let reply = ask(&sites, "/filter", &request).await;
        let reply: Value = serde_json::from_str(&reply).expect("replies are JSON");
        let mut named = accepted(&reply);
        // Mostly the names that filter returned; else some, or others, or another pod.
        let (mut asked, choice) = (pod.clone(), rng.below(8));
        match choice {
            0 => named = window(&mut rng, &order),
            1 => named.truncate(1),
            2 => asked["metadata"]["labels"] = json!({"step": step.to_string()}),
            _ => {}
        }
        ask(&sites, "/prioritize", &body(&asked, &named)).await;
        // The view moves on between requests, seldom between a filter and its prioritize.
        let changes = match rng.below(14) {
            0 if !named.is_empty() => vec![pod_seen(&placed(&pod, &named[0]))],
            choice => nodes_move(&mut rng, &mut order, choice),
        };
        for (_, site) in &sites {
            site.see(changes.clone()).await;
        }
        if step % 100 == 99 {
            // Another kube-scheduler.
            rng.shuffle(&mut order);
        }
    }
    let hits = |site: &Site, path| {
        let of = |result| site.metrics.fast_path_names.with_label_values(&[path, result]).get();
        (of("hit"), of("miss"))
    };
    let ((_, none), (_, all)) = (&sites[0], &sites[sites.len() - 1]);
    for path in ["cut", "guess", "scan", "memo"] {
        assert_eq!(hits(none, path).0, 0, "{path} is off");
        let (hit, miss) = hits(all, path);
        // Rounds are short here, and the view moves: the guess is right less often than in life.
        assert!(hit > miss / 2 && miss > 0, "{path}: {hit} hits, {miss} misses");
    }
}

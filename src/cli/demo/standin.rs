//! TEMPORARY stand-in for `http::serve`.
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use tokio::sync::oneshot;

use crate::k8s::{decode, slim::SlimPod};
use crate::model::NodeOrd;
use crate::writer::Board;

#[derive(serde::Deserialize)]
struct A<'a> {
    #[serde(rename = "Pod")]
    pod: SlimPod,
    #[serde(rename = "NodeNames", borrow)]
    names: Vec<&'a str>,
}

pub(super) async fn serve(
    listener: tokio::net::TcpListener,
    board: Arc<Board>,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    loop {
        let (stream, _) = tokio::select! {
            it = listener.accept() => it?,
            _ = &mut stopped => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let board = board.clone();
        tokio::spawn(async move {
            let service = service_fn(move |req: hyper::Request<hyper::body::Incoming>| {
                let board = board.clone();
                async move {
                    let filter = req.uri().path() == "/filter";
                    let body = req.into_body().collect().await?.to_bytes();
                    let out = answer(&board, filter, &body);
                    Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::from(out))))
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

fn answer(board: &Board, filter: bool, body: &[u8]) -> String {
    let args: A<'_> = serde_json::from_slice(body).expect("json");
    let pod = Arc::new(decode::pod(&args.pod).expect("pod"));
    board.decide(|desk, world, now| {
        let ords: Vec<NodeOrd> = args
            .names
            .iter()
            .map(|it| world.snapshot.names.ord(it).unwrap_or(NodeOrd::UNKNOWN))
            .collect();
        if filter {
            let a = desk.filter(world, &pod, &ords, now);
            if let Some((at, why)) = a.refused {
                return format!(
                    r#"{{"NodeNames":[],"FailedAndUnresolvableNodes":{{"{}":"{}"}}}}"#,
                    args.names[at as usize],
                    why.text()
                );
            }
            let names: Vec<String> =
                a.accepted.iter().map(|at| format!("\"{}\"", args.names[*at as usize])).collect();
            format!(r#"{{"NodeNames":[{}]}}"#, names.join(","))
        } else {
            let s = desk.prioritize(world, &pod, &ords);
            let rows: Vec<String> = args
                .names
                .iter()
                .zip(s)
                .map(|(n, s)| format!(r#"{{"Host":"{n}","Score":{s}}}"#))
                .collect();
            format!("[{}]", rows.join(","))
        }
    })
}

pub(super) fn plan() -> Arc<crate::policy::Plan> {
    use crate::model::{Amounts, DomainLevel, NodeMatcher, PoolOrd};
    use crate::policy::*;
    use crate::rules::{Share, SpreadKey, SpreadParams};
    let share = Share { cpu_permille: 950, memory_permille: 950 };
    let pool = |name: &str, ty: &str, elastic| PoolSettings {
        name: name.into(),
        matcher: NodeMatcher {
            instance_types: if ty.is_empty() { vec![] } else { vec![ty.into()] },
            labels: if elastic { vec![("type".into(), "virtual-kubelet".into())] } else { vec![] },
        },
        elastic,
        allocation: if elastic { Share::ALL } else { share },
        limit: elastic.then_some(Amounts {
            cpu_milli: 2_000_000,
            memory_bytes: 8 << 40,
            ephemeral_bytes: i64::MAX,
            pods: 1000,
        }),
    };
    let class = |name: &str, role, grant: Grant, pools: Option<Vec<u8>>| ClassSettings {
        name: name.into(),
        role,
        grant,
        pools: pools.map(|it| it.into_iter().map(PoolOrd).collect()),
        spread: (role == Role::Online).then_some(SpreadParams {
            key: SpreadKey::Level(DomainLevel::Zone),
            max_share_permille: Some(400),
        }),
        protected: false,
        allocation: None,
        weights: vec![],
    };
    let ns = |tier: &str| NamespaceSelector {
        names: vec![],
        match_labels: vec![("tier".into(), tier.into())],
    };
    let settings = Settings {
        name: "standin".into(),
        pools: vec![
            pool("shenlong", "ecs.ebm*", false),
            pool("ecs", "ecs.*", false),
            pool("eci", "", true),
        ],
        classes: vec![
            class(
                "online",
                Role::Online,
                Grant {
                    priority_classes: vec!["prod-*".into()],
                    priority: None,
                    namespaces: Some(ns("production")),
                },
                Some(vec![0, 1, 2]),
            ),
            class(
                "offline",
                Role::Offline,
                Grant {
                    priority_classes: vec!["batch-*".into()],
                    priority: None,
                    namespaces: None,
                },
                Some(vec![1, 0]),
            ),
            class("default", Role::Default, Grant::default(), Some(vec![1, 0])),
            class(
                "exempt",
                Role::Exempt,
                Grant {
                    priority_classes: vec![],
                    priority: None,
                    namespaces: Some(NamespaceSelector {
                        names: vec!["kube-system".into()],
                        match_labels: vec![],
                    }),
                },
                None,
            ),
        ],
    };
    Plan::build(&settings, "0".into())
}

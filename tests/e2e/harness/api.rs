//! The API server as plain JSON over HTTP.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

/// Requests under way at once, as many connections.
const CONNECTIONS: usize = 8;

/// A client with somebody's rights.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) Client);

impl Api {
    pub(crate) async fn from_kubeconfig(path: &Path) -> Result<Self> {
        let file = Kubeconfig::read_from(path)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Self(Client::try_from(config)?))
    }

    /// A client that shows no credentials and asks for none.
    pub(crate) fn anonymous(url: &str) -> Result<Self> {
        let mut config = Config::new(url.parse()?);
        config.accept_invalid_certs = true;
        config.connect_timeout = Some(Duration::from_secs(1));
        Ok(Self(Client::try_from(config)?))
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Result<Value> {
        let request =
            Request::builder().method(&method).uri(path).header("content-type", kind).body(body)?;
        let text = self.0.request_text(request).await;
        let text = text.with_context(|| format!("{method} {path}"))?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// The body of a page that is not JSON.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        Ok(self.0.request_text(Request::get(path).body(Vec::new())?).await?)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, "application/json", Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, path, "application/json", object.to_string().into()).await
    }

    /// Changes the fields that are given.
    pub(crate) async fn merge(&self, path: &str, fields: &Value) -> Result<Value> {
        let body = fields.to_string().into();
        self.send(Method::PATCH, path, "application/merge-patch+json", body).await
    }

    /// Deletes a pod as a kubelet does at the end: at once and for good.
    pub(crate) async fn delete_pod(&self, namespace: &str, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0");
        self.send(Method::DELETE, &path, "application/json", Vec::new()).await.map(drop)
    }

    /// Deletes an object or a whole collection.
    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<()> {
        let body = options.to_string().into();
        self.send(Method::DELETE, path, "application/json", body).await.map(drop)
    }

    /// Makes all of them, over several connections.
    pub(crate) async fn post_all(&self, objects: Vec<Value>) -> Result<()> {
        let posts = objects.into_iter().map(|object| async move {
            let path = path_of(&object)?;
            self.post(&path, &object).await
        });
        stream::iter(posts).buffer_unordered(CONNECTIONS).try_for_each(async |_| Ok(())).await
    }

    /// All pods, of all namespaces or of one.
    pub(crate) async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Value>> {
        let path = match namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
            None => "/api/v1/pods".to_owned(),
        };
        let mut list = self.get(&path).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => Err(anyhow!("no items in {path}: {other}")),
        }
    }

    /// One pod.
    pub(crate) async fn pod(&self, namespace: &str, name: &str) -> Result<Value> {
        self.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await
    }
}

/// Where an object is posted.
pub(crate) fn path_of(object: &Value) -> Result<String> {
    let kind = object["kind"].as_str().context("an object without a kind")?;
    let version = object["apiVersion"].as_str().context("an object without an apiVersion")?;
    let root = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
    let plural = match kind {
        "DeviceClass" => "deviceclasses".to_owned(),
        "PriorityClass" => "priorityclasses".to_owned(),
        "NetworkPolicy" => "networkpolicies".to_owned(),
        _ => format!("{}s", kind.to_lowercase()),
    };
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    })
}

/// The pod's node, if it has one.
pub(crate) fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|it| !it.is_empty())
}

/// The message of the pod's `PodScheduled` condition while it is false.
pub(crate) fn refusal_of(pod: &Value) -> Option<&str> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let condition =
        conditions.iter().find(|it| it["type"] == "PodScheduled" && it["status"] == "False")?;
    condition["message"].as_str()
}

//! What a write does to the store, or why it does nothing.

use serde_json::{Value, json};

use super::{Asked, Store, patch};

/// A status and a body, or a status and a text.
pub(super) type Answer = Result<(u16, Value), (u16, String)>;

impl Store {
    pub(super) fn write(&mut self, asked: &Asked, body: &Value) -> Answer {
        match (asked.verb, &*asked.resource) {
            ("create", "events") => Ok((201, json!({}))),
            ("create", "selfsubjectaccessreviews") => Ok((201, self.review(body))),
            ("create", "leases") => self.create_lease(asked, body),
            ("update", "leases") => self.update_lease(asked, body),
            ("patch", "pods/status") if body.is_array() => self.patch_pod(asked, body),
            ("patch", "pods/status") => self.change_pod(asked, body, |pod| {
                for (name, value) in
                    body["metadata"]["annotations"].as_object().into_iter().flatten()
                {
                    pod["metadata"]["annotations"][name] = value.clone();
                }
            }),
            // Only server-side apply is served.
            ("patch", "configmaps") => {
                self.put("configmaps", body.clone());
                Ok((200, body.clone()))
            }
            ("create", "pods/binding") => self.change_pod(asked, body, |pod| {
                pod["spec"]["nodeName"] = body["target"]["name"].clone();
            }),
            _ => Err((405, "not served".to_owned())),
        }
    }

    /// Whether whoever asks may do it.
    fn review(&self, body: &Value) -> Value {
        let asked = &body["spec"]["resourceAttributes"];
        let text = |field: &str| asked[field].as_str().unwrap_or_default();
        let resource = match text("subresource") {
            "" => text("resource").to_owned(),
            sub => format!("{}/{sub}", text("resource")),
        };
        let forbidden = self.forbidden.contains(&(text("verb").to_owned(), resource));
        json!({"status": {"allowed": !forbidden}})
    }

    fn create_lease(&mut self, asked: &Asked, body: &Value) -> Answer {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let at = ("leases".to_owned(), format!("{}/{name}", asked.key));
        if self.objects.contains_key(&at) {
            return Err((409, format!("leases {name:?} already exists")));
        }
        self.put("leases", body.clone());
        Ok((201, self.objects[&at].clone()))
    }

    fn update_lease(&mut self, asked: &Asked, body: &Value) -> Answer {
        let at = ("leases".to_owned(), asked.key.clone());
        let Some(lease) = self.objects.get(&at) else {
            return Err((404, format!("leases {:?} not found", asked.key)));
        };
        if lease["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
            return Err((409, "the object has been modified".to_owned()));
        }
        self.put("leases", body.clone());
        Ok((200, self.objects[&at].clone()))
    }

    fn patch_pod(&mut self, asked: &Asked, body: &Value) -> Answer {
        let at = ("pods".to_owned(), asked.key.clone());
        let Some(pod) = self.objects.get(&at) else {
            return Err((404, format!("pods {:?} not found", asked.key)));
        };
        // Which test it was is not said.
        let text = "the server rejected our request due to an error in our request";
        let pod = patch::apply(pod, body).map_err(|_| (422, text.to_owned()))?;
        self.put("pods", pod);
        Ok((200, json!({})))
    }

    fn change_pod(
        &mut self,
        asked: &Asked,
        body: &Value,
        change: impl FnOnce(&mut Value),
    ) -> Answer {
        let at = ("pods".to_owned(), asked.key.clone());
        let Some(pod) = self.objects.get(&at) else {
            return Err((404, format!("pods {:?} not found", asked.key)));
        };
        if pod["metadata"]["uid"] != body["metadata"]["uid"] {
            return Err((409, "Precondition failed: UID in precondition".to_owned()));
        }
        if asked.resource == "pods/binding" && pod["spec"]["nodeName"].is_string() {
            let node = &pod["spec"]["nodeName"];
            return Err((409, format!("pod is already assigned to node {node}")));
        }
        let mut pod = pod.clone();
        change(&mut pod);
        self.put("pods", pod);
        Ok((200, json!({})))
    }
}

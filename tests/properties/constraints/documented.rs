//! What the Kubernetes documentation says of required constraints, over whole objects.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Objects as the API server has them.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Value>,
    pub(crate) namespaces: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    pub(crate) claims: Vec<Value>,
    pub(crate) volumes: Vec<Value>,
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// `matchExpressions`, or one of `matchFields`, of a value.
fn meets(asked: &Value, value: Option<&str>) -> bool {
    let among = items(&asked["values"]).any(|it| Some(text(it)) == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = number(text(&asked["values"][0]));
    let value_number = value.and_then(number);
    match text(&asked["operator"]) {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value_number.zip(bound).is_some_and(|(a, b)| a > b),
        "Lt" => value_number.zip(bound).is_some_and(|(a, b)| a < b),
        other => unreachable!("{other}"),
    }
}

/// A label selector; `null` selects nothing.
fn selects(selector: &Value, labels: &Value) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    !selector.is_null()
        && pairs.into_iter().all(|(key, value)| labels[key] == *value)
        && items(&selector["matchExpressions"])
            .all(|it| meets(it, labels[text(&it["key"])].as_str()))
}

impl Cluster {
    /// True when no required constraint, taint or port keeps the pod from the node.
    pub(crate) fn admits(&self, pod: &Value, node: usize) -> bool {
        self.tolerates(pod, node)
            && affine(pod, &self.nodes[node])
            && self.has_ports(pod, node)
            && self.is_apart(pod, node)
            && self.is_left_apart(pod, node)
            && self.is_together(pod, node)
            && self.is_spread(pod, node)
            && self.reaches_volumes(pod, node)
    }

    /// The claim behind a pod's volume, if all that must be known of it is.
    fn claim(&self, pod: &Value, volume: &Value) -> Option<(&Value, &Value)> {
        let is_ephemeral = volume["persistentVolumeClaim"].is_null();
        let own = format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]));
        let name = match is_ephemeral {
            true => &*own,
            false => text(&volume["persistentVolumeClaim"]["claimName"]),
        };
        let namespace = &pod["metadata"]["namespace"];
        let is_it = |it: &&Value| {
            it["metadata"]["name"] == *name && it["metadata"]["namespace"] == *namespace
        };
        let claim = self.claims.iter().find(is_it)?;
        let owners = || items(&claim["metadata"]["ownerReferences"]);
        let is_own =
            owners().any(|it| it["controller"] == true && it["uid"] == pod["metadata"]["uid"]);
        let modes = || items(&claim["spec"]["accessModes"]);
        let is_usable = claim["metadata"]["deletionTimestamp"].is_null()
            && claim["status"]["phase"] != "Lost"
            && !claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"].is_null()
            && !modes().any(|mode| mode == "ReadWriteOncePod")
            && (!is_ephemeral || is_own);
        let volume =
            self.volumes.iter().find(|it| it["metadata"]["name"] == claim["spec"]["volumeName"])?;
        let is_migrated = !volume["spec"]["awsElasticBlockStore"].is_null();
        (is_usable && !is_migrated).then_some((claim, volume))
    }

    /// True when of each of the pod's claims it is known where its volume can be used.
    pub(crate) fn knows_volumes(&self, pod: &Value) -> bool {
        mounts(pod).all(|it| self.claim(pod, it).is_some())
    }

    fn reaches_volumes(&self, pod: &Value, node: usize) -> bool {
        mounts(pod).all(|it| {
            let Some((_, volume)) = self.claim(pod, it) else { return false };
            let by_zone = !it["persistentVolumeClaim"].is_null();
            self.is_affine_to(volume, node) && (!by_zone || self.is_in_zone_of(volume, node))
        })
    }

    fn is_affine_to(&self, volume: &Value, node: usize) -> bool {
        let required = &volume["spec"]["nodeAffinity"]["required"];
        let labels = &self.nodes[node]["metadata"]["labels"];
        let holds = |term: &Value| {
            items(&term["matchExpressions"]).count() > 0
                && items(&term["matchExpressions"])
                    .all(|it| meets(it, labels[text(&it["key"])].as_str()))
        };
        required.is_null() || items(&required["nodeSelectorTerms"]).any(holds)
    }

    fn is_in_zone_of(&self, volume: &Value, node: usize) -> bool {
        const NEW: &str = "topology.kubernetes.io";
        const OLD: &str = "failure-domain.beta.kubernetes.io";
        let labels = &self.nodes[node]["metadata"]["labels"];
        let says = |group: &str| {
            ["zone", "region"].iter().any(|it| !labels[format!("{group}/{it}")].is_null())
        };
        if !says(NEW) && !says(OLD) {
            return true;
        }
        [(NEW, "zone"), (NEW, "region"), (OLD, "zone"), (OLD, "region")].iter().all(
            |(group, it)| {
                let asked = text(&volume["metadata"]["labels"][format!("{group}/{it}")]);
                let values: Vec<&str> = asked.split("__").collect();
                if values.contains(&"") {
                    return true;
                }
                let own = &labels[format!("{group}/{it}")];
                let own = if own.is_null() { &labels[format!("{NEW}/{it}")] } else { own };
                values.iter().any(|value| own == value)
            },
        )
    }

    fn tolerates(&self, pod: &Value, node: usize) -> bool {
        let tolerations = || items(&pod["spec"]["tolerations"]);
        items(&self.nodes[node]["spec"]["taints"])
            .all(|taint| tolerations().any(|it| it["key"].is_null() || it["key"] == taint["key"]))
    }

    fn on(&self, node: usize) -> impl Iterator<Item = &Value> {
        let name = &self.nodes[node]["metadata"]["name"];
        self.pods.iter().filter(move |pod| pod["spec"]["nodeName"] == *name)
    }

    fn has_ports(&self, pod: &Value, node: usize) -> bool {
        let taken: Vec<_> = self.on(node).flat_map(ports).collect();
        ports(pod).all(|port| {
            let meets = |other: &(u64, String, String)| {
                let both = |ip: &str| port.2 == ip || other.2 == ip;
                (port.0, &port.1) == (other.0, &other.1) && (port.2 == other.2 || both("0.0.0.0"))
            };
            !taken.iter().any(meets)
        })
    }

    fn label(&self, node: usize, key: &Value) -> Option<&str> {
        self.nodes[node]["metadata"]["labels"][text(key)].as_str()
    }

    /// A term of pod affinity means this placed pod.
    fn term_selects(&self, pod: &Value, term: &Value, other: &Value) -> bool {
        let home = &other["metadata"]["namespace"];
        let named = items(&term["namespaces"]).any(|it| it == home);
        let by_labels = || {
            let namespace = self.namespaces.iter().find(|it| it["metadata"]["name"] == *home);
            namespace
                .is_some_and(|it| selects(&term["namespaceSelector"], &it["metadata"]["labels"]))
        };
        let nowhere_else =
            items(&term["namespaces"]).count() == 0 && term["namespaceSelector"].is_null();
        let there = match nowhere_else {
            true => *home == pod["metadata"]["namespace"],
            false => named || by_labels(),
        };
        let selector = with_own_labels(&term["labelSelector"], term, pod);
        there && selects(&selector, &other["metadata"]["labels"])
    }

    fn nodes_with(&self, which: impl Fn(&Value) -> bool) -> Vec<usize> {
        let all = 0..self.nodes.len();
        all.flat_map(|at| {
            let count = self.on(at).filter(|it| which(it)).count();
            std::iter::repeat_n(at, count)
        })
        .collect()
    }

    fn is_apart(&self, pod: &Value, node: usize) -> bool {
        items(&pod["spec"]["affinity"]["podAntiAffinity"][REQUIRED]).all(|term| {
            let places = self.nodes_with(|other| self.term_selects(pod, term, other));
            let here = self.label(node, &term["topologyKey"]);
            let same = |at: &usize| self.label(*at, &term["topologyKey"]) == here;
            here.is_none() || !places.iter().any(same)
        })
    }

    /// No placed pod, on its way out or not, must be apart from this one.
    fn is_left_apart(&self, pod: &Value, node: usize) -> bool {
        (0..self.nodes.len()).all(|at| {
            self.on(at).all(|other| {
                items(&other["spec"]["affinity"]["podAntiAffinity"][REQUIRED]).all(|term| {
                    let here = self.label(node, &term["topologyKey"]);
                    let same = here.is_some() && here == self.label(at, &term["topologyKey"]);
                    !same || !self.term_selects(other, term, pod)
                })
            })
        })
    }

    fn is_together(&self, pod: &Value, node: usize) -> bool {
        let terms = &pod["spec"]["affinity"]["podAffinity"][REQUIRED];
        if items(terms).count() == 0 {
            return true;
        }
        let all = |other: &Value| items(terms).all(|term| self.term_selects(pod, term, other));
        let places = self.nodes_with(all);
        let label = |at: usize, term: &Value| self.label(at, &term["topologyKey"]);
        if items(terms).any(|term| label(node, term).is_none()) {
            return false;
        }
        let here = |term: &Value| places.iter().any(|at| label(*at, term) == label(node, term));
        let counted = |at: &usize| items(terms).any(|term| label(*at, term).is_some());
        items(terms).all(here) || !places.iter().any(counted) && all(pod)
    }

    fn is_spread(&self, pod: &Value, node: usize) -> bool {
        let terms = &pod["spec"]["topologySpreadConstraints"];
        let has_all =
            |at: usize| items(terms).all(|it| self.label(at, &it["topologyKey"]).is_some());
        items(terms).all(|term| {
            let key = &term["topologyKey"];
            let selector = with_own_labels(&term["labelSelector"], term, pod);
            // Whoever selects all counts none.
            let is_empty = selector == json!({});
            let policy = |field: &str, default| match text(&term[field]) {
                "" => default,
                policy => policy == "Honor",
            };
            let counts = |at: &usize| {
                has_all(*at)
                    && (!policy("nodeAffinityPolicy", true) || affine(pod, &self.nodes[*at]))
                    && (!policy("nodeTaintsPolicy", false) || self.tolerates(pod, *at))
            };
            let mut domains: BTreeMap<&str, u64> = BTreeMap::new();
            for at in (0..self.nodes.len()).filter(counts) {
                let matching = self.on(at).filter(|other| {
                    other["metadata"]["namespace"] == pod["metadata"]["namespace"]
                        && !is_empty
                        && selects(&selector, &other["metadata"]["labels"])
                });
                let domain = self.label(at, key).unwrap_or_default();
                *domains.entry(domain).or_default() += matching.count() as u64;
            }
            let min_domains = term["minDomains"].as_u64().unwrap_or(1);
            let least = match (domains.len() as u64) < min_domains {
                true => 0,
                false => domains.values().min().copied().unwrap_or(0),
            };
            let own = u64::from(selects(&selector, &pod["metadata"]["labels"]));
            self.label(node, key).is_some_and(|here| {
                let pods = domains.get(here).copied().unwrap_or(0);
                pods + own <= least + term["maxSkew"].as_u64().unwrap_or(0)
            })
        })
    }
}

/// `nodeSelector` and required node affinity.
fn affine(pod: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let pairs = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let required = &pod["spec"]["affinity"]["nodeAffinity"][REQUIRED];
    let holds = |term: &Value| {
        let fields = || items(&term["matchFields"]);
        let expressions = || items(&term["matchExpressions"]);
        fields().count() + expressions().count() > 0
            && fields().all(|it| meets(it, node["metadata"]["name"].as_str()))
            && expressions().all(|it| meets(it, labels[text(&it["key"])].as_str()))
    };
    pairs.into_iter().all(|(key, value)| labels[key] == *value)
        && (required.is_null() || items(&required["nodeSelectorTerms"]).any(holds))
}

/// The volumes of a pod behind which a claim stands.
fn mounts(pod: &Value) -> impl Iterator<Item = &Value> {
    let is_claimed =
        |it: &&Value| !it["persistentVolumeClaim"].is_null() || !it["ephemeral"].is_null();
    items(&pod["spec"]["volumes"]).filter(is_claimed)
}

/// `(hostPort, protocol, hostIP)`.
fn ports(pod: &Value) -> impl Iterator<Item = (u64, String, String)> + '_ {
    let or = |value: &Value, default: &str| match text(value) {
        "" => default.to_owned(),
        text => text.to_owned(),
    };
    items(&pod["spec"]["containers"]).flat_map(|it| items(&it["ports"])).filter_map(move |it| {
        let port = it["hostPort"].as_u64().filter(|port| *port > 0)?;
        Some((port, or(&it["protocol"], "TCP"), or(&it["hostIP"], "0.0.0.0")))
    })
}

/// A term's selector with what its `matchLabelKeys` and `mismatchLabelKeys` add.
fn with_own_labels(selector: &Value, term: &Value, pod: &Value) -> Value {
    if selector.is_null() {
        return Value::Null;
    }
    let mut expressions: Vec<Value> = items(&selector["matchExpressions"]).cloned().collect();
    let lists = [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")];
    for (field, operator) in lists {
        for key in items(&term[field]) {
            let value = &pod["metadata"]["labels"][text(key)];
            if !value.is_null() {
                expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let mut merged = json!({});
    if !selector["matchLabels"].is_null() {
        merged["matchLabels"] = selector["matchLabels"].clone();
    }
    if !expressions.is_empty() {
        merged["matchExpressions"] = expressions.into();
    }
    merged
}

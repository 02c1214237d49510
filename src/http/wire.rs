//! What kube-scheduler sends, read from bytes without copying what need not be copied.
//!
//! Go's decoder is the measure of tolerance: keys in any case, unknown keys, `null` for anything, and
//! of a key that comes twice the last one counts. What cannot be read is an error, never a default.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::name_list::{CutList, NameList};
use crate::k8s::slim::SlimPod;

/// Most names or victims that one list may have; the largest cluster has a quarter of it.
pub(super) const MAX_ITEMS: usize = 200_000;
/// Longest description of what is wrong with a request.
const MAX_ERROR_BYTES: usize = 240;

/// The arguments of filter and prioritize.
#[derive(Debug, Default)]
pub(super) struct Args<'a> {
    /// The pod.
    pub pod: Option<SlimPod>,
    /// Names of the nodes; `None` when the scheduler sends whole nodes instead.
    pub node_names: Option<NameList<'a>>,
    /// Whole nodes were sent.
    pub has_nodes: bool,
}

/// The pod of any arguments.
#[derive(Debug, Default)]
pub(super) struct PodArgs {
    /// The pod.
    pub pod: Option<SlimPod>,
}

/// The arguments of preempt.
#[derive(Debug, Default)]
pub(super) struct PreemptArgs<'a> {
    /// The preemptor.
    pub pod: Option<SlimPod>,
    /// Victims by node name, as UIDs.
    pub meta_victims: Option<VictimMap<'a>>,
    /// Victims by node name, as whole pods.
    pub victims: Option<VictimMap<'a>>,
}

/// Victims by node name, in the order of names.
pub(super) type VictimMap<'a> = BTreeMap<Name<'a>, Option<JsonObject<Victims<'a>>>>;

/// The pods that would be evicted from one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Victims<'a> {
    /// Their UIDs, most important first; empty for one that has none.
    pub uids: Vec<Name<'a>>,
    /// How many disruption budgets this would violate.
    pub num_pdb_violations: i64,
}

/// The arguments of bind.
#[derive(Debug, Default)]
pub(super) struct BindArgs<'a> {
    /// The pod's name.
    pub name: Name<'a>,
    /// The pod's namespace.
    pub namespace: Name<'a>,
    /// The pod's UID.
    pub uid: Name<'a>,
    /// The node.
    pub node: Name<'a>,
}

/// Reads a request's body.
pub(super) fn read<'a, T: JsonFields<'a>>(body: &'a [u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the body is not UTF-8 after byte {}", error.valid_up_to()))?;
    let read: JsonObject<T> = serde_json::from_str(text).map_err(|error| {
        let mut text = error.to_string();
        let end = (0..=MAX_ERROR_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text
    })?;
    Ok(read.0)
}

/// Reads the arguments of filter and prioritize.
///
/// Names are most of the text, and kube-scheduler writes them last. A list of plain strings is given
/// to `cut`; what is around it, and any list that is not cut, is read as JSON.
pub(super) fn read_args<'a>(
    body: &'a [u8],
    cut: impl FnOnce(&'a [u8]) -> Option<CutList<'a>>,
) -> Result<Args<'a>, String> {
    let Some((before, text)) = last_list(body) else {
        return read(body);
    };
    let Some(names) = cut(text) else {
        return read(body);
    };
    // It can be read only if the list stood on the first level, as its last member.
    match read::<Args<'_>>(&[before, b"}"].concat()) {
        Ok(Args { pod, has_nodes, .. }) => {
            Ok(Args { pod, node_names: Some(NameList::Cut(names)), has_nodes })
        }
        Err(_) => read(body),
    }
}

/// What stands before and in the list of names at the end of a body as Go writes it.
fn last_list(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = body.strip_suffix(b"]}")?;
    let (before, list) = body.split_at_checked(memchr::memrchr(b'[', body)? + 1)?;
    let before = before.strip_suffix(br#","Nodes":null,"NodeNames":["#)?;
    before.ends_with(b"}").then_some((before, list))
}

/// A text of the request: borrowed from it unless it was written with escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name<'a>(Cow<'a, str>);

impl Name<'_> {
    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes the text as a JSON string.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        match &self.0 {
            // It stood in a JSON text as it is.
            Cow::Borrowed(plain) => {
                out.push(b'"');
                out.extend_from_slice(plain.as_bytes());
                out.push(b'"');
            }
            Cow::Owned(text) => write_json(text, out),
        }
    }
}

/// Writes any text as a JSON string.
pub(super) fn write_json(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Name<'de>, E> {
                Ok(Name::default())
            }
        }
        deserializer.deserialize_any(NameVisitor)
    }
}

/// A struct that is read from a JSON object key by key.
pub(super) trait JsonFields<'de>: Default {
    /// What the object is, for errors.
    const WHAT: &'static str;

    /// Takes the value of a key, whether the key is known or not.
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Lets [`JsonFields`] be read wherever serde reads a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JsonObject<T>(pub T);

impl<'de, T: JsonFields<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);
        impl<'de, T: JsonFields<'de>> Visitor<'de> for Keys<T> {
            type Value = T;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(T::WHAT)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
                let mut fields = T::default();
                while let Some(key) = map.next_key::<Name<'de>>()? {
                    fields.take(key.as_str(), &mut map)?;
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Keys(PhantomData)).map(Self)
    }
}

/// A list of bounded length; `null` is read by whoever wraps it in an `Option`.
struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MAX_ITEMS {
                        return Err(A::Error::custom("a list is too long"));
                    }
                    items.push(item);
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

impl<'de> JsonFields<'de> for Args<'de> {
    const WHAT: &'static str = "ExtenderArgs";

    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key.eq_ignore_ascii_case("Pod") {
            self.pod = map.next_value()?;
        } else if key.eq_ignore_ascii_case("NodeNames") {
            let list = map.next_value::<Option<List<_>>>()?;
            self.node_names = list.map(|list| NameList::Read(list.0));
        } else if key.eq_ignore_ascii_case("Nodes") {
            self.has_nodes = map.next_value::<Option<IgnoredAny>>()?.is_some();
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl<'de> JsonFields<'de> for PodArgs {
    const WHAT: &'static str = "ExtenderArgs";

    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key.eq_ignore_ascii_case("Pod") {
            self.pod = map.next_value()?;
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl<'de> JsonFields<'de> for PreemptArgs<'de> {
    const WHAT: &'static str = "ExtenderPreemptionArgs";

    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key.eq_ignore_ascii_case("Pod") {
            self.pod = map.next_value()?;
        } else if key.eq_ignore_ascii_case("NodeNameToMetaVictims") {
            self.meta_victims = map.next_value()?;
        } else if key.eq_ignore_ascii_case("NodeNameToVictims") {
            self.victims = map.next_value()?;
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl<'de> JsonFields<'de> for Victims<'de> {
    const WHAT: &'static str = "Victims";

    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key.eq_ignore_ascii_case("Pods") {
            let pods: Option<List<Option<JsonObject<Victim<'de>>>>> = map.next_value()?;
            let pods = pods.map_or_else(Vec::new, |list| list.0).into_iter();
            self.uids = pods.map(|pod| pod.unwrap_or_default().0.uid).collect();
        } else if key.eq_ignore_ascii_case("NumPDBViolations") {
            self.num_pdb_violations = map.next_value::<Option<i64>>()?.unwrap_or(0);
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// A victim: a `MetaPod` (`UID`) or a whole pod (`metadata.uid`).
#[derive(Default)]
struct Victim<'a> {
    uid: Name<'a>,
}

impl<'de> JsonFields<'de> for Victim<'de> {
    const WHAT: &'static str = "a victim";

    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key.eq_ignore_ascii_case("UID") {
            self.uid = map.next_value()?;
        } else if key == "metadata" {
            self.uid = map.next_value::<Option<JsonObject<Self>>>()?.unwrap_or_default().0.uid;
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl<'de> JsonFields<'de> for BindArgs<'de> {
    const WHAT: &'static str = "ExtenderBindingArgs";

    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key.eq_ignore_ascii_case("PodName") {
            self.name = map.next_value()?;
        } else if key.eq_ignore_ascii_case("PodNamespace") {
            self.namespace = map.next_value()?;
        } else if key.eq_ignore_ascii_case("PodUID") {
            self.uid = map.next_value()?;
        } else if key.eq_ignore_ascii_case("Node") {
            self.node = map.next_value()?;
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Names;
    use crate::http::fast_paths::FastPaths;
    use crate::http::name_list::Cutter;

    fn read_names(args: Args<'_>) -> Vec<Name<'_>> {
        match args.node_names {
            Some(NameList::Read(names)) => names,
            other => unreachable!("{other:?}"),
        }
    }

    /// The names as they are written again, and whether they were cut.
    fn fast_names(body: &[u8]) -> Result<(String, bool), String> {
        let (mut cutter, known) = (Cutter::default(), Names::default());
        read_args(body, |text| cutter.cut(text, &known, FastPaths::ALL)).map(written)
    }

    fn written(args: Args<'_>) -> (String, bool) {
        let mut out = Vec::new();
        let names = args.node_names.expect("names were sent");
        names.write_all(&(0..names.len() as u32).collect::<Vec<_>>(), &mut out);
        (String::from_utf8(out).expect("names are UTF-8"), matches!(names, NameList::Cut(_)))
    }

    #[test]
    fn names_are_borrowed_unless_they_have_escapes() {
        let body = br#"{"NodeNames":["n0","a\u003cb\"\\\n",null]}"#;
        let args: Args<'_> = read(body).expect("it is valid");
        let names = read_names(args);
        assert!(matches!(names[0], Name(Cow::Borrowed("n0"))));
        assert_eq!(names[1].as_str(), "a<b\"\\\n");
        assert_eq!(names[2].as_str(), "");
        let mut out = Vec::new();
        names[0].write_json(&mut out);
        names[1].write_json(&mut out);
        assert_eq!(String::from_utf8(out).as_deref(), Ok(r#""n0""a<b\"\\\u000a""#));
    }

    #[test]
    fn a_plain_list_reads_as_any_list_does() {
        let cases = [
            (r#"{"Pod":{},"Nodes":null,"NodeNames":["n0","","],:{}"]}"#, true),
            (r#"{"Pod":{},"Nodes":null,"NodeNames":["n0","ü"]}"#, false),
            (r#"{"NodeNames":["x"],"Pod":{},"Nodes":null,"NodeNames":["n0"]}"#, true),
            (r#"{"Pod":{},"Nodes":null,"NodeNames":[]}"#, false),
            (r#"{"Pod":{},"Nodes":null,"NodeNames":["a","a\u003cb"]}"#, false),
            (r#"{"Pod":{},"Nodes":null,"NodeNames":["a" ,"b"]}"#, false),
            (r#"{"Pod":{},"Nodes":null,"NodeNames":["a",null]}"#, false),
            (r#"{"Pod":{},"NodeNames":["a"]}"#, false),
            (r#"{"x":{},"Nodes":null,"NodeNames":["a"]}"#, true),
        ];
        for (body, plain) in cases {
            let slow = read::<Args<'_>>(body.as_bytes()).map(|args| (written(args).0, plain));
            assert_eq!(fast_names(body.as_bytes()), slow, "{body}");
        }
    }

    #[test]
    fn what_only_looks_like_the_list_is_no_list() {
        let cases: [&[u8]; 9] = [
            // Too deep, in a text, after the end, cut off, and not JSON around it or in it.
            br#"{"Pod":{"x":{"y":{},"Nodes":null,"NodeNames":["a"]}"#,
            br#"{"Pod":{"x":"{},"Nodes":null,"NodeNames":["a"]}"#,
            br#"{"Pod":"}\","Nodes":null,"NodeNames":["a"]}"#,
            br#"{},"Nodes":null,"NodeNames":["a"]}"#,
            br#"{"Pod":{}},"Nodes":null,"NodeNames":["a"]}"#,
            br#"{"Pod":{},"Nodes":null,"NodeNames":["a",]}"#,
            br#"{"Pod":{},"Nodes":null,"NodeNames":["a""b"]}"#,
            b"{\"Pod\":{},\"Nodes\":null,\"NodeNames\":[\"a\nb\"]}",
            b"{\"Pod\":{},\"Nodes\":null,\"NodeNames\":[\"a\xff\"]}",
        ];
        for body in cases {
            let (fast, slow) = (fast_names(body), read::<Args<'_>>(body));
            let text = String::from_utf8_lossy(body);
            assert_eq!(fast.expect_err(&text), slow.expect_err(&text), "{text}");
        }
    }

    #[test]
    fn keys_come_in_any_case_twice_or_unknown() {
        let body = br#"{"x":{"NodeNames":[1]},"nodenames":["a"],"nodeNames":["b"],"nodes":null}"#;
        let args: Args<'_> = read(body).expect("it is valid");
        let has_nodes = args.has_nodes;
        let names = read_names(args);
        assert_eq!((names.len(), names[0].as_str(), has_nodes), (1, "b", false));
    }

    #[test]
    fn victims_are_read_in_both_forms() {
        let body = br#"{"NodeNameToVictims":{"b":{"Pods":[{"metadata":{"name":"p","uid":"u1"}},
            null,{"metadata":null}],"NumPDBViolations":2},"a":null}}"#;
        let args: PreemptArgs<'_> = read(body).expect("it is valid");
        assert!(args.meta_victims.is_none());
        let map = args.victims.expect("victims were sent");
        let names: Vec<&str> = map.keys().map(Name::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        let victims = map.values().flatten().next().expect("b has victims");
        let uids: Vec<&str> = victims.0.uids.iter().map(Name::as_str).collect();
        assert_eq!((uids, victims.0.num_pdb_violations), (vec!["u1", "", ""], 2));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "EOF while parsing"),
            (b"null", "invalid type: null, expected ExtenderArgs"),
            (b"[]", "invalid type: sequence, expected ExtenderArgs"),
            (b"{\"NodeNames\":[", "EOF while parsing"),
            (b"{\"NodeNames\":[1]}", "expected a string"),
            (b"{\"NodeNames\":{}}", "expected a list"),
            (b"{} {}", "trailing characters"),
            (b"{\"Pod\":\"\xff\"}", "the body is not UTF-8 after byte 8"),
        ];
        for (body, want) in cases {
            let error = read::<Args<'_>>(body).expect_err("it cannot be read");
            assert!(error.contains(want), "{error}");
        }
        let long = format!("{{\"NodeNames\":[{}]}}", vec!["\"\""; MAX_ITEMS + 1].join(","));
        let error = read::<Args<'_>>(long.as_bytes()).expect_err("it is too long");
        assert!(error.contains("a list is too long"), "{error}");
        let text = format!("{{\"Pod\":\"{}\"}}", "ü".repeat(1000));
        let error = read::<Args<'_>>(text.as_bytes()).expect_err("a pod is no string");
        assert!(error.len() <= MAX_ERROR_BYTES, "{error}");
    }
}

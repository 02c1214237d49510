//! Kubeconfig files → the entries that are used. Files are merged and read as kubectl does it: what is
//! not used is not judged, and of a key that stands twice the last one counts.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

/// The largest file that is read.
const MAX_BYTES: usize = 16 << 20;

/// What is wrong with a kubeconfig: in which file, and what.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) file: PathBuf,
    pub(super) why: String,
}

/// The cluster and the user of a context.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) cluster: NamedEntry,
    /// `None`: the context names none.
    pub(super) user: Option<NamedEntry>,
}

/// A cluster, a user or a context.
#[derive(Clone)]
pub(super) struct NamedEntry {
    /// The file that it stands in.
    pub(super) file: PathBuf,
    /// `cluster "prod"`, for messages.
    pub(super) title: String,
    fields: Map<String, Value>,
}

/// Values may be secret.
impl std::fmt::Debug for NamedEntry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} of {}", self.title, self.file.display())
    }
}

/// The documents of all files, in order.
struct Documents(Vec<(PathBuf, Map<String, Value>)>);

/// Reads the files of `list` (several in a row, as in `KUBECONFIG`) and looks up a context.
pub(super) fn choose(list: &Path, context: Option<&str>) -> Result<Chosen, Bad> {
    let documents = Documents::read(list)?;
    let bad = |why: String| {
        let why = format!("{why} (the file has: {})", documents.context_names());
        Bad { file: list.to_owned(), why }
    };
    let current = || documents.current_context().map(str::to_owned);
    let name = context.map(str::to_owned).or_else(current).ok_or_else(|| {
        bad("it has no current-context: write one into it, or give --context".to_owned())
    })?;
    let context = documents.find("context", "contexts", &name)?;
    let context = context.ok_or_else(|| bad(format!("it has no context {name:?}")))?;
    let cluster = context.text("cluster")?;
    let cluster = cluster.ok_or_else(|| context.bad("names no cluster"))?;
    let found = documents.find("cluster", "clusters", cluster)?;
    let missing = || context.bad(&format!("names the cluster {cluster:?}, which no file has"));
    let cluster = found.ok_or_else(missing)?;
    let user = match context.text("user")? {
        None => None,
        Some(user) => {
            let found = documents.find("user", "users", user)?;
            let missing = || context.bad(&format!("names the user {user:?}, which no file has"));
            Some(found.ok_or_else(missing)?)
        }
    };
    Ok(Chosen { cluster, user })
}

impl Documents {
    fn read(list: &Path) -> Result<Self, Bad> {
        let files = files(list);
        let mut all = Vec::new();
        let mut missing = None;
        for file in &files {
            match documents(file) {
                Ok(found) => all.extend(found.into_iter().map(|it| (file.clone(), it))),
                Err((why, true)) if files.len() > 1 => {
                    missing.get_or_insert(Bad { file: file.clone(), why });
                }
                Err((why, _)) => return Err(Bad { file: file.clone(), why }),
            }
        }
        match missing {
            // Of several files some may be missing, not all.
            Some(bad) if all.is_empty() => Err(bad),
            _ => Ok(Self(all)),
        }
    }

    fn current_context(&self) -> Option<&str> {
        let names = self.0.iter().filter_map(|(_, it)| it.get("current-context")?.as_str());
        names.into_iter().find(|it| !it.is_empty())
    }

    /// The first file that has an entry of this name counts.
    fn find(&self, kind: &str, list: &str, name: &str) -> Result<Option<NamedEntry>, Bad> {
        for (file, document) in &self.0 {
            let title = format!("{kind} {name:?}");
            let bad = |why: String| Bad { file: file.clone(), why };
            let items = match document.get(list) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(items)) => items,
                Some(_) => return Err(bad(format!("{list} is not a list"))),
            };
            let named = |it: &&Value| it.get("name").and_then(Value::as_str) == Some(name);
            let mut found = items.iter().filter(named).map(|it| it.get(kind));
            let fields = match (found.next(), found.next()) {
                (None, _) => continue,
                (Some(_), Some(_)) => return Err(bad(format!("{title} stands there twice"))),
                (Some(None | Some(Value::Null)), None) => Map::new(),
                (Some(Some(Value::Object(fields))), None) => fields.clone(),
                (Some(Some(_)), None) => return Err(bad(format!("{title} is not a mapping"))),
            };
            return Ok(Some(NamedEntry { file: file.clone(), title, fields }));
        }
        Ok(None)
    }

    fn context_names(&self) -> String {
        let contexts = self.0.iter().filter_map(|(_, it)| it.get("contexts")?.as_array());
        let names = contexts.flatten().filter_map(|it| it.get("name")?.as_str());
        let names: Vec<&str> = names.take(20).collect();
        match names.is_empty() {
            true => "no context".to_owned(),
            false => format!("contexts {}", names.join(", ")),
        }
    }
}

/// One file, or several with `:` between them.
fn files(list: &Path) -> Vec<PathBuf> {
    if list.exists() {
        return vec![list.to_owned()];
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for file in std::env::split_paths(list) {
        if !file.as_os_str().is_empty() && !files.contains(&file) {
            files.push(file);
        }
    }
    if files.is_empty() { vec![list.to_owned()] } else { files }
}

/// The documents of one file; an error is the reason, and whether there is no such file.
fn documents(file: &Path) -> Result<Vec<Map<String, Value>>, (String, bool)> {
    let bytes = std::fs::read(file)
        .map_err(|error| (error.to_string(), error.kind() == ErrorKind::NotFound))?;
    let found = text_of(&bytes).and_then(|text| parse(&text));
    found.map_err(|why| (why, false))
}

/// UTF-8, or UTF-16 with a byte order mark as PowerShell writes it.
fn text_of(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|it| unit([it[0], it.get(1).copied().unwrap_or(0)]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map_err(|_| "failed to parse: it is not UTF-16".to_owned())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => {
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let text = std::str::from_utf8(text).map(str::to_owned);
            text.map_err(|_| "failed to parse: it is not UTF-8 text".to_owned())
        }
    }
}

fn parse(text: &str) -> Result<Vec<Map<String, Value>>, String> {
    let documents = match serde_json::from_str::<Value>(text) {
        Ok(document) => vec![document],
        Err(_) => {
            let options = serde_saphyr::options! {
                duplicate_keys: DuplicateKeyPolicy::LastWins,
                // A line of the file may be a secret.
                with_snippet: false,
            };
            serde_saphyr::from_multiple_with_options::<Value>(text, options)
                .map_err(|error| format!("failed to parse YAML: {error}"))?
        }
    };
    documents.into_iter().map(mapping).collect()
}

fn mapping(document: Value) -> Result<Map<String, Value>, String> {
    let Value::Object(document) = document else {
        return Err("failed to parse: it is not a mapping".to_owned());
    };
    let said = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (said("kind"), said("apiVersion"));
    if matches!(kind, "" | "Config") && matches!(version, "" | "v1") {
        return Ok(document);
    }
    let (kind, version) = (cut(kind), cut(version));
    Err(format!("it is no kubeconfig: its kind is {kind:?}, its apiVersion {version:?}"))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl NamedEntry {
    pub(super) fn bad(&self, why: &str) -> Bad {
        Bad { file: self.file.clone(), why: format!("{} {why}", self.title) }
    }

    /// A text; an empty one is none.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, Bad> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|it| !it.is_empty())),
            Some(_) => Err(self.bad(&format!("has a {field} that is not text (quote it)"))),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, field: &str) -> Result<bool, Bad> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.bad(&format!("has a {field} that is neither true nor false"))),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<String>, Bad> {
        let items = match self.fields.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.bad(&format!("has a {field} that is not a list"))),
        };
        let texts = items.iter().map(|it| it.as_str().map(str::to_owned));
        texts
            .collect::<Option<_>>()
            .ok_or_else(|| self.bad(&format!("has a {field} that lists something but text")))
    }

    /// A mapping within this one, as an entry of its own.
    pub(super) fn within(&self, field: &str) -> Result<Option<NamedEntry>, Bad> {
        let fields = match self.fields.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(fields)) => fields.clone(),
            Some(_) => return Err(self.bad(&format!("has a {field} that is not a mapping"))),
        };
        let title = format!("{}: {field}", self.title);
        Ok(Some(NamedEntry { file: self.file.clone(), title, fields }))
    }

    /// Mappings in a list, each as an entry of its own.
    pub(super) fn items(&self, field: &str) -> Result<Vec<NamedEntry>, Bad> {
        let items = match self.fields.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.bad(&format!("has a {field} that is not a list"))),
        };
        let entry = |it: &Value| {
            let fields = it.as_object()?.clone();
            let title = format!("{}: {field}", self.title);
            Some(NamedEntry { file: self.file.clone(), title, fields })
        };
        let entries = items.iter().map(entry).collect::<Option<_>>();
        entries.ok_or_else(|| self.bad(&format!("has a {field} that lists something odd")))
    }

    /// Any value.
    pub(super) fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|it| !it.is_null())
    }

    /// The names of its fields.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// A path; a relative one begins where the file is.
    pub(super) fn path(&self, field: &str) -> Result<Option<PathBuf>, Bad> {
        Ok(self.text(field)?.map(|it| self.resolve(it)))
    }

    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

//! Policies in the `data` of ConfigMaps, as `kubectl get -o yaml` and kustomize write them. Places are
//! those of the manifest, since that is the file which its reader has open.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::codes;
use super::compile::{API_VERSION, KIND, diagnose};
use super::diagnostic::{Diagnostic, Faults, Place, lines, quoted};

/// As much of a manifest as says where policies are.
#[derive(Deserialize)]
struct Manifest {
    kind: Option<Spanned<String>>,
    data: Option<BTreeMap<String, Spanned<String>>>,
    #[serde(default)]
    items: Vec<Manifest>,
}

/// Everything that is to say about the policies in a file of ConfigMaps. `None`: it holds no ConfigMap,
/// so that it is a policy itself, or nothing that is known here.
pub fn diagnose_manifest(file: &str, bytes: &[u8]) -> Option<Vec<Diagnostic>> {
    let source = std::str::from_utf8(bytes).ok()?;
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    if !source.contains("ConfigMap") {
        return None;
    }
    let lines: Vec<&str> = lines(source).collect();
    let mut found = Found { file, lines: &lines, first: 0, maps: Vec::new(), all: Vec::new() };
    let mut policies = 0;
    for (first, text) in documents(source) {
        found.first = first;
        if let Ok(manifest) = serde_saphyr::from_str::<Manifest>(text) {
            policies += found.visit(&manifest);
        }
    }
    let at = *found.maps.first()?;
    if policies == 0 {
        let mut faults = Faults::new(file);
        let message = "no policy in the `data` of this ConfigMap";
        let hint = format!("an entry such as `policy.yaml: |` with `kind: {KIND}` in it");
        faults.report_hint(&codes::KIND, at, message, hint);
        found.all = faults.into_sorted();
    }
    found.all.sort_by_key(|it| (it.line, it.column, it.code));
    Some(found.all)
}

/// True for a file in which nothing is, or holds, or was to be a policy.
pub fn is_foreign(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let has = |key: &str| lines(&text).any(|line| line.starts_with(key));
    let ours = text.contains(KIND) || text.contains(API_VERSION);
    // Kustomizations need not say what they are.
    let other =
        (has("apiVersion:") && has("kind:")) || has("resources:") || has("configMapGenerator:");
    !ours && other
}

/// The documents of a file, each with the number of lines before it.
fn documents(source: &str) -> Vec<(usize, &str)> {
    let (mut found, mut begin, mut first, mut offset) = (Vec::new(), 0, 0, 0);
    for (index, line) in source.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---");
        if marker.is_some_and(|rest| rest.trim().is_empty() || rest.starts_with([' ', '\t'])) {
            found.push((first, source.get(begin..offset).unwrap_or_default()));
            (begin, first) = (offset + line.len(), index + 1);
        }
        offset += line.len();
    }
    found.push((first, source.get(begin..).unwrap_or_default()));
    found
}

/// What has been found in a file.
struct Found<'a> {
    file: &'a str,
    lines: &'a [&'a str],
    /// Lines before the document.
    first: usize,
    /// Where the ConfigMaps say what they are.
    maps: Vec<Place>,
    all: Vec<Diagnostic>,
}

impl Found<'_> {
    /// Checks the policies of a manifest, and says how many there are.
    fn visit(&mut self, manifest: &Manifest) -> usize {
        let inner: usize = manifest.items.iter().map(|it| self.visit(it)).sum();
        let Some(kind) = manifest.kind.as_ref().filter(|it| it.value == "ConfigMap") else {
            return inner;
        };
        self.maps.push(self.place(kind.referenced));
        let data = manifest.data.iter().flatten();
        let policies: Vec<_> = data.filter(|(key, it)| is_policy(key, &it.value)).collect();
        for (key, text) in &policies {
            self.check(key, text);
        }
        inner + policies.len()
    }

    fn place(&self, location: Location) -> Place {
        let number = |it: u64| u32::try_from(it).unwrap_or(u32::MAX).max(1);
        let first = u32::try_from(self.first).unwrap_or(u32::MAX);
        let line = number(location.line()).saturating_add(first);
        Place { line, column: number(location.column()) }
    }

    fn check(&mut self, key: &str, text: &Spanned<String>) {
        let at = self.place(text.referenced);
        let literal = self.literal(at, &text.value);
        for mut it in diagnose(self.file, text.value.as_bytes()) {
            match literal {
                Some((first, indent)) => {
                    it.line = it.line.saturating_add(first);
                    it.column = it.column.saturating_add(indent);
                }
                // Its lines are not those of the manifest.
                None => {
                    it.message = format!("{} (line {} of {})", it.message, it.line, quoted(key));
                    (it.line, it.column) = (at.line, at.column);
                }
            }
            self.all.push(it);
        }
    }

    /// Lines before a text that stands in the manifest as it is, and blanks before each of its lines.
    fn literal(&self, at: Place, text: &str) -> Option<(u32, u32)> {
        let inner: Vec<&str> = lines(text.trim_end()).collect();
        let begins = inner.iter().position(|line| !line.trim().is_empty())?;
        let from = usize::try_from(at.line).ok()?.checked_sub(1)?;
        let first = (from..self.lines.len().min(from + begins + 3)).find(|at| {
            let line = self.lines.get(*at).is_some_and(|it| it.ends_with(inner[begins]));
            line && !inner[begins].is_empty()
        })?;
        let indent = self.lines.get(first)?.len().checked_sub(inner[begins].len())?;
        let first = first.checked_sub(begins)?;
        let same = |(at, line): (usize, &&str)| {
            let outer = self.lines.get(first + at).copied().unwrap_or_default();
            outer.get(indent..).unwrap_or_default().trim_end() == line.trim_end()
        };
        if !inner.iter().enumerate().all(same) {
            return None;
        }
        Some((u32::try_from(first).ok()?, u32::try_from(indent).ok()?))
    }
}

/// True for an entry of a ConfigMap that is a policy, if perhaps a faulty one.
fn is_policy(key: &str, text: &str) -> bool {
    let yaml = [".yaml", ".yml", ".json"].iter().any(|end| key.ends_with(end));
    let kind = lines(text).find_map(|line| line.strip_prefix("kind:"));
    text.contains(KIND)
        || text.contains(API_VERSION)
        || (yaml && kind.is_none() && ["pools:", "classes:"].iter().any(|it| text.contains(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str =
        "apiVersion: sigma.io/v1alpha1\nkind: SchedulingPolicy\n\npools:\n- nmae: a\n";

    fn places(source: &str) -> Vec<(u32, u32, &'static str)> {
        let found = diagnose_manifest("m.yaml", source.as_bytes()).expect("a ConfigMap");
        found.iter().map(|it| (it.line, it.column, it.code)).collect()
    }

    fn indented(blanks: usize) -> String {
        let blanks = " ".repeat(blanks);
        POLICY.lines().map(|line| format!("{blanks}{line}\n")).collect()
    }

    #[test]
    fn places_are_those_of_the_manifest() {
        let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p}\n";
        for marker in ["|", "|-", "|+", "|2"] {
            let body = format!("data:\n  policy.yaml: {marker}\n{}", indented(4));
            assert_eq!(places(&format!("{head}{body}")), [(10, 7, "P0103")], "{marker}");
        }
        let list =
            format!("kind: List\nitems:\n- kind: ConfigMap\n  data:\n    p: |\n{}", indented(6));
        assert_eq!(places(&list), [(10, 9, "P0103")]);
        let several = format!(
            "kind: Deployment\nspec: {{a: [b]}}\n---\n{head}data:\n  p: |\n{}---\nkind: Service\n",
            indented(4)
        );
        assert_eq!(places(&several), [(13, 7, "P0103")]);
        let quoted = format!("{head}data:\n  p: {POLICY:?}\n");
        assert_eq!(places(&quoted), [(5, 6, "P0103")]);
        assert_eq!(places(&format!("{head}data: {{p: x}}\n")), [(2, 7, "P0102")]);
        assert_eq!(places(head), [(2, 7, "P0102")]);
    }

    #[test]
    fn what_is_no_policy_is_left_alone() {
        let head = "kind: ConfigMap\ndata:\n";
        let other = "  k.yaml: |\n    kind: KubeSchedulerConfiguration\n    pools: 1\n";
        let body = format!("{head}{other}  p.yaml: |\n{}", indented(4));
        assert_eq!(places(&body), [(11, 7, "P0103")]);
        for none in ["", "kind: Service\n", POLICY, "\u{0}ConfigMap", "a: [ConfigMap"] {
            assert!(diagnose_manifest("m.yaml", none.as_bytes()).is_none(), "{none}");
        }
    }
}

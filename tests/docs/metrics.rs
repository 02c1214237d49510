//! `docs/metrics.md`: what the registry knows is generated, what to do about it is written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sigma::metrics::Described;
use sigma::serve::metrics;

use super::read;

const PAGE: &str = "docs/metrics.md";
/// Where a row appears that nobody has sorted in yet.
const NEW: &str =
    "## New\n\n| name | type, labels | help | what it tells, what to do |\n|---|---|---|---|";
/// What comes after a table.
const LAST_SECTION: &str = "## Alerts to begin with";

/// The page as it must be: every metric has one row, in which only the last cell is the author's.
fn page(old: &str, metrics: &[Described]) -> String {
    let mut missing: BTreeMap<&str, &Described> =
        metrics.iter().map(|it| (it.name.as_str(), it)).collect();
    let mut out: Vec<String> = Vec::new();
    for line in old.lines() {
        match name_of(line) {
            None => out.push(line.to_owned()),
            // A row whose metric is gone, or that is there twice after a merge, goes.
            Some(name) => out.extend(missing.remove(name).map(|it| row(it, notes(line)))),
        }
    }
    let mut text = out.join("\n") + "\n";
    if !missing.is_empty() {
        let rows: Vec<String> = missing.values().map(|it| row(it, "")).collect();
        let section = format!("{NEW}\n{}\n\n{LAST_SECTION}", rows.join("\n"));
        text = text.replacen(LAST_SECTION, &section, 1);
    }
    text
}

fn row(metric: &Described, notes: &str) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("; {}", labels.join(", ")) };
    let Described { name, kind, help, .. } = metric;
    let notes = if notes.is_empty() { String::new() } else { format!(" {notes}") };
    format!("| `{name}` | {kind}{labels} | {help} |{notes} |")
}

/// The metric of a row.
fn name_of(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
    name.starts_with("sigma_").then_some(name)
}

/// The last cell of a row.
fn notes(line: &str) -> &str {
    let cells = line.trim().trim_matches('|').split(" |");
    cells.last().unwrap_or_default().trim()
}

/// Words of a page that begin with `sigma_`.
fn mentioned(page: &str) -> BTreeSet<String> {
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sigma_")).map(str::to_owned).collect()
}

#[test]
fn the_page_is_what_the_registry_says() {
    let metrics = metrics().expect("names are unique");
    let old = read(PAGE);
    let want = page(&old, &metrics.described());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"), &want)
            .expect("the page can be written");
    } else {
        assert!(old == want, "{PAGE} is not what the registry says; UPDATE=1 rewrites it:\n{want}");
    }
    assert_eq!(page(&want, &metrics.described()), want, "a page that is right stays as it is");
}

#[test]
fn pages_name_no_metric_that_does_not_exist() {
    let metrics = metrics().expect("names are unique");
    let known: BTreeSet<String> = metrics.described().iter().map(|it| it.name.clone()).collect();
    assert!(known.len() > 25, "{known:?}");
    for page in [PAGE, "docs/api.md", "docs/limits.md", "docs/failure-modes.md", "README.md"] {
        let unknown: Vec<_> = mentioned(&read(page)).difference(&known).cloned().collect();
        assert_eq!(unknown, [""; 0], "{page}");
    }
}

/// The structs of `src/` that implement `MetricSet`, outside of tests.
fn sets_in(dir: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sets_in(&path, out);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let names = code.split("impl MetricSet for ").skip(1);
            out.extend(names.filter_map(|it| it.split(' ').next()).map(str::to_owned));
        }
    }
}

/// A set that `serve` does not register would be missing on the page, and on `/metrics` until its first use.
#[test]
fn every_set_of_metrics_is_there_from_the_start() {
    let mut sets = Vec::new();
    sets_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sets);
    assert!(sets.len() > 3, "the sources were not understood: {sets:?}");
    let registered = read("src/serve/metrics.rs");
    sets.retain(|set| !registered.contains(&format!("metrics.of::<{set}>()?;")));
    assert_eq!(sets, [""; 0]);
}

#[test]
fn rows_follow_the_registry_and_keep_what_people_wrote() {
    let metric = |name: &str, labels: &[&str]| Described {
        name: format!("sigma_{name}"),
        kind: "gauge",
        labels: labels.iter().map(|it| (*it).to_owned()).collect(),
        help: "Helps.".to_owned(),
    };
    let old = "# M\n| `sigma_a` | counter | old | look at `x` |\n| `sigma_gone` | | | |\n\
               | `sigma_a` | | | again |\n| `process_x` | | | kept |\n\n## Alerts to begin with\nend\n";
    let metrics = [metric("a", &["x", "y"]), metric("b", &[])];
    let want = "# M\n| `sigma_a` | gauge; `x`, `y` | Helps. | look at `x` |\n\
                | `process_x` | | | kept |\n\n## New\n\n\
                | name | type, labels | help | what it tells, what to do |\n|---|---|---|---|\n\
                | `sigma_b` | gauge | Helps. | |\n\n## Alerts to begin with\nend\n";
    assert_eq!(page(old, &metrics), want);
    assert_eq!(page(want, &metrics), want);
    assert_eq!(mentioned("`sigma_b{x=1}`, sigma").into_iter().collect::<Vec<_>>(), ["sigma_b"]);
}

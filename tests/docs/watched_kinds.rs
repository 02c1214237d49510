//! `docs/adding-a-watched-kind.md`: the table is generated from the registry.

use sigma::k8s::kinds::{Absent, KindSource, KindSpec, REGISTRY, Version};

use super::read;

const PAGE: &str = "docs/adding-a-watched-kind.md";
const BEGIN: &str = "<!-- registry -->\n";
const END: &str = "<!-- /registry -->\n";
const HEAD: &str = "\
| kind | API group | version | required | when it is absent | without the right |
|---|---|---|---|---|---|
";

fn row(spec: &KindSpec) -> String {
    let KindSpec { kind, source, .. } = spec;
    let group = if kind.group.is_empty() { "core".to_owned() } else { format!("`{}`", kind.group) };
    let version = match source {
        KindSource::Watch(Version::Fixed(version), _) => format!("`{version}`"),
        KindSource::Watch(Version::Newest, _) => "the newest".to_owned(),
        KindSource::Poll(interval, _) => format!("polled every {} s", interval.as_secs()),
    };
    // A core kind and a required one are always served.
    let absent = match spec.absent {
        _ if kind.is_required() || kind.group.is_empty() => "–",
        Absent::Sweep => "its objects are gone",
        Absent::Keep => "its objects stay",
    };
    let (required, without) = match kind.is_required() {
        true => ("yes", "sigma is not ready"),
        false => ("no", spec.without),
    };
    format!("| `{}` | {group} | {version} | {required} | {absent} | {without} |\n", kind.name)
}

/// The page with the table as it must be.
fn page(old: &str, registry: &[KindSpec]) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let table = HEAD.to_owned() + &registry.iter().map(row).collect::<String>();
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[test]
fn the_table_is_what_the_registry_says() {
    let old = read(PAGE);
    let want = page(&old, REGISTRY).expect("the page has the place of the table");
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/adding-a-watched-kind.md");
        std::fs::write(path, &want).expect("the page can be written");
    } else {
        assert!(old == want, "{PAGE} is not what the registry says; UPDATE=1 rewrites it:\n{want}");
    }
    assert!(
        page(&want, &REGISTRY[1..]).is_some_and(|it| it != want),
        "a kind that is gone is noticed"
    );
}

#[test]
fn the_checks_can_complain() {
    assert_eq!(page("no table", REGISTRY), None);
}

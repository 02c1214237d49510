//! Hundreds of slips of the hand in the shipped policy: those that must be refused are, and one that is
//! accepted has a finding, or a stated reason why there is nothing to find.
//!
//! The schema is held against the same mutants: see `schema.rs`.

use std::collections::BTreeMap;

use sigma::policy::{Severity, compile, render};

use crate::{diagnostics, root};

/// What must come of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Must {
    /// An error.
    Refuse,
    /// At least a warning.
    Warn,
    /// It means the same: accepted without a word, and the same plan.
    Same,
    /// It is accepted, and there is nothing to find, because …
    Accept(&'static str),
}

use Must::{Accept, Refuse, Same, Warn};

/// Reasons why nothing can be found in a mutant.
const OPTIONAL: &str = "an optional field that is left out has the default of the documentation";
const OWN: &str = "patterns, labels and names of the site's own: no reader can know them";
const BEGINNING: &str = "the beginning of a policy that ends where a field ends is a policy";
const NOTHING: &str = "weights of a class that name no scorer leave all at their defaults";

pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    must: Must,
}

fn shipped() -> String {
    std::fs::read_to_string(root().join("policies/default.yaml")).expect("it is shipped")
}

/// The part of a line that is no comment.
fn content(line: &str) -> &str {
    line.split_once("#").map_or(line, |(content, _)| content)
}

fn is_comment(line: &str) -> bool {
    content(line).trim().is_empty()
}

#[derive(Default)]
struct Mutants(Vec<Mutant>);

impl Mutants {
    fn add(&mut self, name: String, text: impl Into<Vec<u8>>, must: Must) {
        self.0.push(Mutant { name, bytes: text.into(), must });
    }

    /// One line replaced by others.
    fn line(&mut self, kind: &str, at: usize, new: &[&str], must: Must) {
        let source = shipped();
        let mut lines: Vec<&str> = source.lines().collect();
        let name = format!("{kind} line {}: {}", at + 1, lines[at]);
        lines.splice(at..=at, new.iter().copied());
        self.add(name, lines.join("\n") + "\n", must);
    }

    /// A text, which is in the policy, by another; the first time that it occurs.
    fn swap(&mut self, from: &str, to: &str, must: Must) {
        let source = shipped();
        assert!(source.contains(from), "{from} is not in the policy");
        self.add(format!("{from} by {to}"), source.replacen(from, to, 1), must);
    }
}

/// Lines whose loss is no error.
const DELETED: &[(&str, Must)] = &[
    ("metadata: {name", Accept(OPTIONAL)),
    ("  allocation: {cpu: 95%", Accept(OPTIONAL)),
    ("  allocation: {cpu: 90%", Accept(OPTIONAL)),
    ("  allocation: {cpu: 100%", Accept(OPTIONAL)),
    ("  spread: {", Accept(OPTIONAL)),
    ("  online: {", Accept(OPTIONAL)),
    ("  offline: {", Accept(OPTIONAL)),
    ("  match: {labels: {type", Warn),
    ("  limit: {", Warn),
    ("  pools: [shenlong, ecs, eci]", Warn),
    ("  pools: [ecs, shenlong]", Warn),
];

fn lines(mutants: &mut Mutants) {
    let source = shipped();
    let lines: Vec<&str> = source.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let default =
            lines.get(at.saturating_sub(1)).is_some_and(|it| it.starts_with("- name: default"));
        let must = DELETED.iter().find(|(begin, _)| line.starts_with(begin));
        let must = match must {
            _ if is_comment(line) => Same,
            // The class `default` may go wherever it costs nothing.
            Some(_) if default => Accept(OPTIONAL),
            Some((_, must)) => *must,
            None => Refuse,
        };
        mutants.line("without", at, &[], must);
        let twice = if is_comment(line) { Same } else { Refuse };
        mutants.line("twice", at, &[line, line], twice);
        if is_comment(line) {
            continue;
        }
        mutants.line("deeper", at, &[&format!(" {line}")], Refuse);
        if let Some(less) = line.strip_prefix(' ') {
            mutants.line("less deep", at, &[less], Refuse);
        }
        let tab = format!("\t{}", line.trim_start());
        mutants.line("tab before", at, &[&tab], Refuse);
        mutants.line("blanks behind", at, &[&format!("{line}  ")], Same);
        let cut = content(line).trim_end();
        mutants.line("cut", at, &[&cut[..cut.len() - 1]], Refuse);
    }
}

/// The keys of the policy, each time that they occur: line, column, and key.
fn keys(source: &str) -> Vec<(usize, usize, String)> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let text = content(line);
        for (colon, _) in text.match_indices(':') {
            let before = &text[..colon];
            let begin = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
            found.push((number, begin, before[begin..].to_owned()));
        }
    }
    found
}

/// Slips of the keyboard in a word.
fn slips(word: &str) -> Vec<String> {
    let chars: Vec<char> = word.chars().collect();
    let mut out = Vec::new();
    for at in 0..chars.len() {
        let mut less = chars.clone();
        less.remove(at);
        let mut more = chars.clone();
        more.insert(at, chars[at]);
        let mut swapped = chars.clone();
        if at + 1 < chars.len() {
            swapped.swap(at, at + 1);
        }
        out.extend([less, more, swapped].map(|it| it.into_iter().collect::<String>()));
    }
    out.push(word.to_uppercase());
    out.retain(|it| it != word && !it.is_empty());
    out.sort();
    out.dedup();
    out
}

fn misspelt_keys(mutants: &mut Mutants) {
    let source = shipped();
    let lines: Vec<&str> = source.lines().collect();
    for (number, begin, key) in keys(&source) {
        for slip in slips(&key) {
            let line = lines[number];
            let new = format!("{}{slip}{}", &line[..begin], &line[begin + key.len()..]);
            let must = if key == "type" || key == "tier" { Accept(OWN) } else { Refuse };
            mutants.line(&format!("{key} as {slip} in"), number, &[&new], must);
        }
    }
}

fn misspelt_values(mutants: &mut Mutants) {
    let refused = [
        "sigma.io/v1alpha1",
        "SchedulingPolicy",
        "elastic: true",
        "topology.kubernetes.io/zone",
        "name: shenlong",
        "name: ecs",
        "name: eci",
        "name: exempt",
        "name: online",
        "name: offline",
        "name: default ",
        "[shenlong, ecs",
        "eci]",
        "[ecs, shenlong",
    ];
    for whole in refused {
        let word = whole.trim_start_matches("name: ").trim_start_matches("elastic: ");
        let word = word.trim_start_matches('[').trim_end_matches([']', ' ']).split(", ").last();
        let word = word.expect("a word");
        for slip in slips(word) {
            let head = whole.rfind(word).expect("it is there");
            let to = format!("{}{slip}{}", &whole[..head], &whole[head + word.len()..]);
            // `TRUE` is `true` to every reader of YAML.
            mutants.swap(whole, &to, if slip == "TRUE" { Same } else { Refuse });
        }
    }
    for slip in slips("kube-system").iter().filter(|it| it.chars().all(|c| !c.is_uppercase())) {
        mutants.swap("[kube-system]", &format!("[{slip}]"), Warn);
    }
    for (from, to, must) in [
        ("{name: default}", "{name: defualt}", Accept(OWN)),
        ("ecs.ebm*", "ecs.emb*", Accept(OWN)),
        ("ecs.ebm*", "ecs.ebm", Accept(OWN)),
        ("ecs.ebm*", "ecs.ebm.", Warn),
        ("ecs.ebm*", "ecs.*", Warn),
        ("ecs.ebm*", "*", Warn),
        ("\"ecs.ebm*\"", "\"ecs.ebm*\", \"ecs.ebm*\"", Warn),
        ("prod-*", "prod-", Warn),
        ("prod-*", "*", Warn),
        ("batch-*", "batch-", Warn),
        ("batch-*", "**", Warn),
        ("prod-*", "Prod-*", Refuse),
        ("prod-*", "prod-?", Refuse),
        ("[kube-system]", "[\"*\"]", Refuse),
        ("[kube-system]", "[kube-system, \"**\"]", Refuse),
        ("[kube-system]", "[\"?*\"]", Refuse),
        ("{matchLabels: {tier: production}}", "{names: [\"*\"]}", Warn),
        ("virtual-kubelet", "virtual-kublet", Accept(OWN)),
        ("tier: production", "tier: producton", Accept(OWN)),
        ("[shenlong, ecs, eci]", "[shenlong, ecs]", Warn),
        ("[shenlong, ecs, eci]", "[eci]", Accept(OWN)),
        ("maxShare: 50%", "maxShare: 100%", Warn),
    ] {
        mutants.swap(from, to, must);
    }
}

fn types(mutants: &mut Mutants) {
    let values = [
        "{name: default}",
        "[\"ecs.ebm*\"]",
        "{instanceTypes: [\"ecs.ebm*\"]}",
        "{cpu: 95%, memory: 95%}",
        "{type: virtual-kubelet}",
        "{labels: {type: virtual-kubelet}}",
        "{cpu: 2000, memory: 8Ti, pods: 1000}",
        "{namespaces: {names: [kube-system]}}",
        "{names: [kube-system]}",
        "[kube-system]",
        "[\"prod-*\"]",
        "{matchLabels: {tier: production}}",
        "{tier: production}",
        "[shenlong, ecs, eci]",
        "{cpu: 100%, memory: 100%}",
        "{domain: topology.kubernetes.io/zone, maxShare: 50%}",
        "topology.kubernetes.io/zone",
        "[\"batch-*\"]",
        "{poolOrder: 100, binPack: 40, hostSpread: 0, failureSpread: 0}",
    ];
    let others =
        ["", "null", "~", "[]", "{}", "true", "7", "text", "[7]", "{a: b}", "[[a]]", "- a"];
    for value in values {
        for other in others {
            let must = match other {
                "{}" if value.starts_with("{poolOrder") => Accept(NOTHING),
                "{a: b}" if value.starts_with("{ti") || value.starts_with("{ty") => Accept(OWN),
                _ => Refuse,
            };
            mutants.swap(value, other, must);
        }
    }
    for other in ["", "null", "yes", "\"true\"", "1", "[]", "{}", "on", "!!str true"] {
        mutants.swap("elastic: true", &format!("elastic: {other}"), Refuse);
    }
    for same in ["True", "TRUE", "!!bool true"] {
        mutants.swap("elastic: true", &format!("elastic: {same}"), Same);
    }
    mutants.swap("{name: default}", "{name: !!str default}", Same);
    mutants.swap("{name: default}", "{name: !mine default}", Refuse);
    mutants.swap("- name: shenlong", "- name: 1", Refuse);
    mutants.swap("- name: offline", "- name: 1", Refuse);
    mutants.swap("- name: offline", "- name: True", Refuse);
    mutants.swap("elastic: true", "elastic: false", Refuse);
    mutants.swap("type: virtual-kubelet", "type: 0755", Warn);
    mutants.swap("type: virtual-kubelet", "type: 755", Refuse);
}

fn numbers(mutants: &mut Mutants) {
    for (must, values) in [
        (
            Refuse,
            "0% 0.5% 0.9% 101% 100.1% 950% -5% 95 0.95 9 95.55% 1e2% ９５% 95％ % nan% +95% 95%%",
        ),
        (Same, "095% 95.0%"),
        (Warn, "9.5% 1%"),
        (Accept(OWN), "10% 94.9% 100%"),
    ] {
        for value in values.split(' ') {
            mutants.swap("cpu: 95%", &format!("cpu: {value}"), must);
        }
    }
    let quantities = [
        (
            "cpu: 2000",
            Refuse,
            "-1 1000Ei 1e30 9223372036854776 8Ti 5n 1e12 2_000 2,000 2000c ２０００ .inf 0x7",
        ),
        ("cpu: 2000", Warn, "0 0m 2000m 0.5 1e8 2M"),
        ("cpu: 2000", Same, "2k 2e3 2000.0 +2000 \"2000\""),
        (
            "memory: 8Ti",
            Refuse,
            "8 8192 8192m 8TB 8ti 8Zi 1000Ei 8Ei -8Ti 8k 1e-3 8589934592.5 [8Ti]",
        ),
        ("memory: 8Ti", Warn, "0 0Ti 8Mi 1Ei 8E"),
        ("memory: 8Ti", Same, "8192Gi 8796093022208 0.0078125Pi"),
        ("pods: 1000", Refuse, "1.5 500m 1000Ei 1e30 -1 ten 1Ti 5e9 1_000 0.5"),
        ("pods: 1000", Warn, "0 1Ki 2M"),
        ("pods: 1000", Same, "1k 1e3 1e+03 1000.0"),
        (
            "binPack: 40",
            Refuse,
            "-1 1001 40.5 1e2 \"40\" 40% 4_0 0x7 ４０ forty 1e+06 99999999999999999999",
        ),
        ("binPack: 40", Accept(OWN), "0 1000"),
        ("maxShare: 50%", Refuse, "0% 101% 50 0.5 half 50.25%"),
        ("maxShare: 50%", Warn, "100% 5%"),
    ];
    for (from, must, values) in quantities {
        for value in values.split(' ') {
            let field = from.split_once(' ').expect("a field").0;
            mutants.swap(from, &format!("{field} {value}"), must);
        }
    }
    for (band, must) in [
        ("{min: 1e+06}", Refuse),
        ("{min: 2147483648}", Refuse),
        ("{min: 2, max: 1}", Refuse),
        ("{max: 1000}", Warn),
        ("{min: -2147483648}", Warn),
        ("{min: 1000}", Accept(OWN)),
    ] {
        mutants.swap("priorityClasses: [\"prod-*\"]", &format!("priority: {band}"), must);
    }
}

/// Steering is not in the shipped policy, so it is put behind it.
fn steering(mutants: &mut Mutants) {
    for (section, must) in [
        ("off", Accept(OPTIONAL)),
        ("\"off\"", Accept(OPTIONAL)),
        ("OFF", Refuse),
        ("false", Refuse),
        ("[]", Refuse),
        ("{ofline: {shortlist: 2}}", Refuse),
        ("{offline: {shortlist: 1001}}", Refuse),
        ("{offline: {shortlist: 1.5}}", Refuse),
        ("{offline: {shortlist: 2, shortlistPerDomain: 3}}", Warn),
        ("{offline: {shortlistPerDomain: 2}}", Warn),
        ("{offline: {steer: {better: {margin: 0%}}}}", Refuse),
        ("{offline: {steer: {elsewhere: {margin: 10%}}}}", Refuse),
        ("{offline: {steer: {elsewhere: {perSecond: 0}}}}", Refuse),
        ("{nominateAhead: {batch: 100, window: 50}}", Warn),
        ("{nominateAhead: {window: 100}}", Warn),
        ("{nominateAhead: {batch: 0}}", Refuse),
        ("{nominateAhead: {ttlSeconds: 4}}", Refuse),
        ("{nominateAhead: {headStartMs: 21}}", Refuse),
        ("{nominateAhed: {batch: 1}}", Refuse),
    ] {
        mutants.add(
            format!("steering {section}"),
            format!("{}steering: {section}\n", shipped()),
            must,
        );
    }
    let zero = "{poolOrder: 0, binPack: 0, hostSpread: 0, failureSpread: 0, imageLocality: 0, \
                shapeMatch: 0}";
    mutants.swap("{poolOrder: 100, binPack: 40, hostSpread: 0, failureSpread: 0}", zero, Warn);
    mutants.swap("binPack: 40", "binPack: 40, leastAllocated: 40", Warn);
}

/// Characters that look like those of YAML, and those that are lost.
fn characters(mutants: &mut Mutants) {
    let wide = [
        (':', '：'),
        ('%', '％'),
        (',', '，'),
        ('{', '｛'),
        ('}', '｝'),
        ('[', '［'),
        (']', '］'),
        ('"', '“'),
        ('*', '＊'),
        ('-', '–'),
        (' ', '\u{a0}'),
        (' ', '\u{3000}'),
        ('0', '０'),
    ];
    let source = shipped();
    let lines: Vec<&str> = source.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let text = content(line);
        for (at, c) in text.char_indices() {
            let rest = &line[at + c.len_utf8()..];
            for (_, twin) in wide.iter().filter(|(plain, _)| *plain == c) {
                let new = format!("{}{twin}{rest}", &line[..at]);
                mutants.line(&format!("{twin} at {at} in"), number, &[&new], Refuse);
            }
            if matches!(c, ':' | '{' | '}' | '[' | ']' | '"' | ',' | '%') {
                let new = format!("{}{rest}", &line[..at]);
                mutants.line(&format!("without {c} at {at} in"), number, &[&new], Refuse);
            }
        }
    }
}

/// The file as a whole.
fn whole(mutants: &mut Mutants) {
    let source = shipped();
    let utf16: Vec<u8> = source.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, must) in [
        ("CR LF", source.replace('\n', "\r\n").into_bytes(), Same),
        ("CR", source.replace('\n', "\r").into_bytes(), Same),
        ("BOM", format!("\u{feff}{source}").into_bytes(), Same),
        ("no line break at the end", source.trim_end().as_bytes().to_vec(), Same),
        ("blank lines at the end", format!("{source}\n\n\n").into_bytes(), Same),
        ("a marker at the beginning", format!("---\n{source}").into_bytes(), Same),
        ("an end marker", format!("{source}...\n").into_bytes(), Same),
        ("a comment at the end", format!("{source}# end").into_bytes(), Same),
        ("two documents", format!("{source}---\n{source}").into_bytes(), Refuse),
        ("UTF-16", utf16, Refuse),
        ("NUL", format!("{source}\0").into_bytes(), Refuse),
        ("Latin-1", [source.as_bytes(), b"# caf\xe9\n"].concat(), Refuse),
        ("a BOM inside", source.replacen("kind:", "\u{feff}kind:", 1).into_bytes(), Refuse),
        ("another kind", source.replacen("SchedulingPolicy", "ConfigMap", 1).into_bytes(), Refuse),
        ("twice", source.repeat(2).into_bytes(), Refuse),
        ("a word behind", format!("{source}word\n").into_bytes(), Refuse),
    ] {
        mutants.add(name.to_owned(), bytes, must);
    }
    // Cut off behind a line: what is lost was optional, or something stands without its value.
    let lines: Vec<&str> = source.lines().collect();
    for at in 1..lines.len() {
        let head = lines[..at].join("\n") + "\n";
        let open = lines[at - 1];
        let must = match open {
            _ if at < 6 => Refuse,
            _ if content(open).trim_end().ends_with(':') => Refuse,
            _ => Accept(BEGINNING),
        };
        let must = if is_comment(open) { Accept(BEGINNING) } else { must };
        mutants.add(format!("the first {at} lines"), head, must);
    }
}

pub(crate) fn all() -> Vec<Mutant> {
    let mut mutants = Mutants::default();
    lines(&mut mutants);
    misspelt_keys(&mut mutants);
    misspelt_values(&mut mutants);
    types(&mut mutants);
    numbers(&mut mutants);
    steering(&mut mutants);
    characters(&mut mutants);
    whole(&mut mutants);
    mutants.0
}

/// What came of a mutant, where it is not what must.
fn wrong(mutant: &Mutant) -> Option<String> {
    let found = diagnostics("mutant.yaml", &mutant.bytes);
    let errors = found.iter().filter(|it| it.severity == Severity::Error).count();
    let warned = found.iter().any(|it| it.severity == Severity::Warning);
    let held = match mutant.must {
        Refuse => errors > 0,
        Warn => errors > 0 || warned,
        Same => found.is_empty() && same(&mutant.bytes),
        Accept(BEGINNING) => true,
        Accept(_) => errors == 0,
    };
    let shown = || render(&found, &mutant.bytes);
    (!held).then(|| format!("{}\n  must: {:?}\n{}", mutant.name, mutant.must, shown()))
}

/// It is the plan of the shipped policy, as far as a plan can be seen from outside.
fn same(bytes: &[u8]) -> bool {
    let seen = |bytes: &[u8]| {
        let plan = compile("p.yaml", bytes).map_err(|_| "it is refused").expect("a plan").plan;
        let classes =
            plan.classes.iter().map(|it| format!("{} {:?} {:?}", it.name, it.grant, it.params));
        format!("{} {:?} {:?}", plan.name, plan.pools, classes.collect::<Vec<_>>())
    };
    seen(bytes) == seen(shipped().as_bytes())
}

#[test]
fn what_must_be_refused_is_and_what_is_accepted_has_a_reason() {
    let mutants = all();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in &mutants {
        *counts.entry(format!("{:?}", mutant.must)).or_default() += 1;
    }
    println!("{} mutants: {counts:#?}", mutants.len());
    assert!(mutants.len() > 1000, "only {} mutants", mutants.len());
    let wrong: Vec<String> = mutants.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), mutants.len(), wrong.join("\n"));
}

#[test]
fn a_slip_is_told_once() {
    // What only follows from another fault is not shown.
    for mutant in all().iter().filter(|it| it.must == Refuse && it.name.contains(" as ")) {
        let found = diagnostics("mutant.yaml", &mutant.bytes);
        let shown = render(&found, &mutant.bytes);
        assert_eq!(found.len(), 1, "{}\n{shown}", mutant.name);
    }
}

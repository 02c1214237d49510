//! Mutants of lines, keys, names and patterns.

use super::Must::{self, Accept, Refuse, Same, Warn};
use super::{Mutants, OPTIONAL, OWN, content, is_comment, shipped};

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

pub(super) fn lines(mutants: &mut Mutants) {
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

pub(super) fn misspelt_keys(mutants: &mut Mutants) {
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

pub(super) fn misspelt_values(mutants: &mut Mutants) {
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

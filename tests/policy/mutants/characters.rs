//! Mutants of single characters and of the file as a whole.

use super::Must::{Accept, Refuse, Same};
use super::{BEGINNING, Mutants, content, is_comment, shipped};

/// Characters that look like those of YAML, and those that are lost.
pub(super) fn characters(mutants: &mut Mutants) {
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
pub(super) fn whole(mutants: &mut Mutants) {
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

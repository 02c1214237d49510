//! Diagnostics as people read them: like rustc's, with the line and a caret under the place.
//!
//! Everything that comes out of the file is escaped: a policy must not be able to write to the
//! terminal of who checks it.

use std::fmt::Write;

use super::diagnostic::{Diagnostic, Severity, lines, visible};

/// The most characters of a source line that are shown.
const MAX_SHOWN: usize = 100;
/// The most findings of a file that are shown; the counts are of all.
const MAX_FINDINGS: usize = 50;
/// How many of them stand before the caret in a line that is cropped.
const BEFORE_CARET: usize = 60;

/// Renders `diagnostics` of one file with its source, and a line that counts them at the end.
/// Nothing at all when there are none.
pub fn render(diagnostics: &[Diagnostic], source: &[u8]) -> String {
    let source = String::from_utf8_lossy(source);
    let source = source.strip_prefix('\u{feff}').unwrap_or(&source);
    let source: Vec<&str> = lines(source).collect();
    let mut out = String::new();
    for diagnostic in shown(diagnostics) {
        render_one(&mut out, diagnostic, &source);
    }
    if let Some(more) = diagnostics.len().checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
        push(&mut out, format_args!("… and {more} more\n\n"));
    }
    let count =
        |severity| diagnostics.iter().filter(|it: &&Diagnostic| it.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    if errors > 0 {
        let (s, ws) = (plural(errors), plural(warnings));
        push(&mut out, format_args!("{errors} error{s}, {warnings} warning{ws}\n"));
    } else if warnings > 0 {
        push(&mut out, format_args!("{warnings} warning{}\n", plural(warnings)));
    }
    out
}

/// The findings that are shown, in the order of the file: when there are too many, the worst of them.
fn shown(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut chosen: Vec<(usize, &Diagnostic)> = diagnostics.iter().enumerate().collect();
    chosen.sort_by_key(|(at, it)| (it.severity, *at));
    chosen.truncate(MAX_FINDINGS);
    chosen.sort_by_key(|(at, _)| *at);
    chosen.into_iter().map(|(_, it)| it).collect()
}

fn render_one(out: &mut String, it: &Diagnostic, source: &[&str]) {
    let margin = it.line.to_string().len();
    push(out, format_args!("{}[{}]: {}\n", it.severity.name(), it.code, visible(&it.message)));
    let file = visible(&it.file);
    push(out, format_args!("{:margin$}--> {file}:{}:{}\n", "", it.line, it.column));
    let line = usize::try_from(it.line).ok().and_then(|line| source.get(line.checked_sub(1)?));
    if let Some(line) = line.filter(|line| !line.is_empty()) {
        let (shown, indent) = excerpt(line, it.column as usize);
        push(out, format_args!("{:margin$} |\n", ""));
        push(out, format_args!("{} | {shown}\n", it.line));
        push(out, format_args!("{:margin$} | {:indent$}^\n", "", ""));
    }
    if let Some(hint) = &it.hint {
        push(out, format_args!("{:margin$} = hint: {}\n", "", visible(hint)));
    }
    out.push('\n');
}

/// The part of a line around a column, and how many cells of a terminal stand before the column.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let at = column.saturating_sub(1);
    let len = line.chars().count();
    let start = if len > MAX_SHOWN { at.min(len).saturating_sub(BEFORE_CARET) } else { 0 };
    let mut shown = String::new();
    if start > 0 {
        shown.push('…');
    }
    let mut indent = None;
    for (index, c) in line.chars().enumerate().skip(start).take(MAX_SHOWN) {
        if index == at {
            indent = Some(width(&shown));
        }
        match c {
            '\t' => shown.push(' '),
            c => shown.push_str(&visible(c.encode_utf8(&mut [0; 4]))),
        }
    }
    let indent = indent.unwrap_or_else(|| width(&shown));
    if start + MAX_SHOWN < len {
        shown.push('…');
    }
    (shown, indent)
}

/// Cells of a terminal: Chinese, Japanese and Korean characters take two.
fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}')
            || matches!(c, '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}')
            || matches!(c, '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}')
            || matches!(c, '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Diagnostic {
        Diagnostic {
            file: "p.yaml".to_owned(),
            line,
            column,
            code: "P0103",
            severity: Severity::Error,
            message: "a pool has no field `alocation`".to_owned(),
            hint: Some("did you mean `allocation`?".to_owned()),
        }
    }

    #[test]
    fn it_looks_like_rustc() {
        let want = "error[P0103]: a pool has no field `alocation`
 --> p.yaml:2:3
  |
2 |   alocation: 1
  |   ^
  = hint: did you mean `allocation`?

1 error, 0 warnings
";
        assert_eq!(render(&[at(2, 3)], b"a:\n  alocation: 1\n"), want);
    }

    #[test]
    fn too_many_findings_are_counted_and_the_worst_are_shown() {
        let warning = || Diagnostic { severity: Severity::Warning, ..at(1, 1) };
        let mut found: Vec<Diagnostic> = (0..MAX_FINDINGS).map(|_| warning()).collect();
        assert!(!render(&found, b"x").contains("more"));
        found.extend([at(2, 1), at(3, 1)]);
        let text = render(&found, b"x\ny\nz");
        assert!(text.contains("\n… and 2 more\n\n2 errors, 50 warnings\n"), "{text}");
        assert_eq!(text.matches("error[").count(), 2);
        assert_eq!(text.matches("warning[").count(), MAX_FINDINGS - 2);
        assert!(text.find("warning[") < text.find("error["));
    }

    #[test]
    fn the_caret_stands_under_wide_escaped_and_cropped_text() {
        assert_eq!(excerpt("神龙: x", 5), ("神龙: x".to_owned(), 6));
        assert_eq!(excerpt("\u{1b}[31m: x", 8), ("\\u{1b}[31m: x".to_owned(), 12));
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (shown, indent) = excerpt(&long, 501);
        assert_eq!(shown.chars().nth(indent), Some('X'));
        assert_eq!(shown.chars().count(), MAX_SHOWN + 2);
    }

    #[test]
    fn a_place_outside_the_source_is_no_reason_to_panic() {
        for (line, column) in [(1, 1), (1, u32::MAX), (u32::MAX, 1), (0, 0)] {
            for source in [&b""[..], b"\xff\xfe", b"x", b"\r\n\r"] {
                assert!(render(&[at(line, column)], source).contains("hint"));
            }
        }
    }
}

//! What is probably wrong with a file that is no YAML. The parser says where it gave up; the slip of
//! the hand is often a line before, and is a character that looks like another one.

use super::diagnostic::{Place, lines, quoted};
use super::reader::narrow_char;
use super::yaml_scan::{OpenText, place, shown};

/// What to do about an error that the parser calls `text` and sees at `at`.
pub(super) fn hint(text: &str, at: Place, source: &str) -> String {
    let lines: Vec<&str> = lines(source).collect();
    let scan = OpenText::until(source, at);
    let of_text = || match text {
        _ if text.contains("quote") => scan.of_quote(),
        _ if text.contains("simple key expected") => of_key(&lines, at),
        _ if text.contains("mapping values") || text.contains("intercepting") => {
            of_value(&lines, at)
        }
        _ if text.contains("expected key") || text.contains("indent") => of_indent(&lines, at),
        _ if text.contains("bracket")
            || text.contains("flow")
            || text.contains("inside a block") =>
        {
            match text.contains("misplaced") {
                true => {
                    Some("this bracket closes nothing; put text with brackets in quotes".to_owned())
                }
                false => scan.of_bracket(text.contains("','")),
            }
        }
        _ if text.contains("unexpected character") => of_character(&lines, at),
        _ if text.contains("alias") || text.contains("anchor") => Some(
            "`*` and `&` begin an alias and an anchor; put a pattern in quotes: \"*\"".to_owned(),
        ),
        _ if text.contains("comments must") => Some("a blank is missing before `#`".to_owned()),
        _ if text.contains("block scalar") => {
            Some("`|` and `>` begin a text of several lines; put the value in quotes".to_owned())
        }
        _ => None,
    };
    let hint = of_lookalike(&lines, at).or_else(of_text).or_else(|| scan.of_quote());
    hint.or_else(|| scan.of_bracket(false)).unwrap_or_else(|| {
        "each line is `field: value` or `- value`, indented with blanks; other text is in quotes"
            .to_owned()
    })
}

/// The line that an error is in and the last line with content before it, with their numbers.
fn around<'s>(lines: &[&'s str], at: Place) -> Vec<(usize, &'s str)> {
    let last = usize::try_from(at.line).unwrap_or(usize::MAX).min(lines.len());
    let numbered = lines.iter().take(last).enumerate().map(|(index, line)| (index + 1, *line));
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let mut found: Vec<_> =
        numbered.filter(|(number, line)| *number == last || !blank(line)).collect();
    found.drain(..found.len().saturating_sub(2));
    found
}

/// A character that is not what it looks like, or that is not seen at all.
fn of_lookalike(lines: &[&str], at: Place) -> Option<String> {
    around(lines, at).into_iter().find_map(|(number, line)| {
        let (column, c) = suspicious(line)?;
        let meant = match c {
            '\t' => "YAML is indented with blanks, not with tabs".to_owned(),
            _ => match narrow_char(c) {
                Some(' ') => "a plain blank is meant".to_owned(),
                Some(meant) => format!("`{meant}` is meant"),
                None => "it is not seen, and has to go".to_owned(),
            },
        };
        Some(format!("{} is {}: {meant}", shown(place(number, column)), name_of(c)))
    })
}

fn name_of(c: char) -> String {
    let name = match c {
        '\t' => return "a tab".to_owned(),
        '\u{a0}' | '\u{202f}' => "a no-break space",
        '\u{3000}' => "an ideographic space",
        '：' => "a full-width colon",
        '％' => "a full-width percent sign",
        '，' | '、' => "a full-width comma",
        '“' | '”' | '‘' | '’' => "a curly quote",
        '\u{200b}' | '\u{2060}' | '\u{200c}' | '\u{200d}' => "a zero-width space",
        '\u{feff}' => "a byte order mark",
        '\u{ff01}'..='\u{ff5e}' => "a full-width character",
        _ => "a character that looks like another one",
    };
    match narrow_char(c).is_some_and(|it| it != ' ') {
        true => format!("`{c}`, {name} (U+{:04X})", u32::from(c)),
        false => format!("{name} (U+{:04X})", u32::from(c)),
    }
}

/// The first suspicious character of a line that is neither in quotes nor in a comment.
fn suspicious(line: &str) -> Option<(usize, char)> {
    let (mut quote, mut before, mut indent) = (None, ' ', true);
    for (index, c) in line.chars().enumerate() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '#' && before == ' ' => return None,
            None if matches!(c, '"' | '\'') && !before.is_alphanumeric() => quote = Some(c),
            None if c == '\t' && indent => return Some((index + 1, c)),
            None if narrow_char(c).is_some() => return Some((index + 1, c)),
            None if matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}') => {
                return Some((index + 1, c));
            }
            None => {}
        }
        indent &= matches!(c, ' ' | '\t' | '-');
        before = c;
    }
    None
}

/// `elastic:true`, `elastic true`.
fn of_key(lines: &[&str], at: Place) -> Option<String> {
    let line = *lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
    glued_colon(line, at.line).or_else(|| {
        let text = line.trim().trim_start_matches("- ");
        let (field, value) = text.split_once(' ').unwrap_or((text, ""));
        let (field, value) = (crop(field), crop(value.trim()));
        Some(format!("a colon is missing behind {}: `{field}: {value}`", quoted(&field)))
    })
}

/// A colon with no blank behind it.
fn glued_colon(line: &str, number: u32) -> Option<String> {
    let (before, after) = line.split_once(':')?;
    if after.is_empty() || after.starts_with([' ', '\t']) || before.contains(['"', '\'', '#']) {
        return None;
    }
    let column = before.chars().count() + 1;
    let field = before.trim().trim_start_matches("- ");
    let (field, value) = (crop(field), crop(after.trim()));
    let at = shown(Place { line: number, column: u32::try_from(column).unwrap_or(u32::MAX) });
    Some(format!("a blank is missing behind the colon in {at}: `{field}: {value}`"))
}

/// A value that goes on where a field was to begin.
fn of_value(lines: &[&str], at: Place) -> Option<String> {
    let around = around(lines, at);
    let (_, line) = *around.last()?;
    let until: String =
        line.chars().take(usize::try_from(at.column).ok()?.saturating_sub(1)).collect();
    if until.contains(": ") {
        return Some(
            "a line has one `field: value`: put a mapping in braces, and text with `: ` in quotes"
                .to_owned(),
        );
    }
    let (number, before) = *around.first().filter(|_| around.len() > 1)?;
    let dash = before.trim_start();
    if dash.starts_with('-') && !dash.starts_with("- ") {
        let column = before.chars().count() - dash.chars().count() + 1;
        let at = shown(place(number, column));
        return Some(format!("a blank is missing behind the dash in {at}"));
    }
    let (field, value) = before.split_once(": ")?;
    let began = field.chars().count() + 3 + value.chars().take_while(|c| *c == ' ').count();
    let began = shown(place(number, began));
    let value = crop(value.split(" #").next().unwrap_or_default().trim());
    Some(format!(
        "the text {} that begins in {began} goes on here, since this line is indented deeper; is the \
         indentation wrong, or a `- ` missing?",
        quoted(&value)
    ))
}

/// Fields of one mapping that do not begin in one column.
fn of_indent(lines: &[&str], at: Place) -> Option<String> {
    let (number, before) = *around(lines, at).first()?;
    let begins = |c: char| !matches!(c, ' ' | '-');
    let column = before.chars().position(begins)? + 1;
    let own = usize::try_from(at.column).ok()?;
    (column != own).then(|| {
        format!(
            "the fields of one mapping begin in one column: this one in column {own}, that of line \
             {number} in column {column}"
        )
    })
}

/// A value that begins with a sign that YAML keeps for itself.
fn of_character(lines: &[&str], at: Place) -> Option<String> {
    let line = lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
    let mut rest = line.chars().skip(usize::try_from(at.column).ok()?.saturating_sub(1));
    let (c, digits) = (rest.next()?, rest.take_while(char::is_ascii_digit).collect::<String>());
    Some(match c {
        '%' if !digits.is_empty() => format!("the sign stands behind the number: `{digits}%`"),
        _ => format!("a value that begins with `{c}` needs quotes"),
    })
}

fn crop(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::super::compile;

    /// The hint of the one fault that a slip makes of the shipped policy.
    fn hint(from: &str, to: &str) -> String {
        let policy = include_str!("../../policies/default.yaml");
        assert!(policy.contains(from), "{from}");
        let found = compile("p.yaml", policy.replacen(from, to, 1).as_bytes());
        let Err(found) = found.map(|it| it.warnings) else {
            return format!("{to} is accepted");
        };
        let shown: Vec<_> = found.iter().map(|it| format!("{} {}", it.code, it.message)).collect();
        match found.as_slice() {
            [one] => format!("{} {}", one.code, one.hint.clone().unwrap_or_default()),
            _ => shown.join("; "),
        }
    }

    #[test]
    fn the_slip_is_named_with_its_place() {
        let (brackets, share) = ("[\"ecs.ebm*\"]", "{cpu: 95%, memory: 95%}");
        let cases = [
            (
                "elastic: true",
                "elastic:true",
                "behind the colon in line 19, column 10: `elastic: true`",
            ),
            ("kind: S", "kind:S", "behind the colon in line 6, column 5: `kind: SchedulingPolicy`"),
            ("elastic: true", "elastic true", "colon is missing behind `elastic`: `elastic: true`"),
            ("  elastic", "\telastic", "line 19, column 1 is a tab"),
            ("- name: shen", "\t- name: shen", "line 11, column 1 is a tab"),
            (
                "elastic: ",
                "elastic：",
                "line 19, column 10 is `：`, a full-width colon (U+FF1A): `:`",
            ),
            ("classes:", "classes：", "line 24, column 8 is `：`"),
            ("95%, mem", "95%，mem", "line 13, column 24 is `，`, a full-width comma"),
            ("{cpu: 95%", "｛cpu: 95%", "line 13, column 15 is `｛`"),
            ("{cpu: 95%", "{cpu：95%", "`：` is a wide colon (U+FF1A): `cpu: 95%`"),
            ("{cpu: 95%", "{cpu: 95％", "P0110 95%"),
            ("{cpu: 95%", "{cpu: %95", "behind the number: `95%`"),
            ("  elastic", "\u{a0}\u{a0}elastic", "line 19, column 1 is a no-break space (U+00A0)"),
            ("elastic: ", "elastic:\u{a0}", "line 19, column 11 is a no-break space"),
            ("- name: off", "-\u{a0}name: off", "line 34, column 2 is a no-break space"),
            ("- name: off", "\u{3000}- name: off", "line 34, column 1 is an ideographic space"),
            ("  elastic", "\u{200b}  elastic", "line 19, column 1 is a zero-width space"),
            ("kind:", "\u{feff}kind:", "line 6, column 1 is a byte order mark"),
            (brackets, "[\"ecs.ebm*]", "the quoted text begins in line 12, column 27"),
            ("[\"batch-*\"]", "['batch-*]", "the quoted text begins in line 35, column 29"),
            (brackets, "[“ecs.ebm*”]", "P0112 `“` (U+201C) is not `\"`"),
            (brackets, "[\"ecs.ebm*\"", "`]` is missing: `[` begins in line 12, column 26"),
            (share, "{cpu: 95%, memory: 95%", "`}` is missing: `{` begins in line 13, column 15"),
            (share, "{cpu: 95% memory: 95%}", "a comma is missing here, or `}` is missing"),
            (share, "{cpu: 95%, memory: 95%}}", "this bracket closes nothing"),
            ("[\"batch-*\"]", "[*]", "put a pattern in quotes: \"*\""),
            ("[\"batch-*\"]", "[*-batch]", "put a pattern in quotes: \"*\""),
            ("  elastic", "   elastic", "this one in column 4, that of line 18 in column 3"),
            ("  elastic", " elastic", "this one in column 2, that of line 18 in column 3"),
            (
                "- name: off",
                "-name: off",
                "a blank is missing behind the dash in line 34, column 1",
            ),
            ("- name: off", "name: off", "text `offline` that begins in line 34, column 7 goes on"),
            ("metadata: {name: default}", "metadata: name: x", "put a mapping in braces"),
            ("elastic: true", "elastic: @true", "a value that begins with `@` needs quotes"),
            ("elastic: true", "elastic: `true`", "a value that begins with ``` needs quotes"),
            ("[\"ecs.*\"]}", "[\"ecs.*\"]}# x", "a blank is missing before `#`"),
            ("elastic: true", "elastic: | true", "begin a text of several lines"),
            ("elastic: true", "elastic: {{ .Values.elastic }}", "template"),
        ];
        let wrong = cases.iter().filter_map(|(from, to, want)| {
            let found = hint(from, to);
            (!found.contains(want)).then(|| format!("{to:?}: {found}, wanted {want}"))
        });
        let wrong: Vec<_> = wrong.collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

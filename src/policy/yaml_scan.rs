//! What is open in a text that is no YAML: brackets, and quotes over several lines.

use super::diagnostic::{Place, lines};

/// A place as people read it.
pub(super) fn shown(at: Place) -> String {
    format!("line {}, column {}", at.line, at.column)
}

/// A place by its numbers, from 1.
pub(super) fn place(line: usize, column: usize) -> Place {
    let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    Place { line: number(line), column: number(column) }
}

/// What is open where the parser gave up: brackets, and a quoted text of several lines.
pub(super) struct OpenText {
    brackets: Vec<(char, Place)>,
    quote: Option<Place>,
}

impl OpenText {
    pub(super) fn until(source: &str, end: Place) -> Self {
        let mut scan = Self { brackets: Vec::new(), quote: None };
        let mut open: Option<(char, Place)> = None;
        for (index, line) in lines(source).enumerate() {
            let mut before = ' ';
            for (column, c) in line.chars().enumerate() {
                let here = place(index + 1, column + 1);
                if here > end {
                    break;
                }
                match open {
                    Some((quote, began)) if c == quote && before != '\\' => {
                        open = None;
                        // It ends in another line than it began in, which is hardly meant.
                        scan.quote = scan.quote.or(Some(began).filter(|it| it.line != here.line));
                    }
                    Some(_) => {}
                    None if c == '#' && before == ' ' => break,
                    None if matches!(c, '"' | '\'') && !before.is_alphanumeric() => {
                        open = Some((c, here));
                    }
                    None if matches!(c, '{' | '[') => scan.brackets.push((c, here)),
                    None if matches!(c, '}' | ']') => drop(scan.brackets.pop()),
                    None => {}
                }
                before = c;
            }
        }
        scan.quote = scan.quote.or(open.map(|(_, began)| began));
        scan
    }

    pub(super) fn of_quote(&self) -> Option<String> {
        let began = shown(self.quote?);
        Some(format!("the quoted text begins in {began}: is its closing quote missing?"))
    }

    pub(super) fn of_bracket(&self, comma: bool) -> Option<String> {
        let (open, began) = self.brackets.last()?;
        let close = if *open == '{' { '}' } else { ']' };
        let began = shown(*began);
        let comma = if comma { "a comma is missing here, or " } else { "" };
        Some(format!("{comma}`{close}` is missing: `{open}` begins in {began}"))
    }
}

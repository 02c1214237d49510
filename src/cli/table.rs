//! What verbs print: tables as a person reads them, or JSON.

use comfy_table::{CellAlignment, Table, presets};

/// How a verb prints what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// An empty table with these columns.
pub fn new(columns: &[(&str, Align)]) -> Table {
    let mut table = Table::new();
    let header = columns.iter().map(|(name, _)| *name);
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header);
    for (column, (_, align)) in table.column_iter_mut().zip(columns) {
        if *align == Align::Right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The same text in lines of at most so many columns. A line that is too long goes on in the next one, two
/// columns further in; a word that is too long is broken.
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        wrap(line, columns, &mut out);
    }
    out
}

fn wrap(line: &str, columns: usize, out: &mut String) {
    let indent = line.chars().take_while(|it| *it == ' ').count().min(columns / 2);
    let mut column = indent;
    out.extend(std::iter::repeat_n(' ', indent));
    for (at, word) in line.split_whitespace().enumerate() {
        let len = word.chars().count();
        if at > 0 && column + 1 + len <= columns {
            out.push(' ');
            column += 1;
        } else if at > 0 {
            column = next_line(indent, out);
        }
        for letter in word.chars() {
            if column == columns {
                column = next_line(indent, out);
            }
            out.push(letter);
            column += 1;
        }
    }
    out.push('\n');
}

fn next_line(indent: usize, out: &mut String) -> usize {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent + 2));
    indent + 2
}

//! What verbs print: tables as a person reads them, or JSON.

use comfy_table::{CellAlignment, Table, presets};

/// How a verb prints what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    /// For numbers.
    Right,
}

/// An empty table with these columns.
pub(super) fn new(columns: &[(&str, Align)]) -> Table {
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

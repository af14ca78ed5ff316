//! What verbs print: tables for people, one JSON value for programs.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use comfy_table::presets::NOTHING;
use serde_json::Value;

/// How results are printed.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArguments {
    /// How to print the result
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    format: OutputFormat,
    /// The same as --format json
    #[arg(short = 'J', long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people
    Table,
    /// One JSON value
    Json,
    /// The names alone, one a line
    Name,
}

impl OutputArguments {
    pub(super) const fn format(&self) -> OutputFormat {
        if self.json { OutputFormat::Json } else { self.format }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format() == OutputFormat::Json
    }

    /// Prints a list: as a table, as JSON, or the first column alone.
    pub(super) fn print(&self, table: &Table, json: &Value) -> io::Result<()> {
        match self.format() {
            OutputFormat::Table => print_text(&table.to_string()),
            OutputFormat::Json => print_json(json),
            OutputFormat::Name => {
                let names = table.rows.iter().filter_map(|row| row.first());
                print_text(&names.map(|name| format!("{name}\n")).collect::<String>())
            }
        }
    }

    /// Prints what was done: a line for people, JSON for programs.
    pub(super) fn print_done(&self, text: &str, json: &Value) -> io::Result<()> {
        if self.is_json() { print_json(json) } else { print_text(&format!("{text}\n")) }
    }
}

/// Columns with a head, two blanks between them.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        table.set_header(self.head.clone());
        for row in &self.rows {
            table.add_row(row.clone());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

pub(super) fn print_text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What `say!` and `put!` do.
pub(super) fn put(words: std::fmt::Arguments<'_>) {
    drop(io::stdout().lock().write_fmt(words));
}

pub(super) fn print_json(json: &Value) -> io::Result<()> {
    print_text(&format!("{json:#}\n"))
}

/// Ids with commas between them.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// `-` for what is not there.
pub(super) fn or_dash<T: ToString>(item: Option<T>) -> String {
    item.map_or_else(|| "-".to_owned(), |item| item.to_string())
}

/// Zero, one, many.
pub(super) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_columns() {
        let mut table = Table::new(&["NAME", "PARTITIONS"]);
        table.row(["orders".into(), "3".into()]);
        table.row(["a".into(), "12".into()]);
        assert_eq!(table.to_string(), "NAME    PARTITIONS\norders  3\na       12\n");
    }
}

//! What verbs print: tables for people, one JSON value for programs.

use std::ffi::OsString;
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
    /// JSON, a line for each thing of a list
    Ndjson,
    /// The same as JSON, as YAML
    Yaml,
    /// The table with commas, its head first
    Csv,
    /// The names alone, one a line
    Name,
}

impl OutputArguments {
    pub(super) const fn format(&self) -> OutputFormat {
        if self.json { OutputFormat::Json } else { self.format }
    }

    /// Whether a JSON value is printed, in whichever form, instead of something for people.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.format(), OutputFormat::Json | OutputFormat::Ndjson | OutputFormat::Yaml)
    }

    /// Prints a list: as a table, as JSON, or the first column alone.
    pub(super) fn print(&self, table: &Table, json: &Value) -> io::Result<()> {
        self.print_told(&table.to_string(), table, json)
    }

    /// Prints what is told to people in words, to programs as a value, and in lines as a table.
    pub(super) fn print_told(&self, text: &str, table: &Table, json: &Value) -> io::Result<()> {
        match self.format() {
            OutputFormat::Table => print_text(text),
            OutputFormat::Json | OutputFormat::Ndjson | OutputFormat::Yaml => {
                self.print_value(json)
            }
            OutputFormat::Csv => print_text(&table.to_csv()),
            OutputFormat::Name => {
                let mut names: Vec<_> = table.rows.iter().filter_map(|row| row.first()).collect();
                names.dedup();
                print_text(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
            }
        }
    }

    /// Prints a value in the form that is asked for.
    pub(super) fn print_value(&self, json: &Value) -> io::Result<()> {
        match self.format() {
            OutputFormat::Ndjson => {
                // An object that is nothing but a list.
                let only = json.as_object().filter(|fields| fields.len() == 1);
                let things = match only.and_then(|fields| fields.values().next()?.as_array()) {
                    Some(list) => list.as_slice(),
                    None => std::slice::from_ref(json),
                };
                print_text(&things.iter().map(|thing| format!("{thing}\n")).collect::<String>())
            }
            OutputFormat::Yaml => {
                let mut text = String::new();
                write_yaml(json, 0, &mut text);
                print_text(&text)
            }
            OutputFormat::Table | OutputFormat::Json | OutputFormat::Csv | OutputFormat::Name => {
                print_json(json)
            }
        }
    }

    /// Prints what was done: a line for people, JSON for programs, or the names of what it was done to.
    pub(super) fn print_done(&self, text: &str, json: &Value) -> io::Result<()> {
        match self.format() {
            OutputFormat::Table | OutputFormat::Csv => print_text(&format!("{text}\n")),
            OutputFormat::Json | OutputFormat::Ndjson | OutputFormat::Yaml => {
                self.print_value(json)
            }
            OutputFormat::Name => {
                let fields = || json.as_object().into_iter().flat_map(|fields| fields.values());
                let list = fields().find_map(Value::as_array).map(Vec::as_slice);
                let one = fields().find(|field| field.is_string()).map(std::slice::from_ref);
                let names = list.or(one).unwrap_or_default().iter().filter_map(Value::as_str);
                print_text(&names.map(|name| format!("{name}\n")).collect::<String>())
            }
        }
    }
}

/// Whether these arguments, which cannot be read, ask for JSON.
pub(super) fn wants_json(words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().map_while(|word| word.to_str()).collect();
    let words = words.split(|word| *word == "--").next().unwrap_or_default();
    words.iter().any(|word| matches!(*word, "-J" | "--json" | "--ndjson" | "--format=json"))
        || words.windows(2).any(|pair| pair == ["--format", "json"])
}

/// Fields and items on lines of their own; texts as JSON has them, which YAML has too.
fn write_yaml(value: &Value, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    let is_nested = |value: &Value| match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                out.push_str(&format!("{margin}{}:", Value::from(name.as_str())));
                if is_nested(field) {
                    out.push('\n');
                    write_yaml(field, indent + 2, out);
                } else {
                    out.push_str(&format!(" {field}\n"));
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut text = String::new();
                write_yaml(item, indent + 2, &mut text);
                // The dash stands where the margin of the first line was.
                out.push_str(&format!("{margin}- {}", text.trim_start()));
            }
        }
        // Empty ones are written as JSON writes them too.
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => out.push_str(&format!("{margin}{value}\n")),
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

    /// As RFC 4180 has it, with plain ends of lines.
    fn to_csv(&self) -> String {
        let cell = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        let line = |cells: Vec<String>| format!("{}\n", cells.join(","));
        let head = line(self.head.iter().map(|name| cell(name)).collect());
        let rows = self.rows.iter().map(|row| line(row.iter().map(|text| cell(text)).collect()));
        std::iter::once(head).chain(rows).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        table.set_header(self.head.clone());
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| shown(cell)));
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

/// A name as people are shown it: what would break a line, or do something to a terminal, is escaped.
pub(super) fn shown(cell: &str) -> String {
    let escaped = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    cell.chars().map(escaped).collect()
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
        table.row(["a,\"b\"".into(), "1".into()]);
        assert_eq!(table.to_csv(), "NAME,PARTITIONS\norders,3\na,12\n\"a,\"\"b\"\"\",1\n");
        // Ids of groups come from clients.
        let mut table = Table::new(&["GROUP"]);
        table.row(["a\nb\u{1b}[2J é".into()]);
        assert_eq!(table.to_string(), "GROUP\na\\nb\\u{1b}[2J é\n");
    }

    #[test]
    fn yaml_is_read_by_its_indentation() {
        let value = serde_json::json!({
            "list": [{ "a": 1, "b": [true, null] }, "x: y"], "none": [], "text": "#",
        });
        let mut text = String::new();
        write_yaml(&value, 0, &mut text);
        let lines = [
            "\"list\":",
            "  - \"a\": 1",
            "    \"b\":",
            "      - true",
            "      - null",
            "  - \"x: y\"",
            "\"none\": []",
            "\"text\": \"#\"",
        ];
        assert_eq!(text, lines.map(|line| format!("{line}\n")).concat());
    }

    #[test]
    fn json_is_asked_for_before_the_end_of_options() {
        let wants =
            |line: &str| wants_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(wants("topic create -J") && wants("x --format json y") && wants("--format=json"));
        assert!(!wants("produce t -- -J") && !wants("topic list --format name json"));
    }
}

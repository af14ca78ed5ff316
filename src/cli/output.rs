//! What verbs print: tables for people, one JSON value for programs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use parking_lot::Mutex;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::manner::{self, Paint};

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
    /// The same with more columns, where there is more to say
    Wide,
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

    /// Whether something is printed for people that is not in lines for programs.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.format(), OutputFormat::Table | OutputFormat::Wide)
    }

    /// Whether more is asked for than fits a narrow table.
    pub(super) fn is_wide(&self) -> bool {
        self.format() == OutputFormat::Wide
    }

    /// The table for people, with the columns that they want, and in colours if they have any.
    pub(super) fn draw(&self, table: &Table) -> String {
        table.draw(self.is_wide(), manner::output_in_colour())
    }

    /// Prints a list: as a table, as JSON, or the first column alone.
    pub(super) fn print(&self, table: &Table, json: &Value) -> io::Result<()> {
        self.print_told(&self.draw(table), table, json)
    }

    /// Prints what is told to people in words, to programs as a value, and in lines as a table.
    pub(super) fn print_told(&self, text: &str, table: &Table, json: &Value) -> io::Result<()> {
        match self.format() {
            OutputFormat::Table | OutputFormat::Wide => print_text(text),
            OutputFormat::Json | OutputFormat::Ndjson | OutputFormat::Yaml => {
                self.print_value(json)
            }
            OutputFormat::Csv => print_text(&table.to_csv()),
            OutputFormat::Name => {
                let mut names: Vec<_> =
                    table.rows.iter().filter_map(|row| row.cells.first()).collect();
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
            OutputFormat::Table
            | OutputFormat::Wide
            | OutputFormat::Json
            | OutputFormat::Csv
            | OutputFormat::Name => print_json(json),
        }
    }

    /// Prints what was done: a line for people, JSON for programs, or the names of what it was done to.
    pub(super) fn print_done(&self, text: &str, json: &Value) -> io::Result<()> {
        match self.format() {
            OutputFormat::Table | OutputFormat::Wide | OutputFormat::Csv => {
                print_text(&format!("{text}\n"))
            }
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

/// Columns with a head, two blanks between them. Those at the right may be for wide tables alone, and cells may have a colour:
/// neither is there in what is printed for programs.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<&'static str>,
    /// How many columns there are if nobody asks for more.
    narrow: usize,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    cells: Vec<String>,
    /// By column.
    paints: BTreeMap<usize, Paint>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), narrow: head.len(), rows: Vec::new() }
    }

    /// The same with these columns at the right when it is wide: [`more`](Self::more) fills them.
    pub(super) fn wide(mut self, head: &[&'static str]) -> Self {
        self.head.extend(head);
        self
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Row { cells: cells.into(), paints: BTreeMap::new() });
    }

    /// What the last row has in the columns of wide tables.
    pub(super) fn more<const N: usize>(&mut self, cells: [String; N]) {
        if let Some(last) = self.rows.last_mut() {
            last.cells.extend(cells);
        }
    }

    /// Gives a cell of the last row a colour.
    pub(super) fn paint(&mut self, column: &str, paint: Paint) {
        let column = self.head.iter().position(|name| *name == column);
        if let (Some(last), Some(column)) = (self.rows.last_mut(), column) {
            last.paints.insert(column, paint);
        }
    }

    /// Gives the last row a colour.
    pub(super) fn paint_row(&mut self, paint: Paint) {
        if let Some(last) = self.rows.last_mut() {
            last.paints.extend((0..self.head.len()).map(|column| (column, paint)));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The names of the columns and what is below, as people are shown it.
    fn draw(&self, wide: bool, in_colour: bool) -> String {
        let columns = if wide { self.head.len() } else { self.narrow };
        let head = Row {
            cells: self.head.iter().map(|name| (*name).to_owned()).collect(),
            paints: BTreeMap::new(),
        };
        let cell = |row: &Row, column: usize| {
            row.cells.get(column).map_or_else(String::new, |cell| shown(cell))
        };
        let rows = || std::iter::once(&head).chain(&self.rows);
        let width = |column| rows().map(|row| cell(row, column).width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in rows() {
            // Blanks are written before what follows them, so that none end a line.
            let mut blanks = 0;
            for (column, width) in widths.iter().enumerate() {
                let cell = cell(row, column);
                let paint = row.paints.get(&column).filter(|_| in_colour);
                if !cell.is_empty() {
                    text.push_str(&" ".repeat(blanks));
                    text.push_str(&paint.map_or_else(|| cell.clone(), |paint| paint.put_on(&cell)));
                    blanks = 0;
                }
                blanks += width - cell.width() + GAP;
            }
            text.push('\n');
        }
        text
    }

    /// As RFC 4180 has it, with plain ends of lines.
    fn to_csv(&self) -> String {
        let cell = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        let line = |cells: Vec<String>| format!("{}\n", cells.join(","));
        let head = line(self.head.iter().take(self.narrow).map(|name| cell(name)).collect());
        let cells = |row: &Row| row.cells.iter().take(self.narrow).map(|text| cell(text)).collect();
        let rows = self.rows.iter().map(|row| line(cells(row)));
        std::iter::once(head).chain(rows).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.draw(false, false))
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
    let before = std::mem::take(&mut *BEFORE_NEXT.lock());
    let mut out = io::stdout().lock();
    out.write_all((before + text).as_bytes())?;
    out.flush()
}

/// Has this printed with what is printed next, in one piece: a picture that takes the place of another one is not missing for
/// as long as it takes to find out what is in it.
pub(super) fn put_before_next(text: String) {
    *BEFORE_NEXT.lock() = text;
}

/// What `say!` and `put!` do.
pub(super) fn put(words: std::fmt::Arguments<'_>) {
    drop(io::stdout().lock().write_fmt(words));
}

pub(super) fn print_json(json: &Value) -> io::Result<()> {
    print_text(&format!("{json:#}\n"))
}

/// What is printed with what is printed next.
static BEFORE_NEXT: Mutex<String> = Mutex::new(String::new());
/// Blanks between columns.
const GAP: usize = 2;

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
    fn colours_and_more_columns_leave_the_others_where_they_are() {
        let mut table = Table::new(&["NAME", "ISR", "END"]).wide(&["ID"]);
        table.row(["漢字".into(), "1".into(), "7".into()]);
        table.more(["x".into()]);
        table.paint("ISR", Paint::Bad);
        table.row(["a".into(), String::new(), String::new()]);
        table.more([String::new()]);
        table.paint_row(Paint::Dim);
        assert_eq!(table.draw(false, false), "NAME  ISR  END\n漢字  1    7\na\n");
        assert_eq!(table.draw(true, false), "NAME  ISR  END  ID\n漢字  1    7    x\na\n");
        let coloured = table.draw(true, true);
        let red = Paint::Bad.put_on("1");
        assert!(coloured.contains(&format!("漢字  {red}    7    x\n")), "{coloured:?}");
        assert!(coloured.ends_with(&format!("{}\n", Paint::Dim.put_on("a"))), "{coloured:?}");
        assert_eq!(table.to_csv(), "NAME,ISR,END\n漢字,1,7\na,,\n");
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

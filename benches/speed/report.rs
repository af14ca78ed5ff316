//! The table: a row is printed as soon as it is known.

/// One figure of each server. What was not measured is not a number.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) limit: f64,
    pub(crate) ottla: f64,
    pub(crate) kafka: f64,
}

impl Default for Row {
    fn default() -> Self {
        Self { name: String::new(), limit: f64::NAN, ottla: f64::NAN, kafka: f64::NAN }
    }
}

/// Prints rows as lines of a Markdown table.
pub(crate) struct Report {
    words: Vec<String>,
}

impl Report {
    /// Prints the head of the table.
    pub(crate) fn new(words: Vec<String>) -> Self {
        println!("| | limit loop | Ottla | Apache Kafka | Ottla / limit | Ottla / Kafka |");
        println!("|---|---:|---:|---:|---:|---:|");
        Self { words }
    }

    /// Whether a scenario of this name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }

    /// Prints a row.
    pub(crate) fn add(&self, row: Row) {
        let Row { name, limit, ottla, kafka } = row;
        let ratio = |other: f64| number(ottla / other);
        println!(
            "| {name} | {} | {} | {} | {} | {} |",
            number(limit),
            number(ottla),
            number(kafka),
            ratio(limit),
            ratio(kafka)
        );
    }
}

/// About three digits that count; nothing for what is not a number.
fn number(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => String::new(),
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The middle one of some values; not a number if there are none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

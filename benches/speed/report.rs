//! The table: a row is printed as soon as it is known, with its goals and whether they are met.

/// One figure of each server. What was not measured is not a number.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) limit: f64,
    pub(crate) ottla: f64,
    pub(crate) kafka: f64,
    /// What is to be reached with it.
    pub(crate) goals: Vec<Goal>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            name: String::new(),
            limit: f64::NAN,
            ottla: f64::NAN,
            kafka: f64::NAN,
            goals: Vec::new(),
        }
    }
}

/// What a row's figure is measured by, and the bound.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Ottla's figure itself is at most this.
    AtMost(f64),
    /// At most this part of the limit loop's.
    OfLimit(f64),
    /// At least this part of the limit loop's.
    AtLeastOfLimit(f64),
    /// At most this part of Apache Kafka's.
    OfKafka(f64),
    /// At least so many times Apache Kafka's.
    TimesKafka(f64),
}

impl Goal {
    /// In words, and whether the row meets it; nothing if it cannot be told.
    fn judge(self, row: &Row) -> Option<String> {
        let (words, value, bound) = match self {
            Self::AtMost(bound) => ("at most", row.ottla, bound),
            Self::OfLimit(bound) => ("limit, at most", row.ottla / row.limit, bound),
            Self::AtLeastOfLimit(bound) => ("limit, at least", row.ottla / row.limit, bound),
            Self::OfKafka(bound) => ("Kafka, at most", row.ottla / row.kafka, bound),
            Self::TimesKafka(bound) => ("Kafka, at least", row.ottla / row.kafka, bound),
        };
        let is_met = match self {
            Self::AtMost(_) | Self::OfLimit(_) | Self::OfKafka(_) => value <= bound,
            Self::AtLeastOfLimit(_) | Self::TimesKafka(_) => value >= bound,
        };
        let verdict = if is_met { "met" } else { "**missed**" };
        (!value.is_nan()).then(|| format!("{words} {}: {verdict}", number(bound)))
    }
}

/// Prints rows as lines of a Markdown table.
pub(crate) struct Report {
    words: Vec<String>,
}

impl Report {
    /// Prints the head of the table.
    pub(crate) fn new(words: Vec<String>) -> Self {
        println!("| | limit loop | Ottla | Apache Kafka | Ottla / limit | Ottla / Kafka | goal |");
        println!("|---|---:|---:|---:|---:|---:|---|");
        Self { words }
    }

    /// Whether a scenario of this name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }

    /// Prints a row.
    pub(crate) fn add(&self, row: Row) {
        let goals: Vec<_> = row.goals.iter().filter_map(|goal| goal.judge(&row)).collect();
        let Row { name, limit, ottla, kafka, .. } = row;
        let ratio = |other: f64| number(ottla / other);
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            number(limit),
            number(ottla),
            number(kafka),
            ratio(limit),
            ratio(kafka),
            goals.join("; ")
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

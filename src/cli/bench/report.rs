//! The result of a measurement: a table or JSON, alone or beside that of a former run.
//!
//! JSON says with which settings it was measured: only what was measured in the same way is compared.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::meter::{Counted, Measured, milliseconds};
use crate::cli::failure::Failure;
use crate::cli::output::{Table, or_dash, print_json, print_text};
use crate::cli::sources;

/// How the result is shown, and what it is compared with.
#[derive(Clone, Debug, Args)]
pub(super) struct ReportArguments {
    /// Print one JSON value
    #[arg(short = 'J', long)]
    pub(super) json: bool,
    /// Compare with this file, which a former run of the same has printed with --json
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// How a measurement is told.
pub(super) struct Report {
    bench: &'static str,
    settings: Value,
    json: bool,
    base: Option<Value>,
}

/// One number of a result.
struct Figure {
    head: &'static str,
    /// Its name in JSON, or where it stands among the latencies.
    name: Name,
    value: Option<f64>,
    /// What people are shown of such a number.
    shown: fn(f64) -> String,
}

#[derive(Clone, Copy)]
enum Name {
    Field(&'static str),
    Latency(&'static str),
}

impl ReportArguments {
    /// What a measurement of this kind with these settings will be told with. Whatever is wrong with the base is said before
    /// anything is measured.
    ///
    /// # Errors
    /// When there is no such file, or it is the result of something else.
    pub(super) fn report(&self, bench: &'static str, settings: Value) -> Result<Report, Failure> {
        let base = match &self.compare {
            None => None,
            Some(path) => {
                let named = |words: String| format!("--compare {}: {words}", path.display());
                let bytes = sources::read(path)
                    .map_err(|error| Failure::usage(format!("--compare: {error:#}")))?;
                let base = serde_json::from_slice(&bytes)
                    .map_err(|error| Failure::usage(named(error.to_string())))?;
                judge(&base, bench, &settings).map_err(|words| {
                    Failure::usage(named(words)).hint(
                        "compare with what the same verb and options have printed with --json",
                    )
                })?;
                Some(base)
            }
        };
        Ok(Report { bench, settings, json: self.json, base })
    }
}

/// Whether a former result can be compared with.
///
/// # Errors
/// In words, if not.
fn judge(base: &Value, bench: &str, settings: &Value) -> Result<(), String> {
    let other = base.get("bench").and_then(Value::as_str);
    let other = other.ok_or("this is not the result of a measurement")?;
    if other != bench {
        return Err(format!("this is the result of bench {other}, not of bench {bench}"));
    }
    let known =
        base.get("settings").ok_or("it does not say with which settings it was measured")?;
    let fields = settings.as_object().into_iter().flatten();
    let differing: Vec<String> = fields
        .filter(|(name, value)| known.get(name.as_str()).unwrap_or(&Value::Null) != *value)
        .map(|(name, value)| {
            format!("{name} {} instead of {value}", known.get(name).unwrap_or(&Value::Null))
        })
        .collect();
    match differing.is_empty() {
        true => Ok(()),
        false => Err(format!("it was measured with {}", differing.join(", "))),
    }
}

impl Report {
    /// Prints the result.
    pub(super) fn print(&self, measured: &Measured) -> Result<(), Failure> {
        let figures = figures(measured);
        let printed = match (self.json, &self.base) {
            (true, _) => print_json(&self.value(measured, &figures)),
            (false, Some(base)) => print_text(&compared(&figures, base).to_string()),
            (false, None) => print_text(&self.table(measured, &figures).to_string()),
        };
        Ok(printed?)
    }

    fn value(&self, measured: &Measured, figures: &[Figure]) -> Value {
        let mut value = match measured.counted {
            Counted::Records => json!({ "records": measured.count, "bytes": measured.bytes }),
            Counted::Connections => json!({ "connections": measured.count }),
        };
        value["bench"] = json!(self.bench);
        value["settings"] = self.settings.clone();
        value["seconds"] = json!(measured.seconds);
        put(&mut value, figures, |figure| match figure.name {
            Name::Field(_) => json!(figure.value),
            // Whole microseconds.
            Name::Latency(_) => json!(figure.value.map(|micros| micros.round() as u64)),
        });
        if let Some(base) = &self.base {
            let mut change = json!({});
            put(&mut change, figures, |figure| json!(figure.change(base)));
            value["change"] = change;
            // Not what that one was compared with in turn.
            let without =
                |(name, _): &(&String, &Value)| !["base", "change"].contains(&name.as_str());
            let fields = base.as_object().into_iter().flatten().filter(without);
            let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
            value["base"] = Value::Object(fields.collect::<Map<_, _>>());
        }
        value
    }

    fn table(&self, measured: &Measured, figures: &[Figure]) -> Table {
        let texts: Vec<String> = figures.iter().map(Figure::text).collect();
        let count = measured.count.to_string();
        let (bench, seconds) = (self.bench.to_owned(), format!("{:.2}", measured.seconds));
        match &texts[..] {
            [rate, bytes, p50, p99, p999, max] => {
                let mut table = Table::new(&[
                    "BENCH",
                    "RECORDS",
                    "SECONDS",
                    "RECORDS/S",
                    "MB/S",
                    "P50",
                    "P99",
                    "P99.9",
                    "MAX",
                ]);
                let [rate, bytes, p50, p99, p999, max] =
                    [rate, bytes, p50, p99, p999, max].map(Clone::clone);
                table.row([bench, count, seconds, rate, bytes, p50, p99, p999, max]);
                table
            }
            others => {
                let mut table = Table::new(&[
                    "BENCH",
                    "CONNECTIONS",
                    "SECONDS",
                    "CONNECTIONS/S",
                    "P50",
                    "P99",
                    "P99.9",
                    "MAX",
                ]);
                let mut others = others.iter().cloned();
                let mut next = || others.next().unwrap_or_default();
                table.row([bench, count, seconds, next(), next(), next(), next(), next()]);
                table
            }
        }
    }
}

/// Sets a field of each figure.
fn put(value: &mut Value, figures: &[Figure], field: impl Fn(&Figure) -> Value) {
    for figure in figures {
        match figure.name {
            Name::Field(name) => value[name] = field(figure),
            Name::Latency(name) => value["latency_us"][name] = field(figure),
        }
    }
}

fn compared(figures: &[Figure], base: &Value) -> Table {
    let mut table = Table::new(&["MEASURED", "NOW", "BASE", "CHANGE %"]);
    for figure in figures {
        table.row([
            figure.head.to_owned(),
            figure.text(),
            or_dash(figure.base(base).map(figure.shown)),
            or_dash(figure.change(base).map(|change| format!("{change:+.1}"))),
        ]);
    }
    table
}

impl Figure {
    fn text(&self) -> String {
        or_dash(self.value.map(self.shown))
    }

    /// The same number of a former result.
    fn base(&self, base: &Value) -> Option<f64> {
        match self.name {
            Name::Field(name) => base.get(name)?.as_f64(),
            Name::Latency(name) => base.get("latency_us")?.get(name)?.as_f64(),
        }
    }

    /// By how many percent it is more than before.
    fn change(&self, base: &Value) -> Option<f64> {
        let base = self.base(base).filter(|base| *base != 0.0)?;
        Some((self.value? - base) / base * 100.0)
    }
}

fn figures(measured: &Measured) -> Vec<Figure> {
    let whole = |rate: f64| format!("{rate:.0}");
    let tenths = |rate: f64| format!("{rate:.1}");
    let rate = Some(measured.per_second);
    let mut figures = match measured.counted {
        Counted::Records => vec![
            figure("RECORDS/S", Name::Field("records_per_second"), rate, whole),
            figure(
                "MB/S",
                Name::Field("megabytes_per_second"),
                Some(measured.megabytes_per_second),
                tenths,
            ),
        ],
        Counted::Connections => {
            vec![figure("CONNECTIONS/S", Name::Field("connections_per_second"), rate, whole)]
        }
    };
    let heads = [("P50", "p50"), ("P99", "p99"), ("P99.9", "p99.9"), ("MAX", "max")];
    figures.extend(heads.into_iter().enumerate().map(|(index, (head, name))| {
        #[expect(clippy::cast_precision_loss, reason = "they are bounded")]
        let value = measured.latencies.map(|latencies| latencies[index] as f64);
        figure(head, Name::Latency(name), value, |micros| milliseconds(micros.round() as u64))
    }));
    figures
}

const fn figure(
    head: &'static str,
    name: Name,
    value: Option<f64>,
    shown: fn(f64) -> String,
) -> Figure {
    Figure { head, name, value, shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(per_second: f64, p50: u64) -> Measured {
        Measured {
            counted: Counted::Records,
            count: 500,
            bytes: 50_000,
            seconds: 0.5,
            per_second,
            megabytes_per_second: 0.1,
            latencies: Some([p50, 2000, 3000, 4000]),
        }
    }

    fn report(base: Option<Value>) -> Report {
        Report { bench: "produce", settings: json!({ "size": 100 }), json: true, base }
    }

    #[test]
    fn a_result_is_compared_with_a_former_one() {
        let before = measured(1000.0, 1000);
        let base = report(None).value(&before, &figures(&before));
        assert_eq!(
            base["latency_us"],
            json!({ "p50": 1000, "p99": 2000, "p99.9": 3000, "max": 4000 })
        );
        let now = measured(1100.0, 750);
        let value = report(Some(base.clone())).value(&now, &figures(&now));
        assert_eq!(value["change"]["records_per_second"], 10.0);
        assert_eq!(value["change"]["latency_us"]["p50"], -25.0);
        assert_eq!(value["base"], base);
        let table = compared(&figures(&now), &base).to_string();
        let lines: Vec<_> = table.lines().take(3).collect();
        assert_eq!(lines[0], "MEASURED   NOW      BASE     CHANGE %");
        assert_eq!(lines[1], "RECORDS/S  1100     1000     +10.0");
        assert!(table.contains("\nP50        0.75 ms  1.00 ms  -25.0\n"), "{table}");
        // A result that was compared itself is a base like others.
        let again = report(Some(value)).value(&now, &figures(&now));
        assert!(again["base"].get("base").is_none() && again["base"].get("change").is_none());
    }

    #[test]
    fn only_what_was_measured_in_the_same_way_is_compared() {
        let settings = json!({ "size": 100, "rate": null });
        let base = json!({ "bench": "produce", "settings": { "size": 100 } });
        assert_eq!(judge(&base, "produce", &settings), Ok(()));
        let words = |base: Value, bench| judge(&base, bench, &settings).unwrap_err();
        assert_eq!(words(base, "e2e"), "this is the result of bench produce, not of bench e2e");
        let other = json!({ "bench": "produce", "settings": { "size": 1, "rate": 5 } });
        let said = "it was measured with rate 5 instead of null, size 1 instead of 100";
        assert_eq!(words(other, "produce"), said);
        assert!(words(json!({ "bench": "produce" }), "produce").contains("with which settings"));
        assert!(words(json!([]), "produce").contains("not the result"));
    }
}

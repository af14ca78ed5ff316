//! `ottla metrics`: the page of metrics of a broker of this machine, or some of them.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;

use super::connect::run_async;
use super::failure::{Failure, NOT_FOUND, did_you_mean};
use super::http::HttpArguments;
use super::output::print_text;

/// Which metrics, and of whom.
#[derive(Debug, Args)]
pub(super) struct MetricsArguments {
    /// Only metrics whose names begin like this [default: all]
    names: Vec<String>,
    #[command(flatten)]
    http: HttpArguments,
}

pub(super) fn run(arguments: &MetricsArguments) -> ExitCode {
    let outcome = run_async(async |env| {
        let page = arguments.http.get(&env, "/metrics").await?;
        for name in &arguments.names {
            if !page.lines().any(|line| name_of(line).starts_with(name.as_str())) {
                return Err(unknown(name, &page));
            }
        }
        print_text(&chosen(&page, &arguments.names))?;
        Ok(ExitCode::SUCCESS)
    });
    outcome.unwrap_or_else(|failure| failure.report(false))
}

/// The lines about metrics that begin like one of these names; all if there are none.
fn chosen(page: &str, names: &[String]) -> String {
    let is_chosen = |line: &&str| {
        names.is_empty() || names.iter().any(|name| name_of(line).starts_with(name.as_str()))
    };
    page.lines().filter(is_chosen).flat_map(|line| [line, "\n"]).collect()
}

/// The metric that a line of the page is about: `# HELP name …`, `# TYPE name …`, `name{…} value`.
fn name_of(line: &str) -> &str {
    let rest = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
    rest.unwrap_or(line).split([' ', '{']).next().unwrap_or_default()
}

fn unknown(name: &str, page: &str) -> Failure {
    let names: BTreeSet<&str> =
        page.lines().filter(|line| line.starts_with("# TYPE ")).map(name_of).collect();
    let message = format!("no metric begins with '{name}'");
    let failure = Failure::new("UNKNOWN_METRIC", NOT_FOUND, message);
    match did_you_mean(name, names.into_iter()) {
        Some(near) => failure.hint(format!("did you mean '{near}'?")),
        None => failure.hint("ottla metrics prints all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_chosen_by_how_they_begin() {
        let page = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb{x=\"a_total\"} 2\n";
        let some = |names: &[&str]| {
            let names: Vec<_> = names.iter().copied().map(str::to_owned).collect();
            chosen(page, &names)
        };
        assert_eq!(some(&[]), page);
        assert_eq!(some(&["a_"]), "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n");
        assert_eq!(some(&["b", "c"]), "# TYPE b gauge\nb{x=\"a_total\"} 2\n");
        let hint = unknown("a_totl", page);
        assert!(hint.message().contains("a_totl"));
    }
}

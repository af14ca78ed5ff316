//! The list of APIs in docs/COMPATIBILITY.md is printed from the registry.

use super::super::registry::ApiEntry;

const BEGIN: &str = "<!-- begin: APIs, printed from the registry -->\n";
const END: &str = "<!-- end: APIs -->";

/// The lines between the marks: a table of what an ApiVersions response lists.
fn table() -> String {
    let mut table =
        String::from("| API | key | versions | Apache Kafka 4.3.1 |\n|---|---|---|---|\n");
    let listed = ApiEntry::ALL.iter().filter_map(|entry| Some((entry, entry.listed()?)));
    for (entry, versions) in listed {
        let (key, kafka) = (entry.key, entry.kafka);
        let at = if key.is_for_brokers() { "" } else { ", of controllers" };
        table.push_str(&format!("| {key}{at} | {} | {versions} | {kafka} |\n", key.code()));
    }
    table
}

/// With `UPDATE_DOCS` set the lines are written instead.
#[test]
#[expect(clippy::disallowed_methods, reason = "a developer's switch, and a file of the repository")]
fn the_apis_on_the_page_are_those_that_are_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMPATIBILITY.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the APIs");
    let (apis, after) = rest.split_once(END).expect("the mark after the APIs");
    if std::env::var("UPDATE_DOCS").is_ok() {
        return std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
    }
    assert!(
        apis == table(),
        "docs/COMPATIBILITY.md is stale: run `UPDATE_DOCS=1 cargo test --lib wire::tests::compatibility`"
    );
}

//! `ottla cluster config explain`: one setting, with its meaning and its value on each broker.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{known_broker, unknown_key};
use crate::cli::configs::{ConfigSetting, ConfigSynonym, describe_fully};
use crate::cli::failure::Failure;
use crate::cli::output::Table;
use crate::cli::topic::Common;

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The setting
    key: String,
    /// Only on this broker [default: on each]
    #[arg(short = 'n', long)]
    node: Option<i32>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let key = arguments.key.as_str();
    arguments.common.connection.run(async |cluster| {
        known_broker(&cluster, arguments.node)?;
        let mut found = Vec::new();
        for broker in cluster.known().brokers {
            if arguments.node.is_some_and(|node| node != broker.id.0) {
                continue;
            }
            let node = broker.id.to_string();
            let mut settings = describe_fully(&cluster, ConfigSetting::BROKER, &node).await?;
            let Some(setting) = settings.remove(key) else {
                return Err(unknown_key(&node, key, settings.keys().map(String::as_str)));
            };
            found.push((broker.id.0, setting));
        }
        print(arguments, &found)
    })
}

fn print(
    arguments: &ExplainArguments,
    found: &[(i32, ConfigSetting)],
) -> Result<ExitCode, Failure> {
    let Some((_, first)) = found.first() else { return Ok(ExitCode::SUCCESS) };
    let mut table = Table::new(&["BROKER", "VALUE", "FROM"]);
    let mut brokers = Vec::new();
    for (id, setting) in found {
        table.row([id.to_string(), setting.shown().to_owned(), from(setting)]);
        let mut value = setting.to_json();
        value["broker"] = json!(id);
        value["synonyms"] = setting.synonyms.iter().map(synonym).collect();
        brokers.push(value);
    }
    let default = first.default();
    let documentation = first.documentation.as_deref().map(plain);
    let json = json!({
        "key": first.name, "type": first.type_name(),
        "default": default.and_then(|default| default.value.as_ref()),
        "read_only": first.read_only, "documentation": documentation, "brokers": brokers,
    });
    let changes = if first.read_only { "at a restart" } else { "while it runs" };
    let text = format!(
        "{}\n  type     {}\n  default  {}\n  changes  {changes}\n{}{}",
        first.name,
        first.type_name().unwrap_or("unknown"),
        default.map_or_else(|| "(none)".to_owned(), |default| named(default, &first.name)),
        arguments.common.output.draw(&table),
        documentation.map(|text| format!("\n{text}\n")).unwrap_or_default(),
    );
    arguments.common.output.print_told(&text, &table, &json)?;
    Ok(ExitCode::SUCCESS)
}

fn synonym(synonym: &ConfigSynonym) -> serde_json::Value {
    json!({ "name": synonym.name, "value": synonym.value, "source": synonym.origin() })
}

/// A value of a place, and under which name it stands there if that is another one.
pub(super) fn named(synonym: &ConfigSynonym, key: &str) -> String {
    let value = synonym.value.as_deref().unwrap_or("(none)");
    if synonym.name == key { value.to_owned() } else { format!("{value} ({})", synonym.name) }
}

/// Where the value comes from, and under which name if that is another one.
fn from(setting: &ConfigSetting) -> String {
    let other = setting.synonyms.first().filter(|first| first.name != setting.name);
    let other = other.map(|other| format!(", {}", other.name)).unwrap_or_default();
    format!("{}{other}", setting.origin())
}

/// A text without the tags of HTML that the documentation of Apache Kafka has.
fn plain(text: &str) -> String {
    const TAGS: [&str; 12] =
        ["p", "code", "b", "i", "ul", "ol", "li", "br", "a", "em", "strong", "pre"];
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let inside = tag.find('>').and_then(|end| tag.get(1..end));
        let name = inside.and_then(|inside| {
            inside.trim_matches('/').split_whitespace().next().filter(|name| TAGS.contains(name))
        });
        match (name, inside) {
            (Some(_), Some(inside)) => rest = &tag[inside.len() + 2..],
            (None, _) | (_, None) => {
                out.push('<');
                rest = &tag[1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_their_tags_and_nothing_else() {
        let text =
            "The <code>acks</code> of a<b> < c</b>, <a href=\"x\">there</a><br/>; <host>:<port>";
        assert_eq!(plain(text), "The acks of a < c, there; <host>:<port>");
        assert_eq!(plain("a <"), "a <");
    }
}

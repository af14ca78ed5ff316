//! The part of YAML that configuration files of Redpanda are written in: mappings and lists by indentation, plain and quoted scalars.

use std::collections::BTreeMap;

/// What stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Yaml {
    /// A scalar, as text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A mapping.
    Map(BTreeMap<String, Self>),
}

/// A line that is neither `key: value` nor an item.
#[derive(Debug, thiserror::Error)]
#[error("line {0} is neither `key: value` nor `- item`")]
pub(super) struct Malformed(usize);

/// A line without its indentation; an item's dash counts as such.
struct Line<'a> {
    number: usize,
    indent: usize,
    item: bool,
    text: &'a str,
}

impl Yaml {
    /// Reads a file.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = without_comment(line).trim_end();
            let mut rest = line.trim_start();
            let mut indent = line.len() - rest.len();
            if rest.is_empty() || rest == "---" {
                continue;
            }
            while let Some(item) = rest
                .strip_prefix("- ")
                .or_else(|| rest.strip_prefix('-').filter(|item| item.is_empty()))
            {
                lines.push(Line { number, indent, item: true, text: "" });
                let inner = item.trim_start();
                indent += rest.len() - inner.len();
                rest = inner;
            }
            if !rest.is_empty() {
                lines.push(Line { number, indent, item: false, text: rest });
            }
        }
        let mut at = 0;
        let value = block(&lines, &mut at)?;
        match lines.get(at) {
            None => Ok(value),
            Some(line) => Err(Malformed(line.number)),
        }
    }

    /// What a mapping has for a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(key),
            Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The items of a list; something else is a list of itself.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Text(text) if text.is_empty() => &[],
            Self::Text(_) | Self::Map(_) => std::slice::from_ref(self),
        }
    }
}

/// All lines that are as far right as the first one.
fn block(lines: &[Line<'_>], at: &mut usize) -> Result<Yaml, Malformed> {
    let Some(first) = lines.get(*at) else { return Ok(Yaml::Text(String::new())) };
    let indent = first.indent;
    let mut items = Vec::new();
    let mut map = BTreeMap::new();
    while let Some(line) = lines.get(*at).filter(|line| line.indent == indent) {
        if line.item != first.item {
            break;
        }
        *at += 1;
        let deeper = |line: &&Line<'_>| line.indent > indent;
        if line.item {
            let inner = lines.get(*at).filter(deeper).is_some();
            items.push(if inner { block(lines, at)? } else { Yaml::Text(String::new()) });
            continue;
        }
        let Some((key, value)) = split(line.text) else {
            // A scalar that is all of an item.
            if map.is_empty() && lines.get(*at).is_none_or(|next| next.indent < indent || next.item)
            {
                return Ok(scalar(line.text));
            }
            return Err(Malformed(line.number));
        };
        // The items of a list may stand as far left as its key.
        let inner = |next: &&Line<'_>| deeper(next) || (next.item && next.indent == indent);
        let value = match value {
            "" if lines.get(*at).filter(inner).is_some() => block(lines, at)?,
            value => scalar(value),
        };
        map.insert(scalar(key).text().unwrap_or_default().to_owned(), value);
    }
    Ok(if first.item { Yaml::List(items) } else { Yaml::Map(map) })
}

/// `key: value`, or `key:`.
fn split(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['"', '\'']) {
        return None;
    }
    let (key, value) = text.split_once(": ").or_else(|| Some((text.strip_suffix(':')?, "")))?;
    Some((key.trim(), value.trim()))
}

fn scalar(text: &str) -> Yaml {
    let inside = |quote| text.strip_prefix(quote).and_then(|text: &str| text.strip_suffix(quote));
    match inside('"').or_else(|| inside('\'')) {
        Some(text) => Yaml::Text(text.to_owned()),
        None if text == "[]" => Yaml::List(Vec::new()),
        None if text == "{}" => Yaml::Map(BTreeMap::new()),
        None => Yaml::Text(text.to_owned()),
    }
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.split(" #").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_mappings_as_redpanda_writes_them() {
        let yaml = Yaml::parse(
            "# Injected by somebody\nredpanda:\n  admin:\n    address: 0.0.0.0\n    port: 9644\n\n  kafka_api:\n    - address: 0.0.0.0 # all\n      \
             name: external\n      port: 9092\n\n    - address: \"::\"\n      name: internal\n      port: 9093\n\nschema:\n  api:\n  - address: x\n    \
             name: main\n  empty: []\n  names:\n  - a\n  - 'b: c'\n\nauto_create_topics_enabled: true\n",
        )
        .unwrap();
        let api = yaml.get("redpanda").and_then(|of| of.get("kafka_api")).unwrap().items();
        let told: Vec<_> = api
            .iter()
            .map(|item| {
                ["address", "name", "port"].map(|key| item.get(key).and_then(Yaml::text).unwrap())
            })
            .collect();
        assert_eq!(told, [["0.0.0.0", "external", "9092"], ["::", "internal", "9093"]]);
        let schema = yaml.get("schema").unwrap();
        assert_eq!(schema.get("api").unwrap().items()[0].get("name").unwrap().text(), Some("main"));
        assert_eq!(schema.get("empty").unwrap().items(), []);
        let text = |text: &str| Yaml::Text(text.to_owned());
        assert_eq!(schema.get("names").unwrap().items(), [text("a"), text("b: c")]);
        assert_eq!(yaml.get("auto_create_topics_enabled"), Some(&text("true")));
        assert_eq!(yaml.get("redpanda").unwrap().get("admin").unwrap().items().len(), 1);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(Yaml::parse("a: b\nnonsense\nc: d\n").unwrap_err().0, 2);
        assert_eq!(Yaml::parse("").unwrap(), Yaml::Text(String::new()));
    }
}

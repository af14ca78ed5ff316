//! What a real Apache Kafka 4.3.1 says about its keys, for the tests of this folder.

use super::registry::Scope;

/// One line of `tests/data/kafka-4.3.1-*-configs.txt`.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) default: &'static str,
    pub(super) bounds: &'static str,
    /// Whether DescribeConfigs shows the key unasked; the next two are unknown if not.
    pub(super) listed: bool,
    pub(super) sensitive: bool,
    pub(super) read_only: bool,
    pub(super) update: &'static str,
    /// `name=value` each, separated by spaces.
    pub(super) synonyms: &'static str,
}

/// The keys that Kafka takes while it runs and we only at the start: addresses stay bound as they are.
pub(super) const AT_START_ONLY: [&str; 2] = ["listener.security.protocol.map", "listeners"];

/// All keys of a scope, by name.
pub(super) fn facts(scope: Scope) -> Vec<Fact> {
    let text = match scope {
        Scope::Broker => include_str!("../../tests/data/kafka-4.3.1-broker-configs.txt"),
        Scope::Topic => include_str!("../../tests/data/kafka-4.3.1-topic-configs.txt"),
        Scope::Group => include_str!("../../tests/data/kafka-4.3.1-group-configs.txt"),
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, kind, default, bounds, listed, sensitive, read_only, update, synonyms] =
                columns[..]
            else {
                panic!("not nine columns: {line}");
            };
            Fact {
                name,
                kind,
                default,
                bounds,
                listed: listed == "listed",
                sensitive: sensitive == "true",
                read_only: read_only == "true",
                update,
                synonyms,
            }
        })
        .collect()
}

//! Which variables of the environment set which keys.
//!
//! Owns the names that Kafka's images and their relatives gave to variables, and those of others that look alike but
//! set nothing. It knows nothing of values.

use super::registry;

/// The variables that set a key, with the key's name and the value, in rising order: those of one family by name, so
/// that the outcome does not depend on the order in which the system lists them.
pub(super) fn read(environment: &[(String, String)]) -> Vec<(&str, String, String)> {
    let mut found: Vec<(Family, &str, String, &str)> = environment
        .iter()
        .filter_map(|(variable, value)| {
            let (family, name) = key_of_variable(variable, value)?;
            Some((family, &**variable, name, &**value))
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(family, variable, name, value)| {
            let value = match family {
                // In Kubernetes the gateway is a node, whose clients come from wherever they like.
                Family::Kubernetes => "off".to_owned(),
                Family::Host => format!("PLAINTEXT://{value}:{}", advertised_port(environment)),
                Family::ClusterId | Family::KafkaCfg | Family::Kafka | Family::Ottla => {
                    value.to_owned()
                }
            };
            (variable, name, value)
        })
        .collect()
}

/// The port beside a host name that is advertised.
fn advertised_port(environment: &[(String, String)]) -> &str {
    let port = |name| environment.iter().find(|(other, _)| other == name).map(|(_, port)| &**port);
    port("KAFKA_ADVERTISED_PORT").unwrap_or("9092")
}

/// Who a variable was invented by. The later counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Kubernetes,
    /// The keys of before there were listeners, as the images of that time took them.
    Host,
    ClusterId,
    KafkaCfg,
    Kafka,
    Ottla,
}

/// Which key a variable sets, if it sets one.
fn key_of_variable(variable: &str, value: &str) -> Option<(Family, String)> {
    const CLUSTER_ID: [&str; 3] = ["CLUSTER_ID", "KAFKA_CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID"];
    if CLUSTER_ID.contains(&variable) {
        return Some((Family::ClusterId, "ottla.cluster.id".to_owned()));
    }
    if variable == "KUBERNETES_SERVICE_HOST" {
        return Some((Family::Kubernetes, "ottla.advertised.external".to_owned()));
    }
    if variable == "KAFKA_ADVERTISED_HOST_NAME" {
        return Some((Family::Host, "advertised.listeners".to_owned()));
    }
    if variable == "KAFKA_ADVERTISED_PORT" {
        return None;
    }
    if variable == "KAFKA_CREATE_TOPICS" {
        return Some((Family::Kafka, "ottla.create.topics".to_owned()));
    }
    if variable.starts_with("OTTLA_") {
        // Other variables of this prefix belong to the command line.
        return registry::find_folded(variable).map(|key| (Family::Ottla, key.name.to_owned()));
    }
    let rest = variable.strip_prefix("KAFKA_")?;
    let (family, rest) = match rest.strip_prefix("CFG_") {
        Some(rest) => (Family::KafkaCfg, rest),
        None => (Family::Kafka, rest),
    };
    if let Some(key) = registry::find_folded(rest) {
        return Some((family, key.name.to_owned()));
    }
    let ignored = rest.is_empty() || concerns_scripts(rest) || is_service_link(rest, value);
    if rest == "ZOOKEEPER_CONNECT" {
        return Some((family, "zookeeper.connect".to_owned()));
    }
    (!ignored).then(|| (family, unfold(rest)))
}

/// Whether a variable, without `KAFKA_`, is for the start scripts of Kafka or of an image of it.
fn concerns_scripts(rest: &str) -> bool {
    const NAMES: [&str; 5] = ["GC_LOG_OPTS", "HEAP_OPTS", "HOME", "OPTS", "VERSION"];
    const PREFIXES: [&str; 6] = ["CONFLUENT_", "JMX_", "JVM_", "LOG4J_", "REST_", "ZOOKEEPER_"];
    NAMES.contains(&rest) || PREFIXES.iter().any(|prefix| rest.starts_with(prefix))
}

/// Whether Kubernetes put this variable, without `KAFKA_`, next to a service whose name begins with `kafka`:
/// `PORT=tcp://10.0.0.1:9092`, `SERVICE_HOST`, `SERVICE_PORT_CLIENT`, `PORT_9092_TCP_ADDR`.
fn is_service_link(rest: &str, value: &str) -> bool {
    let link = format!("_{rest}");
    let is_address =
        ["tcp://", "udp://", "sctp://"].iter().any(|protocol| value.starts_with(protocol));
    let names_port = link.rsplit_once("_PORT_").is_some_and(|(_, tail)| {
        let tail = tail.trim_start_matches(|digit: char| digit.is_ascii_digit());
        ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| tail.starts_with(protocol))
    });
    link.ends_with("_SERVICE_HOST")
        || link.contains("_SERVICE_PORT")
        || names_port
        || (link.ends_with("_PORT") && is_address)
}

/// The name that Kafka's own image makes of a variable: `_` is a dot, `__` an underscore, `___` a dash.
fn unfold(rest: &str) -> String {
    rest.to_lowercase().replace("___", "-").replace("__", "\0").replace('_', ".").replace('\0', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that are set, as `key=value`, the later the higher.
    fn set(environment: &[(&str, &str)]) -> Vec<String> {
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(variable, value)| ((*variable).to_owned(), (*value).to_owned()))
            .collect();
        let found = read(&environment).into_iter();
        found.map(|(_, name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn each_spelling_finds_its_key() {
        for variable in [
            "KAFKA_LOG_DIRS",
            "KAFKA_CFG_LOG_DIRS",
            "KAFKA_LOG__DIRS",
            "KAFKA_LOG___DIRS",
            "KAFKA_log_dirs",
        ] {
            assert_eq!(set(&[(variable, "/d")]), ["log.dirs=/d"], "{variable}");
        }
    }

    #[test]
    fn a_name_without_key_is_written_as_kafka_writes_it() {
        assert_eq!(set(&[("KAFKA_A_B__C___D", "x")]), ["a.b_c-d=x"]);
    }

    #[test]
    fn families_have_an_order_of_their_own() {
        let mut variables = [
            ("OTTLA_CLUSTER_ID", "d"),
            ("KAFKA_OTTLA_CLUSTER_ID", "c"),
            ("CLUSTER_ID", "a"),
            ("KAFKA_KRAFT_CLUSTER_ID", "b"),
            ("KAFKA_LOG_DIRS", "/kafka"),
            ("KAFKA_CFG_LOG_DIRS", "/cfg"),
        ];
        for _ in 0..variables.len() {
            variables.rotate_left(1);
            assert_eq!(
                set(&variables),
                [
                    "ottla.cluster.id=a",
                    "ottla.cluster.id=b",
                    "log.dirs=/cfg",
                    "log.dirs=/kafka",
                    "ottla.cluster.id=c",
                    "ottla.cluster.id=d",
                ]
            );
        }
    }

    #[test]
    fn what_images_and_kubernetes_say_is_understood() {
        let set = set(&[
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KAFKA_CREATE_TOPICS", "a:1:1"),
            ("KAFKA_CFG_ZOOKEEPER_CONNECT", "z:2181"),
            ("OTTLA_ADVERTISED_EXTERNAL", "broker.example"),
        ]);
        assert_eq!(
            set,
            [
                "ottla.advertised.external=off",
                "zookeeper.connect=z:2181",
                "ottla.create.topics=a:1:1",
                "ottla.advertised.external=broker.example",
            ]
        );
    }

    #[test]
    fn a_host_name_that_is_advertised_counts_less_than_listeners() {
        let host = ("KAFKA_ADVERTISED_HOST_NAME", "192.168.99.100");
        let only = "advertised.listeners=PLAINTEXT://192.168.99.100:9092";
        assert_eq!(set(&[host]), [only]);
        assert_eq!(
            set(&[host, ("KAFKA_ADVERTISED_PORT", "19092")]),
            ["advertised.listeners=PLAINTEXT://192.168.99.100:19092"]
        );
        let listeners = ("KAFKA_CFG_ADVERTISED_LISTENERS", "PLAINTEXT://h:1");
        assert_eq!(set(&[listeners, host]), [only, "advertised.listeners=PLAINTEXT://h:1"]);
        assert_eq!(set(&[("KAFKA_ADVERTISED_PORT", "19092")]), [] as [&str; 0]);
    }

    #[test]
    fn variables_of_others_set_nothing() {
        let set = set(&[
            ("PATH", "/bin"),
            ("KAFKA_", ""),
            ("KAFKA", "x"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("KAFKA_OPTS", "-D"),
            ("KAFKA_HOME", "/opt/kafka"),
            ("KAFKA_VERSION", "4.3.1"),
            ("KAFKA_GC_LOG_OPTS", "x"),
            ("KAFKA_JVM_PERFORMANCE_OPTS", "x"),
            ("KAFKA_JMX_PORT", "9999"),
            ("KAFKA_LOG4J_ROOT_LOGLEVEL", "INFO"),
            ("KAFKA_ZOOKEEPER_SESSION_TIMEOUT_MS", "6000"),
            ("KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE", "0"),
            ("KAFKA_REST_HOST_NAME", "x"),
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_SERVICE_PORT", "9092"),
            ("KAFKA_SERVICE_PORT_CLIENT", "9092"),
            ("KAFKA_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
            ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
            ("KAFKA_UI_PORT", "tcp://10.0.0.2:8080"),
            ("KAFKA_UI_SERVICE_HOST", "10.0.0.2"),
            ("KAFKA_UI_PORT_8080_TCP_PROTO", "tcp"),
            ("OTTLA_BOOTSTRAP", "localhost:9092"),
        ]);
        assert_eq!(set, [] as [&str; 0]);
    }
}

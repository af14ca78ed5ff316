//! Listeners: where the broker listens and what it tells clients.
//!
//! Owns the grammar of `listeners`, `advertised.listeners` and `listener.security.protocol.map`. Which addresses a
//! client is told when nothing is advertised is decided per connection, elsewhere.
//!
//! **Invariants:** within one list names are unique; two listeners that are bound share a port only if it is 0 or one
//! has an IPv4 and the other an IPv6 address (`AbstractKafkaConfig.listenerListToEndPoints` of Kafka).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::registry::is_host;

/// One listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The name, in upper case.
    pub name: String,
    /// How clients speak on it.
    pub protocol: SecurityProtocol,
    /// A host name or address, IPv6 without brackets; none means every interface or, advertised, the address by which
    /// the client came.
    pub host: Option<String>,
    /// The port; 0 means any free one.
    pub port: u16,
}

/// How clients speak on a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecurityProtocol {
    /// Neither TLS nor SASL.
    Plaintext,
}

/// As it is written in `listeners`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or_default();
        write!(f, "{}://{}", self.name, host_and_port(host, self.port))
    }
}

/// An address in one piece, with brackets around a host that has colons itself.
#[must_use]
pub fn host_and_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// What is wrong with a list of listeners, to be read after the name of the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenerError {
    /// Not `NAME://host:port`.
    #[error("has `{0}`, which is not NAME://host:port{guess}", guess = guess(.0))]
    Malformed(String),
    /// Not `NAME:PROTOCOL`.
    #[error("has `{0}`, which is not NAME:PROTOCOL")]
    MalformedMapping(String),
    /// The name is not in the map of protocols.
    #[error(
        "has listener {0}, for which listener.security.protocol.map has no protocol; add {0}:PLAINTEXT there, or use one of its names"
    )]
    NoProtocol(String),
    /// The map has something else than a protocol for the name.
    #[error("has {protocol} for listener {name}, which is no security protocol")]
    UnknownProtocol {
        /// The name.
        name: String,
        /// What the map has.
        protocol: String,
    },
    /// A protocol of Kafka that is not served yet.
    #[error("has listener {name} with protocol {protocol}, which is not supported yet")]
    UnsupportedProtocol {
        /// The name.
        name: String,
        /// The protocol.
        protocol: String,
    },
    /// The name comes twice.
    #[error("has listener {0} twice")]
    DuplicateName(String),
    /// The port comes twice.
    #[error("has port {port} for both {first} and {second}")]
    DuplicatePort {
        /// The port.
        port: u16,
        /// The name of the earlier listener.
        first: String,
        /// The name of the later listener.
        second: String,
    },
}

/// The security protocols by listener name.
pub(super) struct ProtocolMap(BTreeMap<String, String>);

impl ProtocolMap {
    /// Reads `listener.security.protocol.map`. Empty items are skipped.
    pub(super) fn parse(text: &str) -> Result<Self, ListenerError> {
        let mut map = BTreeMap::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, protocol) = item
                .rsplit_once(':')
                .ok_or_else(|| ListenerError::MalformedMapping(item.to_owned()))?;
            let (name, protocol) = (name.trim().to_uppercase(), protocol.trim().to_uppercase());
            if !["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&&*protocol) {
                return Err(ListenerError::UnknownProtocol { name, protocol });
            }
            map.insert(name, protocol);
        }
        Ok(Self(map))
    }

    /// Gives names that have no protocol the plain one. Kafka does so for the controller's listeners, unless the map
    /// is set; nobody dials them here.
    pub(super) fn add_plaintext(&mut self, names: &[String]) {
        for name in names {
            self.0.entry(name.to_uppercase()).or_insert_with(|| "PLAINTEXT".to_owned());
        }
    }

    fn protocol(&self, name: &str) -> Result<SecurityProtocol, ListenerError> {
        match self.0.get(name).map(String::as_str) {
            Some("PLAINTEXT") => Ok(SecurityProtocol::Plaintext),
            Some(protocol) => Err(ListenerError::UnsupportedProtocol {
                name: name.to_owned(),
                protocol: protocol.to_owned(),
            }),
            None => Err(ListenerError::NoProtocol(name.to_owned())),
        }
    }
}

/// Reads listeners that are to be bound.
pub(super) fn parse_bound(
    items: &[String],
    protocols: &ProtocolMap,
) -> Result<Vec<Listener>, ListenerError> {
    let listeners = parse_advertised(items, protocols)?;
    for (index, second) in listeners.iter().enumerate() {
        let clash = listeners[..index].iter().find(|first| {
            first.port == second.port && first.port != 0 && !are_of_two_families(first, second)
        });
        if let Some(first) = clash {
            return Err(ListenerError::DuplicatePort {
                port: second.port,
                first: first.name.clone(),
                second: second.name.clone(),
            });
        }
    }
    Ok(listeners)
}

/// Reads listeners that are told to clients; several may share a port.
pub(super) fn parse_advertised(
    items: &[String],
    protocols: &ProtocolMap,
) -> Result<Vec<Listener>, ListenerError> {
    let mut listeners: Vec<Listener> = Vec::with_capacity(items.len());
    for item in items {
        let (name, host, port) =
            parse_item(item).ok_or_else(|| ListenerError::Malformed(item.clone()))?;
        if listeners.iter().any(|listener| listener.name == name) {
            return Err(ListenerError::DuplicateName(name));
        }
        listeners.push(Listener { protocol: protocols.protocol(&name)?, name, host, port });
    }
    Ok(listeners)
}

fn parse_item(item: &str) -> Option<(String, Option<String>, u16)> {
    let (name, address) = item.split_once("://")?;
    let (host, port) = parse_address(address)?;
    (!name.is_empty()).then(|| (name.to_uppercase(), host, port))
}

/// Reads `host:port`; the host may be empty.
pub(super) fn parse_address(address: &str) -> Option<(Option<String>, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None => host,
    };
    let host = match host {
        "" => None,
        host if is_host(host) => Some(host.to_owned()),
        _ => return None,
    };
    // `u16::from_str` takes a sign, an address does not.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| port.parse().ok()).flatten()?;
    Some((host, port))
}

/// What was probably meant by something that is not a listener.
fn guess(item: &str) -> String {
    let (name, address) = match item.split_once(":/").or_else(|| item.split_once("//")) {
        Some((name, address)) => (name, address.trim_start_matches('/')),
        None => ("PLAINTEXT", item.trim_start_matches('/')),
    };
    // Several, with something else than commas between them.
    if let Some((first, second)) = address.split_once([';', ' ']) {
        let (first, second) = (format!("{name}://{}", first.trim()), second.trim());
        let both = parse_item(&first).is_some() && parse_item(second).is_some();
        return if both { format!("; did you mean {first},{second}?") } else { String::new() };
    }
    let address = address.trim_end_matches('/');
    let with_port = match parse_address(address) {
        Some(_) => address.to_owned(),
        None if is_host(address) && !address.contains(':') => format!("{address}:9092"),
        None => return String::new(),
    };
    let name = if name.is_empty() { "PLAINTEXT" } else { name };
    format!("; did you mean {name}://{with_port}?")
}

/// Whether one has an IPv4 and the other an IPv6 address.
fn are_of_two_families(a: &Listener, b: &Listener) -> bool {
    let is = |listener: &Listener, parses: fn(&str) -> bool| {
        listener.host.as_deref().is_some_and(parses)
    };
    let v4 = |text: &str| text.parse::<Ipv4Addr>().is_ok();
    let v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    (is(a, v4) && is(b, v6)) || (is(a, v6) && is(b, v4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "PLAINTEXT:PLAINTEXT,BROKER:plaintext,SSL:SSL,";

    fn bound(text: &str) -> Result<Vec<String>, ListenerError> {
        let items: Vec<String> = text.split(',').map(str::to_owned).collect();
        let listeners = parse_bound(&items, &ProtocolMap::parse(MAP)?)?;
        Ok(listeners.iter().map(Listener::to_string).collect())
    }

    #[test]
    fn each_form_of_a_listener() {
        for (text, shown) in [
            ("PLAINTEXT://:9092", "PLAINTEXT://:9092"),
            ("plaintext://localhost:0", "PLAINTEXT://localhost:0"),
            ("PLAINTEXT://[::1]:9092", "PLAINTEXT://[::1]:9092"),
            ("PLAINTEXT://::1:9092", "PLAINTEXT://[::1]:9092"),
            ("PLAINTEXT://[fe80::1%eth0]:65535", "PLAINTEXT://[fe80::1%eth0]:65535"),
        ] {
            assert_eq!(bound(text), Ok(vec![shown.to_owned()]), "{text}");
        }
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        for text in [
            "",
            "9092",
            "PLAINTEXT",
            "PLAINTEXT://",
            "PLAINTEXT://h",
            "PLAINTEXT://h:",
            "://h:1",
            "PLAINTEXT://h:65536",
            "PLAINTEXT://h:-1",
            "PLAINTEXT://h:+1",
            "PLAINTEXT://a b:1",
            "PLAINTEXT://[::1:1",
            "PLAINTEXT://h:1/",
        ] {
            assert_eq!(bound(text), Err(ListenerError::Malformed(text.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn a_typo_is_answered_with_what_was_meant() {
        for (item, guess) in [
            ("localhost:9092", "; did you mean PLAINTEXT://localhost:9092?"),
            ("PLAINTEXT:/localhost:9092", "; did you mean PLAINTEXT://localhost:9092?"),
            ("PLAINTEXT://localhost", "; did you mean PLAINTEXT://localhost:9092?"),
            ("PLAINTEXT://h:1/", "; did you mean PLAINTEXT://h:1?"),
            ("://h:1", "; did you mean PLAINTEXT://h:1?"),
            ("BROKER//h:1", "; did you mean BROKER://h:1?"),
            ("A://:1;B://:2", "; did you mean A://:1,B://:2?"),
            ("A://h:1 B://h:2", "; did you mean A://h:1,B://h:2?"),
            ("A://h:1;x", ""),
            ("PLAINTEXT://h:x", ""),
        ] {
            let said = ListenerError::Malformed(item.to_owned()).to_string();
            assert_eq!(said, format!("has `{item}`, which is not NAME://host:port{guess}"));
        }
    }

    #[test]
    fn names_need_a_protocol_that_is_served() {
        assert_eq!(bound("X://:1"), Err(ListenerError::NoProtocol("X".into())));
        let (name, protocol) = ("SSL".to_owned(), "SSL".to_owned());
        assert_eq!(bound("ssl://:1"), Err(ListenerError::UnsupportedProtocol { name, protocol }));
        for (map, error) in [
            ("A", ListenerError::MalformedMapping("A".into())),
            ("A:TLS", ListenerError::UnknownProtocol { name: "A".into(), protocol: "TLS".into() }),
        ] {
            assert_eq!(ProtocolMap::parse(map).err(), Some(error));
        }
    }

    #[test]
    fn names_and_ports_come_once() {
        assert_eq!(
            bound("PLAINTEXT://a:1,plaintext://b:2"),
            Err(ListenerError::DuplicateName("PLAINTEXT".into()))
        );
        assert!(bound("PLAINTEXT://127.0.0.1:1,BROKER://[::1]:1").is_ok());
        assert!(bound("PLAINTEXT://:0,BROKER://:0").is_ok());
        for text in ["PLAINTEXT://:1,BROKER://:1", "PLAINTEXT://127.0.0.1:1,BROKER://10.0.0.1:1"] {
            let error = bound(text).unwrap_err();
            assert!(matches!(error, ListenerError::DuplicatePort { port: 1, .. }), "{error}");
        }
        let map = ProtocolMap::parse(MAP).unwrap();
        let items = ["PLAINTEXT://a:1".to_owned(), "BROKER://b:1".to_owned()];
        assert_eq!(parse_advertised(&items, &map).unwrap().len(), 2);
    }

    #[test]
    fn a_controller_without_protocol_speaks_plaintext() {
        let mut map = ProtocolMap::parse("A:SSL").unwrap();
        map.add_plaintext(&["controller".into(), "a".into()]);
        assert_eq!(map.protocol("CONTROLLER"), Ok(SecurityProtocol::Plaintext));
        assert!(map.protocol("A").is_err());
    }
}

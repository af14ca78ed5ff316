//! What clients are told to connect to, where nothing is configured for their listener: the part that is configurable.

use super::layers::Layers;
use super::listeners::parse_address;
use super::registry::is_host;

/// `ottla.advertised.external`: what clients are told that come through the default gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum External {
    /// The address that they have dialled, as everybody else.
    Off,
    /// This address.
    At {
        /// A host name or address, IPv6 without brackets.
        host: String,
        /// The port; none means that of the listener.
        port: Option<u16>,
    },
}

impl External {
    /// Reads a value; none if it is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "off" {
            return Some(Self::Off);
        }
        if let Some((host, port)) = parse_address(text).filter(|(_, port)| *port > 0) {
            return host.map(|host| Self::At { host, port: Some(port) });
        }
        let is_name = is_host(text) && !text.contains(':');
        is_name.then(|| Self::At { host: text.to_owned(), port: None })
    }
}

impl Layers<'_> {
    pub(super) fn external(self) -> External {
        let set = self.text("ottla.advertised.external");
        set.and_then(|text| External::parse(&text)).unwrap_or(External::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_the_value() {
        let at = |host: &str, port| Some(External::At { host: host.into(), port });
        for (text, expected) in [
            ("off", Some(External::Off)),
            ("localhost", at("localhost", None)),
            ("docker.example:19092", at("docker.example", Some(19092))),
            ("[::1]:9", at("::1", Some(9))),
            ("10.0.0.1", at("10.0.0.1", None)),
            ("", None),
            (":9092", None),
            ("h:0", None),
            ("h:x", None),
            ("http://h", None),
        ] {
            assert_eq!(External::parse(text), expected, "{text}");
        }
    }
}

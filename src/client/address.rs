//! Where brokers are: `host:port` and lists of it.

use std::fmt;

/// The port of brokers unless an address says another one.
const DEFAULT_PORT: u16 = 9092;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no address in a list.
    #[error("there is no address in '{0}'")]
    Empty(String),
    /// The port is not a number from 1 to 65535.
    #[error("'{port}' in '{address}' is not a port: a number from 1 to 65535")]
    Port {
        /// The address.
        address: String,
        /// What stands where the port should.
        port: String,
    },
    /// A protocol other than plain text in front of the address.
    #[error("'{0}' needs TLS or SASL, which this client does not speak yet")]
    Protocol(String),
    /// Something that is no protocol of Kafka's in front of the address.
    #[error("'{0}' is not HOST:PORT")]
    Scheme(String),
}

impl Address {
    /// Reads `host`, `host:port`, `[address]:port` or an IPv6 address alone. `PLAINTEXT://` may stand in front.
    ///
    /// # Errors
    /// When there is no host, or no port where one should be.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            None => text,
            Some((protocol, rest)) if protocol.eq_ignore_ascii_case("PLAINTEXT") => rest,
            Some((protocol, _))
                if ["SSL", "SASL_PLAINTEXT", "SASL_SSL"]
                    .iter()
                    .any(|secure| protocol.eq_ignore_ascii_case(secure)) =>
            {
                return Err(AddressError::Protocol(text.to_owned()));
            }
            Some(_) => return Err(AddressError::Scheme(text.to_owned())),
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            // More than one colon: an IPv6 address without a port.
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(AddressError::Empty(text.to_owned()));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => {
                    let (address, port) = (text.to_owned(), port.to_owned());
                    return Err(AddressError::Port { address, port });
                }
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Reads addresses with commas between them. Empty ones are passed over.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when there is no address at all.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        let addresses: Vec<_> = text
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(Self::parse)
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() { Err(AddressError::Empty(text.to_owned())) } else { Ok(addresses) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_spellings() {
        for (text, host, port) in [
            ("localhost", "localhost", 9092),
            ("kafka.example:19092", "kafka.example", 19092),
            ("[::1]:9093", "::1", 9093),
            ("[::1]", "::1", 9092),
            ("fe80::1", "fe80::1", 9092),
            (" PLAINTEXT://a:1 ", "a", 1),
        ] {
            assert_eq!(Address::parse(text), Ok(Address { host: host.to_owned(), port }), "{text}");
        }
        assert_eq!(Address::parse("[::1]:9093").unwrap().to_string(), "[::1]:9093");
        let two = Address::parse_list("a:1,,b:2,").unwrap();
        assert_eq!(two.iter().map(Address::to_string).collect::<Vec<_>>(), ["a:1", "b:2"]);
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (text, words) in [
            ("", "there is no address"),
            (",", "there is no address"),
            (":9092", "there is no address"),
            ("a:b", "'b' in 'a:b' is not a port"),
            ("a:0", "not a port"),
            ("a:70000", "not a port"),
            ("SSL://a:1", "TLS or SASL"),
            ("sasl_ssl://a:1", "TLS or SASL"),
            ("http://a:1", "'http://a:1' is not HOST:PORT"),
        ] {
            let error = Address::parse_list(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}

//! Where HTTP is served: the typed view of `ottla.http.listener`.

use super::layers::Layers;
use super::listeners::parse_address;

/// What to do about HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HttpListener {
    /// Nobody said: beside the first listener for clients, if that can be had.
    Unset,
    /// There is none.
    Off,
    /// At this address and no other.
    At {
        /// A host name or address, IPv6 without brackets; none means every interface.
        host: Option<String>,
        /// The port; 0 means any free one.
        port: u16,
    },
}

impl HttpListener {
    /// Reads a value; none if it is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "off" => Some(Self::Off),
            address => parse_address(address).map(|(host, port)| Self::At { host, port }),
        }
    }
}

impl Layers<'_> {
    pub(super) fn http(self) -> HttpListener {
        let set = self.text("ottla.http.listener");
        set.and_then(|text| HttpListener::parse(&text)).unwrap_or(HttpListener::Unset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_the_value() {
        let at =
            |host: Option<&str>, port| Some(HttpListener::At { host: host.map(Into::into), port });
        for (text, expected) in [
            ("off", Some(HttpListener::Off)),
            (":8092", at(None, 8092)),
            ("127.0.0.1:0", at(Some("127.0.0.1"), 0)),
            ("[::1]:80", at(Some("::1"), 80)),
            ("8092", None),
            ("", None),
            ("OFF", None),
            ("http://x:80", None),
        ] {
            assert_eq!(HttpListener::parse(text), expected, "{text}");
        }
    }
}

//! The address that clients are told to connect to, the same wherever one is returned.
//!
//! Apache Kafka tells everybody the one address that is configured for a listener. Where nothing is configured, a single node can
//! do better and answer each client with an address that this client can reach, because it just did:
//!
//! 1. What `advertised.listeners` has for the listener counts before all else.
//! 2. A client whose address is the default gateway came from outside, through a published port of this container: it is told
//!    `ottla.advertised.external`, which is `localhost` and the same port. The gateway itself has no other reason to speak
//!    Kafka, and other machines of the network keep their own addresses.
//! 3. Everybody else is told the address that he dialled: of the loopback, of the local network, of the container's network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::context::ConnectionContext;
use crate::config::External;

/// What clients are told to connect to.
#[derive(Clone, Debug)]
pub struct Advertised {
    by_listener: BTreeMap<Arc<str>, (String, u16)>,
    external: External,
    gateways: Vec<IpAddr>,
}

impl Advertised {
    /// The configured addresses by listener name; what clients are told that come from one of `gateways`.
    #[must_use]
    pub const fn new(
        by_listener: BTreeMap<Arc<str>, (String, u16)>,
        external: External,
        gateways: Vec<IpAddr>,
    ) -> Self {
        Self { by_listener, external, gateways }
    }

    /// Host and port of this broker for the client of `connection`.
    #[must_use]
    pub fn endpoint_for(&self, connection: &ConnectionContext) -> (String, u16) {
        let local = connection.local;
        if let Some(configured) = self.by_listener.get(&connection.listener) {
            return configured.clone();
        }
        match &self.external {
            External::At { host, port } if self.gateways.contains(&connection.peer.ip()) => {
                (host.clone(), port.unwrap_or_else(|| local.port()))
            }
            External::At { .. } | External::Off => (local.ip().to_string(), local.port()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connections::Connections;
    use super::super::context::EndpointType;
    use super::*;

    #[test]
    fn the_setting_then_the_gateway_then_the_dialled_address() {
        let told = |external: &str, listener: &str, local: &str, peer: &str| {
            let by_listener = BTreeMap::from([("FIXED".into(), ("broker.example".to_owned(), 1))]);
            let external = match external {
                "off" => External::Off,
                host => External::At { host: host.to_owned(), port: (host == "far").then_some(7) },
            };
            let gateways = vec!["172.17.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
            let advertised = Advertised::new(by_listener, external, gateways);
            let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
            let (host, port) = advertised.endpoint_for(&Connections::default().enter(
                (EndpointType::Broker, listener.into()),
                local,
                peer,
            ));
            format!("{host} {port}")
        };
        let (container, gateway) = ("172.17.0.2:9092", "172.17.0.1:4000");
        for (external, listener, local, peer, expected) in [
            ("localhost", "FIXED", container, gateway, "broker.example 1"),
            ("localhost", "OTHER", container, gateway, "localhost 9092"),
            ("far", "OTHER", container, gateway, "far 7"),
            ("off", "OTHER", container, gateway, "172.17.0.2 9092"),
            ("localhost", "OTHER", container, "172.17.0.3:4000", "172.17.0.2 9092"),
            ("localhost", "OTHER", "127.0.0.1:9092", "127.0.0.1:4000", "127.0.0.1 9092"),
            ("localhost", "OTHER", "[fd00::2]:9092", "[fd00::1]:4000", "localhost 9092"),
            ("localhost", "OTHER", "[::1]:9092", "[::1]:4000", "::1 9092"),
        ] {
            let said = told(external, listener, local, peer);
            assert_eq!(said, expected, "{external} {listener} {local} {peer}");
        }
    }
}

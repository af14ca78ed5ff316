//! Broker keys about listeners, connections and requests.

table! {
    NETWORK: Broker, "Network and requests";

    /// The addresses that clients are told to connect to, in the form of `listeners`. Unset, or for a listener
    /// without host, the broker answers each client with the address by which it was reached; see
    /// `ottla.advertised.external` for those who come through a published port.
    Active "advertised.listeners": List, some_items(&[]), skips_empty;
    Inert "background.threads": Int = 10, at_least(1), cluster_wide;
    /// After how much silence a connection is closed. A negative value means never.
    Active "connections.max.idle.ms": Long = 600_000;
    Inert "delete.records.purgatory.purge.interval.requests": Int = 1;
    NotYet "early.start.listeners": List, items(&[]);
    /// The most record bytes in one fetch response, whatever the client asks for. A first batch that is larger is
    /// sent all the same.
    Active "fetch.max.bytes": Int = 57_671_680, at_least(1024);
    Inert "fetch.purgatory.purge.interval.requests": Int = 1000;
    /// The listener that brokers use among themselves: one of those that are advertised. A single node does not use it.
    Active "inter.broker.listener.name": String;
    /// Which security protocol each listener name stands for: `NAME:PROTOCOL`, several between commas. Only PLAINTEXT
    /// is served so far.
    Active "listener.security.protocol.map": String = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";
    /// Where the broker listens: `NAME://host:port`, several between commas. An empty host means every interface,
    /// IPv4 and IPv6; port 0 means any free port.
    Active "listeners": List = "PLAINTEXT://:9092", some_items(&[]), skips_empty;
    NotYet "max.connection.creation.rate": Int = 2_147_483_647, at_least(0), cluster_wide;
    /// How many connections the broker holds at most. Further ones wait until one closes.
    Active "max.connections": Int = 2_147_483_647, at_least(0), cluster_wide;
    /// How many connections one address may hold. Further ones are closed at once. 0 is allowed only with overrides.
    Active "max.connections.per.ip": Int = 2_147_483_647, at_least(0), cluster_wide;
    /// Other limits for single addresses or host names: `host:count`, several between commas.
    Active "max.connections.per.ip.overrides": String = "", cluster_wide;
    /// How many incremental fetch sessions (KIP-227) are kept. 0 switches them off.
    Active "max.incremental.fetch.session.cache.slots": Int = 1000, at_least(0);
    /// How many partitions one DescribeTopicPartitions response lists at most.
    Active "max.request.partition.size.limit": Int = 2000, at_least(1);
    Inert "num.io.threads": Int = 8, at_least(1), cluster_wide;
    Inert "num.network.threads": Int = 3, at_least(1), cluster_wide;
    Inert "producer.purgatory.purge.interval.requests": Int = 1000;
    Inert "queued.max.request.bytes": Long = -1;
    Inert "queued.max.requests": Int = 500, at_least(1);
    NotYet "request.timeout.ms": Int = 30_000;
    NotYet "socket.connection.setup.timeout.max.ms": Long = 30_000;
    NotYet "socket.connection.setup.timeout.ms": Long = 10_000;
    /// How many connections may wait to be accepted, per listener. Less than 1,024 is taken as 1,024.
    Active "socket.listen.backlog.size": Int = 50, at_least(1);
    NotYet "socket.receive.buffer.bytes": Int = 102_400;
    /// The largest request that is read. A client that announces a larger one is disconnected.
    Active "socket.request.max.bytes": Int = 104_857_600, at_least(1);
    NotYet "socket.send.buffer.bytes": Int = 102_400;
}

//! Broker keys of Ottla's own. Their names begin with `ottla.`.

use super::checks::{are_start_topics, is_external, is_http_listener};

table! {
    OTTLA: Broker, "Ottla";

    /// What clients are told to connect to that come through the machine's default gateway, where `advertised.listeners` says
    /// nothing of their listener: a host, whose port is that of the listener, or `host:port`. That is the way of clients that
    /// use a published port of a container. `off` tells them the address by which they came, as everybody else; so it is in
    /// Kubernetes, unless set.
    Active "ottla.advertised.external": String = "localhost", special("a host, host:port or off", is_external);
    /// The id that a new cluster gets. Unset, a random one is drawn. A data directory keeps the id it was made with.
    Active "ottla.cluster.id": String, non_empty;
    /// Topics to make at the start if they are not there: `name:partitions:replicas:policy` each, several between commas, of
    /// which all but the name may be left out. `KAFKA_CREATE_TOPICS` sets it too.
    Active "ottla.create.topics": String = "", special("a list of name:partitions:replicas:policy", are_start_topics);
    /// When an append is acknowledged and its records are shown to consumers: once they are in the page cache, as in Apache
    /// Kafka, or once they are on disk, which outlives a power cut too.
    Active "ottla.durability": String = "page-cache", one_of(&["page-cache", "fsync"]), cluster_wide;
    /// Where HTTP is served (metrics, health, the JSON API): `host:port`, `:port` for every address, or `off`. Unset, it is
    /// port 8092 of the host of the first listener, or any free port if the listener has that too; and if that port is taken,
    /// the broker starts without HTTP and says so.
    Active "ottla.http.listener": String, special("host:port, :port or off", is_http_listener);
    /// Whether `/metrics` has samples of single partitions: always (`partition`), never (`topic`), or while there are at most
    /// 2,000 partitions (`auto`). Sums by topic are always there.
    Active "ottla.metrics.partition.level": String = "auto", one_of(&["auto", "partition", "topic"]), cluster_wide;
    /// The most bytes of requests that are being received at the same time, over all connections. -1 means a fraction
    /// of the machine's memory.
    Active "ottla.request.memory.bytes": Long = -1, at_least(-1);
}

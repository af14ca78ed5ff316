//! The start page: what runs here, and where to look.

use std::fmt::Write as _;

use super::Serving;

/// Everything else there is, with a word about it.
const LINKS: [(&str, &str); 10] = [
    ("/metrics", "for Prometheus"),
    ("/public_metrics", "the same by the names of Redpanda"),
    ("/api/v1/cluster", "the cluster and its brokers"),
    ("/api/v1/topics", "topics and partitions"),
    ("/api/v1/groups", "groups, their offsets and lag"),
    ("/api/v1/connections", "clients that are connected"),
    ("/api/openapi.json", "what these four are, as OpenAPI"),
    ("/livez", "whether the broker can go on"),
    ("/readyz", "whether it serves clients"),
    ("/healthz", "the same"),
];

/// The page.
pub(super) fn start(serving: &Serving) -> String {
    let services = &serving.services;
    let image = services.view.borrow().image.clone();
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        let (name, value) = (escaped(name), escaped(value));
        writeln!(rows, "<tr><th>{name}</th><td>{value}</td></tr>")
            .expect("a String takes everything");
    };
    row("cluster", image.cluster_id());
    row("broker", &services.broker.0.to_string());
    for (name, address) in &serving.listeners {
        row("listener", &format!("{name} on {address}"));
    }
    row("topics", &image.topic_count().to_string());
    row("connections", &services.connections.open().len().to_string());
    let links: String = LINKS
        .iter()
        .map(|(path, word)| format!("<li><a href=\"{path}\"><code>{path}</code></a> {word}</li>\n"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Ottla</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem}}\
         th{{text-align:left;padding-right:2rem;font-weight:normal;color:#666}}</style>\n\
         <h1>Ottla {version}</h1>\n<p>A Kafka-compatible broker runs here.</p>\n<table>\n{rows}</table>\n<ul>\n{links}</ul>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

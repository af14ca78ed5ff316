//! The page of metrics.
//!
//! Owns the names. There are three sets of them, so that what people have goes on working: those under which the dashboards of
//! Strimzi know Kafka's JMX beans, those of kafka_exporter (lag, offsets), and our own, which begin with `ottla_`; besides
//! these the usual `process_` ones. `docs/METRICS.md` lists them. A page of its own has the names of Redpanda.
//!
//! A scrape looks at every partition and asks every group, and the leaders of partitions that groups read and that have no
//! replica here. Where there are many partitions, or `ottla.metrics.partition.level` says so, what there is one of for
//! each partition is left out; sums stay.

mod broker;
mod groups;
mod process;
pub(super) mod redpanda;
mod topics;
mod transactions;

use super::exposition::Page;
use super::{Admin, Serving};
use crate::api::Services;
use crate::api::overview::TopicOverview;

/// Writes the page.
pub(super) async fn page(admin: &Admin, serving: &Serving) -> String {
    let mut page = Page::default();
    let topics = serving.services.topics();
    let groups = serving.services.groups_overview().await;
    let ends = serving.services.ends(&topics, &groups).await;
    let with_partitions = shows_partitions(&serving.services, &topics);
    let unread = match with_partitions {
        true => Some(serving.services.unread(&topics, &groups, &ends).await),
        false => None,
    };
    broker::put(&mut page, serving, &topics);
    broker::put_requests(&mut page, &serving.services);
    broker::put_connections(&mut page, serving);
    topics::put_traffic(&mut page, &serving.services, &topics);
    topics::put(&mut page, &topics, with_partitions);
    groups::put(&mut page, &groups, &ends, unread.as_ref());
    transactions::put(&mut page, &serving.services.transactions_overview().await);
    process::put(&mut page, admin);
    process::put_disks(&mut page, serving).await;
    page.finish()
}

/// Whether there are samples of single partitions.
fn shows_partitions(services: &Services, topics: &[TopicOverview]) -> bool {
    let level = services.view.borrow().settings.broker().partition_level;
    level.shows(topics.iter().map(|topic| topic.partitions.len()).sum())
}

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

use std::sync::Arc;

use super::exposition::Page;
use super::{Admin, Serving};
use crate::api::Services;
use crate::api::ends::Ends;
use crate::api::overview::{GroupOverview, TopicOverview, TransactionsOverview};
use crate::api::unread::Unread;

/// What a page is written from.
struct Seen {
    topics: Vec<TopicOverview>,
    groups: Vec<GroupOverview>,
    ends: Ends,
    /// None if nothing is shown of single partitions.
    unread: Option<Unread>,
    transactions: TransactionsOverview,
}

/// Writes the page. What looks at every partition, and the writing itself, takes long where there are many: it is done away from
/// the threads that serve clients.
pub(super) async fn page(admin: &Admin, serving: &Serving) -> String {
    let services = &serving.services;
    let topics = topics(services).await;
    let groups = services.groups_overview().await;
    let ends = services.ends(&topics, &groups).await;
    let unread = match shows_partitions(services, &topics) {
        true => Some(services.unread(&topics, &groups, &ends).await),
        false => None,
    };
    let transactions = services.transactions_overview().await;
    let seen = Seen { topics, groups, ends, unread, transactions };
    let admin = admin.clone();
    let write = move || {
        let serving = admin.serving().expect("who serves once serves until the end");
        write(&admin, serving, &seen)
    };
    services.env.tasks.spawn_blocking("metrics", write).await
}

/// All topics.
async fn topics(services: &Arc<Services>) -> Vec<TopicOverview> {
    let looking = Arc::clone(services);
    services.env.tasks.spawn_blocking("topics", move || looking.topics()).await
}

fn write(admin: &Admin, serving: &Serving, seen: &Seen) -> String {
    let mut page = Page::default();
    broker::put(&mut page, serving, &seen.topics);
    broker::put_requests(&mut page, &serving.services);
    broker::put_connections(&mut page, serving);
    topics::put_traffic(&mut page, &serving.services, &seen.topics);
    topics::put(&mut page, &seen.topics, seen.unread.is_some());
    groups::put(&mut page, &seen.groups, &seen.ends, seen.unread.as_ref());
    transactions::put(&mut page, &seen.transactions);
    process::put(&mut page, admin);
    process::put_disks(&mut page, serving);
    page.finish()
}

/// Whether there are samples of single partitions.
fn shows_partitions(services: &Services, topics: &[TopicOverview]) -> bool {
    let level = services.view.borrow().settings.broker().partition_level;
    level.shows(topics.iter().map(|topic| topic.partitions.len()).sum())
}

//! Metrics of transactions that this broker coordinates.

use crate::admin::exposition::{Kind, Page};
use crate::api::overview::TransactionsOverview;

/// States of transactional ids, how transactions ended and how long they took, and markers that wait.
pub(super) fn put(page: &mut Page, transactions: &TransactionsOverview) {
    page.gauge(
        "kafka_server_transactionmarkerchannelmanager_unknowndestinationqueuesize",
        "Markers of transactions that wait since their partitions could not take them.",
        Some(transactions.waiting_markers),
    );
    page.gauge(
        "kafka_server_transactionmarkerchannelmanager_logappendretryqueuesize",
        "Ends of transactions that wait to be written. After a failed write the log is loaded anew instead.",
        Some(0),
    );
    let mut ids = page.family(
        "ottla_transactional_ids",
        Kind::Gauge,
        "Transactional ids, by state. Those in state Ongoing have an open transaction.",
    );
    for (state, count) in &transactions.states {
        ids.sample(&[("state", state)], count);
    }
    let ended = [("commit", &transactions.committed), ("abort", &transactions.aborted)];
    let mut total = page.family(
        "ottla_transactions_total",
        Kind::Counter,
        "Transactions that have ended, by outcome.",
    );
    for (outcome, durations) in ended {
        total.sample(&[("outcome", &outcome)], durations.count());
    }
    let mut duration = page.family(
        "ottla_transaction_duration_seconds",
        Kind::Histogram,
        "From the first partition of a transaction to its last marker, by outcome.",
    );
    for (outcome, durations) in ended {
        duration.durations(&[("outcome", &outcome)], durations);
    }
}

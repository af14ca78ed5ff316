//! Runs every client against one broker, and the brokers' own proofs: crash, files on disk, likeness to Apache Kafka.
//!
//! `cargo test -p ottla-compat-tests` tests Ottla; with `OTTLA_COMPAT_SERVER=kafka` the same scenarios run against
//! Apache Kafka, which shows that they ask for nothing that Kafka does not do. A scenario is run for each client that
//! has the skills it needs, on one shared broker, with a topic name of its own.

mod cli;
mod cluster;
mod configs;
mod consumer_groups;
mod containers;
mod copiers;
mod crash;
mod exactly_once;
mod files;
mod group_history;
mod group_member;
mod groups;
mod how_to;
mod log_dirs;
mod matrix;
mod nodes_alike;
mod offsets;
mod page;
mod personalities;
mod powercut;
mod probe;
mod records;
mod streams;
mod streams_smoke;
mod suites;
mod takeover;
mod three_nodes;
mod tools;
mod topics;
mod transactions;
mod verifiable;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use ottla_compat_tests::{Client, ClientKind, Server, ServerKind, Skill, wait_until};

use crate::matrix::Cell;

/// One thing that a client does and what must come of it.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    needs: &'static [Skill],
    run: fn(&mut Bench<'_>) -> Result<()>,
}

impl Scenario {
    fn is_for(&self, kind: ClientKind) -> bool {
        !kind.can(Skill::Streams) && self.needs.iter().all(|skill| kind.can(*skill))
    }
}

/// What a scenario works with.
struct Bench<'a> {
    server: &'a Server,
    kind: ClientKind,
    client: Client,
    /// A topic name that no other scenario uses; it may add to it.
    topic: String,
}

impl Bench<'_> {
    /// Creates the topic of this scenario and waits until all its partitions are led: by the client, if it can.
    fn create(&mut self, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        let topic = self.topic.clone();
        if self.kind.can(Skill::Topics) {
            create(&mut self.client, &topic, partitions, configs)
        } else {
            create(&mut records::admin(self)?, &topic, partitions, configs)
        }
    }
}

fn create(
    client: &mut Client,
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<()> {
    client.create_topic(topic, partitions, configs).with_context(|| format!("creating {topic}"))?;
    wait_for_partitions(client, topic, partitions)
}

fn wait_for_partitions(client: &mut Client, topic: &str, partitions: i32) -> Result<()> {
    wait_until(&format!("{topic} has {partitions} partitions with leaders"), || {
        let seen = client.describe_topic(topic).unwrap_or_default();
        let led = seen.iter().filter(|partition| partition.leader >= 0).count();
        Ok((led == usize::try_from(partitions)?).then_some(()))
    })
}

/// The broker that all scenarios share, started when the first of them runs.
#[derive(Default)]
struct SharedServer(OnceLock<Result<Server, String>>);

impl SharedServer {
    fn get(&self) -> Result<&Server> {
        let start = || ServerKind::from_environment().and_then(|kind| Server::start(kind, &[]));
        let server = self.0.get_or_init(|| start().map_err(|error| format!("{error:#}")));
        server.as_ref().map_err(|error| anyhow!("{error}"))
    }
}

fn main() -> ExitCode {
    let shared = Arc::new(SharedServer::default());
    let mut trials = client_trials(&shared);
    trials.extend(groups::trials());
    trials.extend(transactions::trials());
    trials.extend(streams::trials());
    if !matrix::is_asked_for() {
        trials.extend(BROKER_TESTS.iter().map(|(name, test)| {
            trial((*name).to_owned(), || test(ServerKind::from_environment()?))
        }));
        trials.extend(containers::trials());
        trials.push(powercut::trial());
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if let Some(Ok(mut server)) = Arc::into_inner(shared).and_then(|shared| shared.0.into_inner())
        && let Err(error) = server.stop()
    {
        eprintln!("the broker that all clients shared: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn scenarios() -> Vec<Scenario> {
    [
        records::SCENARIOS,
        topics::SCENARIOS,
        offsets::SCENARIOS,
        configs::SCENARIOS,
        cluster::SCENARIOS,
    ]
    .concat()
}

/// A trial per client and scenario that it has the skills for.
fn client_trials(shared: &Arc<SharedServer>) -> Vec<Trial> {
    let scenarios = scenarios();
    let mut trials = Vec::new();
    for kind in matrix::chosen() {
        for scenario in scenarios.iter().filter(|scenario| scenario.is_for(kind)) {
            let (shared, scenario) = (Arc::clone(shared), *scenario);
            let name = format!("{}::{}", kind.name(), scenario.name);
            trials.push(matrix_trial(name, Cell::new(kind, scenario.name), move || {
                let server = shared.get()?;
                let client = kind.connect(server.bootstrap())?;
                let topic = format!("{}-{}", kind.name(), scenario.name);
                (scenario.run)(&mut Bench { server, kind, client, topic })
            }));
        }
    }
    trials
}

fn trial(name: String, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, || test().map_err(|error| Failed::from(format!("{error:#}"))))
}

/// A trial that the matrix of `docs/COMPATIBILITY.md` has a cell for.
fn matrix_trial(
    name: String,
    cell: Cell,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    trial(name, move || matrix::told(cell, test))
}

type BrokerTest = fn(ServerKind) -> Result<()>;

/// Tests of the broker rather than of a client; each starts its own.
const BROKER_TESTS: &[(&str, BrokerTest)] = &[
    ("cli::a_cluster_is_administered", cli::administration),
    ("cli::records_go_to_and_from_kcat", cli::records),
    ("cli::groups_go_on_where_they_stopped", cli::groups),
    ("cli::kills_of_the_broker_double_nothing", cli::kills),
    ("cli::three_nodes_are_administered", cli::three_nodes),
    ("log_dirs::a_partition_is_moved_by_the_tools", log_dirs::moved_by_the_tools),
    ("log_dirs::cordoned_directories_take_nothing_new", log_dirs::cordoned),
    ("log_dirs::two_directories_of_apache_kafka", log_dirs::taken_over),
    ("takeover::a_directory_of_apache_kafka", takeover::of_apache_kafka),
    ("takeover::a_directory_of_apache_kafka_after_a_kill", takeover::of_killed_apache_kafka),
    ("takeover::transactions_are_seen_as_before", takeover::transactions),
    ("takeover::apache_kafka_goes_on_with_a_directory", takeover::by_apache_kafka),
    ("tools::topics_are_created_changed_and_deleted", tools::topics),
    ("tools::records_are_written_and_read", tools::records),
    ("tools::groups_go_on_where_they_stopped", tools::groups),
    ("tools::groups_are_administered_as_in_apache_kafka", consumer_groups::printed_alike),
    ("tools::configs_are_changed_and_described", tools::configs),
    ("tools::the_cluster_is_described", tools::cluster),
    ("tools::replicas_stay_where_they_are", tools::replicas),
    ("tools::features_are_upgraded_and_downgraded", tools::features),
    ("personalities::kafka_topics", personalities::topics),
    ("personalities::records_and_offsets", personalities::records),
    ("personalities::settings_and_the_rest", personalities::configs),
    ("personalities::groups", consumer_groups::tools_alike),
    ("page::clients_are_those_that_are_run", page::clients),
    ("how_to::pages_work_as_they_stand", how_to::pages),
    ("long_poll::a_record_ends_the_wait", records::long_poll),
    ("crash::librdkafka_loses_nothing", crash::librdkafka),
    ("crash::java_loses_nothing", crash::java),
    ("exactly_once::under_kills", exactly_once::under_kills),
    ("exactly_once::tools_know_transactions", exactly_once::administered),
    ("exactly_once::tools_find_and_end_what_hangs", exactly_once::found_and_terminated),
    ("exactly_once::copiers_with_a_partition_each", copiers::with_a_partition_each),
    ("exactly_once::copiers_in_a_group", copiers::in_a_group),
    ("exactly_once::streams_smoke_test", streams_smoke::with_one_killed),
    ("verifiable::classic_groups_lose_nothing", verifiable::classic),
    ("verifiable::consumer_groups_lose_nothing", verifiable::consumer),
    ("three_nodes::librdkafka_loses_nothing_when_leaders_are_killed", three_nodes::librdkafka),
    ("three_nodes::java_loses_nothing_when_leaders_are_killed", three_nodes::java),
    ("three_nodes::the_tools_of_apache_kafka_see_a_cluster", three_nodes::tools),
    ("three_nodes::voters_come_and_go", three_nodes::voters),
    ("nodes_alike::who_is_in_sync", nodes_alike::isr),
    ("nodes_alike::elections", nodes_alike::elections),
    ("nodes_alike::reassignments", nodes_alike::reassignments),
    ("nodes_alike::throttled_moves", nodes_alike::throttle),
    ("files::apache_kafka_reads_them_after_a_stop", files::after_a_stop),
    ("files::apache_kafka_reads_them_after_a_kill", files::after_a_kill),
    ("files::a_topic_has_its_own_codec", files::recompressed),
    ("files::compaction_leaves_what_apache_kafka_leaves", files::compacted),
    ("files::a_partition_with_transactions_is_kept", files::transactions),
    ("files::apache_kafka_decodes_the_records_of_groups", files::records_of_groups),
    ("suites::kafka_python", suites::kafka_python),
    (suites::RDKAFKA, suites::rdkafka),
    ("probe::answers_are_those_of_apache_kafka", probe::differences),
];

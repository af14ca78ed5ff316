//! What each API does: one file an API key, headed by its served versions.
//!
//! Owns the one point between socket and handlers (`dispatch.rs`: faults, journal, metrics and quotas have their place
//! there), what a handler knows of its request (`context.rs`), and the mapping of errors to the protocol's codes
//! (`error_map.rs`). A handler decides nothing that another node would have to agree on: it asks `replica/` or
//! `coordinator/`, or proposes to `controller/`.
//!
//! **Invariants:** what fixes the order of a connection's requests (offsets assigned, commands queued) has happened when
//! [`Api::start`] returns, or when the future of [`Reply::Ordered`] is done; every answer about the cluster comes from one
//! applied image; who may do what is asked of the [`Authorizer`] inside the handler.

mod authorizer;
mod connections;
mod context;
mod dispatch;
mod endpoints;
pub mod ends;
mod error_map;
mod fetch_session;
mod groups;
mod internal_topics;
pub mod overview;
mod pending;
mod producer_ids;
mod transactions;
pub mod unread;
mod verification;

mod acls;
mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod alter_replica_log_dirs;
mod api_versions;
mod config_resources;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_transactions;
mod elect_leaders;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leaders;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod nodes;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod partition_reassignments;
mod produce;
mod raft_voters;
mod sync_group;
mod txn_offset_commit;
mod unregister_broker;
mod update_features;
mod write_txn_markers;

pub use authorizer::{AllowAll, Authorizer, Operation, Resource};
pub use connections::Connections;
pub use context::{ConnectionContext, EndpointType, Services, View};
pub use dispatch::{Api, Arrival, Reply, Sending};
pub use endpoints::Advertised;
pub use fetch_session::FetchSessions;
pub use internal_topics::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
pub use producer_ids::ProducerIds;

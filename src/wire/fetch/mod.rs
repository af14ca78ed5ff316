//! Fetch, versions 4 to 18: records travel from the segment file to the socket without a copy.
//!
//! | version | request | response |
//! |---|---|---|
//! | 4 | isolation level | last stable offset, aborted transactions |
//! | 5 | log start offset | log start offset |
//! | 7 | sessions (KIP-227) | error code, session id |
//! | 9 | current leader epoch (KIP-320) | |
//! | 11 | rack id | preferred read replica (KIP-392) |
//! | 12 | flexible; last fetched epoch, cluster id | flexible; diverging epoch, current leader, snapshot id |
//! | 13 | topic ids instead of names (KIP-516) | likewise |
//! | 15 | replica state instead of replica id (KIP-903) | |
//! | 16 | | node endpoints (KIP-951) |
//! | 17 | replica directory id (KIP-853) | |
//! | 18 | high watermark (KIP-1166) | |
//!
//! Unknown tagged fields are not kept. Source: the Fetch schemas of Apache Kafka 4.3.1.

mod request;
mod response;

pub use request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, ReplicaState};
pub use response::{
    AbortedTransaction, EpochEndOffset, FetchPartitionResponse, FetchResponse, FetchTopicResponse,
    SnapshotId,
};

const LOG_START_SINCE: i16 = 5;
const SESSIONS_SINCE: i16 = 7;
const LEADER_EPOCH_SINCE: i16 = 9;
const RACKS_SINCE: i16 = 11;
const FLEXIBLE_SINCE: i16 = 12;
const TOPIC_IDS_SINCE: i16 = 13;
const REPLICA_STATE_SINCE: i16 = 15;
const NODE_ENDPOINTS_SINCE: i16 = 16;
const DIRECTORY_ID_SINCE: i16 = 17;
const HIGH_WATERMARK_SINCE: i16 = 18;

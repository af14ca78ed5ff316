//! What brokers say of their log directories (DescribeLogDirs).

use std::collections::BTreeMap;

use crate::client::{ClientError, Cluster, Target, check};
use crate::model::{BrokerId, PartitionId};
use crate::wire::describe_log_dirs::LogDir;
use crate::wire::{ApiKey, DescribeLogDirsRequest};

/// A replica on a disk.
#[derive(Clone, Debug)]
pub(super) struct StoredReplica {
    pub(super) directory: String,
    pub(super) bytes: i64,
}

/// By topic, partition and broker.
pub(super) type StoredReplicas = BTreeMap<(String, PartitionId, BrokerId), StoredReplica>;

/// The log directories of a broker, with the partitions of all topics.
pub(super) async fn log_dirs_of(
    cluster: &Cluster,
    broker: BrokerId,
) -> Result<Vec<LogDir>, ClientError> {
    let request = DescribeLogDirsRequest { topics: None };
    let response = cluster.request(Target::Node(broker), &request).await?;
    let subject = || format!("the log directories of broker {broker}");
    check(ApiKey::DescribeLogDirs, response.error_code.code(), subject, None)?;
    Ok(response.results)
}

/// The replicas that all brokers which are there have. One that is on its way into another directory is not counted there.
pub(super) async fn stored_replicas(cluster: &Cluster) -> Result<StoredReplicas, ClientError> {
    let mut replicas = BTreeMap::new();
    for node in cluster.known().brokers {
        for directory in log_dirs_of(cluster, node.id).await? {
            for topic in &directory.topics {
                for partition in topic.partitions.iter().filter(|it| !it.is_future_key) {
                    let key = (topic.name.to_string(), partition.partition_index, node.id);
                    let directory = directory.log_dir.to_string();
                    let bytes = partition.partition_size;
                    replicas.insert(key, StoredReplica { directory, bytes });
                }
            }
        }
    }
    Ok(replicas)
}

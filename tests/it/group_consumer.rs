//! The client's own member of a group.

use std::time::Duration;

use ottla::client::{Address, Cluster, ClusterOptions, GroupConsumer, GroupOptions, ResetPolicy};
use ottla::env::Env;
use ottla::model::{Offset, PartitionId};
use ottla::wire::Text;
use ottla::wire::messages::{DescribeGroupsRequest, WireGroupId};

use crate::rig::{Rig, batch};

/// A machine that stops for a moment does not end it.
const SESSION: Duration = Duration::from_secs(2);

/// Nobody asks for more while the session of the member would end several times over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_takes_its_time_stays_a_member() {
    let rig = Rig::with(&[
        "group.min.session.timeout.ms=100",
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=1",
    ])
    .await;
    let mut client = rig.client().await;
    client.create("notes", 1, &[]).await;
    client.append("notes", 0, batch(&["one", "two"])).await;
    let address = rig.broker.addresses()[0];
    let address = Address { host: address.ip().to_string(), port: address.port() };
    let options = ClusterOptions::new(vec![address]);
    let cluster = Cluster::connect(Env::in_memory(), options).await.unwrap();
    let mut options =
        GroupOptions::new("readers".into(), vec!["notes".into()], ResetPolicy::Earliest);
    options.session_timeout = SESSION;
    // Heartbeats wait behind fetches that wait on the same connection.
    options.fetcher.max_wait = SESSION / 20;
    let mut consumer = GroupConsumer::new(cluster.clone(), options);
    assert_eq!(consumer.next().await.unwrap().next, Offset(2));

    let group = WireGroupId(Text::from_static_str("readers"));
    let request = DescribeGroupsRequest::default().with_groups(vec![group]);
    let mut looks = tokio::time::interval(SESSION / 10);
    for _ in 0..25 {
        looks.tick().await;
        let described = &client.call(5, &request).await.groups[0];
        assert_eq!((&*described.group_state, described.members.len()), ("Stable", 1));
    }

    consumer.used("notes", PartitionId(0), Offset(2));
    consumer.leave().await.unwrap();
    let committed = cluster.committed_offsets("readers").await.unwrap();
    assert_eq!(committed[&("notes".to_owned(), PartitionId(0))].offset, Offset(2));
    assert!(client.call(5, &request).await.groups[0].members.is_empty());
}

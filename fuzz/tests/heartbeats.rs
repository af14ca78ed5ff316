//! What a heartbeat allocates does not depend on how large its group is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::cluster::ClusterImage;
use ottla::config::{self, Effective, Sources};
use ottla::coordinator::{Effects, Now, Shard as _, Ticket};
use ottla::env::Rng;
use ottla::group::{Caller, Command, GroupShard, Reply, TopicFilter};
use ottla::model::{Instant, Offset, UnixMillis};
use ottla::wire::Text;
use ottla::wire::messages::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest,
    WireGroupId, WireTopicName, join_group_request,
};
use ottla_fuzz::memory::total_of;

const NOW: Now =
    Now { instant: Instant::from_start(Duration::ZERO), unix: UnixMillis(1_700_000_000_000) };

fn text(text: &str) -> Text {
    Text::from_string(text.to_owned())
}

fn caller(api_version: i16) -> Caller {
    Caller {
        client_id: text("client"),
        client_host: text("/127.0.0.1"),
        api_version,
        sees: TopicFilter::new(|_| true),
    }
}

/// A shard, and how many tickets it was given.
struct Rig {
    shard: GroupShard,
    tickets: u64,
}

impl Rig {
    fn new() -> Self {
        let options = ["group.initial.rebalance.delay.ms=0".to_owned()];
        let sources = Sources { options: &options, ..Sources::default() };
        let settings = Effective::new(config::load(sources).expect("a configuration"));
        let settings = Arc::clone(&settings.broker().groups);
        let source = Arc::new(move || Arc::clone(&settings));
        let shard = GroupShard::new(source, Rng::from_seed(1), Arc::new(ClusterImage::default()));
        Self { shard, tickets: 0 }
    }

    /// Asks, replays what is written, and gives the answers to this and to earlier questions.
    fn ask(&mut self, command: Command) -> Vec<Reply> {
        self.tickets += 1;
        let mut effects = Effects::default();
        self.shard.handle(NOW, command, Ticket(self.tickets), &mut effects);
        for record in &effects.records {
            self.shard.replay(Offset(0), record).expect("its own record");
        }
        effects.replies.into_iter().map(|(_, reply)| reply).collect()
    }
}

fn classic_heartbeat(member: &str, generation: i32) -> Command {
    let mut request = HeartbeatRequest::default();
    (request.group_id, request.member_id) = (WireGroupId(text("group")), text(member));
    request.generation_id = generation;
    Command::Heartbeat { caller: caller(4), request }
}

/// A stable group of so many members; gives the leader and the generation.
fn classic_group(rig: &mut Rig, size: usize) -> (Text, i32) {
    let join = |member: &str| {
        let mut protocol = join_group_request::JoinGroupRequestProtocol::default();
        (protocol.name, protocol.metadata) = (text("range"), Bytes::from_static(b"any"));
        let mut request = JoinGroupRequest::default();
        (request.group_id, request.member_id) = (WireGroupId(text("group")), text(member));
        (request.session_timeout_ms, request.rebalance_timeout_ms) = (30_000, 30_000);
        (request.protocol_type, request.protocols) = (text("any"), vec![protocol]);
        Command::JoinGroup { caller: caller(3), request }
    };
    let mut joined = rig.ask(join(""));
    let Some(Reply::JoinGroup(leader)) = joined.pop() else { panic!("{joined:?}") };
    for _ in 1..size {
        assert_eq!(rig.ask(join("")), [], "the group waits for the leader");
    }
    let generation = rig
        .ask(join(&leader.member_id))
        .into_iter()
        .filter_map(|reply| if let Reply::JoinGroup(joined) = reply { Some(joined) } else { None })
        .find(|joined| joined.member_id == leader.member_id)
        .expect("the leader is answered, as all are")
        .generation_id;
    (leader.member_id, generation)
}

/// The bytes that one more heartbeat allocates in a classic and in a consumer group of so many members.
fn allocated(size: usize) -> [usize; 2] {
    let mut rig = Rig::new();
    let (leader, generation) = classic_group(&mut rig, size);
    let mut sync = SyncGroupRequest::default();
    (sync.group_id, sync.member_id) = (WireGroupId(text("group")), leader.clone());
    sync.generation_id = generation;
    rig.ask(Command::SyncGroup { caller: caller(3), request: sync });
    let heartbeat = classic_heartbeat(&leader, generation);
    let (answers, classic) = total_of(|| rig.ask(heartbeat));
    assert!(matches!(&answers[..], [Reply::Heartbeat(alive)] if alive.error_code == 0));

    let consumer = |index: usize, epoch: i32| {
        let mut request = ConsumerGroupHeartbeatRequest::default();
        request.group_id = WireGroupId(text("modern"));
        (request.member_id, request.member_epoch) = (text(&format!("{index:08}")), epoch);
        if epoch == 0 {
            request.rebalance_timeout_ms = 30_000;
            request.subscribed_topic_names = Some(vec![WireTopicName(text("topic"))]);
            request.topic_partitions = Some(Vec::new());
        } else {
            (request.subscribed_topic_names, request.topic_partitions) = (None, None);
        }
        Command::ConsumerGroupHeartbeat { caller: caller(1), request }
    };
    let epoch_in = |answers: &[Reply]| {
        let [Reply::ConsumerGroupHeartbeat(alive)] = answers else { panic!("{answers:?}") };
        assert_eq!(alive.error_code, 0, "{:?}", alive.error_message);
        alive.member_epoch
    };
    let mut epoch = epoch_in(&rig.ask(consumer(0, 0)));
    for index in 1..size {
        rig.ask(consumer(index, 0));
    }
    let mut modern = 0;
    // The first heartbeats bring the member to the last epoch.
    for _ in 0..4 {
        let heartbeat = consumer(0, epoch);
        let (answers, bytes) = total_of(|| rig.ask(heartbeat));
        (epoch, modern) = (epoch_in(&answers), bytes);
    }
    [classic, modern]
}

#[test]
fn a_heartbeat_allocates_no_more_in_a_larger_group() {
    let (small, large) = (allocated(10), allocated(1_000));
    for (small, large) in small.into_iter().zip(large) {
        assert!(small > 0);
        // A node of a tree may come with the one or the other, which is no growth.
        assert!(large <= small + 2_048, "{small} and {large} bytes");
    }
}

//! Random histories of clients that join, leave, crash, are slow and come back, and of a broker that restarts, against a
//! small model of what has to hold: a partition has one owner in a generation, generations rise, an accepted commit stays,
//! what the log says is all there is, and once everybody behaves the group becomes stable.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PARTITIONS: usize = 5;
const CLIENTS: usize = 5;

/// What may happen. Numbers name clients.
#[derive(Clone, Debug)]
enum Event {
    /// A client does what a client does next.
    Act(usize),
    /// A client changes what it subscribes to and joins again.
    Change(usize),
    Commit(usize),
    Leave(usize),
    /// A client vanishes without a word.
    Crash(usize),
    /// A client that vanished comes back, without the id it had.
    Revive(usize),
    /// Milliseconds pass.
    Pass(u64),
    /// The broker restarts. Whoever waits loses the connection.
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let client = 0..CLIENTS;
    let event = prop_oneof![
        12 => client.clone().prop_map(Event::Act),
        1 => client.clone().prop_map(Event::Change),
        2 => client.clone().prop_map(Event::Commit),
        1 => client.clone().prop_map(Event::Leave),
        1 => client.clone().prop_map(Event::Crash),
        2 => client.prop_map(Event::Revive),
        3 => (1..12_000_u64).prop_map(Event::Pass),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 0..150)
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Gone,
    Out,
    Joining(u64),
    Joined(JoinGroupResponse),
    Syncing(u64),
    Owner(Vec<usize>),
}

#[derive(Clone, Debug)]
struct Client {
    /// Set for a static member.
    instance: Option<String>,
    version: i16,
    topic: &'static str,
    id: String,
    generation: i32,
    phase: Phase,
}

impl Client {
    fn request(&self) -> JoinGroupRequest {
        let mut request = join_request(&self.id);
        request.group_instance_id = self.instance.as_deref().map(text);
        request.rebalance_timeout_ms = 20_000;
        request.protocols = vec![protocol("range", subscription(&[self.topic]))];
        request
    }

    /// Who it is, over restarts of its process.
    fn name(&self) -> &str {
        self.instance.as_deref().unwrap_or(&self.id)
    }
}

struct World {
    rig: Rig,
    clients: Vec<Client>,
    /// Who was given a partition in a generation.
    owners: BTreeMap<(i32, usize), String>,
    /// The highest generation that was announced since the broker started.
    generation: i32,
    committed: i64,
    commits: i64,
}

impl World {
    fn new(delay: Duration) -> Self {
        let rig = Rig::new();
        rig.configure(|settings| settings.initial_rebalance_delay = delay);
        let client = |index: usize| Client {
            instance: (index % 2 == 1).then(|| format!("instance-{index}")),
            version: if index < 3 { 9 } else { 8 },
            topic: "topic",
            id: String::new(),
            generation: -1,
            phase: Phase::Out,
        };
        Self {
            rig,
            clients: (0..CLIENTS).map(client).collect(),
            owners: BTreeMap::new(),
            generation: 0,
            committed: -1,
            commits: 0,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Act(index) => self.act(index),
            Event::Change(index) => {
                let client = &mut self.clients[index];
                client.topic = if client.topic == "topic" { "other" } else { "topic" };
                if matches!(client.phase, Phase::Owner(_)) {
                    client.phase = Phase::Out;
                    self.act(index);
                }
            }
            Event::Commit(index) => self.commit(index),
            Event::Leave(index) => self.leave(index),
            Event::Crash(index) => self.clients[index].phase = Phase::Gone,
            Event::Revive(index) => {
                let client = &mut self.clients[index];
                if client.phase == Phase::Gone {
                    client.id.clear();
                    client.generation = -1;
                    client.phase = Phase::Out;
                }
            }
            Event::Pass(millis) => self.rig.advance(Duration::from_millis(millis)),
            Event::Restart => {
                self.rig = self.rig.restarted();
                self.generation = 0;
                for client in &mut self.clients {
                    if matches!(client.phase, Phase::Joining(_) | Phase::Syncing(_)) {
                        client.phase = Phase::Out;
                    }
                }
            }
        }
    }

    /// A client goes on: takes an answer if there is one, or asks what comes next.
    fn act(&mut self, index: usize) {
        let mut client = self.clients[index].clone();
        client.phase = match client.phase.clone() {
            Phase::Gone => Phase::Gone,
            Phase::Out => Phase::Joining(self.rig.ask_join(client.version, client.request())),
            Phase::Joining(ticket) => match self.rig.joined(ticket) {
                None => Phase::Joining(ticket),
                Some(response) => self.take_join(&mut client, response),
            },
            Phase::Joined(response) => self.sync(&client, &response),
            Phase::Syncing(ticket) => match self.rig.synced(ticket) {
                None => Phase::Syncing(ticket),
                Some(response) => {
                    let error = ErrorCode::from_code(response.error_code).unwrap();
                    if error.is_none() {
                        self.own(&client, &response.assignment)
                    } else {
                        refused(&mut client, error)
                    }
                }
            },
            Phase::Owner(partitions) => {
                let instance = client.instance.as_deref();
                let outcome = self.rig.heartbeat_as(&client.id, instance, client.generation);
                if outcome.is_none() {
                    Phase::Owner(partitions)
                } else {
                    refused(&mut client, outcome)
                }
            }
        };
        self.clients[index] = client;
    }

    fn take_join(&mut self, client: &mut Client, response: JoinGroupResponse) -> Phase {
        let error = code(&response);
        if error == ErrorCode::MemberIdRequired {
            client.id = response.member_id.to_string();
            return Phase::Out;
        }
        if !error.is_none() {
            return refused(client, error);
        }
        assert!(response.generation_id > 0);
        // An answer may have waited at the client while the group went on.
        self.generation = self.generation.max(response.generation_id);
        client.id = response.member_id.to_string();
        client.generation = response.generation_id;
        Phase::Joined(response)
    }

    fn sync(&mut self, client: &Client, response: &JoinGroupResponse) -> Phase {
        let mut assignments = Vec::new();
        let leads = response.leader == response.member_id && !response.skip_assignment;
        if leads {
            let members: Vec<&str> =
                response.members.iter().map(|member| member.member_id.as_str()).collect();
            assert!(members.contains(&client.id.as_str()));
            for (index, member) in members.iter().enumerate() {
                let own = (0..PARTITIONS).filter(|one| one % members.len() == index);
                let own: Vec<_> = own.map(|one| one.to_string()).collect();
                assignments.push((*member, own.join(",")));
            }
        }
        let assignments: Vec<_> =
            assignments.iter().map(|(member, own)| (*member, own.as_str())).collect();
        let mut request = sync_request(&client.id, client.generation, &assignments);
        request.group_instance_id = client.instance.as_deref().map(text);
        Phase::Syncing(self.rig.ask(Command::SyncGroup { caller: caller(5), request }))
    }

    fn own(&mut self, client: &Client, assignment: &[u8]) -> Phase {
        let text = std::str::from_utf8(assignment).unwrap();
        let own: Vec<usize> =
            text.split(',').filter(|one| !one.is_empty()).map(|one| one.parse().unwrap()).collect();
        for partition in &own {
            let key = (client.generation, *partition);
            let owner = self.owners.entry(key).or_insert_with(|| client.name().to_owned());
            assert_eq!(owner, client.name(), "two own partition {partition} in {key:?}");
        }
        Phase::Owner(own)
    }

    fn commit(&mut self, index: usize) {
        let client = &self.clients[index];
        if client.generation < 0 {
            return;
        }
        self.commits += 1;
        let mut request = commit_request(&client.id, client.generation, self.commits);
        request.instance = client.instance.as_deref().map(text);
        let (generation, is_gone) = (client.generation, client.phase == Phase::Gone);
        if self.rig.commit_with(request).is_none() {
            assert!(generation >= self.generation || is_gone, "a commit of the past");
            self.committed = self.commits;
        }
    }

    fn leave(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.id.is_empty() && client.phase != Phase::Gone {
            client.phase = Phase::Gone;
            let (id, instance) = (client.id.clone(), client.instance.clone());
            if self.rig.state() != "Dead" {
                self.rig.leave(&[(&id, instance.as_deref())]);
            }
        }
    }

    /// What has to hold at any time.
    fn check(&mut self) {
        assert_eq!(self.rig.committed(), self.committed);
        let mut again = self.rig.restarted();
        assert_eq!(again.shard.durable(), self.rig.shard.durable());
        let described = self.rig.describe();
        if described.group_state == text("Stable") {
            assert_eq!(again.describe(), described);
        }
    }

    /// Everybody who is not gone behaves, for as long as it takes.
    fn settle(&mut self) {
        for _ in 0..120 {
            for index in 0..CLIENTS {
                self.act(index);
            }
            self.rig.advance(SECOND);
        }
        let here: Vec<_> = self.clients.iter().filter(|one| one.phase != Phase::Gone).collect();
        let mut owned: Vec<usize> = Vec::new();
        for client in &here {
            let Phase::Owner(partitions) = &client.phase else {
                panic!("{client:?} of {:?}", self.clients);
            };
            assert_eq!(client.generation, here[0].generation);
            owned.extend(partitions);
        }
        owned.sort_unstable();
        let all: Vec<_> = if here.is_empty() { Vec::new() } else { (0..PARTITIONS).collect() };
        assert_eq!(owned, all);
    }
}

/// What a client does when it is refused.
fn refused(client: &mut Client, error: ErrorCode) -> Phase {
    let harmless = [ErrorCode::RebalanceInProgress, ErrorCode::IllegalGeneration];
    if error == ErrorCode::UnknownMemberId {
        client.id.clear();
    } else {
        assert!(harmless.contains(&error), "{client:?} is told {error}");
    }
    Phase::Out
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules_and_ends_stable(
        delay in prop::sample::select(vec![0_u64, 3000]),
        events in events(),
    ) {
        let mut world = World::new(Duration::from_millis(delay));
        for event in &events {
            world.happen(event);
            world.check();
        }
        world.settle();
        world.check();
    }
}

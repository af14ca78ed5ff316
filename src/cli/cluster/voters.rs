//! `ottla cluster quorum add` and `remove`: which controllers agree on the cluster's metadata (KIP-853).

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::quorum;
use crate::cli::failure::{Failure, NOT_FOUND, REFUSED, USAGE};
use crate::cli::output::{list, print_text};
use crate::cli::topic::Common;
use crate::client::{Address, Cluster, Target, check};
use crate::model::{BrokerId, UuidText};
use crate::wire::add_raft_voter::AddRaftVoterListener;
use crate::wire::messages::RemoveRaftVoterRequest;
use crate::wire::messages::describe_quorum_response::ReplicaState;
use crate::wire::{AddRaftVoterRequest, ApiKey, Text};

/// How long the cluster may take to have a voter more, in milliseconds. The answer comes when it has.
const ADD_MILLIS: i32 = 30_000;

#[derive(Debug, Args)]
pub(super) struct AddArguments {
    /// The controller's node.id; it runs already, and reads along
    node: i32,
    /// Where the other controllers reach it, as host:port
    address: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArguments {
    /// The controller's node.id
    node: i32,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The id of its directory, if there are several controllers with this node.id
    #[arg(long, value_name = "ID", value_parser = directory)]
    directory: Option<UuidText>,
    #[command(flatten)]
    common: Common,
}

impl AddArguments {
    pub(super) const fn common(&self) -> &Common {
        &self.which.common
    }
}

impl RemoveArguments {
    pub(super) const fn common(&self) -> &Common {
        &self.which.common
    }
}

fn directory(text: &str) -> Result<UuidText, String> {
    UuidText::parse(text).ok_or_else(|| "a directory has an id of 22 characters".to_owned())
}

pub(super) fn add(arguments: &AddArguments) -> Result<ExitCode, Failure> {
    let node = arguments.node;
    let address = Address::parse(&arguments.address)
        .map_err(|error| Failure::new("BAD_ADDRESS", USAGE, error.to_string()))?;
    arguments.common().connection.run(async |cluster| {
        let described = quorum::describe(&cluster).await?;
        let directory =
            arguments.which.find(node, &described.partition.observers, "reads along")?;
        let listeners = described.nodes.iter().flat_map(|node| &node.listeners);
        let name = listeners.map(|listener| listener.name.clone()).next().ok_or_else(|| {
            let message = "no voter of this cluster says what its listener is called";
            Failure::new("UNREADABLE_ANSWER", REFUSED, message)
        })?;
        let host = Text::from_string(address.host.clone());
        let request = AddRaftVoterRequest {
            cluster_id: None,
            timeout_ms: ADD_MILLIS,
            voter_id: BrokerId(node),
            voter_directory_id: directory.0,
            listeners: vec![AddRaftVoterListener { name, host, port: address.port }],
            ack_when_committed: true,
        };
        let response = cluster.request(Target::Any, &request).await?;
        let subject = || format!("controller {node}");
        let message = response.error_message.as_deref();
        check(ApiKey::AddRaftVoter, response.error_code.code(), subject, message)?;
        arguments.which.told(&cluster, node, "votes").await
    })
}

pub(super) fn remove(arguments: &RemoveArguments) -> Result<ExitCode, Failure> {
    let node = arguments.node;
    arguments.which.common.connection.run(async |cluster| {
        let described = quorum::describe(&cluster).await?;
        let directory = arguments.which.find(node, &described.partition.current_voters, "votes")?;
        let mut request = RemoveRaftVoterRequest::default();
        request.cluster_id = None;
        request.voter_id = node;
        request.voter_directory_id = directory.0;
        let response = cluster.request(Target::Any, &request).await?;
        let subject = || format!("controller {node}");
        let message = response.error_message.as_deref();
        check(ApiKey::RemoveRaftVoter, response.error_code, subject, message)?;
        arguments.which.told(&cluster, node, "does not vote any more").await
    })
}

impl Which {
    /// The directory of the one node with this id among those that the quorum has told.
    fn find(&self, node: i32, told: &[ReplicaState], role: &str) -> Result<UuidText, Failure> {
        let named = told.iter().filter(|state| state.replica_id.0 == node);
        let directories = named.map(|state| UuidText(state.replica_directory_id));
        let wanted =
            |directory: &UuidText| self.directory.is_none_or(|wanted| wanted == *directory);
        let found: Vec<UuidText> = directories.filter(wanted).collect();
        match found.as_slice() {
            [directory] => Ok(*directory),
            [] => {
                let message = format!("no controller {node} {role}");
                let hint = "'ottla cluster quorum' shows who votes and who reads along";
                Err(Failure::new("UNKNOWN_CONTROLLER", NOT_FOUND, message).hint(hint))
            }
            several => {
                let message = format!("there are {} controllers {node}", several.len());
                let hint = format!("add --directory with one of {}", list(several));
                Err(Failure::new("AMBIGUOUS", USAGE, message).hint(hint))
            }
        }
    }

    /// Says what was done, and who votes now.
    async fn told(&self, cluster: &Cluster, node: i32, what: &str) -> Result<ExitCode, Failure> {
        let described = quorum::describe(cluster).await?;
        let voters = described.partition.current_voters.iter();
        let voters: Vec<i32> = voters.map(|voter| voter.replica_id.0).collect();
        if self.common.output.is_json() {
            self.common.output.print_value(&json!({ "node": node, "voters": voters }))?;
        } else {
            print_text(&format!("controller {node} {what}; voters: {}\n", list(&voters)))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

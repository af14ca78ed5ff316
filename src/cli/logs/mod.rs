//! `ottla logs`: looking at log directories and their files, ours or Apache Kafka's, and sending ours there.

mod dump;
mod export_kraft;
mod facts;
mod verify;

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::log::InspectError;

/// What is to be looked at.
#[derive(Debug, Args)]
pub(super) struct LogsArguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check every batch, index, snapshot and checkpoint of log directories, Ottla's or Apache Kafka's, and Ottla's metadata log.
    ///
    /// Says for each partition what is there, and what is wrong by file and position. A torn end, which an unclean stop leaves
    /// behind and the next start cuts off, is told and is no damage. Nothing is changed. Stop the broker first: what it writes
    /// meanwhile may look torn. Exit code 1 if there is damage.
    Verify(verify::VerifyArguments),
    /// Print what is in a file of a log directory, Ottla's or Apache Kafka's.
    ///
    /// Takes .log, .index, .timeindex, .txnindex and .snapshot files, leader-epoch-checkpoint, partition.metadata, the
    /// *-offset-checkpoint files, and *.checkpoint files of Kafka's metadata; the name says which it is. Words are those of Kafka's
    /// own DumpLogSegments. Exit code 1 if something in the file is not as it should be.
    Dump(dump::DumpArguments),
    /// Write the metadata that Apache Kafka needs to start on a data directory of Ottla.
    ///
    /// Adds a snapshot to __cluster_metadata-0 in the directory, and changes nothing else. A metadata log that is there already is
    /// set aside. Stop the broker first. Start Apache Kafka as a single node, with process.roles=broker,controller and itself in
    /// controller.quorum.voters.
    ExportKraft(export_kraft::ExportKraftArguments),
}

pub(super) fn run(arguments: &LogsArguments) -> anyhow::Result<ExitCode> {
    let sound = match &arguments.verb {
        Verb::Verify(arguments) => verify::run(arguments),
        Verb::Dump(arguments) => dump::run(arguments),
        Verb::ExportKraft(arguments) => {
            return export_kraft::run(arguments).map(|()| ExitCode::SUCCESS);
        }
    };
    match sound {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        // Whoever reads has seen enough, as `head` does.
        Err(InspectError::Tell(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error.into()),
    }
}

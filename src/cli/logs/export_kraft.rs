//! `ottla logs export-kraft`: the way of a data directory to Apache Kafka.

use std::path::PathBuf;

use clap::Args;

use crate::controller::kraft::{Exported, export};
use crate::env::Env;

/// What is to be exported.
#[derive(Debug, Args)]
pub(super) struct ExportKraftArguments {
    /// The data directory; no broker may run on it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(arguments: &ExportKraftArguments) -> anyhow::Result<()> {
    let env = Env::real();
    let Exported { path, topics, partitions, set_aside } = export(&env, &arguments.dir)?;
    if let Some(aside) = set_aside {
        say!("set aside what Apache Kafka had there as {}", aside.display());
    }
    say!("wrote {}: {topics} topics, {partitions} partitions", path.display());
    say!(
        "start Apache Kafka with log.dirs={} and the node.id of its meta.properties",
        arguments.dir.display()
    );
    Ok(())
}

//! `ottla topic copy`: the records of a topic in another one, of the same cluster or another one.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Common;
use crate::cli::failure::Failure;
use crate::cli::place::PlaceRange;
use crate::cli::produce::Codec;
use crate::cli::progress::{Progress, Transfer};
use crate::cli::reading::{Reading, offsets_in};
use crate::cli::transfer::{Definition, Writers, push_all};
use crate::client::{Address, Cluster, Topics};

#[derive(Debug, Args)]
pub(super) struct CopyArguments {
    /// The topic that is read
    from: String,
    /// The topic that is written; made like the other one if it is not there
    to: String,
    /// The cluster of the topic that is written [default: the same]
    #[arg(long, value_name = "HOST:PORT,…")]
    to_bootstrap: Option<String>,
    /// From where, to where: start, end, N, +N, -N, @TIME, FROM:UNTIL [default: all that is there]
    #[arg(short = 'o', long, value_name = "RANGE", value_parser = PlaceRange::parse, allow_hyphen_values = true)]
    offset: Vec<PlaceRange>,
    /// Go on with records that come later, until it is stopped
    #[arg(long)]
    follow: bool,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// Leave out records of open and aborted transactions
    #[arg(long)]
    read_committed: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn copy(arguments: &CopyArguments) -> Result<ExitCode, Failure> {
    if arguments.to_bootstrap.is_none() && arguments.from == arguments.to {
        return Err(Failure::usage(format!("'{}' is copied into itself", arguments.from)));
    }
    arguments.common.connection.run(async |source| {
        let target = match &arguments.to_bootstrap {
            None => source.clone(),
            Some(list) => {
                let bootstrap =
                    Address::parse_list(list).map_err(|error| Failure::usage(error.to_string()))?;
                let mut options = source.options().clone();
                options.bootstrap = bootstrap;
                Cluster::connect(source.env().clone(), options).await?
            }
        };
        records(&source, &target, arguments).await
    })
}

async fn records(
    source: &Cluster,
    target: &Cluster,
    arguments: &CopyArguments,
) -> Result<ExitCode, Failure> {
    let (from, to) = (arguments.from.as_str(), arguments.to.as_str());
    let topics = std::slice::from_ref(&arguments.from);
    let reading = Reading {
        topics,
        partitions: &[],
        range: PlaceRange::joined(&arguments.offset)?,
        to_end: !arguments.follow,
        read_committed: arguments.read_committed,
    };
    // Before the other topic is there: what is copied ends here.
    let spans = reading.spans(source).await?;
    let definitions = Definition::of(source, topics).await?;
    let partitions = definitions.iter().map(|definition| definition.partitions).max().unwrap_or(1);
    for definition in definitions {
        Definition { name: to.to_owned(), ..definition }.create(target).await?;
    }
    let mut writers = Writers::new(target, arguments.compression.into(), false);
    let producer = writers.of(to).await?;
    // Where there are fewer partitions, the key says which one.
    let there = target.metadata(Topics::Named(&[to])).await?;
    let there = there.topic(to).map_or(0, |topic| topic.partitions.len());
    let keep_partitions = usize::try_from(partitions).is_ok_and(|partitions| partitions <= there);
    let mut progress = Progress::new(&source.env().steady);
    let (all, mut done, mut count, mut bytes) = (offsets_in(&spans), 0, 0, 0);
    let follow = arguments.follow;
    let exit = reading.read(source, spans, async |fetched, until| {
        count += push_all(producer, fetched, until, keep_partitions).await?;
        if follow {
            producer.send_open().await?;
        }
        let next = until.map_or(fetched.next, |until| until.min(fetched.next));
        done += next.since(fetched.from).max(0).cast_unsigned();
        bytes += fetched.batches.len() as u64;
        let all = Some(all).filter(|_| !follow);
        progress.show_transfer(&Transfer { records: count, bytes, done, all });
        Ok(())
    });
    let exit = exit.await?;
    writers.flush().await?;
    progress.clear();
    let text = format!("copied {count} records from {from} to {to}");
    let json = json!({ "from": from, "to": to, "records": count });
    arguments.common.output.print_done(&text, &json)?;
    Ok(exit)
}

//! `--watch`: what a verb shows, again and again, over the same connections.
//!
//! On a terminal each picture takes the place of the one before, below a line that says what is looked at; elsewhere they follow
//! each other. The first one must succeed: a name that is mistyped ends the verb as it does without `--watch`. From then on
//! an error is shown and does not end it, since a broker that is away may come back.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::failure::{Failure, USAGE};
use super::output::{self, print_text, shown};
use super::signals::Signals;
use super::topic::Common;
use super::units;
use crate::client::Cluster;
use crate::env::Env;
use crate::model::UnixMillis;

/// What verbs take that only look.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct RepeatArguments {
    /// Show it again and again, until Ctrl-C [default without a time: 2s]
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s"
    )]
    watch: Option<Duration>,
}

/// How often something is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    pub(super) every: Duration,
    /// How many times; none for no end.
    pub(super) count: Option<u64>,
}

impl RepeatArguments {
    /// Runs a verb that only looks, once or again and again.
    pub(super) fn run(
        self,
        common: &Common,
        verb: impl AsyncFn(Cluster) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        match self.watch {
            None => common.connection.run(verb),
            Some(every) => Rounds { every, count: None }.run(common, verb),
        }
    }

    /// The same for one that asks no cluster.
    pub(super) async fn run_in(
        self,
        env: &Env,
        is_json: bool,
        verb: impl AsyncFn() -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        match self.watch {
            None => verb().await,
            Some(every) => Rounds { every, count: None }.go(env, is_json, verb).await,
        }
    }
}

impl Rounds {
    /// Runs a verb as often, until a signal comes or nobody reads what it prints. What the last round says counts.
    pub(super) fn run(
        self,
        common: &Common,
        mut verb: impl AsyncFnMut(Cluster) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        common.connection.run(async |cluster| {
            let verb =
                async || verb(cluster.clone()).await.map_err(|failure| failure.asked_in(&cluster));
            self.go(cluster.env(), common.output.is_json(), verb).await
        })
    }

    async fn go(
        self,
        env: &Env,
        is_json: bool,
        mut verb: impl AsyncFnMut() -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        let on_terminal = std::io::stdout().is_terminal();
        let mut signals = Signals::listen()?;
        let mut rounds = 0;
        loop {
            let began = env.steady.now();
            output::put_before_next(match on_terminal {
                true => format!("\x1b[H\x1b[2J{}\n\n", self.heading(env.clock.now())),
                false if rounds == 0 || is_json => String::new(),
                false => "\n".to_owned(),
            });
            let outcome = tokio::select! {
                outcome = verb() => outcome,
                exit = signals.next() => return Ok(exit),
            };
            rounds += 1;
            let is_last = self.count.is_some_and(|count| rounds >= count);
            match outcome {
                outcome if is_last => return outcome,
                Ok(_) => {}
                Err(failure) if rounds == 1 || failure.ends_everything() => return Err(failure),
                Err(failure) => {
                    if on_terminal {
                        print_text("")?;
                    }
                    failure.report(is_json);
                }
            }
            tokio::select! {
                () = env.steady.sleep_until(began.plus(self.every)) => {}
                exit = signals.next() => return Ok(exit),
            }
        }
    }

    /// What is shown, how often, and when this was.
    fn heading(self, now: UnixMillis) -> String {
        let words = std::env::args_os().map(|word| shown(&word.to_string_lossy()));
        let words: Vec<String> = words.skip(1).collect();
        let time = Timestamp::from_millisecond(now.0).unwrap_or_default();
        let time = time.to_zoned_datetime(TimeZone::system()).strftime("%F %T");
        format!("ottla {}   every {:?}   {time}", words.join(" "), self.every)
    }
}

impl Failure {
    /// Whether nothing that comes later makes it better.
    const fn ends_everything(&self) -> bool {
        matches!(self.exit(), None | Some(USAGE))
    }
}

/// No time at all would keep the cluster busy with nothing else.
fn interval(text: &str) -> Result<Duration, String> {
    let every = units::duration(text)?;
    if every.is_zero() { Err("there has to be some time in between".to_owned()) } else { Ok(every) }
}

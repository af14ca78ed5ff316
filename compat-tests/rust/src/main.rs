//! The client program for libraries in Rust. The vocabulary is described in `compat-tests/src/client.rs`, that of members in
//! `compat-tests/tests/clients/group_member.rs`.
//!
//!     client LIBRARY BOOTSTRAP                           requests as JSON lines in, answers as JSON lines out
//!     client member OPTIONS                              a group member of krafka
//!     client transactions BOOTSTRAP TOPIC GROUP ID       the transactions of tests/clients/transactions.rs, by krafka

mod krafka_client;
mod member;
mod request;
mod rskafka_client;
mod transactions;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::krafka_client::Krafka;
use crate::request::Request;
use crate::rskafka_client::Rskafka;

/// Why a request has no answer: the broker's error code, if it was the broker who refused it, and words.
struct Failure {
    code: Option<i16>,
    message: String,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: None, message: format!("{error:#}") }
    }
}

/// What a request is answered with.
type Answer = Result<Value, Failure>;

enum Library {
    Krafka(Krafka),
    Rskafka(Rskafka),
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["krafka", bootstrap] => serve(Library::Krafka(Krafka::connect(bootstrap).await?)).await,
        ["rskafka", bootstrap] => serve(Library::Rskafka(Rskafka::connect(bootstrap).await?)).await,
        ["member", options] => member::run(options).await,
        ["transactions", bootstrap, topic, group, id] => {
            transactions::run(bootstrap, topic, group, id).await
        }
        _ => bail!("unknown arguments {arguments:?}"),
    }
}

async fn serve(library: Library) -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let request: Request = serde_json::from_str(&line)?;
        let answer = match &library {
            Library::Krafka(client) => client.answer(request).await,
            Library::Rskafka(client) => client.answer(request).await,
        };
        println!(
            "{}",
            match answer {
                Ok(ok) => json!({ "ok": ok }),
                Err(Failure { code, message }) => {
                    json!({ "error": { "code": code, "message": message } })
                }
            }
        );
    }
    Ok(())
}

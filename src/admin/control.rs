//! HTTP by which a process is told to do something, for `ottla dev`: which requests get through, and what answers look like.

use hyper::header::ORIGIN;
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::health::Health;
use super::routes::{Answer, of_health, of_json, text};
use super::server;
use crate::env::{Env, Listener};

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Whether something is to be done (POST), or only told (GET).
    pub to_do: bool,
    /// The path of the address.
    pub path: String,
}

/// What is answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// It is so, or was done.
    This(Value),
    /// Whether all is well, and how it is, in lines for a person.
    Health(bool, String),
    /// There is no such thing. One line for a person.
    Unknown(String),
    /// Not in this state. One line for a person.
    NotNow(String),
}

/// Answers requests from `listener` with what `answer` has, until the tasks are cancelled. Nothing is done for a page that a
/// browser shows: any page on the web can send a browser to an address of its own machine.
pub fn serve_control<A, F>(env: &Env, listener: Listener, answer: A)
where
    A: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Told> + Send + 'static,
{
    server::serve(env, listener, move |request| {
        let to_do = request.method() == Method::POST;
        let allowed = to_do || request.method() == Method::GET;
        let from_page = request.headers().contains_key(ORIGIN);
        let asked = Asked { to_do, path: request.uri().path().to_owned() };
        let answer = answer.clone();
        async move {
            if !allowed {
                return text(StatusCode::METHOD_NOT_ALLOWED, "GET and POST are all there is\n");
            }
            if to_do && from_page {
                return text(StatusCode::FORBIDDEN, "nothing is done for pages of a browser\n");
            }
            written(answer(asked).await)
        }
    });
}

fn written(told: Told) -> Answer {
    match told {
        Told::This(value) => of_json(&value),
        Told::Health(well, lines) => of_health(Health { well, text: lines }),
        Told::Unknown(line) => text(StatusCode::NOT_FOUND, line + "\n"),
        Told::NotNow(line) => text(StatusCode::CONFLICT, line + "\n"),
    }
}

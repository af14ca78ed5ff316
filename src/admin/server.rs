//! An HTTP server: connections, within limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::env::{BoxStream, Env, Listener};

/// Connections at the same time. Further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be idle, or take for the head of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Room for the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to wait when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections from `listener` until the tasks are cancelled, and gives each request the answer that `answer` has.
pub(super) fn serve<A, F>(env: &Env, listener: Listener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let env = env.clone();
    env.tasks.clone().spawn_service("accept-http", async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = env.tasks.cancelled() => return,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept an HTTP connection");
                    env.steady.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (of_connection, answer) = (env.clone(), answer.clone());
            env.tasks.spawn("http", async move {
                converse(&of_connection, stream, answer).await;
                drop(place);
            });
        }
    });
}

/// Answers the requests of a connection.
async fn converse<A, F>(env: &Env, stream: BoxStream, answer: A)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let answer = service_fn(|request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = env.tasks.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection has ended");
    }
}

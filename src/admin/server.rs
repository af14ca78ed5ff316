//! An HTTP server: connections, within limits.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::places::{Place, Places};
use crate::env::{BoxStream, Env, Listener};

/// Connections at the same time. A further one gets the place of that on which nothing has moved for the longest time.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be idle between requests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
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
        let places = Places::new(env.steady.clone(), CONNECTIONS_MAX);
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
            let place = tokio::select! {
                place = places.take() => place,
                () = env.tasks.cancelled() => return,
            };
            let (of_connection, answer) = (env.clone(), answer.clone());
            env.tasks.spawn("http", async move {
                converse(&of_connection, stream, &place, answer).await;
            });
        }
    });
}

/// Answers the requests of a connection.
async fn converse<A, F>(env: &Env, stream: BoxStream, place: &Place, answer: A)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let answer = service_fn(|request| {
        place.head_is_there();
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(place.watched(stream)), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = place.given_away() => return,
        () = env.tasks.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection has ended");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use hyper::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::admin::places::MOVE_TIMEOUT;
    use crate::admin::routes::text;
    use crate::env::{MemoryDisk, Net, Network, Rng};
    use crate::model::UnixMillis;

    const PORT: u16 = 80;
    /// More than what is on the way before the next write has to wait.
    const LONG: usize = 1 << 20;

    /// A server in a simulated network, and the other end of that.
    async fn served() -> (Env, Net) {
        let network = Network::new(Rng::from_seed(7));
        let [server, client] =
            [1, 2].map(|host| network.host(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))));
        let (disk, rng) = (Arc::new(MemoryDisk::new()), Rng::from_seed(7));
        let env = Env::simulated(server, disk, UnixMillis(0), rng, Arc::default());
        let listener = env.net.listen("10.0.0.1", PORT, 128).await.unwrap();
        serve(&env, listener, |request: Request<Incoming>| async move {
            let length = if request.uri().path() == "/long" { LONG } else { 2 };
            text(StatusCode::OK, vec![b'x'; length])
        });
        (env, client)
    }

    async fn connected(client: &Net, says: &str) -> BoxStream {
        let mut stream = client.connect("10.0.0.1", PORT).await.unwrap();
        stream.write_all(says.as_bytes()).await.unwrap();
        stream
    }

    /// How long a connection is held that says this and reads nothing until an hour later, and how much it gets then.
    async fn held(says: &str) -> (Duration, usize) {
        let (env, client) = served().await;
        let mut stream = connected(&client, says).await;
        let begun = env.steady.now();
        let mut last = 0;
        // What is on the way is small next to the times that are told apart.
        let mut bytes = [0; 1 << 10];
        if says.contains("long") {
            env.steady.sleep(Duration::from_secs(3600)).await;
        }
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            last += read;
        }
        (env.steady.now().since(begun), last)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_no_answer_is_not_waited_for() {
        let (_, bytes) = held(&"GET /long HTTP/1.1\r\n\r\n".repeat(3)).await;
        assert!((LONG..2 * LONG).contains(&bytes), "{bytes}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_has_less_time_than_one_that_has_not() {
        let second = Duration::from_secs(1);
        let (begun, idle, again) =
            (held("GET / HT").await.0, held("").await.0, held("GET / HTTP/1.1\r\n\r\n").await.0);
        assert!(begun >= MOVE_TIMEOUT && begun < MOVE_TIMEOUT + second, "{begun:?}");
        for time in [idle, again] {
            assert!(time >= IDLE_TIMEOUT && time < IDLE_TIMEOUT + second, "{time:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_gets_the_place_of_the_one_that_was_idle_the_longest() {
        let (env, client) = served().await;
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            all.push(connected(&client, "GET / HT").await);
            env.steady.sleep(Duration::from_millis(50)).await;
        }
        // The first one goes on, so that the second one is idle for the longest time.
        all[0].write_all(b"TP").await.unwrap();
        env.steady.sleep(Duration::from_millis(50)).await;
        let mut new = connected(&client, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        let mut answer = String::new();
        new.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(matches!(all[1].read(&mut [0; 9]).await, Ok(0) | Err(_)));
        all[0].write_all(b"/1.1\r\n\r\n").await.unwrap();
        assert!(matches!(all[0].read(&mut [0; 9]).await, Ok(9)));
    }
}

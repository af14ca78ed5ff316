//! Which address shows what.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::health::Health;
use super::{Admin, Serving, exposition, health, json, metrics, page};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// What the JSON API is, for programs. The tests hold its paths and fields to what is served.
const OPENAPI: &[u8] = include_bytes!("../../docs/openapi.json");

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers one request. Its body, if it has one, is not read.
pub(super) async fn answer(admin: &Admin, request: &Request<Incoming>) -> Answer {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are all there is\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/livez" => of_health(health::live(admin)),
        "/api/openapi.json" => content(StatusCode::OK, JSON, OPENAPI),
        "/readyz" | "/healthz" | "/v1/status/ready" => of_health(health::ready(admin)),
        path => match admin.serving() {
            Some(serving) => of_broker(admin, serving, path).await,
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the broker is starting\n"),
        },
    }
}

/// What can be told once the broker serves.
async fn of_broker(admin: &Admin, serving: &Serving, path: &str) -> Answer {
    let services = &serving.services;
    match path {
        "/" => content(StatusCode::OK, HTML, page::start(serving)),
        "/metrics" => {
            content(StatusCode::OK, exposition::CONTENT_TYPE, metrics::page(admin, serving).await)
        }
        "/public_metrics" => content(
            StatusCode::OK,
            exposition::CONTENT_TYPE,
            metrics::redpanda::page(serving).await,
        ),
        "/api/v1/cluster" => of_json(&json::cluster(serving)),
        "/api/v1/topics" => of_json(&json::topics(services)),
        "/api/v1/groups" => of_json(&json::groups(services).await),
        "/api/v1/connections" => of_json(&json::connections(services)),
        _ => text(StatusCode::NOT_FOUND, "there is nothing here; / lists what there is\n"),
    }
}

pub(super) fn of_health(health: Health) -> Answer {
    let status = if health.well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, health.text)
}

pub(super) fn of_json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => content(StatusCode::OK, JSON, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written\n")
        }
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    content(status, TEXT, body)
}

fn content(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

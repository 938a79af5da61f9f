//! Spans to a collector, as OTLP over HTTP in JSON.
//!
//! Nobody waits for it: spans go into a bounded queue, are sent in batches, and are dropped and counted where the queue is full
//! or the collector does not take them. The encoding is written here because it is a dozen members of one JSON object; the
//! libraries for it cost more memory than the whole gateway may have when idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Context;
use crate::certificate::Timestamp;
use crate::upstream::connect::Connector;

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Span {
    /// Where it stands.
    pub context: Context,
    /// What it was: a method and a route, never a path.
    pub name: String,
    /// When it came.
    pub begun: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it came to; labels and numbers only.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// It got an error of ours.
    pub is_error: bool,
}

/// A value beside a span.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// A word.
    Text(String),
    /// A number.
    Number(i64),
}

/// Takes spans; cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    queue: mpsc::Sender<Told>,
    dropped: Arc<AtomicU64>,
}

enum Told {
    Span(Box<Span>),
    Flush(oneshot::Sender<()>),
}

impl Exporter {
    /// Sends to this collector from now on; needs a runtime around it.
    pub fn start(endpoint: &Uri, tls: Option<Arc<ClientConfig>>) -> Self {
        let (queue, told) = mpsc::channel(MAX_QUEUED);
        let dropped = Arc::new(AtomicU64::new(0));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(Connector::new(tls, None, TIMEOUT));
        let sender = Sender { client, target: target(endpoint), dropped: dropped.clone() };
        tokio::spawn(sender.run(told));
        Self { queue, dropped }
    }

    /// Takes a span that somebody records.
    pub fn take(&self, span: Span) {
        if span.context.is_sampled && self.queue.try_send(Told::Span(Box::new(span))).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Spans that never reached the collector.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until what was taken so far has been sent or dropped.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.queue.send(Told::Flush(done)).await.is_ok() {
            let _ = tokio::time::timeout(TIMEOUT, is_done).await;
        }
    }
}

struct Sender {
    client: Client<Connector, Full<Bytes>>,
    target: Uri,
    dropped: Arc<AtomicU64>,
}

impl Sender {
    async fn run(self, mut told: mpsc::Receiver<Told>) {
        let mut batch = Vec::new();
        let mut due = Instant::now() + SEND_EVERY;
        loop {
            let next = tokio::time::timeout_at(due, told.recv()).await;
            let is_due = match next {
                Ok(Some(Told::Span(span))) => {
                    batch.push(*span);
                    batch.len() >= MAX_BATCH
                }
                Ok(Some(Told::Flush(done))) => {
                    self.send(std::mem::take(&mut batch)).await;
                    let _ = done.send(());
                    false
                }
                Ok(None) => return,
                Err(_) => true,
            };
            if is_due {
                self.send(std::mem::take(&mut batch)).await;
                due = Instant::now() + SEND_EVERY;
            }
        }
    }

    async fn send(&self, batch: Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.target.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(encode(&batch).to_string()))
            .expect("the target was checked");
        let sent = async {
            let response = self.client.request(request).await.map_err(drop)?;
            let is_taken = response.status().is_success();
            Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(drop)?;
            if is_taken { Ok(()) } else { Err(()) }
        };
        if !matches!(tokio::time::timeout(TIMEOUT, sent).await, Ok(Ok(()))) {
            self.dropped.fetch_add(batch.len() as u64, Relaxed);
        }
    }
}

/// `/v1/traces` below the endpoint (OTLP, "OTLP/HTTP request").
fn target(endpoint: &Uri) -> Uri {
    let prefix = endpoint.path().trim_end_matches('/');
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = format!("{prefix}/v1/traces").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

fn encode(batch: &[Span]) -> Value {
    let spans: Vec<_> = batch.iter().map(encode_span).collect();
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", "otk-gateway"),
            text("service.version", env!("CARGO_PKG_VERSION")),
        ] },
        "scopeSpans": [{ "scope": { "name": "otk-gateway", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] })
}

fn encode_span(span: &Span) -> Value {
    let nanos = |at: i64| at.to_string(); // 64-bit numbers are strings in the JSON form
    let attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|(key, value)| match value {
            Attribute::Text(text) => json!({ "key": key, "value": { "stringValue": text } }),
            Attribute::Number(number) => json!({ "key": key, "value": { "intValue": nanos(*number) } }),
        })
        .collect();
    let mut encoded = json!({
        "traceId": hex::encode(span.context.trace),
        "spanId": hex::encode(span.context.span),
        "name": span.name,
        "kind": SERVER,
        "startTimeUnixNano": nanos(span.begun.0),
        "endTimeUnixNano": nanos(span.begun.0.saturating_add(span.took.as_nanos() as i64)),
        "attributes": attributes,
        "status": { "code": if span.is_error { ERROR } else { UNSET } },
    });
    if let Some(parent) = span.context.parent {
        encoded["parentSpanId"] = hex::encode(parent).into();
    }
    encoded
}

/// `SPAN_KIND_SERVER`, `STATUS_CODE_UNSET` and `STATUS_CODE_ERROR` of OTLP.
const SERVER: u8 = 2;
const UNSET: u8 = 0;
const ERROR: u8 = 2;

const MAX_QUEUED: usize = 4096;
const MAX_BATCH: usize = 512;
const SEND_EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 * 1024;

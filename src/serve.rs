//! Accept, limit, watch, drain: the edge towards the clients.
//!
//! Takes any handler of requests; knows no routes and no bodies. HTTP/1.1, and HTTP/2 by prior knowledge or ALPN. At the cap of
//! connections accepting pauses, so that the kernel's queue and not our memory holds the crowd; an error in accepting backs
//! off and ends nothing. When the drain begins, listeners close, idle connections end at once and busy ones after what is
//! under way, until the deadline ends them all.
//!
//! The surprising decision: a place under the cap is taken before there is a connection for it, one place for all listeners,
//! so that a connection which was accepted is always served.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::shutdown::Drain;
use listener::{Arrival, Stream};
use patience::{Alarm, Limits, Patience, Phase, Watched};
use timed_io::TimedIo;

pub use listener::{Address, BindError, Listener, Peer, bind};

mod listener;
mod patience;
#[cfg(target_os = "linux")]
mod splice;
pub mod strict;
mod timed_io;
pub mod tls;
mod wire;

/// What the listeners of one `run` allow together. Others put in their place hold from the next connection on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at once. As it is when serving begins.
    pub max_connections: usize,
    /// Bytes of a request's head; at least 8 KiB.
    pub max_header: usize,
    /// For a head, from accept or from its first byte. A TLS handshake counts towards the first.
    pub header_timeout: Duration,
    /// Without the client taking anything of what was written to it.
    pub write_timeout: Duration,
    /// With nothing under way.
    pub idle_timeout: Duration,
    /// For everything under way, once the drain has begun.
    pub drain_timeout: Duration,
}

/// What happened on the connections of one `run`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Open now.
    pub open: AtomicU64,
    /// Ended before a request could be read from them: no TLS session, no HTTP, or no whole head in time.
    pub refused: AtomicU64,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything under way was finished.
    Drained,
    /// The deadline, or the end of all patience, cut so many connections.
    Cut(usize),
}

/// Serves until the drain is over.
///
/// The handler gets every request whose head could be read, also one that `strict::framing` objects to. The connection ends
/// after the answer when the request leaves no doubt-free way to find the next one. A handler that panics costs its
/// connection (on HTTP/2, its stream) and nothing else.
pub async fn run<H, F, B>(
    listeners: Vec<Listener>,
    handler: H,
    settings: Arc<ArcSwap<Settings>>,
    counters: Arc<Counters>,
    mut drain: Drain,
) -> Ended
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let line = Line { handler, settings: settings.clone(), counters, drain: drain.clone() };
    let mut connections = accept(listeners, line).await;
    let deadline = tokio::time::sleep(settings.load().drain_timeout);
    tokio::select! {
        biased;
        () = all_of(&mut connections) => return Ended::Drained,
        () = deadline => {}
        () = drain.over() => {}
    }
    let cut = connections.len();
    connections.shutdown().await;
    if cut == 0 { Ended::Drained } else { Ended::Cut(cut) }
}

/// What every connection gets.
#[derive(Clone)]
struct Line<H> {
    handler: H,
    settings: Arc<ArcSwap<Settings>>,
    counters: Arc<Counters>,
    drain: Drain,
}

/// Accepts until the drain begins; returns the connections still open then.
async fn accept<H, F, B>(listeners: Vec<Listener>, line: Line<H>) -> JoinSet<()>
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let places = Arc::new(Semaphore::new(line.settings.load().max_connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let mut drain = line.drain.clone();
    let mut turn = 0;
    let mut back_off = FIRST_BACK_OFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = next(&places, &listeners, &mut turn) => accepted,
        };
        match accepted {
            Ok((place, arrival)) => {
                back_off = FIRST_BACK_OFF;
                let open = Open::new(line.counters.clone(), place);
                connections.spawn(connection(arrival, line.clone(), open));
            }
            Err(error) if is_about_one_connection(error.kind()) => {}
            Err(error) => {
                tracing::warn!(error = %error.kind(), "accepting a connection failed");
                tokio::select! {
                    () = drain.begun() => return connections,
                    () = tokio::time::sleep(back_off) => back_off = (back_off * 2).min(LONGEST_BACK_OFF),
                }
            }
        }
    }
}

/// A place, then a connection for it.
async fn next(
    places: &Arc<Semaphore>,
    listeners: &[Listener],
    turn: &mut usize,
) -> io::Result<(OwnedSemaphorePermit, Arrival)> {
    let place = places.clone().acquire_owned().await.expect("never closed");
    Ok((place, listener::accept(listeners, turn).await?))
}

/// The client that hung up while it stood in the queue says nothing about the next one.
fn is_about_one_connection(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection<H, F, B>(arrival: Arrival, line: Line<H>, open: Open)
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let settings = **line.settings.load();
    let first_head = Instant::now() + settings.header_timeout;
    let peer = arrival.peer;
    let mut drain = line.drain.clone();
    let stream = tokio::select! {
        biased;
        stream = handshake(arrival, first_head) => stream,
        () = drain.begun() => return, // nothing was asked yet
    };
    let is_of_use = match stream {
        Some(stream) => speak(stream, peer, line, &settings, first_head).await,
        None => false,
    };
    if !is_of_use {
        open.counters.refused.fetch_add(1, Relaxed);
    }
}

async fn handshake(arrival: Arrival, deadline: Instant) -> Option<Stream> {
    let Some(tls) = arrival.tls else { return Some(arrival.stream) };
    let stream = tokio::time::timeout_at(deadline, tls.accept(arrival.stream)).await.ok()?.ok()?;
    Some(Box::new(stream))
}

/// Speaks HTTP until the connection ends. False if no request could be read from what the client sent, or failed to send.
async fn speak<H, F, B>(stream: Stream, peer: Peer, line: Line<H>, settings: &Settings, first_head: Instant) -> bool
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Line { handler, mut drain, .. } = line;
    let patience = Patience::default();
    let mut alarm = Alarm::new(patience.clone(), limits(settings), first_head);
    let io = TokioIo::new(TimedIo::new(stream, patience.clone()));
    let service = service_fn(|request| answer(&handler, request, peer, &patience));
    let builder = builder(settings);
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let mut is_leaving = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.is_ok() || is_leaving || patience.has_served(),
            phase = alarm.rings() => {
                if phase == Phase::Taking {
                    patience.give_up();
                }
                if phase != Phase::Idle || is_leaving {
                    return patience.has_served();
                }
            }
            () = drain.begun(), if !is_leaving => {}
        }
        is_leaving = true;
        patience.leave();
        connection.as_mut().graceful_shutdown();
    }
}

/// One request: what the bytes told about it goes in with it, and its answer is watched on its way out.
fn answer<H, F, B>(
    handler: &H,
    mut request: Request<Incoming>,
    peer: Peer,
    patience: &Patience,
) -> impl Future<Output = Result<Response<Watched<B>>, Infallible>> + Send + use<H, F, B>
where
    H: Fn(Request<Incoming>, Peer) -> F,
    F: Future<Output = Response<B>> + Send,
    B: Send,
{
    let (under_way, standing) = patience.request();
    if let Some(violation) = standing.violation {
        request.extensions_mut().insert(violation);
    }
    // Not an `async` block, which would keep a second place for the future that it was given.
    handler(request, peer).map(move |response| {
        let mut response = response.map(|body| Watched::new(body, under_way));
        if standing.is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    })
}

fn limits(settings: &Settings) -> Limits {
    Limits { header: settings.header_timeout, write: settings.write_timeout, idle: settings.idle_timeout }
}

fn builder(settings: &Settings) -> Builder {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .half_close(true) // a client that has said all it wants to is still waiting for the answer
        .header_read_timeout(None) // `patience` counts, and knows an idle connection from a slow one
        .max_buf_size(settings.max_header.max(MIN_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(settings.max_header).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

async fn all_of(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// Counts a connection as open and holds its place until dropped, also when its task panics.
struct Open {
    counters: Arc<Counters>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(counters: Arc<Counters>, place: OwnedSemaphorePermit) -> Self {
        counters.open.fetch_add(1, Relaxed);
        Self { counters, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

type Builder = auto::Builder<TokioExecutor>;

/// Errors in accepting are shortages (of descriptors, of memory), which take a moment to pass.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// What clients may send ahead. Requests are small; their answers are bounded by the clients' own windows.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The least that the HTTP library accepts.
const MIN_BUFFER: usize = 8192;

#[cfg(test)]
mod tests;

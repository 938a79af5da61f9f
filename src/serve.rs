//! Accept, limit, watch, drain: the edge towards the clients.
//!
//! Takes any handler of requests; knows no routes and no bodies. HTTP/1.1, and HTTP/2 by prior knowledge. At the cap of
//! connections accepting pauses, so that the kernel's queue and not our memory holds the crowd; an error in accepting backs
//! off and ends nothing. When the drain begins, listeners close, idle connections end at once and busy ones after what is
//! under way, until the deadline ends them all.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::shutdown::Drain;
use patience::{Limits, Patience, Timed, Watched};

pub mod patience;
pub mod strict;

/// What one listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at once.
    pub max_connections: usize,
    /// Bytes of a request's head.
    pub max_header: usize,
    /// For a head, from accept or from its first byte.
    pub header_timeout: Duration,
    /// Without progress in writing.
    pub write_timeout: Duration,
    /// With nothing under way.
    pub idle_timeout: Duration,
    /// For everything under way, once the drain has begun.
    pub drain_timeout: Duration,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Every loopback address there is: 127.0.0.1, and ::1 where the machine has it.
    Localhost(u16),
    /// Exactly there.
    Socket(SocketAddr),
}

/// An address that could not be had.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// What happened on a listener's connections.
#[derive(Debug, Default)]
pub struct Counters {
    /// Open now.
    pub open: AtomicU64,
    /// Ended before a request could be read from them.
    pub refused: AtomicU64,
}

/// Who is on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// On this machine, by its address.
    pub is_loopback: bool,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything under way was finished.
    Drained,
    /// The deadline ended so many connections.
    Cut(usize),
}

/// Takes the address, or says which one could not be had.
pub fn bind(address: &Address) -> Result<Vec<TcpListener>, BindError> {
    match address {
        Address::Socket(address) => Ok(vec![listen(*address)?]),
        Address::Localhost(port) => {
            let v4 = listen((IpAddr::V4(Ipv4Addr::LOCALHOST), *port).into())?;
            let port = v4.local_addr().map_or(*port, |address| address.port());
            match listen((IpAddr::V6(Ipv6Addr::LOCALHOST), port).into()) {
                Ok(v6) => Ok(vec![v4, v6]),
                Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => Err(error),
                Err(_) => Ok(vec![v4]), // a machine, or a container, without IPv6
            }
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| BindError { address, source })
}

/// Serves until the drain is over.
pub async fn run<H, F, B>(
    listeners: Vec<TcpListener>,
    handler: H,
    settings: Settings,
    counters: Arc<Counters>,
    drain: Drain,
) -> Ended
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let loops = listeners.into_iter().map(|listener| {
        let line = Line { handler: handler.clone(), settings, counters: counters.clone(), drain: drain.clone() };
        accept(listener, line, places.clone())
    });
    let mut cut = 0;
    for mut connections in futures_util::future::join_all(loops).await {
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(settings.drain_timeout, all).await.is_err() {
            cut += connections.len();
            connections.shutdown().await;
        }
    }
    if cut == 0 { Ended::Drained } else { Ended::Cut(cut) }
}

/// What every connection of a listener gets.
#[derive(Clone)]
struct Line<H> {
    handler: H,
    settings: Settings,
    counters: Arc<Counters>,
    drain: Drain,
}

/// Accepts until the drain begins; returns the connections still open then.
async fn accept<H, F, B>(listener: TcpListener, line: Line<H>, places: Arc<Semaphore>) -> JoinSet<()>
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    let mut drain = line.drain.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let place = places.clone().acquire_owned().await.expect("never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = drain.begun() => return connections,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let line = line.clone();
                connections.spawn(async move {
                    let _place = place;
                    connection(stream, address, line).await;
                });
            }
            Err(error) => {
                tracing::warn!(error = %error.kind(), "accepting a connection failed");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

async fn connection<H, F, B>(stream: TcpStream, address: SocketAddr, line: Line<H>)
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Line { handler, settings, counters, mut drain } = line;
    let _open = Open::new(&counters);
    let _ = stream.set_nodelay(true); // a socket that cannot is still a socket
    let peer = Peer { is_loopback: address.ip().to_canonical().is_loopback() };
    let limits = Limits { header: settings.header_timeout, write: settings.write_timeout, idle: settings.idle_timeout };
    let patience = Patience::new(limits);
    let io = TokioIo::new(Timed::new(stream, patience.clone()));
    let service = service_fn(|mut request: Request<Incoming>| {
        let is_h2 = request.version() == Version::HTTP_2;
        let is_chunked = !is_h2 && request.headers().contains_key(TRANSFER_ENCODING);
        let (under_way, is_double) = patience.request(is_h2, |head| is_chunked && strict::is_doubly_framed(head));
        if is_double {
            request.extensions_mut().insert(strict::DoublyFramed);
        }
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await.map(|body| Watched::new(body, under_way))) }
    });
    let builder = builder(&settings);
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let lost = patience.lost();
    tokio::pin!(lost);
    let mut is_draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if ended.is_err() {
                    counters.refused.fetch_add(1, Relaxed);
                }
                return;
            }
            _ = &mut lost => return,
            _ = drain.begun(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .half_close(true)
        .header_read_timeout(None) // `patience` counts, and knows an idle connection from a slow one
        .max_buf_size(settings.max_header.max(MIN_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(settings.max_header).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

/// Counts a connection as open until dropped, also when its task panics.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.open.fetch_add(1, Relaxed);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

const BACKLOG: u32 = 1024;

/// Errors in accepting are shortages (of descriptors, of memory), which take a moment to pass.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// The least that the HTTP library accepts.
const MIN_BUFFER: usize = 8192;

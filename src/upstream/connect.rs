//! How a connection to the upstream comes about: name, TCP, perhaps a CONNECT through an egress proxy, TLS.
//!
//! One connector for the pool, and one bound in time over all of it. A connection knows when it was born, so that it can be
//! retired before a change of the upstream's address has gone unnoticed for long.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// Makes connections; cheap to clone.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
    proxy: Option<Uri>,
    within: Duration,
}

/// Where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Name, TCP or the proxy, or no connection in time.
    Connect,
    /// The TLS handshake.
    Tls,
}

/// When a connection was made; travels with the pool's record of it.
#[derive(Clone, Copy, Debug)]
pub struct Born(pub Instant);

/// A connection, plain or inside TLS.
pub struct Io {
    stream: Stream,
    born: Born,
}

enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connector {
    /// `tls` is needed for https only; `within` bounds name, TCP, proxy and TLS together.
    pub fn new(tls: Option<Arc<rustls::ClientConfig>>, proxy: Option<Uri>, within: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(within));
        Self { tcp, tls: tls.map(TlsConnector::from), proxy, within }
    }

    async fn connect(self, target: Uri) -> Result<Io, Failed> {
        let within = self.within;
        tokio::time::timeout(within, self.connect_unbounded(target)).await.unwrap_or(Err(Failed::Connect))
    }

    async fn connect_unbounded(mut self, target: Uri) -> Result<Io, Failed> {
        let tcp = match self.proxy {
            Some(proxy) => Tunnel::new(proxy, self.tcp).call(target.clone()).await.map_err(|_| Failed::Connect)?,
            None => self.tcp.call(target.clone()).await.map_err(|_| Failed::Connect)?,
        };
        let is_tls = target.scheme() == Some(&http::uri::Scheme::HTTPS);
        let stream = match self.tls {
            Some(tls) if is_tls => {
                let name = target.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(name).map_err(|_| Failed::Tls)?;
                let inside = tls.connect(name, tcp.into_inner()).await.map_err(|_| Failed::Tls)?;
                Stream::Tls(Box::new(TokioIo::new(inside)))
            }
            None if is_tls => return Err(Failed::Tls),
            _ => Stream::Plain(tcp),
        };
        Ok(Io { stream, born: Born(Instant::now()) })
    }
}

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Io, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Box::pin(self.clone().connect(target))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Tls => "no TLS session",
        })
    }
}

impl std::error::Error for Failed {}

// === impl Io ===

impl Connection for Io {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.born);
        let speaks_h2 = match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.inner().get_ref().1.alpn_protocol() == Some(b"h2"),
        };
        if speaks_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(plain) => Pin::new(plain).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(plain) => Pin::new(plain).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

//! Where connections come from: addresses, sockets, and TLS around them.
//!
//! Knows no HTTP. A listener hands out streams that all look alike, so that nothing behind it asks whether a client came over
//! TCP, a Unix socket or TLS; what may matter about that stands in `Peer`.
//!
//! The surprising decision: `localhost` is not looked up. It means both loopback addresses, on one port.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[cfg(target_os = "linux")]
use super::splice::Splicing;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Every loopback address there is: 127.0.0.1 and ::1, as far as the machine has them, both on this port.
    Localhost(u16),
    /// Exactly there.
    Socket(SocketAddr),
    /// A socket in the file system, for its owner and group.
    Unix(PathBuf),
}

/// An address that could not be had.
#[derive(Debug)]
pub struct BindError {
    address: String,
    source: io::Error,
}

/// A socket that listens. Dropping it closes it, and removes the file of a Unix socket.
pub struct Listener {
    socket: Socket,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
}

/// Who is on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address; none on a Unix socket.
    pub address: Option<SocketAddr>,
    /// On this machine: a loopback address, or a Unix socket.
    pub is_loopback: bool,
    /// What it says travels encrypted.
    pub is_tls: bool,
}

/// A connection just accepted.
pub(super) struct Arrival {
    pub stream: Stream,
    pub peer: Peer,
    /// The handshake that is still to be made.
    pub tls: Option<TlsAcceptor>,
}

/// Any kind of connection. A call through it costs less than the system call it leads to.
pub(super) type Stream = Box<dyn Connection>;

/// What every kind of connection can do.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {
    /// When it is closed, what was written and not taken is thrown away instead of kept in the kernel for a client that
    /// does not come for it.
    fn forget_unsent(&self);
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes its file when dropped, unless somebody has put another one in its place.
struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

/// Takes the address, or says which one could not be had. Needs a runtime around it.
pub fn bind(address: &Address) -> Result<Vec<Listener>, BindError> {
    match address {
        Address::Localhost(0) => bind_any_localhost(),
        Address::Localhost(port) => bind_localhost(*port),
        Address::Socket(address) => Ok(vec![tcp(*address)?]),
        Address::Unix(path) => Ok(vec![unix(path)?]),
    }
}

/// Any port that is free for IPv4 may be taken for IPv6; then another is tried.
fn bind_any_localhost() -> Result<Vec<Listener>, BindError> {
    let mut left = PORT_TRIES;
    loop {
        left -= 1;
        match bind_localhost(0) {
            Err(busy) if busy.source.kind() == io::ErrorKind::AddrInUse && left > 0 => {}
            bound => return bound,
        }
    }
}

fn bind_localhost(port: u16) -> Result<Vec<Listener>, BindError> {
    let v4 = unless_absent(tcp((Ipv4Addr::LOCALHOST, port).into()))?;
    let port = v4.as_ref().and_then(Listener::local_addr).map_or(port, |address| address.port());
    let v6 = tcp((Ipv6Addr::LOCALHOST, port).into());
    match v4 {
        None => Ok(vec![v6?]),
        Some(v4) => Ok(std::iter::once(v4).chain(unless_absent(v6)?).collect()),
    }
}

/// A machine, or a container, may lack one of the two families.
fn unless_absent(bound: Result<Listener, BindError>) -> Result<Option<Listener>, BindError> {
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_taken_or_forbidden(error.source.kind()) => Err(error),
        Err(_) => Ok(None),
    }
}

fn is_taken_or_forbidden(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn tcp(address: SocketAddr) -> Result<Listener, BindError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?; // or a restart waits for connections that have long ended
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let socket = listen().map_err(|source| BindError { address: address.to_string(), source })?;
    Ok(Listener { socket: Socket::Tcp(socket), tls: None })
}

fn unix(path: &Path) -> Result<Listener, BindError> {
    let listen = || {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        let file = SocketFile { path: path.to_owned(), identity: identity(path) };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(Socket::Unix(listener, file))
    };
    let socket = listen().map_err(|source| BindError { address: format!("unix:{}", path.display()), source })?;
    Ok(Listener { socket, tls: None })
}

/// A socket left behind by a process that is gone: nobody answers. Anything else in its place is not ours to remove.
fn is_stale(path: &Path) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket());
    let answer = || UnixStream::connect(path).now_or_never(); // one that listens answers at once, or is too busy to
    is_socket && matches!(answer(), Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

// === impl Listener ===

impl Listener {
    /// The same socket, with TLS on every connection. A new configuration in the swap holds from the next connection on.
    pub fn with_tls(self, config: Arc<ArcSwap<ServerConfig>>) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// Where it listens, the port it was given included; none for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Encrypted bytes are never the ones that are kept.
    fn stream(&self, stream: TcpStream) -> Stream {
        #[cfg(target_os = "linux")]
        if self.tls.is_none() {
            return Box::new(Splicing(stream));
        }
        Box::new(stream)
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        let accepted = match &self.socket {
            Socket::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, address)| {
                let _ = stream.set_nodelay(true); // a socket that cannot is still a socket
                let is_loopback = address.ip().to_canonical().is_loopback();
                (self.stream(stream), Some(address), is_loopback)
            }),
            Socket::Unix(listener, _) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (Box::new(stream) as Stream, None, true))
            }
        };
        accepted.map_ok(|(stream, address, is_loopback)| {
            let tls = self.tls.as_ref().map(|config| TlsAcceptor::from(config.load_full()));
            Arrival { stream, peer: Peer { address, is_loopback, is_tls: tls.is_some() }, tls }
        })
    }
}

/// The next connection on any of them, each asked first in turn.
pub(super) async fn accept(listeners: &[Listener], turn: &mut usize) -> io::Result<Arrival> {
    std::future::poll_fn(|cx| {
        for offset in 0..listeners.len() {
            let index = (*turn + offset) % listeners.len();
            if let Poll::Ready(accepted) = listeners[index].poll_accept(cx) {
                *turn = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match (&self.socket, self.local_addr()) {
            (Socket::Unix(_, file), _) => write!(f, "unix:{}", file.path.display()),
            (Socket::Tcp(_), Some(address)) => write!(f, "{scheme}://{address}"),
            (Socket::Tcp(_), None) => write!(f, "{scheme}"),
        }
    }
}

// === impl Connection ===

impl Connection for TcpStream {
    fn forget_unsent(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Connection for UnixStream {
    fn forget_unsent(&self) {}
}

impl Connection for TlsStream<Stream> {
    fn forget_unsent(&self) {
        self.get_ref().0.forget_unsent();
    }
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && self.identity == identity(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

// === impl BindError ===

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

const PORT_TRIES: u32 = 16;

const SOCKET_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    fn bind_one(address: Address) -> Listener {
        bind(&address).unwrap().remove(0)
    }

    #[tokio::test]
    async fn localhost_is_one_port_on_every_loopback_address_there_is() {
        let listeners = bind(&Address::Localhost(0)).unwrap();
        let addresses: Vec<_> = listeners.iter().filter_map(Listener::local_addr).collect();
        assert_eq!(addresses.len(), listeners.len());
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == addresses[0].port()));
        let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(addresses.iter().any(SocketAddr::is_ipv6), has_v6);
    }

    #[tokio::test]
    async fn a_busy_port_is_named() {
        let first = bind_one(Address::Socket("127.0.0.1:0".parse().unwrap()));
        let address = first.local_addr().unwrap();
        for wanted in [Address::Socket(address), Address::Localhost(address.port())] {
            let error = bind(&wanted).err().unwrap().to_string();
            assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_unix_socket_is_for_owner_and_group_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let listener = bind_one(Address::Unix(path.clone()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(listener.to_string(), format!("unix:{}", path.display()));
        assert_eq!(bind(&Address::Unix(path.clone())).err().unwrap().source.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the library leaves it behind");
        drop(bind_one(Address::Unix(path.clone())));
        std::fs::write(&path, "a file").unwrap();
        assert!(bind(&Address::Unix(path.clone())).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
    }

    #[tokio::test]
    async fn a_socket_put_in_its_place_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let first = bind_one(Address::Unix(path.clone()));
        let second_path = folder.path().join("second.sock");
        let second = bind_one(Address::Unix(second_path.clone()));
        std::fs::rename(&second_path, &path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }
}

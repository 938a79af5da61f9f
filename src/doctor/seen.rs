//! What was met on the way to the upstream, as far as the way went.
//!
//! No secret is in here but the body of the answer, which only `judge` reads and whose `Debug` shows its length.

use std::net::IpAddr;
use std::time::Duration;

use rustls::AlertDescription;

use crate::certificate::{Said, Timestamp};
use crate::signature::Keys;

/// Everything that the judgement rests on.
#[derive(Debug)]
pub struct Observed {
    /// What was asked, and what the configuration expects.
    pub asked: Asked,
    /// The name's addresses.
    pub dns: Dns,
    /// A connection to one of them; `None` where the way ended before.
    pub tcp: Option<Result<Connected, NoTcp>>,
    /// What the egress proxy said, if there is one.
    pub tunnel: Option<Tunnel>,
    /// The session, for https.
    pub tls: Option<Result<Session, NoTls>>,
    /// In the handshake it asked for a client certificate.
    pub wants_client: bool,
    /// The one answer.
    pub http: Option<Result<Answer, NoAnswer>>,
}

/// What was asked, and what the configuration expects.
#[derive(Debug)]
pub struct Asked {
    /// `upstream.base_url`'s host.
    pub host: String,
    /// Host and port of `upstream.proxy`.
    pub proxy: Option<(String, u16)>,
    /// `upstream.connect_timeout`
    pub connect_timeout: Duration,
    /// `upstream.request_timeout`
    pub request_timeout: Duration,
    /// `upstream.max_response`
    pub max_response: usize,
    /// `upstream.requests_per_second`
    pub requests_per_second: f64,
    /// Where the API key is kept.
    pub key_source: String,
    /// `upstream.ca_file` is set.
    pub has_ca_file: bool,
    /// When `upstream.client_cert_file` ends; `None` without one.
    pub client_not_after: Option<Timestamp>,
    /// A journey was given; otherwise a random one was asked for.
    pub is_given: bool,
    /// The public keys in force.
    pub keys: Keys,
    /// `signature.max_age`
    pub max_age: Duration,
    /// `signature.clock_skew`
    pub clock_skew: Duration,
    /// `cache.max_exposure`
    pub max_exposure: Duration,
}

/// What became of the first name on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dns {
    /// It is an address already.
    Address,
    /// So many addresses.
    Found(usize),
    /// None, or no answer from the resolver.
    NotFound,
    /// The resolver took too long.
    Late,
}

/// A TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// To here.
    pub peer: std::net::SocketAddr,
    /// From here, as this machine sees it.
    pub local: Option<IpAddr>,
    /// So many addresses were tried in vain before.
    pub in_vain: usize,
}

/// Why no address took the connection; of several, the last one's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTcp {
    /// Nobody listens, or something on the way says so.
    Refused,
    /// Nothing came back.
    Late,
    /// No way there.
    Unreachable,
    /// Anything else.
    Other(std::io::ErrorKind),
}

/// What the egress proxy said to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// The way is open.
    Open,
    /// Another status than 200.
    Refused(u16),
    /// No HTTP.
    NoHttp,
    /// It hung up.
    Closed,
    /// Nothing in time.
    Late,
}

/// A TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// 1.2 or 1.3.
    pub version: &'static str,
    /// When the upstream's own certificate ends. It ends before those above it, unless they were long replaced.
    pub not_after: Option<Timestamp>,
}

/// Why there is no TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTls {
    /// The chain ends at an authority that is not trusted.
    Untrusted,
    /// The certificate names other hosts: these, as far as they may be repeated.
    WrongName(Vec<String>),
    /// It ended then.
    Expired(Option<Timestamp>),
    /// It begins then.
    NotYetValid(Option<Timestamp>),
    /// Something else is wrong with it.
    BadCertificate,
    /// What came was no TLS.
    NotTls,
    /// No version or cipher in common.
    NothingInCommon,
    /// The other side ended it, and said why.
    Alert(AlertDescription),
    /// The other side hung up.
    Closed,
    /// Nothing in time.
    Late,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `HTTP/1.1` or `HTTP/2`
    pub version: &'static str,
    /// From the call to the end of the body.
    pub took: Duration,
    /// Our clock before the call.
    pub sent: Timestamp,
    /// Our clock when the head was there.
    pub received: Timestamp,
    /// `Date`
    pub date: Option<Timestamp>,
    /// `Age`; `Duration::MAX` if it cannot be read.
    pub age: Option<Duration>,
    /// `Retry-After`
    pub retry_after: Option<Duration>,
    /// The host of `Location`, if it may be repeated.
    pub location: Option<String>,
    /// Framed and encoded as the gateway accepts it.
    pub is_well_framed: bool,
    /// All of the body, or why not.
    pub body: Result<Said, NoBody>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// None in time.
    Late,
    /// The connection ended first; in TLS 1.3 a client certificate is refused only now.
    Closed,
    /// What came was no HTTP.
    Malformed,
}

/// Why the body is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// Longer than `upstream.max_response`.
    TooLarge,
    /// It broke off.
    Closed,
    /// Its framing breaks HTTP.
    Malformed,
    /// It did not end in time.
    Late,
}

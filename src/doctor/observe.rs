//! Goes the way to the upstream once and writes down what it met.
//!
//! Step by step where the pool's connector does it in one, because here each step has its own remedy; the bounds in time, the
//! TLS settings and the request are those of `serve`. At most one request goes out, over the connection that was looked at.
//!
//! Never: judges, prints, tries again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Scheme;
use http::{Request, Uri, Version};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::seen::{Answer, Asked, Connected, Dns, NoAnswer, NoBody, NoTcp, NoTls, Observed, Tunnel};
use crate::app::Unfit;
use crate::app::settings::Prepared;
use crate::certificate::{JourneyToken, Said, Timestamp};
use crate::clock::Clock;
use crate::config::Config;
use crate::{pem, upstream};
use tls::ClientCertificate;

mod tls;

/// Asks the upstream for this journey, or for one that nobody has.
pub async fn observe(config: &Config, journey: Option<JourneyToken>, clock: &Clock) -> Result<Observed, Unfit> {
    let prepared = Prepared::from(config)?;
    let way = prepared.way;
    let token = match journey {
        Some(token) => token,
        None => random().ok_or(Unfit::Unusable("the system's random numbers"))?,
    };
    let banned = [config.upstream.api_key.secret.expose().to_lowercase(), token.to_path()];
    let asked = Asked {
        host: host(&way.base_url).to_owned(),
        proxy: way.proxy.as_ref().map(|proxy| (host(proxy).to_owned(), proxy.port_u16().unwrap_or(80))),
        connect_timeout: way.connect_timeout,
        request_timeout: way.request_timeout,
        max_response: way.max_response,
        requests_per_second: config.upstream.requests_per_second,
        key_source: config.upstream.api_key.source.to_string(),
        has_ca_file: config.upstream.ca.is_some(),
        client_not_after: config.upstream.client_cert.as_ref().and_then(|chain| pem::not_after(&chain.bytes)),
        is_given: journey.is_some(),
        keys: prepared.keys,
        max_age: config.signature.max_age,
        clock_skew: config.signature.clock_skew,
        max_exposure: config.cache.max_exposure,
    };
    let request = request(&way.base_url, &token, prepared.api_key)?;
    let mut seen =
        Observed { asked, dns: Dns::Late, tcp: None, tunnel: None, tls: None, wants_client: false, http: None };
    let began = Instant::now();
    let (connected_by, answered_by) = (began + way.connect_timeout, began + way.request_timeout);
    let mut steps = Steps { seen: &mut seen, connected_by, answered_by, banned: &banned, clock };
    steps.go(&way, prepared.upstream_tls, request).await;
    Ok(seen)
}

struct Steps<'a> {
    seen: &'a mut Observed,
    /// As for the gateway: one bound for name, TCP, proxy and TLS together ...
    connected_by: Instant,
    /// ... and one for the whole.
    answered_by: Instant,
    /// What may be in no text that is kept for printing.
    banned: &'a [String],
    clock: &'a Clock,
}

impl Steps<'_> {
    /// One step after the other; the first that fails is the last.
    async fn go(&mut self, way: &upstream::Settings, tls: Option<Arc<ClientConfig>>, request: Request<Full<Bytes>>) {
        let target = (host(&way.base_url).to_owned(), port(&way.base_url));
        let first = self.seen.asked.proxy.clone().unwrap_or_else(|| target.clone());
        let (dns, addresses) = resolve(&first.0, first.1, self.connected_by).await;
        self.seen.dns = dns;
        if addresses.is_empty() {
            return;
        }
        let mut tcp = match connect(&addresses, self.connected_by).await {
            Ok((tcp, connected)) => {
                self.seen.tcp = Some(Ok(connected));
                tcp
            }
            Err(failed) => {
                self.seen.tcp = Some(Err(failed));
                return;
            }
        };
        if self.seen.asked.proxy.is_some() {
            let authority = format!("{}:{}", way.base_url.host().unwrap_or_default(), target.1);
            let answer = timeout_at(self.connected_by, tunnel(&mut tcp, &authority)).await.unwrap_or(Tunnel::Late);
            self.seen.tunnel = Some(answer);
            if answer != Tunnel::Open {
                return;
            }
        }
        let Some(settings) = tls else {
            return self.exchange(tcp, false, way, request).await;
        };
        let mut settings = ClientConfig::clone(&settings);
        let certificate = ClientCertificate::of(&mut settings);
        let met =
            timeout_at(self.connected_by, tls::handshake(tcp, settings, target.0)).await.unwrap_or(Err(NoTls::Late));
        self.seen.wants_client = certificate.is_wanted();
        match met {
            Ok(stream) => {
                self.seen.tls = Some(Ok(tls::session(&stream)));
                let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.exchange(stream, is_h2, way, request).await;
            }
            Err(NoTls::WrongName(names)) => {
                let names = names.iter().filter_map(|name| self.repeatable(name)).take(3).collect();
                self.seen.tls = Some(Err(NoTls::WrongName(names)));
            }
            Err(failed) => self.seen.tls = Some(Err(failed)),
        }
    }

    async fn exchange<S>(&mut self, stream: S, is_h2: bool, way: &upstream::Settings, request: Request<Full<Bytes>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let sent = self.clock.now();
        let response = match timeout_at(self.answered_by, send(stream, is_h2, request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                self.seen.http = Some(Err(no_answer(&error)));
                return;
            }
            Err(_) => {
                self.seen.http = Some(Err(NoAnswer::Late));
                return;
            }
        };
        let received = self.clock.now();
        let is_well_framed = upstream::is_well_framed(&response);
        let (head, body) = response.into_parts();
        let body = match timeout_at(self.answered_by, upstream::collect(body, way.max_response)).await {
            Ok(Ok(body)) => Ok(Said(body)),
            Ok(Err(upstream::Error::TooLarge)) => Err(NoBody::TooLarge),
            Ok(Err(upstream::Error::Malformed)) => Err(NoBody::Malformed),
            Ok(Err(_)) => Err(NoBody::Closed),
            Err(_) => Err(NoBody::Late),
        };
        let headers = &head.headers;
        let location = headers.get(header::LOCATION).and_then(|to| to.to_str().ok()?.parse::<Uri>().ok());
        self.seen.http = Some(Ok(Answer {
            status: head.status.as_u16(),
            version: if head.version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" },
            took: self.clock.now().age_of(&sent),
            sent: sent.wall(),
            received: received.wall(),
            date: date(headers),
            age: headers.contains_key(header::AGE).then(|| upstream::age(headers)),
            retry_after: upstream::retry_after(headers, system_time(received.wall())),
            location: location.as_ref().and_then(Uri::host).and_then(|host| self.repeatable(host)),
            is_well_framed,
            body,
        }));
    }

    /// The name of a host, if it looks like one and could not be anything else: who knows what somebody puts there.
    fn repeatable(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        let is_label = |label: &str| {
            let is_name = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || label == "*";
            let is_no_number = label.bytes().filter(u8::is_ascii_digit).count() <= 4;
            is_name && is_no_number && (1..=24).contains(&label.len())
        };
        let is_host = name.len() <= 80 && name.split('.').all(is_label);
        let is_clean = self.banned.iter().all(|banned| !name.contains(banned.as_str()));
        (is_host && is_clean).then_some(name)
    }
}

fn random() -> Option<JourneyToken> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    JourneyToken::parse(&uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

/// Exactly what the gateway would send.
fn request(base_url: &Uri, token: &JourneyToken, api_key: HeaderValue) -> Result<Request<Full<Bytes>>, Unfit> {
    let target = upstream::target(base_url, &upstream::certificate_path(token));
    let mut request = Request::new(Full::default());
    *request.uri_mut() = target.map_err(|_| Unfit::Unusable("upstream.base_url"))?;
    *request.headers_mut() = upstream::certificate_headers();
    upstream::sign_in(request.headers_mut(), api_key);
    Ok(request)
}

async fn resolve(host: &str, port: u16, deadline: Instant) -> (Dns, Vec<SocketAddr>) {
    if let Ok(address) = host.parse::<IpAddr>() {
        return (Dns::Address, vec![(address, port).into()]);
    }
    match timeout_at(deadline, tokio::net::lookup_host((host, port))).await {
        Err(_) => (Dns::Late, Vec::new()),
        Ok(Err(_)) => (Dns::NotFound, Vec::new()),
        Ok(Ok(found)) => {
            let addresses: Vec<_> = found.collect();
            let dns = if addresses.is_empty() { Dns::NotFound } else { Dns::Found(addresses.len()) };
            (dns, addresses)
        }
    }
}

/// The first address that takes the connection; each has its share of the time that is left.
async fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<(TcpStream, Connected), NoTcp> {
    let mut last = NoTcp::Unreachable;
    for (in_vain, peer) in addresses.iter().enumerate() {
        let share = deadline.saturating_duration_since(Instant::now()) / (addresses.len() - in_vain) as u32;
        last = match timeout(share, TcpStream::connect(peer)).await {
            Ok(Ok(tcp)) => {
                let local = tcp.local_addr().ok().map(|address| address.ip());
                return Ok((tcp, Connected { peer: *peer, local, in_vain }));
            }
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::ConnectionRefused => NoTcp::Refused,
                io::ErrorKind::TimedOut => NoTcp::Late,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => NoTcp::Unreachable,
                other => NoTcp::Other(other),
            },
            Err(_) => NoTcp::Late,
        };
    }
    Err(last)
}

/// Asks the egress proxy for a way through, as the pool's connector does, but keeps the status it gives.
async fn tunnel(tcp: &mut TcpStream, authority: &str) -> Tunnel {
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    if tcp.write_all(head.as_bytes()).await.is_err() {
        return Tunnel::Closed;
    }
    let mut answer = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        match tcp.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) if answer.is_empty() => return Tunnel::Closed,
            Err(_) => return Tunnel::NoHttp,
        }
        if answer.len() > MAX_PROXY_HEAD {
            return Tunnel::NoHttp;
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let mut words = line.split_ascii_whitespace();
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    match words.next().and_then(|status| status.parse().ok()) {
        Some(200) if is_http => Tunnel::Open,
        Some(status @ 100..=599) if is_http => Tunnel::Refused(status),
        _ => Tunnel::NoHttp,
    }
}

async fn send<S>(
    stream: S,
    is_h2: bool,
    mut request: Request<Full<Bytes>>,
) -> hyper::Result<http::Response<hyper::body::Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if is_h2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        return sender.send_request(request).await;
    }
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new().max_headers(128).handshake(io).await?;
    tokio::spawn(connection);
    // The pool would do this; a connection alone sends what it is given.
    let uri = std::mem::take(request.uri_mut());
    let name = uri.host().unwrap_or_default();
    let name = if port(&uri) == usual_port(&uri) { name.to_owned() } else { format!("{name}:{}", port(&uri)) };
    let name = HeaderValue::from_str(&name).expect("a host and a port are visible ASCII");
    request.headers_mut().insert(header::HOST, name);
    *request.uri_mut() = uri.into_parts().path_and_query.map(Uri::from).unwrap_or_default();
    sender.send_request(request).await
}

fn no_answer(error: &hyper::Error) -> NoAnswer {
    match upstream::classify_head(error) {
        upstream::Error::Malformed => NoAnswer::Malformed,
        _ => NoAnswer::Closed,
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_nanos(since.as_nanos() as i128))
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at.0.max(0) as u64)
}

fn host(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_matches(['[', ']'])
}

fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(usual_port(url))
}

fn usual_port(url: &Uri) -> u16 {
    if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 }
}

/// As much as the pool's connector reads.
const MAX_PROXY_HEAD: usize = 8192;

//! `run` from outside: real sockets on loopback, raw bytes where it matters. Time-outs are short and waits are long, so that
//! a slow machine makes these tests slow and never wrong.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::pages;
use crate::shutdown::{self, Trigger};

const SHORT: Duration = Duration::from_millis(200);
/// For a time-out that must not strike before a client has sent its first request.
const MEDIUM: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(30);

const PATIENT: Settings = Settings {
    max_connections: 64,
    max_header: 16 * 1024,
    header_timeout: LONG,
    write_timeout: LONG,
    idle_timeout: LONG,
    drain_timeout: LONG,
};

/// A server that notes what it was asked, refuses bad framing, and does what the path says.
struct Server {
    addresses: Vec<SocketAddr>,
    seen: Arc<Mutex<Vec<String>>>,
    go: Arc<Notify>,
    counters: Arc<Counters>,
    trigger: Trigger,
    serving: JoinHandle<Ended>,
}

impl Server {
    fn start(settings: Settings) -> Self {
        Self::on(bind(&Address::Socket("127.0.0.1:0".parse().unwrap())).unwrap(), settings)
    }

    fn on(listeners: Vec<Listener>, settings: Settings) -> Self {
        let addresses = listeners.iter().filter_map(Listener::local_addr).collect();
        let (trigger, drain) = shutdown::drain();
        let counters = Arc::new(Counters::default());
        let (seen, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (noted, may_go) = (seen.clone(), go.clone());
        let handler = move |request: Request<Incoming>, peer: Peer| {
            let (noted, may_go) = (noted.clone(), may_go.clone());
            async move { handle(request, peer, &noted, &may_go).await }
        };
        let serving =
            tokio::spawn(run(listeners, handler, Arc::new(ArcSwap::from_pointee(settings)), counters.clone(), drain));
        Self { addresses, seen, go, counters, trigger, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }

    fn open(&self) -> u64 {
        self.counters.open.load(Relaxed)
    }

    fn refused(&self) -> u64 {
        self.counters.refused.load(Relaxed)
    }

    async fn drained(self) -> Ended {
        self.trigger.pull();
        timeout(LONG, self.serving).await.expect("the drain ends").unwrap()
    }
}

async fn handle(
    request: Request<Incoming>,
    peer: Peer,
    seen: &Mutex<Vec<String>>,
    go: &Notify,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    seen.lock().unwrap().push(parts.uri.path().to_owned());
    let refusal =
        |status| Response::builder().status(status).header("connection", "close").body(Full::default()).unwrap();
    if strict::framing(&parts).is_err() {
        return refusal(StatusCode::BAD_REQUEST);
    }
    if body.collect().await.is_err() {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let text = match parts.uri.path() {
        "/panic" => panic!("as the request wished"),
        "/wait" => {
            go.notified().await;
            Bytes::from_static(b"waited")
        }
        "/large" => Bytes::from(vec![b'x'; LARGE]),
        "/large-kept" => pages::keep(vec![b'x'; LARGE].into()),
        path if path.starts_with("/kept/") => pages::keep(vec![path.as_bytes()[6]; KEPT].into()),
        "/peer" => Bytes::from(format!("{} {}", peer.is_loopback, peer.is_tls)),
        _ => Bytes::from_static(b"hello"),
    };
    Response::new(Full::new(text))
}

/// More than the socket buffers of both sides hold.
const LARGE: usize = 32 * 1024 * 1024;

/// More than a pipe holds, and a length that ends in the middle of a page.
const KEPT: usize = 3_000_001;

const GET: &[u8] = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n";

/// Everything until the other side hangs up, by whatever means.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut all = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut all)).await.expect("the connection ends");
    String::from_utf8_lossy(&all).into_owned()
}

/// One answer that ends in `end`, on a connection that stays open.
async fn answer_to(stream: &mut TcpStream, request: &[u8], end: &str) -> String {
    stream.write_all(request).await.unwrap();
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let read = timeout(LONG, stream.read_buf(&mut all)).await.expect("an answer").unwrap();
        assert!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(&all));
    }
    String::from_utf8(all).unwrap()
}

// === framing ===

#[tokio::test]
async fn doubtful_framing_is_refused_and_what_follows_is_never_seen() {
    let server = Server::start(PATIENT);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for fields in [
        "Content-Length: 5", // no Host
        "Host: a\r\nHost: b",
        "Host: a\r\nHost: a",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding: chunked, chunked",
        "Host: a\r\nTransfer-Encoding: deflate, chunked",
        "Host: a\r\nTransfer-Encoding: ,chunked",
        "Host: a\r\nTransfer-Encoding: chunked, deflate",
        "Host: a\r\nTransfer-Encoding: identity",
        "Host: a\r\nTransfer-Encoding: \x0bchunked",
        "Host: a\r\nTransfer-Encoding : chunked",
        "Host: a\r\nTransfer-Encoding:\r\n chunked",
        "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "Host: a\r\nContent-Length: 5\r\nContent-Length: 5",
        "Host: a\r\nContent-Length: 5\r\nContent-Length: 6",
        "Host: a\r\nContent-Length: 5, 5",
        "Host: a\r\nContent-Length: +5",
        "Host: a\r\nContent-Length: -1",
        "Host: a\r\nContent-Length: 0x5",
        "Host: a\r\nContent-Length: 99999999999999999999",
        "Host: a\r\nContent-Length : 5",
        "Host: a\r\nA: b\r\n c",
        "Host: a\r\nA: b\0c",
        "Host: a\r\nA: b\rc",
        " Host: a",
    ] {
        let mut client = server.connect().await;
        let request = format!("POST /first HTTP/1.1\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields:?} got {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{fields:?} got {answer:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut client = server.connect().await;
    client.write_all(format!("{old}{smuggled}").as_bytes()).await.unwrap();
    assert!(rest(&mut client).await.contains(" 400 "), "HTTP/1.0 has no codings");
    assert!(!server.seen().iter().any(|path| path == "/smuggled"));
}

#[tokio::test]
async fn a_chunked_request_is_read_and_is_the_last_of_its_connection() {
    let server = Server::start(PATIENT);
    let end = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (chunks, status) in [
        ("5\r\nhello\r\n0\r\n\r\n", "200"),
        ("5;name=value\r\nhello\r\n0\r\nTrailer: value\r\n\r\n", "200"),
        ("fffffffffffffffff\r\nhello\r\n0\r\n\r\n", "422"),
        ("5\r\nhello!\r\n0\r\n\r\n", "422"),
        ("-5\r\nhello\r\n0\r\n\r\n", "422"),
        ("0x5\r\nhello\r\n0\r\n\r\n", "422"),
    ] {
        let mut client = server.connect().await;
        let head = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(format!("{head}{chunks}{end}").as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{chunks:?} got {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{chunks:?} got {answer:?}");
        assert!(answer.contains("connection: close"), "{answer:?}");
    }
    assert!(!server.seen().iter().any(|path| path == "/smuggled"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(PATIENT);
    let mut client = server.connect().await;
    let one = "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let last = "GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(format!("{one}\r\n{one}{last}").as_bytes()).await.unwrap();
    assert_eq!(rest(&mut client).await.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(server.seen(), ["/one", "/one", "/two"]);
}

#[tokio::test]
async fn a_client_that_has_said_all_still_gets_its_answer() {
    let server = Server::start(PATIENT);
    let mut client = server.connect().await;
    client.write_all(GET).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(rest(&mut client).await.ends_with("hello"));
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_told_so_even_while_it_is_still_coming() {
    let server = Server::start(PATIENT);
    let (mut reading, mut writing) = server.connect().await.into_split();
    let sending = tokio::spawn(async move {
        let _ = writing.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await;
        for _ in 0..64 {
            let _ = writing.write_all(format!("A: {}\r\n", "x".repeat(1000)).as_bytes()).await;
        }
        writing
    });
    assert!(rest(&mut reading).await.starts_with("HTTP/1.1 431 "));
    drop(sending.await);
    assert!(server.seen().is_empty());
    server.until("it is counted", |server| server.refused() == 1).await;
}

// === time-outs ===

#[tokio::test]
async fn a_silent_connection_and_a_dripping_head_are_cut_off() {
    let server = Server::start(Settings { header_timeout: SHORT, ..PATIENT });
    for beginning in ["", "\r\n", "GET / HTTP/1.1\r\nHo", "PRI * HTTP/2.0\r\n"] {
        let mut client = server.connect().await;
        client.write_all(beginning.as_bytes()).await.unwrap();
        rest(&mut client).await;
    }
    server.until("all are counted", |server| server.refused() == 4 && server.open() == 0).await;
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_further_head_is_cut_off_as_well() {
    let server = Server::start(Settings { header_timeout: MEDIUM, ..PATIENT });
    let mut client = server.connect().await;
    answer_to(&mut client, GET, "hello").await;
    client.write_all(b"GET / HT").await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    server.until("it is closed", |server| server.open() == 0).await;
    assert_eq!(server.refused(), 0, "it was served once");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_time_and_not_its_own() {
    let server = Server::start(Settings { header_timeout: MEDIUM, ..PATIENT });
    let mut client = server.connect().await;
    answer_to(&mut client, GET, "hello").await;
    sleep(MEDIUM + SHORT).await;
    answer_to(&mut client, GET, "hello").await;

    let server = Server::start(Settings { idle_timeout: SHORT, ..PATIENT });
    let mut client = server.connect().await;
    answer_to(&mut client, GET, "hello").await;
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_slow_handler_is_nobodys_time_out() {
    let server =
        Server::start(Settings { header_timeout: MEDIUM, write_timeout: SHORT, idle_timeout: SHORT, ..PATIENT });
    let mut client = server.connect().await;
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    sleep(MEDIUM + SHORT).await;
    server.go.notify_one();
    assert!(rest(&mut client).await.ends_with("waited"));
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut_off() {
    for path in ["/large", "/large-kept"] {
        let server = Server::start(Settings { write_timeout: SHORT, ..PATIENT });
        let mut client = server.connect().await;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        server.until("it was asked", |server| !server.seen().is_empty()).await;
        server.until("it is closed", |server| server.open() == 0).await;
        assert!(rest(&mut client).await.len() < LARGE, "{path}: the answer is visibly cut");
    }
}

#[tokio::test]
async fn a_client_that_takes_its_time_gets_all_of_it() {
    for path in ["/large", "/large-kept"] {
        let server = Server::start(Settings { write_timeout: LONG, idle_timeout: SHORT, ..PATIENT });
        let mut client = server.connect().await;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        sleep(SHORT * 4).await; // blocked all the while, and not idle
        assert!(rest(&mut client).await.len() > LARGE, "{path}");
    }
}

// === kept pages ===

#[tokio::test]
async fn pages_under_way_are_nobody_elses_however_slowly_they_are_taken() {
    let server = Server::start(PATIENT);
    let address = server.addresses[0];
    let clients = (0..8u8).map(|number| tokio::spawn(take_slowly(address, b'a' + number, number % 3 == 2)));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert_eq!(server.drained().await, Ended::Drained);
}

/// Asks for images of one letter again and again, on one connection or, for a client that hangs up, on many. The server drops
/// each image as soon as the connection has it all, and makes the next one at once.
async fn take_slowly(address: SocketAddr, letter: u8, hangs_up: bool) {
    let request = format!("GET /kept/{} HTTP/1.1\r\nHost: a\r\n\r\n", letter as char);
    let mut client = TcpStream::connect(address).await.unwrap();
    for turn in 0..6 {
        if hangs_up {
            client = TcpStream::connect(address).await.unwrap();
        }
        client.write_all(request.as_bytes()).await.unwrap();
        let mut left = head_of(&mut client).await;
        assert_eq!(left, KEPT);
        while left > 0 && !(hangs_up && left < KEPT / 2) {
            let mut piece = vec![0; left.min(if turn % 2 == 0 { 10_000 } else { 400_000 })];
            let read = timeout(LONG, client.read(&mut piece)).await.expect("an answer").unwrap();
            assert!(read > 0 && piece[..read].iter().all(|byte| *byte == letter), "turn {turn}, {left} bytes left");
            left -= read;
            tokio::task::yield_now().await;
        }
    }
}

/// Reads a head and nothing behind it; the length of the body.
async fn head_of(client: &mut TcpStream) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, client.read_u8()).await.expect("an answer").unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap()
}

// === the cap ===

#[tokio::test]
async fn at_the_cap_accepting_pauses_and_goes_on_over_all_listeners() {
    let server = Server::on(bind(&Address::Localhost(0)).unwrap(), Settings { max_connections: 1, ..PATIENT });
    for address in &server.addresses {
        let mut first = TcpStream::connect(address).await.unwrap();
        answer_to(&mut first, GET, "hello").await;
        let mut second = TcpStream::connect(address).await.unwrap(); // in the kernel's queue
        second.write_all(b"GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        sleep(SHORT).await;
        assert_eq!((server.open(), server.seen().last().unwrap().as_str()), (1, "/one"));
        drop(first);
        assert!(rest(&mut second).await.ends_with("hello"));
    }
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_connection_only() {
    let server = Server::start(Settings { max_connections: 1, ..PATIENT });
    let mut client = server.connect().await;
    client.write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    server.until("its place is free", |server| server.open() == 0).await;
    answer_to(&mut server.connect().await, GET, "hello").await;
}

// === the end ===

#[tokio::test]
async fn the_drain_ends_idle_connections_and_waits_for_busy_ones() {
    let server = Server::start(PATIENT);
    let (mut idle, mut fresh, mut busy) = (server.connect().await, server.connect().await, server.connect().await);
    answer_to(&mut idle, GET, "hello").await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.until("the slow one is under way", |server| server.seen().contains(&"/wait".to_owned())).await;
    server.until("all are accepted", |server| server.open() == 3).await;
    server.trigger.pull();
    assert_eq!((rest(&mut idle).await, rest(&mut fresh).await), (String::new(), String::new()));
    server.until("only the busy one is open", |server| server.open() == 1).await;
    let refusing = async { while TcpStream::connect(server.addresses[0]).await.is_ok() {} };
    timeout(LONG, refusing).await.expect("nobody is accepted any more");
    assert!(!server.serving.is_finished());
    server.go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("waited"), "{answer:?}");
    assert_eq!(server.drained().await, Ended::Drained);
}

#[tokio::test]
async fn the_deadline_ends_what_does_not_end() {
    let server = Server::start(Settings { drain_timeout: SHORT, ..PATIENT });
    let mut client = server.connect().await;
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.until("it is under way", |server| !server.seen().is_empty()).await;
    let counters = server.counters.clone();
    assert_eq!(server.drained().await, Ended::Cut(1));
    assert_eq!((rest(&mut client).await, counters.open.load(Relaxed)), (String::new(), 0));
}

#[tokio::test]
async fn the_end_of_all_patience_needs_no_deadline() {
    let server = Server::start(Settings { drain_timeout: Duration::from_secs(3600), ..PATIENT });
    let mut client = server.connect().await;
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.until("it is under way", |server| !server.seen().is_empty()).await;
    server.trigger.end();
    assert_eq!(server.drained().await, Ended::Cut(1));
}

// === HTTP/2 ===

async fn h2<T>(stream: T) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(Method::GET).uri(format!("http://a{path}")).body(Empty::new()).unwrap()
}

async fn text_of(answer: hyper::Result<Response<Incoming>>) -> Bytes {
    timeout(LONG, answer.unwrap().into_body().collect()).await.unwrap().unwrap().to_bytes()
}

#[tokio::test]
async fn http2_by_prior_knowledge_serves_many_at_once_and_drains() {
    let server = Server::start(PATIENT);
    let mut client = h2(server.connect().await).await;
    let waiting = tokio::spawn(client.send_request(get("/wait")));
    server.until("it is under way", |server| !server.seen().is_empty()).await;
    assert_eq!(text_of(client.send_request(get("/one")).await).await, "hello");
    assert_eq!(text_of(client.send_request(get("/large")).await).await.len(), LARGE);
    assert!(client.send_request(get("/panic")).await.is_err());
    server.trigger.pull();
    server.go.notify_one();
    assert_eq!(text_of(waiting.await.unwrap()).await, "waited");
    assert_eq!(server.drained().await, Ended::Drained);
}

#[tokio::test]
async fn an_http2_client_that_opens_no_window_is_cut_off() {
    let server = Server::start(Settings { write_timeout: SHORT, ..PATIENT });
    let mut client = server.connect().await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    client.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0").await.unwrap(); // SETTINGS: windows of no bytes
    client.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a").await.unwrap(); // HEADERS: GET / of a
    server.until("it was asked", |server| !server.seen().is_empty()).await;
    rest(&mut client).await;
    server.until("it is closed", |server| server.open() == 0).await;
}

#[tokio::test]
async fn an_idle_http2_connection_ends_too() {
    let server = Server::start(Settings { idle_timeout: SHORT, ..PATIENT });
    let mut client = h2(server.connect().await).await;
    assert_eq!(text_of(client.send_request(get("/one")).await).await, "hello");
    server.until("it is closed", |server| server.open() == 0).await;
    assert!(client.send_request(get("/one")).await.is_err());
}

#[tokio::test]
async fn an_http2_head_beyond_the_limit_is_told_so() {
    let server = Server::start(PATIENT);
    let mut client = h2(server.connect().await).await;
    let mut request = get("/one");
    request.headers_mut().insert("a", "x".repeat(20 * 1024).parse().unwrap());
    // The library of the client may see by the server's settings that there is no point in asking.
    if let Ok(answer) = client.send_request(request).await {
        assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    assert!(server.seen().is_empty());
}

// === other sockets ===

#[tokio::test]
async fn a_unix_socket_serves_local_peers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let server = Server::on(bind(&Address::Unix(path.clone())).unwrap(), PATIENT);
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut client).await.ends_with("true false"));
    assert_eq!(server.drained().await, Ended::Drained);
    assert!(!path.exists());
}

fn tls() -> (Arc<ArcSwap<rustls::ServerConfig>>, tokio_rustls::TlsConnector) {
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    (Arc::new(ArcSwap::from_pointee(server)), Arc::new(client).into())
}

#[tokio::test]
async fn tls_speaks_http2_by_alpn_and_its_handshake_is_under_the_head_time() {
    let (config, connector) = tls();
    let listeners = bind(&Address::Socket("127.0.0.1:0".parse().unwrap())).unwrap();
    let listeners = listeners.into_iter().map(|listener| listener.with_tls(config.clone())).collect();
    let server = Server::on(listeners, Settings { header_timeout: MEDIUM, ..PATIENT });
    let stream = connector.connect("localhost".try_into().unwrap(), server.connect().await).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = h2(stream).await;
    assert_eq!(text_of(client.send_request(get("/peer")).await).await, "true true");
    assert_eq!(text_of(client.send_request(get("/large")).await).await.len(), LARGE);

    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    let mut plain = server.connect().await;
    plain.write_all(GET).await.unwrap();
    assert!(!rest(&mut plain).await.contains("HTTP"));
    server.until("both are counted", |server| server.refused() == 2).await;
    drop(client);
    assert_eq!(server.drained().await, Ended::Drained);
}

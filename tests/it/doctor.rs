//! `doctor` from outside: the real binary against upstreams with one fault each.
//!
//! Every upstream here says the key, the journey, the person and the image wherever it can, and every run is searched for them.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use otk_gateway::certificate::{JourneyToken, Timestamp};
use otk_gateway::clock::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

use crate::commands::{binary, minimal};
use crate::support::Files;
use crate::support::authority::{API_KEY, JPEG, answer, http, http_with, secure, sign};
use crate::support::certificates::{Authority, Pair, acceptor};

const TOKEN: &str = "c0ffee00-cafe-4bad-8bad-feedfacef00d";
const PERSON: &str = "918273645";

/// What the upstream says where there is nothing to say: everything that must not be repeated.
fn chatter() -> Value {
    json!({
        "success": false, "data": null, "signature": "", "meta": { "timestamp": TOKEN },
        "message": format!("{API_KEY} {TOKEN} {PERSON} {}", BASE64_STANDARD.encode(JPEG)),
        "errors": [{ "code": "UAEKYC-ERR-JOURNEY-002", "type": "JOURNEY", "message": PERSON }],
    })
}

fn page() -> String {
    format!("<html><body>{API_KEY} {TOKEN} {PERSON} {}</body></html>", BASE64_STANDARD.encode(JPEG))
}

// === upstreams ===

/// An upstream on loopback; remembers the heads of the requests that reach it, and how often somebody connected.
struct Stub {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    heads: Vec<String>,
}

impl Stub {
    /// Answers every connection's one request with these bytes and closes it.
    async fn answering(says: impl Into<Vec<u8>>) -> Self {
        Self::start(None, says.into()).await
    }

    /// The same inside TLS.
    async fn inside(tls: TlsAcceptor) -> Self {
        Self::start(Some(tls), http(404, &chatter().to_string()).into()).await
    }

    async fn start(tls: Option<TlsAcceptor>, says: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stub = Self { port: listener.local_addr().expect("bound").port(), seen: Arc::default() };
        let seen = stub.seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.lock().expect("no panic").connections += 1;
                match &tls {
                    None => exchange(stream, &says, &seen).await,
                    Some(tls) => match tls.accept(stream).into_fallible().await {
                        Ok(stream) => exchange(stream, &says, &seen).await,
                        Err((_, mut stream)) => drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await),
                    },
                }
            }
        });
        stub
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// By the name that certificates are for.
    fn secure_url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// One connection was made, and so many requests came over it.
    fn met_once(&self, requests: usize) -> bool {
        let seen = self.seen.lock().expect("no panic");
        (seen.connections, seen.heads.len()) == (1, requests)
    }

    fn head(&self) -> String {
        self.seen.lock().expect("no panic").heads.concat().to_lowercase()
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, says: &[u8], seen: &Mutex<Seen>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    seen.lock().expect("no panic").heads.push(String::from_utf8_lossy(&head).into_owned());
    let _ = stream.write_all(says).await;
    let _ = stream.shutdown().await;
}

// === runs ===

/// What one run told.
struct Told {
    code: Option<i32>,
    /// Its lines, with single spaces.
    lines: Vec<String>,
    /// All that was printed.
    all: String,
}

/// Runs `doctor` against this upstream; whatever comes of it, no secret is told.
async fn examine(url: &str, more: &str, journey: bool) -> Told {
    let files = Files::new();
    let config = minimal(&files, url, more);
    let mut doctor = binary();
    doctor.arg("doctor").arg("--config").arg(config).stdin(Stdio::null());
    if journey {
        doctor.args(["--journey", TOKEN]);
    }
    let output = tokio::task::spawn_blocking(move || doctor.output().expect("it runs")).await.expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    let (all, base64) = (format!("{out}{err}").to_lowercase(), BASE64_STANDARD.encode(JPEG));
    for secret in [API_KEY, TOKEN, &TOKEN.replace('-', ""), "feedface", PERSON, &base64[..12], "etag-of-the-test"] {
        assert!(!all.contains(&secret.to_lowercase()), "{secret} in {all}");
    }
    let lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    Told { code: output.status.code(), lines, all }
}

impl Told {
    /// Every line begins one of those told; nothing else is wrong; what is wrong has a remedy, and the exit code says so.
    fn says(&self, wanted: &[&str]) {
        let all = self.lines.join("\n");
        for wanted in wanted {
            assert!(self.lines.iter().any(|line| line.starts_with(wanted)), "{wanted:?} in\n{all}");
        }
        let is_ill = |line: &str| line.starts_with("problem ") || line.starts_with("warning ");
        let found = self.lines.iter().filter(|line| is_ill(line)).count();
        assert_eq!(found, wanted.iter().filter(|line| is_ill(line)).count(), "\n{all}");
        for (line, next) in self.lines.iter().zip(&self.lines[1..]) {
            assert!(!is_ill(line) || next.starts_with("do: "), "no remedy for {line:?} in\n{all}");
        }
        let problems = wanted.iter().filter(|line| line.starts_with("problem ")).count();
        assert_eq!(self.code, Some(i32::from(problems > 0)), "\n{all}");
        let last = if problems == 0 { "no problem found".to_owned() } else { format!("{problems} problem") };
        assert!(self.lines.last().is_some_and(|line| line.starts_with(&last)), "\n{all}");
    }
}

fn now_plus(seconds: i64) -> Timestamp {
    Timestamp(Clock::system().now().wall().0 + seconds * 1_000_000_000)
}

/// A header `Date` that is off by so much.
fn date(seconds: i64) -> String {
    let off = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    format!("date: {}\r\n", httpdate::fmt_http_date(if seconds < 0 { now - off } else { now + off }))
}

// === the way there ===

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    // Longer than a resolver tries where there is no network.
    let told = examine("https://nowhere.invalid", "upstream.connect_timeout = \"10m\"", false).await;
    told.says(&[
        "ok config",
        "note probe",
        "problem dns nowhere.invalid does not resolve",
        "do: check the host in upstream.base_url",
    ]);
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let bound = TcpSocket::new_v4().expect("a socket");
    bound.bind("127.0.0.1:0".parse().expect("an address")).expect("a port"); // taken, so that nobody else listens there
    let url = format!("http://{}", bound.local_addr().expect("bound"));
    let told = examine(&url, "", false).await;
    told.says(&["ok dns 127.0.0.1 is an address already", "problem tcp the upstream refuses the connection"]);
    let told = examine("https://otk.example.ae", &format!("upstream.proxy = \"{url}\""), false).await;
    told.says(&["problem tcp the egress proxy refuses the connection", "do: check the port in upstream.proxy"]);
}

#[tokio::test]
async fn a_listener_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    let told = examine(&format!("https://{address}"), "upstream.connect_timeout = \"300ms\"", false).await;
    told.says(&["ok tcp", "problem tls no handshake within 300ms (upstream.connect_timeout)"]);
    let told = examine(&format!("http://{address}"), "upstream.request_timeout = \"300ms\"", false).await;
    told.says(&["ok tcp", "problem http no answer within 300ms (upstream.request_timeout)"]);
    let proxy = format!("upstream.proxy = \"http://{address}\"\nupstream.connect_timeout = \"300ms\"");
    let told = examine("https://otk.example.ae", &proxy, false).await;
    told.says(&["ok tcp", "problem proxy the egress proxy does not answer CONNECT in time"]);
}

#[tokio::test]
async fn an_upstream_that_hangs_up_or_speaks_something_else() {
    for (says, wanted) in [
        ("", "problem http the connection is closed before an answer"),
        ("SSH-2.0-of-the-test\r\n", "problem http what answers does not speak HTTP"),
        ("HTTP/1.1 404 X\r\ncontent-length: 99\r\n\r\n{}", "problem http the body breaks off"),
        ("HTTP/1.1 404 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "problem http the body's framing breaks HTTP"),
    ] {
        let upstream = Stub::answering(says).await;
        examine(&upstream.url(), "", false).await.says(&["ok tcp", wanted]);
        assert!(upstream.met_once(1), "{wanted}");
    }
    let upstream = Stub::answering(http(404, &format!("\"{}\"", "x".repeat(2000)))).await;
    let told = examine(&upstream.url(), "upstream.max_response = \"1KiB\"", false).await;
    told.says(&["problem http the body is longer than 1024 bytes (upstream.max_response)"]);
}

#[tokio::test]
async fn an_egress_proxy_that_refuses() {
    for (says, wanted) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "problem proxy the egress proxy refuses CONNECT (403)"),
        ("HTTP/1.1 407 X\r\nproxy-authenticate: Basic\r\n\r\n", "problem proxy the egress proxy wants a user name"),
        ("SSH-2.0-of-the-test\r\n\r\n", "problem proxy what answers at upstream.proxy is no HTTP proxy"),
        ("", "problem proxy the egress proxy hangs up on CONNECT"),
    ] {
        let proxy = Stub::answering(says).await;
        let more = format!("upstream.proxy = \"{}\"", proxy.url());
        let told = examine("https://otk.example.ae", &more, true).await;
        told.says(&["ok tcp the egress proxy listens", wanted]);
        assert!(proxy.met_once(1), "{wanted}");
        let head = proxy.head();
        assert!(head.starts_with("connect otk.example.ae:443 http/1.1") && !head.contains(API_KEY), "{head}");
    }
}

#[tokio::test]
async fn an_egress_proxy_that_lets_us_through() {
    let upstream = Stub::answering(http(404, &chatter().to_string())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let more = format!("upstream.proxy = \"http://{}\"", listener.local_addr().expect("bound"));
    let port = upstream.port;
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut head = [0; 4096];
        assert!(client.read(&mut head).await.expect("a head") > 0);
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the upstream");
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.expect("written");
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let told = examine(&upstream.url(), &more, false).await;
    told.says(&["ok proxy the egress proxy lets us through", "ok key the upstream accepts it"]);
    assert!(upstream.met_once(1));
}

// === TLS ===

/// The lines of configuration that trust this authority and show this certificate.
fn trusting(files: &Files, authority: &Authority, own: Option<&Pair>) -> String {
    let mut lines = format!("upstream.ca_file = \"{}\"\n", files.write("ca", &authority.pem).display());
    if let Some((chain, key)) = own {
        let (chain, key) = (files.write("chain", chain), files.write("own", key));
        let (chain, key) = (chain.display(), key.display());
        lines += &format!("upstream.client_cert_file = \"{chain}\"\nupstream.client_key_file = \"{key}\"\n");
    }
    lines
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted() {
    let (authority, files) = (Authority::new(), Files::new());
    let (trusted, another) = (trusting(&files, &authority, None), Files::new());
    let another = trusting(&another, &Authority::new(), None);
    let table = [
        ("localhost", 2000..2200, &trusted, "ok tls TLS 1.3, the chain is trusted until 2200-01-01", ""),
        ("localhost", 2000..2200, &String::new(), "problem tls the chain ends at an authority", "do: if the issuer"),
        ("localhost", 2000..2200, &another, "problem tls the chain ends at an authority", "do: put the issuer"),
        (
            "other.example.ae",
            2000..2200,
            &trusted,
            "problem tls the certificate is not for localhost but for other.",
            "",
        ),
        (TOKEN, 2000..2200, &trusted, "problem tls the certificate is not for localhost but for other names", ""),
        ("localhost", 2000..2001, &trusted, "problem tls a certificate of the chain expired on 2001-01-01", ""),
        (
            "localhost",
            2199..2200,
            &trusted,
            "problem tls a certificate of the chain is not valid yet; it begins on",
            "",
        ),
    ];
    for (name, years, more, wanted, remedy) in table {
        let upstream = Stub::inside(acceptor(&authority.issue_for(name, years), None, &[])).await;
        let told = examine(&upstream.secure_url(), more, false).await;
        told.says(&["ok tcp", wanted, remedy]);
        assert!(upstream.met_once(usize::from(wanted.starts_with("ok"))), "{wanted}");
    }
}

#[tokio::test]
async fn what_listens_speaks_no_tls() {
    // It takes the greeting for a request that has no end, so it answers at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(http(400, "plain HTTP").as_bytes()).await.expect("written");
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let told = examine(&format!("https://localhost:{port}"), "", false).await;
    told.says(&["problem tls what answers does not speak TLS", "do: check the port in upstream.base_url"]);
}

#[tokio::test]
async fn an_upstream_that_wants_to_know_who_we_are() {
    let (authority, files) = (Authority::new(), Files::new());
    let (ours, theirs) = (authority.issue("client"), Authority::new().issue("client"));
    let expired = authority.issue_for("client", 2000..2001);
    let ended = "problem tls the upstream asked for our client certificate and then ended the connection";
    let table: [(_, &[&str]); 3] = [
        (None, &["problem tls the upstream wants a client certificate, and none is configured"]),
        (Some(&theirs), &[ended]),
        (Some(&expired), &["problem client our client certificate expired on 2001-01-01", ended]),
    ];
    for alpn in ["http/1.1", "h2"] {
        let tls = acceptor(&authority.issue("localhost"), Some(&authority), &[alpn]);
        for (own, wanted) in &table {
            let upstream = Stub::inside(tls.clone()).await;
            let told = examine(&upstream.secure_url(), &trusting(&files, &authority, *own), false).await;
            told.says(wanted);
            assert!(upstream.met_once(0), "{alpn} {wanted:?}");
        }
        let (port, mut asks) = secure(tls, 404, chatter().to_string()).await;
        let more = trusting(&files, &authority, Some(&ours));
        examine(&format!("https://localhost:{port}"), &more, false).await.says(&["ok http", "ok key"]);
        assert_eq!((asks.try_recv(), asks.try_recv().is_err()), (Ok(alpn), true));
    }
}

// === the answer ===

#[tokio::test]
async fn what_the_status_says_about_key_address_and_rate() {
    let (json, html) = (chatter().to_string(), page());
    let code = |code: &str| chatter().to_string().replace("UAEKYC-ERR-JOURNEY-002", code);
    let service = "content-type: application/json\r\n";
    let elsewhere = |host: &str| format!("location: https://{host}/login?{TOKEN}\r\n");
    let table: Vec<(u16, String, String, &[&str])> = vec![
        (
            404,
            service.into(),
            json.clone(),
            &["note probe asks for a random journey", "ok key the upstream accepts it"],
        ),
        (401, service.into(), json.clone(), &["problem key the upstream rejects the API key (401)", "do: check that"]),
        (
            403,
            String::new(),
            html.clone(),
            &["problem address 403 that comes with an HTML page: a firewall", "do: have"],
        ),
        (403, String::new(), String::new(), &["problem address 403 that comes without a body: a firewall"]),
        (403, service.into(), json.clone(), &["problem key 403 with JSON, code UAEKYC-ERR-JOURNEY-002", "do: ask the"]),
        (403, service.into(), code(TOKEN), &["problem key 403 with JSON: the service itself refuses"]),
        (403, service.into(), code(API_KEY), &["problem key 403 with JSON: the service itself refuses"]),
        (
            429,
            "retry-after: 37\r\n".into(),
            json.clone(),
            &["problem rate the upstream's rate limit is used up (429); it asks to wait 37 s"],
        ),
        (400, service.into(), json.clone(), &["warning key whether it is accepted cannot be told from a 400"]),
        (
            404,
            String::new(),
            html.clone(),
            &["problem http the 404 comes with an HTML page, so it is hardly the service"],
        ),
        (500, service.into(), json.clone(), &["problem http HTTP/1.1 500 after"]),
        (503, "retry-after: 9\r\n".into(), json.clone(), &["problem http HTTP/1.1 503 after"]),
        (301, elsewhere("other.example.ae"), String::new(), &["problem http HTTP/1.1 301 after"]),
        (302, elsewhere(&format!("{TOKEN}.example.ae")), String::new(), &["problem http HTTP/1.1 302 after"]),
        (302, elsewhere(&format!("person-{PERSON}.example.ae")), String::new(), &["problem http HTTP/1.1 302 after"]),
        (304, String::new(), String::new(), &["problem http HTTP/1.1 304 after"]),
        (200, String::new(), html.clone(), &["problem key 200 for a journey that nobody has"]),
        (
            404,
            format!("{service}content-encoding: gzip\r\n"),
            json.clone(),
            &["problem http the gateway refuses how it is framed or encoded", "ok key"],
        ),
    ];
    for (status, head, body, wanted) in table {
        let upstream = Stub::answering(http_with(status, &format!("server: {API_KEY}\r\n{head}"), &body)).await;
        let told = examine(&upstream.url(), "", false).await;
        told.says(wanted);
        assert_eq!(
            told.lines.iter().any(|line| line.contains(" to other.example.ae,")),
            status == 301,
            "{:?}",
            told.lines
        );
        assert!(upstream.met_once(1), "{status}");
    }
}

#[tokio::test]
async fn clocks_that_differ_and_caches_on_the_way() {
    for (head, wanted, direction) in [
        (date(0), "ok clock agrees with the upstream's", ""),
        (String::new(), "note clock the upstream sends no Date", ""),
        (date(30), "warning clock the upstream's clock is", " ahead of ours"),
        (date(90), "problem clock the upstream's clock is", " ahead of ours, more than signature.clock_skew (1m)"),
        (date(-30), "warning clock the upstream's clock is", " behind ours"),
        (date(-90), "problem clock the upstream's clock is", " behind ours, more than signature.clock_skew (1m)"),
    ] {
        let upstream = Stub::answering(http_with(404, &head, &chatter().to_string())).await;
        let told = examine(&upstream.url(), "", false).await;
        told.says(&[wanted, "ok key"]);
        assert!(
            told.lines.iter().any(|line| line.starts_with(wanted) && line.ends_with(direction)),
            "{:?}",
            told.lines
        );
        assert!(upstream.met_once(1), "{wanted}");
    }
    for (age, wanted) in [
        ("0", "warning cache a cache is on the way (Age: 0)"),
        ("5", "warning cache a cache on the way says it held the answer for 5 s"),
        (
            "30",
            "problem cache a cache on the way says it held the answer for 30 s, though the call forbids it; cache.max",
        ),
        ("soon", "problem cache a cache on the way sends an Age that cannot be read"),
    ] {
        let upstream = Stub::answering(http_with(404, &format!("age: {age}\r\n"), &chatter().to_string())).await;
        examine(&upstream.url(), "", false).await.says(&["ok key", wanted]);
        assert!(upstream.met_once(1), "{wanted}");
    }
    // A stored answer keeps the Date it was made with, so that is no difference of clocks.
    let upstream = Stub::answering(http_with(404, &(date(-90) + "age: 90\r\n"), &chatter().to_string())).await;
    let told = examine(&upstream.url(), "cache.max_exposure = \"1h\"", false).await;
    told.says(&[
        "ok clock agrees with the upstream's",
        "warning cache a cache on the way says it held the answer for 90 s",
    ]);
}

// === a journey ===

/// An answer about a person who must not be named, signed now.
fn about(code: &str) -> Value {
    let mut about = answer(code, &now_plus(0).to_rfc3339());
    about["data"]["uaekyc_id"] = PERSON.parse::<i64>().expect("a number").into();
    about["data"]["expires_on"] = "2199-01-01T00:00:00Z".into();
    about
}

fn with(code: &str, pointer: &str, value: Value) -> Value {
    let mut changed = about(code);
    *changed.pointer_mut(pointer).expect("it is there") = value;
    changed
}

#[tokio::test]
async fn what_a_journey_tells_about_signature_time_and_status() {
    let signed_at = |seconds| with("ACTIVE", "/meta/timestamp", now_plus(seconds).to_rfc3339().into());
    let (active, revoked) = (sign(about("ACTIVE")), sign(about("REVOKED")));
    let mut unsigned = about("ACTIVE");
    unsigned["signature"] = "".into();
    let mut numbered = about("ACTIVE");
    numbered["signature"] = 1.into();
    let imaged = with("REVOKED", "/data/certificate_base64", about("ACTIVE")["data"]["certificate_base64"].clone());
    let table: Vec<(u16, String, &[&str])> = vec![
        (
            200,
            active.clone(),
            &["ok key", "ok signed valid, under key", "ok time signed", "ok status ACTIVE, with an image"],
        ),
        (200, revoked, &["ok signed valid", "ok time signed", "ok status REVOKED, no image"]),
        (200, sign(imaged), &["ok signed valid", "warning status REVOKED, yet with an image"]),
        (200, active.replace("ACTIVE", "active"), &["problem signed the signature verifies under none", "do: compare"]),
        (200, unsigned.to_string(), &["problem signed the answer carries no signature"]),
        (200, numbered.to_string(), &["problem signed the member \"signature\" is no string"]),
        (200, sign(signed_at(-3600)), &["ok signed valid", "problem time signed 36", "ok status ACTIVE"]),
        (200, sign(signed_at(3600)), &["ok signed valid", "problem time signed 3", "ok status ACTIVE"]),
        (
            200,
            sign(with("ACTIVE", "/meta/timestamp", TOKEN.into())),
            &["ok signed valid", "problem time meta.timestamp is"],
        ),
        (
            200,
            sign(with("ACTIVE", "/data/expires_on", "2020-01-01T00:00:00Z".into())),
            &["ok signed valid", "warning status ACTIVE, but expires_on is past"],
        ),
        (200, sign(with("ACTIVE", "/success", false.into())), &["ok signed valid", "problem status genuine, but"]),
        (
            200,
            sign(with("ACTIVE", "/data/certificate_etag", Value::Null)),
            &["ok signed valid", "problem status genuine, but"],
        ),
        (
            200,
            sign(with("ACTIVE", "/data/active_status/code", PERSON.into())),
            &["ok signed valid", "problem status genuine, but"],
        ),
        (200, sign(with("REVOKED", "/success", false.into())), &["ok signed valid", "warning status no certificate"]),
        (201, active.clone(), &["ok signed valid", "problem status a certificate with 201 instead of 200"]),
        (200, page(), &["problem signed the answer is not one JSON object"]),
        (404, chatter().to_string(), &["ok key", "problem journey the upstream does not know the journey given (404)"]),
    ];
    for (status, body, wanted) in table {
        let upstream = Stub::answering(http(status, &body)).await;
        let told = examine(&upstream.url(), "", true).await;
        told.says(wanted);
        assert!(!told.lines.iter().any(|line| line.starts_with("note probe")), "{:?}", told.lines);
        assert!(upstream.met_once(1), "{wanted:?}");
    }
}

#[tokio::test]
async fn the_call_is_the_one_that_serve_makes() {
    let upstream = Stub::answering(http(404, &chatter().to_string())).await;
    examine(&format!("{}/prefix/", upstream.url()), "", true).await;
    let head = upstream.head();
    assert!(head.starts_with(&format!("get /prefix/otk-service/v1/certificates/{TOKEN} http/1.1\r\n")), "{head}");
    for line in [
        format!("host: 127.0.0.1:{}", upstream.port),
        format!("x-transaction-key: {API_KEY}"),
        "accept: application/json".to_owned(),
        "content-type: application/json".to_owned(),
        "accept-encoding: identity".to_owned(),
        "cache-control: no-cache".to_owned(),
        "via: 1.1 otk-gateway".to_owned(),
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
}

#[tokio::test]
async fn two_runs_without_a_journey_ask_for_two_that_nobody_has() {
    let upstream = Stub::answering(http(404, &chatter().to_string())).await;
    let mut paths = Vec::new();
    for _ in 0..2 {
        let told = examine(&upstream.url(), "", false).await;
        let heads = std::mem::take(&mut upstream.seen.lock().expect("no panic").heads);
        let path = heads[0].split_whitespace().nth(1).expect("a path").to_owned();
        let token = path.rsplit('/').next().expect("a token");
        assert!(JourneyToken::parse(token).is_some() && !told.all.contains(token), "{path} {}", told.all);
        paths.push(path);
    }
    assert_ne!(paths[0], paths[1]);
}

#[test]
fn misuse_is_told_without_a_call_and_without_the_value() {
    let files = Files::new();
    let config = minimal(&files, "http://127.0.0.1:9", "");
    let broken = files.write("broken.toml", "upstream.api_key = \"canary-1\"\n");
    let almost = TOKEN.replace("4bad", "1bad");
    for (config, more) in [
        (&config, &["--journey", almost.as_str()][..]),
        (&config, &["--journey", API_KEY]),
        (&files.path("nowhere.toml"), &[]),
        (&broken, &[]),
    ] {
        let output = binary().arg("doctor").arg("--config").arg(config).args(more).output().expect("it runs");
        let err = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), output.stdout.is_empty(), err.is_empty()), (Some(2), true, false), "{err}");
        assert!(!err.contains(&almost) && !err.contains(API_KEY) && !err.contains("canary"), "{err}");
    }
    assert_eq!(binary().arg("doctor").output().expect("it runs").status.code(), Some(2));
}

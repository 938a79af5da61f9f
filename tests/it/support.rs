//! What the tests start, and how they ask.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use otk_gateway::app::App;
use otk_gateway::certificate::Timestamp;
use otk_gateway::clock::Clock;
use otk_gateway::config::{self, Surroundings};
use otk_gateway::sandbox::{Sandbox, Settings};
use otk_gateway::{serve, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

pub mod authority;
pub mod certificates;

/// A directory of the test's own.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        path
    }
}

/// A gateway that serves until it is dropped.
pub struct Gateway {
    pub data: SocketAddr,
    pub admin: SocketAddr,
    pub clock: Arc<Clock>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<serve::Ended>>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Starts a gateway for this upstream, with the authority's public key and these further lines of configuration.
pub async fn gateway(upstream: &str, public_key: &str, more: &str) -> Gateway {
    gateway_at(upstream, public_key, more, clock()).await
}

pub async fn gateway_at(upstream: &str, public_key: &str, more: &str, clock: Arc<Clock>) -> Gateway {
    let text = configuration(upstream, public_key, more);
    let surroundings = Surroundings::new([("KEY", authority::API_KEY)], |path| std::fs::read(path));
    let loaded = config::parse(&text, &surroundings).unwrap_or_else(|refused| panic!("{refused:?}"));
    let app = App::new(&loaded.config, clock.clone(), None, None).expect("addresses are free");
    let (data, admin) = (app.data_addresses()[0], app.admin_addresses()[0]);
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stopped = Some(stopped);
    let asked = async move || match stopped.take() {
        Some(stopped) => drop(stopped.await),
        None => std::future::pending().await,
    };
    let ended = tokio::spawn(app.run(asked));
    Gateway { data, admin, clock, stop: Some(stop), ended: Some(ended) }
}

/// A gateway of this configuration that serves until the handle is dropped; for listeners without a port.
pub fn started(text: &str) -> Running {
    let surroundings = Surroundings::new([("KEY", authority::API_KEY)], |path| std::fs::read(path));
    let loaded = config::parse(text, &surroundings).unwrap_or_else(|refused| panic!("{refused:?}"));
    let app = App::new(&loaded.config, clock(), None, None).expect("addresses are free");
    Running(tokio::spawn(async move {
        app.run(std::future::pending).await;
    }))
}

pub struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The configuration of a test: `more` may open sections again by dotted keys at the top.
pub fn configuration(upstream: &str, public_key: &str, more: &str) -> String {
    format!(
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\nupstream.base_url = \"{upstream}\"\n\
         upstream.api_key_env = \"KEY\"\nsignature.public_keys = [\"{public_key}\"]\n{more}\n"
    )
}

/// A clock that stands at a made-up noon.
pub fn clock() -> Arc<Clock> {
    Arc::new(Clock::by_hand(Timestamp::parse("2025-05-13T12:00:00Z").expect("a time")))
}

impl Gateway {
    /// One request to the data listener.
    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[]).await
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        ask(self.data, method, path, headers, "").await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        ask(self.data, method, path, headers, body).await
    }

    pub async fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        ask(self.admin, method, path, &[], body).await
    }

    /// The value of one series.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = self.admin("GET", "/metrics", "").await.text();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no series {series}")).parse().expect("a number")
    }

    /// Lets time pass for the rules.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Begins the drain.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> serve::Ended {
        self.ended.take().expect("asked once").await.expect("no panic")
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of an error of ours, without its prefix; its other shapes are asserted on the way.
    pub fn code(&self) -> String {
        let body = self.json();
        assert_eq!(
            (body["success"].as_bool(), &body["data"], body["signature"].as_str()),
            (Some(false), &serde_json::Value::Null, Some(""))
        );
        assert_eq!(body["errors"][0]["type"], "GATEWAY");
        assert!(body["meta"]["timestamp"].is_string() && body["meta"]["request_id"].is_string());
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("cache-control"), "no-store");
        let code =
            body["errors"][0]["code"].as_str().expect("a code").strip_prefix("OTK-GATEWAY-").expect("ours").to_owned();
        assert!(
            self.header("proxy-status").ends_with(&format!("details=\"{}\"", code.to_lowercase())),
            "{:?}",
            self.headers
        );
        code
    }

    /// Nothing in it could be an image.
    pub fn holds_no_image(&self) -> bool {
        let text = self.text();
        !text.contains("data:image")
            && !text.contains("/9j/")
            && !self.body.windows(3).any(|bytes| bytes == [0xff, 0xd8, 0xff])
    }
}

pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let stream = TcpStream::connect(address).await.expect("listening");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    connection.abort();
    Reply { status: head.status.as_u16(), headers: head.headers, body }
}

/// Sends bytes as they are and returns all that comes until the other side closes, or nothing more for a while.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    let _ = stream.write_all(bytes).await; // the other side may have closed in the middle
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A sandbox upstream that lives by the clock of the test.
pub struct Played {
    pub sandbox: Arc<Sandbox>,
    pub url: String,
}

impl Played {
    pub fn key(&self) -> String {
        self.sandbox.public_key()
    }

    /// Changes a journey as an operator of the authority would.
    pub async fn change(&self, token: &str, act: &str) {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/sandbox/journeys/{token}/{act}"))
            .body(())
            .expect("a request");
        assert_eq!(self.sandbox.clone().answer(request).await.status(), 200);
    }
}

pub async fn play(clock: &Arc<Clock>) -> Played {
    let by = clock.clone();
    let now = Arc::new(move || -> SystemTime { UNIX_EPOCH + Duration::from_nanos(by.now().wall().0 as u64) });
    let sandbox = Sandbox::new(Settings { api_key: None, now, slow: Duration::from_millis(1500) });
    let anywhere = serve::Address::Socket("127.0.0.1:0".parse().expect("an address"));
    let listeners = serve::bind(&anywhere).expect("a port");
    let url = format!("http://{}", listeners[0].local_addr().expect("bound"));
    let service = sandbox.clone();
    let settings = serve::Settings {
        max_connections: 64,
        max_header: 65536,
        header_timeout: Duration::from_secs(60),
        write_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(1),
    };
    let (trigger, drain) = shutdown::drain();
    std::mem::forget(trigger); // it serves until the test's runtime ends
    tokio::spawn(serve::run(
        listeners,
        move |request, _| service.clone().answer(request),
        Arc::new(arc_swap::ArcSwap::from_pointee(settings)),
        Arc::default(),
        drain,
    ));
    Played { sandbox, url }
}

pub fn token(number: u8) -> String {
    otk_gateway::sandbox::token(number)
}

/// The path of one of the sandbox's journeys.
pub fn path(number: u8) -> String {
    format!("/otk-service/v1/certificates/{}", token(number))
}

pub fn image_path(number: u8) -> String {
    format!("{}/image", path(number))
}

/// Waits for something that happens soon but not at once; fails after ten seconds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

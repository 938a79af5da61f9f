//! Any bytes from a client, over a real connection to the real listener, HTTP face and hub; only the authority is a script.
//!
//! The first byte says in what pieces the bytes arrive. Whatever they are: nothing panics, nothing hangs, no answer is INTERNAL,
//! what comes back is whole HTTP or nothing, no request is found where a naive reader finds none, and an image leaves only for
//! a request that a naive reading of the contract lets have it.

#![no_main]

#[path = "request/authority.rs"]
mod authority;
#[path = "request/contract.rs"]
mod contract;

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use libfuzzer_sys::fuzz_target;
use otk_gateway::audit::Audit;
use otk_gateway::budget::{self, Budget};
use otk_gateway::cache::{self, Cache};
use otk_gateway::certificate::Timestamp;
use otk_gateway::clock::Clock;
use otk_gateway::gateway::{self, Gateway};
use otk_gateway::metrics::Metrics;
use otk_gateway::proxy::gate::{Gate, Host, Origin};
use otk_gateway::proxy::passthrough::Mode;
use otk_gateway::proxy::pattern::Pattern;
use otk_gateway::proxy::{self, Proxy, route};
use otk_gateway::release::Rules;
use otk_gateway::serve::{self, Address, Counters, Peer};
use otk_gateway::shutdown;
use otk_gateway::signature::Keys;
use otk_gateway::telemetry::{Pseudonyms, RequestIds};
use otk_gateway::upstream::{self, Upstream};
use otk_gateway_fuzz::curve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use authority::Script;

fuzz_target!(|input: &[u8]| {
    let Some((pieces, bytes)) = input.split_first() else { return };
    let world = &*WORLD;
    world.seen.lock().expect("no panic").clear();
    let said = world.runtime.block_on(world.converse(bytes, usize::from(*pieces)));
    let seen = std::mem::take(&mut *world.seen.lock().expect("no panic"));
    contract::hold(bytes, &seen, &said);
});

/// A request that was read, and what it was answered.
pub struct Seen {
    parts: Parts,
    status: u16,
}

struct World {
    runtime: Runtime,
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    counters: Arc<Counters>,
    _running: shutdown::Trigger,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let socket = std::env::temp_dir().join(format!("otk-gateway-fuzz-{}.sock", std::process::id()));
        let (running, drain) = shutdown::drain();
        let (seen, counters) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Counters::default()));
        runtime.block_on(async {
            let listeners = serve::bind(&Address::Unix(socket.clone())).expect("a socket");
            let settings = Arc::new(ArcSwap::from_pointee(SERVE));
            let proxy = Arc::new(proxy(&authority::start()));
            let noted = seen.clone();
            let answer = move |request: Request<Incoming>, peer: Peer| {
                let (proxy, noted) = (proxy.clone(), noted.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let copy = parts.clone();
                    let response = proxy.answer(Request::from_parts(parts, body), peer).await;
                    noted.lock().expect("no panic").push(Seen { parts: copy, status: response.status().as_u16() });
                    response
                }
            };
            tokio::spawn(serve::run(listeners, answer, settings, counters.clone(), drain));
        });
        Self { runtime, socket, seen, counters, _running: running }
    }

    /// All that a client gets for these bytes until the connection ends, which it must.
    async fn converse(&self, bytes: &[u8], pieces: usize) -> Vec<u8> {
        let exchange = async {
            let stream = UnixStream::connect(&self.socket).await.expect("it listens");
            let (mut from, mut to) = stream.into_split();
            let speak = async {
                for piece in bytes.chunks(if pieces == 0 { usize::MAX } else { pieces }) {
                    if to.write_all(piece).await.is_err() {
                        break; // the other side may close in the middle
                    }
                    tokio::task::yield_now().await;
                }
                let _ = to.shutdown().await;
                drop(to);
            };
            let mut said = Vec::new();
            let hear = async {
                let _ = from.read_to_end(&mut said).await; // an end by reset is an end
            };
            tokio::join!(speak, hear);
            while self.counters.open.load(Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
            said
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("the connection ends")
    }
}

fn proxy(base_url: &str) -> Proxy {
    let clock = Arc::new(Clock::by_hand(Timestamp::parse(authority::NOON).expect("a time")));
    let metrics = Arc::new(Metrics::new());
    let budget = Budget::new(budget::Settings {
        requests_per_second: 100_000.0,
        queue_timeout: Duration::ZERO,
        max_concurrent: 64,
        circuit: budget::circuit::Settings { failures: 1000, open: Duration::from_millis(1) },
    });
    let way = upstream::Settings {
        base_url: base_url.parse().expect("a URL"),
        connect_timeout: PATIENCE,
        request_timeout: PATIENCE,
        retries: 0,
        pool_idle_timeout: PATIENCE,
        connection_max_age: PATIENCE,
        max_response: 1 << 16,
        proxy: None,
    };
    let api_key = HeaderValue::from_static(authority::API_KEY);
    let upstream = Upstream::new(way, None, api_key, Arc::new(budget), clock.clone(), metrics.clone());
    let second = Duration::from_secs(1);
    let settings = gateway::Settings {
        rules: Rules {
            max_age: 120 * second,
            clock_skew: 60 * second,
            max_exposure: 30 * second,
            withheld_ttl: 300 * second,
        },
        not_found_ttl: 5 * second,
        refresh_ahead: true,
    };
    let keys = Keys::parse([curve::public_key()]).expect("a key");
    let cache = Cache::new(cache::Settings { image_capacity: 1 << 20, max_journeys: 1000 });
    let audit = Arc::new(Audit::off());
    let script = Arc::new(Script::new(clock.clone()));
    let gateway = Gateway::new(settings, keys, cache, script, clock.clone(), metrics.clone(), audit.clone());
    let rooms = proxy::Rooms {
        gateway,
        upstream,
        clock,
        metrics,
        pseudonyms: Pseudonyms::of_this_run().expect("random numbers"),
        request_ids: Arc::new(RequestIds::of_this_run()),
        audit,
        client: Arc::default(),
        traces: None,
    };
    let listed = |method, path| route::Listed { method, pattern: Pattern::parse(path).expect("a pattern") };
    let rules = route::Rules {
        gate: Gate::new(
            ["localhost", "127.0.0.1", "[::1]"].map(|host| Host::parse(host).expect("a host")),
            [Origin::parse("https://app.example").expect("an origin")],
        ),
        passthrough: vec![
            listed(Method::POST, "/otk-service/v2/create-journey"),
            listed(Method::GET, "/otk-service/v2/journey-details/{journeyToken}"),
            listed(Method::PUT, "/otk-service/v2/{name}/plain"),
        ],
    };
    let settings = proxy::Settings {
        rules,
        modes: vec![Mode::Observe, Mode::Observe, Mode::Off],
        max_requests: 64,
        max_request: 1 << 16,
        body_timeout: PATIENCE,
    };
    Proxy::new(settings, rooms)
}

const SERVE: serve::Settings = serve::Settings {
    max_connections: 16,
    max_header: 16 << 10,
    header_timeout: PATIENCE,
    write_timeout: PATIENCE,
    idle_timeout: PATIENCE,
    drain_timeout: PATIENCE,
};

/// For anything at all. All of it happens in one thread and in memory, where a thousandth of this is long.
const PATIENCE: Duration = Duration::from_secs(5);

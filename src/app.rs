//! Builds the rooms from the configuration, runs them, and waits for the end.
//!
//! The only place that knows every room, and the only one that translates a `Config` into each room's own settings.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::body::Incoming;

use crate::admin::{self, Admin, Operations, Readiness};
use crate::audit::{self, Audit, Names};
use crate::budget::Budget;
use crate::cache::{self, Cache};
use crate::clock::Clock;
use crate::config::{Config, Kept, OnFailure};
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::proxy::bearer::Bearer;
use crate::proxy::{self, Proxy};
use crate::serve::{self, BindError, Counters, Ended, Listener, Peer};
use crate::shutdown;
use crate::telemetry::{Logs, Pseudonyms, RequestIds};
use crate::trace::export::Exporter;
use crate::upstream::{Upstream, tls};
use live::Live;
use settings::Prepared;

pub use live::Load;

mod live;
pub(crate) mod settings;

/// A gateway with its listeners bound, not serving yet.
pub struct App {
    data: Vec<Listener>,
    operators: Vec<Listener>,
    proxy: Arc<Proxy>,
    admin: Arc<Admin>,
    live: Arc<Live>,
    audit: Arc<Audit>,
    traces: Option<Exporter>,
    serve: Arc<ArcSwap<serve::Settings>>,
    drain_delay: Duration,
}

/// Why a gateway cannot start.
#[derive(Debug)]
pub enum Unfit {
    /// An address could not be had.
    Bind(BindError),
    /// The record cannot be kept.
    Audit(audit::Unusable),
    /// A part of the configuration that was accepted is of no use after all.
    Unusable(&'static str),
}

impl App {
    /// Builds everything and takes the addresses. `load` reads the configuration again when that is asked for.
    pub fn new(config: &Config, clock: Arc<Clock>, logs: Option<Arc<Logs>>, load: Option<Load>) -> Result<Self, Unfit> {
        let prepared = Prepared::from(config)?;
        let metrics = Arc::new(Metrics::new());
        let budget = Arc::new(Budget::new(prepared.budget));
        let upstream = Upstream::new(
            prepared.way,
            prepared.upstream_tls,
            prepared.api_key,
            budget,
            clock.clone(),
            metrics.clone(),
        );
        let cache = Cache::new(cache::Settings {
            image_capacity: config.cache.image_capacity,
            max_journeys: config.cache.max_journeys,
        });
        let authority = Arc::new(upstream.clone());
        let mut data = serve::bind(&settings::address(&config.listen.address)).map_err(Unfit::Bind)?;
        let operators = serve::bind(&settings::address(&config.admin.address)).map_err(Unfit::Bind)?;
        let audit = Arc::new(record(config, &clock)?);
        let gateway = Gateway::new(
            prepared.gateway,
            prepared.keys,
            cache,
            authority,
            clock.clone(),
            metrics.clone(),
            audit.clone(),
        );
        let request_ids = Arc::new(RequestIds::of_this_run());
        let pseudonyms = Pseudonyms::of_this_run().map_err(|_| Unfit::Unusable(RANDOM))?;
        let (client, operator) = (bearer(&config.listen.client_token)?, bearer(&config.admin.token)?);
        let traces = exporter(config)?;
        let proxy = Arc::new(Proxy::new(
            prepared.proxy,
            proxy::Rooms {
                gateway: gateway.clone(),
                upstream: upstream.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                pseudonyms: pseudonyms.clone(),
                request_ids: request_ids.clone(),
                audit: audit.clone(),
                client: client.clone(),
                traces: traces.clone(),
            },
        ));
        let admin_gate = Arc::new(ArcSwap::from_pointee(prepared.admin_gate));
        let serve = Arc::new(ArcSwap::from_pointee(prepared.serve));
        let server_tls = prepared.server_tls.map(|tls| Arc::new(ArcSwap::new(tls)));
        let rooms = live::Rooms {
            gateway: gateway.clone(),
            upstream: upstream.clone(),
            proxy: proxy.clone(),
            client,
            operator: operator.clone(),
            admin_gate: admin_gate.clone(),
            serve: serve.clone(),
            server_tls: server_tls.clone(),
            tls_ends: ArcSwap::from_pointee(settings::tls_ends(config)),
            logs: logs.clone(),
            audit: audit.clone(),
        };
        let live = Arc::new(Live::new(config, rooms, load));
        let counters = || Arc::new(Counters::default());
        let rooms = admin::Rooms {
            gateway,
            upstream,
            metrics,
            pseudonyms,
            request_ids,
            clock,
            data: counters(),
            admin: counters(),
            logs,
            audit: audit.clone(),
            traces: traces.clone(),
            operations: live.clone(),
        };
        let ready = Readiness::default();
        let admin = Admin { ready, rooms, gate: admin_gate, token: operator, started: Instant::now() };
        if let Some(tls) = server_tls {
            data = data.into_iter().map(|listener| listener.with_tls(tls.clone())).collect();
        }
        Ok(Self {
            data,
            operators,
            audit,
            traces,
            proxy,
            admin: Arc::new(admin),
            live,
            serve,
            drain_delay: config.listen.drain_delay,
        })
    }

    /// Where applications connect.
    pub fn data_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.data)
    }

    /// Where operators connect.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.operators)
    }

    /// Every address of both, as people write it.
    pub fn listening(&self) -> (String, String) {
        let name =
            |listener: &Listener| listener.local_addr().map_or_else(|| listener.to_string(), |at| at.to_string());
        let join = |listeners: &[Listener]| listeners.iter().map(name).collect::<Vec<_>>().join(", ");
        (join(&self.data), join(&self.operators))
    }

    /// What operators may ask for beside HTTP.
    pub fn operations(&self) -> Arc<dyn Operations> {
        self.live.clone()
    }

    /// Serves until `asked` to end, then turns unready, waits the drain's delay, and ends what is under way under its
    /// deadline; asked once more, it ends at once.
    ///
    /// The admin listener outlives the data listener, so that the drain can be watched.
    pub async fn run(self, asked: impl AsyncFnMut()) -> Ended {
        let Self { data, operators, proxy, admin, live, audit, traces, serve: settings, drain_delay } = self;
        let (stop_data, data_drain) = shutdown::drain();
        let (stop_operators, operators_drain) = shutdown::drain();
        let telling = tell_in_time(proxy.clone(), data_drain.clone(), settings.clone());
        let answer = move |request: http::Request<Incoming>, peer: Peer| proxy.clone().answer(request, peer);
        let data = serve::run(data, answer, settings.clone(), admin.rooms.data.clone(), data_drain);
        let operator = admin.clone();
        let answer = move |request: http::Request<Incoming>, peer: Peer| {
            let admin = operator.clone();
            async move { admin.answer(request, peer).await }
        };
        let operators = serve::run(operators, answer, settings, admin.rooms.admin.clone(), operators_drain);
        let (data, operators) = (tokio::spawn(data), tokio::spawn(operators));

        admin.ready.serving();
        let ended = async {
            let ended = data.await.unwrap_or(Ended::Cut(0));
            stop_operators.pull();
            let _ = operators.await; // operators' connections hold nobody's request
            ended
        };
        let ending = async {
            shutdown::in_order(asked, drain_delay, || admin.ready.draining(), &stop_data).await;
            stop_operators.end();
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = ended => ended,
            () = ending => Ended::Cut(0),
            () = watch(live) => Ended::Cut(0),
            () = telling => Ended::Cut(0),
        };
        let _ = tokio::task::spawn_blocking(move || audit.close()).await;
        if let Some(traces) = traces {
            traces.flush().await;
        }
        ended
    }
}

/// Tells those who still wait for the upstream when the drain's deadline is near, so that they get an answer and no cut
/// connection. Does not return.
async fn tell_in_time(proxy: Arc<Proxy>, mut drain: shutdown::Drain, settings: Arc<ArcSwap<serve::Settings>>) {
    drain.begun().await;
    let timeout = settings.load().drain_timeout;
    tokio::time::sleep(timeout - (timeout / 4).min(TELL_BEFORE)).await;
    proxy.close();
    std::future::pending().await
}

/// The record, if one is kept.
fn record(config: &Config, clock: &Arc<Clock>) -> Result<Audit, Unfit> {
    let Some(file) = &config.audit.file else { return Ok(Audit::off()) };
    let settings = audit::Settings {
        file: audit::path_here(file),
        refuse: config.audit.on_failure == OnFailure::Refuse,
        rotate_size: config.audit.rotate_size,
    };
    let names = match &config.audit.pseudonym_key {
        Some(kept) => Names::under(kept.secret.expose()),
        None => Names::of_this_run().map_err(|_| Unfit::Unusable(RANDOM))?,
    };
    Audit::open(&settings, names, clock.clone()).map_err(Unfit::Audit)
}

/// Spans to the collector, if there is one.
fn exporter(config: &Config) -> Result<Option<Exporter>, Unfit> {
    let Some(endpoint) = &config.telemetry.otlp_endpoint else { return Ok(None) };
    let is_tls = endpoint.scheme() == Some(&http::uri::Scheme::HTTPS);
    let tls = is_tls.then(|| tls::config(&tls::Material::default())).transpose();
    Ok(Some(Exporter::start(endpoint, tls.map_err(|_| Unfit::Unusable("telemetry.otlp_endpoint"))?)))
}

/// Looks at the secrets' files for as long as the gateway runs; files may be slow, so not on the threads that serve.
async fn watch(live: Arc<Live>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let live = live.clone();
        let _ = tokio::task::spawn_blocking(move || live.look()).await;
    }
}

fn bearer(token: &Option<Kept>) -> Result<Arc<Bearer>, Unfit> {
    let bearer = Arc::new(Bearer::default());
    expect(&bearer, token.as_ref().map(|kept| kept.secret.expose()))?;
    Ok(bearer)
}

fn expect(bearer: &Bearer, token: Option<&str>) -> Result<(), Unfit> {
    bearer.expect(token).map_err(|_| Unfit::Unusable(RANDOM))
}

fn addresses(listeners: &[Listener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(Listener::local_addr).collect()
}

// === impl Unfit ===

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Audit(unusable) => unusable.fmt(f),
            Self::Unusable(what) => write!(f, "{what} cannot be used"),
        }
    }
}

impl std::error::Error for Unfit {}

/// A change is seen at the second look after it, so within two of these.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Enough for an error to be written and taken.
const TELL_BEFORE: Duration = Duration::from_millis(500);

const RANDOM: &str = "the system's random numbers";

//! Builds the rooms from the configuration, runs them, and waits for the end.
//!
//! The only place that knows every room, and the only one that translates a `Config` into each room's own settings.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderValue;
use hyper::body::Incoming;

use crate::admin::{Admin, Readiness, Rooms};
use crate::budget::{self, Budget};
use crate::cache::{self, Cache};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::gateway::{self, Gateway};
use crate::metrics::Metrics;
use crate::proxy::gate::{Gate, Host, Origin};
use crate::proxy::pattern::Pattern;
use crate::proxy::{self, Proxy, passthrough, route};
use crate::release::Rules;
use crate::serve::{self, BindError, Counters, Ended, Listener, Peer};
use crate::shutdown;
use crate::signature::Keys;
use crate::telemetry::{Logs, Pseudonyms};
use crate::upstream::{self, Upstream, tls};

/// A gateway with its listeners bound, not serving yet.
pub struct App {
    data: Vec<Listener>,
    operators: Vec<Listener>,
    proxy: Arc<Proxy>,
    admin: Arc<Admin>,
    listen: config::Listen,
}

/// Why a gateway cannot start.
#[derive(Debug)]
pub enum Unfit {
    /// An address could not be had.
    Bind(BindError),
    /// A part of the configuration that was accepted is of no use after all.
    Unusable(&'static str),
}

impl App {
    /// Builds everything and takes the addresses.
    pub fn new(config: &Config, clock: Arc<Clock>, logs: Option<Arc<Logs>>) -> Result<Self, Unfit> {
        let metrics = Arc::new(Metrics::new());
        let upstream = upstream(config, &clock, &metrics)?;
        let keys = Keys::parse(config.signature.public_keys.iter().chain(&config.signature.file_keys));
        let keys = keys.map_err(|_| Unfit::Unusable("signature.public_keys"))?;
        let cache = Cache::new(cache::Settings {
            image_capacity: config.cache.image_capacity,
            max_journeys: config.cache.max_journeys,
        });
        let authority = Arc::new(upstream.clone());
        let gateway = Gateway::new(gateway_settings(config), keys, cache, authority, clock.clone(), metrics.clone());
        let pseudonyms = Pseudonyms::of_this_run().map_err(|_| Unfit::Unusable("the system's random numbers"))?;
        let settings = proxy_settings(config)?;
        let gate = ArcSwap::from_pointee(admin_gate(config));
        let proxy =
            Proxy::new(settings, gateway.clone(), upstream.clone(), clock.clone(), metrics.clone(), pseudonyms.clone());
        let counters = || Arc::new(Counters::default());
        let rooms = Rooms { gateway, upstream, metrics, pseudonyms, clock, data: counters(), admin: counters(), logs };
        let admin = Admin { ready: Readiness::default(), rooms, gate, started: Instant::now() };
        Ok(Self {
            data: serve::bind(&address(&config.listen.address)?).map_err(Unfit::Bind)?,
            operators: serve::bind(&address(&config.admin.address)?).map_err(Unfit::Bind)?,
            proxy: Arc::new(proxy),
            admin: Arc::new(admin),
            listen: config.listen.clone(),
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

    /// Serves until `asked` to end, then turns unready, waits the drain's delay, and ends what is under way under its
    /// deadline; asked once more, it ends at once.
    ///
    /// The admin listener outlives the data listener, so that the drain can be watched.
    pub async fn run(self, asked: impl AsyncFnMut()) -> Ended {
        let Self { data, operators, proxy, admin, listen } = self;
        let (stop_data, data_drain) = shutdown::drain();
        let (stop_operators, operators_drain) = shutdown::drain();
        let settings = serve_settings(&listen);
        let answer = move |request: http::Request<Incoming>, _: Peer| {
            let proxy = proxy.clone();
            async move { proxy.answer(request).await }
        };
        let data = serve::run(data, answer, settings, admin.rooms.data.clone(), data_drain);
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
            shutdown::in_order(asked, listen.drain_delay, || admin.ready.draining(), &stop_data).await;
            stop_operators.end();
            std::future::pending().await
        };
        tokio::select! {
            ended = ended => ended,
            () = ending => Ended::Cut(0),
        }
    }
}

fn addresses(listeners: &[Listener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(Listener::local_addr).collect()
}

// === from the configuration to each room's settings ===

fn address(address: &config::Address) -> Result<serve::Address, Unfit> {
    match address {
        config::Address::Localhost(port) => Ok(serve::Address::Localhost(*port)),
        config::Address::Ip(address) => Ok(serve::Address::Socket(*address)),
        config::Address::Unix(_) => Err(Unfit::Unusable("listen.address")),
    }
}

fn serve_settings(listen: &config::Listen) -> serve::Settings {
    serve::Settings {
        max_connections: listen.max_connections,
        max_header: listen.max_header,
        header_timeout: listen.header_timeout,
        write_timeout: listen.write_timeout,
        idle_timeout: listen.idle_timeout,
        drain_timeout: listen.drain_timeout,
    }
}

fn upstream(config: &Config, clock: &Arc<Clock>, metrics: &Arc<Metrics>) -> Result<Upstream, Unfit> {
    let from = &config.upstream;
    let settings = upstream::Settings {
        base_url: from.base_url.clone(),
        connect_timeout: from.connect_timeout,
        request_timeout: from.request_timeout,
        retries: from.retries,
        pool_idle_timeout: from.pool_idle_timeout,
        connection_max_age: from.connection_max_age,
        max_response: from.max_response,
        proxy: from.proxy.clone(),
    };
    let budget = Budget::new(budget::Settings {
        requests_per_second: from.requests_per_second,
        queue_timeout: from.queue_timeout,
        max_concurrent: from.max_concurrent,
    });
    let is_tls = from.base_url.scheme() == Some(&http::uri::Scheme::HTTPS);
    let tls = if is_tls { Some(tls_config(from)?) } else { None };
    let api_key = HeaderValue::from_str(from.api_key.secret.expose()).map_err(|_| Unfit::Unusable("the API key"))?;
    Ok(Upstream::new(settings, tls, api_key, Arc::new(budget), clock.clone(), metrics.clone()))
}

fn tls_config(from: &config::Upstream) -> Result<Arc<rustls::ClientConfig>, Unfit> {
    let client = from.client_cert.as_ref().zip(from.client_key.as_ref());
    let material = tls::Material {
        ca: from.ca.as_ref().map(|pem| pem.bytes.clone()),
        client: client.map(|(chain, key)| (chain.bytes.clone(), key.bytes.clone())),
    };
    tls::config(&material).map_err(|unusable| {
        Unfit::Unusable(match unusable {
            tls::Unusable::Ca => "upstream.ca_file",
            tls::Unusable::Client => "upstream.client_cert_file and client_key_file",
        })
    })
}

fn gateway_settings(config: &Config) -> gateway::Settings {
    gateway::Settings {
        rules: Rules {
            max_age: config.signature.max_age,
            clock_skew: config.signature.clock_skew,
            max_exposure: config.cache.max_exposure,
            withheld_ttl: config.cache.withheld_ttl,
        },
        not_found_ttl: config.cache.not_found_ttl,
        refresh_ahead: config.cache.refresh_ahead,
    }
}

fn proxy_settings(config: &Config) -> Result<proxy::Settings, Unfit> {
    let gate = gate(&config.listen.hosts(), &config.listen.allowed_origins);
    let listed = config.passthrough.iter().map(|entry| {
        let pattern = Pattern::parse(&entry.path).map_err(|_| Unfit::Unusable("passthrough.path"))?;
        Ok(route::Listed { method: entry.method.clone(), pattern })
    });
    let modes = config.passthrough.iter().map(|entry| match entry.signature {
        config::SignatureMode::Off => passthrough::Mode::Off,
        config::SignatureMode::Observe => passthrough::Mode::Observe,
        config::SignatureMode::Enforce => passthrough::Mode::Enforce,
    });
    Ok(proxy::Settings {
        rules: route::Rules { gate, passthrough: listed.collect::<Result<_, _>>()? },
        modes: modes.collect(),
        max_requests: config.listen.max_requests,
        max_request: config.listen.max_request,
        body_timeout: config.listen.write_timeout,
    })
}

fn gate(hosts: &[String], origins: &[String]) -> Gate {
    let hosts = hosts.iter().filter_map(|host| Host::parse(host));
    Gate::new(hosts, origins.iter().filter_map(|origin| Origin::parse(origin)))
}

/// The admin listener knows the data listener's hosts and its own.
fn admin_gate(config: &Config) -> Gate {
    let mut hosts = config.listen.hosts();
    hosts.extend(config.admin.address.host());
    gate(&hosts, &[])
}

// === impl Unfit ===

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Unusable(what) => write!(f, "{what} cannot be used"),
        }
    }
}

impl std::error::Error for Unfit {}

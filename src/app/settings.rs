//! From the configuration to each room's own settings.
//!
//! Everything that can be refused is refused here, before anything is put into force.

use std::sync::Arc;

use http::HeaderValue;
use rustls::{ClientConfig, ServerConfig};

use super::Unfit;
use crate::certificate::Timestamp;
use crate::config::{self, Config, ServerTls};
use crate::proxy::gate::{Gate, Host, Origin};
use crate::proxy::pattern::Pattern;
use crate::proxy::{self, passthrough, route};
use crate::release::Rules;
use crate::signature::Keys;
use crate::upstream::tls;
use crate::{budget, gateway, pem, serve, upstream};

/// All of a configuration, as the rooms take it.
pub struct Prepared {
    pub keys: Keys,
    pub gateway: gateway::Settings,
    pub proxy: proxy::Settings,
    pub admin_gate: Gate,
    pub budget: budget::Settings,
    pub way: upstream::Settings,
    pub upstream_tls: Option<Arc<ClientConfig>>,
    pub api_key: HeaderValue,
    pub serve: serve::Settings,
    pub server_tls: Option<Arc<ServerConfig>>,
}

impl Prepared {
    pub fn from(config: &Config) -> Result<Self, Unfit> {
        let keys = config.signature.public_keys.iter().chain(&config.signature.file_keys);
        let server_tls = config.listen.tls.as_ref().map(ServerTls::config).transpose();
        Ok(Self {
            keys: Keys::parse(keys).map_err(|_| Unfit::Unusable("signature.public_keys"))?,
            gateway: gateway(config),
            proxy: proxy(config)?,
            admin_gate: admin_gate(config),
            budget: budget(&config.upstream),
            way: way(&config.upstream),
            upstream_tls: upstream_tls(&config.upstream)?,
            api_key: api_key(&config.upstream.api_key.secret)?,
            serve: serve(&config.listen),
            server_tls: server_tls.map_err(|_| Unfit::Unusable("listen.tls_cert_file"))?,
        })
    }
}

pub fn address(address: &config::Address) -> serve::Address {
    match address {
        config::Address::Localhost(port) => serve::Address::Localhost(*port),
        config::Address::Ip(address) => serve::Address::Socket(*address),
        config::Address::Unix(path) => serve::Address::Unix(path.clone()),
    }
}

pub fn api_key(secret: &config::Secret) -> Result<HeaderValue, Unfit> {
    HeaderValue::from_str(secret.expose()).map_err(|_| Unfit::Unusable("the API key"))
}

pub fn way(from: &config::Upstream) -> upstream::Settings {
    upstream::Settings {
        base_url: from.base_url.clone(),
        connect_timeout: from.connect_timeout,
        request_timeout: from.request_timeout,
        retries: from.retries,
        pool_idle_timeout: from.pool_idle_timeout,
        connection_max_age: from.connection_max_age,
        max_response: from.max_response,
        proxy: from.proxy.clone(),
    }
}

/// TLS for an upstream that has it.
pub fn upstream_tls(from: &config::Upstream) -> Result<Option<Arc<ClientConfig>>, Unfit> {
    if from.base_url.scheme() != Some(&http::uri::Scheme::HTTPS) {
        return Ok(None);
    }
    let client = from.client_cert.as_ref().zip(from.client_key.as_ref());
    let material = tls::Material {
        ca: from.ca.as_ref().map(|pem| pem.bytes.clone()),
        client: client.map(|(chain, key)| (chain.bytes.clone(), key.bytes.clone())),
    };
    tls::config(&material).map(Some).map_err(|unusable| {
        Unfit::Unusable(match unusable {
            tls::Unusable::Ca => "upstream.ca_file",
            tls::Unusable::Client => "upstream.client_cert_file and client_key_file",
        })
    })
}

/// When the certificates end that we show ourselves, by role.
pub fn tls_ends(config: &Config) -> Vec<(&'static str, Timestamp)> {
    let listen = config.listen.tls.as_ref().map(|tls| ("listen", &tls.chain));
    let client = config.upstream.client_cert.as_ref().map(|chain| ("upstream_client", chain));
    [listen, client]
        .into_iter()
        .flatten()
        .filter_map(|(role, chain)| Some((role, pem::not_after(&chain.bytes)?)))
        .collect()
}

fn serve(listen: &config::Listen) -> serve::Settings {
    serve::Settings {
        max_connections: listen.max_connections,
        max_header: listen.max_header,
        header_timeout: listen.header_timeout,
        write_timeout: listen.write_timeout,
        idle_timeout: listen.idle_timeout,
        drain_timeout: listen.drain_timeout,
    }
}

fn budget(from: &config::Upstream) -> budget::Settings {
    budget::Settings {
        requests_per_second: from.requests_per_second,
        queue_timeout: from.queue_timeout,
        max_concurrent: from.max_concurrent,
        circuit: budget::circuit::Settings { failures: from.circuit_failures, open: from.circuit_open },
    }
}

fn gateway(config: &Config) -> gateway::Settings {
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

fn proxy(config: &Config) -> Result<proxy::Settings, Unfit> {
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

//! What is legal and probably not meant.
//!
//! Never: refuses. Each warning names what it costs, so that who decides otherwise knows what was decided.

use std::time::Duration;

use super::complaint::{Place, Warning};
use super::environment::Surroundings;
use super::settings::Settings;
use super::units::show_duration;
use super::{Config, address, pattern, public_key};

/// Longer than this, and an image may be shown for a disquieting while after its revocation, or a restart, or a replay.
const LOOSE: &[(&str, Duration, &str)] = &[
    ("cache.max_exposure", minutes(5), "an image may be released for that long after its revocation"),
    ("cache.withheld_ttl", minutes(60), "a certificate that is active again stays withheld for that long"),
    ("cache.not_found_ttl", minutes(5), "a journey that exists by then is not found for that long"),
    ("signature.max_age", minutes(10), "a recorded answer can be replayed for that long"),
    ("signature.clock_skew", minutes(5), "a replayed answer counts as new for that much longer"),
];

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// What upstream allows to all gateways together.
const UPSTREAM_RATE: f64 = 25.0;

/// What Kubernetes waits, unless told otherwise, between SIGTERM and SIGKILL.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Everything to think about.
pub fn all(config: &Config, settings: &Settings, routes: &[Settings], surroundings: &Surroundings) -> Vec<Warning> {
    let mut warnings = Vec::new();
    warnings.extend(loose(settings));
    warnings.extend(related(config).into_iter().map(|(path, text)| Warning::new(path, settings.place(path), text)));
    warnings.extend(routes.iter().filter_map(customer_details));
    warnings.extend(proxies(surroundings));
    warnings.extend(memory(config, surroundings));
    warnings
}

/// The bytes that the process may come to need: the images it holds, every call under way with its answer and the image in
/// it (base64 is a third larger than what it holds), 400 bytes of marks per journey, and 20 MB for everything else:
///
/// `image_capacity + max_concurrent * (max_response + max_response * 3 / 4) + max_journeys * 400 + 20 000 000`
pub fn memory_needed(config: &Config) -> u64 {
    let answer = config.upstream.max_response as u64;
    let calls = (config.upstream.max_concurrent as u64).saturating_mul(answer + answer / 4 * 3);
    let marks = (config.cache.max_journeys as u64).saturating_mul(400);
    config.cache.image_capacity.saturating_add(calls).saturating_add(marks).saturating_add(20_000_000)
}

fn loose(settings: &Settings) -> impl Iterator<Item = Warning> + '_ {
    let is_loose = |(path, bound, _): &&(&str, Duration, &str)| settings.duration(path).is_some_and(|set| set > *bound);
    LOOSE.iter().filter(is_loose).map(|(path, bound, cost)| {
        let text = format!("is more than {}: {cost}", show_duration(*bound));
        Warning::new(*path, settings.place(path), text)
    })
}

fn related(config: &Config) -> Vec<(&'static str, &'static str)> {
    let Config { listen, upstream, signature, cache, .. } = config;
    let mut warnings = Vec::new();
    let mut warn = |applies: bool, path, text| {
        if applies {
            warnings.push((path, text));
        }
    };
    warn(
        upstream.requests_per_second > UPSTREAM_RATE,
        "upstream.requests_per_second",
        "is more than 25, which upstream allows to all gateways of a key together",
    );
    warn(
        upstream.connect_timeout > upstream.request_timeout,
        "upstream.connect_timeout",
        "is never reached: upstream.request_timeout is shorter",
    );
    warn(
        listen.drain_delay + listen.drain_timeout > GRACE_PERIOD,
        "listen.drain_timeout",
        "and listen.drain_delay together are more than 30s, after which Kubernetes kills unless told otherwise",
    );
    warn(
        !listen.address.is_local() && listen.tls.is_none(),
        "listen.allow_plaintext",
        "images and tokens cross the network unencrypted unless something else encrypts",
    );
    warn(
        listen.allowed_origins.iter().any(|origin| is_plain_remote(origin)),
        "listen.allowed_origins",
        "names an http origin, which anybody on the way can impersonate",
    );
    warn(
        cache.image_capacity < upstream.max_response as u64 / 4 * 3,
        "cache.image_capacity",
        "is less than one image of upstream.max_response",
    );
    warn(
        config.audit.file.is_some() && config.audit.pseudonym_key.is_none(),
        "audit.file",
        "is kept without audit.pseudonym_key_file: its journeys cannot be named again after a restart",
    );
    let window = (signature.max_age + signature.clock_skew).as_secs_f64();
    warn(
        upstream.requests_per_second * window > cache.max_journeys as f64,
        "cache.max_journeys",
        "is less than what upstream.requests_per_second can bring in signature.max_age + clock_skew, for which each is \
         remembered; new journeys may be refused as OVERLOADED",
    );
    warn(
        config.signature.keys().any(public_key::is_example),
        "signature.public_keys",
        "holds the stand-in of the example file: nobody can sign with it, so every answer will be refused",
    );
    warnings
}

fn is_plain_remote(origin: &str) -> bool {
    let Some(authority) = origin.strip_prefix("http://") else {
        return false;
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let host = authority.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(authority, |(host, _)| host);
    !address::is_loopback(host)
}

fn customer_details(route: &Settings) -> Option<Warning> {
    let path = "passthrough.path";
    let is_listed = pattern::is_customer_details(route.text(path)?);
    let text = "could match Customer Details, whose PDF is the same certificate: the release rules do not govern it";
    is_listed.then(|| Warning::new(path, route.place(path), text))
}

fn proxies(surroundings: &Surroundings) -> impl Iterator<Item = Warning> + '_ {
    let is_proxy =
        |name: &str| ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].contains(&name.to_ascii_uppercase().as_str());
    let set = surroundings.variables().filter(|(_, value)| !value.is_empty());
    let names = set.filter_map(|(name, _)| name.to_str()).filter(move |name| is_proxy(name));
    names.map(|name| {
        let key = format!("environment variable {name}");
        Warning::new(key, Place::Nowhere, "is not read; a proxy is named by upstream.proxy")
    })
}

fn memory(config: &Config, surroundings: &Surroundings) -> Option<Warning> {
    let (limit, needed) = (surroundings.memory_limit()?, memory_needed(config));
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let text = format!(
        "up to {} MiB may be needed, the cgroup allows {} MiB; less of cache.image_capacity, cache.max_journeys, \
         upstream.max_concurrent or upstream.max_response would fit",
        mib(needed),
        limit >> 20
    );
    (needed > limit).then(|| Warning::new("memory", Place::Nowhere, text))
}

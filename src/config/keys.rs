//! The one table of everything that can be configured.
//!
//! A row says where a key stands, what it takes, what it is when absent, and what it is for. Reading, complaining, overriding
//! by environment and printing all follow from the row; adding a key means adding a row and one line where the typed
//! `Config` is built. Never: values.
//!
//! The surprising decision: a key that this version does not build yet has its row already, marked `not_yet`. It is then
//! known (no guesses at spelling mistakes) and refused, never accepted and ignored. Taking the word away turns it on.

use std::time::Duration;

/// One key of the file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name, as in `listen.address`.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody gives it.
    pub preset: Preset,
    /// The secret that this key leads to, as in `upstream.api_key`: the key's own value is a name and may be shown, the
    /// secret may not.
    pub secret: Option<&'static str>,
    /// One line for people.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number and a unit of time, within both bounds.
    Duration(Duration, Duration),
    /// A whole number and a unit of bytes, within both bounds.
    Size(u64, u64),
    /// A whole number within both bounds.
    Count(u64, u64),
    /// A number, decimals allowed, within both bounds.
    Rate(f64, f64),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Where to listen.
    Address,
    /// Host names without ports.
    Hosts,
    /// Web origins.
    Origins,
    /// A file.
    Path,
    /// Files.
    Paths,
    /// The URL of the authority.
    Upstream,
    /// The URL of a forward proxy.
    Proxy,
    /// The URL of a telemetry collector.
    Collector,
    /// Public keys in hex.
    PublicKeys,
    /// The name of an environment variable.
    Variable,
    /// A level of logs, or several for parts of the gateway.
    Filter,
    /// The path of a passthrough call, with `{name}` for one segment.
    Pattern,
}

/// What a key is when nobody gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// A complaint.
    Required,
    /// Nothing.
    Unset,
    /// This, written as an environment variable would hold it.
    Is(&'static str),
}

/// The sections in the order in which people read them.
pub const SECTIONS: &[&str] =
    &["listen", "admin", "upstream", "signature", "cache", PASSTHROUGH, "audit", "runtime", "log", "telemetry"];

/// The one section that is a list of tables; only the file can give it.
pub const PASSTHROUGH: &str = "passthrough";

/// What every environment variable of ours begins with. `OTK_GATEWAY_PORT`, which Kubernetes injects, does not.
pub const VARIABLE_PREFIX: &str = "OTK_GATEWAY__";

/// The methods that may be passed through.
pub const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The calls passed through when the file lists none: upstream's, less Get Certificate (governed by the release rules) and
/// less Customer Details (the same certificate as a PDF, which those rules do not govern).
pub const DEFAULT_PASSTHROUGH: &[(&str, &str)] = &[
    ("GET", "/otk-service/v1/residents/stale"),
    ("POST", "/otk-service/create-journey-url"),
    ("POST", "/otk-service/v2/create-journey"),
    ("GET", "/otk-service/v2/journey-details/{journeyToken}"),
];

/// The row of this path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The rows of this section, in the table's order.
pub fn of_section(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section() == section)
}

// === impl Key ===

impl Key {
    const fn new(path: &'static str, kind: Kind, preset: Preset, doc: &'static str) -> Self {
        Self { path, kind, preset, secret: None, doc }
    }

    const fn leads_to(mut self, secret: &'static str) -> Self {
        self.secret = Some(secret);
        self
    }

    /// The part before the dot.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(section, _)| section)
    }

    /// The part after the dot.
    pub fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The environment variable that overrides it. Keys of `[[passthrough]]` have none.
    pub fn variable(&self) -> Option<String> {
        let upper = || format!("{VARIABLE_PREFIX}{}", self.path.replace('.', "__").to_ascii_uppercase());
        (self.section() != PASSTHROUGH).then(upper)
    }
}

const MS: Duration = Duration::from_millis(1);
const ZERO: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Long enough for tests against answers recorded long ago; `check` warns far below.
const DECADE: Duration = Duration::from_secs(3650 * 24 * 3600);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

use Kind::{Address, Choice, Count, Flag, Hosts, Origins, Path, Paths, PublicKeys, Rate, Size, Upstream};
use Preset::{Is, Required, Unset};

/// The table.
#[rustfmt::skip] // one key, one line of facts and one of words
pub const KEYS: &[Key] = &[
    Key::new("listen.address", Address, Is("localhost:8080"),
        "where applications connect; localhost is every loopback address there is"),
    Key::new("listen.allowed_hosts", Hosts, Is(r#"["localhost", "127.0.0.1", "[::1]"]"#),
        "what Host may say, port ignored; the listen address's own host is always allowed"),
    Key::new("listen.allowed_origins", Origins, Is("[]"),
        "web origins that may embed images"),
    Key::new("listen.allow_remote", Flag, Is("false"),
        "a first condition for an address that is not loopback"),
    Key::new("listen.allow_plaintext", Flag, Is("false"),
        "allows such an address without TLS, where a mesh encrypts"),
    Key::new("listen.max_connections", Count(1, 1_000_000), Is("1024"),
        "connections at once; at the cap accepting pauses"),
    Key::new("listen.max_requests", Count(1, 1_000_000), Is("1024"),
        "requests at once; above it 503 OVERLOADED"),
    Key::new("listen.max_request", Size(0, GIB), Is("1MiB"),
        "the largest request body"),
    Key::new("listen.max_header", Size(8 * KIB, MIB), Is("64KiB"),
        "the largest request head"),
    Key::new("listen.header_timeout", Kind::Duration(MS, DAY), Is("10s"),
        "from accept, then from the first byte of each request, until the head is whole"),
    Key::new("listen.write_timeout", Kind::Duration(MS, DAY), Is("30s"),
        "how long a client may take none of its answer"),
    Key::new("listen.idle_timeout", Kind::Duration(MS, DAY), Is("75s"),
        "how long a connection may wait between two requests"),
    Key::new("listen.drain_delay", Kind::Duration(ZERO, DAY), Is("0s"),
        "after SIGTERM: unready, but still accepting for this long"),
    Key::new("listen.drain_timeout", Kind::Duration(ZERO, DAY), Is("20s"),
        "after that: how long requests under way may take to finish"),
    Key::new("listen.client_token_file", Path, Unset,
        "holds the token that every request must then bear").leads_to("listen.client_token"),
    Key::new("listen.tls_cert_file", Path, Unset,
        "the listener's certificate chain, PEM"),
    Key::new("listen.tls_key_file", Path, Unset,
        "the listener's private key, PEM").leads_to("listen.tls_key"),
    Key::new("listen.client_ca_file", Path, Unset,
        "with TLS: the authorities of client certificates, PEM; every client must then show one"),

    Key::new("admin.address", Address, Is("localhost:9090"),
        "where health, metrics and the admin calls are served"),
    Key::new("admin.token_file", Path, Unset,
        "holds the token for admin calls of peers that are not on loopback").leads_to("admin.token"),

    Key::new("upstream.base_url", Upstream, Required,
        "the authority's address; https unless the host is loopback"),
    Key::new("upstream.api_key_file", Path, Unset,
        "holds the API key; or give api_key_env").leads_to("upstream.api_key"),
    Key::new("upstream.api_key_env", Kind::Variable, Unset,
        "the environment variable that holds the API key; or give api_key_file").leads_to("upstream.api_key"),
    Key::new("upstream.connect_timeout", Kind::Duration(MS, DAY), Is("3s"),
        "until TCP and TLS stand"),
    Key::new("upstream.request_timeout", Kind::Duration(MS, DAY), Is("10s"),
        "a whole exchange, retries included"),
    Key::new("upstream.retries", Count(0, 10), Is("1"),
        "further attempts of a GET after connection errors, 502, 503 and 504"),
    Key::new("upstream.requests_per_second", Rate(0.01, 100_000.0), Is("25"),
        "upstream's limit divided by the number of gateways that share the key"),
    Key::new("upstream.queue_timeout", Kind::Duration(ZERO, DAY), Is("1s"),
        "how long a request may wait for its turn under that rate"),
    Key::new("upstream.max_concurrent", Count(1, 10_000), Is("32"),
        "calls at once; bounds the memory of fetches under way"),
    Key::new("upstream.pool_idle_timeout", Kind::Duration(ZERO, DAY), Is("30s"),
        "how long an unused connection is kept"),
    Key::new("upstream.connection_max_age", Kind::Duration(MS, DAY), Is("10m"),
        "how long any connection is used, so that a DNS change is followed"),
    Key::new("upstream.circuit_failures", Count(1, 1_000), Is("10"),
        "outages in a row, over at least two journeys, that open the circuit"),
    Key::new("upstream.circuit_open", Kind::Duration(MS, MINUTE), Is("5s"),
        "how long the circuit stays open before one probe; doubling to 60s"),
    Key::new("upstream.max_response", Size(KIB, GIB), Is("4MiB"),
        "the largest answer that is read"),
    Key::new("upstream.ca_file", Path, Unset,
        "the authorities that may vouch for the upstream's TLS, PEM, instead of the built-in ones"),
    Key::new("upstream.client_cert_file", Path, Unset,
        "the certificate chain shown to the upstream, PEM"),
    Key::new("upstream.client_key_file", Path, Unset,
        "its private key, PEM").leads_to("upstream.client_key"),
    Key::new("upstream.proxy", Kind::Proxy, Unset,
        "the forward proxy on the way to the upstream"),

    Key::new("signature.public_keys", PublicKeys, Unset,
        "the authority's signing keys in hex, several during rotation"),
    Key::new("signature.public_key_files", Paths, Unset,
        "files with one such key per line; a line taken out is a key taken out"),
    Key::new("signature.max_age", Kind::Duration(MS, DECADE), Is("2m"),
        "an answer whose signed time is older on arrival is a replay"),
    Key::new("signature.clock_skew", Kind::Duration(ZERO, DECADE), Is("60s"),
        "how far the signed time may be in the future"),

    Key::new("cache.max_exposure", Kind::Duration(ZERO, DAY), Is("30s"),
        "an image is released on an upstream call sent at most this long ago; 0s asks for every request"),
    Key::new("cache.image_capacity", Size(0, 1024 * GIB), Is("256MiB"),
        "the memory for images"),
    Key::new("cache.max_journeys", Count(1, 100_000_000), Is("100000"),
        "for how many journeys the rules remember what they must"),
    Key::new("cache.withheld_ttl", Kind::Duration(ZERO, DAY), Is("5m"),
        "how long upstream's REVOKED and EXPIRED are served without asking again"),
    Key::new("cache.not_found_ttl", Kind::Duration(ZERO, DAY), Is("5s"),
        "how long upstream's 404 is served without asking again"),
    Key::new("cache.refresh_ahead", Flag, Is("true"),
        "renew in the background once 3/4 of max_exposure is gone and the rate allows"),

    Key::new("passthrough.method", Choice(METHODS), Required,
        "the method of the call"),
    Key::new("passthrough.path", Kind::Pattern, Required,
        "its path; {name} stands for one segment"),
    Key::new("passthrough.signature", Choice(&["off", "observe", "enforce"]), Is("observe"),
        "whether the answer's signature is ignored, reported or required"),

    Key::new("audit.file", Path, Unset,
        "the audit file, which may hold {hostname}; - is stdout"),
    Key::new("audit.pseudonym_key_file", Path, Unset,
        "holds the key under which journeys are named in the file").leads_to("audit.pseudonym_key"),
    Key::new("audit.on_failure", Choice(&["refuse", "continue"]), Is("refuse"),
        "what happens to releases when the file cannot be written"),
    Key::new("audit.rotate_size", Size(KIB, 1024 * GIB), Unset,
        "the size at which a new file is begun"),

    Key::new("runtime.worker_threads", Count(0, 1_024), Is("0"),
        "0 is what affinity and the cgroup allow; TOKIO_WORKER_THREADS is then honoured"),

    Key::new("log.level", Kind::Filter, Is("info"),
        "the least grave lines that are written; by part of the gateway too"),
    Key::new("log.format", Choice(&["text", "json"]), Is("text"),
        "for people or for machines"),

    Key::new("telemetry.otlp_endpoint", Kind::Collector, Unset,
        "where traces are sent, OTLP over HTTP; without it none are kept"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that the contract shows, by hand: the table is held against it, not against itself.
    const CONTRACT: &str = "
        listen: address allowed_hosts allowed_origins allow_remote allow_plaintext max_connections max_requests max_request
            max_header header_timeout write_timeout idle_timeout drain_delay drain_timeout client_token_file tls_cert_file
            tls_key_file client_ca_file
        admin: address token_file
        upstream: base_url api_key_file api_key_env connect_timeout request_timeout retries requests_per_second queue_timeout
            max_concurrent pool_idle_timeout connection_max_age circuit_failures circuit_open max_response ca_file
            client_cert_file client_key_file proxy
        signature: public_keys public_key_files max_age clock_skew
        cache: max_exposure image_capacity max_journeys withheld_ttl not_found_ttl refresh_ahead
        passthrough: method path signature
        audit: file pseudonym_key_file on_failure rotate_size
        runtime: worker_threads
        log: level format
        telemetry: otlp_endpoint";

    #[test]
    fn the_table_holds_the_keys_of_the_contract_and_no_other() {
        let mut section = "";
        let mut wanted = Vec::new();
        for word in CONTRACT.split_whitespace() {
            match word.strip_suffix(':') {
                Some(name) => section = name,
                None => wanted.push(format!("{section}.{word}")),
            }
        }
        let held: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        assert_eq!(held, wanted);
    }

    #[test]
    fn every_section_of_the_table_is_named_once_and_in_order() {
        let mut held: Vec<_> = KEYS.iter().map(Key::section).collect();
        held.dedup();
        assert_eq!(held, SECTIONS);
    }

    #[test]
    fn a_variable_spells_section_and_name_in_capitals() {
        let key = find("cache.max_exposure").expect("a key");
        assert_eq!(key.variable().as_deref(), Some("OTK_GATEWAY__CACHE__MAX_EXPOSURE"));
        assert_eq!(find("passthrough.path").expect("a key").variable(), None);
    }
}

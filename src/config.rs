//! From a file and the environment to one typed `Config`, or to everything that is wrong with them.
//!
//! One table (`keys`) says what can be configured; reading (`raw`, `value`), judging (`checks`, `warnings`) and printing
//! (`print`) follow from it. No room below imports this one: `app` hands each room its share.
//!
//! Never: a side effect; it reads what it is handed and returns. Never: a value in a complaint, because what somebody wrote
//! into the wrong key may be a secret. The surprising decision: all complaints come in one run, so nothing here stops at the
//! first, and each step works with what the step before could make of a faulty file.

pub mod address;
mod checks;
pub mod complaint;
pub mod environment;
pub mod keys;
mod pattern;
mod print;
pub mod public_key;
mod raw;
pub mod schema;
pub mod secret;
mod settings;
pub mod units;
mod value;
mod warnings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Uri};

use crate::serve;

pub use address::Address;
pub use complaint::{Complaint, Place, Refused, Warning};
pub use environment::Surroundings;
pub use secret::{Pem, Secret, Source};
pub use warnings::memory_needed;

use keys::{DEFAULT_PASSTHROUGH, KEYS, PASSTHROUGH};
use raw::{Raw, Route};
use settings::Settings;

/// A configuration that was accepted.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What to think about.
    pub warnings: Vec<Warning>,
    /// It once more, presets included, as TOML that loads to the same; without any secret.
    pub effective: String,
}

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[listen]`
    pub listen: Listen,
    /// `[admin]`
    pub admin: Admin,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[signature]`
    pub signature: Signature,
    /// `[cache]`
    pub cache: Cache,
    /// `[[passthrough]]`, in the file's order.
    pub passthrough: Vec<Passthrough>,
    /// `[audit]`
    pub audit: Audit,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where applications connect.
    pub address: Address,
    /// In lower case, without ports; the address's own host is allowed beside them, see `hosts`.
    pub allowed_hosts: Vec<String>,
    /// As browsers send them.
    pub allowed_origins: Vec<String>,
    /// One condition for an address that is not loopback. The conditions were checked.
    pub allow_remote: bool,
    /// Another.
    pub allow_plaintext: bool,
    /// At this cap accepting pauses.
    pub max_connections: usize,
    /// Above it OVERLOADED.
    pub max_requests: usize,
    /// In bytes.
    pub max_request: usize,
    /// In bytes.
    pub max_header: usize,
    /// From accept, then from the first byte of each request.
    pub header_timeout: Duration,
    /// For a client that does not take its answer.
    pub write_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Unready but accepting.
    pub drain_delay: Duration,
    /// For requests under way.
    pub drain_timeout: Duration,
    /// The token that every request must bear.
    pub client_token: Option<Kept>,
    /// How it speaks TLS, if it does.
    pub tls: Option<ServerTls>,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Never bound twice: it does not overlap the data listener's.
    pub address: Address,
    /// The token for peers that are not on loopback.
    pub token: Option<Kept>,
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Scheme, authority and perhaps a path prefix without a trailing slash; an empty prefix shows as `/`.
    pub base_url: Uri,
    /// The key, and where it is kept.
    pub api_key: Kept,
    /// Until TCP and TLS stand.
    pub connect_timeout: Duration,
    /// A whole exchange, retries included.
    pub request_timeout: Duration,
    /// Further attempts.
    pub retries: u32,
    /// More than zero.
    pub requests_per_second: f64,
    /// For a turn under that rate.
    pub queue_timeout: Duration,
    /// Calls at once.
    pub max_concurrent: usize,
    /// For an unused connection.
    pub pool_idle_timeout: Duration,
    /// For any connection.
    pub connection_max_age: Duration,
    /// Outages in a row that open the circuit.
    pub circuit_failures: u32,
    /// How long it stays open.
    pub circuit_open: Duration,
    /// In bytes.
    pub max_response: usize,
    /// Instead of the built-in authorities.
    pub ca: Option<Pem>,
    /// Shown to the upstream.
    pub client_cert: Option<Pem>,
    /// Its key; given exactly if the chain is.
    pub client_key: Option<Pem>,
    /// `http://HOST[:PORT]`
    pub proxy: Option<Uri>,
}

/// A key or a token, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// As it was when it was read.
    pub secret: Secret,
    /// A file is worth watching.
    pub source: Source,
}

/// What a listener needs for TLS; found usable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain.
    pub chain: Pem,
    /// Its private key.
    pub key: Pem,
    /// The authorities of client certificates; with them every client must show one.
    pub client_ca: Option<Pem>,
}

/// `[signature]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Those in the configuration itself: SEC1 hex in lower case, points of the curve.
    pub public_keys: Vec<String>,
    /// Files worth watching.
    pub public_key_files: Vec<PathBuf>,
    /// What they held at start.
    pub file_keys: Vec<String>,
    /// For the signed time, on arrival.
    pub max_age: Duration,
    /// For a signed time ahead.
    pub clock_skew: Duration,
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Zero means a call for every request.
    pub max_exposure: Duration,
    /// In bytes.
    pub image_capacity: u64,
    /// Journeys with marks.
    pub max_journeys: usize,
    /// For REVOKED and EXPIRED.
    pub withheld_ttl: Duration,
    /// For 404.
    pub not_found_ttl: Duration,
    /// Renew in the background.
    pub refresh_ahead: bool,
}

/// One table of `[[passthrough]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passthrough {
    /// The method.
    pub method: Method,
    /// Well formed, and matching no certificate path; `{name}` stands for one segment.
    pub path: String,
    /// What becomes of the answer's signature.
    pub signature: SignatureMode,
}

/// What becomes of a passed-through answer's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureMode {
    /// Nothing; the answer streams.
    Off,
    /// Reported.
    Observe,
    /// Required.
    Enforce,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// May hold `{hostname}`; `-` is stdout.
    pub file: Option<PathBuf>,
    /// The key under which journeys are named; without it one is made up for the run.
    pub pseudonym_key: Option<Kept>,
    /// When the file cannot be written.
    pub on_failure: OnFailure,
    /// In bytes.
    pub rotate_size: Option<u64>,
}

/// What happens to releases when the audit file cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// None leaves.
    Refuse,
    /// They leave unrecorded.
    Continue,
}

/// `[runtime]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Zero leaves it to the runtime, which reads `TOKIO_WORKER_THREADS`; that was found to be a number or unset.
    pub worker_threads: usize,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least grave lines that are written, also by part of the gateway: `info,otk_gateway::upstream=debug`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Where traces are sent.
    pub otlp_endpoint: Option<Uri>,
}

/// Reads a file and everything it leads to.
pub fn load(path: &Path, surroundings: &Surroundings) -> Result<Loaded, Refused> {
    let refuse = |wrong: String| {
        Refused(vec![Complaint::new("configuration file", Place::Nowhere, wrong, "a readable file of TOML")])
    };
    let bytes = surroundings.read(path).map_err(|error| refuse(format!("cannot be read ({})", error.kind())))?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("is not UTF-8".to_owned()))?;
    parse(&text, surroundings)
}

/// Reads the text of a file and everything it leads to.
pub fn parse(text: &str, surroundings: &Surroundings) -> Result<Loaded, Refused> {
    let raw = Raw::read(text, surroundings);
    let mut complaints = raw.complaints;
    let rows = || KEYS.iter().filter(|key| key.section() != PASSTHROUGH);
    let settings = Settings::read(rows(), &raw.given, &mut complaints);
    let routes = raw.routes.map(|routes| read_routes(&routes, raw.is_whole, &mut complaints));
    let given_routes = routes.as_deref().unwrap_or_default();
    complaints.extend(checks::together(&settings, given_routes, surroundings));
    if raw.is_whole {
        complaints.extend(settings.absent(rows(), &Place::Nowhere));
        complaints.extend(checks::absent(&settings));
    }
    let found = checks::found(&settings, surroundings, &mut complaints);
    if !complaints.is_empty() {
        complaints.sort_by(|one, two| one.place.cmp(&two.place));
        return Err(Refused(complaints));
    }
    let config = Config::build(&settings, routes.as_deref(), found);
    Ok(Loaded {
        warnings: warnings::all(&config, &settings, given_routes, surroundings),
        effective: print::effective(&settings, &config.passthrough),
        config,
    })
}

fn read_routes(routes: &[Route], is_whole: bool, complaints: &mut Vec<Complaint>) -> Vec<Settings> {
    let rows = || keys::of_section(PASSTHROUGH);
    let mut read = Vec::new();
    for route in routes {
        let settings = Settings::read(rows(), &route.given, complaints);
        if is_whole {
            complaints.extend(settings.absent(rows(), &Place::Line(route.line)));
        }
        read.push(settings);
    }
    read
}

// === impl Config ===

impl Config {
    /// For how long an image may be shown after its revocation: on an honest path, and against replay or just after a
    /// restart.
    pub fn exposure_bounds(&self) -> (Duration, Duration) {
        let honest = self.cache.max_exposure;
        (honest, honest + self.signature.max_age + self.signature.clock_skew)
    }

    fn build(settings: &Settings, routes: Option<&[Settings]>, found: checks::Found) -> Self {
        Self {
            listen: Listen::build(settings, &found),
            admin: Admin { address: set(settings.address("admin.address")).clone(), token: found.admin_token.clone() },
            signature: Signature {
                public_keys: settings.texts("signature.public_keys").to_vec(),
                public_key_files: settings.paths("signature.public_key_files").to_vec(),
                file_keys: found.file_keys.clone(),
                max_age: set(settings.duration("signature.max_age")),
                clock_skew: set(settings.duration("signature.clock_skew")),
            },
            cache: Cache {
                max_exposure: set(settings.duration("cache.max_exposure")),
                image_capacity: set(settings.number("cache.image_capacity")),
                max_journeys: size(settings, "cache.max_journeys"),
                withheld_ttl: set(settings.duration("cache.withheld_ttl")),
                not_found_ttl: set(settings.duration("cache.not_found_ttl")),
                refresh_ahead: set(settings.flag("cache.refresh_ahead")),
            },
            passthrough: match routes {
                Some(routes) => routes.iter().map(Passthrough::build).collect(),
                None => Passthrough::presets(),
            },
            audit: Audit {
                file: file(settings, "audit.file"),
                pseudonym_key: found.pseudonym_key.clone(),
                on_failure: OnFailure::of(set(settings.text("audit.on_failure"))),
                rotate_size: settings.number("audit.rotate_size"),
            },
            runtime: Runtime { worker_threads: size(settings, "runtime.worker_threads") },
            log: Log {
                level: set(settings.text("log.level")).to_owned(),
                format: match set(settings.text("log.format")) {
                    "json" => LogFormat::Json,
                    _ => LogFormat::Text,
                },
            },
            upstream: Upstream::build(settings, found),
            telemetry: Telemetry { otlp_endpoint: settings.url("telemetry.otlp_endpoint").cloned() },
        }
    }
}

impl Listen {
    /// What `Host` may say: the allowed hosts and the address's own.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = self.allowed_hosts.clone();
        hosts.extend(self.address.host().filter(|own| !self.allowed_hosts.contains(own)));
        hosts
    }

    fn build(settings: &Settings, found: &checks::Found) -> Self {
        Self {
            address: set(settings.address("listen.address")).clone(),
            allowed_hosts: settings.texts("listen.allowed_hosts").to_vec(),
            allowed_origins: settings.texts("listen.allowed_origins").to_vec(),
            allow_remote: set(settings.flag("listen.allow_remote")),
            allow_plaintext: set(settings.flag("listen.allow_plaintext")),
            max_connections: size(settings, "listen.max_connections"),
            max_requests: size(settings, "listen.max_requests"),
            max_request: size(settings, "listen.max_request"),
            max_header: size(settings, "listen.max_header"),
            header_timeout: set(settings.duration("listen.header_timeout")),
            write_timeout: set(settings.duration("listen.write_timeout")),
            idle_timeout: set(settings.duration("listen.idle_timeout")),
            drain_delay: set(settings.duration("listen.drain_delay")),
            drain_timeout: set(settings.duration("listen.drain_timeout")),
            client_token: found.client_token.clone(),
            tls: found.server_tls.clone(),
        }
    }
}

impl ServerTls {
    /// As the library takes it.
    pub fn config(&self) -> Result<Arc<rustls::ServerConfig>, serve::tls::Unusable> {
        let client_ca = self.client_ca.as_ref().map(|pem| pem.bytes.as_slice());
        serve::tls::config(&self.chain.bytes, &self.key.bytes, client_ca)
    }
}

impl Upstream {
    fn build(settings: &Settings, found: checks::Found) -> Self {
        let small = |number| u32::try_from(number).expect("the table bounds it far below");
        Self {
            base_url: set(settings.url("upstream.base_url")).clone(),
            api_key: set(found.api_key),
            connect_timeout: set(settings.duration("upstream.connect_timeout")),
            request_timeout: set(settings.duration("upstream.request_timeout")),
            retries: small(set(settings.number("upstream.retries"))),
            requests_per_second: set(settings.rate("upstream.requests_per_second")),
            queue_timeout: set(settings.duration("upstream.queue_timeout")),
            max_concurrent: size(settings, "upstream.max_concurrent"),
            pool_idle_timeout: set(settings.duration("upstream.pool_idle_timeout")),
            connection_max_age: set(settings.duration("upstream.connection_max_age")),
            circuit_failures: small(set(settings.number("upstream.circuit_failures"))),
            circuit_open: set(settings.duration("upstream.circuit_open")),
            max_response: size(settings, "upstream.max_response"),
            ca: found.ca,
            client_cert: found.client_cert,
            client_key: found.client_key,
            proxy: settings.url("upstream.proxy").cloned(),
        }
    }
}

impl Signature {
    /// All keys in force at start.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.public_keys.iter().chain(&self.file_keys).map(String::as_str)
    }
}

impl Passthrough {
    fn build(route: &Settings) -> Self {
        Self {
            method: set(route.text("passthrough.method").and_then(|method| method.parse().ok())),
            path: set(route.text("passthrough.path")).to_owned(),
            signature: SignatureMode::of(set(route.text("passthrough.signature"))),
        }
    }

    fn presets() -> Vec<Self> {
        let preset = |(method, path): &(&str, &str)| Self {
            method: set(method.parse().ok()),
            path: (*path).to_owned(),
            signature: SignatureMode::Observe,
        };
        DEFAULT_PASSTHROUGH.iter().map(preset).collect()
    }
}

impl SignatureMode {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "off" => Self::Off,
            "enforce" => Self::Enforce,
            _ => Self::Observe,
        }
    }
}

impl OnFailure {
    fn of(word: &str) -> Self {
        match word {
            "continue" => Self::Continue,
            _ => Self::Refuse,
        }
    }
}

/// What the table gives to every accepted configuration.
fn set<T>(value: Option<T>) -> T {
    value.expect("no complaint was made, so the key has a value of the kind that the table gives it")
}

fn size(settings: &Settings, path: &str) -> usize {
    usize::try_from(set(settings.number(path))).unwrap_or(usize::MAX)
}

fn file(settings: &Settings, path: &str) -> Option<PathBuf> {
    settings.path(path).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use proptest::prelude::*;

    use super::keys::{Key, Kind, Preset, SECTIONS};
    use super::*;

    const CANARY: &str = "canary-7f3a";
    const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    const VECTOR: &str = "04989c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f631f4d05b3ae518776ee08755a7703e64b2ebc32547504de0b55a142d4ecdf80";

    /// A file system and an environment of a few entries; names that begin with `/` are files.
    fn around(entries: &[(&str, &str)]) -> Surroundings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let (files, variables): (Vec<_>, Vec<_>) =
            entries.iter().map(owned).partition(|(name, _)| name.starts_with('/'));
        let files: BTreeMap<_, _> = files.into_iter().collect();
        Surroundings::new(variables, move |path| {
            let file = path.to_str().and_then(|path| files.get(path));
            file.map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn minimal() -> String {
        format!(
            "[upstream]\nbase_url = \"https://otk.example.ae\"\napi_key_env = \"K\"\n[signature]\npublic_keys = [\"{KEY}\"]\n"
        )
    }

    /// The minimal file with some lines below; `[section]` lines may repeat those of the minimal file.
    fn with(lines: &str) -> String {
        let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let minimal = minimal();
        let mut section = "";
        for line in minimal.lines().chain(lines.lines()) {
            if line.starts_with('[') && !line.starts_with("[[") {
                section = line;
                sections.entry(section).or_default();
            } else {
                sections.entry(section).or_default().push(line);
            }
        }
        let text = |(section, lines): (&str, Vec<&str>)| format!("{section}\n{}\n", lines.join("\n"));
        sections.into_iter().map(text).collect()
    }

    fn accepted(text: &str) -> Loaded {
        parse(text, &around(&[("K", CANARY)])).unwrap_or_else(|refused| panic!("{refused}"))
    }

    fn refused(text: &str, entries: &[(&str, &str)]) -> String {
        let mut entries = entries.to_vec();
        entries.push(("K", CANARY));
        let refused = parse(text, &around(&entries)).map(|loaded| loaded.effective).expect_err("a complaint");
        let text = refused.to_string();
        assert!(!text.contains(CANARY), "{text}");
        text
    }

    /// Exactly one complaint, and it says this.
    fn refused_once(text: &str, entries: &[(&str, &str)], wanted: &str) {
        let complaints = refused(text, entries);
        assert_eq!(complaints.lines().count(), 1, "{complaints}");
        assert!(complaints.contains(wanted), "{complaints}");
    }

    fn warned(text: &str, entries: &[(&str, &str)]) -> String {
        let mut entries = entries.to_vec();
        entries.push(("K", CANARY));
        let loaded = parse(text, &around(&entries)).unwrap_or_else(|refused| panic!("{refused}"));
        loaded.warnings.iter().map(Warning::to_string).collect::<Vec<_>>().join("\n")
    }

    // === presets and examples ===

    #[test]
    fn three_things_are_enough_and_the_rest_are_the_presets_of_the_contract() {
        let Loaded { config, warnings, .. } = accepted(&minimal());
        assert_eq!(warnings, []);
        assert_eq!(config.listen.address.to_string(), "localhost:8080");
        assert_eq!(config.listen.hosts(), ["localhost", "127.0.0.1", "[::1]"]);
        assert_eq!((config.listen.max_request, config.listen.max_header), (1 << 20, 64 << 10));
        assert_eq!(config.listen.idle_timeout, Duration::from_secs(75));
        assert_eq!(config.admin.address.to_string(), "localhost:9090");
        assert_eq!(config.upstream.base_url, "https://otk.example.ae/");
        assert_eq!(config.upstream.api_key.secret.expose(), CANARY);
        assert_eq!(config.upstream.requests_per_second, 25.0);
        assert_eq!(config.upstream.max_response, 4 << 20);
        assert_eq!((config.upstream.circuit_failures, config.upstream.circuit_open), (10, Duration::from_secs(5)));
        assert_eq!(config.signature.keys().collect::<Vec<_>>(), [KEY]);
        assert_eq!(config.cache.image_capacity, 256 << 20);
        assert_eq!(config.exposure_bounds(), (Duration::from_secs(30), Duration::from_secs(210)));
        assert_eq!(config.passthrough.len(), 4);
        assert!(config.passthrough.iter().all(|route| route.signature == SignatureMode::Observe));
        assert_eq!(config.log, Log { level: "info".to_owned(), format: LogFormat::Text });
    }

    #[test]
    fn the_example_file_says_the_presets() {
        let surroundings = around(&[("/run/secrets/otk-api-key", "key-1\n")]);
        let full = parse(include_str!("../config/gateway.toml"), &surroundings).expect("gateway.toml");
        let minimal = parse(include_str!("../config/minimal.toml"), &surroundings).expect("minimal.toml");
        assert_eq!(full.config, minimal.config);
        assert_eq!(full.effective, minimal.effective);
        assert_eq!(full.warnings.len(), 1, "{:?}", full.warnings);
        assert!(full.warnings[0].text.contains("stand-in"));
    }

    #[test]
    fn the_example_file_shows_every_key_of_the_table() {
        let mut section = "";
        let mut shown = BTreeMap::new();
        for line in include_str!("../config/gateway.toml").lines() {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            if let Some(name) =
                SECTIONS.iter().find(|name| [format!("[{name}]"), format!("[[{name}]]")].contains(&line.to_owned()))
            {
                section = name;
            } else if let Some((name, _)) = bare.split_once(" = ").filter(|(name, _)| !name.contains(' ')) {
                shown.insert(format!("{section}.{name}"), bare == line);
            }
        }
        for key in KEYS {
            let is_given = shown.remove(key.path).unwrap_or_else(|| panic!("{} is not shown", key.path));
            let has_preset = matches!(key.preset, Preset::Is(_) | Preset::Required);
            let is_required = ["upstream.api_key_file", "signature.public_keys"].contains(&key.path);
            assert_eq!(is_given, has_preset || is_required, "{}", key.path);
        }
        assert!(shown.is_empty(), "{shown:?}");
    }

    /// A value of this key that is not its preset.
    fn another_value(key: &Key) -> &'static str {
        match (key.path, key.kind) {
            ("listen.address", _) => "\"localhost:1\"",
            ("upstream.base_url", _) => "\"https://other.example.ae/prefix\"",
            (_, Kind::Flag) if key.preset == Preset::Is("true") => "false",
            (_, Kind::Duration(..)) => "\"7s\"",
            (_, Kind::Size(..)) => "\"9KiB\"",
            (_, Kind::Count(..)) => "3",
            (_, Kind::Rate(..)) => "2.5",
            (_, Kind::Flag) => "true",
            (_, Kind::Choice(words)) if words.contains(&"PUT") => "\"PUT\"",
            (_, Kind::Choice(words)) if words.contains(&"enforce") => "\"enforce\"",
            (_, Kind::Choice(words)) if words.contains(&"json") => "\"json\"",
            (_, Kind::Filter) => "\"warn,otk_gateway::upstream=trace\"",
            (_, Kind::Choice(_)) => "\"continue\"",
            (_, Kind::Address) => "\"127.0.0.1:2\"",
            (_, Kind::Hosts) => "[\"a.example\"]",
            (_, Kind::Origins) => "[\"https://a.example\"]",
            (_, Kind::Paths) => "[\"/keys\"]",
            (_, Kind::PublicKeys) => "[\"0379be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\"]",
            (_, Kind::Path) => "\"/file\"",
            (_, Kind::Variable) => "\"L\"",
            (_, Kind::Pattern) => "\"/a/{b}\"",
            (_, Kind::Upstream | Kind::Proxy | Kind::Collector) => "\"http://egress:3128\"",
        }
    }

    #[test]
    fn every_key_reaches_the_config() {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let pem = format!("{}{}", pair.cert.pem(), pair.signing_key.serialize_pem());
        let surroundings =
            around(&[("K", "key-1"), ("L", "key-2"), ("/keys", KEY), ("/file", &pem), ("/key", "key-3")]);
        let base = parse(&minimal(), &surroundings).expect("minimal").config;
        for key in KEYS.iter().filter(|key| key.section() != PASSTHROUGH) {
            let value = another_value(key);
            let (section, name) = (key.section(), key.name());
            let mut lines = format!("[{section}]\n{name} = {value}\n");
            match name {
                "client_cert_file" => lines.push_str("client_key_file = \"/file\"\n"),
                "client_key_file" => lines.push_str("client_cert_file = \"/file\"\n"),
                "api_key_file" | "client_token_file" | "token_file" | "pseudonym_key_file" => {
                    lines = lines.replace("/file", "/key")
                }
                "tls_cert_file" => lines.push_str("tls_key_file = \"/file\"\n"),
                "tls_key_file" => lines.push_str("tls_cert_file = \"/file\"\n"),
                "client_ca_file" => lines.push_str("tls_cert_file = \"/file\"\ntls_key_file = \"/file\"\n"),
                _ => {}
            }
            let mut text = with(&lines);
            for replaced in ["base_url", "public_keys", "api_key_env"] {
                let is_old = |line: &&str| {
                    line.starts_with(replaced)
                        && (name == replaced || name == "api_key_file" && replaced == "api_key_env")
                };
                let old = text.lines().find(is_old).map(str::to_owned);
                text = old.map_or(text.clone(), |old| text.replacen(&format!("{old}\n"), "", 1));
            }
            let loaded = parse(&text, &surroundings).unwrap_or_else(|refused| panic!("{}: {refused}", key.path));
            assert_ne!(loaded.config, base, "{} changes nothing", key.path);
            let again = parse(&loaded.effective, &surroundings).unwrap_or_else(|refused| panic!("{refused}"));
            assert_eq!(again.config, loaded.config, "{}", key.path);
            assert_eq!(again.effective, loaded.effective);
        }
    }

    // === printing ===

    #[test]
    fn the_printed_configuration_loads_to_the_same_and_holds_no_secret() {
        for lines in [
            "",
            "passthrough = []",
            "[cache]\nmax_exposure = \"1500ms\"\n[listen]\nallowed_origins = [\"https://a.example\"]",
            "[[passthrough]]\nmethod = \"GET\"\npath = \"/a/{b}\"\nsignature = \"off\"\n[[passthrough]]\nmethod = \"PUT\"\npath = \"/a\"",
        ] {
            let text = if lines.starts_with('p') {
                format!("{lines}\n{}", minimal())
            } else {
                format!("{}\n{lines}\n", minimal())
            };
            let first = accepted(&text);
            let second = accepted(&first.effective);
            assert_eq!(first.config, second.config, "{}", first.effective);
            assert_eq!(first.effective, second.effective);
            assert!(!first.effective.contains(CANARY));
            assert!(first.effective.contains("\napi_key_env = \"K\"\n# upstream.api_key = \"[redacted]\" (env K)\n"));
            assert!(!format!("{first:?}").contains(CANARY));
        }
    }

    #[test]
    fn a_secret_found_in_a_file_is_told_by_its_path() {
        let text = minimal().replace("api_key_env = \"K\"", "api_key_file = \"/k\"");
        let loaded = parse(&text, &around(&[("/k", " key-1 \n")])).expect("a configuration");
        assert!(loaded.effective.contains("# upstream.api_key = \"[redacted]\" (file /k)\n"), "{}", loaded.effective);
        assert_eq!(loaded.config.upstream.api_key.secret.expose(), "key-1");
    }

    // === environment ===

    #[test]
    fn a_variable_overrides_the_file() {
        let entries = [
            ("K", "key-1"),
            ("OTK_GATEWAY__CACHE__MAX_EXPOSURE", "5s"),
            ("OTK_GATEWAY__LISTEN__ALLOWED_HOSTS", "[\"gateway.example.ae\"]"),
            ("OTK_GATEWAY__UPSTREAM__BASE_URL", "http://localhost:1"),
            ("OTK_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
            ("OTK_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ];
        let loaded = parse(&with("[cache]\nmax_exposure = \"1s\""), &around(&entries)).expect("a configuration");
        assert_eq!(loaded.config.cache.max_exposure, Duration::from_secs(5));
        assert_eq!(loaded.config.listen.hosts(), ["gateway.example.ae", "localhost"]);
        assert_eq!(loaded.config.upstream.base_url, "http://localhost:1/");
    }

    #[test]
    fn a_complaint_about_a_variable_names_it_and_never_its_value() {
        let name = "OTK_GATEWAY__CACHE__MAX_EXPOSURE";
        refused_once(&minimal(), &[(name, CANARY)], &format!("cache.max_exposure (environment variable {name})"));
        refused_once(&minimal(), &[("OTK_GATEWAY__CAHCE__MAX_EXPOSURE", CANARY)], &format!("did you mean {name}?"));
        refused_once(&minimal(), &[("OTK_GATEWAY__LISTEN__ALLOWED_HOSTS", CANARY)], "is no TOML array");
        refused_once(&minimal(), &[("OTK_GATEWAY__UPSTREAM__API_KEY", CANARY)], "is a secret");
    }

    #[test]
    fn a_number_of_threads_that_would_stop_the_runtime_is_refused() {
        refused_once(&minimal(), &[("TOKIO_WORKER_THREADS", "many")], "environment variable TOKIO_WORKER_THREADS");
        refused_once(&minimal(), &[("TOKIO_WORKER_THREADS", "0")], "runtime.worker_threads");
        assert_eq!(warned(&with("[runtime]\nworker_threads = 2"), &[("TOKIO_WORKER_THREADS", "many")]), "");
    }

    // === complaints ===

    #[test]
    fn everything_that_is_wrong_is_told_in_one_run_in_the_order_of_the_file() {
        let text = "[upstream]\nretries = -1\nmax_respons = \"1MiB\"\n[cache]\nmax_exposure = 30\n\n[listen]\naddress = \"0.0.0.0:80\"\n\
                    tls_cert_file = \"x\"\n";
        let complaints = refused(text, &[("OTK_GATEWAY__LOG__LEVEL", "loud")]);
        let starts: Vec<_> = complaints.lines().map(|line| line.split(';').next().unwrap_or_default()).collect();
        assert_eq!(
            starts,
            [
                "upstream.retries (line 2): is less than 0",
                "upstream.max_respons (line 3): is no known key",
                "cache.max_exposure (line 5): is a number without a unit",
                "listen.address (line 8): is not a loopback address, and these conditions are not met: listen.allow_remote = true",
                "listen.tls_cert_file (line 9): is given without listen.tls_key_file",
                "listen.tls_cert_file (line 9): names a file that does not exist",
                "log.level (environment variable OTK_GATEWAY__LOG__LEVEL): names no level",
                "upstream.base_url: is missing",
                "upstream.api_key_file: is missing",
                "signature.public_keys: holds no key",
            ]
        );
    }

    #[test]
    fn exactly_one_api_key_and_a_usable_one() {
        refused_once(&with("[upstream]\napi_key_file = \"/k\""), &[("/k", "x")], "exactly one");
        refused_once(
            &with(&format!("[upstream]\napi_key = \"{CANARY}\"")),
            &[],
            "upstream.api_key_file or upstream.api_key_env",
        );
        let unset = minimal().replace("\"K\"", "\"L\"");
        refused_once(&unset, &[], "upstream.api_key_env (line 3): names an environment variable that is not set");
        refused_once(&unset, &[("L", " \n")], "white space");
        refused_once(&unset, &[("L", "canary-7f3a\nX: y")], "control character");
        let file = minimal().replace("api_key_env = \"K\"", "api_key_file = \"/k\"");
        refused_once(&file, &[], "names a file that does not exist");
        refused_once(&file, &[("/k", "a\u{7}b")], "control character");
    }

    #[test]
    fn published_keys_are_for_loopback_only() {
        let sandbox = "03010D8AEAF4C76DF8E5680457759B0D5ECA967C8A8A0DA9C0CD79C7A6935E40D8";
        for key in [VECTOR, sandbox] {
            let text = minimal().replace(KEY, key);
            refused_once(
                &text,
                &[],
                "signature.public_keys (line 5): entry 1 is a key whose private half is published",
            );
            accepted(&text.replace("https://otk.example.ae", "http://127.0.0.1:8082"));
            let file = minimal().replace(&format!("public_keys = [\"{KEY}\"]"), "public_key_files = [\"/p\"]");
            refused_once(
                &file,
                &[("/p", &format!("{KEY}\n{key}\n"))],
                "public_key_files (line 5): entry 1 is a key whose",
            );
        }
    }

    #[test]
    fn public_keys_are_points_wherever_they_stand() {
        refused_once(&minimal().replace(KEY, CANARY), &[], "signature.public_keys (line 5): entry 1 is not hex");
        let file = minimal().replace(&format!("public_keys = [\"{KEY}\"]"), "public_key_files = [\"/p\", \"/q\"]");
        let complaints = refused(&file, &[("/p", "# old\n\n02ff"), ("/q", " \n")]);
        assert!(complaints.contains("entry 1 names a file whose line 3 is neither 33 bytes"), "{complaints}");
        assert!(complaints.contains("entry 2 leads to nothing but white space"), "{complaints}");
        refused_once(
            &minimal().replace(&format!("\"{KEY}\""), ""),
            &[],
            "signature.public_keys (line 5): holds no key",
        );
        let both = with("[signature]\npublic_key_files = [\"/p\"]");
        let loaded =
            parse(&both, &around(&[("K", "x"), ("/p", &format!("# new\n{KEY}\r\n"))])).expect("a configuration");
        assert_eq!(loaded.config.signature.keys().count(), 2);
    }

    #[test]
    fn what_other_machines_can_reach_has_conditions() {
        let remote = "[listen]\naddress = \"0.0.0.0:8080\"\n";
        let complaints = refused(&with(remote), &[]);
        for missing in [
            "listen.allow_remote = true",
            "listen.client_token_file or listen.client_ca_file",
            "listen.tls_cert_file or listen.allow_plaintext = true",
        ] {
            assert!(complaints.contains(missing), "{complaints}");
        }
        let complaints = refused(&with(&format!("{remote}allow_remote = true\nallow_plaintext = true")), &[]);
        assert!(!complaints.contains("allow_remote") && !complaints.contains("allow_plaintext"), "{complaints}");
        let token = [("/t", "token-1"), ("K", "key-1")];
        let met = format!("{remote}allow_remote = true\nallow_plaintext = true\nclient_token_file = \"/t\"");
        let loaded = parse(&with(&met), &around(&token)).unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(
            loaded.config.listen.client_token.map(|kept| kept.secret.expose().to_owned()).as_deref(),
            Some("token-1")
        );
        assert!(loaded.warnings.iter().any(|warning| warning.text.contains("unencrypted")));
        accepted(&with("[listen]\naddress = \"unix:/run/x.sock\""));
        accepted(&with("[admin]\naddress = \"0.0.0.0:9090\""));
    }

    #[test]
    fn both_listeners_need_an_address_of_their_own() {
        refused_once(&with("[admin]\naddress = \"127.0.0.1:8080\""), &[], "cannot be bound beside listen.address");
        refused_once(&with("[admin]\naddress = \"0.0.0.0:8080\""), &[], "admin.address");
        accepted(&with("[admin]\naddress = \"localhost:0\"\n[listen]\naddress = \"localhost:0\""));
    }

    #[test]
    fn a_listener_speaks_tls_with_files_that_fit_together() {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (chain, key, wrong) =
            (pair.cert.pem(), pair.signing_key.serialize_pem(), other.signing_key.serialize_pem());
        let files = [("/c", chain.as_str()), ("/k", &key), ("/w", &wrong), ("/e", CANARY), ("K", "key-1")];
        let lines = "[listen]\ntls_cert_file = \"/c\"\ntls_key_file = \"/k\"\nclient_ca_file = \"/c\"";
        let loaded = parse(&with(lines), &around(&files)).unwrap_or_else(|refused| panic!("{refused}"));
        assert!(loaded.config.listen.tls.is_some_and(|tls| tls.client_ca.is_some()));
        let files = &files[..4];
        refused_once(
            &with(&lines.replace("/k", "/w")),
            files,
            "listen.tls_cert_file (line 2): and listen.tls_key_file",
        );
        refused_once(
            &with(&lines.replace("client_ca_file = \"/c\"", "client_ca_file = \"/e\"")),
            files,
            "listen.client_ca_file (line 4)",
        );
        refused_once(&with("[listen]\nclient_ca_file = \"/c\""), files, "is given without listen.tls_cert_file");
    }

    #[test]
    fn a_client_certificate_comes_with_its_key() {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let lines = "[upstream]\nclient_cert_file = \"/c\"";
        refused_once(&with(lines), &[("/c", &pair.cert.pem())], "is given without upstream.client_key_file");
        refused_once(&with("[upstream]\nca_file = \"/c\""), &[("/c", CANARY)], "upstream.ca_file (line 6)");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let both = with(&format!("{lines}\nclient_key_file = \"/k\""));
        let files = [("/c", pair.cert.pem()), ("/k", other.signing_key.serialize_pem())];
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        refused_once(&both, &files, "upstream.client_cert_file (line 6): and upstream.client_key_file name files");
    }

    #[test]
    fn passthrough_tables_are_whole_distinct_and_no_certificates() {
        let text = format!(
            "{}[[passthrough]]\nmethod = \"get\"\npath = \"/a\"\n[[passthrough]]\npath = \"/otk-service/v1/certificates/{{t}}\"\n\
             [[passthrough]]\nmethod = \"GET\"\npath = \"/b/{{x}}\"\n[[passthrough]]\nmethod = \"GET\"\npath = \"/b/{{y}}\"\nsigned = true\n",
            minimal()
        );
        let complaints = refused(&text, &[]);
        let starts: Vec<_> = complaints.lines().map(|line| line.split([';', ',']).next().unwrap_or_default()).collect();
        assert_eq!(
            starts,
            [
                "passthrough.method (line 7): is none of the known words",
                "passthrough.method (line 9): is missing",
                "passthrough.path (line 10): could match a certificate path",
                "passthrough.path (line 16): matches the same calls as an earlier one of the same method",
                "passthrough.signed (line 17): is no known key",
            ]
        );
    }

    #[test]
    fn a_broken_file_is_told_as_far_as_it_can_be_read() {
        let text = format!("[upstream]\nbase_url = \"{CANARY}\napi_key = {CANARY}\nretries = 99\n{CANARY}\n");
        let complaints = refused(&text, &[]);
        assert!(complaints.contains("TOML (line 2): syntax error at column"), "{complaints}");
        assert!(complaints.contains("upstream.retries (line 4): is more than 10"), "{complaints}");
        assert!(!complaints.contains("is missing"), "{complaints}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_complaint() {
        let surroundings = Surroundings::new([("", ""); 0], |path| match path.to_str() {
            Some("/bytes") => Ok(vec![0xff]),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        });
        for (path, wanted) in [("/x", "cannot be read (permission denied)"), ("/bytes", "is not UTF-8")] {
            let refused = load(Path::new(path), &surroundings).map(|_| ()).expect_err("no file");
            assert!(refused.to_string().contains(wanted), "{refused}");
        }
    }

    // === warnings ===

    #[test]
    fn loose_settings_are_warned_about() {
        for (lines, wanted) in [
            ("[cache]\nmax_exposure = \"6m\"", "cache.max_exposure (line 2): is more than 5m"),
            ("[cache]\nwithheld_ttl = \"2h\"", "cache.withheld_ttl"),
            ("[signature]\nmax_age = \"11m\"", "signature.max_age"),
            ("[signature]\nclock_skew = \"6m\"", "signature.clock_skew"),
            ("[upstream]\nrequests_per_second = 25.5", "upstream.requests_per_second"),
            ("[upstream]\nconnect_timeout = \"11s\"", "upstream.connect_timeout"),
            ("[listen]\ndrain_delay = \"11s\"", "listen.drain_timeout"),
            ("[listen]\nallowed_origins = [\"http://app.example:8000\", \"http://[::1]\"]", "listen.allowed_origins"),
            ("[cache]\nimage_capacity = \"1MiB\"", "cache.image_capacity"),
            ("[cache]\nmax_journeys = 4499", "cache.max_journeys"),
        ] {
            let warnings = warned(&with(lines), &[]);
            assert!(warnings.contains(wanted), "{lines}: {warnings}");
            assert_eq!(warnings.lines().count(), 1, "{warnings}");
        }
        assert_eq!(
            warned(&with("[listen]\nallowed_origins = [\"http://[::1]:80\", \"http://localhost:3000\"]"), &[]),
            ""
        );
    }

    #[test]
    fn customer_details_is_warned_about() {
        let text =
            format!("{}[[passthrough]]\nmethod = \"GET\"\npath = \"/otk-service/customer-details/{{t}}\"\n", minimal());
        assert!(warned(&text, &[]).contains("passthrough.path (line 8): could match Customer Details"));
    }

    #[test]
    fn proxy_variables_are_not_read_and_that_is_said() {
        let warnings = warned(
            &minimal(),
            &[("https_proxy", CANARY), ("HTTP_PROXY", ""), ("All_Proxy", CANARY), ("NO_PROXY", "x")],
        );
        assert_eq!(warnings.lines().count(), 2, "{warnings}");
        assert!(warnings.contains("environment variable https_proxy") && !warnings.contains(CANARY), "{warnings}");
    }

    #[test]
    fn memory_that_the_cgroup_does_not_allow_is_warned_about() {
        let needed = memory_needed(&accepted(&minimal()).config);
        assert_eq!(needed, (256 << 20) + 32 * (7 << 20) + 40_000_000 + 20_000_000);
        assert_eq!(warned(&minimal(), &[("/sys/fs/cgroup/memory.max", &needed.to_string())]), "");
        let warnings = warned(&minimal(), &[("/sys/fs/cgroup/memory.max", "268435456\n")]);
        assert!(warnings.contains("up to 538 MiB may be needed, the cgroup allows 256 MiB"), "{warnings}");
    }

    // === garbage ===

    /// A file in which the canary stands wherever a value, a secret or a comment can.
    fn planted() -> String {
        format!(
            "# {CANARY}\n[upstream]\nbase_url = \"https://{CANARY}@x\"\napi_key = \"{CANARY}\"\napi_key_env = '{CANARY}'\n\
             retries = \"{CANARY}\"\n[signature]\npublic_keys = [\"{CANARY}\", \"\"\"{CANARY}\"\"\"]\nunknown = {{ a = \"{CANARY}\" }}\n\
             [listen]\naddress = \"{CANARY}\"\nallowed_hosts = [\"{CANARY} \"]\n[[passthrough]]\nmethod = \"{CANARY}\"\npath = \"{CANARY}\"\n"
        )
    }

    #[test]
    fn a_planted_canary_is_never_echoed() {
        refused(&planted(), &[]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text, &around(&[("OTK_GATEWAY__LISTEN__ALLOWED_HOSTS", &text.replace('\0', ""))]));
            let surroundings = Surroundings::new([("", ""); 0], move |_| Ok(bytes.clone()));
            let _ = load(Path::new("x"), &surroundings);
        }

        #[test]
        fn toml_like_garbage_never_panics(text in "([a-c.=\\[\\]{}\"'#,0-9\\n -]|listen|cache|passthrough|address|\"\"\"){0,80}") {
            let _ = parse(&text, &around(&[]));
        }

        #[test]
        fn no_damage_makes_a_complaint_echo_a_value(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), "[\"'=\\[\\]{}#\\n,.\\\\-]{0,2}", 0..6usize), 1..6),
        ) {
            let mut text = planted();
            for (at, insert, cut) in damage {
                // The canary itself stays whole: what is asserted is its absence.
                let at = at.index(text.len());
                let end = (at + cut).min(text.len());
                let hits = |range: std::ops::Range<usize>| {
                    text.match_indices(CANARY).any(|(start, _)| range.start < start + CANARY.len() && start < range.end.max(range.start + 1))
                };
                if !hits(at..end) {
                    text.replace_range(at..end, &insert);
                }
            }
            if let Err(refused) = parse(&text, &around(&[("OTK_GATEWAY__LOG__LEVEL", CANARY)])) {
                let shown = refused.to_string();
                prop_assert!(!shown.contains(CANARY), "{}\n{}", shown, text);
            }
        }
    }
}

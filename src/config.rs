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
pub mod secret;
mod settings;
pub mod units;
mod value;
mod warnings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Uri};

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

/// Everything that can be configured. Keys of later versions are `None`.
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
    /// Holds the token that every request must bear.
    pub client_token_file: Option<PathBuf>,
    /// The listener's chain.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key; given exactly if the chain is.
    pub tls_key_file: Option<PathBuf>,
    /// The authorities of client certificates.
    pub client_ca_file: Option<PathBuf>,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Never bound twice: it does not overlap the data listener's.
    pub address: Address,
    /// Holds the token for peers that are not on loopback.
    pub token_file: Option<PathBuf>,
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Scheme, authority and perhaps a path prefix without a trailing slash; an empty prefix shows as `/`.
    pub base_url: Uri,
    /// The key, and where it is kept.
    pub api_key: ApiKey,
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
    pub circuit_failures: Option<u32>,
    /// How long it stays open.
    pub circuit_open: Option<Duration>,
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

/// The API key, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The key as it was at start.
    pub secret: Secret,
    /// A file is worth watching.
    pub source: Source,
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
    /// Holds the key under which journeys are named.
    pub pseudonym_key_file: Option<PathBuf>,
    /// When the file cannot be written.
    pub on_failure: Option<OnFailure>,
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
    /// The least grave lines that are written.
    pub level: tracing::Level,
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
    let is_whole = raw.is_whole;
    let mut complaints = raw.complaints;
    let mut absent = Vec::new();
    let rows = KEYS.iter().filter(|key| key.section() != PASSTHROUGH);
    let settings = Settings::read(rows, &raw.given, &Place::Nowhere, &mut complaints);
    let routes = raw.routes.map(|routes| read_routes(&routes, &mut complaints));
    let given_routes = routes.as_deref().unwrap_or_default();
    complaints.extend(checks::together(&settings, given_routes, surroundings));
    absent.extend(checks::absent(&settings));
    let found = checks::found(&settings, surroundings, &mut complaints);
    complaints.extend(absent);
    if !is_whole {
        complaints.retain(|complaint| complaint.place != Place::Nowhere);
    }
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

fn read_routes(routes: &[Route], complaints: &mut Vec<Complaint>) -> Vec<Settings> {
    let rows = || keys::of_section(PASSTHROUGH);
    routes.iter().map(|route| Settings::read(rows(), &route.given, &Place::Line(route.line), complaints)).collect()
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
            listen: Listen::build(settings),
            admin: Admin {
                address: set(settings.address("admin.address")).clone(),
                token_file: file(settings, "admin.token_file"),
            },
            signature: Signature {
                public_keys: settings.texts("signature.public_keys").to_vec(),
                public_key_files: settings.paths("signature.public_key_files").to_vec(),
                file_keys: found.file_keys.clone(),
                max_age: set(settings.duration("signature.max_age")),
                clock_skew: set(settings.duration("signature.clock_skew")),
            },
            upstream: Upstream::build(settings, found),
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
                pseudonym_key_file: file(settings, "audit.pseudonym_key_file"),
                on_failure: settings.text("audit.on_failure").map(OnFailure::of),
                rotate_size: settings.number("audit.rotate_size"),
            },
            runtime: Runtime { worker_threads: size(settings, "runtime.worker_threads") },
            log: Log {
                level: set(settings.text("log.level").and_then(|level| level.parse().ok())),
                format: match set(settings.text("log.format")) {
                    "json" => LogFormat::Json,
                    _ => LogFormat::Text,
                },
            },
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

    fn build(settings: &Settings) -> Self {
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
            client_token_file: file(settings, "listen.client_token_file"),
            tls_cert_file: file(settings, "listen.tls_cert_file"),
            tls_key_file: file(settings, "listen.tls_key_file"),
            client_ca_file: file(settings, "listen.client_ca_file"),
        }
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
            circuit_failures: settings.number("upstream.circuit_failures").map(small),
            circuit_open: settings.duration("upstream.circuit_open"),
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

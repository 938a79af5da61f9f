//! Atomics with names.
//!
//! Every series of a fixed label set exists from the start at 0; labels come from our own enums' `as_str()` and nowhere else,
//! so that no token, path or free text can become one. Counting is a relaxed addition: no lock, no allocation. What is a
//! state of another room (how much is held, how many connections are open) is handed in when somebody reads.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::audit;
use crate::certificate::Timestamp;
use crate::reason::Reason;
use crate::rotation::Standing;

pub mod process;

/// An enum whose variants are label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The label's value.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

labels! {
    /// What a request asked for.
    Route {
        /// A certificate as JSON.
        Certificate => "certificate",
        /// A certificate as JPEG.
        Image => "image",
        /// A listed call of the upstream.
        Passthrough => "passthrough",
        /// Anything else.
        Other => "other",
    }
}

labels! {
    /// As what a certificate was released.
    Representation {
        /// The upstream's JSON.
        Json => "json",
        /// The JPEG.
        Image => "image",
        /// 304: keep showing it.
        NotModified => "not_modified",
    }
}

labels! {
    /// How the cache took part.
    CacheResult {
        /// Answered from memory.
        Hit => "hit",
        /// Nothing was held, or the request wanted a call.
        Miss => "miss",
        /// What was held would not do.
        Stale => "stale",
        /// Somebody else's call was shared.
        Collapsed => "collapsed",
    }
}

labels! {
    /// What came of checking a signature.
    SignatureResult {
        /// Genuine.
        Valid => "valid",
        /// Verifies under no key.
        Invalid => "invalid",
        /// There was none.
        Missing => "missing",
    }
}

labels! {
    /// How one call to the upstream ended.
    Outcome {
        /// 2xx or 3xx.
        Ok => "ok",
        /// 404.
        NotFound => "not_found",
        /// Another 4xx.
        ClientError => "client_error",
        /// 401.
        RejectedKey => "rejected_key",
        /// 403.
        Forbidden => "forbidden",
        /// 429.
        RateLimited => "rate_limited",
        /// 5xx.
        ServerError => "server_error",
        /// No answer in time.
        Timeout => "timeout",
        /// No connection, or it ended early.
        Connect => "connect",
        /// No TLS session.
        Tls => "tls",
        /// An answer beyond the cap.
        TooLarge => "too_large",
        /// An answer that breaks HTTP.
        Malformed => "malformed",
    }
}

labels! {
    /// Who said that the rate is used up.
    LimitedBy {
        /// Our own share of the upstream's limit.
        Gateway => "gateway",
        /// One journey's fifth of it.
        Journey => "journey",
        /// The upstream, with a 429.
        Upstream => "upstream",
    }
}

labels! {
    /// Which listener a connection came in on.
    Listener {
        /// The applications'.
        Data => "data",
        /// The operators'.
        Admin => "admin",
    }
}

/// Everything that is counted.
pub struct Metrics {
    requests: Box<[[AtomicU64; STATUSES]; Route::ALL.len()]>,
    request_duration: [Histogram; Route::ALL.len()],
    releases: [AtomicU64; Representation::ALL.len()],
    withheld: [AtomicU64; Reason::ALL.len()],
    refused: [AtomicU64; Reason::ALL.len()],
    cache: [AtomicU64; CacheResult::ALL.len()],
    upstream: [AtomicU64; Outcome::ALL.len()],
    upstream_duration: Histogram,
    signatures: [AtomicU64; SignatureResult::ALL.len()],
    confirmation_age: Histogram,
    rate_wait: Histogram,
    rate_limited: [AtomicU64; LimitedBy::ALL.len()],
    clock_offset_millis: AtomicI64,
    in_flight: Arc<AtomicUsize>,
}

/// A request under way; ends when dropped.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

/// States of other rooms at the moment of reading.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Bytes of images held.
    pub image_bytes: u64,
    /// Images held.
    pub images: u64,
    /// Journeys remembered.
    pub journeys: u64,
    /// Certificates that end within 7, 30 and 90 days.
    pub expiring: [u64; 3],
    /// Connections open, by listener.
    pub connections: [u64; Listener::ALL.len()],
    /// Connections not served, by listener.
    pub connections_refused: [u64; Listener::ALL.len()],
    /// Log lines that found no room in the writer's queue.
    pub log_lines_dropped: u64,
    /// The circuit to the upstream lets no call pass, or only a probe.
    pub is_circuit_open: bool,
    /// The configuration that was read last is in force.
    pub is_last_reload_good: bool,
    /// How the secrets stand.
    pub secrets: Vec<Standing>,
    /// When the certificates end that this gateway shows, by role.
    pub tls_ends: Vec<(&'static str, Timestamp)>,
    /// Spans that never reached the collector.
    pub spans_dropped: u64,
    /// How the record stands, if one is kept.
    pub audit: Option<audit::Standing>,
}

/// Counts as the summary shows them, each with its label's value.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Requests answered, by route.
    pub requests: Vec<(&'static str, u64)>,
    /// Certificates released, by representation.
    pub releases: Vec<(&'static str, u64)>,
    /// Certificates withheld, by reason.
    pub withheld: Vec<(&'static str, u64)>,
    /// Requests refused, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Certificate requests, by the cache's part.
    pub cache: Vec<(&'static str, u64)>,
    /// Calls to the upstream, by outcome.
    pub upstream: Vec<(&'static str, u64)>,
    /// How long calls to the upstream took.
    pub upstream_duration: Distribution,
    /// How long ago, at release, the confirming call was sent.
    pub confirmation_age: Distribution,
    /// Signatures checked, by result.
    pub signatures: Vec<(&'static str, u64)>,
    /// Calls that got no turn, by who said so.
    pub rate_limited: Vec<(&'static str, u64)>,
    /// How far the upstream's `Date` is ahead of our clock, in seconds.
    pub clock_offset: f64,
}

/// A histogram as it stands.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Up to each bound in seconds, none for the last, how many in all.
    pub buckets: Vec<(Option<f64>, u64)>,
    /// Of all values, in seconds.
    pub sum: f64,
}

impl Metrics {
    /// Everything at 0.
    pub fn new() -> Self {
        Self {
            requests: Box::new(std::array::from_fn(|_| zeros())),
            request_duration: std::array::from_fn(|_| Histogram::new(REQUEST_BOUNDS)),
            releases: zeros(),
            withheld: zeros(),
            refused: zeros(),
            cache: zeros(),
            upstream: zeros(),
            upstream_duration: Histogram::new(REQUEST_BOUNDS),
            signatures: zeros(),
            confirmation_age: Histogram::new(AGE_BOUNDS),
            rate_wait: Histogram::new(REQUEST_BOUNDS),
            rate_limited: zeros(),
            clock_offset_millis: AtomicI64::new(0),
            in_flight: Arc::default(),
        }
    }

    /// A request has arrived; it is under way until the guard is dropped.
    pub fn begin_request(&self) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.in_flight.clone())
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// A request was answered with this status after this long.
    pub fn request(&self, route: Route, status: u16, took: Duration) {
        let at = usize::from(status.clamp(100, 599)) - 100;
        self.requests[route as usize][at].fetch_add(1, Relaxed);
        self.request_duration[route as usize].observe(took);
    }

    /// A certificate left, on a call sent this long ago.
    pub fn released(&self, representation: Representation, age: Duration) {
        self.releases[representation as usize].fetch_add(1, Relaxed);
        self.confirmation_age.observe(age);
    }

    /// A certificate was asked for and withheld, for whatever reason.
    pub fn withheld(&self, reason: Reason) {
        self.withheld[reason as usize].fetch_add(1, Relaxed);
    }

    /// A request got an error of ours.
    pub fn refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    /// The cache took part in this way.
    pub fn cache_request(&self, result: CacheResult) {
        self.cache[result as usize].fetch_add(1, Relaxed);
    }

    /// A signature was checked.
    pub fn signature_check(&self, result: SignatureResult) {
        self.signatures[result as usize].fetch_add(1, Relaxed);
    }

    /// One call to the upstream ended so, after this long.
    pub fn upstream_call(&self, outcome: Outcome, took: Duration) {
        self.upstream[outcome as usize].fetch_add(1, Relaxed);
        self.upstream_duration.observe(took);
    }

    /// A call waited this long for its turn.
    pub fn rate_wait(&self, waited: Duration) {
        self.rate_wait.observe(waited);
    }

    /// A call got no turn.
    pub fn rate_limited(&self, by: LimitedBy) {
        self.rate_limited[by as usize].fetch_add(1, Relaxed);
    }

    /// The upstream's `Date` is this much ahead of our clock; negative if behind.
    pub fn clock_offset(&self, millis: i64) {
        self.clock_offset_millis.store(millis, Relaxed);
    }

    /// What the summary tells of all this.
    pub fn summary(&self) -> Summary {
        let counts = |words: &mut dyn Iterator<Item = &'static str>, counts: &[AtomicU64]| {
            words.zip(counts).map(|(word, count)| (word, count.load(Relaxed))).collect::<Vec<_>>()
        };
        let reasons = || Reason::ALL.iter().map(|reason| reason.as_str());
        let answered = |route: &Route| self.requests[*route as usize].iter().map(|count| count.load(Relaxed)).sum();
        Summary {
            requests: Route::ALL.iter().map(|route| (route.as_str(), answered(route))).collect(),
            releases: counts(&mut Representation::ALL.iter().map(|label| label.as_str()), &self.releases),
            withheld: counts(&mut reasons(), &self.withheld),
            refused: counts(&mut reasons(), &self.refused),
            cache: counts(&mut CacheResult::ALL.iter().map(|label| label.as_str()), &self.cache),
            upstream: counts(&mut Outcome::ALL.iter().map(|label| label.as_str()), &self.upstream),
            upstream_duration: self.upstream_duration.distribution(),
            confirmation_age: self.confirmation_age.distribution(),
            signatures: counts(&mut SignatureResult::ALL.iter().map(|label| label.as_str()), &self.signatures),
            rate_limited: counts(&mut LimitedBy::ALL.iter().map(|label| label.as_str()), &self.rate_limited),
            clock_offset: self.clock_offset_millis.load(Relaxed) as f64 / 1000.0,
        }
    }

    /// Everything as Prometheus text, format 0.0.4.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        self.render_requests(&mut page);
        self.render_upstream(&mut page);
        render_gauges(gauges, self.in_flight(), &mut page);
        process::render(&mut page);
        page.0
    }

    fn render_requests(&self, page: &mut Page) {
        page.family("otk_gateway_requests_total", "counter", "Requests answered, by route and status.");
        for route in Route::ALL {
            let statuses =
                self.requests[*route as usize].iter().zip(100..).map(|(count, status)| (count.load(Relaxed), status));
            for (count, status) in statuses.filter(|(count, status)| *count > 0 || *status == 200) {
                page.sample(
                    "otk_gateway_requests_total",
                    &format!("route=\"{}\",status=\"{status}\"", route.as_str()),
                    count,
                );
            }
        }
        page.family(
            "otk_gateway_request_duration_seconds",
            "histogram",
            "From the request's head to the answer's head.",
        );
        for route in Route::ALL {
            let label = format!("route=\"{}\"", route.as_str());
            self.request_duration[*route as usize].render("otk_gateway_request_duration_seconds", &label, page);
        }
        let words = |reasons: &'static [Reason]| reasons.iter().map(|reason| reason.as_str());
        page.counters(
            "otk_gateway_releases_total",
            "Certificates released.",
            "representation",
            Representation::ALL.iter().map(|l| l.as_str()),
            &self.releases,
        );
        page.counters(
            "otk_gateway_withheld_total",
            "Certificates asked for and withheld.",
            "reason",
            words(Reason::ALL),
            &self.withheld,
        );
        page.counters(
            "otk_gateway_refused_total",
            "Requests refused, by reason.",
            "reason",
            words(Reason::ALL),
            &self.refused,
        );
        page.counters(
            "otk_gateway_cache_requests_total",
            "Certificate requests, by the cache's part.",
            "result",
            CacheResult::ALL.iter().map(|l| l.as_str()),
            &self.cache,
        );
        page.family(
            "otk_gateway_confirmation_age_seconds",
            "histogram",
            "At release: how long ago the confirming call was sent.",
        );
        self.confirmation_age.render("otk_gateway_confirmation_age_seconds", "", page);
    }

    fn render_upstream(&self, page: &mut Page) {
        page.counters(
            "otk_gateway_upstream_requests_total",
            "Calls to the upstream, retries included.",
            "outcome",
            Outcome::ALL.iter().map(|l| l.as_str()),
            &self.upstream,
        );
        page.family("otk_gateway_upstream_duration_seconds", "histogram", "Duration of one call to the upstream.");
        self.upstream_duration.render("otk_gateway_upstream_duration_seconds", "", page);
        page.counters(
            "otk_gateway_signature_checks_total",
            "Signatures checked.",
            "result",
            SignatureResult::ALL.iter().map(|l| l.as_str()),
            &self.signatures,
        );
        page.family(
            "otk_gateway_rate_wait_seconds",
            "histogram",
            "How long calls waited for their turn under the rate.",
        );
        self.rate_wait.render("otk_gateway_rate_wait_seconds", "", page);
        page.counters(
            "otk_gateway_rate_limited_total",
            "Calls that got no turn.",
            "by",
            LimitedBy::ALL.iter().map(|l| l.as_str()),
            &self.rate_limited,
        );
        page.gauge(
            "otk_gateway_upstream_clock_offset_seconds",
            "How far the upstream's Date is ahead of our clock.",
            self.clock_offset_millis.load(Relaxed) as f64 / 1000.0,
        );
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn render_gauges(gauges: &Gauges, in_flight: usize, page: &mut Page) {
    page.gauge("otk_gateway_cache_image_bytes", "Bytes of images held.", gauges.image_bytes as f64);
    page.gauge("otk_gateway_cache_images", "Images held.", gauges.images as f64);
    page.gauge("otk_gateway_cache_journeys", "Journeys remembered.", gauges.journeys as f64);
    page.family(
        "otk_gateway_certificates_expiring",
        "gauge",
        "Certificates seen since start that end within this time.",
    );
    for (within, count) in ["7d", "30d", "90d"].iter().zip(gauges.expiring) {
        page.sample("otk_gateway_certificates_expiring", &format!("within=\"{within}\""), count);
    }
    page.gauge("otk_gateway_in_flight_requests", "Requests under way.", in_flight as f64);
    page.family("otk_gateway_connections", "gauge", "Connections open.");
    for (listener, count) in Listener::ALL.iter().zip(gauges.connections) {
        page.sample("otk_gateway_connections", &format!("listener=\"{}\"", listener.as_str()), count);
    }
    page.family(
        "otk_gateway_connections_refused_total",
        "counter",
        "Connections ended before a request could be read.",
    );
    for (listener, count) in Listener::ALL.iter().zip(gauges.connections_refused) {
        page.sample("otk_gateway_connections_refused_total", &format!("listener=\"{}\"", listener.as_str()), count);
    }
    page.family("otk_gateway_log_lines_dropped_total", "counter", "Log lines dropped so that no request waits.");
    page.sample("otk_gateway_log_lines_dropped_total", "", gauges.log_lines_dropped);
    page.family("otk_gateway_spans_dropped_total", "counter", "Spans that never reached the collector.");
    page.sample("otk_gateway_spans_dropped_total", "", gauges.spans_dropped);
    let flag = |is_so: bool| if is_so { 1.0 } else { 0.0 };
    page.gauge(
        "otk_gateway_circuit_open",
        "1 while the upstream is left alone after outages, or probed.",
        flag(gauges.is_circuit_open),
    );
    page.gauge(
        "otk_gateway_config_last_reload_successful",
        "1 if the configuration that was read last is in force.",
        flag(gauges.is_last_reload_good),
    );
    render_secrets(&gauges.secrets, page);
    page.gauge(
        "otk_gateway_audit_writable",
        "1 if the last line of the record was written, or none is kept.",
        flag(gauges.audit.is_none_or(|audit| audit.is_writable)),
    );
    page.family("otk_gateway_audit_failures_total", "counter", "Lines and syncs of the record that failed.");
    page.sample("otk_gateway_audit_failures_total", "", gauges.audit.map_or(0, |audit| audit.failures));
    page.family(
        "otk_gateway_tls_not_after_timestamp_seconds",
        "gauge",
        "When the certificate that this gateway shows in this role ends.",
    );
    for (role, end) in &gauges.tls_ends {
        page.sample("otk_gateway_tls_not_after_timestamp_seconds", &format!("role=\"{role}\""), end.0 / 1_000_000_000);
    }
    page.family("otk_gateway_build_info", "gauge", "The version that runs.");
    page.sample("otk_gateway_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
}

fn render_secrets(secrets: &[Standing], page: &mut Page) {
    let label = |one: &Standing| format!("secret=\"{}\"", one.secret);
    page.family("otk_gateway_secret_age_seconds", "gauge", "How long the value in force has been in its file.");
    for one in secrets {
        page.sample("otk_gateway_secret_age_seconds", &label(one), one.age.as_secs_f64());
    }
    page.family("otk_gateway_secret_usable", "gauge", "1 if the newest value of the secret is the one in force.");
    for one in secrets {
        page.sample("otk_gateway_secret_usable", &label(one), u8::from(one.is_usable));
    }
    page.family("otk_gateway_secret_reload_failures_total", "counter", "New values of the secret that were unusable.");
    for one in secrets {
        page.sample("otk_gateway_secret_reload_failures_total", &label(one), one.failures);
    }
}

/// Counts of durations up to each bound, and their sum in microseconds.
struct Histogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum_micros: AtomicU64::new(0) }
    }

    fn observe(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[at].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(value.as_micros() as u64, Relaxed);
    }

    fn distribution(&self) -> Distribution {
        let mut total = 0;
        let buckets = self.counts.iter().enumerate().map(|(at, count)| {
            total += count.load(Relaxed);
            (self.bounds.get(at).copied(), total)
        });
        Distribution { buckets: buckets.collect(), sum: self.sum_micros.load(Relaxed) as f64 / 1e6 }
    }

    fn render(&self, name: &str, label: &str, page: &mut Page) {
        let joined = if label.is_empty() { String::new() } else { format!("{label},") };
        let Distribution { buckets, sum } = self.distribution();
        for (bound, total) in &buckets {
            let bound = bound.map_or("+Inf".to_owned(), |bound| bound.to_string());
            page.sample(&format!("{name}_bucket"), &format!("{joined}le=\"{bound}\""), total);
        }
        page.sample(&format!("{name}_sum"), label, sum);
        page.sample(&format!("{name}_count"), label, buckets.last().map_or(0, |(_, total)| *total));
    }
}

/// The page being written.
pub struct Page(String);

impl Page {
    /// The two lines that come before a family's samples.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// One sample; `labels` without braces, empty for none.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        words: impl Iterator<Item = &'static str>,
        counts: &[AtomicU64],
    ) {
        self.family(name, "counter", help);
        for (word, count) in words.zip(counts) {
            self.sample(name, &format!("{label}=\"{word}\""), count.load(Relaxed));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a String takes everything");
        self.0.push('\n');
    }
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// 100 to 599.
const STATUSES: usize = 500;

/// From a hit in memory to the longest call.
const REQUEST_BOUNDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Around the default of `max_exposure`.
const AGE_BOUNDS: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 60.0, 120.0, 300.0];

//! Logs, and the names that journeys and requests have in them.
//!
//! A log line never holds up a request: lines go through a bounded queue to a thread that writes to stderr, and what finds no
//! room is dropped and counted. Other crates are heard from `warn` on only, at any level of ours: what they would say below
//! that may hold headers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::HeaderValue;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::certificate::JourneyToken;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// Keeps the writer alive; dropping it writes out what is queued.
pub struct Logs {
    _guard: WorkerGuard,
    dropped: ErrorCounter,
    set_level: SetLevel,
}

type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

/// Gives journeys names that nobody can turn back, the same during one run.
#[derive(Clone)]
pub struct Pseudonyms {
    key: [u8; 32],
}

/// A journey's name in the logs: twelve hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pseudonym([u8; 6]);

/// Names for requests that brought none: sixteen hex digits, never twice during one run.
///
/// Counted and scrambled rather than drawn: a random number for each request would be a system call for each request.
pub struct RequestIds(AtomicU64);

/// Starts writing logs to stderr, at this level.
pub fn start(level: &str, format: Format) -> Logs {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_QUEUED).finish(std::io::stderr());
    let dropped = writer.error_counter();
    let set_level = subscribe(writer, level, format);
    Logs { _guard: guard, dropped, set_level }
}

/// Returns what changes the level later.
fn subscribe(writer: NonBlocking, level: &str, format: Format) -> SetLevel {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level)).with_writer(writer);
    // A second start in one process, as in tests, keeps the first; the same goes for a level that finds no subscriber.
    match format {
        Format::Text => {
            let builder = builder.with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |level| drop(handle.reload(filter(level))))
        }
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |level| drop(handle.reload(filter(level))))
        }
    }
}

/// `level` for ourselves, or directives for parts of ourselves; everybody else from `warn` on, whatever is asked for.
fn filter(level: &str) -> EnvFilter {
    let ours = level.split(',').map(str::trim).filter_map(|directive| match directive.split_once('=') {
        None if !directive.is_empty() => Some(format!("otk_gateway={directive}")),
        Some((target, _)) if target.starts_with("otk_gateway") => Some(directive.to_owned()),
        _ => None,
    });
    EnvFilter::new(std::iter::once("warn".to_owned()).chain(ours).collect::<Vec<_>>().join(","))
}

/// Subscribes `writer` to everything this gateway says at `level`, for a test that looks at it.
pub fn subscriber<W>(writer: W, level: &str) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_env_filter(filter(level)).with_writer(writer).json().finish()
}

impl Logs {
    /// Writes from this level on from now on.
    pub fn set_level(&self, level: &str) {
        (self.set_level)(level);
    }

    /// How many lines found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.dropped_lines() as u64
    }
}

impl Pseudonyms {
    /// Under a key made up for this run.
    pub fn of_this_run() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key })
    }

    /// The name of this journey.
    pub fn of(&self, token: &JourneyToken) -> Pseudonym {
        let mut name = [0; 6];
        name.copy_from_slice(&blake3::keyed_hash(&self.key, token.as_bytes()).as_bytes()[..6]);
        Pseudonym(name)
    }
}

impl RequestIds {
    /// Beginning anywhere, so that two runs hardly share one.
    pub fn of_this_run() -> Self {
        Self(AtomicU64::new(getrandom::u64().unwrap_or_default()))
    }

    /// The next one.
    pub fn next(&self) -> HeaderValue {
        let mut digits = [0; 16];
        let id = scrambled(self.0.fetch_add(GOLDEN, Relaxed));
        hex::encode_to_slice(id.to_be_bytes(), &mut digits).expect("two digits for each of eight bytes");
        HeaderValue::from_bytes(&digits).expect("digits")
    }
}

/// The last steps of SplitMix64: each number becomes another one, and neighbours look unlike.
fn scrambled(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lines that wait for the writer. The queue's memory is taken at the start, 32 bytes a line; the library's own limit costs 4 MB.
const MAX_QUEUED: usize = 8192;

/// 2^64 by the golden ratio, and odd: steps of this size meet every number before they meet one again.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journey_keeps_its_name_during_one_run_and_gets_another_in_the_next() {
        let token = JourneyToken::parse("0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b").expect("a token");
        let (this, next) = (Pseudonyms::of_this_run().expect("random"), Pseudonyms::of_this_run().expect("random"));
        assert_eq!(this.of(&token), this.of(&token));
        assert_ne!(this.of(&token), next.of(&token));
        assert_eq!(this.of(&token).to_string().len(), 12);
    }

    #[test]
    fn no_two_requests_share_an_id() {
        let ids = RequestIds::of_this_run();
        let drawn: std::collections::HashSet<_> = (0..10_000).map(|_| ids.next().as_bytes().to_vec()).collect();
        assert_eq!(drawn.len(), 10_000);
        assert!(drawn.iter().flatten().all(u8::is_ascii_hexdigit));
        assert_ne!(RequestIds::of_this_run().next(), RequestIds::of_this_run().next());
    }

    #[test]
    fn others_are_heard_from_warn_on_whatever_our_own_level() {
        assert_eq!(filter("trace").to_string(), "otk_gateway=trace,warn");
        assert_eq!(filter("hyper=trace,otk_gateway::upstream=debug").to_string(), "otk_gateway::upstream=debug,warn");
    }
}

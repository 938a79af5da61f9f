//! Logs, and the names that journeys have in them.
//!
//! A log line never holds up a request: lines go through a bounded queue to a thread that writes to stderr, and what finds no
//! room is dropped and counted. Other crates are heard from `warn` on only, at any level of ours: what they would say below
//! that may hold headers.

use std::fmt;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};
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

/// Starts writing logs to stderr, at this level.
pub fn start(level: &str, format: Format) -> Logs {
    let (writer, guard) =
        tracing_appender::non_blocking::NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
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

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

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
    fn others_are_heard_from_warn_on_whatever_our_own_level() {
        assert_eq!(filter("trace").to_string(), "otk_gateway=trace,warn");
        assert_eq!(filter("hyper=trace,otk_gateway::upstream=debug").to_string(), "otk_gateway::upstream=debug,warn");
    }
}

//! The record: one line for every answer about a certificate, chained by hashes, written before the answer's first byte leaves.
//!
//! A line gets its number at the decision, under one lock with a last look at whether the decision still stands. Whoever
//! observes a revocation first remembers it and then takes a number. So a release with a later number than a revocation was
//! decided in its knowledge, and `prove` can say from the numbers alone whether an image left that should not have.
//!
//! A thread of its own writes, one call for each line, and syncs to disk every second: a crash of the process loses nothing
//! that left, a crash of the machine the last second. Never: a token, a person, an image; journeys are named under the
//! operator's key.
//!
//! The surprising decision: a line that could not be written leaves a gap in the numbers and none in the chain. The gap says
//! how many decisions went unrecorded.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::certificate::{Etag, JourneyToken, Timestamp};
use crate::clock::Clock;
use crate::metrics::Representation;
use crate::reason::Reason;
use file::{Order, Writer};

mod file;
pub mod line;
pub mod prove;

pub use file::Unusable;
pub use line::Event;

/// Where the record is and what happens when it cannot be written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file; `-` is stdout.
    pub file: PathBuf,
    /// Releases are refused when they cannot be recorded, instead of leaving unrecorded.
    pub refuse: bool,
    /// The size in bytes at which a new file is begun.
    pub rotate_size: Option<u64>,
}

/// Writes the record, if one is kept.
pub struct Audit(Option<Record>);

struct Record {
    queue: Mutex<Queue>,
    names: Names,
    refuse: bool,
    health: Arc<Health>,
    clock: Arc<Clock>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The next number, and the way to the writer: what belongs together under one lock.
struct Queue {
    seq: u64,
    orders: SyncSender<Order>,
}

/// How writing goes.
#[derive(Debug, Default)]
struct Health {
    is_failing: AtomicBool,
    failures: AtomicU64,
}

/// How the record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The last line was written, and synced if it was its time.
    pub is_writable: bool,
    /// Lines and syncs that failed.
    pub failures: u64,
}

/// Names journeys in the record: 32 hex digits under a key.
#[derive(Clone)]
pub struct Names([u8; 32]);

/// What there is to record; what does not apply is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What happened.
    pub event: Event,
    /// When; `None` is now.
    pub time: Option<Timestamp>,
    /// To which journey.
    pub journey: Option<&'a JourneyToken>,
    /// With which certificate.
    pub etag: Option<&'a Etag>,
    /// As what it was released.
    pub representation: Option<Representation>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Who asked: `local`, or an address.
    pub client: Option<&'a str>,
    /// Why no image left.
    pub reason: Option<Reason>,
    /// When the upstream signed what decided.
    pub signed_at: Option<Timestamp>,
    /// When the call that brought it was sent.
    pub confirmed_at: Option<Timestamp>,
    /// The request, as in the logs.
    pub request_id: Option<&'a str>,
}

/// A line under way to the file.
pub struct Receipt<'a> {
    written: Option<oneshot::Receiver<bool>>,
    record: &'a Record,
}

/// A release must not leave: it could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrecorded;

impl Audit {
    /// No record is kept.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the record, goes on with its chain, and notes that the gateway has started.
    pub fn open(settings: &Settings, names: Names, clock: Arc<Clock>) -> Result<Self, Unusable> {
        let writer = Writer::open(settings)?;
        let health = Arc::new(Health::default());
        let (orders, ordered) = mpsc::sync_channel(MAX_QUEUED);
        let queue = Mutex::new(Queue { seq: writer.last_seq(), orders });
        let (observed, name) = (health.clone(), "audit".to_owned());
        let thread = std::thread::Builder::new().name(name).spawn(move || writer.run(&ordered, &observed));
        let thread = thread.map_err(|error| Unusable::Io(error.kind()))?;
        let record = Record { queue, names, refuse: settings.refuse, health, clock, writer: Mutex::new(Some(thread)) };
        let audit = Self(Some(record));
        audit.note(Entry::of(Event::Started));
        Ok(audit)
    }

    /// Whether a record is kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records an answer, unless the decision behind it does not stand any more: then there is no line, and `None`.
    pub fn record(&self, entry: Entry<'_>, stands: impl FnOnce() -> bool) -> Option<Receipt<'_>> {
        let record = self.0.as_ref().expect("asked for only where `is_on`");
        let mut queue = record.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !stands() {
            return None;
        }
        queue.seq += 1;
        let time = entry.time.unwrap_or_else(|| record.clock.now().wall());
        let body = line::body(queue.seq, time, &entry, &record.names);
        let (written, receiver) = oneshot::channel();
        let written = match queue.orders.try_send(Order::Line { body, seq: queue.seq, written }) {
            Ok(()) => Some(receiver),
            Err(_) => {
                record.health.failed();
                None
            }
        };
        Some(Receipt { written, record })
    }

    /// Records what nobody waits for.
    pub fn note(&self, entry: Entry<'_>) {
        if self.is_on() {
            drop(self.record(entry, || true));
        }
    }

    /// Begins a new file if the one at the path is another one by now, as after a rename. The chain goes on in it.
    pub fn reopen(&self) {
        let Some(record) = &self.0 else { return };
        let queue = record.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = queue.orders.try_send(Order::Reopen); // a queue that is full says so by other means
    }

    /// Notes that the gateway has stopped, and waits until everything is on disk.
    pub fn close(&self) {
        let Some(record) = &self.0 else { return };
        self.note(Entry::of(Event::Stopped));
        let queue = record.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = queue.orders.send(Order::Close);
        drop(queue);
        let thread = record.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }

    /// How the record stands, if one is kept.
    pub fn standing(&self) -> Option<Standing> {
        let health = &self.0.as_ref()?.health;
        Some(Standing { is_writable: !health.is_failing.load(Relaxed), failures: health.failures.load(Relaxed) })
    }
}

impl Receipt<'_> {
    /// Waits until the line is written. An error only where a release must not leave unrecorded.
    pub async fn written(self) -> Result<(), Unrecorded> {
        let is_written = match self.written {
            None => false,
            Some(written) => match tokio::time::timeout(PATIENCE, written).await {
                Ok(Ok(is_written)) => is_written,
                Ok(Err(_)) | Err(_) => {
                    self.record.health.failed();
                    false
                }
            },
        };
        if is_written || !self.record.refuse { Ok(()) } else { Err(Unrecorded) }
    }
}

// === impl Health, Names, Entry ===

impl Health {
    fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
        self.is_failing.store(true, Relaxed);
    }

    fn succeeded(&self) {
        self.is_failing.store(false, Relaxed);
    }
}

impl Names {
    /// Under the operator's key: the same name in every run.
    pub fn under(key: &str) -> Self {
        Self(blake3::derive_key("otk-gateway 2026 audit: names of journeys", key.as_bytes()))
    }

    /// Under a key made up for this run.
    pub fn of_this_run() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// The name of this journey.
    pub fn of(&self, journey: &JourneyToken) -> String {
        hex::encode(&blake3::keyed_hash(&self.0, journey.as_bytes()).as_bytes()[..16])
    }
}

impl Entry<'_> {
    /// This event, and nothing more.
    pub fn of(event: Event) -> Self {
        Self {
            event,
            time: None,
            journey: None,
            etag: None,
            representation: None,
            status: None,
            client: None,
            reason: None,
            signed_at: None,
            confirmed_at: None,
            request_id: None,
        }
    }
}

/// The path with `{hostname}` filled in.
pub fn path_here(file: &Path) -> PathBuf {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    let hostname: String = hostname.trim().chars().map(safe).collect();
    file.to_string_lossy().replace("{hostname}", &hostname).into()
}

/// Lines that may wait for the writer; beyond that the record counts as failing.
const MAX_QUEUED: usize = 8192;

/// How long an answer waits for its line.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;

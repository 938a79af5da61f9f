//! The file of the record: opened, gone on with, written, synced, and exchanged for a new one.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::line::{self, GENESIS, Line};
use super::{Health, Settings};

/// What the writer is told to do.
pub(super) enum Order {
    /// Write this line; say whether it was.
    Line {
        /// Up to what chains it.
        body: String,
        /// Its number.
        seq: u64,
        /// Where to say so; nobody may be listening.
        written: oneshot::Sender<bool>,
    },
    /// Look whether the file at the path is another one.
    Reopen,
    /// Sync and end.
    Close,
}

/// Why a record cannot be kept there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It cannot be opened or read.
    Io(io::ErrorKind),
    /// Another process writes to it.
    Locked,
    /// Its last whole line is none of a record.
    NoRecord,
}

/// Writes lines, one call each.
pub(super) struct Writer {
    sink: Sink,
    path: PathBuf,
    rotate_size: Option<u64>,
    prev: String,
    seq: u64,
    is_dirty: bool,
}

enum Sink {
    File {
        file: File,
        /// Up to the last whole line.
        length: u64,
        /// A regular file can be cut back to its last whole line; a device cannot.
        is_regular: bool,
    },
    Stdout,
}

impl Writer {
    /// Opens the file and finds the end of its chain; a torn last line goes.
    pub fn open(settings: &Settings) -> Result<Self, Unusable> {
        let path = settings.file.clone();
        let mut writer = Self {
            sink: Sink::Stdout,
            path,
            rotate_size: settings.rotate_size,
            prev: GENESIS.to_owned(),
            seq: 0,
            is_dirty: false,
        };
        if writer.path == Path::new("-") {
            return Ok(writer);
        }
        let (mut file, is_regular) = open(&writer.path)?;
        let mut length = 0;
        if is_regular {
            let last = mend(&mut file).map_err(|error| Unusable::Io(error.kind()))?;
            if let Some(last) = last {
                let last = Line::read(&last).map_err(|_| Unusable::NoRecord)?;
                (writer.prev, writer.seq) = (last.hash, last.seq);
            }
            length = file.metadata().map_err(|error| Unusable::Io(error.kind()))?.len();
        }
        writer.sink = Sink::File { file, length, is_regular };
        Ok(writer)
    }

    /// The number of the last line; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.seq
    }

    /// Writes until told to end, or until nobody can tell any more.
    pub fn run(mut self, orders: &Receiver<Order>, health: &Health) {
        let mut synced = Instant::now();
        loop {
            let order = orders.recv_timeout(SYNC_EVERY.saturating_sub(synced.elapsed()));
            let is_over = match order {
                Ok(Order::Line { body, seq, written }) => {
                    let is_written = self.line(body, seq).is_ok();
                    if is_written {
                        health.succeeded()
                    } else {
                        health.failed()
                    }
                    let _ = written.send(is_written);
                    false
                }
                Ok(Order::Reopen) => {
                    self.reopen(health);
                    false
                }
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            if is_over || synced.elapsed() >= SYNC_EVERY {
                synced = Instant::now();
                if self.sync().is_err() {
                    health.failed();
                }
            }
            if is_over {
                return;
            }
        }
    }

    fn line(&mut self, body: String, seq: u64) -> io::Result<()> {
        let (text, hash) = line::chain(body, &self.prev);
        self.sink.write(text.as_bytes())?;
        (self.prev, self.seq, self.is_dirty) = (hash, seq, true);
        self.rotate_if_full();
        Ok(())
    }

    /// A file that has reached its size makes room under its own name. Failing that it grows on.
    fn rotate_if_full(&mut self) {
        let is_full = match (&self.sink, self.rotate_size) {
            (Sink::File { length, is_regular: true, .. }, Some(most)) => *length >= most,
            _ => false,
        };
        if !is_full {
            return;
        }
        let _ = self.sync();
        let aside = format!("{}.{:012}", self.path.display(), self.seq);
        let rotated = std::fs::rename(&self.path, aside).and_then(|()| self.begin_new());
        if rotated.is_err() {
            tracing::error!("the audit file could not be exchanged for a new one");
        }
    }

    fn begin_new(&mut self) -> io::Result<()> {
        let (file, is_regular) = open(&self.path).map_err(|_| io::ErrorKind::Other)?;
        let length = file.metadata()?.len();
        self.sink = Sink::File { file, length, is_regular };
        Ok(())
    }

    fn reopen(&mut self, health: &Health) {
        let Sink::File { file, .. } = &self.sink else { return };
        let identity = |metadata: io::Result<std::fs::Metadata>| metadata.map(|of| (of.dev(), of.ino())).ok();
        if identity(file.metadata()) == identity(std::fs::metadata(&self.path)) {
            return;
        }
        let _ = self.sync();
        if self.begin_new().is_err() {
            health.failed();
            tracing::error!("a new audit file could not be begun, the old one is written on");
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(());
        }
        match &self.sink {
            Sink::File { file, is_regular: true, .. } => file.sync_data(),
            Sink::File { .. } | Sink::Stdout => Ok(()),
        }
    }
}

impl Sink {
    /// One call. What is not taken whole is taken back.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let Self::File { file, length, is_regular } = self else {
            let mut out = io::stdout().lock();
            return out.write_all(line).and_then(|()| out.flush());
        };
        let written = file.write(line);
        if matches!(written, Ok(taken) if taken == line.len()) {
            *length += line.len() as u64;
            return Ok(());
        }
        if *is_regular {
            file.set_len(*length)?;
        }
        Err(written.err().unwrap_or_else(|| io::ErrorKind::StorageFull.into()))
    }
}

/// Opens for appending, alone; says whether it is a regular file.
fn open(path: &Path) -> Result<(File, bool), Unusable> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path);
    let file = file.or_else(|_| OpenOptions::new().append(true).open(path)); // a device or a pipe may not be readable
    let file = file.map_err(|error| Unusable::Io(error.kind()))?;
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    match file.try_lock() {
        Err(TryLockError::WouldBlock) if is_regular => Err(Unusable::Locked),
        Err(TryLockError::Error(error)) if is_regular => Err(Unusable::Io(error.kind())),
        _ => Ok((file, is_regular)),
    }
}

/// Sees to it that the file ends with a whole line, and returns that line, if there is one.
///
/// A process that was killed, or a disk that was full, leaves a line torn. Its answer never left, so it goes; unless nothing
/// but its end is missing.
fn mend(file: &mut File) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(MAX_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let torn = std::str::from_utf8(&tail[whole..]).unwrap_or_default();
    if Line::read(torn).is_ok() {
        file.write_all(b"\n")?;
        return Ok(Some(torn.to_owned()));
    }
    if whole < tail.len() {
        file.set_len(start + whole as u64)?;
    }
    let lines = &tail[..whole];
    let last = lines.strip_suffix(b"\n").map(|lines| lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
    Ok(last.map(|last| String::from_utf8_lossy(last).into_owned()))
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => write!(f, "audit.file cannot be opened ({kind})"),
            Self::Locked => f.write_str("audit.file is written by another process"),
            Self::NoRecord => f.write_str("audit.file ends with something that is no line of a record"),
        }
    }
}

impl std::error::Error for Unusable {}

/// How much a crash of the machine may cost. Source: the contract, "Privacy".
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Longer than any line: an ETag has 256 characters, a request id 64.
const MAX_TAIL: u64 = 16 * 1024;

//! What a record shows: that its chain holds, and whether an image left after its revocation was observed.
//!
//! An image may leave again after a REVOKED was observed only on an answer that was asked for after that and signed later
//! (the contract, "The release rules"). A record shows that for every release by `confirmed_at` and `signed_at`.
//!
//! What no record shows by itself: that its end was not cut off.

use std::io::{self, BufRead, Write};

use super::line::{Broken, Event, GENESIS, Line};
use crate::certificate::Timestamp;

/// A file of a record, by the name it was given.
pub struct Named<R> {
    /// For messages.
    pub name: String,
    /// Its lines.
    pub lines: R,
}

/// What a walk along a chain came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Whole lines that hold.
    pub lines: u64,
    /// The last number.
    pub last_seq: u64,
    /// The last hash, for the file that follows.
    pub last_hash: String,
    /// Numbers without a line: decisions that could not be recorded.
    pub unrecorded: u64,
    /// The first line does not begin a chain: earlier files exist, or existed.
    pub is_continued: bool,
    /// Where the chain breaks first, by line from 1, and why.
    pub broken: Option<(u64, Broken)>,
}

/// Walks along one file's chain and shows every line that holds to `each`.
///
/// `after` is the hash and number that the first line must follow; `None` takes any beginning.
pub fn walk(lines: impl BufRead, after: Option<(&str, u64)>, mut each: impl FnMut(Line)) -> io::Result<Walked> {
    let mut walked = Walked {
        lines: 0,
        last_seq: after.map_or(0, |(_, seq)| seq),
        last_hash: after.map_or(String::new(), |(hash, _)| hash.to_owned()),
        unrecorded: 0,
        is_continued: false,
        broken: None,
    };
    let mut is_first = after.is_none();
    for text in lines.split(b'\n') {
        let text = text?;
        let line = match std::str::from_utf8(&text).map_err(|_| Broken::Unreadable).and_then(Line::read) {
            Ok(line) if is_first => {
                walked.is_continued = line.prev != GENESIS;
                walked.last_seq = line.seq - 1;
                line
            }
            Ok(line) if line.prev != walked.last_hash => return Ok(broken(walked, Broken::Unchained)),
            Ok(line) if line.seq <= walked.last_seq => return Ok(broken(walked, Broken::OutOfOrder)),
            Ok(line) => line,
            Err(why) => return Ok(broken(walked, why)),
        };
        is_first = false;
        walked.lines += 1;
        walked.unrecorded += line.seq - walked.last_seq - 1;
        (walked.last_seq, walked.last_hash) = (line.seq, line.hash.clone());
        each(line);
    }
    Ok(walked)
}

fn broken(walked: Walked, why: Broken) -> Walked {
    Walked { broken: Some((walked.lines + 1, why)), ..walked }
}

/// `audit verify`: true if the chain holds from the first line to the last.
pub fn verify(file: Named<impl BufRead>, out: &mut impl Write) -> io::Result<bool> {
    let walked = walk(file.lines, None, drop)?;
    if let Some((line, why)) = walked.broken {
        writeln!(out, "{}: line {line} breaks the chain: {}", file.name, why.as_str())?;
        writeln!(out, "{}: {} lines before it hold", file.name, walked.lines)?;
        return Ok(false);
    }
    writeln!(out, "{}: {} lines hold, the last is number {}", file.name, walked.lines, walked.last_seq)?;
    if walked.is_continued {
        writeln!(out, "{}: the first line goes on from an earlier file", file.name)?;
    }
    if walked.unrecorded > 0 {
        writeln!(out, "{}: {} decisions could not be recorded", file.name, walked.unrecorded)?;
    }
    writeln!(out, "that lines were cut off at the end cannot be seen from the file alone")?;
    Ok(true)
}

/// `audit prove`: lists every answer about the journey of this name. True if the files are one whole chain and no image left
/// after a revocation was observed.
///
/// The files may come in any order.
pub fn prove<R: BufRead>(journey: &str, files: Vec<Named<R>>, out: &mut impl Write) -> io::Result<bool> {
    writeln!(out, "journey {journey}")?;
    let mut history = History::default();
    let mut is_whole = true;
    let mut after: Option<(String, u64)> = None;
    for file in in_order(files)? {
        let Named { name, lines } = file;
        let mut of_journey = Vec::new();
        let follows = after.as_ref().map(|(hash, seq)| (hash.as_str(), *seq));
        let walked = walk(lines, follows, |line| {
            if line.journey.as_deref() == Some(journey) {
                of_journey.push(line);
            }
        })?;
        for line in &of_journey {
            list(line, out)?;
            history.take(line, &name);
        }
        if after.is_none() && walked.is_continued {
            writeln!(out, "{name}: goes on from an earlier file that is not among these")?;
        }
        if walked.unrecorded > 0 {
            writeln!(out, "{name}: {} decisions could not be recorded", walked.unrecorded)?;
            is_whole = false;
        }
        if let Some((line, why)) = walked.broken {
            writeln!(out, "{name}: line {line} breaks the chain: {}", why.as_str())?;
            is_whole = false;
            break;
        }
        after = Some((walked.last_hash, walked.last_seq));
    }
    for violation in &history.violations {
        writeln!(out, "violation: {violation}")?;
    }
    let verdict = match (history.violations.is_empty(), is_whole) {
        (false, _) => "an image left after a revocation was observed",
        (true, false) => "no such release is in these lines, but they are not the whole history",
        (true, true) if history.revocations == 0 => "no revocation was observed",
        (true, true) => "no image left after a revocation was observed",
    };
    writeln!(out, "{} releases, {} revocations observed: {verdict}", history.releases, history.revocations)?;
    Ok(history.violations.is_empty() && is_whole)
}

/// A file whose first line was read already.
type Rewound<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Files in the order of their first lines' numbers; one without a line that can be read comes last, and breaks the chain.
fn in_order<R: BufRead>(files: Vec<Named<R>>) -> io::Result<Vec<Named<Rewound<R>>>> {
    let mut numbered = Vec::new();
    for Named { name, mut lines } in files {
        let mut first = Vec::new();
        lines.read_until(b'\n', &mut first)?;
        if first.is_empty() {
            continue; // a file that was just begun
        }
        let text = std::str::from_utf8(first.strip_suffix(b"\n").unwrap_or(&first)).unwrap_or_default();
        let seq = Line::read(text).map_or(u64::MAX, |line| line.seq);
        numbered.push((seq, Named { name, lines: io::Read::chain(io::Cursor::new(first), lines) }));
    }
    numbered.sort_by_key(|(seq, _)| *seq);
    Ok(numbered.into_iter().map(|(_, file)| file).collect())
}

fn list(line: &Line, out: &mut impl Write) -> io::Result<()> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    writeln!(
        out,
        "{:>8}  {}  {:<19}  {:<12}  {:>3}  {}  signed {}  confirmed {}",
        line.seq,
        line.time,
        line.event.as_str(),
        or_dash(&line.representation),
        line.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        or_dash(&line.reason),
        or_dash(&line.signed_at),
        or_dash(&line.confirmed_at),
    )
}

/// What one journey's lines come to.
#[derive(Default)]
struct History {
    releases: u64,
    revocations: u64,
    /// The number, the time, and the latest signed time so far.
    revoked: Option<(u64, Timestamp, Timestamp)>,
    violations: Vec<String>,
}

impl History {
    fn take(&mut self, line: &Line, file: &str) {
        let time = |text: Option<&str>| text.and_then(Timestamp::parse);
        match line.event {
            Event::RevocationObserved => {
                self.revocations += 1;
                let observed = time(Some(&line.time)).unwrap_or(Timestamp(i64::MAX));
                let signed = time(line.signed_at.as_deref()).unwrap_or(observed);
                let latest = self.revoked.map_or(signed, |(_, _, before)| before.max(signed));
                self.revoked = Some((line.seq, observed, latest));
            }
            Event::Released => {
                self.releases += 1;
                let Some((revocation, observed, revoked)) = self.revoked else { return };
                let is_asked_later = time(line.confirmed_at.as_deref()).is_some_and(|sent| sent > observed);
                let is_signed_later = time(line.signed_at.as_deref()).is_some_and(|signed| signed > revoked);
                if !(is_asked_later && is_signed_later) {
                    let line = line.seq;
                    self.violations.push(format!("{file}: number {line} left after number {revocation} was observed"));
                }
            }
            Event::Withheld | Event::Refused | Event::Purged | Event::Started | Event::Stopped => {}
        }
    }
}

//! One line of the record: how it is written, hashed and read.
//!
//! `hash` is the SHA-256 of the line without its last member and its end of line, that is, of the compact object up to and
//! including `prev`. Anybody can check that with a JSON library that keeps the order of members.

use std::fmt::Write;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Entry, Names};
use crate::certificate::Timestamp;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An image left, or leave to keep showing it.
    Released,
    /// The certificate is revoked or expired, and that was said.
    Withheld,
    /// Another answer without an image.
    Refused,
    /// A signed REVOKED arrived.
    RevocationObserved,
    /// An operator dropped what was held.
    Purged,
    /// The gateway began.
    Started,
    /// The gateway ended.
    Stopped,
}

/// A line as it is read.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// When it was decided.
    pub time: String,
    /// What happened.
    pub event: Event,
    /// The name of the journey.
    pub journey: Option<String>,
    /// As what a certificate was released.
    pub representation: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why no image left.
    pub reason: Option<String>,
    /// When the upstream signed what decided.
    pub signed_at: Option<String>,
    /// When the call that brought it was sent.
    pub confirmed_at: Option<String>,
    /// The hash of the line before.
    pub prev: String,
    /// Its own.
    pub hash: String,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Not a line of the record, or not as it is written.
    Unreadable,
    /// Its hash is not that of its content.
    Changed,
    /// Its `prev` is not the hash of the line before.
    Unchained,
    /// Its number is not greater than that of the line before.
    OutOfOrder,
}

/// The line up to `request_id`, without what chains it.
pub(super) fn body(seq: u64, time: Timestamp, entry: &Entry<'_>, names: &Names) -> String {
    let mut body = String::with_capacity(640);
    let _ = write!(body, "{{\"v\":1,\"seq\":{seq}"); // a String takes everything
    let at = |time: Timestamp| time.to_rfc3339_nanos();
    let members = [
        ("time", Some(at(time))),
        ("event", Some(entry.event.as_str().to_owned())),
        ("journey", entry.journey.map(|journey| names.of(journey))),
        ("etag", entry.etag.map(|etag| etag.as_str().to_owned())),
        ("representation", entry.representation.map(|representation| representation.as_str().to_owned())),
    ];
    members.into_iter().for_each(|(name, value)| member(&mut body, name, value.as_deref()));
    match entry.status {
        Some(status) => drop(write!(body, ",\"status\":{status}")),
        None => body.push_str(",\"status\":null"),
    }
    member(&mut body, "client", entry.client);
    member(&mut body, "reason", entry.reason.map(|reason| reason.as_str()));
    member(&mut body, "signed_at", entry.signed_at.map(at).as_deref());
    member(&mut body, "confirmed_at", entry.confirmed_at.map(at).as_deref());
    member(&mut body, "request_id", entry.request_id);
    body
}

fn member(body: &mut String, name: &str, value: Option<&str>) {
    let value = serde_json::to_string(&value).expect("text always serialises");
    let _ = write!(body, ",\"{name}\":{value}");
}

/// Chains a body to the line before; returns the whole line and its hash.
pub(super) fn chain(mut body: String, prev: &str) -> (String, String) {
    let _ = write!(body, ",\"prev\":\"{prev}\"");
    let hash = hash(&body);
    let _ = writeln!(body, ",\"hash\":\"{hash}\"}}");
    (body, hash)
}

fn hash(unclosed: &str) -> String {
    hex::encode(Sha256::new().chain_update(unclosed).chain_update("}").finalize())
}

/// The hash before the first line.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Line {
    /// Reads a line without its end, and checks it by itself.
    pub fn read(text: &str) -> Result<Self, Broken> {
        let line: Self = serde_json::from_str(text).map_err(|_| Broken::Unreadable)?;
        let tail = format!(",\"hash\":\"{}\"}}", line.hash);
        let unclosed = text.strip_suffix(&tail).ok_or(Broken::Unreadable)?;
        if hash(unclosed) == line.hash { Ok(line) } else { Err(Broken::Changed) }
    }
}

impl Event {
    /// The word in the line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Withheld => "withheld",
            Self::Refused => "refused",
            Self::RevocationObserved => "revocation_observed",
            Self::Purged => "purged",
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }
}

impl Broken {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "it is no line of the record",
            Self::Changed => "its hash is not that of its content: the line was changed",
            Self::Unchained => "its prev is not the hash of the line before: a line was removed, inserted or moved",
            Self::OutOfOrder => "its seq is not greater than that of the line before",
        }
    }
}

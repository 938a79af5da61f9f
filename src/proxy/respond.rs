//! What the hub tells, as HTTP: the only file that writes a certificate's answer.
//!
//! `image` and `json` take a `Permit`, so that nothing unreleased can be written here even by mistake. Errors of ours are
//! `error`'s; here stands what a release, a withheld certificate and the upstream's own refusals look like.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use crate::certificate::Status;
use crate::gateway::{CacheUse, ClientError, Forwarded, Outcome, Told};
use crate::metrics::Representation;
use crate::proxy::body::Body;
use crate::proxy::conditional::Tag;
use crate::proxy::encodings::Encodings;
use crate::proxy::error::Refusal;
use crate::reason::Reason;
use crate::release::{Permit, Withheld};

/// What the client wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// The upstream's JSON.
    Json,
    /// The JPEG itself.
    Image,
}

/// An answer, and what the observers want to know of it.
pub struct Answered {
    /// What leaves.
    pub response: Response<Body>,
    /// What it was.
    pub kind: Kind,
}

/// What an answer about a certificate was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Released in this representation, on a call sent so long ago.
    Released(Representation, Duration),
    /// Withheld: revoked or expired.
    Withheld(Reason),
    /// The upstream's own words without a certificate.
    Passed,
}

/// Writes the end of a story; what is an error of ours is handed back to be written as one.
pub fn certificate(told: Told, face: Face, request: &HeaderMap, encodings: &Encodings) -> Result<Answered, Refusal> {
    let cache = told.cache;
    match (told.outcome, face) {
        (Outcome::Release(permit), face) => Ok(released(permit, cache, face, request, encodings)),
        (Outcome::Withhold(withheld), Face::Json) => Ok(withheld_json(&withheld, cache)),
        (Outcome::Withhold(withheld), Face::Image) => Err(gone(&withheld, cache)),
        (Outcome::Decline(body), Face::Json) => Ok(passed(StatusCode::OK, body.0, cache)),
        (Outcome::Decline(_), Face::Image) => {
            Err(Refusal::of(Reason::UpstreamError).with_header(CACHE_STATUS, cache_status(cache, false)))
        }
        (Outcome::Pass(ClientError { status, body }), _) => {
            let status = StatusCode::from_u16(status).expect("a client error is between 400 and 499");
            Ok(passed(status, body.0, cache))
        }
        (Outcome::Refuse(refusal), _) => {
            let refused = Refusal::of(refusal.reason).retry_after(refusal.retry_after);
            Err(refused.with_header(CACHE_STATUS, cache_status(cache, false)))
        }
    }
}

/// `Cache-Status` (RFC 9211): how the cache took part, and whether what came is kept.
pub fn cache_status(cache: CacheUse, is_stored: bool) -> HeaderValue {
    let text = match cache {
        CacheUse::Hit { ttl } => return hit(ttl.as_secs()),
        CacheUse::Forwarded { why, collapsed } => {
            let why_word = match why {
                Forwarded::Miss => "uri-miss",
                Forwarded::Stale => "stale",
                Forwarded::Request => "request",
            };
            let stored = if is_stored && why != Forwarded::Request { "; stored" } else { "" };
            let shared = if collapsed { "; collapsed" } else { "" };
            format!("otk-gateway; fwd={why_word}{stored}{shared}")
        }
    };
    HeaderValue::from_str(&text).expect("words and digits")
}

/// Nearly every answer's: written without making a string of it first.
fn hit(ttl: u64) -> HeaderValue {
    let mut text = [0; 48];
    let mut left = &mut text[..];
    let written = write!(left, "otk-gateway; hit; ttl={ttl}");
    written.expect("22 characters, and 20 digits at most");
    let length = 48 - left.len();
    HeaderValue::from_bytes(&text[..length]).expect("words and digits")
}

fn released(permit: Permit, cache: CacheUse, face: Face, request: &HeaderMap, encodings: &Encodings) -> Answered {
    let age = permit.age();
    let tag = match face {
        Face::Image => Tag::Image(permit.etag()),
        Face::Json => Tag::Json(permit.etag(), permit.json_tag()),
    };
    let is_held = permit.allows_not_modified() && tag.is_named_by(request);
    let tag = tag.to_header();
    let (mut response, representation) = match (is_held, face) {
        (true, _) => (not_modified(&permit), Representation::NotModified),
        (false, Face::Image) => (image(permit), Representation::Image),
        (false, Face::Json) => (json(permit, encodings), Representation::Json),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    add_story(headers, Status::Active, age, cache, true);
    Answered { response, kind: Kind::Released(representation, age) }
}

/// The JPEG. There is no other way to write one.
fn image(permit: Permit) -> Response<Body> {
    let digest = HeaderValue::from_maybe_shared(permit.repr_digest().clone()).expect("base64");
    let mut response = roomy(Body::whole(permit.image().clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    headers.insert(REPR_DIGEST, digest);
    response
}

/// The upstream's JSON, written around the image while it leaves.
fn json(permit: Permit, encodings: &Encodings) -> Response<Body> {
    let text = permit.text().cloned().or_else(|| encodings.of(&permit));
    let mut response = roomy(Body::certificate(permit, text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// With room for all headers that a release carries. How long the body is, it says itself.
fn roomy(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.headers_mut() = HeaderMap::with_capacity(12);
    response
}

/// "Keep showing it" is a release too.
fn not_modified(_: &Permit) -> Response<Body> {
    let mut response = roomy(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn withheld_json(withheld: &Withheld, cache: CacheUse) -> Answered {
    let mut response = whole(StatusCode::OK, withheld.body.0.clone());
    let headers = response.headers_mut();
    add_story(headers, withheld.status, withheld.age, cache, true);
    if withheld.rebuilt {
        let word = if withheld.status == Status::Revoked { "revoked" } else { "expired" };
        headers.insert(WITHHELD, HeaderValue::from_static(word));
    }
    Answered { response, kind: Kind::Withheld(reason_of(withheld.status)) }
}

/// There is no image to show any more; the error says so, and how fresh the news is.
fn gone(withheld: &Withheld, cache: CacheUse) -> Refusal {
    Refusal::of(reason_of(withheld.status))
        .with_header(AGE, HeaderValue::from(withheld.age.as_secs()))
        .with_header(CACHE_STATUS, cache_status(cache, true))
        .with_header(STATUS, HeaderValue::from_static(withheld.status.as_str()))
}

fn passed(status: StatusCode, body: Bytes, cache: CacheUse) -> Answered {
    let is_stored = status == StatusCode::NOT_FOUND;
    let mut response = whole(status, body);
    response.headers_mut().insert(CACHE_STATUS, cache_status(cache, is_stored));
    Answered { response, kind: Kind::Passed }
}

/// A JSON text that is not to be kept by anybody.
fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn add_story(headers: &mut HeaderMap, status: Status, age: Duration, cache: CacheUse, is_stored: bool) {
    headers.insert(AGE, HeaderValue::from(age.as_secs()));
    headers.insert(CACHE_STATUS, cache_status(cache, is_stored));
    headers.insert(STATUS, HeaderValue::from_static(status.as_str()));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn reason_of(status: Status) -> Reason {
    match status {
        Status::Revoked => Reason::CertificateRevoked,
        Status::Expired => Reason::CertificateExpired,
        Status::Active => unreachable!("an ACTIVE certificate is released or refused, never withheld"),
    }
}

/// RFC 9211.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const STATUS: HeaderName = HeaderName::from_static("otk-gateway-status");
const WITHHELD: HeaderName = HeaderName::from_static("otk-gateway-withheld");

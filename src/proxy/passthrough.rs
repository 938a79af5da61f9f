//! The upstream's other calls: handed on with our key, handed back as they are, and looked at on the way if so configured.
//!
//! `observe` and `enforce` hold an answer to check its signature; a held answer that carries a certificate is refused, because
//! the release rules were not applied to it. What is too long to hold streams on under `observe`, unchecked and saying so.

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;

use crate::envelope::{Document, may_carry_certificate};
use crate::proxy::body::Body;
use crate::proxy::error::Refusal;
use crate::proxy::hygiene;
use crate::reason::Reason;
use crate::signature::{Forged, Keys};
use crate::trace::{Context, TRACEPARENT};
use crate::upstream::{self, Forward, Upstream};

/// What is done about the signature of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing; it streams.
    Off,
    /// It is checked and the finding told in a header.
    Observe,
    /// What is not valid is refused.
    Enforce,
}

/// A call to hand on.
pub struct Call<'a> {
    /// As the client sent it.
    pub method: Method,
    /// As the client sent it.
    pub path_and_query: &'a str,
    /// As the client sent them.
    pub headers: &'a HeaderMap,
    /// The client's protocol, for `Via`.
    pub version: Version,
    /// Read already, and bounded.
    pub body: Bytes,
    /// The request's name in logs, here and there.
    pub request_id: &'a str,
    /// Its place in a trace, if anybody traces.
    pub trace: Option<Context>,
}

/// Hands a call on and its answer back.
pub async fn pass(call: Call<'_>, mode: Mode, upstream: &Upstream, keys: &Keys) -> Result<Response<Body>, Refusal> {
    let mut headers = hygiene::upwards(call.headers, call.version, call.request_id);
    if let Some(trace) = call.trace {
        headers.insert(TRACEPARENT, trace.to_header());
    }
    let forward =
        Forward { method: call.method, path_and_query: call.path_and_query.to_owned(), headers, body: call.body };
    let answer = upstream.forward(forward).await.map_err(|error| refusal(&error))?;
    let (head, body) = answer.into_parts();
    if let Some(reason) = reason_of(head.status) {
        return Err(Refusal::of(reason).retry_after(upstream.budget().pause_left()));
    }
    let (body, finding) = match mode {
        Mode::Off => (Body::streamed(Bytes::new(), body), None),
        Mode::Observe | Mode::Enforce => {
            let (body, finding) = inspect(body, mode, upstream.max_response(), keys).await?;
            (body, Some(finding))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = hygiene::downwards(&head.headers, head.version);
    if let Some(finding) = finding {
        response.headers_mut().insert(SIGNATURE, HeaderValue::from_static(finding));
    }
    Ok(response)
}

/// What becomes of an error of the upstream's room.
pub fn refusal(error: &upstream::Error) -> Refusal {
    Refusal::of(error.reason()).retry_after(error.retry_after())
}

/// Statuses that mean the gateway and not its caller.
fn reason_of(status: StatusCode) -> Option<Reason> {
    match status {
        StatusCode::UNAUTHORIZED => Some(Reason::UpstreamRejectedKey),
        StatusCode::FORBIDDEN => Some(Reason::UpstreamForbidden),
        StatusCode::TOO_MANY_REQUESTS => Some(Reason::RateLimited),
        _ => None,
    }
}

async fn inspect(body: upstream::Body, mode: Mode, max: usize, keys: &Keys) -> Result<(Body, &'static str), Refusal> {
    let whole = match hold(body, max).await? {
        Held::Whole(whole) => whole,
        Held::TooLong(begun, rest) if mode == Mode::Observe => return Ok((Body::streamed(begun, rest), "unchecked")),
        Held::TooLong(..) => return Err(Refusal::of(Reason::UpstreamTooLarge)),
    };
    let finding = match Document::parse(&whole) {
        Err(_) if may_carry_certificate(&whole) => return Err(Refusal::of(Reason::UpstreamMalformed)),
        Err(_) => Err(Forged::Missing),
        Ok(document) if document.holds_certificate() => return Err(Refusal::of(Reason::UpstreamMalformed)),
        Ok(document) => keys.check(&document),
    };
    match finding {
        Err(forged) if mode == Mode::Enforce => Err(Refusal::of(forged.into())),
        Ok(_) => Ok((Body::whole(whole), "valid")),
        Err(Forged::Missing) => Ok((Body::whole(whole), "absent")),
        Err(Forged::Invalid | Forged::Malformed) => Ok((Body::whole(whole), "invalid")),
    }
}

enum Held {
    Whole(Bytes),
    TooLong(Bytes, upstream::Body),
}

async fn hold(mut body: upstream::Body, max: usize) -> Result<Held, Refusal> {
    let mut held = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::of(error.reason()))?;
        let Ok(data) = frame.into_data() else { continue };
        held.extend_from_slice(&data);
        if held.len() > max {
            return Ok(Held::TooLong(held.freeze(), body));
        }
    }
    Ok(Held::Whole(held.freeze()))
}

const SIGNATURE: HeaderName = HeaderName::from_static("otk-gateway-signature");

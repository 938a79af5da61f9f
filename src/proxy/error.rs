//! The gateway's own error answer: status, words and headers, all in one place.
//!
//! A `Refusal` is what the rooms hand over; `error_response` is the only thing that makes bytes of it. The body has the
//! upstream's own error shape, so that client code which reads the one reads the other. It never holds a path, a token or
//! any other value of the request. The surprising decision: status, RFC 9209 type and message stand in one table, so that a
//! new reason cannot get one without the others.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use crate::certificate::Timestamp;
use crate::reason::Reason;

/// Why a request gets an error of ours, and what the answer has to say beyond the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    status: StatusCode,
    message: Cow<'static, str>,
    allow: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    close: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
}

// === impl Refusal ===

impl Refusal {
    /// With the usual status and message of this reason.
    pub fn of(reason: Reason) -> Self {
        let Row { status, message, .. } = row(reason);
        let message = Cow::Borrowed(message);
        Self { reason, status, message, allow: None, retry_after: None, close: false, headers: Vec::new() }
    }

    /// A head beyond `listen.max_header`: 431 instead of the 413 that stands for a body.
    pub fn head_too_large() -> Self {
        let refusal = Self::of(Reason::RequestTooLarge)
            .saying("the head of the request is larger than listen.max_header; send less in headers");
        Self { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, close: true, ..refusal }
    }

    /// A more telling message. It is shown to people and logged: no values of the request.
    pub fn saying(self, message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// The methods that would be accepted, as they stand in `Allow`.
    pub fn allowing(self, methods: impl Into<Cow<'static, str>>) -> Self {
        Self { allow: Some(methods.into()), ..self }
    }

    /// How long to wait before asking again; said in whole seconds, rounded up, and only with a 503. Unknown: one second.
    pub fn retry_after(self, wait: impl Into<Option<Duration>>) -> Self {
        Self { retry_after: wait.into(), ..self }
    }

    /// One more header: what the cache did, the status of a certificate that is withheld. It cannot replace one that every
    /// error has.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The connection ends with this answer, because where its next request begins is in doubt.
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// The word for log, metric and audit line.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The status code it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What people are told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the connection ends with the answer.
    pub fn closes(&self) -> bool {
        self.close
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::of(reason)
    }
}

/// The whole answer, `x-request-id` and `Content-Length` included. `request_id` is one that `route::request_id` let pass or
/// one of ours.
pub fn error_response(refusal: &Refusal, now: Timestamp, request_id: &str) -> Response<Bytes> {
    let body = body(refusal, now, request_id);
    let mut response = Response::new(body);
    *response.status_mut() = refusal.status;
    let length = HeaderValue::from(response.body().len());
    let headers = response.headers_mut();
    headers.extend(refusal.headers.iter().cloned());
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(PROXY_STATUS, proxy_status(refusal.reason));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    add_status_headers(headers, refusal);
    response
}

/// `Proxy-Status: otk-gateway; error=<type>; details="<reason>"` (RFC 9209).
pub fn proxy_status(reason: Reason) -> HeaderValue {
    let text = format!("otk-gateway; error={}; details=\"{reason}\"", row(reason).error);
    HeaderValue::from_str(&text).expect("types and reasons are lower-case words")
}

/// What a status code owes its reader beyond the body.
fn add_status_headers(headers: &mut HeaderMap, refusal: &Refusal) {
    match refusal.status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            // RFC 9110 wants the header on every 405; an empty one says that no method is allowed.
            let methods = refusal.allow.as_deref().unwrap_or_default();
            headers.insert(ALLOW, HeaderValue::from_str(methods).expect("methods are tokens"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            let seconds = refusal.retry_after.map_or(1, |wait| wait.as_nanos().div_ceil(1_000_000_000).max(1) as u64);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        _ => {}
    }
    if refusal.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close")); // the HTTP/2 library drops it
    }
}

fn body(refusal: &Refusal, now: Timestamp, request_id: &str) -> Bytes {
    let body = Body {
        success: false,
        data: (),
        message: &refusal.message,
        signature: "",
        meta: Meta { timestamp: now.to_rfc3339(), request_id },
        errors: [Entry { code: refusal.reason.code(), kind: "GATEWAY", message: &refusal.message }],
    };
    serde_json::to_vec(&body).expect("strings and a null always serialise").into()
}

/// The members in the contract's order.
#[derive(Serialize)]
struct Body<'a> {
    success: bool,
    data: (),
    message: &'a str,
    signature: &'static str,
    meta: Meta<'a>,
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Meta<'a> {
    timestamp: String,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: String,
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

struct Row {
    status: StatusCode,
    /// A type registered by RFC 9209, section 2.3; where none is made for the case, the one whose advice fits.
    error: &'static str,
    message: &'static str,
}

const fn answer(status: StatusCode, error: &'static str, message: &'static str) -> Row {
    Row { status, error, message }
}

/// The table: what happened, and what to do about it.
const fn row(reason: Reason) -> Row {
    use StatusCode as S;
    match reason {
        Reason::InvalidJourneyToken => answer(
            S::BAD_REQUEST,
            "http_request_error",
            "the journey token in the path is not a UUID v4; send it as 36 characters with hyphens",
        ),
        Reason::InvalidRequest => answer(
            S::BAD_REQUEST,
            "http_request_error",
            "the request breaks HTTP or the gateway's rules for it; correct the client",
        ),
        Reason::ClientUnauthenticated => answer(
            S::UNAUTHORIZED,
            "http_request_denied",
            "the client token is missing or wrong; send Authorization: Bearer with the token of this gateway",
        ),
        Reason::RouteNotAllowed => answer(
            S::FORBIDDEN,
            "http_request_denied",
            "the path is not one this gateway passes on; list it under [[passthrough]] if it should",
        ),
        Reason::CrossSite => answer(
            S::FORBIDDEN,
            "http_request_denied",
            "a web page of another origin asked; add its origin to listen.allowed_origins if it may",
        ),
        Reason::MethodNotAllowed => answer(
            S::METHOD_NOT_ALLOWED,
            "http_request_error",
            "the path does not take this method; the Allow header names those it takes",
        ),
        Reason::CertificateRevoked => answer(
            S::GONE,
            "proxy_internal_response",
            "the certificate was revoked; its image must not be shown any more",
        ),
        Reason::CertificateExpired => answer(
            S::GONE,
            "proxy_internal_response",
            "the certificate has expired; its image must not be shown any more",
        ),
        Reason::RequestTooLarge => answer(
            S::PAYLOAD_TOO_LARGE,
            "http_request_error",
            "the body of the request is larger than the gateway takes; send a smaller one",
        ),
        Reason::HostNotAllowed => answer(
            S::MISDIRECTED_REQUEST,
            "http_request_denied",
            "the host that the request names is not one of this gateway's; add it to listen.allowed_hosts if it is",
        ),
        Reason::Internal => answer(
            S::INTERNAL_SERVER_ERROR,
            "proxy_internal_error",
            "the gateway failed at this one request; its log has more under the request id",
        ),
        Reason::UpstreamUnreachable => answer(
            S::BAD_GATEWAY,
            "destination_unavailable",
            "no whole answer came from the upstream (name, connection, TLS, early end); otk-gateway doctor tells more",
        ),
        Reason::UpstreamRejectedKey => answer(
            S::BAD_GATEWAY,
            "proxy_configuration_error",
            "the upstream rejected the gateway's API key; the operator has to check it",
        ),
        Reason::UpstreamForbidden => answer(
            S::BAD_GATEWAY,
            "proxy_configuration_error",
            "the upstream refused the gateway; its address may not be allow-listed, or a quota is used up",
        ),
        Reason::UpstreamError => {
            answer(S::BAD_GATEWAY, "destination_unavailable", "the upstream failed at this request; ask again later")
        }
        Reason::UpstreamMalformed => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "the upstream's answer does not have the documented shape; nothing of it is passed on",
        ),
        Reason::UpstreamTooLarge => answer(
            S::BAD_GATEWAY,
            "http_response_body_size",
            "the upstream's answer is larger than upstream.max_response",
        ),
        Reason::SignatureMissing => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "the upstream's answer is not signed; nothing of it is passed on",
        ),
        Reason::SignatureInvalid => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "the upstream's signature verifies under none of signature.public_keys; nothing of the answer is passed on",
        ),
        Reason::ResponseReplayed => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "the upstream's answer was signed longer ago than signature.max_age; it may be a replay",
        ),
        Reason::ResponseRolledBack => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "the upstream's answer is older than one seen for this journey; ask again, purge with forget if it lasts",
        ),
        Reason::ClockSkew => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "the upstream's answer was signed further ahead than signature.clock_skew; check this machine's clock",
        ),
        Reason::IdentityMismatch => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "the upstream's answer is not about the person this journey belongs to; purge with forget if that is right",
        ),
        Reason::EtagConflict => answer(
            S::BAD_GATEWAY,
            "http_protocol_error",
            "two persons share one ETag with different images; purge with forget once the upstream is corrected",
        ),
        Reason::RateLimited => answer(
            S::SERVICE_UNAVAILABLE,
            "connection_limit_reached",
            "the rate at which the upstream may be called is used up; ask again after Retry-After",
        ),
        Reason::UpstreamSuspended => answer(
            S::SERVICE_UNAVAILABLE,
            "destination_unavailable",
            "the upstream failed too often or asked for a pause, and is left alone; ask again after Retry-After",
        ),
        Reason::Overloaded => answer(
            S::SERVICE_UNAVAILABLE,
            "proxy_internal_response",
            "the gateway carries as much as it is configured to; ask again after Retry-After",
        ),
        Reason::AuditUnavailable => answer(
            S::SERVICE_UNAVAILABLE,
            "proxy_internal_error",
            "the audit record cannot be written, and without it nothing is released; the operator has to act",
        ),
        Reason::ShuttingDown => answer(
            S::SERVICE_UNAVAILABLE,
            "proxy_internal_response",
            "the gateway is shutting down; ask again after Retry-After",
        ),
        Reason::UpstreamTimeout => answer(
            S::GATEWAY_TIMEOUT,
            "http_response_timeout",
            "the upstream did not answer within upstream.request_timeout",
        ),
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW: Timestamp = Timestamp(1_747_131_330_456_000_000);

    fn header(response: &Response<Bytes>, name: &str) -> Option<String> {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn every_reason_has_the_status_of_the_contract() {
        let table: &[(u16, &[Reason])] = &[
            (400, &[Reason::InvalidJourneyToken, Reason::InvalidRequest]),
            (401, &[Reason::ClientUnauthenticated]),
            (403, &[Reason::RouteNotAllowed, Reason::CrossSite]),
            (405, &[Reason::MethodNotAllowed]),
            (410, &[Reason::CertificateRevoked, Reason::CertificateExpired]),
            (413, &[Reason::RequestTooLarge]),
            (421, &[Reason::HostNotAllowed]),
            (500, &[Reason::Internal]),
            (502, &[Reason::UpstreamUnreachable, Reason::UpstreamRejectedKey, Reason::UpstreamForbidden]),
            (502, &[Reason::UpstreamError, Reason::UpstreamMalformed, Reason::UpstreamTooLarge]),
            (502, &[Reason::SignatureMissing, Reason::SignatureInvalid, Reason::ResponseReplayed]),
            (502, &[Reason::ResponseRolledBack, Reason::ClockSkew, Reason::IdentityMismatch, Reason::EtagConflict]),
            (503, &[Reason::RateLimited, Reason::UpstreamSuspended, Reason::Overloaded]),
            (503, &[Reason::AuditUnavailable, Reason::ShuttingDown]),
            (504, &[Reason::UpstreamTimeout]),
        ];
        let mut judged = HashSet::new();
        for (status, reasons) in table {
            for reason in *reasons {
                assert_eq!(Refusal::of(*reason).status().as_u16(), *status, "{reason}");
                judged.insert(*reason);
            }
        }
        assert_eq!(judged.len(), Reason::ALL.len(), "every reason stands in the table");
        assert_eq!(Refusal::head_too_large().status().as_u16(), 431);
    }

    #[test]
    fn every_reason_travels_under_a_registered_proxy_error_type() {
        // RFC 9209, section 2.3, those of them that a proxy without upgrades could ever say.
        let registered = [
            "dns_timeout",
            "dns_error",
            "destination_not_found",
            "destination_unavailable",
            "destination_ip_prohibited",
            "destination_ip_unroutable",
            "connection_refused",
            "connection_terminated",
            "connection_timeout",
            "connection_read_timeout",
            "connection_write_timeout",
            "connection_limit_reached",
            "tls_protocol_error",
            "tls_certificate_error",
            "tls_alert_received",
            "http_request_error",
            "http_request_denied",
            "http_response_incomplete",
            "http_response_header_section_size",
            "http_response_header_size",
            "http_response_body_size",
            "http_response_trailer_section_size",
            "http_response_trailer_size",
            "http_response_transfer_coding",
            "http_response_content_coding",
            "http_response_timeout",
            "http_protocol_error",
            "proxy_internal_response",
            "proxy_internal_error",
            "proxy_configuration_error",
            "proxy_loop_detected",
        ];
        for reason in Reason::ALL {
            assert!(registered.contains(&row(*reason).error), "{reason}");
            assert!(!row(*reason).message.is_empty(), "{reason}");
        }
        let value = proxy_status(Reason::SignatureInvalid);
        assert_eq!(value, "otk-gateway; error=http_protocol_error; details=\"signature-invalid\"");
    }

    #[test]
    fn the_body_is_the_upstreams_error_shape_to_the_byte() {
        let refusal = Refusal::of(Reason::SignatureInvalid).saying("it said \"no\"");
        let response = error_response(&refusal, NOW, "req-1");
        assert_eq!(
            std::str::from_utf8(response.body()).unwrap(),
            r#"{"success":false,"data":null,"message":"it said \"no\"","signature":"","meta":{"timestamp":"2025-05-13T10:15:30.456Z","request_id":"req-1"},"errors":[{"code":"OTK-GATEWAY-SIGNATURE-INVALID","type":"GATEWAY","message":"it said \"no\""}]}"#
        );
        assert_eq!(header(&response, "content-length"), Some(response.body().len().to_string()));
        assert_eq!(header(&response, "content-type").as_deref(), Some("application/json"));
        assert_eq!(header(&response, "x-request-id").as_deref(), Some("req-1"));
    }

    #[test]
    fn no_error_may_be_stored_or_sniffed() {
        for reason in Reason::ALL {
            let response = error_response(&Refusal::of(*reason), NOW, "req-1");
            assert_eq!(header(&response, "cache-control").as_deref(), Some("no-store"), "{reason}");
            assert_eq!(header(&response, "x-content-type-options").as_deref(), Some("nosniff"), "{reason}");
            assert!(header(&response, "proxy-status").unwrap().contains(reason.as_str()));
            assert_eq!(header(&response, "connection"), None, "{reason}");
        }
    }

    #[test]
    fn only_a_503_says_when_to_come_back_and_rounds_up() {
        for reason in Reason::ALL {
            let response = error_response(&Refusal::of(*reason), NOW, "req-1");
            assert_eq!(header(&response, "retry-after").is_some(), response.status() == 503, "{reason}");
        }
        let unknown = error_response(&Refusal::of(Reason::Overloaded).retry_after(None), NOW, "req-1");
        assert_eq!(header(&unknown, "retry-after").as_deref(), Some("1"));
        for (millis, said) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
            let refusal = Refusal::of(Reason::RateLimited).retry_after(Duration::from_millis(millis));
            let response = error_response(&refusal, NOW, "req-1");
            assert_eq!(header(&response, "retry-after").as_deref(), Some(said), "{millis} ms");
        }
    }

    #[test]
    fn a_401_asks_for_a_bearer_token_and_a_405_names_the_methods() {
        let response = error_response(&Refusal::of(Reason::ClientUnauthenticated), NOW, "req-1");
        assert_eq!(header(&response, "www-authenticate").as_deref(), Some("Bearer"));
        let response = error_response(&Refusal::of(Reason::MethodNotAllowed).allowing("GET, HEAD"), NOW, "req-1");
        assert_eq!(header(&response, "allow").as_deref(), Some("GET, HEAD"));
        let response = error_response(&Refusal::of(Reason::MethodNotAllowed), NOW, "req-1");
        assert_eq!(header(&response, "allow").as_deref(), Some(""));
    }

    #[test]
    fn a_refusal_may_carry_further_headers_but_not_replace_ours() {
        let status = HeaderName::from_static("otk-gateway-status");
        let refusal = Refusal::of(Reason::CertificateRevoked)
            .with_header(status, HeaderValue::from_static("REVOKED"))
            .with_header(CACHE_CONTROL, HeaderValue::from_static("public"));
        let response = error_response(&refusal, NOW, "req-1");
        assert_eq!(header(&response, "otk-gateway-status").as_deref(), Some("REVOKED"));
        assert_eq!(response.headers().get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), ["no-store"]);
    }

    #[test]
    fn a_refusal_that_closes_says_so() {
        let response = error_response(&Refusal::of(Reason::InvalidRequest).closing(), NOW, "req-1");
        assert_eq!(header(&response, "connection").as_deref(), Some("close"));
    }

    #[test]
    fn the_message_for_a_foreign_host_names_the_setting() {
        assert!(Refusal::of(Reason::HostNotAllowed).message().contains("listen.allowed_hosts"));
    }
}

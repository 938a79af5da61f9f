//! The words for why no image left: one enum, one spelling.
//!
//! The same word stands in the response body (upper case, after `OTK-GATEWAY-`), in the log, in the metric label and in the
//! tests. This room only names; which status code a word travels with is `proxy::respond`'s business, and which rule produces
//! it is told where the rule stands.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $word:literal,)*) => {
        /// Why a request got no certificate, or no answer at all.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason there is, in the order of the contract's table.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The word, in lower case with hyphens: metric label, log field and audit reason.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $word,)* }
            }
        }
    };
}

reasons! {
    /// The path names no UUID v4.
    InvalidJourneyToken => "invalid-journey-token",
    /// The request breaks HTTP or the gateway's rules for it.
    InvalidRequest => "invalid-request",
    /// The client token is missing or wrong.
    ClientUnauthenticated => "client-unauthenticated",
    /// The path is not on the passthrough list.
    RouteNotAllowed => "route-not-allowed",
    /// A web page of a foreign origin asked.
    CrossSite => "cross-site",
    /// The path is known, the method is not.
    MethodNotAllowed => "method-not-allowed",
    /// The upstream says the certificate was revoked.
    CertificateRevoked => "certificate-revoked",
    /// The certificate is past its time.
    CertificateExpired => "certificate-expired",
    /// The head or the body of the request is too large.
    RequestTooLarge => "request-too-large",
    /// `Host` is none of ours.
    HostNotAllowed => "host-not-allowed",
    /// The gateway itself failed at this one request.
    Internal => "internal",
    /// No whole answer: DNS, connect, TLS, or the connection ended early.
    UpstreamUnreachable => "upstream-unreachable",
    /// Upstream said 401.
    UpstreamRejectedKey => "upstream-rejected-key",
    /// Upstream said 403: address not listed, or a quota.
    UpstreamForbidden => "upstream-forbidden",
    /// Upstream failed (5xx), or said so in a signed answer.
    UpstreamError => "upstream-error",
    /// Upstream's answer is no answer of the documented shape.
    UpstreamMalformed => "upstream-malformed",
    /// Upstream's answer is larger than `upstream.max_response`.
    UpstreamTooLarge => "upstream-too-large",
    /// The answer carries no signature.
    SignatureMissing => "signature-missing",
    /// The signature verifies under none of the current keys.
    SignatureInvalid => "signature-invalid",
    /// The signed time is older than `signature.max_age`.
    ResponseReplayed => "response-replayed",
    /// The signed time is not later than what this journey has already seen.
    ResponseRolledBack => "response-rolled-back",
    /// The signed time is further in the future than `signature.clock_skew`.
    ClockSkew => "clock-skew",
    /// The answer is about somebody else, or was given for another journey.
    IdentityMismatch => "identity-mismatch",
    /// Two persons, one ETag, different images.
    EtagConflict => "etag-conflict",
    /// No turn under the request rate in time, ours or upstream's.
    RateLimited => "rate-limited",
    /// Upstream asked for a pause, or failed too often.
    UpstreamSuspended => "upstream-suspended",
    /// More at once than the gateway is configured to carry.
    Overloaded => "overloaded",
    /// The audit record could not be written.
    AuditUnavailable => "audit-unavailable",
    /// The process is about to end.
    ShuttingDown => "shutting-down",
    /// Upstream did not answer in time.
    UpstreamTimeout => "upstream-timeout",
}

impl Reason {
    /// The code in the error body: `OTK-GATEWAY-SIGNATURE-INVALID`.
    pub fn code(self) -> String {
        format!("OTK-GATEWAY-{}", self.as_str().to_ascii_uppercase())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! Which headers travel with a passed-on call, upwards and downwards.
//!
//! Whatever is not named here passes as it is. Removal comes first and our own headers after it, so that no `Connection` of
//! either side can strip them. The work grows with the size of the head, not with the length of `Connection` times the
//! number of headers. The surprising decision: names are compared with `_` read as `-`, because much that runs behind a
//! proxy (CGI, WSGI, PHP) does the same, and `X_HTTP_Method_Override` must not get through where the other spelling may not.

use std::borrow::Cow;
use std::collections::HashSet;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, VIA,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Version};

/// The caller's headers as upstream may see them. `version` is the one the request came in, `request_id` the one we answer
/// with, so that the caller's, upstream's and our own records speak of the same. Missing are `Host` and the API key: the
/// caller of this function adds them.
///
/// Conditions and ranges do not travel: the answer would be a 304, a 412 or a piece, which no signature covers.
/// `Cache-Control` is always `no-cache`, so that no cache on the way answers in the upstream's place.
pub fn upwards(headers: &HeaderMap, version: Version, request_id: &str) -> HeaderMap {
    let mut kept = keep(headers, |name| !is_hop_by_hop(name) && !is_barred_upwards(name));
    kept.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    kept.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        kept.insert(X_REQUEST_ID, id);
    }
    add_via(&mut kept, version);
    kept
}

/// Upstream's headers as the caller may see them. `version` is the one the answer came in.
pub fn downwards(headers: &HeaderMap, version: Version) -> HeaderMap {
    let mut kept = keep(headers, |name| !is_hop_by_hop(name) && !is_barred_downwards(name));
    if headers.contains_key(TRANSFER_ENCODING) {
        kept.remove(CONTENT_LENGTH); // the other framing wins (RFC 9112, section 6.3), and ours is made anew
    }
    if kept.get_all(CACHE_CONTROL).iter().all(|value| value.as_bytes().trim_ascii().is_empty()) {
        kept.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    kept.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    add_via(&mut kept, version);
    kept
}

/// Puts `<protocol> otk-gateway` at the end of `Via`, in one line with what stood there before.
fn add_via(headers: &mut HeaderMap, version: Version) {
    if headers.get_all(VIA).iter().all(HeaderValue::is_empty) {
        headers.insert(VIA, via(version));
        return;
    }
    let mut line = Vec::new();
    for value in headers.get_all(VIA).iter().filter(|value| !value.is_empty()) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(alone(version).as_bytes());
    headers.insert(VIA, HeaderValue::from_bytes(&line).expect("header values joined by a comma are a header value"));
}

/// `Via` where nobody stands before us.
pub fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(alone(version))
}

fn keep(headers: &HeaderMap, may_pass: impl Fn(&str) -> bool) -> HeaderMap {
    let named = named_in_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.keys_len() + 5);
    for (name, value) in headers {
        if !named.contains(name) && may_pass(&folded(name)) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// The present headers that `Connection` declares to end here. Those without which the body means something else, or the
/// chain of proxies is lost, cannot be declared so (RFC 9110, section 7.6.1: never a field meant for all recipients).
fn named_in_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    let lines = headers.get_all(CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    options
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .filter(|name| {
            headers.contains_key(name) && !matches!(name.as_str(), "content-type" | "content-encoding" | "via")
        })
        .collect()
}

/// The name as a lenient reader would take it.
fn folded(name: &HeaderName) -> Cow<'_, str> {
    let name = name.as_str();
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn is_barred_upwards(name: &str) -> bool {
    let is_barred = matches!(
        name,
        // Between the caller and us: who it is, and how its message was framed.
        "authorization" | "cookie" | "cookie2" | "host" | "content-length" | "expect"
        // What ours replaces.
        | "x-transaction-key" | "x-request-id" | "accept-encoding" | "cache-control" | "pragma"
        // Claims about where the request came from, which only a proxy that is trusted may make.
        | "forwarded" | "x-real-ip"
        // Another path or method than the one that was found on the list.
        | "x-original-url" | "x-rewrite-url" | "x-http-method-override" | "x-http-method" | "x-method-override"
        // Conditions.
        | "if-match" | "if-none-match" | "if-modified-since" | "if-unmodified-since" | "if-range" | "range"
    );
    is_barred || name == "proxy" || ["x-forwarded-", "proxy-", OURS].iter().any(|prefix| name.starts_with(prefix))
}

/// Beside what the contract names: the API key, should upstream ever echo it, and what upstream says about its own origin,
/// which a browser would take to be about ours.
fn is_barred_downwards(name: &str) -> bool {
    let is_barred = matches!(
        name,
        "set-cookie"
            | "set-cookie2"
            | "x-transaction-key"
            | "alt-svc"
            | "clear-site-data"
            | "strict-transport-security"
    );
    is_barred || name.starts_with(OURS)
}

/// What `Via` says where nobody was before us.
fn alone(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9 otk-gateway",
        Version::HTTP_10 => "1.0 otk-gateway",
        Version::HTTP_2 => "2 otk-gateway",
        Version::HTTP_3 => "3 otk-gateway",
        _ => "1.1 otk-gateway", // the type is open, and only HTTP/1.1 is left
    }
}

const OURS: &str = "otk-gateway-";
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn up(headers: &[(&str, &str)]) -> HeaderMap {
        upwards(&map(headers), Version::HTTP_11, "req-1")
    }

    fn down(headers: &[(&str, &str)]) -> HeaderMap {
        downwards(&map(headers), Version::HTTP_11)
    }

    #[test]
    fn what_is_not_named_travels_both_ways_as_it_is() {
        let sent = [("accept", "application/json"), ("content-type", "text/plain"), ("x-app", "1"), ("x-app", "2")];
        for kept in [up(&sent), down(&sent)] {
            assert_eq!(kept["accept"], "application/json");
            assert_eq!(kept["content-type"], "text/plain");
            assert_eq!(kept.get_all("x-app").iter().collect::<Vec<_>>(), ["1", "2"]);
        }
    }

    #[test]
    fn nothing_between_the_caller_and_us_goes_upwards() {
        let barred = [
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authorization",
            "Proxy-Anything",
            "Proxy",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "HTTP2-Settings",
            "Authorization",
            "Cookie",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Anything",
            "X-Real-IP",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X_HTTP_Method_Override",
            "X_Forwarded_For",
            "X-HTTP-Method",
            "X-Method-Override",
            "x-transaction-key",
            "X_Transaction_Key",
            "Host",
            "Content-Length",
            "Expect",
            "Otk-Gateway-Status",
            "Otk-Gateway-Anything",
            "If-Match",
            "If-None-Match",
            "If-Modified-Since",
            "If-Unmodified-Since",
            "If-Range",
            "Range",
            "Pragma",
        ];
        for name in barred {
            let kept = up(&[(name, "secret")]);
            assert!(!kept.values().any(|value| value == "secret"), "{name}");
        }
    }

    #[test]
    fn cookies_keys_and_claims_about_another_origin_do_not_come_down() {
        let barred = [
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authenticate",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "Set-Cookie",
            "Set-Cookie2",
            "Otk-Gateway-Signature",
            "Otk_Gateway_Signature",
            "x-transaction-key",
            "Alt-Svc",
            "Strict-Transport-Security",
            "Clear-Site-Data",
        ];
        for name in barred {
            assert!(!down(&[(name, "secret"), (name, "more")]).values().any(|value| value == "secret"), "{name}");
        }
        assert_eq!(down(&[("proxy-status", "other; error=dns_error")])["proxy-status"], "other; error=dns_error");
    }

    #[test]
    fn headers_named_in_connection_end_here() {
        let sent = [
            ("connection", "close, X-Secret"),
            ("connection", "\tx-other ,,b@d"),
            ("x-secret", "a"),
            ("x-other", "b"),
            ("x-app", "c"),
        ];
        for kept in [up(&sent), down(&sent)] {
            assert!(
                !kept.contains_key("x-secret") && !kept.contains_key("x-other") && !kept.contains_key("connection")
            );
            assert_eq!(kept["x-app"], "c");
        }
    }

    #[test]
    fn connection_cannot_strip_what_a_body_or_the_gateway_needs() {
        let everything =
            "accept-encoding, cache-control, content-type, content-encoding, via, x-request-id, x-content-type-options";
        let sent = [
            ("connection", everything),
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("via", "1.1 other"),
            ("cache-control", "public"),
        ];
        let (upper, lower) = (up(&sent), down(&sent));
        for kept in [&upper, &lower] {
            assert_eq!(kept["content-type"], "application/json");
            assert_eq!(kept["content-encoding"], "gzip");
            assert_eq!(kept["via"], "1.1 other, 1.1 otk-gateway");
        }
        assert_eq!(
            (&upper["accept-encoding"], &upper["x-request-id"]),
            (&"identity".parse().unwrap(), &"req-1".parse().unwrap())
        );
        assert_eq!(lower["cache-control"], "no-store", "one that was stripped is one that upstream did not give");
        assert_eq!(lower["x-content-type-options"], "nosniff");
    }

    #[test]
    fn a_connection_that_names_everything_costs_no_more_than_its_length() {
        // With 2000 headers and 60 KiB of names, comparing each with each would be some twenty million comparisons.
        let names: String = (0..10_000).map(|n| format!("x-{n},")).collect();
        let mut headers = map(&[("connection", &names)]);
        for n in 0..2000 {
            headers.append(HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap(), HeaderValue::from_static("a"));
        }
        assert_eq!(named_in_connection(&headers).len(), 2000);
        assert_eq!(upwards(&headers, Version::HTTP_11, "req-1").len(), 4);
    }

    #[test]
    fn upstream_is_asked_unencoded_uncached_and_under_our_request_id() {
        let sent = [
            ("accept-encoding", "gzip"),
            ("accept-encoding", "br"),
            ("cache-control", "only-if-cached"),
            ("x-request-id", "theirs"),
        ];
        for kept in [up(&sent), up(&[])] {
            assert_eq!(kept.get_all("accept-encoding").iter().collect::<Vec<_>>(), ["identity"]);
            assert_eq!(kept.get_all("cache-control").iter().collect::<Vec<_>>(), ["no-cache"]);
            assert_eq!(kept.get_all("x-request-id").iter().collect::<Vec<_>>(), ["req-1"]);
        }
    }

    #[test]
    fn via_tells_the_protocol_and_joins_the_chain() {
        for (version, expected) in [
            (Version::HTTP_10, "1.0 otk-gateway"),
            (Version::HTTP_11, "1.1 otk-gateway"),
            (Version::HTTP_2, "2 otk-gateway"),
        ] {
            assert_eq!(upwards(&HeaderMap::new(), version, "req-1")["via"], expected);
            assert_eq!(downwards(&HeaderMap::new(), version)["via"], expected);
        }
        let chain = up(&[("via", "1.0 a, 1.1 b"), ("via", ""), ("via", "2 c (x)")]);
        assert_eq!(chain.get_all("via").iter().collect::<Vec<_>>(), ["1.0 a, 1.1 b, 2 c (x), 1.1 otk-gateway"]);
    }

    #[test]
    fn an_answer_without_cache_control_is_not_stored() {
        assert_eq!(down(&[])["cache-control"], "no-store");
        assert_eq!(down(&[("cache-control", " ")])["cache-control"], "no-store");
        assert_eq!(down(&[("cache-control", "max-age=60")])["cache-control"], "max-age=60");
    }

    #[test]
    fn a_content_length_comes_down_unless_the_framing_was_another() {
        assert_eq!(down(&[("content-length", "5")])["content-length"], "5");
        assert!(!down(&[("content-length", "5"), ("transfer-encoding", "chunked")]).contains_key("content-length"));
    }

    proptest! {
        #[test]
        fn no_head_makes_a_barred_header_travel(
            sent in proptest::collection::vec(
                (
                    "authorization|cookie|set[_-]cookie|x[_-]forwarded[_-][a-z]|te|connection|otk-gateway-[a-z]|via|[a-z]{1,6}",
                    proptest::collection::vec(prop_oneof![Just(b','), Just(b' '), 0x21u8..=0x7e, 0x80u8..=0xff], 0..20),
                ),
                0..12,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &sent {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_bytes(value).unwrap());
            }
            for name in upwards(&headers, Version::HTTP_2, "req-1").keys() {
                let name = folded(name);
                let is_bad = ["authorization", "cookie", "te", "connection"].contains(&&*name);
                prop_assert!(!is_bad && !name.starts_with("x-forwarded-") && !name.starts_with(OURS));
            }
            for name in downwards(&headers, Version::HTTP_2).keys() {
                let name = folded(name);
                prop_assert!(!["set-cookie", "te", "connection"].contains(&&*name) && !name.starts_with(OURS));
            }
        }
    }
}

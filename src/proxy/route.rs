//! Method, path and headers of a request become a `Route` or a `Refusal`.
//!
//! Pure, and complete: what gets a `Route` has passed the host check, the cross-site check, the path rules and the method
//! check, in this order. How a message is framed is judged where it is read, and who the client is (its token) by the
//! handler. Paths are compared as they came, never decoded. The surprising decision: everything below the certificate path
//! is a certificate request, so that a token in a wrong spelling is called by its name and no list can route it elsewhere.

use std::borrow::Cow;

use http::header::{CACHE_CONTROL, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::certificate::JourneyToken;
use crate::proxy::error::Refusal;
use crate::proxy::gate::Gate;
use crate::proxy::pattern::{CERTIFICATES, IMAGE, Pattern};
use crate::reason::Reason;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET|HEAD /otk-service/v1/certificates/{journeyToken}`, or its `/image`.
    Certificate {
        /// Whose certificate.
        token: JourneyToken,
        /// The JPEG itself, not the JSON around it.
        as_image: bool,
        /// HEAD: the same answer without its body.
        head: bool,
        /// `Cache-Control: no-cache`: only a call sent from now on will do.
        no_cache: bool,
    },
    /// One of the listed calls, for upstream to answer.
    Passthrough {
        /// Its place in `Rules::passthrough`.
        entry: usize,
    },
}

/// What requests are judged by.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Hosts and origins.
    pub gate: Gate,
    /// The listed calls; where two match, the first counts.
    pub passthrough: Vec<Listed>,
}

/// One `[[passthrough]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Compared exactly: listing GET does not list HEAD.
    pub method: Method,
    /// The path.
    pub pattern: Pattern,
}

/// The one way into the gateway.
pub fn route(parts: &Parts, rules: &Rules) -> Result<Route, Refusal> {
    rules.gate.admit(parts)?;
    let path = parts.uri.path();
    if let Some((segment, as_image)) = certificate_path(path) {
        return certificate(parts, segment, as_image);
    }
    if is_ambiguous(path) {
        return Err(invalid("the path contains %, \\, ; or //, which servers read differently; send it plain"));
    }
    if !path.starts_with('/') && parts.method != Method::OPTIONS {
        return Err(invalid("the request target is not a path"));
    }
    passthrough(&parts.method, path, &rules.passthrough)
}

/// The caller's `x-request-id`, if it may stand in logs: one value of `[A-Za-z0-9._-]{1,64}` in which no journey token of the
/// request's own path or query can be read, in whatever case and with or without its hyphens. This holds for listed calls
/// and refused ones as for certificates, which is why it takes the whole head and not one token.
pub fn request_id(parts: &Parts) -> Option<&str> {
    let mut values = parts.headers.get_all(X_REQUEST_ID).iter();
    let id = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !(1..=64).contains(&id.len()) || !id.bytes().all(is_legal) {
        return None;
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let bare = bare(id);
    let names_token = runs_of_token_characters(target).any(|run| tokens_within(run).any(|token| bare.contains(&token)));
    (!names_token).then_some(id)
}

/// The token's segment, whatever stands there, and whether `/image` follows.
fn certificate_path(path: &str) -> Option<(&str, bool)> {
    let rest = path.strip_prefix(CERTIFICATES)?;
    let before_image = rest.strip_suffix(IMAGE).and_then(|before| before.strip_suffix('/'));
    let segment = before_image.unwrap_or(rest);
    (!segment.contains('/')).then_some((segment, before_image.is_some()))
}

fn certificate(parts: &Parts, segment: &str, as_image: bool) -> Result<Route, Refusal> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Refusal::of(Reason::MethodNotAllowed).allowing("GET, HEAD"));
    }
    let token = JourneyToken::parse(segment).ok_or(Refusal::of(Reason::InvalidJourneyToken))?;
    if parts.uri.query().is_some() {
        return Err(invalid("a certificate is asked for without a query string; leave out the ? and what follows"));
    }
    let (head, no_cache) = (parts.method == Method::HEAD, wants_no_cache(&parts.headers));
    Ok(Route::Certificate { token, as_image, head, no_cache })
}

fn passthrough(method: &Method, path: &str, listed: &[Listed]) -> Result<Route, Refusal> {
    let mut allowed: Vec<&str> = Vec::new();
    for (entry, call) in listed.iter().enumerate().filter(|(_, call)| call.pattern.matches(path)) {
        if call.method == method {
            return Ok(Route::Passthrough { entry });
        }
        if !allowed.contains(&call.method.as_str()) {
            allowed.push(call.method.as_str());
        }
    }
    if allowed.is_empty() {
        return Err(Refusal::of(Reason::RouteNotAllowed));
    }
    Err(Refusal::of(Reason::MethodNotAllowed).allowing(Cow::Owned(allowed.join(", "))))
}

fn is_ambiguous(path: &str) -> bool {
    path.contains(['%', '\\', ';']) || path.contains("//")
}

/// Only the plain directive: with a list of fields it belongs to answers. `Pragma: no-cache` is not honoured (obsolete since
/// RFC 9111), nor is `max-age=0`: browsers send that with every reload, and it would spend calls on what is confirmed anyway.
fn wants_no_cache(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().any(|line| {
        let mut directives = split_outside_quotes(line.as_bytes());
        directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
    })
}

/// At each comma that is not within a quoted string.
fn split_outside_quotes(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |b| {
        let was_escaped = std::mem::take(&mut escaped);
        match b {
            b'\\' if quoted && !was_escaped => escaped = true,
            b'"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        *b == b',' && !quoted
    })
}

/// Stretches of the target in which a token could stand: hexadecimal digits and hyphens.
fn runs_of_token_characters(target: &str) -> impl Iterator<Item = &str> {
    target.split(|c: char| !c.is_ascii_hexdigit() && c != '-').filter(|run| run.len() >= TOKEN_LENGTH)
}

/// Every token in the run, bare. A run is all ASCII, so any 36 bytes of it are a text.
fn tokens_within(run: &str) -> impl Iterator<Item = String> {
    let windows = (0..=run.len() - TOKEN_LENGTH).map(|start| &run[start..start + TOKEN_LENGTH]);
    windows.filter(|window| JourneyToken::parse(window).is_some()).map(bare)
}

/// Lower case, and without what may stand between two digits of an id.
fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::of(Reason::InvalidRequest).saying(message)
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TOKEN_LENGTH: usize = 36;

#[cfg(test)]
mod tests {
    use http::{Request, Version};
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::gate::Host;

    const TOKEN: &str = "0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b";

    fn rules() -> Rules {
        let calls = [
            ("POST", "/otk-service/v2/create-journey"),
            ("GET", "/otk-service/v2/journey-details/{journeyToken}"),
            ("GET", "/otk-service/v2/{call}/status"),
            ("PUT", "/otk-service/v2/journeys/{x}"),
            ("DELETE", "/otk-service/v2/journeys/{y}"),
            ("PUT", "/otk-service/v2/journeys/{z}"),
        ];
        let passthrough = calls
            .map(|(method, path)| Listed { method: method.parse().unwrap(), pattern: Pattern::parse(path).unwrap() });
        Rules { gate: Gate::new([Host::parse("localhost").unwrap()], []), passthrough: passthrough.into() }
    }

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request =
            Request::builder().version(Version::HTTP_11).method(method).uri(uri).header("host", "localhost:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn ask(method: &str, uri: &str) -> Result<Route, Reason> {
        route(&parts(method, uri, &[]), &rules()).map_err(|refusal| refusal.reason())
    }

    fn certificate_route(as_image: bool, head: bool, no_cache: bool) -> Route {
        Route::Certificate { token: JourneyToken::parse(TOKEN).unwrap(), as_image, head, no_cache }
    }

    #[test]
    fn a_certificate_is_asked_for_by_its_exact_path() {
        let upper = TOKEN.to_ascii_uppercase();
        for (method, uri, expected) in [
            ("GET", format!("{CERTIFICATES}{TOKEN}"), certificate_route(false, false, false)),
            ("HEAD", format!("{CERTIFICATES}{TOKEN}"), certificate_route(false, true, false)),
            ("GET", format!("{CERTIFICATES}{TOKEN}/image"), certificate_route(true, false, false)),
            ("HEAD", format!("{CERTIFICATES}{TOKEN}/image"), certificate_route(true, true, false)),
            ("GET", format!("{CERTIFICATES}{upper}"), certificate_route(false, false, false)),
            ("GET", format!("http://localhost{CERTIFICATES}{upper}/image"), certificate_route(true, false, false)),
        ] {
            assert_eq!(ask(method, &uri), Ok(expected), "{method} {uri}");
        }
    }

    #[test]
    fn what_is_nearly_a_certificate_path_is_refused_by_its_name() {
        let token = Err(Reason::InvalidJourneyToken);
        let request = Err(Reason::InvalidRequest);
        let unlisted = Err(Reason::RouteNotAllowed);
        let method = Err(Reason::MethodNotAllowed);
        for (verb, uri, expected) in [
            ("GET", CERTIFICATES.to_owned(), token.clone()),
            ("GET", format!("{CERTIFICATES}/image"), token.clone()),
            ("GET", format!("{CERTIFICATES}image"), token.clone()),
            ("GET", format!("{CERTIFICATES}not-a-token"), token.clone()),
            ("GET", format!("{CERTIFICATES}not-a-token/image"), token.clone()),
            ("GET", format!("{CERTIFICATES}not-a-token?a=b"), token.clone()),
            ("GET", format!("{CERTIFICATES}.."), token.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}%20"), token.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN};a=b"), token.clone()),
            ("GET", format!("{CERTIFICATES}%2e%2e%2fcreate"), token.clone()),
            ("GET", format!("{CERTIFICATES}{}", TOKEN.replace('-', "")), token.clone()),
            ("GET", format!("{CERTIFICATES}{}", TOKEN.replace("-4e8f", "-1e8f")), token.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}?"), request.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}?a=b"), request.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}/image?a=b"), request.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}//image"), request.clone()),
            ("GET", format!("/{CERTIFICATES}{TOKEN}"), request.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}/"), unlisted.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}/Image"), unlisted.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}/image/"), unlisted.clone()),
            ("GET", format!("{CERTIFICATES}{TOKEN}/pdf"), unlisted.clone()),
            ("GET", format!("{CERTIFICATES}../certificates/{TOKEN}"), unlisted.clone()),
            ("GET", format!("/OTK-service/v1/certificates/{TOKEN}"), unlisted.clone()),
            ("GET", "/otk-service/v1/certificates".to_owned(), unlisted.clone()),
            ("POST", format!("{CERTIFICATES}{TOKEN}"), method.clone()),
            ("OPTIONS", format!("{CERTIFICATES}{TOKEN}/image"), method.clone()),
            ("TRACE", format!("{CERTIFICATES}{TOKEN}"), method.clone()),
            ("get", format!("{CERTIFICATES}{TOKEN}"), method.clone()),
        ] {
            assert_eq!(ask(verb, &uri), expected, "{verb} {uri}");
        }
    }

    #[test]
    fn only_listed_calls_pass() {
        let unlisted = Err(Reason::RouteNotAllowed);
        let request = Err(Reason::InvalidRequest);
        let method = Err(Reason::MethodNotAllowed);
        for (verb, uri, expected) in [
            ("POST", "/otk-service/v2/create-journey", Ok(Route::Passthrough { entry: 0 })),
            ("POST", "/otk-service/v2/create-journey?a=%20b;c//d", Ok(Route::Passthrough { entry: 0 })),
            ("GET", "/otk-service/v2/journey-details/abc", Ok(Route::Passthrough { entry: 1 })),
            ("GET", "/otk-service/v2/journey-details/status", Ok(Route::Passthrough { entry: 1 })),
            ("PUT", "/otk-service/v2/journeys/1", Ok(Route::Passthrough { entry: 3 })),
            ("DELETE", "/otk-service/v2/journeys/1", Ok(Route::Passthrough { entry: 4 })),
            ("GET", "/otk-service/v2/create-journey", method.clone()),
            ("HEAD", "/otk-service/v2/journey-details/abc", method.clone()),
            ("GET", "/otk-service/v2/journey-details/a%62c", request.clone()),
            ("GET", "/otk-service/v2/journey-details/abc;x", request.clone()),
            ("GET", "/otk-service/v2//journey-details/abc", request.clone()),
            ("GET", "/otk-service\\v2", request.clone()),
            ("GET", "*", request.clone()),
            ("OPTIONS", "*", unlisted.clone()),
            ("GET", "/otk-service/v2/journey-details/..", unlisted.clone()),
            ("GET", "/otk-service/v2/./create-journey", unlisted.clone()),
            ("GET", "/otk-service/v2/journey-details/abc/", unlisted.clone()),
            ("GET", "/", unlisted.clone()),
            ("POST", "http://localhost", unlisted.clone()),
        ] {
            assert_eq!(ask(verb, uri), expected, "{verb} {uri}");
        }
    }

    #[test]
    fn allow_names_every_listed_method_once() {
        let refusal = |verb, uri: &str| route(&parts(verb, uri, &[]), &rules()).unwrap_err();
        let expect = |methods: &'static str| Refusal::of(Reason::MethodNotAllowed).allowing(methods);
        assert_eq!(refusal("PATCH", "/otk-service/v2/journeys/1"), expect("PUT, DELETE"));
        assert_eq!(refusal("PUT", &format!("{CERTIFICATES}{TOKEN}")), expect("GET, HEAD"));
    }

    #[test]
    fn the_gate_is_asked_before_anything_else() {
        let uri = "http://evil.example/otk-service/v1/certificates/x";
        let foreign =
            Request::builder().method("PUT").uri(uri).header("host", "evil.example").body(()).unwrap().into_parts().0;
        assert_eq!(route(&foreign, &rules()).unwrap_err().reason(), Reason::HostNotAllowed);
        let page = parts("PUT", "/a//b", &[("origin", "null")]);
        assert_eq!(route(&page, &rules()).unwrap_err().reason(), Reason::CrossSite);
    }

    #[test]
    fn no_cache_is_heard_among_other_directives() {
        let (control, pragma) = ("cache-control", "pragma");
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[(control, "no-cache")], true),
            (&[(control, "No-Cache")], true),
            (&[(control, "max-age=0, no-cache")], true),
            (&[(control, "no-cache,no-store")], true),
            (&[(control, " ,\tno-cache\t,")], true),
            (&[(control, "no-transform"), (control, "no-cache")], true),
            (&[(control, "a=\"b\", no-cache")], true),
            (&[(control, "a=\"b\\\"\", no-cache")], true),
            (&[(control, "no-store")], false),
            (&[(control, "max-age=0")], false),
            (&[(control, "no-cache=\"set-cookie\"")], false),
            (&[(control, "x-no-cache")], false),
            (&[(control, "no-cached")], false),
            (&[(control, "a=\"b, no-cache, c\"")], false),
            (&[(control, "a=\"b\\\", no-cache, c\"")], false),
            (&[(pragma, "no-cache")], false),
        ];
        for (headers, expected) in table {
            let asked = route(&parts("GET", &format!("{CERTIFICATES}{TOKEN}"), headers), &rules());
            assert_eq!(asked, Ok(certificate_route(false, false, *expected)), "{headers:?}");
        }
    }

    #[test]
    fn a_request_id_is_taken_over_unless_it_tells_the_token() {
        let path = format!("{CERTIFICATES}{TOKEN}/image");
        let bare = TOKEN.replace('-', "");
        let long = "x".repeat(64);
        let longer = "x".repeat(65);
        let other = "5c4d3e2f-3c1d-4e8f-9a6b-0b7a9f521a0b";
        let table = [
            ("abc", true),
            ("A.b_c-1", true),
            (other, true),
            (&long, true),
            (&longer, false),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("a\u{e9}", false),
            (TOKEN, false),
            (&TOKEN.to_ascii_uppercase(), false),
            (&bare, false),
            (&format!("app.{TOKEN}.1"), false),
            (&format!("app-{bare}"), false),
            (&TOKEN.replace('-', "_"), false),
            (&format!("{}.{}", &bare[..16], &bare[16..]), false),
        ];
        for (id, taken) in table {
            let parts = parts("GET", &path, &[("x-request-id", id)]);
            assert_eq!(request_id(&parts), taken.then_some(id), "{id}");
        }
    }

    #[test]
    fn a_request_id_must_not_tell_a_token_that_stands_anywhere_in_the_target() {
        for uri in [
            format!("/otk-service/v2/journey-details/{TOKEN}"),
            format!("/otk-service/v2/journey-details/{}", TOKEN.to_ascii_uppercase()),
            format!("/unlisted?journey={TOKEN}"),
            format!("/unlisted/a-{TOKEN}-b"),
            format!("{CERTIFICATES}{TOKEN}%20"),
        ] {
            assert_eq!(request_id(&parts("GET", &uri, &[("x-request-id", TOKEN)])), None, "{uri}");
        }
        let twice = [("x-request-id", "a"), ("x-request-id", "b")];
        assert_eq!(request_id(&parts("GET", "/", &twice)), None);
        assert_eq!(request_id(&parts("GET", "/", &[])), None);
        assert_eq!(request_id(&parts("OPTIONS", "*", &[("x-request-id", "a")])), Some("a"));
    }

    #[test]
    fn no_refusal_repeats_what_was_asked() {
        for uri in
            [format!("{CERTIFICATES}{TOKEN}?secret"), format!("{CERTIFICATES}x{TOKEN}"), format!("/{TOKEN}%20secret")]
        {
            for verb in ["GET", "POST"] {
                let shown = format!("{:?}", route(&parts(verb, &uri, &[]), &rules()).unwrap_err());
                assert!(!shown.contains(TOKEN) && !shown.contains("secret"), "{shown}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_routed_was_plain(
            path in "/(otk-service/v[12]/(certificates|journey-details|create-journey)/)?[ -~]{0,50}",
        ) {
            let Ok(request) = Request::builder().uri(&path).header("host", "localhost").body(()) else { return Ok(()) };
            let parts = request.into_parts().0;
            if route(&parts, &rules()).is_ok() {
                prop_assert!(!is_ambiguous(parts.uri.path()));
                prop_assert!(!parts.uri.path().contains("/../"));
            }
        }

        #[test]
        fn a_request_id_never_holds_the_token(before in "[a-z._-]{0,10}", after in "[a-z._-]{0,10}", cut in 0usize..36) {
            let id = format!("{before}{}-{}{after}", &TOKEN[..cut], &TOKEN[cut..]);
            let parts = parts("GET", &format!("{CERTIFICATES}{TOKEN}"), &[("x-request-id", &id)]);
            prop_assert_eq!(request_id(&parts), None);
        }
    }
}

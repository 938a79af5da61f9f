//! Who may ask at all: the host the request names, and the web page it may come from.
//!
//! A listener on loopback is reachable from every page in every browser on the machine. The host check stops names that
//! were made to resolve to loopback (DNS rebinding), the cross-site check stops pages that simply ask. Both listeners use
//! this file. It never looks at path, method or token. The surprising decision: a port is compared with nothing, except
//! that two authorities in one request must not give two different ones.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use crate::proxy::error::Refusal;
use crate::reason::Reason;

/// The hosts a listener answers to and the web origins it lets in.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    hosts: Vec<Host<'static>>,
    origins: Vec<Origin>,
}

/// A host without its port: lower case, no dot at the end, IPv6 shortened and in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a>(Cow<'a, str>);

/// A web origin: scheme, host, and the port unless it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host<'static>,
    port: Option<u16>,
}

// === impl Gate ===

impl Gate {
    /// `hosts` are `listen.allowed_hosts` and the listen address's own host, `origins` are `listen.allowed_origins`.
    pub fn new(hosts: impl IntoIterator<Item = Host<'static>>, origins: impl IntoIterator<Item = Origin>) -> Self {
        Self { hosts: hosts.into_iter().collect(), origins: origins.into_iter().collect() }
    }

    /// Lets the request in, or says why not: 400 where the authority is in doubt, 421 a foreign host, 403 a foreign page.
    pub fn admit(&self, parts: &Parts) -> Result<(), Refusal> {
        if parts.method == Method::CONNECT {
            return Err(invalid("the gateway is not a forward proxy; ask it with the path of a call"));
        }
        if !self.hosts.contains(&target_host(parts)?) {
            return Err(Refusal::of(Reason::HostNotAllowed));
        }
        if self.is_cross_site(&parts.headers) {
            return Err(Refusal::of(Reason::CrossSite));
        }
        Ok(())
    }

    /// The request's `Origin`, if it is one of `listen.allowed_origins`: the value for `Access-Control-Allow-Origin`,
    /// without which a browser does not show that page an image it was given.
    pub fn embedding_origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        let value = only(headers, &ORIGIN)?;
        self.origins.contains(&Origin::parse(value.to_str().ok()?)?).then_some(value)
    }

    /// An `Origin` decides alone. Without one, only `Sec-Fetch-Site: cross-site` speaks against the request: `same-origin`,
    /// `same-site` and `none` (typed by a person) do not, and neither does silence, for most callers are no browsers.
    fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(ORIGIN) {
            return !self.knows_origin(headers);
        }
        headers.get_all(SEC_FETCH_SITE).iter().any(|value| {
            let mut words = value.as_bytes().split(|b| matches!(b, b',' | b';' | b' ' | b'\t'));
            words.any(|word| word.eq_ignore_ascii_case(b"cross-site"))
        })
    }

    /// `null`, two of them, or what is no origin: not known.
    fn knows_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = only(headers, &ORIGIN).and_then(|value| Origin::parse(value.to_str().ok()?)) else {
            return false;
        };
        (origin.is_web() && self.hosts.contains(&origin.host)) || self.origins.contains(&origin)
    }
}

// === impl Host ===

impl Host<'static> {
    /// Reads an entry of `allowed_hosts`: a name or an address, with or without a port, IPv6 with or without brackets.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Some(Self::from(IpAddr::V6(address)));
        }
        authority(text).map(|(host, _)| host.into_owned())
    }
}

impl<'a> Host<'a> {
    /// As it would stand in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Labels of letters, digits, `-` and `_`, none of them empty: other characters are legal in a URL's host, but in no
    /// name that resolves, and a comma there would be two Host headers that something before us has joined.
    fn name(text: &'a str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_legal);
        let is_name = name.len() <= 253 && name.split('.').all(is_label);
        let is_lower = !name.bytes().any(|b| b.is_ascii_uppercase()); // nearly always, and then nothing is copied
        is_name.then(|| Self(if is_lower { name.into() } else { name.to_ascii_lowercase().into() }))
    }

    fn into_owned(self) -> Host<'static> {
        Host(self.0.into_owned().into())
    }
}

impl From<IpAddr> for Host<'static> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(v4.to_string().into()),
            IpAddr::V6(v6) => Self(format!("[{v6}]").into()),
        }
    }
}

// === impl Origin ===

impl Origin {
    /// Reads `https://app.bank.example`, as a browser writes it: no path, no slash at the end. `null` is no origin.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_legal) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = authority(rest)?;
        let port = port.filter(|port| default_port(&scheme) != Some(*port));
        Some(Self { scheme, host: host.into_owned(), port })
    }

    fn is_web(&self) -> bool {
        default_port(&self.scheme).is_some()
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The host that the request is for. Absolute form and `:authority` stand in the URI, and what stands beside it in `Host`
/// must name the same.
fn target_host(parts: &Parts) -> Result<Host<'_>, Refusal> {
    if parts.uri.scheme_str().is_some_and(|scheme| default_port(&scheme.to_ascii_lowercase()).is_none()) {
        return Err(invalid("the request target has a scheme other than http and https"));
    }
    let in_header = host_header(parts)?;
    let in_uri = match parts.uri.authority() {
        Some(text) => {
            Some(authority(text.as_str()).ok_or_else(|| invalid("the authority of the request target is not valid"))?)
        }
        None => None,
    };
    match (in_uri, in_header) {
        (Some(one), Some(other)) if are_different(&one, &other) => {
            Err(invalid("the request target and the Host header name two different hosts"))
        }
        (Some((host, _)), _) | (None, Some((host, _))) => Ok(host),
        (None, None) => Err(invalid("the request names no host")),
    }
}

/// HTTP/1.1 wants exactly one `Host`, also beside an absolute target (RFC 9112, section 3.2); the others at most one.
fn host_header(parts: &Parts) -> Result<Option<Authority<'_>>, Refusal> {
    let mut values = parts.headers.get_all(HOST).iter();
    let value = match (values.next(), values.next()) {
        (None, _) if parts.version == Version::HTTP_11 => return Err(invalid("the request has no Host header")),
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(invalid("the request has more than one Host header")),
    };
    let parsed = value.to_str().ok().and_then(authority);
    parsed.map(Some).ok_or_else(|| invalid("the Host header is not valid"))
}

/// A port left out contradicts none: which one would be meant depends on a scheme that nobody sent.
fn are_different((host, port): &Authority<'_>, (other_host, other_port): &Authority<'_>) -> bool {
    host != other_host || matches!((port, other_port), (Some(one), Some(other)) if one != other)
}

type Authority<'a> = (Host<'a>, Option<u16>);

/// Host and port. User names (`user@host`) are refused with everything else that is neither.
fn authority(text: &str) -> Option<Authority<'_>> {
    let Some(rest) = text.strip_prefix('[') else {
        let (name, after) = text.split_at(text.find(':').unwrap_or(text.len()));
        return Some((Host::name(name)?, port(after)?));
    };
    let (address, after) = rest.split_once(']')?;
    let address: Ipv6Addr = address.parse().ok()?;
    Some((Host::from(IpAddr::V6(address)), port(after)?))
}

/// What follows the host: nothing, a colon, or a colon and a number.
fn port(after: &str) -> Option<Option<u16>> {
    if matches!(after, "" | ":") {
        return Some(None);
    }
    let digits = after.strip_prefix(':').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().map(Some)
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// In doubt about whom a request is for, nothing that follows on the connection can be trusted either.
fn invalid(message: &'static str) -> Refusal {
    Refusal::of(Reason::InvalidRequest).saying(message).closing()
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn gate() -> Gate {
        let hosts = ["localhost", "127.0.0.1", "[::1]", "gateway.bank.example"];
        let origins = ["https://app.bank.example", "https://other.example:8443", "chrome-extension://abcdefgh"];
        Gate::new(hosts.map(|text| Host::parse(text).unwrap()), origins.map(|text| Origin::parse(text).unwrap()))
    }

    fn parts(version: Version, method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verdict(parts: &Parts) -> Option<Reason> {
        gate().admit(parts).err().map(|refusal| refusal.reason())
    }

    const BAD: Option<Reason> = Some(Reason::InvalidRequest);
    const FOREIGN: Option<Reason> = Some(Reason::HostNotAllowed);
    const CROSS: Option<Reason> = Some(Reason::CrossSite);

    #[test]
    fn the_host_header_is_judged_without_port_case_and_last_dot() {
        let table = [
            ("localhost", None),
            ("localhost:8080", None),
            ("localhost:1", None),
            ("localhost:", None),
            ("LocalHost:8080", None),
            ("localhost.", None),
            ("localhost.:8080", None),
            ("127.0.0.1:8080", None),
            ("[::1]", None),
            ("[::1]:8080", None),
            ("[0:0:0:0:0:0:0:1]:8080", None),
            ("gateway.bank.example", None),
            ("evil.example", FOREIGN),
            ("localhost.evil.example", FOREIGN),
            ("evil-localhost", FOREIGN),
            ("127.0.0.2", FOREIGN),
            ("127.1", FOREIGN),
            ("0x7f.0.0.1", FOREIGN),
            ("0.0.0.0:8080", FOREIGN),
            ("[::]", FOREIGN),
            ("[::ffff:127.0.0.1]", FOREIGN),
            ("localhost..", BAD),
            (".localhost", BAD),
            ("local..host", BAD),
            ("", BAD),
            (".", BAD),
            (":8080", BAD),
            ("::1", BAD),
            ("[::1", BAD),
            ("[::1]x", BAD),
            ("[localhost]", BAD),
            ("[fe80::1%25eth0]", BAD),
            ("localhost:80:80", BAD),
            ("localhost:+80", BAD),
            ("localhost:x", BAD),
            ("localhost:65536", BAD),
            ("user@localhost", BAD),
            ("localhost/", BAD),
            ("localhost, evil.example", BAD),
            ("localhost,localhost", BAD),
            ("local host", BAD),
            ("http://localhost", BAD),
            ("localh%6fst", BAD),
            ("l\u{f6}calhost", BAD),
        ];
        for (host, expected) in table {
            assert_eq!(verdict(&parts(Version::HTTP_11, "GET", "/", &[("host", host)])), expected, "{host}");
        }
    }

    #[test]
    fn the_targets_authority_is_judged_wherever_it_stands() {
        let (h10, h11, h2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let table: &[(Version, &str, &[&str], Option<Reason>)] = &[
            (h11, "/", &[], BAD),
            (h11, "/", &["localhost", "localhost"], BAD),
            (h11, "http://localhost/", &[], BAD),
            (h11, "http://localhost:8080/", &["localhost:8080"], None),
            (h11, "http://LOCALHOST./", &["localhost:8080"], None),
            (h11, "HTTP://localhost/", &["localhost"], None),
            (h11, "http://localhost:8080/", &["localhost:9090"], BAD),
            (h11, "http://localhost/", &["evil.example"], BAD),
            (h11, "http://evil.example/", &["localhost"], BAD),
            (h11, "http://evil.example/", &["evil.example"], FOREIGN),
            (h11, "http://localhost/", &["127.0.0.1"], BAD),
            (h11, "http://[::1]:8080/", &["[0::1]"], None),
            (h11, "http://user@localhost/", &["localhost"], BAD),
            (h11, "ftp://localhost/", &["localhost"], BAD),
            (h11, "https://localhost/", &["localhost"], None),
            (h11, "*", &["localhost"], None),
            (h10, "/", &[], BAD),
            (h10, "/", &["localhost"], None),
            (h10, "/", &["localhost", "localhost"], BAD),
            (h10, "http://localhost/", &[], None),
            (h2, "http://localhost:8080/", &[], None),
            (h2, "https://evil.example/", &[], FOREIGN),
            (h2, "http://localhost:8080/", &["localhost:8080"], None),
            (h2, "http://localhost:8080/", &["evil.example"], BAD),
            (h2, "/", &["localhost:8080"], None),
            (h2, "/", &[], BAD),
            (h2, "http://localhost/", &["localhost", "localhost"], BAD),
        ];
        for (version, uri, hosts, expected) in table {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(verdict(&parts(*version, "GET", uri, &headers)), *expected, "{version:?} {uri} {hosts:?}");
        }
    }

    #[test]
    fn connect_is_no_request_to_a_gateway() {
        let refusal =
            gate().admit(&parts(Version::HTTP_11, "CONNECT", "localhost:8080", &[("host", "localhost:8080")]));
        assert_eq!(refusal.clone().err().map(|refusal| refusal.reason()), BAD);
        assert!(refusal.is_err_and(|refusal| refusal.closes()), "what follows may be the tunnel's bytes");
    }

    #[test]
    fn a_page_of_a_foreign_origin_is_refused() {
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let (origin, site) = ("origin", "sec-fetch-site");
        let table: &[(Headers<'_>, Option<Reason>)] = &[
            (&[], None),
            (&[(site, "same-origin")], None),
            (&[(site, "same-site")], None),
            (&[(site, "none")], None),
            (&[(site, "something-new")], None),
            (&[(site, "cross-site")], CROSS),
            (&[(site, "Cross-Site ")], CROSS),
            (&[(site, "cross-site;a=b")], CROSS),
            (&[(site, "none"), (site, "cross-site")], CROSS),
            (&[(origin, "http://localhost:3000")], None),
            (&[(origin, "https://LOCALHOST")], None),
            (&[(origin, "http://[::1]:3000")], None),
            (&[(origin, "https://app.bank.example")], None),
            (&[(origin, "https://app.bank.example:443")], None),
            (&[(origin, "https://other.example:8443")], None),
            (&[(origin, "chrome-extension://abcdefgh")], None),
            (&[(origin, "https://app.bank.example"), (site, "cross-site")], None),
            (&[(origin, "http://localhost:3000"), (site, "cross-site")], None),
            (&[(origin, "http://app.bank.example")], CROSS),
            (&[(origin, "https://app.bank.example:8443")], CROSS),
            (&[(origin, "https://other.example")], CROSS),
            (&[(origin, "https://evil.example")], CROSS),
            (&[(origin, "https://evil.example"), (site, "same-origin")], CROSS),
            (&[(origin, "https://app.bank.example.evil.example")], CROSS),
            (&[(origin, "chrome-extension://localhost")], CROSS),
            (&[(origin, "null")], CROSS),
            (&[(origin, "null"), (site, "same-origin")], CROSS),
            (&[(origin, "")], CROSS),
            (&[(origin, "localhost")], CROSS),
            (&[(origin, "http://localhost/")], CROSS),
            (&[(origin, "http://localhost https://evil.example")], CROSS),
            (&[(origin, "http://user@localhost")], CROSS),
            (&[(origin, "http://localhost"), (origin, "http://localhost")], CROSS),
            (&[(origin, "http://localhost"), (origin, "https://evil.example")], CROSS),
        ];
        for (headers, expected) in table {
            let all: Vec<_> = headers.iter().copied().chain([("host", "localhost")]).collect();
            assert_eq!(verdict(&parts(Version::HTTP_11, "GET", "/", &all)), *expected, "{headers:?}");
        }
    }

    #[test]
    fn a_foreign_host_is_named_before_a_foreign_page() {
        let both = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(verdict(&parts(Version::HTTP_11, "GET", "/", &both)), FOREIGN);
    }

    #[test]
    fn only_a_listed_origin_may_be_told_that_it_may_embed() {
        let granted = |value: &str| {
            let parts = parts(Version::HTTP_11, "GET", "/", &[("origin", value)]);
            gate().embedding_origin(&parts.headers).cloned()
        };
        assert_eq!(granted("https://app.bank.example").unwrap(), "https://app.bank.example");
        assert_eq!(granted("http://localhost:3000"), None);
        assert_eq!(granted("https://evil.example"), None);
        assert_eq!(granted("null"), None);
    }

    #[test]
    fn settings_may_name_a_host_in_any_spelling() {
        for (text, expected) in [
            ("localhost", Some("localhost")),
            ("Gateway.Bank.Example.", Some("gateway.bank.example")),
            ("localhost:8080", Some("localhost")),
            ("::1", Some("[::1]")),
            ("[0::1]:9090", Some("[::1]")),
            ("10.0.0.7", Some("10.0.0.7")),
            ("", None),
            ("*", None),
            ("*.bank.example", None),
            ("http://localhost", None),
            ("a b", None),
        ] {
            assert_eq!(Host::parse(text).as_ref().map(Host::as_str), expected, "{text}");
        }
        assert_eq!(Host::from(IpAddr::from([127, 0, 0, 1])).as_str(), "127.0.0.1");
        for wrong in
            ["null", "*", "app.bank.example", "https://app.bank.example/", "https://", "://a", "1a://b", "https://*.a"]
        {
            assert_eq!(Origin::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC*") {
            let _ = (Host::parse(&text), Origin::parse(&text));
        }

        #[test]
        fn a_host_read_again_is_the_same(text in "[a-zA-Z0-9.\\[\\]:-]{0,40}") {
            if let Some(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(host.as_str()), Some(host));
            }
        }
    }
}

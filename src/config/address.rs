//! Addresses, hosts, origins and URLs: the texts that name a place in a network.
//!
//! Never: resolves a name. What an address means is decided from its text alone, so `check` gives the same answer on a
//! laptop and in the cluster; `localhost` is therefore taken by its name, and not by what a hosts file says.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use http::Uri;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Every loopback address there is, on this port.
    Localhost(u16),
    /// This one.
    Ip(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Whose URL it is, which decides what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlOf {
    /// The authority: https unless loopback, a path prefix allowed.
    Upstream,
    /// A forward proxy: http, no path.
    Proxy,
    /// A collector: either scheme, a path allowed.
    Collector,
    /// A gateway's admin listener: http, a path allowed.
    Admin,
}

// === impl Address ===

impl Address {
    /// Reads `localhost:PORT`, `IP:PORT` or `unix:/path`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = path.starts_with('/') && !path.contains(char::is_control);
            return is_path.then(|| Self::Unix(path.into())).ok_or("does not name an absolute path");
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
        if !host.eq_ignore_ascii_case("localhost") {
            return Err("is neither localhost nor an IP address with a port");
        }
        let is_number = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or("has no port from 0 to 65535")?;
        Ok(Self::Localhost(port))
    }

    /// The sockets to bind. Of `localhost` one may not exist on this machine; one is enough. None for a Unix socket.
    pub fn sockets(&self) -> Vec<SocketAddr> {
        match self {
            Self::Localhost(port) => vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()],
            Self::Ip(address) => vec![*address],
            Self::Unix(_) => vec![],
        }
    }

    /// The host as it stands in `Host`; a Unix socket has none.
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Localhost(_) => Some("localhost".to_owned()),
            Self::Ip(SocketAddr::V4(address)) => Some(address.ip().to_string()),
            Self::Ip(SocketAddr::V6(address)) => Some(format!("[{}]", address.ip())),
            Self::Unix(_) => None,
        }
    }

    /// Only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Localhost(_) | Self::Unix(_) => true,
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
        }
    }

    /// Both cannot be bound at once. Port 0 is a new port each time.
    pub fn overlaps(&self, other: &Self) -> bool {
        if let (Self::Unix(one), Self::Unix(two)) = (self, other) {
            return one == two;
        }
        let others = other.sockets();
        self.sockets().iter().any(|one| others.iter().any(|two| collide(one, two)))
    }
}

fn collide(one: &SocketAddr, two: &SocketAddr) -> bool {
    if one.port() != two.port() || one.port() == 0 {
        return false;
    }
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(wide) => wide.is_unspecified(), // it takes IPv4 as well on most machines
    };
    let (one, two) = (one.ip().to_canonical(), two.ip().to_canonical());
    one == two || covers(one, two) || covers(two, one)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads a host without a port, as in `Host`; in lower case.
pub fn parse_host(text: &str) -> Result<String, &'static str> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = bracketed {
        let address: Ipv6Addr = inner.parse().map_err(|_| "has no IPv6 address between its brackets")?;
        return Ok(format!("[{address}]"));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err("is an IPv6 address without brackets");
    }
    if text.contains(':') {
        return Err("has a port or a scheme");
    }
    let is_label = |label: &str| {
        let is_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_byte)
    };
    let is_name = text.len() <= 253 && text.split('.').all(is_label);
    is_name.then(|| text.to_ascii_lowercase()).ok_or("is no host name")
}

/// Reads a web origin as browsers send it: in lower case, without the port that the scheme implies.
pub fn parse_origin(text: &str) -> Result<String, &'static str> {
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or("has no scheme")?;
    let implied = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err("is neither http nor https"),
    };
    let (host, port) = split_port(authority)?;
    let host = parse_host(host)?;
    Ok(match port {
        Some(port) if port != implied => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

/// Reads a URL. What comes back has no trailing slash but the one that `http::Uri` shows for an empty path.
pub fn parse_url(text: &str, of: UrlOf) -> Result<Uri, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("is not a whole URL")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("holds a user name");
    }
    if path.contains('?') {
        return Err("holds a query");
    }
    if path.contains('#') {
        return Err("holds a fragment");
    }
    let (host, port) = split_port(authority)?;
    let host = parse_host(host)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if !is_plain_path(path) {
        return Err("has an unusual path");
    }
    match (of, scheme.as_str()) {
        (UrlOf::Upstream, "http") if !is_loopback(&host) => return Err("is not https, and the host is not loopback"),
        (UrlOf::Upstream | UrlOf::Collector, "http" | "https") => {}
        (UrlOf::Proxy, "http") if path.is_empty() => {}
        (UrlOf::Proxy, "http") => return Err("holds a path"),
        (UrlOf::Admin, "http") => {}
        (UrlOf::Proxy | UrlOf::Admin, _) => return Err("is not http"),
        _ => return Err("is neither http nor https"),
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}").parse().map_err(|_| "is not a URL")
}

/// This host, as it stands in a URL, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority[after_brackets..].rfind(':') else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(after_brackets + colon);
    let digits = &port[1..];
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse() {
        Ok(port) if is_number && port > 0 => Ok((host, Some(port))),
        _ => Err("has no port from 1 to 65535"),
    }
}

fn is_plain_path(path: &str) -> bool {
    let is_byte = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    let is_plain = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_byte);
    path.is_empty() || path[1..].split('/').all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_localhost_an_ip_or_a_unix_path() {
        for text in ["localhost:8080", "127.0.0.1:0", "[::1]:8080", "0.0.0.0:80", "unix:/run/otk/gateway.sock"] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for wrong in [
            "",
            "localhost",
            "localhost:",
            "localhost:+1",
            "localhost:65536",
            ":8080",
            "example.ae:80",
            "127.0.0.1",
            "unix:x",
            "::1:8080x",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn localhost_is_both_loopback_addresses() {
        let sockets = Address::Localhost(7).sockets();
        assert_eq!(sockets.iter().map(SocketAddr::to_string).collect::<Vec<_>>(), ["127.0.0.1:7", "[::1]:7"]);
    }

    #[test]
    fn addresses_overlap_where_both_cannot_be_bound() {
        let overlap = |one, two| {
            let both = (Address::parse(one).expect("one"), Address::parse(two).expect("two"));
            assert_eq!(both.0.overlaps(&both.1), both.1.overlaps(&both.0));
            both.0.overlaps(&both.1)
        };
        assert!(overlap("localhost:80", "127.0.0.1:80"));
        assert!(overlap("localhost:80", "[::1]:80"));
        assert!(overlap("0.0.0.0:80", "localhost:80"));
        assert!(overlap("[::]:80", "127.0.0.1:80"));
        assert!(overlap("unix:/a", "unix:/a"));
        assert!(!overlap("localhost:80", "localhost:81"));
        assert!(!overlap("localhost:0", "localhost:0"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlap("unix:/a", "localhost:80"));
    }

    #[test]
    fn a_host_has_no_port_and_is_folded_to_lower_case() {
        assert_eq!(parse_host("Gateway.Bank.AE").as_deref(), Ok("gateway.bank.ae"));
        assert_eq!(parse_host("[0:0::1]").as_deref(), Ok("[::1]"));
        for wrong in ["", "a:80", "::1", "[::1", "a b", "*", "a..b", "https://a", "a/b", "\u{e9}"] {
            assert!(parse_host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_spelt_as_browsers_send_it() {
        assert_eq!(parse_origin("https://App.Bank.ae:443").as_deref(), Ok("https://app.bank.ae"));
        assert_eq!(parse_origin("http://localhost:3000").as_deref(), Ok("http://localhost:3000"));
        assert_eq!(parse_origin("https://[::1]:8443").as_deref(), Ok("https://[::1]:8443"));
        for wrong in
            ["", "*", "null", "https://a/", "https://a/b", "ftp://a", "a", "https://u@a", "https://a:0", "https://"]
        {
            assert!(parse_origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_upstream_is_https_unless_it_is_this_machine() {
        let url = |text| parse_url(text, UrlOf::Upstream).map(|uri| uri.to_string());
        assert_eq!(url("https://OTK.example.ae").as_deref(), Ok("https://otk.example.ae/"));
        assert_eq!(url("https://otk.example.ae/prefix/").as_deref(), Ok("https://otk.example.ae/prefix"));
        for local in ["http://localhost:8082", "http://127.0.0.1:1", "http://[::1]:1", "http://127.9.9.9"] {
            assert!(url(local).is_ok(), "{local}");
        }
        for wrong in [
            "http://otk.example.ae",
            "http://localhost.example.ae",
            "https://user@otk.example.ae",
            "https://user:pass@otk.example.ae",
            "https://otk.example.ae?x=1",
            "https://otk.example.ae/#x",
            "https://otk.example.ae//a",
            "https://otk.example.ae/../a",
            "https://otk.example.ae/%2e",
            "https://",
            "https://otk.example.ae:0",
            "https://otk.example.ae:",
            "ftp://otk.example.ae",
            "otk.example.ae",
            "",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_proxy_is_http_and_has_no_path() {
        let url = |text| parse_url(text, UrlOf::Proxy).map(|uri| uri.to_string());
        assert_eq!(url("http://egress:3128").as_deref(), Ok("http://egress:3128/"));
        for wrong in ["https://egress:3128", "http://egress/x", "http://u:p@egress", "socks5://egress"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}

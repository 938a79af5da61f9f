//! What the observations mean, and what to do. A pure function; time is an argument.
//!
//! Judged by what the gateway would do: a problem is what it would refuse or could not get past, a warning what it serves
//! with all the same.

use std::time::Duration;

use super::seen::{Asked, Connected, Dns, NoAnswer, NoTcp, NoTls, Observed, Session, Tunnel};
use super::{DAY, Finding, date, days_left};
use crate::certificate::Timestamp;
use rustls::AlertDescription;

mod answer;

/// The findings, in the order of the way; none about what was not reached.
pub fn judge(seen: &Observed, now: Timestamp) -> Vec<Finding> {
    let asked = &seen.asked;
    let mut findings = Vec::new();
    if !asked.is_given {
        let text = "asks for a random journey, which nobody has: 404 is the right answer";
        findings.push(Finding::note("probe", text, ["give --journey TOKEN to have a signature checked".into()]));
    }
    findings.push(dns(asked, seen.dns));
    findings.extend(seen.tcp.map(|tcp| self::tcp(asked, tcp)));
    findings.extend(seen.tunnel.map(tunnel));
    findings.extend(seen.tls.as_ref().map(|tls| match tls {
        Ok(session) => self::session(session, now),
        Err(failed) => no_tls(asked, failed, now),
    }));
    findings.extend(asked.client_not_after.and_then(|end| client(end, now)));
    match &seen.http {
        None => {}
        Some(Err(failed)) => findings.push(no_answer(asked, *failed)),
        Some(Ok(answer)) => {
            let local = seen.tcp.and_then(Result::ok).and_then(|tcp| tcp.local);
            answer::judge(asked, answer, local, now, &mut findings);
        }
    }
    findings
}

fn dns(asked: &Asked, dns: Dns) -> Finding {
    let (key, name) = match &asked.proxy {
        Some((proxy, _)) => ("upstream.proxy", proxy),
        None => ("upstream.base_url", &asked.host),
    };
    let remedy =
        || [format!("check the host in {key}, and the resolver that this machine or pod uses (/etc/resolv.conf)")];
    match dns {
        Dns::Address => Finding::ok("dns", format!("{name} is an address already")),
        Dns::Found(1) => Finding::ok("dns", format!("{name} is 1 address")),
        Dns::Found(count) => Finding::ok("dns", format!("{name} is {count} addresses")),
        Dns::NotFound => Finding::problem("dns", format!("{name} does not resolve"), remedy()),
        Dns::Late => {
            let within = asked.connect_timeout.as_secs_f64();
            Finding::problem(
                "dns",
                format!("{name} did not resolve within {within} s (upstream.connect_timeout)"),
                remedy(),
            )
        }
    }
}

fn tcp(asked: &Asked, tcp: Result<Connected, NoTcp>) -> Finding {
    let whom = if asked.proxy.is_some() { "the egress proxy" } else { "the upstream" };
    let key = if asked.proxy.is_some() { "upstream.proxy" } else { "upstream.base_url" };
    let open = "open the firewall or network policy from here to there";
    match tcp {
        Ok(Connected { peer, in_vain: 0, .. }) => Finding::ok("tcp", format!("{whom} listens at {peer}")),
        Ok(Connected { peer, in_vain, .. }) => {
            Finding::ok("tcp", format!("{whom} listens at {peer}; {in_vain} other address(es) did not answer"))
        }
        Err(NoTcp::Refused) => Finding::problem(
            "tcp",
            format!("{whom} refuses the connection"),
            [format!("check the port in {key}; nobody listens there, or a firewall says so")],
        ),
        Err(NoTcp::Late) => Finding::problem(
            "tcp",
            format!(
                "no connection to {whom} within {} s (upstream.connect_timeout)",
                asked.connect_timeout.as_secs_f64()
            ),
            [open.into(), "set upstream.proxy if traffic must leave through an egress proxy".into()],
        ),
        Err(NoTcp::Unreachable) => {
            Finding::problem("tcp", format!("there is no way to {whom} from this network"), [open.into()])
        }
        Err(NoTcp::Other(kind)) => Finding::problem("tcp", format!("no connection to {whom} ({kind})"), [open.into()]),
    }
}

fn tunnel(tunnel: Tunnel) -> Finding {
    let allow = "have the proxy allow CONNECT to the host and port of upstream.base_url";
    match tunnel {
        Tunnel::Open => Finding::ok("proxy", "the egress proxy lets us through"),
        Tunnel::Refused(407) => Finding::problem(
            "proxy",
            "the egress proxy wants a user name and a password (407), which the gateway does not send",
            ["have the proxy let this machine's address through without them".into()],
        ),
        Tunnel::Refused(status) => {
            Finding::problem("proxy", format!("the egress proxy refuses CONNECT ({status})"), [allow.into()])
        }
        Tunnel::NoHttp => Finding::problem(
            "proxy",
            "what answers at upstream.proxy is no HTTP proxy",
            ["check host and port of upstream.proxy".into()],
        ),
        Tunnel::Closed => Finding::problem("proxy", "the egress proxy hangs up on CONNECT", [allow.into()]),
        Tunnel::Late => Finding::problem("proxy", "the egress proxy does not answer CONNECT in time", [allow.into()]),
    }
}

fn session(session: &Session, now: Timestamp) -> Finding {
    let text = format!("TLS {}, the chain is trusted", session.version);
    let Some(end) = session.not_after else { return Finding::ok("tls", text) };
    let days = days_left(end, now);
    let text = format!("{text} until {} ({days} days)", date(end));
    if days < SOON {
        return Finding::warning("tls", text, ["ask the upstream whether it renews its certificate in time".into()]);
    }
    Finding::ok("tls", text)
}

fn no_tls(asked: &Asked, failed: &NoTls, now: Timestamp) -> Finding {
    let host = &asked.host;
    let day = |at: &Option<Timestamp>| at.map_or(String::new(), |at| format!(" on {}", date(at)));
    match failed {
        NoTls::Untrusted => {
            let remedy = if asked.has_ca_file {
                "put the certificate of the authority that issued the upstream's into upstream.ca_file, which is all that is trusted now"
            } else {
                "set upstream.ca_file to the certificate of the authority that issued the upstream's, if it is a private one"
            };
            let inspected = "if something on the way inspects TLS, have this host taken out of it: it would read every image";
            Finding::problem(
                "tls",
                "the chain ends at an authority that is not trusted",
                [remedy.into(), inspected.into()],
            )
        }
        NoTls::WrongName(names) => {
            let names = if names.is_empty() { "other names".to_owned() } else { names.join(", ") };
            Finding::problem(
                "tls",
                format!("the certificate is not for {host} but for {names}"),
                [
                    "set upstream.base_url to the name that the authority gave you".into(),
                    "if the name is right, it leads to another machine: check its addresses".into(),
                ],
            )
        }
        NoTls::Expired(at) => Finding::problem(
            "tls",
            format!("a certificate of the chain expired{}", day(at)),
            [
                "ask the upstream to renew it".into(),
                format!("check the clock of this machine: it says {}", now.to_rfc3339()),
            ],
        ),
        NoTls::NotYetValid(at) => Finding::problem(
            "tls",
            format!("a certificate of the chain is not valid yet; it begins{}", day(at)),
            [format!("check the clock of this machine: it says {}", now.to_rfc3339())],
        ),
        NoTls::BadCertificate => Finding::problem(
            "tls",
            "the certificate cannot be accepted, though neither its name nor its time is the reason",
            ["ask the upstream for a certificate for servers, issued by an authority rather than by itself".into()],
        ),
        NoTls::NotTls => Finding::problem(
            "tls",
            "what answers does not speak TLS",
            ["check the port in upstream.base_url; 443 is the usual one".into()],
        ),
        NoTls::NothingInCommon => Finding::problem(
            "tls",
            "the upstream offers no TLS 1.2 or 1.3 that the gateway accepts",
            ["check that it is the upstream that answers, and not an old appliance on the way".into()],
        ),
        NoTls::Alert(alert) => refused(asked, *alert),
        NoTls::Closed => Finding::problem(
            "tls",
            "the connection is closed during the handshake",
            [
                "ask whether this network's address is on the upstream's list: some firewalls close rather than answer 403"
                    .into(),
                "check the port in upstream.base_url".into(),
            ],
        ),
        NoTls::Late => Finding::problem(
            "tls",
            format!("no handshake within {} s (upstream.connect_timeout)", asked.connect_timeout.as_secs_f64()),
            ["check that what listens there speaks TLS, and that nothing on the way swallows large packets".into()],
        ),
    }
}

/// The other side ended TLS, and said why.
fn refused(asked: &Asked, alert: AlertDescription) -> Finding {
    match alert {
        AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity
        | AlertDescription::NoApplicationProtocol => no_tls(asked, &NoTls::NothingInCommon, Timestamp(0)),
        AlertDescription::UnrecognisedName => Finding::problem(
            "tls",
            format!("the upstream knows no host {}", asked.host),
            ["set upstream.base_url to the name that the authority gave you".into()],
        ),
        AlertDescription::CertificateRequired if asked.client_not_after.is_none() => Finding::problem(
            "tls",
            "the upstream wants a client certificate",
            ["set upstream.client_cert_file and upstream.client_key_file".into()],
        ),
        AlertDescription::HandshakeFailure if asked.client_not_after.is_none() => Finding::problem(
            "tls",
            "the upstream ends the handshake",
            [
                "set upstream.client_cert_file and upstream.client_key_file, if it wants a client certificate".into(),
                "otherwise it accepts none of our ciphers: check that it is the upstream that answers".into(),
            ],
        ),
        _ => Finding::problem(
            "tls",
            "the upstream ends the handshake",
            ["ask it which client certificates it accepts, and compare upstream.client_cert_file".into()],
        ),
    }
}

/// Our own certificate, when there is something to say about it.
fn client(end: Timestamp, now: Timestamp) -> Option<Finding> {
    let renew = ["have a new one issued and replace upstream.client_cert_file; no restart is needed".into()];
    if end <= now {
        return Some(Finding::problem("client", format!("our client certificate expired on {}", date(end)), renew));
    }
    let days = days_left(end, now);
    (days < SOON).then(|| {
        Finding::warning("client", format!("our client certificate ends on {} ({days} days)", date(end)), renew)
    })
}

fn no_answer(asked: &Asked, failed: NoAnswer) -> Finding {
    match failed {
        NoAnswer::Late => Finding::problem(
            "http",
            format!("no answer within {} s (upstream.request_timeout)", asked.request_timeout.as_secs_f64()),
            ["try again; if it stays so, ask the upstream, or raise upstream.request_timeout".into()],
        ),
        NoAnswer::Closed => Finding::problem(
            "http",
            "the connection is closed before an answer",
            ["ask whether this network's address is on the upstream's list, and whether it wants a client certificate"
                .into()],
        ),
        NoAnswer::Malformed => Finding::problem(
            "http",
            "what answers does not speak HTTP as the gateway understands it",
            ["check scheme and port of upstream.base_url".into()],
        ),
        NoAnswer::Alert(alert) => refused(asked, alert),
    }
}

/// Certificates that end within so many days deserve a word.
const SOON: u64 = 14;

fn seconds(time: Duration) -> String {
    if time > Duration::from_secs(2 * DAY) {
        format!("{} days", time.as_secs() / DAY)
    } else {
        format!("{} s", time.as_secs())
    }
}

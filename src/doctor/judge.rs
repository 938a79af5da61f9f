//! What the observations mean, and what to do. A pure function; time is an argument.
//!
//! Judged by what the gateway would do: a problem is what it would refuse or could not get past, a warning what it serves
//! with all the same.

use std::time::Duration;

use super::seen::{Asked, Connected, Dns, NoAnswer, NoTcp, Observed, Tunnel};
use super::{DAY, Finding};
use crate::certificate::Timestamp;

mod answer;
mod tls;

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
    findings.extend(seen.tls.as_ref().map(|met| match met {
        Ok(session) => tls::session(session, now),
        Err(failed) => tls::no_tls(asked, failed, now),
    }));
    findings.extend(asked.client_not_after.and_then(|end| tls::client(end, now)));
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
        NoAnswer::Alert(alert) => tls::refused(asked, alert),
    }
}

fn seconds(time: Duration) -> String {
    if time > Duration::from_secs(2 * DAY) {
        format!("{} days", time.as_secs() / DAY)
    } else {
        format!("{} s", time.as_secs())
    }
}

//! What the observations mean, and what to do. A pure function; time is an argument.
//!
//! Judged by what the gateway would do: a problem is what it would refuse, could not get past or could not keep its promise
//! with; a warning is what it serves with all the same.

use std::time::Duration;

use super::seen::{Asked, Connected, Dns, NoAnswer, NoTcp, Observed, Tunnel};
use super::{DAY, Finding};
use crate::certificate::Timestamp;
use crate::config::units::show_duration;

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
        Err(failed) => tls::no_tls(asked, seen.wants_client, failed, now),
    }));
    findings.extend(asked.client_not_after.and_then(|end| tls::client(end, now)));
    match &seen.http {
        None => {}
        Some(Err(failed)) => findings.push(no_answer(asked, seen.wants_client, *failed)),
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
            let within = show_duration(asked.connect_timeout);
            let text = format!("{name} did not resolve within {within} (upstream.connect_timeout)");
            Finding::problem("dns", text, remedy())
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
        Err(NoTcp::Late) => {
            let within = show_duration(asked.connect_timeout);
            let text = format!("no connection to {whom} within {within} (upstream.connect_timeout)");
            let around = "set upstream.proxy if traffic must leave through an egress proxy";
            Finding::problem("tcp", text, [open.into(), around.into()])
        }
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

fn no_answer(asked: &Asked, wants_client: bool, failed: NoAnswer) -> Finding {
    match failed {
        NoAnswer::Late => Finding::problem(
            "http",
            format!("no answer within {} (upstream.request_timeout)", show_duration(asked.request_timeout)),
            ["try again; if it stays so, ask the upstream, or raise upstream.request_timeout".into()],
        ),
        NoAnswer::Closed if wants_client => tls::client_wanted(asked),
        NoAnswer::Closed => Finding::problem(
            "http",
            "the connection is closed before an answer",
            ["ask whether the upstream lists this network's address: some firewalls close rather than answer 403"
                .into()],
        ),
        NoAnswer::Malformed => Finding::problem(
            "http",
            "what answers does not speak HTTP as the gateway understands it",
            ["check scheme and port of upstream.base_url".into()],
        ),
    }
}

/// What was measured, for people.
fn seconds(time: Duration) -> String {
    if time > Duration::from_secs(2 * DAY) {
        format!("{} days", time.as_secs() / DAY)
    } else {
        format!("{} s", time.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::seen::Session;
    use crate::signature::fixture;

    fn now() -> Timestamp {
        Timestamp::parse("2025-05-13T12:00:00Z").unwrap()
    }

    fn seen() -> Observed {
        let asked = Asked {
            host: "otk.example.ae".to_owned(),
            proxy: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            max_response: 4 << 20,
            requests_per_second: 25.0,
            key_source: "env KEY".to_owned(),
            has_ca_file: false,
            client_not_after: None,
            is_given: true,
            keys: fixture::keys(),
            max_age: Duration::from_secs(120),
            clock_skew: Duration::from_secs(60),
            max_exposure: Duration::from_secs(30),
        };
        Observed { asked, dns: Dns::Found(2), tcp: None, tunnel: None, tls: None, wants_client: false, http: None }
    }

    fn told(seen: &Observed) -> String {
        judge(seen, now()).iter().map(ToString::to_string).collect()
    }

    /// What no test from outside can bring about on one machine.
    #[test]
    fn a_network_that_swallows_or_has_no_way_is_told_apart_from_one_that_refuses() {
        let dns = Observed { dns: Dns::Late, ..seen() };
        assert!(
            told(&dns).starts_with("problem  dns      otk.example.ae did not resolve within 3s (upstream.connect_")
        );
        for (failed, wanted) in [
            (NoTcp::Late, "problem  tcp      no connection to the upstream within 3s (upstream.connect_timeout)\n"),
            (NoTcp::Unreachable, "problem  tcp      there is no way to the upstream from this network\n"),
        ] {
            let told = told(&Observed { tcp: Some(Err(failed)), ..seen() });
            assert!(told.starts_with("ok       dns      otk.example.ae is 2 addresses\n"), "{told}");
            assert!(told.contains(wanted) && told.contains("do: open the firewall"), "{told}");
        }
    }

    #[test]
    fn certificates_that_end_soon_are_a_warning() {
        let days = |days: i64| Some(Timestamp(now().0 + days * 86_400_000_000_000));
        for (left, verdict) in [(13, "warning"), (14, "ok")] {
            let session = Session { version: "1.3", not_after: days(left) };
            let told = told(&Observed { tls: Some(Ok(session)), ..seen() });
            assert!(told.contains(&format!("{verdict:<9}tls      TLS 1.3, the chain is trusted until")), "{told}");
        }
        let mut ours = seen();
        for (left, wanted) in [(0, Some("problem  client")), (13, Some("warning  client")), (14, None)] {
            ours.asked.client_not_after = days(left);
            let told = told(&ours);
            assert_eq!(wanted.is_some(), told.contains("client"), "{told}");
            assert!(wanted.is_none_or(|wanted| told.contains(wanted)), "{told}");
        }
    }
}

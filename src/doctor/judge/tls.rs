//! What became of TLS: whom we met, whether we trust them, and whether they trust us.

use rustls::AlertDescription;

use crate::certificate::Timestamp;
use crate::config::units::show_duration;
use crate::doctor::seen::{Asked, NoTls, Session};
use crate::doctor::{Finding, date, days_left};

/// We trust them.
pub fn session(session: &Session, now: Timestamp) -> Finding {
    let text = format!("TLS {}, the chain is trusted", session.version);
    let Some(end) = session.not_after else { return Finding::ok("tls", text) };
    let days = days_left(end, now);
    let text = format!("{text} until {} ({days} days)", date(end));
    if days < SOON {
        return Finding::warning("tls", text, ["ask the upstream whether it renews its certificate in time".into()]);
    }
    Finding::ok("tls", text)
}

/// We do not, or they do not trust us, or there was no TLS at all. `wants_client`: they asked for a client certificate.
pub fn no_tls(asked: &Asked, wants_client: bool, failed: &NoTls, now: Timestamp) -> Finding {
    let host = &asked.host;
    let day = |at: &Option<Timestamp>| at.map_or(String::new(), |at| format!(" on {}", date(at)));
    match failed {
        NoTls::Untrusted => {
            let remedy = if asked.has_ca_file {
                "put the issuer of the upstream's certificate into upstream.ca_file; nothing else is trusted now"
            } else {
                "if the issuer of the upstream's certificate is a private one, set upstream.ca_file to it"
            };
            let inspected = "if something on the way inspects TLS, have this host taken out: it would read every image";
            let text = "the chain ends at an authority that is not trusted";
            Finding::problem("tls", text, [remedy.into(), inspected.into()])
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
        NoTls::NothingInCommon => nothing_in_common(),
        NoTls::Alert(alert) => refused(asked, wants_client, *alert),
        NoTls::Closed if wants_client => client_wanted(asked),
        NoTls::Closed => Finding::problem(
            "tls",
            "the connection is closed during the handshake",
            [
                "ask whether the upstream lists this network's address: some firewalls close rather than answer 403"
                    .into(),
                "check the port in upstream.base_url".into(),
            ],
        ),
        NoTls::Late => Finding::problem(
            "tls",
            format!("no handshake within {} (upstream.connect_timeout)", show_duration(asked.connect_timeout)),
            ["check that what listens there speaks TLS, and that nothing on the way swallows large packets".into()],
        ),
    }
}

/// The other side ended TLS, and said why.
fn refused(asked: &Asked, wants_client: bool, alert: AlertDescription) -> Finding {
    match alert {
        AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity
        | AlertDescription::NoApplicationProtocol => nothing_in_common(),
        AlertDescription::UnrecognisedName => Finding::problem(
            "tls",
            format!("the upstream knows no host {}", asked.host),
            ["set upstream.base_url to the name that the authority gave you".into()],
        ),
        _ if wants_client => client_wanted(asked),
        _ => Finding::problem(
            "tls",
            format!("the upstream ends the handshake ({alert:?})"),
            ["check that it is the upstream that answers, and that it accepts TLS 1.2 or 1.3".into()],
        ),
    }
}

fn nothing_in_common() -> Finding {
    Finding::problem(
        "tls",
        "the upstream offers no TLS 1.2 or 1.3 that the gateway accepts",
        ["check that it is the upstream that answers, and not an old appliance on the way".into()],
    )
}

/// The other side asked for a client certificate and went away.
pub fn client_wanted(asked: &Asked) -> Finding {
    match asked.client_not_after {
        None => Finding::problem(
            "tls",
            "the upstream wants a client certificate, and none is configured",
            ["set upstream.client_cert_file and upstream.client_key_file".into()],
        ),
        Some(_) => Finding::problem(
            "tls",
            "the upstream asked for our client certificate and then ended the connection",
            ["ask it which client certificates it accepts, and compare upstream.client_cert_file".into()],
        ),
    }
}

/// Our own certificate, when there is something to say about it.
pub fn client(end: Timestamp, now: Timestamp) -> Option<Finding> {
    let renew = ["have a new one issued and replace upstream.client_cert_file; no restart is needed".into()];
    if end <= now {
        return Some(Finding::problem("client", format!("our client certificate expired on {}", date(end)), renew));
    }
    let days = days_left(end, now);
    (days < SOON).then(|| {
        Finding::warning("client", format!("our client certificate ends on {} ({days} days)", date(end)), renew)
    })
}

/// Certificates that end within so many days deserve a word.
const SOON: u64 = 14;

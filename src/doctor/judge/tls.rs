//! What became of TLS: whom we met, whether we trust them, and whether they trust us.

use rustls::AlertDescription;

use crate::certificate::Timestamp;
use crate::doctor::seen::{Asked, NoTls, Session};
use crate::doctor::{Finding, date, days_left};

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

pub fn no_tls(asked: &Asked, failed: &NoTls, now: Timestamp) -> Finding {
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
pub fn refused(asked: &Asked, alert: AlertDescription) -> Finding {
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

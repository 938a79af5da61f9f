//! What the one answer means: framing, status, clocks, caches on the way, and the signature of a journey that was given.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::seconds;
use crate::certificate::{Said, Status, Timestamp};
use crate::config::units::show_duration;
use crate::doctor::Finding;
use crate::doctor::seen::{Answer, Asked, NoBody};
use crate::envelope::Document;
use crate::signature::{self, Authentic, Content, Forged};

/// Adds the findings about an answer. `local` is the address we call from, as this machine sees it.
pub fn judge(asked: &Asked, answer: &Answer, local: Option<IpAddr>, now: Timestamp, findings: &mut Vec<Finding>) {
    findings.push(http(answer));
    if !answer.is_well_framed {
        findings.push(Finding::problem(
            "http",
            "the gateway refuses how it is framed or encoded (two lengths, or compressed though nobody asked)",
            ["ask for what changes answers on the way to be taken out: a compressing proxy, usually".into()],
        ));
    }
    findings.extend(clock(asked, answer));
    findings.extend(cache(asked, answer));
    findings.extend(answer.body.as_ref().err().map(|failed| no_body(asked, *failed)));
    findings.extend(status(asked, answer, Kind::of(answer), local));
    if let (Ok(Said(body)), 200..300, true) = (&answer.body, answer.status, asked.is_given) {
        journey(asked, answer, body, now, findings);
    }
}

fn http(answer: &Answer) -> Finding {
    let Answer { version, status, .. } = answer;
    let text = format!("{version} {status} after {} ms", answer.took.as_millis());
    match status {
        304 => Finding::problem(
            "http",
            format!("{text}: \"not modified\", though nothing was asked conditionally"),
            ["have the cache on the way taken out for this host; a 304 proves nothing".into()],
        ),
        300..400 => {
            let to = answer.location.as_ref().map_or(String::new(), |host| format!(" to {host}"));
            Finding::problem(
                "http",
                format!("{text}: a redirect{to}, which the gateway does not follow"),
                [
                    "set upstream.base_url to where the service really is".into(),
                    "if it is a login page, ask for this machine's traffic to be let through without one".into(),
                ],
            )
        }
        500.. => {
            let wait = answer.retry_after.map_or(String::new(), |time| format!("; it asks to wait {}", seconds(time)));
            Finding::problem(
                "http",
                format!("{text}: the upstream is not well{wait}"),
                ["try again; if it stays so, ask the upstream, with the time of this call".into()],
            )
        }
        _ => Finding::ok("http", text),
    }
}

fn no_body(asked: &Asked, failed: NoBody) -> Finding {
    let text = match failed {
        NoBody::TooLarge => format!("the body is longer than {} bytes (upstream.max_response)", asked.max_response),
        NoBody::Closed => "the body breaks off".to_owned(),
        NoBody::Malformed => "the body's framing breaks HTTP".to_owned(),
        NoBody::Late => {
            format!("the body did not end within {} (upstream.request_timeout)", show_duration(asked.request_timeout))
        }
    };
    let remedy = match failed {
        NoBody::TooLarge => "raise upstream.max_response if certificates are really that large",
        _ => "look for a proxy on the way that cuts answers short",
    };
    Finding::problem("http", text, [remedy.into()])
}

// === clocks and caches ===

/// `Date` has whole seconds and was written some time during the call: only what lies outside that span is a difference. How
/// far clocks may be apart is `signature.clock_skew`, in both directions: an upstream that is behind wears `signature.max_age`
/// out before its answers arrive.
fn clock(asked: &Asked, answer: &Answer) -> Option<Finding> {
    let Some(date) = answer.date else {
        return Some(Finding::note("clock", "the upstream sends no Date, so clocks cannot be compared", []));
    };
    // A stored answer keeps the Date it was made with.
    let held = answer.age.filter(|age| *age != Duration::MAX).unwrap_or_default();
    let date = Timestamp::from_nanos(i128::from(date.0) + held.as_nanos() as i128);
    let end = Timestamp::from_nanos(i128::from(date.0) + 1_000_000_000);
    let (ahead, behind) = (date.since(answer.received), answer.sent.since(end));
    let apart = ahead.max(behind);
    if apart < NOTICEABLE {
        return Some(Finding::ok("clock", "agrees with the upstream's"));
    }
    let direction = if ahead > behind { "ahead of" } else { "behind" };
    let text = format!("the upstream's clock is {} {direction} ours", seconds(apart));
    let remedy = ["check that this machine's clock is kept by NTP; if it is, tell the upstream".into()];
    Some(if apart > asked.clock_skew {
        let limit = show_duration(asked.clock_skew);
        Finding::problem("clock", format!("{text}, more than signature.clock_skew ({limit})"), remedy)
    } else {
        Finding::warning("clock", text, remedy)
    })
}

fn cache(asked: &Asked, answer: &Answer) -> Option<Finding> {
    let age = answer.age?;
    let remedy = ["have the cache on the way taken out for this host: it hides revocations".into()];
    if age == Duration::MAX {
        let text = "a cache on the way sends an Age that cannot be read, which counts as endless";
        return Some(Finding::problem("cache", text, remedy));
    }
    let text = format!("a cache on the way says it held the answer for {}, though the call forbids it", seconds(age));
    Some(match age {
        Duration::ZERO => Finding::warning("cache", "a cache is on the way (Age: 0)", remedy),
        _ if age >= asked.max_exposure => {
            let limit = show_duration(asked.max_exposure);
            Finding::problem("cache", format!("{text}; cache.max_exposure is {limit}"), remedy)
        }
        _ => Finding::warning("cache", text, remedy),
    })
}

// === what the status says about key, address and rate ===

/// What the body is, which tells the service from what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Page,
    Nothing,
    Other,
    Unread,
}

fn status(asked: &Asked, answer: &Answer, kind: Kind, local: Option<IpAddr>) -> Vec<Finding> {
    let accepted = || Finding::ok("key", "the upstream accepts it");
    let by_key = format!(
        "check that the API key ({}) is the one for this environment, whole and not withdrawn",
        asked.key_source
    );
    match answer.status {
        200..300 if !asked.is_given => vec![Finding::problem(
            "key",
            format!("{} for a journey that nobody has: what answers is not the authority", answer.status),
            ["check upstream.base_url; a portal or a test stub may stand in its place".into()],
        )],
        200..300 if kind == Kind::Json => vec![accepted()],
        401 => vec![Finding::problem("key", "the upstream rejects the API key (401)", [by_key])],
        403 => vec![forbidden(asked, answer, kind, local)],
        404 if kind == Kind::Json && asked.is_given => vec![
            accepted(),
            Finding::problem(
                "journey",
                "the upstream does not know the journey given (404)",
                ["give a journey of this environment that has a certificate: staging and production share none".into()],
            ),
        ],
        404 if kind == Kind::Json => vec![accepted()],
        429 => {
            let wait = answer.retry_after.map_or(String::new(), |time| format!("; it asks to wait {}", seconds(time)));
            let rate = asked.requests_per_second;
            vec![Finding::problem(
                "rate",
                format!("the upstream's rate limit is used up (429){wait}"),
                [
                    format!("lower upstream.requests_per_second ({rate}): all gateways with this key share one limit"),
                    "find out what else calls with this key, or from this address".into(),
                ],
            )]
        }
        400..500 if kind == Kind::Json => vec![Finding::warning(
            "key",
            format!("whether it is accepted cannot be told from a {}", answer.status),
            ["check upstream.base_url, and what stands between here and the service".into()],
        )],
        400..500 if kind != Kind::Unread => vec![Finding::problem(
            "http",
            format!(
                "the {} {}, so it is hardly the service that says it: UPSTREAM-MALFORMED",
                answer.status,
                kind.words()
            ),
            ["check the path in upstream.base_url, to which /otk-service/... is appended".into()],
        )],
        // Told already, and nothing about the key: 3xx, 5xx, a body that is not whole. A 2xx that is no JSON comes in `journey`.
        _ => Vec::new(),
    }
}

/// An address that is not listed and a quota that is used up share a status; the body tells which is likelier.
fn forbidden(asked: &Asked, answer: &Answer, kind: Kind, local: Option<IpAddr>) -> Finding {
    let from = match (&asked.proxy, local) {
        (Some(_), _) => "calls leave through the egress proxy".to_owned(),
        (None, Some(local)) => format!("calls leave from {local}, which a NAT on the way may change"),
        (None, None) => "a NAT on the way may change it".to_owned(),
    };
    let list = format!("have the address that the upstream sees put on its list of callers ({from})");
    let quota = format!(
        "ask the upstream whether the quota of this key ({}) is used up, or the key may not make this call",
        asked.key_source
    );
    match kind {
        Kind::Json => {
            let code = answer.body.as_ref().ok().and_then(|Said(body)| error_code(body));
            let code = code.map_or(String::new(), |code| format!(", code {code}"));
            let text = format!(
                "403 with JSON{code}: the service itself refuses; a quota or a right is likelier than the address"
            );
            Finding::problem("key", text, [quota, list])
        }
        _ => {
            let text = format!(
                "403 that {}: a firewall before the service refuses; most likely this network's address is not listed",
                kind.words()
            );
            Finding::problem("address", text, [list, quota])
        }
    }
}

/// The upstream's error code, if it looks exactly like one of those it documents.
fn error_code(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = body.pointer("/errors/0/code").or_else(|| body.get("code"))?.as_str()?;
    let (area, number) = code.strip_prefix("UAEKYC-ERR-")?.split_once('-')?;
    let is_area = (1..=16).contains(&area.len()) && area.bytes().all(|b| b.is_ascii_uppercase());
    let is_number = number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit());
    (is_area && is_number).then(|| code.to_owned())
}

// === the journey given ===

fn journey(asked: &Asked, answer: &Answer, body: &Bytes, now: Timestamp, findings: &mut Vec<Finding>) {
    if Document::parse(body).is_err() {
        let text = "the answer is not one JSON object of one meaning, so there is no signature to check";
        findings.push(Finding::problem(
            "signed",
            text,
            ["check upstream.base_url, and what may change answers on the way".into()],
        ));
        return;
    }
    let authentic = match signature::verify(body, &asked.keys) {
        Ok((authentic, _)) => authentic,
        Err(forged) => {
            findings.push(unsigned(forged));
            return;
        }
    };
    let count = asked.keys.ids().count();
    let place = asked.keys.ids().position(|id| id == authentic.key()).unwrap_or_default() + 1;
    findings.push(Finding::ok("signed", format!("valid, under key {} ({place} of {count})", authentic.key())));
    findings.push(time(asked, answer, &authentic));
    // Without a signed time the content is refused for that alone, which was told.
    if let Some(signed) = authentic.claims().signed {
        findings.push(said(answer, &authentic, now.max(signed)));
    }
}

fn unsigned(forged: Forged) -> Finding {
    match forged {
        Forged::Missing => Finding::problem(
            "signed",
            "the answer carries no signature",
            ["ask the upstream to sign its answers for this key; without that no image is released".into()],
        ),
        Forged::Malformed => Finding::problem(
            "signed",
            "the member \"signature\" is no string",
            ["check that upstream.base_url leads to the authority".into()],
        ),
        Forged::Invalid => Finding::problem(
            "signed",
            "the signature verifies under none of the keys in force",
            [
                "compare signature.public_keys with the authority's key for this environment; it may have been rotated"
                    .into(),
                "if the key is right, look for what changes answers on the way".into(),
            ],
        ),
    }
}

/// As rule 2 judges it, on arrival.
fn time(asked: &Asked, answer: &Answer, authentic: &Authentic) -> Finding {
    let Some(signed) = authentic.claims().signed else {
        let remedy = ["ask the upstream: without a signed time a replay cannot be told".into()];
        return Finding::problem("time", "meta.timestamp is absent or no ISO 8601 time", remedy);
    };
    let (age, ahead) = (answer.received.since(signed), signed.since(answer.received));
    if age > asked.max_age {
        let (age, limit) = (seconds(age), show_duration(asked.max_age));
        return Finding::problem(
            "time",
            format!("signed {age} before it arrived, more than signature.max_age ({limit}): a replay"),
            ["see \"clock\" above; if the clocks agree, look for a cache on the way".into()],
        );
    }
    if ahead > asked.clock_skew {
        let (ahead, limit) = (seconds(ahead), show_duration(asked.clock_skew));
        return Finding::problem(
            "time",
            format!("signed {ahead} in our future, more than signature.clock_skew ({limit})"),
            ["check that this machine's clock is kept by NTP; if it is, tell the upstream".into()],
        );
    }
    let distance = if ahead.is_zero() {
        format!("{} before it arrived, signature.max_age is {}", seconds(age), show_duration(asked.max_age))
    } else {
        format!("{} in our future, signature.clock_skew is {}", seconds(ahead), show_duration(asked.clock_skew))
    };
    Finding::ok("time", format!("signed {distance}"))
}

/// What the gateway would make of its content. As rule 5 has it, `now` is the later of our clock and the signed time.
fn said(answer: &Answer, authentic: &Authentic, now: Timestamp) -> Finding {
    if answer.status != 200 {
        let text = format!("a certificate with {} instead of 200: UPSTREAM-MALFORMED", answer.status);
        return Finding::problem("status", text, ["tell the upstream".into()]);
    }
    match authentic.content() {
        Ok(Content::Certificate(certificate)) if certificate.expires_on <= now => {
            let text = "ACTIVE, but expires_on is past: the gateway withholds the image";
            Finding::warning("status", text, ["tell the upstream".into()])
        }
        Ok(Content::Certificate(_)) => Finding::ok("status", format!("{}, with an image", Status::Active.as_str())),
        Ok(Content::Withdrawn { status, rebuilt: true, .. }) => {
            let text = format!("{}, yet with an image or an ETag, which the gateway withholds", status.as_str());
            Finding::warning("status", text, ["tell the upstream".into()])
        }
        Ok(Content::Withdrawn { status, .. }) => {
            Finding::ok("status", format!("{}, no image, as it should be", status.as_str()))
        }
        Ok(Content::Declined(_)) => Finding::warning(
            "status",
            "no certificate: \"success\" is false",
            ["give a journey that has a certificate".into()],
        ),
        Err(_) => Finding::problem(
            "status",
            "genuine, but it contradicts itself or lacks what a release needs: UPSTREAM-MALFORMED",
            ["keep the answer, look at it with `otk-gateway verify`, and tell the upstream".into()],
        ),
    }
}

// === impl Kind ===

impl Kind {
    fn of(answer: &Answer) -> Self {
        let Ok(Said(body)) = &answer.body else { return Self::Unread };
        let body = body.trim_ascii();
        match body.first() {
            None => Self::Nothing,
            Some(b'<') => Self::Page,
            Some(_) if Document::parse(body).is_ok() => Self::Json,
            Some(_) => Self::Other,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Json => "comes with JSON",
            Self::Page => "comes with an HTML page",
            Self::Nothing => "comes without a body",
            Self::Other => "comes with neither JSON nor HTML",
            Self::Unread => "breaks off",
        }
    }
}

/// Clocks that are closer than this are called equal.
const NOTICEABLE: Duration = Duration::from_secs(3);

//! `otk-gateway verify`: a captured answer, looked at step by step.
//!
//! For people with a file in hand and a doubt. It uses the very rooms that serve, and judges no more than it says: whether the
//! answer parses and is signed; times are reported, and judged only when asked.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;

use crate::certificate::Timestamp;
use crate::envelope::Document;
use crate::signature::{self, Content, Forged, Keys};

/// Looks at `wire`, tells `out` what it finds, and returns whether all that was asked for holds.
pub fn verify(
    wire: &Bytes,
    keys: &Keys,
    max_age: Option<Duration>,
    now: Timestamp,
    out: &mut impl Write,
) -> io::Result<bool> {
    let Ok(document) = Document::parse(wire) else {
        writeln!(out, "parsed      no: not one JSON object of one meaning (UTF-8, no key twice, nothing after it)")?;
        return Ok(false);
    };
    writeln!(out, "parsed      yes, {} bytes", wire.len())?;
    writeln!(out, "digest      {} (BLAKE3 of the canonical answer)", hex::encode(signature::digest(&document)))?;
    let is_signed = match keys.check(&document) {
        Ok(vouched) => {
            writeln!(out, "signature   valid, under key {}", vouched.key)?;
            true
        }
        Err(forged) => {
            writeln!(out, "signature   {}", words(forged))?;
            false
        }
    };
    let is_timely = times(&document, max_age, now, out)?;
    status(&document, wire, keys, out)?;
    Ok(is_signed && is_timely)
}

fn words(forged: Forged) -> &'static str {
    match forged {
        Forged::Malformed => "malformed: the member is no string",
        Forged::Missing => "missing: the member is absent, null or empty",
        Forged::Invalid => "invalid: it verifies under none of the given keys",
    }
}

fn times(document: &Document<'_>, max_age: Option<Duration>, now: Timestamp, out: &mut impl Write) -> io::Result<bool> {
    let claims = document.claims();
    let Some(signed) = claims.signed else {
        writeln!(out, "signed at   unreadable: meta.timestamp is absent or no ISO 8601 time")?;
        return Ok(max_age.is_none());
    };
    let (age, ahead) = (now.since(signed), signed.since(now));
    let distance =
        if ahead.is_zero() { format!("{} s ago", age.as_secs()) } else { format!("{} s ahead", ahead.as_secs()) };
    let is_timely = max_age.is_none_or(|max_age| age <= max_age && ahead.is_zero());
    let judgement = if is_timely { "" } else { ", outside --max-age" };
    writeln!(out, "signed at   {} ({distance}{judgement})", signed.to_rfc3339())?;
    if let Some(expires_on) = claims.expires_on {
        let tense = if expires_on <= now { "past" } else { "to come" };
        writeln!(out, "expires on  {} ({tense})", expires_on.to_rfc3339())?;
    }
    Ok(is_timely)
}

fn status(document: &Document<'_>, wire: &Bytes, keys: &Keys, out: &mut impl Write) -> io::Result<()> {
    let status = document.claims().status.map_or("none of ACTIVE, REVOKED, EXPIRED", |status| status.as_str());
    writeln!(out, "status      {status}")?;
    let Ok((authentic, image)) = signature::verify(wire, keys) else { return Ok(()) };
    let content = match (authentic.content(), image) {
        (Ok(Content::Certificate(_)), Some(image)) => format!("a JPEG of {} bytes", image.len()),
        (Ok(Content::Withdrawn { rebuilt: true, .. }), _) => "an image that must not be shown".to_owned(),
        (Ok(Content::Declined(_)), _) => "no certificate: \"success\" is false".to_owned(),
        (Ok(_), _) => "no image".to_owned(),
        (Err(_), _) => "contradictory: the gateway would answer UPSTREAM-MALFORMED".to_owned(),
    };
    writeln!(out, "content     {content}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::fixture;

    fn look(wire: &Bytes, max_age: Option<u64>) -> (bool, String) {
        let mut out = Vec::new();
        let now = Timestamp::parse("2025-05-13T12:01:00Z").expect("a time");
        let holds = verify(wire, &fixture::keys(), max_age.map(Duration::from_secs), now, &mut out).expect("a vector");
        (holds, String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn a_genuine_answer_is_told_step_by_step_and_judged_by_time_only_when_asked() {
        let noon = Timestamp::parse("2025-05-13T12:00:00Z").expect("a time");
        let wire = fixture::wire(fixture::answer("ACTIVE", noon, Some("etag"), Some(&[0xff, 0xd8, 0xff, 0xe0])));
        let (holds, text) = look(&wire, None);
        assert!(holds, "{text}");
        for step in [
            "parsed      yes",
            "digest      ",
            "signature   valid",
            "60 s ago",
            "status      ACTIVE",
            "a JPEG of 4 bytes",
        ] {
            assert!(text.contains(step), "{step} in {text}");
        }
        assert!(look(&wire, Some(60)).0);
        assert!(!look(&wire, Some(59)).0);
    }

    #[test]
    fn what_does_not_parse_or_is_not_signed_does_not_hold() {
        assert!(!look(&Bytes::from_static(b"<html>"), None).0);
        let (holds, text) = look(&Bytes::from_static(b"{\"signature\":\"\"}"), None);
        assert!(!holds && text.contains("missing"), "{text}");
    }
}

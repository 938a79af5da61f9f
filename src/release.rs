//! May this image be shown, now?
//!
//! An image is released only if all seven rules hold at the moment of release, hit or miss; HEAD and 304 are releases too.
//!
//! 1. *Genuine.* The signature verifies under a key in force. (`Authentic` proves that it did under some key; here it is asked
//!    whether that key is still one of ours.)
//! 2. *Timely.* On arrival the signed time was neither older than `max_age` nor ahead by more than `clock_skew`; it is later
//!    than every REVOKED or EXPIRED answer seen for this journey, a tie withholds; and not older than the newest genuine answer
//!    of the journey (nor as old, if that one has a code other than ACTIVE), except by up to `clock_skew` when that one is
//!    ACTIVE with the same ETag and image.
//! 3. *This person.* The `uaekyc_id` is the one first seen for this journey, and the very same answer had not been received
//!    for another journey before this call was sent.
//! 4. *Whole.* Status 200, `success`, ACTIVE, a usable ETag, a JPEG (`Authentic` carries a `Certificate` only if so).
//! 5. *Valid.* The later of our clock and the answer's own is before `expires_on`.
//! 6. *Fresh.* The call was sent after the request arrived, or at most `max_exposure` ago; and after every revocation or purge
//!    that concerns the journey, its person or its ETag.
//! 7. *These bytes.* The image is that of the journey's own newest answer, and nobody else was seen with other bytes under
//!    its ETag.
//!
//! `admit` judges what can be judged once, when an answer arrives (2 and 3: what fails there is never remembered as an
//! answer). `decide` judges all of it, every time. Which failure names the refusal follows the order of the contract's
//! "Errors": time, person, order, content, conflict. What is merely not fresh is no refusal: `Verdict::Stale` asks for a call.
//!
//! Deliberately absent: I/O, clocks, locks, logs, and any way to override a rule. Only here is a `Permit` made, and only a
//! `Permit` hands out an image's bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::certificate::{Digest, Etag, Image, PersonId, Said, Status, Timestamp};
use crate::clock::{Moment, Order};
use crate::envelope::{Frame, Malformed};
use crate::reason::Reason;
use crate::signature::{Authentic, Certificate, Content};

/// The numbers in the rules; from the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How old a signed time may be on arrival.
    pub max_age: Duration,
    /// How far ahead of our clock it may be, and how far the upstream's replicas may differ.
    pub clock_skew: Duration,
    /// How long ago the call may have been sent; zero wants a call of its own for every request.
    pub max_exposure: Duration,
    /// How long REVOKED and EXPIRED are told again without asking.
    pub withheld_ttl: Duration,
}

/// The call that brought an answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Taken just before it went out.
    pub sent: Moment,
    /// Taken when the answer was whole.
    pub received: Moment,
    /// The `Age` that came with the answer.
    pub upstream_age: Duration,
}

/// An answer as it is held: what it says, and which call brought it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it says, and who vouches for it.
    pub authentic: Authentic,
    /// The call that brought it.
    pub call: Call,
}

/// What is remembered when an answer is judged: about its journey, its person and its ETag.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The newest genuine answer of this journey.
    pub newest: Option<Newest>,
    /// The latest signed time of a REVOKED or EXPIRED answer of this journey.
    pub withdrawn: Option<Timestamp>,
    /// The person first seen for this journey.
    pub person: Option<PersonId>,
    /// Only a call sent after this confirms anything.
    pub confirm_after: Order,
    /// Another journey had received the very same answer before this one's call was sent.
    pub elsewhere: bool,
    /// Another person was seen with other bytes under this ETag.
    pub conflict: bool,
    /// The bytes under this ETag have changed, so the ETag alone proves nothing to a client.
    pub changed: bool,
}

/// The newest genuine answer of a journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its `meta.timestamp`.
    pub signed: Timestamp,
    /// ETag and image, if it was ACTIVE and whole.
    pub shown: Option<Shown>,
    /// It spoke of a status other than ACTIVE, known or not: an ACTIVE answer of the same time does not count.
    pub is_against: bool,
}

/// ETag and image of an answer, as digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Of the ETag's characters.
    pub etag: Digest,
    /// Of the image's bytes.
    pub image: Digest,
}

/// Who asks, and how fresh it must be.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// When the request arrived.
    pub arrived: Moment,
    /// `Cache-Control: no-cache`: only a call sent after that will do.
    pub anew: bool,
}

/// The decision.
#[derive(Debug)]
pub enum Verdict {
    /// Show it.
    Release(Permit),
    /// Do not show it: it is REVOKED or EXPIRED.
    Withhold(Withheld),
    /// Pass on the upstream's own `"success": false`.
    Decline(Said),
    /// Nothing is wrong, but nothing is confirmed either: ask the upstream.
    Stale,
    /// Something is wrong.
    Refuse(Reason),
}

/// Permission to show one image, now. Made by `decide` alone.
///
/// Code without one cannot write an image:
///
/// ```compile_fail,E0423
/// use otk_gateway::release::Permit;
/// let permit = Permit(unreachable!()); // the field is private: no permit without a decision
/// ```
///
/// ```compile_fail,E0624
/// fn leak(image: otk_gateway::certificate::Image) -> bytes::Bytes {
///     image.bytes().clone() // private to the crate, and called in `release` only
/// }
/// ```
///
/// What a permit allows is public:
///
/// ```
/// fn write(permit: &otk_gateway::release::Permit) -> &[u8] {
///     permit.image()
/// }
/// ```
#[derive(Debug)]
pub struct Permit(Grant);

#[derive(Debug)]
struct Grant {
    answer: Arc<Answer>,
    image: Image,
    ask: Ask,
    age: Duration,
    unchanged: bool,
}

/// What a permit rests on, to be looked at once more. It hands out nothing.
#[derive(Debug)]
pub struct Grounds {
    answer: Arc<Answer>,
    image: Image,
    ask: Ask,
}

/// A certificate that may not be shown.
#[derive(Clone, Debug)]
pub struct Withheld {
    /// Why: never ACTIVE.
    pub status: Status,
    /// What may be told.
    pub body: Said,
    /// The upstream sent an image, so `body` is not its own text.
    pub rebuilt: bool,
    /// How long ago the call was sent.
    pub age: Duration,
    /// When the upstream signed what decided.
    pub signed: Option<Timestamp>,
    /// When the call that brought it was sent.
    pub sent: Timestamp,
}

/// Judges an answer on arrival, against what was remembered before it: rules 2 and 3.
///
/// An answer that is refused here is not genuine and teaches nothing, save that a signed withdrawal withdraws.
pub fn admit(answer: &Answer, seen: &Seen, rules: &Rules) -> Result<(), Reason> {
    let Some(signed) = answer.authentic.claims().signed else { return Err(Reason::UpstreamMalformed) };
    timely(signed, answer.call.received.wall(), rules)?;
    this_person(&answer.authentic, seen)?;
    in_order(&answer.authentic, signed, seen, rules)
}

/// Judges an answer at the moment of release: all seven rules.
///
/// `image` is what the cache holds under the answer's ETag; `key_in_force` says whether the key that vouched still counts.
pub fn decide(
    answer: &Arc<Answer>,
    image: Option<&Image>,
    key_in_force: bool,
    seen: &Seen,
    ask: &Ask,
    now: &Moment,
    rules: &Rules,
) -> Verdict {
    if !key_in_force {
        return Verdict::Stale;
    }
    if let Err(reason) = admit(answer, seen, rules) {
        return Verdict::Refuse(reason);
    }
    let age = now.age_of(&answer.call.sent);
    let certificate = match answer.authentic.content() {
        Ok(Content::Certificate(certificate)) => certificate,
        Ok(Content::Withdrawn { .. }) if !is_fresh(answer, rules.withheld_ttl, ask, now) => return Verdict::Stale,
        Ok(Content::Withdrawn { status, body, rebuilt }) => {
            return withheld(answer, *status, body.clone(), *rebuilt, age);
        }
        Ok(Content::Declined(_)) if !answer.call.is_after(ask) => return Verdict::Stale,
        Ok(Content::Declined(body)) => return Verdict::Decline(body.clone()),
        Err(Malformed) => return Verdict::Refuse(Reason::UpstreamMalformed),
    };
    if seen.conflict {
        return Verdict::Refuse(Reason::EtagConflict);
    }
    if !is_confirmed(answer, seen) || !is_fresh(answer, rules.max_exposure, ask, now) {
        return Verdict::Stale;
    }
    if !is_valid(answer, certificate, now) {
        return expired(answer, certificate, age);
    }
    let Some(image) = image.filter(|image| these_bytes(certificate, image, seen)) else { return Verdict::Stale };
    let unchanged = !seen.changed;
    Verdict::Release(Permit(Grant { answer: answer.clone(), image: image.clone(), ask: *ask, age, unchanged }))
}

/// The seven rules one by one, for somebody who asks why; `decide` would release exactly when all hold.
pub fn explain(
    answer: &Answer,
    image: Option<&Image>,
    key_in_force: bool,
    seen: &Seen,
    ask: &Ask,
    now: &Moment,
    rules: &Rules,
) -> [(&'static str, bool); 7] {
    let Answer { authentic, call } = answer;
    let signed = authentic.claims().signed;
    let is_timely = signed.is_some_and(|signed| {
        timely(signed, call.received.wall(), rules).is_ok() && in_order(authentic, signed, seen, rules).is_ok()
    });
    let certificate = authentic.certificate();
    let is_theirs = |certificate| image.is_some_and(|image| these_bytes(certificate, image, seen));
    [
        ("genuine", key_in_force),
        ("timely", is_timely),
        ("this person", this_person(authentic, seen).is_ok()),
        ("whole", certificate.is_some()),
        ("valid", certificate.is_some_and(|certificate| is_valid(answer, certificate, now))),
        ("fresh", is_confirmed(answer, seen) && is_fresh(answer, rules.max_exposure, ask, now)),
        ("these bytes", !seen.conflict && certificate.is_some_and(is_theirs)),
    ]
}

/// Rule 2, first half: neither a replay nor from the future.
fn timely(signed: Timestamp, received: Timestamp, rules: &Rules) -> Result<(), Reason> {
    if received.since(signed) > rules.max_age {
        return Err(Reason::ResponseReplayed);
    }
    if signed.since(received) > rules.clock_skew {
        return Err(Reason::ClockSkew);
    }
    Ok(())
}

/// Rule 3. A signed "no" may name nobody.
fn this_person(authentic: &Authentic, seen: &Seen) -> Result<(), Reason> {
    let is_another = match (authentic.claims().person, seen.person) {
        (Some(person), Some(first)) => person != first,
        _ => false,
    };
    if is_another || seen.elsewhere { Err(Reason::IdentityMismatch) } else { Ok(()) }
}

/// Rule 2, second half: later than every withdrawal, not older than the newest but for the replicas' difference.
fn in_order(authentic: &Authentic, signed: Timestamp, seen: &Seen, rules: &Rules) -> Result<(), Reason> {
    let is_active = authentic.claims().status == Some(Status::Active);
    let is_tie = seen.newest.is_some_and(|newest| newest.is_against && newest.signed == signed);
    if is_active && (is_tie || seen.withdrawn.is_some_and(|withdrawn| signed <= withdrawn)) {
        return Err(Reason::ResponseRolledBack);
    }
    let Some(newest) = seen.newest.filter(|newest| signed < newest.signed) else { return Ok(()) };
    let says_the_same = authentic.certificate().is_some_and(|certificate| newest.shown == Some(certificate.shown()));
    if says_the_same && newest.signed.since(signed) <= rules.clock_skew {
        Ok(())
    } else {
        Err(Reason::ResponseRolledBack)
    }
}

/// Rule 5. The upstream's clock counts too, so that ours set back revives nothing.
fn is_valid(answer: &Answer, certificate: &Certificate, now: &Moment) -> bool {
    let signed = answer.authentic.claims().signed.unwrap_or(Timestamp(i64::MAX));
    now.wall().max(signed) < certificate.expires_on
}

/// Rule 6, first half; the same test with another bound tells how long a withdrawal is remembered.
fn is_fresh(answer: &Answer, at_most: Duration, ask: &Ask, now: &Moment) -> bool {
    let age = now.age_of(&answer.call.sent).saturating_add(answer.call.upstream_age);
    answer.call.is_after(ask) || (!ask.anew && !at_most.is_zero() && age <= at_most)
}

/// Rule 6, second half.
fn is_confirmed(answer: &Answer, seen: &Seen) -> bool {
    answer.call.sent.order() > seen.confirm_after
}

/// Rule 7, but for the conflict, which has a name of its own.
fn these_bytes(certificate: &Certificate, image: &Image, seen: &Seen) -> bool {
    let of_newest = seen.newest.and_then(|newest| newest.shown).map(|shown| shown.image);
    image.digest() == certificate.image && of_newest == Some(certificate.image)
}

fn expired(answer: &Answer, certificate: &Certificate, age: Duration) -> Verdict {
    match certificate.frame.withhold(Status::Expired) {
        Ok(body) => withheld(answer, Status::Expired, Said(body), true, age),
        Err(Malformed) => Verdict::Refuse(Reason::UpstreamMalformed),
    }
}

fn withheld(answer: &Answer, status: Status, body: Said, rebuilt: bool, age: Duration) -> Verdict {
    let (signed, sent) = (answer.authentic.claims().signed, answer.call.sent.wall());
    Verdict::Withhold(Withheld { status, body, rebuilt, age, signed, sent })
}

// === impl Call, Certificate ===

impl Call {
    /// It was sent after the request arrived.
    pub fn is_after(&self, ask: &Ask) -> bool {
        self.sent.order() > ask.arrived.order()
    }
}

impl Certificate {
    /// What the marks remember of it.
    pub fn shown(&self) -> Shown {
        Shown { etag: self.etag.digest(), image: self.image }
    }
}

// === impl Permit ===

impl Permit {
    /// The image itself.
    pub fn image(&self) -> &Bytes {
        self.0.image.bytes()
    }

    /// The image in base64, if this answers one of those who waited for it.
    pub fn text(&self) -> Option<&Bytes> {
        self.0.image.text()
    }

    /// The SHA-256 of the image, as `Repr-Digest` wants it.
    pub fn repr_digest(&self) -> &Bytes {
        self.0.image.repr_digest()
    }

    /// What tells the image from others.
    pub fn image_digest(&self) -> Digest {
        self.0.image.digest()
    }

    /// The JSON around the image.
    pub fn frame(&self) -> &Frame {
        &self.certificate().frame
    }

    /// The certificate's own ETag.
    pub fn etag(&self) -> &Etag {
        &self.certificate().etag
    }

    /// The entity tag of the JSON; changes whenever another member of `data` does.
    pub fn json_tag(&self) -> &Bytes {
        &self.certificate().json_tag
    }

    /// The ETag has only ever stood for these bytes, so that a client that holds it may be told 304.
    pub fn allows_not_modified(&self) -> bool {
        self.0.unchanged
    }

    /// How long ago the confirming call was sent.
    pub fn age(&self) -> Duration {
        self.0.age
    }

    /// For how long the image has been out of the upstream's hands: rule 6 counts the upstream's own `Age` too.
    pub fn exposure(&self) -> Duration {
        self.0.age.saturating_add(self.0.answer.call.upstream_age)
    }

    /// When the upstream signed it.
    pub fn signed(&self) -> Option<Timestamp> {
        self.0.answer.authentic.claims().signed
    }

    /// The call that confirms it.
    pub fn call(&self) -> &Call {
        &self.0.answer.call
    }

    /// What it rests on.
    pub fn grounds(&self) -> Grounds {
        let Grant { answer, image, ask, .. } = &self.0;
        Grounds { answer: answer.clone(), image: image.clone(), ask: *ask }
    }

    fn certificate(&self) -> &Certificate {
        self.0.answer.authentic.certificate().expect("a permit is made for a certificate only")
    }
}

// === impl Grounds ===

impl Grounds {
    /// The answer that was judged.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// `decide` would release on the same grounds.
    pub fn hold(&self, key_in_force: bool, seen: &Seen, now: &Moment, rules: &Rules) -> bool {
        let verdict = decide(&self.answer, Some(&self.image), key_in_force, seen, &self.ask, now, rules);
        matches!(verdict, Verdict::Release(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::signature::fixture;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3];
    const RULES: Rules = Rules {
        max_age: Duration::from_secs(120),
        clock_skew: Duration::from_secs(60),
        max_exposure: Duration::from_secs(30),
        withheld_ttl: Duration::from_secs(300),
    };

    fn noon() -> Timestamp {
        Timestamp::parse("2025-05-13T12:00:00Z").expect("a time")
    }

    fn seconds(from_noon: i64) -> Timestamp {
        Timestamp(noon().0 + from_noon * 1_000_000_000)
    }

    fn active() -> Value {
        fixture::answer("ACTIVE", noon(), Some("etag"), Some(JPEG))
    }

    /// Everything a decision looks at; the default is an ACTIVE answer that just came back and may be released.
    struct Case {
        answer: Value,
        sent_before: u64,
        upstream_age: u64,
        wall_step: i64,
        anew: bool,
        key_in_force: bool,
        image: Option<&'static [u8]>,
        asked_first: bool,
        seen: fn(&mut Seen, after_the_call: Order),
        rules: Rules,
    }

    impl Default for Case {
        fn default() -> Self {
            Case {
                answer: active(),
                sent_before: 0,
                upstream_age: 0,
                wall_step: 0,
                anew: false,
                key_in_force: true,
                image: Some(JPEG),
                asked_first: false,
                seen: |_, _| {},
                rules: RULES,
            }
        }
    }

    impl Case {
        /// Decides, and demands that the explanation agrees.
        fn decide(self) -> Verdict {
            let (authentic, _) = fixture::authentic(self.answer);
            let clock = Clock::by_hand(noon());
            let early = Ask { arrived: clock.now(), anew: self.anew };
            let call =
                Call { sent: clock.now(), received: clock.now(), upstream_age: Duration::from_secs(self.upstream_age) };
            let mut seen = Seen {
                newest: authentic.claims().signed.map(|signed| Newest {
                    signed,
                    shown: authentic.certificate().map(Certificate::shown),
                    is_against: false,
                }),
                person: authentic.claims().person,
                ..Seen::default()
            };
            (self.seen)(&mut seen, clock.now().order());
            clock.advance(Duration::from_secs(self.sent_before));
            clock.step_wall(self.wall_step * 1_000_000_000);
            let late = Ask { arrived: clock.now(), anew: self.anew };
            let ask = if self.asked_first { early } else { late };
            let image = self.image.and_then(|bytes| Image::new(Bytes::from_static(bytes)));
            let answer = Arc::new(Answer { authentic, call });
            let now = clock.now();
            let verdict = decide(&answer, image.as_ref(), self.key_in_force, &seen, &ask, &now, &self.rules);
            let told = explain(&answer, image.as_ref(), self.key_in_force, &seen, &ask, &now, &self.rules);
            assert_eq!(matches!(verdict, Verdict::Release(_)), told.iter().all(|(_, holds)| *holds), "{told:?}");
            verdict
        }
    }

    fn word(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Release(_) => "release",
            Verdict::Withhold(withheld) => withheld.status.as_str(),
            Verdict::Decline(_) => "decline",
            Verdict::Stale => "stale",
            Verdict::Refuse(reason) => reason.as_str(),
        }
    }

    fn with(path: &str, value: Value) -> Value {
        let mut answer = active();
        *answer.pointer_mut(path).expect("a member of the sample") = value;
        answer
    }

    fn status(code: &str) -> Value {
        fixture::answer(code, noon(), None, None)
    }

    /// The whole decision: status x validity x age x image, then each rule's own ways to fail, and who wins.
    #[test]
    #[rustfmt::skip]
    fn truth_table() {
        let none = Case::default;
        let past = || with("/data/expires_on", json!("2025-05-13T11:59:59Z"));
        let table = [
            // status, valid?, fresh?, image?                                                                       -> verdict
            ("active, valid, fresh, image",        Case { ..none() },                                                 "release"),
            ("active, valid, fresh, no image",     Case { image: None, ..none() },                                    "stale"),
            ("active, valid, old, image",          Case { sent_before: 31, ..none() },                                "stale"),
            ("active, valid, old, no image",       Case { sent_before: 31, image: None, ..none() },                   "stale"),
            ("active, past, fresh, image",         Case { answer: past(), ..none() },                                 "EXPIRED"),
            ("active, past, fresh, no image",      Case { answer: past(), image: None, ..none() },                    "EXPIRED"),
            ("active, past, old, image",           Case { answer: past(), sent_before: 31, ..none() },                "stale"),
            ("revoked, fresh",                     Case { answer: status("REVOKED"), ..none() },                      "REVOKED"),
            ("revoked, old, still remembered",     Case { answer: status("REVOKED"), sent_before: 300, ..none() },    "REVOKED"),
            ("revoked, too old",                   Case { answer: status("REVOKED"), sent_before: 301, ..none() },    "stale"),
            ("revoked, with an image",             Case { answer: with("/data/active_status/code", json!("REVOKED")), ..none() }, "REVOKED"),
            ("revoked and past",                   Case { answer: { let mut a = past(); a["data"]["active_status"]["code"] = json!("REVOKED"); a }, ..none() }, "REVOKED"),
            ("expired, fresh",                     Case { answer: status("EXPIRED"), ..none() },                      "EXPIRED"),
            ("expired, with an image",             Case { answer: with("/data/active_status/code", json!("EXPIRED")), ..none() }, "EXPIRED"),
            // rule 1: genuine
            ("its key is gone",                    Case { key_in_force: false, ..none() },                            "stale"),
            ("revoked under a key that is gone",   Case { answer: status("REVOKED"), key_in_force: false, ..none() }, "stale"),
            // rule 2: timely
            ("signed max_age ago",                 Case { answer: with("/meta/timestamp", json!("2025-05-13T11:58:00Z")), ..none() }, "release"),
            ("signed longer ago",                  Case { answer: with("/meta/timestamp", json!("2025-05-13T11:57:59.999Z")), ..none() }, "response-replayed"),
            ("signed clock_skew ahead",            Case { answer: with("/meta/timestamp", json!("2025-05-13T12:01:00Z")), ..none() }, "release"),
            ("signed further ahead",               Case { answer: with("/meta/timestamp", json!("2025-05-13T12:01:00.001Z")), ..none() }, "clock-skew"),
            ("a withdrawal signed earlier",        Case { seen: |s, _| s.withdrawn = Some(seconds(-1)), ..none() },   "release"),
            ("a withdrawal signed at the same time", Case { seen: |s, _| s.withdrawn = Some(noon()), ..none() },      "response-rolled-back"),
            ("a withdrawal signed later",          Case { seen: |s, _| s.withdrawn = Some(seconds(1)), ..none() },    "response-rolled-back"),
            ("an unknown code signed earlier",     Case { seen: |s, _| { newest_at(s, seconds(-1)); against(s) }, ..none() }, "release"),
            ("an unknown code signed at the same time", Case { seen: |s, _| against(s), ..none() },                   "response-rolled-back"),
            ("a newer answer, same image, within skew", Case { seen: |s, _| newest_at(s, seconds(60)), ..none() },    "release"),
            ("a newer answer, same image, beyond", Case { seen: |s, _| newest_at(s, seconds(61)), ..none() },         "response-rolled-back"),
            ("a newer answer without image",       Case { seen: |s, _| s.newest = Some(Newest { signed: seconds(1), shown: None, is_against: false }), ..none() }, "response-rolled-back"),
            ("a newer answer, another image",      Case { seen: |s, _| { newest_at(s, seconds(1)); other_image(s) }, ..none() }, "response-rolled-back"),
            // rule 3: this person
            ("another person was first",           Case { seen: |s, _| s.person = Some(PersonId(2)), ..none() },      "identity-mismatch"),
            ("nobody was first",                   Case { seen: |s, _| s.person = None, ..none() },                   "release"),
            ("given for another journey before",   Case { seen: |s, _| s.elsewhere = true, ..none() },                "identity-mismatch"),
            ("the number written otherwise",       Case { answer: with("/data/uaekyc_id", json!(1.0)), ..none() },    "release"),
            // rule 4: whole
            ("no success",                         Case { answer: with("/success", json!(null)), ..none() },          "upstream-malformed"),
            ("success false, with image",          Case { answer: with("/success", json!(false)), ..none() },         "upstream-malformed"),
            ("success false, bare, just asked",    Case { answer: json!({"success": false, "meta": {"timestamp": "2025-05-13T12:00:00Z"}}), asked_first: true, ..none() }, "decline"),
            ("success false, bare, from before",   Case { answer: json!({"success": false, "meta": {"timestamp": "2025-05-13T12:00:00Z"}}), ..none() }, "stale"),
            ("an unknown code",                    Case { answer: status("SUSPENDED"), ..none() },                    "upstream-malformed"),
            ("active without image",               Case { answer: fixture::answer("ACTIVE", noon(), Some("etag"), None), ..none() }, "upstream-malformed"),
            ("active without ETag",                Case { answer: with("/data/certificate_etag", json!(null)), ..none() }, "upstream-malformed"),
            ("an ETag that breaks headers",        Case { answer: with("/data/certificate_etag", json!("a\r\nb")), ..none() }, "upstream-malformed"),
            ("a PNG",                              Case { answer: with("/data/certificate_base64", json!("data:image/png;base64,iVBORw0KGgo=")), ..none() }, "upstream-malformed"),
            ("no person",                          Case { answer: with("/data/uaekyc_id", json!("1")), ..none() },    "upstream-malformed"),
            ("no end",                             Case { answer: with("/data/expires_on", json!(null)), ..none() },  "upstream-malformed"),
            ("no signed time",                     Case { answer: with("/meta/timestamp", json!(null)), ..none() },   "upstream-malformed"),
            // rule 5: valid, by the later of two clocks
            ("ends now",                           Case { answer: with("/data/expires_on", json!("2025-05-13T12:00:00Z")), ..none() }, "EXPIRED"),
            ("ends in a moment",                   Case { answer: with("/data/expires_on", json!("2025-05-13T12:00:00.001Z")), ..none() }, "release"),
            ("ended by the upstream's clock",      Case { answer: { let mut a = with("/meta/timestamp", json!("2025-05-13T12:00:30Z")); a["data"]["expires_on"] = json!("2025-05-13T12:00:20Z"); a }, ..none() }, "EXPIRED"),
            ("our clock set back revives nothing", Case { answer: with("/data/expires_on", json!("2025-05-13T12:00:00Z")), wall_step: -3600, ..none() }, "EXPIRED"),
            // rule 6: fresh
            ("sent max_exposure ago",              Case { sent_before: 30, ..none() },                                "release"),
            ("the wall clock set back an hour",    Case { sent_before: 31, wall_step: -3600, ..none() },              "stale"),
            ("suspended for a minute",             Case { wall_step: 60, ..none() },                                  "stale"),
            ("the upstream's Age counts",          Case { sent_before: 20, upstream_age: 11, ..none() },              "stale"),
            ("old, but asked before it was sent",  Case { sent_before: 31, asked_first: true, ..none() },             "release"),
            ("no-cache",                           Case { anew: true, ..none() },                                     "stale"),
            ("no-cache, asked before it was sent", Case { anew: true, asked_first: true, ..none() },                  "release"),
            ("no-cache, revoked",                  Case { anew: true, answer: status("REVOKED"), ..none() },          "stale"),
            ("max_exposure 0",                     Case { rules: Rules { max_exposure: Duration::ZERO, ..RULES }, ..none() }, "stale"),
            ("max_exposure 0, asked before it was sent", Case { rules: Rules { max_exposure: Duration::ZERO, ..RULES }, asked_first: true, ..none() }, "release"),
            ("revoked or purged since",            Case { seen: |s, after| s.confirm_after = after, asked_first: true, ..none() }, "stale"),
            // rule 7: these bytes
            ("other bytes under the ETag",         Case { image: Some(&[0xff, 0xd8, 0xff, 9]), ..none() },            "stale"),
            ("the newest shows another image",     Case { seen: |s, _| other_image(s), ..none() },                    "stale"),
            ("two persons, one ETag, two images",  Case { seen: |s, _| s.conflict = true, ..none() },                 "etag-conflict"),
            // who wins: time, person, order, content, conflict
            ("replayed, of another person",        Case { answer: with("/meta/timestamp", json!("2025-05-13T11:00:00Z")), seen: |s, _| s.person = Some(PersonId(2)), ..none() }, "response-replayed"),
            ("another person, rolled back",        Case { seen: |s, _| { s.person = Some(PersonId(2)); s.withdrawn = Some(seconds(1)) }, ..none() }, "identity-mismatch"),
            ("rolled back, malformed",             Case { answer: with("/success", json!(null)), seen: |s, _| s.withdrawn = Some(seconds(1)), ..none() }, "response-rolled-back"),
            ("malformed, conflict",                Case { answer: with("/success", json!(null)), seen: |s, _| s.conflict = true, ..none() }, "upstream-malformed"),
        ];
        for (name, case, verdict) in table {
            assert_eq!(word(case.decide()), verdict, "{name}");
        }
    }

    fn newest_at(seen: &mut Seen, signed: Timestamp) {
        seen.newest = seen.newest.map(|newest| Newest { signed, ..newest });
    }

    fn against(seen: &mut Seen) {
        seen.newest = seen.newest.map(|newest| Newest { is_against: true, ..newest });
    }

    fn other_image(seen: &mut Seen) {
        let other = |newest: Newest| newest.shown.map(|shown| Shown { image: Digest::of(b"other"), ..shown });
        seen.newest = seen.newest.map(|newest| Newest { shown: other(newest), ..newest });
    }

    #[test]
    fn a_permit_gives_the_image_and_forgets_304_when_the_bytes_under_its_etag_changed() {
        let permit = |case: Case| match case.decide() {
            Verdict::Release(permit) => permit,
            other => panic!("{other:?}"),
        };
        let plain = permit(Case::default());
        assert_eq!((&plain.image()[..], plain.etag().as_str(), plain.allows_not_modified()), (JPEG, "etag", true));
        assert!(!permit(Case { seen: |seen, _| seen.changed = true, ..Case::default() }).allows_not_modified());
    }

    proptest! {
        /// Time alone never makes anything showable again.
        #[test]
        fn time_going_forward_never_turns_withholding_into_release(age in 0u64..100, later in 0u64..1000, ends in -10i64..200) {
            let case = |age| Case {
                answer: with("/data/expires_on", json!(seconds(ends).to_rfc3339())), sent_before: age, ..Case::default()
            };
            if !matches!(case(age).decide(), Verdict::Release(_)) {
                prop_assert!(!matches!(case(age + later).decide(), Verdict::Release(_)));
            }
        }
    }
}

//! May this image be shown, now?
//!
//! An image is released only if all seven rules hold at the moment of release, hit or miss; HEAD and 304 are releases too.
//!
//! 1. *Genuine.* The signature verifies under a key in force. (`Authentic` proves that it did under some key; here it is asked
//!    whether that key is still one of ours.)
//! 2. *Timely.* On arrival the signed time was neither older than `max_age` nor ahead by more than `clock_skew`; it is later
//!    than every REVOKED or EXPIRED answer seen for this journey, a tie withholds; and not older than the newest genuine answer
//!    of the journey, except by up to `clock_skew` when that one is ACTIVE with the same ETag and image.
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

use crate::certificate::{Digest, Image, PersonId, Status, Timestamp};
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
    Decline(Bytes),
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
    age: Duration,
    unchanged: bool,
}

/// A certificate that may not be shown.
#[derive(Clone, Debug)]
pub struct Withheld {
    /// Why: never ACTIVE.
    pub status: Status,
    /// What may be told.
    pub body: Bytes,
    /// The upstream sent an image, so `body` is not its own text.
    pub rebuilt: bool,
    /// How long ago the call was sent.
    pub age: Duration,
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
            return Verdict::Withhold(Withheld { status: *status, body: body.clone(), rebuilt: *rebuilt, age });
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
        return expired(certificate, age);
    }
    let Some(image) = image.filter(|image| these_bytes(certificate, image, seen)) else { return Verdict::Stale };
    let unchanged = !seen.changed;
    Verdict::Release(Permit(Grant { answer: answer.clone(), image: image.clone(), age, unchanged }))
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
    if is_active && seen.withdrawn.is_some_and(|withdrawn| signed <= withdrawn) {
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

fn expired(certificate: &Certificate, age: Duration) -> Verdict {
    match certificate.frame.withhold(Status::Expired) {
        Ok(body) => Verdict::Withhold(Withheld { status: Status::Expired, body, rebuilt: true, age }),
        Err(Malformed) => Verdict::Refuse(Reason::UpstreamMalformed),
    }
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

    /// The JSON around the image.
    pub fn frame(&self) -> &Frame {
        &self.certificate().frame
    }

    /// The certificate's own ETag.
    pub fn etag(&self) -> &str {
        self.certificate().etag.as_str()
    }

    /// Changes whenever another member of `data` does.
    pub fn variant(&self) -> u32 {
        self.certificate().variant
    }

    /// The ETag has only ever stood for these bytes, so that a client that holds it may be told 304.
    pub fn allows_not_modified(&self) -> bool {
        self.0.unchanged
    }

    /// How long ago the confirming call was sent.
    pub fn age(&self) -> Duration {
        self.0.age
    }

    /// When the upstream signed it.
    pub fn signed(&self) -> Option<Timestamp> {
        self.0.answer.authentic.claims().signed
    }

    /// The call that confirms it.
    pub fn call(&self) -> &Call {
        &self.0.answer.call
    }

    fn certificate(&self) -> &Certificate {
        self.0.answer.authentic.certificate().expect("a permit is made for a certificate only")
    }
}

//! What the rules must remember of each journey after its image is long gone.
//!
//! Bounded by rules of our own, not by a cache's: a mark is kept at least `max_age` + `clock_skew` after its journey's last
//! answer (an older answer would be refused as a replay), and when all are younger than that, a new journey finds no room.
//!
//! The surprising decision: revocations and purges leave *floors*. A floor says "only a call sent after this confirms
//! anything" about a journey, a person or an ETag, whether or not anything is remembered of it yet; so an answer under way
//! about a relative that is not even known to be one is caught when it arrives. When there are too many floors, the oldest
//! becomes the floor of everything: forgetting errs on the side of asking again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::aged::Aged;
use crate::certificate::{Digest, Etag, JourneyToken, PersonId, Timestamp};
use crate::clock::{Moment, Order};
use crate::reason::Reason;
use crate::release::{self, Answer, Newest, Rules, Seen, Shown};
use crate::signature::{Certificate, KeyId, Keys};

/// Everything remembered; each map's oldest entry is that of its oldest answer.
pub struct Marks {
    journeys: Aged<JourneyToken, Mark>,
    etags: Aged<Digest, EtagMark>,
    receipts: Aged<Digest, Receipt>,
    floors: Floors,
    /// The floors of purges and of keys taken out alone: those hold for withdrawals and 404s too.
    resets: Floors,
    expiries: Expiries,
    capacity: usize,
}

/// Of one journey.
#[derive(Clone, Copy)]
struct Mark {
    last: Moment,
    newest: Option<Newest>,
    withdrawn: Option<Timestamp>,
    person: Option<PersonId>,
    expires_on: Option<Timestamp>,
    /// Which key taught the person.
    person_by: KeyId,
    /// Which key taught the newest answer.
    newest_by: KeyId,
}

/// Of one ETag: who was seen showing what under it. Nearly always one person and one image.
struct EtagMark {
    last: Moment,
    first: Showing,
    others: Vec<Showing>,
}

#[derive(Clone, Copy)]
struct Showing {
    person: PersonId,
    image: Digest,
    key: KeyId,
}

/// Which journeys received the very same answer, and when: the first of them, and the first other one.
#[derive(Clone, Copy)]
struct Receipt {
    last: Moment,
    journey: JourneyToken,
    at: Order,
    elsewhere: Option<Order>,
}

/// What a revocation or a purge concerns.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    Journey(JourneyToken),
    Person(PersonId),
    Etag(Digest),
}

struct Floors {
    scopes: Aged<Scope, Order>,
    all: Order,
    capacity: usize,
}

/// How many remembered certificates end at each instant.
#[derive(Default)]
struct Expiries(BTreeMap<Timestamp, u32>);

/// Whom a purge concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// One journey.
    Journey(JourneyToken),
    /// Every journey of a person.
    Person(PersonId),
    /// Every journey that shows this ETag.
    Etag(Etag),
    /// Everything.
    All,
}

// === impl Marks ===

impl Marks {
    /// Remembers at most so many journeys.
    pub fn new(capacity: usize) -> Self {
        Self {
            journeys: Aged::new(),
            etags: Aged::new(),
            receipts: Aged::new(),
            floors: Floors::new(capacity.max(MIN_FLOORS)),
            resets: Floors::new(capacity.max(MIN_FLOORS)),
            expiries: Expiries::default(),
            capacity,
        }
    }

    /// How many journeys are remembered.
    pub fn count(&self) -> usize {
        self.journeys.len()
    }

    /// How many remembered certificates end in that span of time, the first instant not included.
    pub fn expiring(&self, after: Timestamp, until: Timestamp) -> usize {
        self.expiries.between(after, until)
    }

    /// Every remembered certificate that ends in that span of time.
    pub fn list_expiring(
        &self,
        after: Timestamp,
        until: Timestamp,
    ) -> Vec<(JourneyToken, Option<PersonId>, Timestamp)> {
        let ends = |mark: &Mark| mark.expires_on.filter(|end| *end > after && *end <= until);
        self.journeys.iter().filter_map(|(token, mark)| Some((*token, mark.person, ends(mark)?))).collect()
    }

    /// There is a mark for this journey, or room for one.
    pub fn has_room(&self, token: &JourneyToken, now: &Moment, rules: &Rules) -> bool {
        self.journeys.contains(token)
            || self.journeys.len() < self.capacity
            || self.journeys.oldest().is_some_and(|(_, oldest)| is_over(&oldest.last, now, rules))
    }

    /// What an answer about this journey is judged against.
    pub fn seen(&self, token: &JourneyToken, answer: &Answer) -> Seen {
        let mark = self.journeys.get(token);
        let shown = answer.authentic.certificate().map(Certificate::shown);
        let etag = shown.and_then(|shown| self.etags.get(&shown.etag));
        let person = mark.and_then(|mark| mark.person);
        Seen {
            newest: mark.and_then(|mark| mark.newest),
            withdrawn: mark.and_then(|mark| mark.withdrawn),
            person,
            confirm_after: self.floors.highest([
                Some(Scope::Journey(*token)),
                person.or(answer.authentic.claims().person).map(Scope::Person),
                shown.map(|shown| Scope::Etag(shown.etag)),
            ]),
            elsewhere: false,
            conflict: etag.is_some_and(EtagMark::has_conflict),
            changed: etag.is_some_and(EtagMark::has_changed),
        }
    }

    /// Takes in an answer that has just arrived: judges it against what was known, then remembers what it teaches.
    ///
    /// A signed withdrawal withdraws even when it is refused; any other answer that is refused teaches nothing.
    pub fn learn(&mut self, token: &JourneyToken, answer: &Answer, rules: &Rules) -> Result<(), Reason> {
        let elsewhere = self.receive(token, answer, rules);
        let before = Seen { elsewhere, ..self.seen(token, answer) };
        if answer.authentic.withdraws() {
            self.withdraw(token, answer, rules);
        }
        if !self.make_room(token, &answer.call.received, rules) {
            return Err(Reason::Overloaded);
        }
        release::admit(answer, &before, rules)?;
        self.remember(token, answer, rules);
        Ok(())
    }

    /// From now on only new calls confirm anything about whom this concerns; with `forget`, they start from nothing.
    pub fn purge(&mut self, what: &Purge, forget: bool, now: &Moment) {
        let order = now.order();
        match what {
            Purge::Journey(token) => {
                self.raise_relatives(token, order);
                self.resets.raise(Scope::Journey(*token), order);
            }
            Purge::Person(person) => self.raise_both(Scope::Person(*person), order),
            Purge::Etag(etag) => self.raise_both(Scope::Etag(etag.digest()), order),
            Purge::All => self.raise_all(order),
        }
        for (token, _) in self.concerned(what) {
            self.raise_relatives(&token, order);
            self.resets.raise(Scope::Journey(token), order);
        }
        if forget {
            self.forget(what);
        }
    }

    /// Drops what was learned under keys that are no longer in force; signed times stay.
    pub fn keep_keys(&mut self, keys: &Keys, now: &Moment) {
        self.raise_all(now.order());
        self.etags.retain(|_, etag| etag.keep_keys(keys));
        for mark in self.journeys.values_mut() {
            mark.person = mark.person.filter(|_| keys.contains(mark.person_by));
            if !keys.contains(mark.newest_by) {
                mark.newest = mark.newest.map(|newest| Newest { shown: None, ..newest });
                self.expiries.replace(mark.expires_on.take(), None);
            }
        }
    }

    /// Rule 3, second half: notes who received this answer; true if another journey had it before this call was sent.
    fn receive(&mut self, token: &JourneyToken, answer: &Answer, rules: &Rules) -> bool {
        let received = answer.call.received;
        while self.receipts.oldest().is_some_and(|(_, oldest)| is_over(&oldest.last, &received, rules)) {
            self.receipts.pop_oldest();
        }
        let Some(receipt) = self.receipts.get_mut(&answer.authentic.digest()) else {
            let receipt = Receipt { last: received, journey: *token, at: received.order(), elsewhere: None };
            self.receipts.insert(answer.authentic.digest(), receipt);
            return false;
        };
        if receipt.journey != *token {
            receipt.elsewhere.get_or_insert(received.order());
            return receipt.at < answer.call.sent.order();
        }
        receipt.elsewhere.is_some_and(|at| at < answer.call.sent.order())
    }

    /// Makes room for one more journey if the oldest is old enough to go; false if it is not.
    fn make_room(&mut self, token: &JourneyToken, now: &Moment, rules: &Rules) -> bool {
        let has_room = self.has_room(token, now, rules);
        if has_room && self.journeys.len() >= self.capacity && !self.journeys.contains(token) {
            let oldest = self.journeys.pop_oldest();
            self.expiries.replace(oldest.and_then(|(_, mark)| mark.expires_on), None);
        }
        has_room
    }

    /// Only a call sent after this confirms anything about the journey.
    pub fn confirm_after(&self, token: &JourneyToken) -> Order {
        let mark = self.journeys.get(token);
        let etag = mark.and_then(Mark::shown).map(|shown| shown.etag);
        self.floors.highest([
            Some(Scope::Journey(*token)),
            mark.and_then(|mark| mark.person).map(Scope::Person),
            etag.map(Scope::Etag),
        ])
    }

    /// The call was sent after every purge of this journey, and since the last key was taken out: what it brought, whatever
    /// it is, may be told again. The answer, if there is one, may name a person or an ETag that was purged.
    pub fn is_after_resets(&self, token: &JourneyToken, sent: Order, answer: Option<&Answer>) -> bool {
        let mark = self.journeys.get(token);
        let claims = answer.map(|answer| answer.authentic.claims());
        let person = mark.and_then(|mark| mark.person).or(claims.and_then(|claims| claims.person));
        let etag = claims.and_then(|claims| claims.etag.as_ref()).map(Etag::digest);
        let scopes = [Some(Scope::Journey(*token)), person.map(Scope::Person), etag.map(Scope::Etag)];
        sent > self.resets.highest(scopes)
    }

    /// A signed answer that is not ACTIVE: nothing asked for before it arrived confirms anything of its relatives.
    pub fn withdraw(&mut self, token: &JourneyToken, answer: &Answer, rules: &Rules) {
        let claims = answer.authentic.claims();
        let arrived = answer.call.received.order();
        self.raise_relatives(token, arrived);
        for scope in [claims.person.map(Scope::Person), claims.etag.as_ref().map(|etag| Scope::Etag(etag.digest()))] {
            scope.into_iter().for_each(|scope| self.floors.raise(scope, arrived));
        }
        let is_known_word = claims.status.is_some();
        if let Some(signed) = claims.signed
            && is_known_word
            && self.make_room(token, &answer.call.received, rules)
        {
            let mark = self.mark(token, answer);
            mark.withdrawn = mark.withdrawn.max(Some(signed));
        }
    }

    fn raise_relatives(&mut self, token: &JourneyToken, order: Order) {
        self.floors.raise(Scope::Journey(*token), order);
        let Some(mark) = self.journeys.get(token).copied() else { return };
        if let Some(person) = mark.person {
            self.floors.raise(Scope::Person(person), order);
        }
        if let Some(shown) = mark.shown() {
            self.floors.raise(Scope::Etag(shown.etag), order);
        }
    }

    fn raise_both(&mut self, scope: Scope, order: Order) {
        self.floors.raise(scope, order);
        self.resets.raise(scope, order);
    }

    fn raise_all(&mut self, order: Order) {
        self.floors.raise_all(order);
        self.resets.raise_all(order);
    }

    fn remember(&mut self, token: &JourneyToken, answer: &Answer, rules: &Rules) {
        let claims = answer.authentic.claims();
        let certificate = answer.authentic.certificate();
        let shown = certificate.map(Certificate::shown);
        let mark = self.mark(token, answer);
        if mark.person.is_none() {
            (mark.person, mark.person_by) = (claims.person, answer.authentic.key());
        }
        let newest = claims.signed.filter(|signed| mark.newest.is_none_or(|newest| *signed >= newest.signed));
        if let Some(signed) = newest {
            let is_against = answer.authentic.speaks_against();
            (mark.newest, mark.newest_by) = (Some(Newest { signed, shown, is_against }), answer.authentic.key());
            let ends = certificate.map(|certificate| certificate.expires_on);
            let ended = std::mem::replace(&mut mark.expires_on, ends);
            self.expiries.replace(ended, ends);
        }
        if let (Some(shown), Some(person)) = (shown, claims.person) {
            self.remember_etag(shown, person, answer, rules);
        }
    }

    /// Rule 7, second half: one ETag, one image; a second image of the same person replaces it, of another person conflicts.
    fn remember_etag(&mut self, shown: Shown, person: PersonId, answer: &Answer, rules: &Rules) {
        let last = answer.call.received;
        let showing = Showing { person, image: shown.image, key: answer.authentic.key() };
        let is_full = |etags: &Aged<Digest, EtagMark>| etags.len() >= self.capacity;
        while is_full(&self.etags) && self.etags.oldest().is_some_and(|(_, oldest)| is_over(&oldest.last, &last, rules))
        {
            self.etags.pop_oldest();
        }
        let etag = self.etags.touch(shown.etag, || EtagMark { last, first: showing, others: Vec::new() });
        etag.last = last;
        etag.see(showing);
    }

    /// The mark of this journey, touched.
    fn mark(&mut self, token: &JourneyToken, answer: &Answer) -> &mut Mark {
        let last = answer.call.received;
        let key = answer.authentic.key();
        let fresh = || Mark {
            last,
            newest: None,
            withdrawn: None,
            person: None,
            expires_on: None,
            person_by: key,
            newest_by: key,
        };
        let mark = self.journeys.touch(*token, fresh);
        mark.last = last;
        mark
    }

    /// The journeys that a purge names, by what is remembered of them; all of them are nobody in particular.
    fn concerned(&self, what: &Purge) -> Vec<(JourneyToken, Mark)> {
        match what {
            Purge::Journey(token) => self.journeys.get(token).map(|mark| (*token, *mark)).into_iter().collect(),
            Purge::Person(person) => self.marks_where(|mark| mark.person == Some(*person)),
            Purge::Etag(etag) => self.marks_where(|mark| mark.shown().is_some_and(|shown| shown.etag == etag.digest())),
            Purge::All => Vec::new(),
        }
    }

    fn forget(&mut self, what: &Purge) {
        if *what == Purge::All {
            let (floors, resets) = (std::mem::take(&mut self.floors), std::mem::take(&mut self.resets));
            *self = Self { floors, resets, ..Self::new(self.capacity) };
            return;
        }
        if let Purge::Etag(etag) = what {
            self.etags.remove(&etag.digest());
        }
        for (token, mark) in self.concerned(what) {
            self.journeys.remove(&token);
            self.expiries.replace(mark.expires_on, None);
            self.receipts.retain(|_, receipt| receipt.journey != token);
            if let Some(shown) = mark.shown() {
                self.etags.remove(&shown.etag);
            }
        }
    }

    fn marks_where(&self, test: impl Fn(&Mark) -> bool) -> Vec<(JourneyToken, Mark)> {
        self.journeys.iter().filter(|(_, mark)| test(mark)).map(|(token, mark)| (*token, *mark)).collect()
    }
}

// === impl Mark ===

impl Mark {
    /// What the newest answer shows.
    fn shown(&self) -> Option<Shown> {
        self.newest.and_then(|newest| newest.shown)
    }
}

// === impl EtagMark ===

impl EtagMark {
    fn see(&mut self, showing: Showing) {
        let is_known = self
            .all()
            .any(|known| known.person == showing.person && known.image == showing.image && known.key == showing.key);
        if !is_known && self.others.len() < MAX_SHOWINGS {
            self.others.push(showing);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Showing> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Two persons, two images. A crowd beyond what is remembered counts as one.
    fn has_conflict(&self) -> bool {
        let conflicts = |a: &Showing| self.all().any(|b| a.person != b.person && a.image != b.image);
        self.others.len() >= MAX_SHOWINGS || self.all().any(conflicts)
    }

    /// More than one image, whoever showed it.
    fn has_changed(&self) -> bool {
        self.others.iter().any(|other| other.image != self.first.image)
    }

    /// Drops what was learned under keys that are gone; false if nothing is left.
    fn keep_keys(&mut self, keys: &Keys) -> bool {
        self.others.retain(|showing| keys.contains(showing.key));
        if keys.contains(self.first.key) {
            return true;
        }
        if self.others.is_empty() {
            return false;
        }
        self.first = self.others.remove(0);
        true
    }
}

/// So long ago that an answer from then would be refused as a replay.
fn is_over(last: &Moment, now: &Moment, rules: &Rules) -> bool {
    now.surely_since(last) >= retention(rules)
}

fn retention(rules: &Rules) -> Duration {
    rules.max_age.saturating_add(rules.clock_skew)
}

// === impl Floors ===

impl Floors {
    fn new(capacity: usize) -> Self {
        Self { scopes: Aged::new(), all: Order::START, capacity }
    }

    fn highest(&self, scopes: [Option<Scope>; 3]) -> Order {
        let floors = scopes.into_iter().flatten().filter_map(|scope| self.scopes.get(&scope));
        floors.copied().fold(self.all, Order::max)
    }

    fn raise(&mut self, scope: Scope, order: Order) {
        self.scopes.insert(scope, order);
        if self.scopes.len() > self.capacity {
            let oldest = self.scopes.pop_oldest();
            self.all = self.all.max(oldest.map_or(Order::START, |(_, order)| order));
        }
    }

    fn raise_all(&mut self, order: Order) {
        self.scopes = Aged::new();
        self.all = self.all.max(order);
    }
}

impl Default for Floors {
    fn default() -> Self {
        Self::new(MIN_FLOORS)
    }
}

// === impl Expiries ===

impl Expiries {
    fn replace(&mut self, old: Option<Timestamp>, new: Option<Timestamp>) {
        if old == new {
            return;
        }
        if let Some(old) = old
            && let Some(count) = self.0.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&old);
            }
        }
        if let Some(new) = new {
            *self.0.entry(new).or_insert(0) += 1;
        }
    }

    fn between(&self, after: Timestamp, until: Timestamp) -> usize {
        if until <= after {
            return 0;
        }
        let span = (std::ops::Bound::Excluded(after), std::ops::Bound::Included(until));
        self.0.range(span).map(|(_, count)| *count as usize).sum()
    }
}

/// So many different showings under one ETag are no coincidence any more.
const MAX_SHOWINGS: usize = 32;

/// So few floors cost nothing, and a small `max_journeys` should not make everything ask again.
const MIN_FLOORS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::release::Call;
    use crate::signature::fixture;
    use serde_json::{Value, json};

    const RULES: Rules = Rules {
        max_age: Duration::from_secs(120),
        clock_skew: Duration::from_secs(60),
        max_exposure: Duration::from_secs(30),
        withheld_ttl: Duration::from_secs(300),
    };

    fn clock() -> Clock {
        Clock::by_hand(Timestamp::parse("2025-05-13T12:00:00Z").expect("a time"))
    }

    fn token(number: u8) -> JourneyToken {
        JourneyToken::parse(&format!("00000000-0000-4000-8000-{number:012}")).expect("a token")
    }

    /// What the authority says of this person now, changed as the test wants it.
    fn answer(clock: &Clock, code: &str, person: i64, change: impl FnOnce(&mut Value)) -> Answer {
        let image: Option<&[u8]> = (code == "ACTIVE").then_some(&[0xff, 0xd8, 0xff, 1]);
        let mut said = fixture::answer(code, clock.now().wall(), image.map(|_| "etag"), image);
        said["data"]["uaekyc_id"] = json!(person);
        change(&mut said);
        let call = Call { sent: clock.now(), received: clock.now(), upstream_age: Duration::ZERO };
        Answer { authentic: fixture::authentic(said).0, call }
    }

    fn learn(marks: &mut Marks, clock: &Clock, journey: u8, code: &str, person: i64) -> Result<Answer, Reason> {
        clock.advance(Duration::from_millis(1)); // no two answers of these tests are the very same
        let answer = answer(clock, code, person, |_| {});
        marks.learn(&token(journey), &answer, &RULES).map(|()| answer)
    }

    fn is_confirmed(marks: &Marks, journey: u8, answer: &Answer) -> bool {
        answer.call.sent.order() > marks.seen(&token(journey), answer).confirm_after
    }

    #[test]
    fn a_mark_goes_only_when_an_answer_from_then_would_be_a_replay() {
        let (clock, mut marks) = (clock(), Marks::new(1));
        assert!(learn(&mut marks, &clock, 1, "ACTIVE", 1).is_ok());
        clock.advance(Duration::from_secs(179));
        assert_eq!(learn(&mut marks, &clock, 2, "ACTIVE", 1).map(|_| ()), Err(Reason::Overloaded));
        assert!(!marks.has_room(&token(2), &clock.now(), &RULES) && marks.has_room(&token(1), &clock.now(), &RULES));
        clock.advance(Duration::from_secs(1));
        assert!(learn(&mut marks, &clock, 2, "ACTIVE", 1).is_ok());
        assert_eq!((marks.count(), marks.expiring(Timestamp(0), Timestamp(i64::MAX))), (1, 1));
    }

    #[test]
    fn a_revocation_makes_the_person_and_the_etag_confirm_again_even_where_they_are_not_known_yet() {
        let (clock, mut marks) = (clock(), Marks::new(9));
        let relative = learn(&mut marks, &clock, 1, "ACTIVE", 1).expect("genuine");
        let same_etag = learn(&mut marks, &clock, 2, "ACTIVE", 2).expect("genuine");
        let under_way = answer(&clock, "ACTIVE", 1, |_| {});
        learn(&mut marks, &clock, 3, "ACTIVE", 1).expect("genuine");
        learn(&mut marks, &clock, 3, "REVOKED", 1).expect("genuine");
        for (journey, answer) in [(1, &relative), (2, &same_etag), (4, &under_way)] {
            assert!(!is_confirmed(&marks, journey, answer), "{journey}");
        }
        let later = learn(&mut marks, &clock, 1, "ACTIVE", 1).expect("genuine");
        assert!(is_confirmed(&marks, 1, &later));
    }

    #[test]
    fn too_many_floors_become_one_for_everybody() {
        let mut floors = Floors::new(2);
        let clock = clock();
        let orders: Vec<Order> = (0..3).map(|_| clock.now().order()).collect();
        for (number, order) in orders.iter().enumerate() {
            floors.raise(Scope::Person(PersonId(number as i64)), *order);
        }
        let of = |person| floors.highest([Some(Scope::Person(PersonId(person))), None, None]);
        assert_eq!((of(0), of(1), of(2), of(99)), (orders[0], orders[1], orders[2], orders[0]));
    }

    #[test]
    fn a_key_that_is_gone_takes_person_and_image_with_it_but_not_the_times() {
        let (clock, mut marks) = (clock(), Marks::new(9));
        let held = learn(&mut marks, &clock, 1, "ACTIVE", 1).expect("genuine");
        let before = marks.seen(&token(1), &held);
        let none: [&str; 0] = [];
        marks.keep_keys(&Keys::parse(none).expect("no keys"), &clock.now());
        let after = marks.seen(&token(1), &held);
        assert_eq!((before.person, after.person), (Some(PersonId(1)), None));
        let newest = after.newest.expect("times stay");
        assert_eq!((Some(newest.signed), newest.shown), (before.newest.map(|newest| newest.signed), None));
        assert!(!is_confirmed(&marks, 1, &held));
    }

    #[test]
    fn an_etag_conflicts_when_two_persons_show_two_images_in_any_order() {
        let other_image =
            |said: &mut Value| said["data"]["certificate_base64"] = json!("data:image/jpeg;base64,/9j/Ag==");
        for first_is_other in [true, false] {
            let (clock, mut marks) = (clock(), Marks::new(9));
            let first = answer(&clock, "ACTIVE", 1, |said| {
                if first_is_other {
                    other_image(said)
                }
            });
            let second = answer(&clock, "ACTIVE", 2, |said| {
                if !first_is_other {
                    other_image(said)
                }
            });
            marks.learn(&token(1), &first, &RULES).expect("genuine");
            assert!(!marks.seen(&token(1), &first).conflict);
            marks.learn(&token(2), &second, &RULES).expect("genuine");
            assert!(marks.seen(&token(1), &first).conflict && marks.seen(&token(2), &second).conflict);
            marks.purge(&Purge::Journey(token(2)), true, &clock.now());
            assert!(!marks.seen(&token(1), &first).conflict, "forgetting is the way out");
        }
    }

    #[test]
    fn the_same_answer_for_another_journey_is_refused_unless_the_calls_overlapped() {
        let (clock, mut marks) = (clock(), Marks::new(9));
        let overlapping = clock.now();
        let first = answer(&clock, "ACTIVE", 1, |_| {});
        marks.learn(&token(1), &first, &RULES).expect("genuine");
        let again = |sent| Answer { call: Call { sent, received: clock.now(), ..first.call }, ..first.clone() };
        assert_eq!(marks.learn(&token(2), &again(overlapping), &RULES), Ok(()));
        assert_eq!(marks.learn(&token(3), &again(clock.now()), &RULES), Err(Reason::IdentityMismatch));
        assert_eq!(
            marks.learn(&token(1), &again(clock.now()), &RULES),
            Err(Reason::IdentityMismatch),
            "it was seen elsewhere since"
        );
    }

    #[test]
    fn expiries_follow_the_newest_answer() {
        let (clock, mut marks) = (clock(), Marks::new(9));
        let all = |marks: &Marks| marks.expiring(Timestamp(0), Timestamp(i64::MAX));
        learn(&mut marks, &clock, 1, "ACTIVE", 1).expect("genuine");
        learn(&mut marks, &clock, 1, "ACTIVE", 1).expect("genuine");
        assert_eq!((all(&marks), marks.list_expiring(Timestamp(0), Timestamp(i64::MAX)).len()), (1, 1));
        learn(&mut marks, &clock, 1, "REVOKED", 1).expect("genuine");
        assert_eq!(all(&marks), 0);
    }
}

//! The release rules once more, naively: a history, and what it allows. Nothing here is the gateway's.
use crate::history::{Answer, At, MAX_AGE, SKEW, Scope};
use std::collections::{HashMap, HashSet};

type Newest = (i64, Option<(u8, u8)>, u8); // signed, shown, key

#[derive(Default)]
struct Mark {
    newest: Option<Newest>,
    withdrawn: Option<i64>,
    person: Option<(u8, u8)>, // and key
    last: At,
}

/// (ETag, person, image, key)
type Showing = (u8, u8, u8, u8);

#[derive(Default)]
pub struct Reference {
    exposure: i64,
    capacity: usize,
    pub keys: HashSet<u8>,
    marks: HashMap<u8, Mark>,
    showings: HashSet<Showing>,
    receipts: Vec<(u64, u8, u64)>, // id, journey, order
    floors: HashMap<Scope, u64>,
}

impl Reference {
    pub fn new(exposure: i64, capacity: usize) -> Self {
        Self { exposure, capacity, keys: HashSet::from([0, 1]), ..Self::default() }
    }

    /// Takes in an answer; true if it may be held.
    pub fn receive(&mut self, a: &Answer) -> bool {
        if !a.genuine || !self.keys.contains(&a.key) {
            return false;
        }
        let elsewhere =
            self.receipts.iter().any(|(id, journey, at)| *id == a.id && *journey != a.journey && *at < a.sent.order);
        self.receipts.push((a.id, a.journey, a.received.order));
        let is_fresh = a.received.wall - a.signed <= MAX_AGE && a.signed - a.received.wall <= SKEW;
        let is_good = is_fresh && !elsewhere && self.is_this_person(a) && self.is_in_order(a);
        let has_room = self.has_room(a.journey, a.received);
        if a.code != "ACTIVE" {
            self.raise_relatives(a.journey, a.received.order);
            self.floors.insert(Scope::Person(a.person), a.received.order);
            if has_room {
                let mark = self.mark(a.journey, a.received);
                mark.withdrawn = mark.withdrawn.max(Some(a.signed));
            }
        }
        if !has_room || !is_good {
            return false;
        }
        let shown = (a.code == "ACTIVE").then_some(a.shown);
        let mark = self.mark(a.journey, a.received);
        mark.person.get_or_insert((a.person, a.key));
        if mark.newest.is_none_or(|(signed, ..)| a.signed >= signed) {
            mark.newest = Some((a.signed, shown, a.key));
        }
        self.showings.extend(shown.map(|(etag, image)| (etag, a.person, image, a.key)));
        true
    }

    /// The seven rules, for an answer that was held: its image may be shown now to a request that came at `arrived`.
    pub fn allows(&self, a: &Answer, arrived: At, anew: bool, now: At) -> bool {
        let shown = self.marks.get(&a.journey).and_then(|mark| mark.newest).and_then(|(_, shown, _)| shown);
        let age = (now.mono - a.sent.mono).max(now.wall - a.sent.wall);
        let is_fresh = a.sent.order > arrived.order || (!anew && self.exposure > 0 && age <= self.exposure);
        let floors = [Scope::Journey(a.journey), Scope::Person(a.person), Scope::Etag(a.shown.0), Scope::All];
        let is_confirmed = floors.iter().all(|scope| self.floors.get(scope).is_none_or(|floor| a.sent.order > *floor));
        let is_valid = now.wall.max(a.signed) < a.expires;
        let is_good = a.code == "ACTIVE" && self.keys.contains(&a.key) && self.is_this_person(a) && self.is_in_order(a);
        let is_theirs = shown == Some(a.shown) && (self.capacity < 9 || !self.conflicts(a.shown.0)); // small: may be forgotten
        is_good && is_valid && is_fresh && is_confirmed && is_theirs
    }

    /// Only one image was seen under it.
    pub fn is_unchanged(&self, etag: u8) -> bool {
        let images = self.showings.iter().filter(|(seen, ..)| *seen == etag).map(|(_, _, image, _)| image);
        images.collect::<HashSet<_>>().len() <= 1
    }

    pub fn purge(&mut self, scope: Scope, now: u64) {
        let is_named = |journey: &u8, mark: &Mark| match scope {
            Scope::Journey(one) => *journey == one,
            Scope::Person(one) => mark.person.is_some_and(|(person, _)| person == one),
            Scope::Etag(one) => mark.newest.and_then(|(_, shown, _)| shown).is_some_and(|(etag, _)| etag == one),
            Scope::All => false,
        };
        let named = self.marks.iter().filter(|(journey, mark)| is_named(journey, mark));
        let named: Vec<u8> = named.map(|(journey, _)| *journey).collect();
        named.into_iter().for_each(|journey| self.raise_relatives(journey, now));
        self.floors.insert(scope, now);
    }

    pub fn drop_key(&mut self, key: u8, now: u64) {
        if self.keys.remove(&key) {
            self.floors.insert(Scope::All, now);
        }
        self.showings.retain(|(.., by)| *by != key);
        for mark in self.marks.values_mut() {
            mark.person = mark.person.filter(|(_, by)| *by != key);
            mark.newest = mark.newest.map(|(signed, shown, by)| (signed, shown.filter(|_| by != key), by));
        }
    }

    fn is_this_person(&self, a: &Answer) -> bool {
        let first = self.marks.get(&a.journey).and_then(|mark| mark.person);
        first.is_none_or(|(person, _)| person == a.person)
    }

    fn is_in_order(&self, a: &Answer) -> bool {
        let Some(mark) = self.marks.get(&a.journey) else { return true };
        let is_active = a.code == "ACTIVE";
        (!is_active || mark.withdrawn.is_none_or(|withdrawn| a.signed > withdrawn))
            && mark.newest.is_none_or(|(signed, shown, _)| {
                a.signed >= signed || (is_active && shown == Some(a.shown) && signed - a.signed <= SKEW)
            })
    }

    fn conflicts(&self, etag: u8) -> bool {
        let seen = || self.showings.iter().filter(|(of, ..)| *of == etag);
        seen().any(|(_, person, image, _)| seen().any(|(_, other, bytes, _)| person != other && image != bytes))
    }

    fn raise_relatives(&mut self, journey: u8, now: u64) {
        let mark = self.marks.get(&journey);
        let person = mark.and_then(|mark| mark.person).map(|(person, _)| Scope::Person(person));
        let etag = mark.and_then(|mark| mark.newest).and_then(|(_, shown, _)| shown).map(|(etag, _)| Scope::Etag(etag));
        let scopes = [Some(Scope::Journey(journey)), person, etag].into_iter().flatten();
        self.floors.extend(scopes.map(|scope| (scope, now)));
    }

    fn has_room(&self, journey: u8, now: At) -> bool {
        let is_over = |last: At| (now.mono - last.mono).min(now.wall - last.wall) >= MAX_AGE + SKEW;
        let oldest = self.marks.values().map(|mark| mark.last).min_by_key(|last| last.order);
        self.marks.contains_key(&journey) || self.marks.len() < self.capacity || oldest.is_some_and(is_over)
    }

    fn mark(&mut self, journey: u8, now: At) -> &mut Mark {
        if !self.marks.contains_key(&journey) && self.marks.len() >= self.capacity {
            let oldest = self.marks.iter().min_by_key(|(_, mark)| mark.last.order).map(|(journey, _)| *journey);
            oldest.and_then(|journey| self.marks.remove(&journey));
        }
        self.marks.entry(journey).or_default().last = now;
        self.marks.get_mut(&journey).expect("made just now")
    }
}

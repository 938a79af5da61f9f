//! What the gateway holds: answers by journey, images by ETag, and the marks that outlive both.
//!
//! The marks (`marks`) are what the rules need; the two moka caches are only a store with a bound in bytes. moka evicts when
//! and what it likes, least recently used first (TinyLFU, its default, may refuse a newcomer, and a certificate that was just
//! fetched is the one that will be asked for again); no rule lives in it. An image is held once for all journeys that show it,
//! and recognised by its digest: should another lie under the same ETag, it is as if there were none.
//!
//! Never: judges freshness, fetches, or touches the call of an answer after a later call failed.
//!
//! The surprising decision: answers are put into moka under the lock of the marks. It costs a microsecond per *call*, and
//! means that what is held is never older than what is remembered of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::DefaultHashBuilder;
use moka::policy::EvictionPolicy;

use crate::certificate::{Etag, Image, JourneyToken, PersonId, Said, Timestamp};
use crate::clock::{Moment, Order};
use crate::reason::Reason;
use crate::release::{Answer, Ask, Call, Rules, Seen};
use crate::signature::{Certificate, Content, Keys};

pub use marks::Purge;

pub mod marks;

/// Bounds of what is held.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of images, with a sixteenth of it for the answers around them.
    pub image_capacity: u64,
    /// Journeys that the rules remember.
    pub max_journeys: usize,
}

/// All that is held and remembered.
pub struct Cache {
    settings: Settings,
    marks: Mutex<marks::Marks>,
    answers: Store<JourneyToken, Arc<Answer>>,
    images: Store<Etag, Image>,
    absences: Store<JourneyToken, Arc<Absence>>,
}

/// With the marks' hash function, which takes a quarter of the time of the library's own.
type Store<K, V> = moka::sync::Cache<K, V, DefaultHashBuilder>;

/// The upstream's own "not found", remembered for a moment.
#[derive(Debug)]
pub struct Absence {
    /// Its answer.
    pub body: Said,
    /// The call that brought it.
    pub call: Call,
}

/// How much is held just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Bytes of images.
    pub image_bytes: u64,
    /// Images.
    pub images: u64,
    /// Journeys remembered.
    pub journeys: usize,
}

/// A journey whose certificate ends soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Whose.
    pub journey: JourneyToken,
    /// Which person's, if still known.
    pub person: Option<PersonId>,
    /// When.
    pub expires_on: Timestamp,
}

impl Cache {
    /// An empty one.
    pub fn new(settings: Settings) -> Self {
        let for_answers = settings.image_capacity / 16;
        Self {
            settings,
            marks: Mutex::new(marks::Marks::new(settings.max_journeys)),
            answers: moka::sync::Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(for_answers)
                .weigher(|_, answer: &Arc<Answer>| weight(answer))
                .build_with_hasher(DefaultHashBuilder::default()),
            images: moka::sync::Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(settings.image_capacity - for_answers)
                .weigher(|_, image: &Image| u32::try_from(image.len()).unwrap_or(u32::MAX))
                .build_with_hasher(DefaultHashBuilder::default()),
            absences: moka::sync::Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(settings.max_journeys.min(MAX_ABSENCES) as u64)
                .build_with_hasher(DefaultHashBuilder::default()),
        }
    }

    /// Its bounds.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// What is held of this journey, and the image under its ETag if there is one.
    pub fn held(&self, token: &JourneyToken) -> Option<(Arc<Answer>, Option<Image>)> {
        let answer = self.answers.get(token)?;
        let image = answer.authentic.certificate().and_then(|certificate| self.images.get(&certificate.etag));
        Some((answer, image))
    }

    /// An answer about this journey is held, whether or not it will do.
    pub fn holds(&self, token: &JourneyToken) -> bool {
        self.answers.contains_key(token)
    }

    /// Only a call sent after this confirms anything about the journey.
    pub fn confirm_after(&self, token: &JourneyToken) -> Order {
        self.marks().confirm_after(token)
    }

    /// What an answer about this journey is judged against, now.
    pub fn seen(&self, token: &JourneyToken, answer: &Answer) -> Seen {
        self.marks().seen(token, answer)
    }

    /// A call about this journey would have a place to be remembered.
    pub fn has_room(&self, token: &JourneyToken, now: &Moment, rules: &Rules) -> bool {
        self.marks().has_room(token, now, rules)
    }

    /// Takes in an answer that has just arrived, and holds it if it says more than what is held already.
    ///
    /// The keys are read once more, under the lock: an answer verified just before its key was taken away teaches nothing.
    pub fn learn(
        &self,
        token: &JourneyToken,
        answer: &Arc<Answer>,
        image: Option<&Image>,
        keys: &ArcSwap<Keys>,
        rules: &Rules,
    ) -> Result<(), Reason> {
        let mut marks = self.marks();
        if !keys.load().contains(answer.authentic.key()) {
            return Err(Reason::SignatureInvalid);
        }
        let learned = marks.learn(token, answer, rules);
        if answer.authentic.withdraws() {
            self.drop_held(token);
        }
        learned?;
        self.absences.invalidate(token);
        let is_confirmed = answer.call.sent.order() > marks.seen(token, answer).confirm_after;
        match answer.authentic.content() {
            Ok(Content::Certificate(certificate)) if is_confirmed && !self.holds_later(token, answer, certificate) => {
                self.answers.insert(*token, answer.clone());
                self.hold_image(certificate, image);
            }
            Ok(Content::Withdrawn { .. }) if marks.is_after_resets(token, answer.call.sent.order(), Some(answer)) => {
                self.answers.insert(*token, answer.clone());
            }
            Ok(Content::Certificate(_) | Content::Withdrawn { .. } | Content::Declined(_)) | Err(_) => {}
        }
        Ok(())
    }

    /// Takes in a signed answer that came with a refusal: if it is not ACTIVE it withdraws, and that is all it does.
    pub fn withdraw(&self, token: &JourneyToken, answer: &Answer, rules: &Rules) {
        if answer.authentic.withdraws() {
            self.marks().withdraw(token, answer, rules);
            self.drop_held(token);
        }
    }

    /// The upstream's "not found" for this journey, if it was asked recently enough or after the request arrived.
    pub fn absence(
        &self,
        token: &JourneyToken,
        ask: &Ask,
        now: &Moment,
        ttl: std::time::Duration,
    ) -> Option<Arc<Absence>> {
        let absence = self.absences.get(token)?;
        let is_fresh = !ask.anew && now.age_of(&absence.call.sent) < ttl;
        (absence.call.is_after(ask) || is_fresh).then_some(absence)
    }

    /// Remembers a "not found", apart from everything else; but not one that was asked for before a purge.
    pub fn learn_absence(&self, token: &JourneyToken, absence: Arc<Absence>) {
        let marks = self.marks();
        if marks.is_after_resets(token, absence.call.sent.order(), None) {
            self.absences.insert(*token, absence);
        }
    }

    /// Drops answers and images; returns how many answers that were held.
    pub fn purge(&self, what: &Purge, forget: bool, now: &Moment) -> u64 {
        let mut marks = self.marks();
        let concerned: Vec<JourneyToken> = match what {
            Purge::Journey(token) => vec![*token],
            Purge::Person(person) => self.held_where(|answer| answer.authentic.claims().person == Some(*person)),
            Purge::Etag(etag) => self.held_where(|answer| answer.authentic.claims().etag.as_ref() == Some(etag)),
            Purge::All => self.held_where(|_| true),
        };
        let drops = |token: &&JourneyToken| self.drop_held(token) | self.absences.remove(*token).is_some();
        let mut purged = concerned.iter().filter(drops).count() as u64;
        if *what == Purge::All {
            let remembered: Vec<JourneyToken> = self.absences.iter().map(|(token, _)| *token).collect();
            purged += remembered.iter().filter(|token| self.absences.remove(*token).is_some()).count() as u64;
        }
        marks.purge(what, forget, now);
        purged
    }

    /// Drops everything that was learned under keys no longer in force.
    pub fn keep_keys(&self, keys: &Keys, now: &Moment) {
        let mut marks = self.marks();
        marks.keep_keys(keys, now);
        for token in self.held_where(|answer| !keys.contains(answer.authentic.key())) {
            self.drop_held(&token);
        }
    }

    /// How much is held, exactly.
    pub fn fill(&self) -> Fill {
        self.images.run_pending_tasks();
        Fill {
            image_bytes: self.images.weighted_size(),
            images: self.images.entry_count(),
            journeys: self.marks().count(),
        }
    }

    /// How many remembered certificates end in that span of time.
    pub fn count_expiring(&self, after: Timestamp, until: Timestamp) -> usize {
        self.marks().expiring(after, until)
    }

    /// The remembered certificates that end in that span of time, the first to end first.
    pub fn expiring(&self, after: Timestamp, until: Timestamp) -> Vec<Expiring> {
        let listed = self.marks().list_expiring(after, until);
        let mut expiring: Vec<Expiring> =
            listed.into_iter().map(|(journey, person, expires_on)| Expiring { journey, person, expires_on }).collect();
        expiring.sort_by_key(|expiring| expiring.expires_on);
        expiring
    }

    fn hold_image(&self, certificate: &Certificate, image: Option<&Image>) {
        if let Some(image) = image {
            self.images.insert(certificate.etag.clone(), image.without_text());
            self.images.run_pending_tasks(); // so that a burst does not overshoot the bound
        }
    }

    /// Another answer with the same image, from a later call, is held already: this one was overtaken.
    fn holds_later(&self, token: &JourneyToken, answer: &Answer, certificate: &Certificate) -> bool {
        let Some(held) = self.answers.get(token) else { return false };
        let shows_the_same = held.authentic.certificate().is_some_and(|held| held.shown() == certificate.shown());
        let is_signed_later = held.authentic.claims().signed >= answer.authentic.claims().signed;
        shows_the_same && is_signed_later && held.call.sent.order() > answer.call.sent.order()
    }

    fn drop_held(&self, token: &JourneyToken) -> bool {
        let Some(answer) = self.answers.remove(token) else { return false };
        if let Some(certificate) = answer.authentic.certificate() {
            // Whoever else shows this ETag must ask again anyway, and gets the image again with the answer.
            self.images.invalidate(&certificate.etag);
        }
        true
    }

    fn held_where(&self, test: impl Fn(&Answer) -> bool) -> Vec<JourneyToken> {
        self.answers.iter().filter(|(_, answer)| test(answer)).map(|(token, _)| *token).collect()
    }

    fn marks(&self) -> MutexGuard<'_, marks::Marks> {
        // A panic under this lock answers 500 for one request; what is remembered stays usable.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer weighs: the text around the image, or the text of a withdrawal, and the record itself.
fn weight(answer: &Answer) -> u32 {
    let text = match answer.authentic.content() {
        Ok(Content::Certificate(certificate)) => certificate.frame.len(),
        Ok(Content::Withdrawn { body, .. } | Content::Declined(body)) => body.0.len(),
        Err(_) => 0,
    };
    u32::try_from(text + size_of::<Answer>() + size_of::<JourneyToken>()).unwrap_or(u32::MAX)
}

/// A "not found" lives for seconds; so many of them are a flood.
const MAX_ABSENCES: usize = 10_000;

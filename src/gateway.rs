//! The hub: one request told as a story.
//!
//! A request is judged against what is held; where that will not do, a call is made or shared, its answer believed or not,
//! remembered, and judged in the same way. `release` decides every time, and nothing else does.
//!
//! Never: HTTP, JSON or status codes; it speaks of outcomes, and `proxy` writes them.
//!
//! The surprising decision: an answer that comes back from a call is not simply handed on. While it was under way its journey
//! may have been revoked, purged or overtaken by a later call, so it is judged like anything held; when it no longer confirms
//! anything, another call is made. Few things can happen that often, so the number of calls for one request is bounded.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::aged::Aged;
use crate::audit::{Audit, Entry, Event};
use crate::budget::Priority;
use crate::cache::{self, Absence, Cache, Expiring, Fill, Purge};
use crate::certificate::{Etag, Image, JourneyToken, Said, Status, Timestamp};
use crate::clock::{Clock, Moment};
use crate::envelope::{Document, Malformed};
use crate::flight::{Flights, Lost, Seat};
use crate::metrics::{CacheResult, Metrics, SignatureResult};
use crate::reason::Reason;
use crate::release::{self, Answer, Ask, Call, Grounds, Permit, Rules, Seen, Verdict, Withheld};
use crate::signature::{self, Forged, Keys};
use crate::trace::Context;
use crate::upstream::{self, Errand, Fetched, Upstream};

/// Owns the rooms that a certificate passes through.
pub struct Gateway {
    audit: Arc<Audit>,
    authority: Arc<dyn Authority>,
    cache: Cache,
    clock: Arc<Clock>,
    flights: Flights<JourneyToken, Progress, Landed>,
    keys: ArcSwap<Keys>,
    metrics: Arc<Metrics>,
    recent: Mutex<Aged<JourneyToken, Heard>>,
    settings: ArcSwap<Settings>,
}

/// What the hub itself is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The numbers in the release rules.
    pub rules: Rules,
    /// How long a 404 is told again without asking.
    pub not_found_ttl: Duration,
    /// Ask again in the background when three quarters of `max_exposure` are gone.
    pub refresh_ahead: bool,
}

/// Whoever answers for certificates: `Upstream`, or a script in the tests of this room.
pub trait Authority: Send + Sync {
    /// Asks about one journey; `witness` is told what happens meanwhile.
    fn certificate(&self, token: JourneyToken, errand: Errand, witness: Witness) -> Answering;
}

/// Sees a call about one journey go out and be refused.
pub struct Witness {
    gateway: Arc<Gateway>,
    token: JourneyToken,
    progress: Arc<Progress>,
}

/// A call under way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Fetched, upstream::Error>> + Send>>;

/// The story of one request.
pub enum Telling {
    /// It is over: what was held was enough.
    Told(Told),
    /// It is over when the upstream has been asked.
    Asking(Pin<Box<dyn Future<Output = Told> + Send>>),
}

/// The end of the story.
#[derive(Debug)]
pub struct Told {
    /// What may be answered.
    pub outcome: Outcome,
    /// How the cache took part.
    pub cache: CacheUse,
}

/// What decided an outcome.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Of the certificate that is released.
    pub etag: Option<Etag>,
    /// When the upstream signed what decided.
    pub signed: Option<Timestamp>,
    /// When the call that brought it was sent.
    pub sent: Option<Timestamp>,
    /// What a release rests on.
    pub grounds: Option<Grounds>,
}

/// Why a journey is answered as it is, for somebody who asks.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What is held of it, if anything.
    pub held: Option<Held>,
    /// Its last outcomes, the latest first: when it was asked for, and how that ended in one word.
    pub outcomes: Vec<(Timestamp, &'static str)>,
}

/// What is held of a journey, looked at as for a request that arrives now.
#[derive(Clone, Debug)]
pub struct Held {
    /// What the authority said.
    pub status: Option<Status>,
    /// Of the certificate, if it is ACTIVE and whole.
    pub etag: Option<Etag>,
    /// When it was signed.
    pub signed: Option<Timestamp>,
    /// How long ago the call was sent.
    pub age: Duration,
    /// The seven rules, and whether they hold.
    pub rules: [(&'static str, bool); 7],
}

/// The last outcomes of a journey, the latest first.
type Heard = [Option<(Timestamp, &'static str)>; 5];

/// What may be answered.
#[derive(Debug)]
pub enum Outcome {
    /// The certificate.
    Release(Permit),
    /// The certificate is REVOKED or EXPIRED.
    Withhold(Withheld),
    /// The upstream's own signed `"success": false`.
    Decline(Said),
    /// The upstream's own 4xx.
    Pass(ClientError),
    /// Nothing: this is why.
    Refuse(Refusal),
}

/// The upstream's own refusal of a request, unsigned and harmless.
#[derive(Clone, Debug)]
pub struct ClientError {
    /// 400 to 499, but not 401, 403 or 429.
    pub status: u16,
    /// A small JSON object.
    pub body: Said,
}

/// Why there is no answer, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The word for it.
    pub reason: Reason,
    /// How long to wait, where waiting helps.
    pub retry_after: Option<Duration>,
}

/// How the cache took part in an answer (RFC 9211).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// Answered from what is held, for as long as this.
    Hit {
        /// How much longer it may be.
        ttl: Duration,
    },
    /// A call was needed.
    Forwarded {
        /// Why.
        why: Forwarded,
        /// Somebody else's call.
        collapsed: bool,
    },
}

/// Why a call was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing is held.
    Miss,
    /// What is held will not do.
    Stale,
    /// The request wants a new call.
    Request,
}

/// When the call went out, once it has.
#[derive(Default)]
struct Progress(Mutex<Option<Moment>>);

/// How a call ended.
#[derive(Clone)]
enum Landed {
    Answer(Arc<Answer>, Option<Image>),
    Absent(Arc<Absence>),
    Pass(ClientError),
    Refused(Refusal),
    /// A refresh in the background found no free turn; whoever joined it makes a call of his own.
    NotNow,
}

impl Gateway {
    /// A gateway that holds nothing yet.
    pub fn new(
        settings: Settings,
        keys: Keys,
        cache: Cache,
        authority: Arc<dyn Authority>,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        audit: Arc<Audit>,
    ) -> Arc<Self> {
        Arc::new(Self {
            audit,
            authority,
            cache,
            clock,
            flights: Flights::new(),
            keys: ArcSwap::from_pointee(keys),
            metrics,
            recent: Mutex::new(Aged::new()),
            settings: ArcSwap::from_pointee(settings),
        })
    }

    /// Tells the story of one request for a certificate. `anew` wants a call that is sent after this; `trace` goes with a call
    /// that this request causes.
    ///
    /// What is told from memory is told at once, so that a hit, and there are many, carries nothing that only calls need.
    pub fn certificate(self: &Arc<Self>, token: JourneyToken, anew: bool, trace: Option<Context>) -> Telling {
        let ask = Ask { arrived: self.clock.now(), anew };
        match self.look(&token, &ask, &ask.arrived) {
            Some((outcome, ttl)) => {
                self.metrics.cache_request(CacheResult::Hit);
                self.note(token, ask.arrived.wall(), outcome.as_str());
                Telling::Told(Told { outcome, cache: CacheUse::Hit { ttl } })
            }
            None => Telling::Asking(Box::pin(self.clone().forward(token, ask, trace))),
        }
    }

    /// Nothing that is held will do: asks the upstream.
    async fn forward(self: Arc<Self>, token: JourneyToken, ask: Ask, trace: Option<Context>) -> Told {
        let why = match (ask.anew, self.cache.holds(&token)) {
            (true, _) => Forwarded::Request,
            (false, true) => Forwarded::Stale,
            (false, false) => Forwarded::Miss,
        };
        let (outcome, collapsed) = self.ask_upstream(token, &ask, trace).await;
        self.metrics.cache_request(match (collapsed, why) {
            (true, _) => CacheResult::Collapsed,
            (false, Forwarded::Stale) => CacheResult::Stale,
            (false, Forwarded::Miss | Forwarded::Request) => CacheResult::Miss,
        });
        self.note(token, ask.arrived.wall(), outcome.as_str());
        Told { outcome, cache: CacheUse::Forwarded { why, collapsed } }
    }

    /// Calls until something can be said, a few times at most; also says whether the last call was somebody else's.
    async fn ask_upstream(self: &Arc<Self>, token: JourneyToken, ask: &Ask, trace: Option<Context>) -> (Outcome, bool) {
        let errand = Errand { priority: Priority::Foreground, trace };
        for _ in 0..MAX_CALLS {
            let seat = self.call(token, ask, errand);
            let collapsed = seat.is_shared;
            let landed = seat.outcome().await;
            if let Some(outcome) = self.conclude(&token, ask, landed) {
                return (outcome, collapsed);
            }
            // The call confirmed nothing for this request; what it or another one left behind may.
            if let Some((outcome, _)) = self.look(&token, ask, &self.clock.now()) {
                return (outcome, collapsed);
            }
        }
        (Outcome::Refuse(Refusal { reason: Reason::Overloaded, retry_after: Some(BUSY) }), false)
    }

    /// What can be said from memory at that moment, and for how much longer.
    fn look(self: &Arc<Self>, token: &JourneyToken, ask: &Ask, now: &Moment) -> Option<(Outcome, Duration)> {
        let settings = self.settings.load();
        if let Some((answer, image)) = self.cache.held(token) {
            match self.judge(token, &answer, image.as_ref(), ask, now, &settings.rules) {
                Verdict::Release(permit) => {
                    let ttl = settings.rules.max_exposure.saturating_sub(permit.exposure());
                    self.refresh_ahead(token, ask, &permit, &settings);
                    return Some((Outcome::Release(permit), ttl));
                }
                Verdict::Withhold(withheld) => {
                    let bound = if answer.authentic.withdraws() {
                        settings.rules.withheld_ttl
                    } else {
                        settings.rules.max_exposure
                    };
                    let ttl = bound.saturating_sub(withheld.age.saturating_add(answer.call.upstream_age));
                    return Some((Outcome::Withhold(withheld), ttl));
                }
                Verdict::Decline(_) | Verdict::Stale | Verdict::Refuse(_) => {}
            }
        }
        let absence = self.cache.absence(token, ask, now, settings.not_found_ttl)?;
        let ttl = settings.not_found_ttl.saturating_sub(now.age_of(&absence.call.sent));
        Some((absence.outcome(), ttl))
    }

    /// What can be said of a call's end; `None` when it confirms nothing for this request.
    fn conclude(self: &Arc<Self>, token: &JourneyToken, ask: &Ask, landed: Result<Landed, Lost>) -> Option<Outcome> {
        let (rules, now) = (&self.settings.load().rules, self.clock.now());
        match landed {
            Ok(Landed::Answer(answer, image)) => match self.judge(token, &answer, image.as_ref(), ask, &now, rules) {
                Verdict::Release(permit) => Some(Outcome::Release(permit)),
                Verdict::Withhold(withheld) => Some(Outcome::Withhold(withheld)),
                Verdict::Decline(body) => Some(Outcome::Decline(body)),
                Verdict::Refuse(reason) => Some(self.unless_overtaken(token, ask, Outcome::Refuse(reason.into()))),
                Verdict::Stale => None,
            },
            Ok(Landed::Absent(absence)) if !absence.call.is_after(ask) => None,
            Ok(Landed::Absent(absence)) => Some(self.unless_overtaken(token, ask, absence.outcome())),
            Ok(Landed::Pass(error)) => Some(self.unless_overtaken(token, ask, Outcome::Pass(error))),
            Ok(Landed::Refused(refusal)) => Some(self.unless_overtaken(token, ask, Outcome::Refuse(refusal))),
            Ok(Landed::NotNow) => None,
            Err(Lost) => Some(Outcome::Refuse(Reason::Internal.into())),
        }
    }

    /// This outcome, unless a later call has brought a certificate that this request may have.
    fn unless_overtaken(self: &Arc<Self>, token: &JourneyToken, ask: &Ask, outcome: Outcome) -> Outcome {
        match self.look(token, ask, &self.clock.now()) {
            Some((better @ (Outcome::Release(_) | Outcome::Withhold(_)), _)) => better,
            _ => outcome,
        }
    }

    fn judge(
        &self,
        token: &JourneyToken,
        answer: &Arc<Answer>,
        image: Option<&Image>,
        ask: &Ask,
        now: &Moment,
        rules: &Rules,
    ) -> Verdict {
        let (key_in_force, seen) = self.regard(token, answer);
        release::decide(answer, image, key_in_force, &seen, ask, now, rules)
    }

    /// Renews in the background what three quarters of its time are gone of.
    fn refresh_ahead(self: &Arc<Self>, token: &JourneyToken, ask: &Ask, permit: &Permit, settings: &Settings) {
        let is_due = settings.refresh_ahead && permit.exposure().saturating_mul(4) >= settings.rules.max_exposure * 3;
        if is_due && !self.flights.is_under_way(token) {
            drop(self.call(*token, ask, Errand { priority: Priority::Background, trace: None }));
        }
    }

    /// A seat in the call under way, if it can confirm something for this request, else in a new one.
    fn call(self: &Arc<Self>, token: JourneyToken, ask: &Ask, errand: Errand) -> Seat<Landed> {
        let may_share = |progress: &Progress| match progress.sent() {
            None => true,
            Some(sent) => !ask.anew && self.still_confirms(&token, &sent),
        };
        self.flights.join(token, may_share, |progress| self.clone().fetch(token, errand, progress))
    }

    /// A call sent then could still confirm something for a request that arrives now.
    fn still_confirms(&self, token: &JourneyToken, sent: &Moment) -> bool {
        let max_exposure = self.settings.load().rules.max_exposure;
        !max_exposure.is_zero()
            && self.clock.now().age_of(sent) <= max_exposure
            && sent.order() > self.cache.confirm_after(token)
    }

    /// The work of one call: ask, believe, remember.
    async fn fetch(self: Arc<Self>, token: JourneyToken, errand: Errand, progress: Arc<Progress>) -> Landed {
        if !self.cache.has_room(&token, &self.clock.now(), &self.settings.load().rules) {
            return Landed::Refused(Refusal { reason: Reason::Overloaded, retry_after: Some(BUSY) });
        }
        let witness = Witness { gateway: self.clone(), token, progress };
        match self.authority.certificate(token, errand, witness).await {
            Ok(fetched) => self.take_in(&token, fetched),
            Err(error) if error.is_not_now() => Landed::NotNow,
            Err(error) => Landed::Refused(Refusal { reason: error.reason(), retry_after: error.retry_after() }),
        }
    }

    fn take_in(&self, token: &JourneyToken, fetched: Fetched) -> Landed {
        let call = call_of(&fetched);
        if fetched.status.is_client_error() {
            return self.take_in_client_error(token, fetched, call);
        }
        let keys = self.keys.load();
        let held = self.cache.held(token).and_then(|(_, image)| image);
        let verified = signature::verify_knowing(&fetched.body, &keys, held.as_ref());
        self.metrics.signature_check(match verified {
            Ok(_) => SignatureResult::Valid,
            Err(Forged::Missing) => SignatureResult::Missing,
            Err(Forged::Invalid | Forged::Malformed) => SignatureResult::Invalid,
        });
        let (authentic, image) = match verified {
            Ok(verified) => verified,
            Err(forged) => return Landed::Refused(Reason::from(forged).into()),
        };
        let authentic = if fetched.status == http::StatusCode::OK { authentic } else { authentic.contradicted() };
        let answer = Arc::new(Answer { authentic, call });
        let image = image.map(Image::in_pages); // here and not in the cache, which works under a lock
        let learned = self.cache.learn(token, &answer, image.as_ref(), &self.keys, &self.settings.load().rules);
        self.note_revocation(token, &answer);
        match learned {
            Err(reason) => Landed::Refused(reason.into()),
            Ok(()) if answer.authentic.content().is_err() => Landed::Refused(Reason::UpstreamMalformed.into()),
            Ok(()) => Landed::Answer(answer, image),
        }
    }

    /// A 4xx passes if it is a small JSON object without anything like an image. It need not be signed, and a signed one that
    /// is not ACTIVE withdraws like any other.
    fn take_in_client_error(&self, token: &JourneyToken, fetched: Fetched, call: Call) -> Landed {
        self.withdraw_if_signed(token, &fetched.body, call);
        let is_harmless = fetched.body.len() <= MAX_CLIENT_ERROR
            && Document::parse(&fetched.body).is_ok_and(|document| !document.holds_image());
        if !is_harmless {
            return Landed::Refused(Reason::UpstreamMalformed.into());
        }
        if fetched.status != http::StatusCode::NOT_FOUND {
            return Landed::Pass(ClientError { status: fetched.status.as_u16(), body: Said(fetched.body) });
        }
        let absence = Arc::new(Absence { body: Said(fetched.body), call });
        self.cache.learn_absence(token, absence.clone());
        Landed::Absent(absence)
    }

    /// Of what came with any refusal this alone is believed: a signed answer that is not ACTIVE.
    fn withdraw_if_signed(&self, token: &JourneyToken, body: &Bytes, call: Call) {
        let Ok((authentic, _)) = signature::verify(body, &self.keys.load()) else { return };
        let answer = Answer { authentic, call };
        self.cache.withdraw(token, &answer, &self.settings.load().rules);
        self.note_revocation(token, &answer);
    }

    /// For the record, and only after it is remembered: see `audit`.
    fn note_revocation(&self, token: &JourneyToken, answer: &Answer) {
        if answer.authentic.claims().status == Some(Status::Revoked) {
            self.audit.note(Entry {
                time: Some(answer.call.received.wall()),
                journey: Some(token),
                signed_at: answer.authentic.claims().signed,
                confirmed_at: Some(answer.call.sent.wall()),
                ..Entry::of(Event::RevocationObserved)
            });
        }
    }

    /// What this release rests on would be decided in the same way now.
    pub fn stands(&self, token: &JourneyToken, grounds: &Grounds) -> bool {
        let (key_in_force, seen) = self.regard(token, grounds.answer());
        grounds.hold(key_in_force, &seen, &self.clock.now(), &self.settings.load().rules)
    }

    /// What an answer is judged by, beside itself: whether its key counts, and what is remembered.
    fn regard(&self, token: &JourneyToken, answer: &Answer) -> (bool, Seen) {
        (self.keys.load().contains(answer.authentic.key()), self.cache.seen(token, answer))
    }

    // === what operators do ===

    /// Drops answers and images; with `forget`, what the rules remember as well. Returns how many answers were dropped.
    pub fn purge(&self, what: &Purge, forget: bool) -> u64 {
        let purged = self.cache.purge(what, forget, &self.clock.now());
        let (journey, etag) = match what {
            Purge::Journey(journey) => (Some(journey), None),
            Purge::Etag(etag) => (None, Some(etag)),
            Purge::Person(_) | Purge::All => (None, None),
        };
        self.audit.note(Entry { journey, etag, ..Entry::of(Event::Purged) });
        purged
    }

    /// Why this journey is answered as it is.
    pub fn explain(&self, token: &JourneyToken) -> Explanation {
        let ask = Ask { arrived: self.clock.now(), anew: false };
        let held =
            self.cache.held(token).map(|(answer, image)| self.explain_held(token, &answer, image.as_ref(), &ask));
        let heard = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(token).copied();
        Explanation { held, outcomes: heard.unwrap_or_default().into_iter().flatten().collect() }
    }

    fn explain_held(&self, token: &JourneyToken, answer: &Answer, image: Option<&Image>, ask: &Ask) -> Held {
        let now = self.clock.now();
        let (key_in_force, seen) = self.regard(token, answer);
        let rules = &self.settings.load().rules;
        Held {
            status: answer.authentic.claims().status,
            etag: answer.authentic.certificate().map(|certificate| certificate.etag.clone()),
            signed: answer.authentic.claims().signed,
            age: now.age_of(&answer.call.sent),
            rules: release::explain(answer, image, key_in_force, &seen, ask, &now, rules),
        }
    }

    /// Remembers an outcome for a while, before the four that came before it.
    fn note(&self, token: JourneyToken, asked: Timestamp, word: &'static str) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = recent.touch(token, || [None; 5]);
        heard.rotate_right(1);
        heard[0] = Some((asked, word));
        if recent.len() > MAX_HEARD {
            recent.pop_oldest();
        }
    }

    /// Puts other keys in force; what was learned under a key that is gone goes with it.
    pub fn replace_keys(&self, keys: Keys) {
        let keys = Arc::new(keys);
        let is_one_gone = self.keys.load().ids().any(|id| !keys.contains(id));
        self.keys.store(keys.clone());
        if is_one_gone {
            self.cache.keep_keys(&keys, &self.clock.now());
        }
    }

    /// Judges from now on by these.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// The keys in force.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// How much may be held.
    pub fn capacity(&self) -> cache::Settings {
        self.cache.settings()
    }

    /// For how long an image may be shown after its revocation, on an honest path.
    pub fn max_exposure(&self) -> Duration {
        self.settings.load().rules.max_exposure
    }

    /// How much is held.
    pub fn fill(&self) -> Fill {
        self.cache.fill()
    }

    /// How many remembered certificates end within that time from now.
    pub fn count_expiring(&self, within: Duration) -> usize {
        let (now, until) = self.span(within);
        self.cache.count_expiring(now, until)
    }

    /// The remembered certificates that end within that time from now.
    pub fn expiring(&self, within: Duration) -> Vec<Expiring> {
        let (now, until) = self.span(within);
        self.cache.expiring(now, until)
    }

    fn span(&self, within: Duration) -> (Timestamp, Timestamp) {
        let now = self.clock.now().wall();
        (now, Timestamp::from_nanos(i128::from(now.0) + within.as_nanos() as i128))
    }
}

// === impl Told ===

impl Told {
    /// What the record says of it.
    pub fn evidence(&self) -> Evidence {
        match &self.outcome {
            Outcome::Release(permit) => Evidence {
                etag: Some(permit.etag().clone()),
                signed: permit.signed(),
                sent: Some(permit.call().sent.wall()),
                grounds: Some(permit.grounds()),
            },
            Outcome::Withhold(withheld) => {
                Evidence { signed: withheld.signed, sent: Some(withheld.sent), ..Evidence::default() }
            }
            Outcome::Decline(_) | Outcome::Pass(_) | Outcome::Refuse(_) => Evidence::default(),
        }
    }
}

// === impl Progress, Absence, Refusal, Reason ===

impl Progress {
    fn sent(&self) -> Option<Moment> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, sent: Moment) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
    }
}

impl Absence {
    fn outcome(&self) -> Outcome {
        Outcome::Pass(ClientError { status: 404, body: self.body.clone() })
    }
}

impl Outcome {
    /// In one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Release(_) => "released",
            Self::Withhold(withheld) if withheld.status == Status::Revoked => Reason::CertificateRevoked.as_str(),
            Self::Withhold(_) => Reason::CertificateExpired.as_str(),
            Self::Decline(_) => "declined",
            Self::Pass(_) => "passed",
            Self::Refuse(refusal) => refusal.reason.as_str(),
        }
    }
}

impl CacheUse {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        let result = match self {
            Self::Hit { .. } => CacheResult::Hit,
            Self::Forwarded { collapsed: true, .. } => CacheResult::Collapsed,
            Self::Forwarded { why: Forwarded::Stale, .. } => CacheResult::Stale,
            Self::Forwarded { why: Forwarded::Miss | Forwarded::Request, .. } => CacheResult::Miss,
        };
        result.as_str()
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, retry_after: None }
    }
}

impl From<Forged> for Reason {
    fn from(forged: Forged) -> Self {
        match forged {
            Forged::Malformed => Reason::UpstreamMalformed,
            Forged::Missing => Reason::SignatureMissing,
            Forged::Invalid => Reason::SignatureInvalid,
        }
    }
}

impl From<Malformed> for Reason {
    fn from(Malformed: Malformed) -> Self {
        Reason::UpstreamMalformed
    }
}

impl Authority for Upstream {
    fn certificate(&self, token: JourneyToken, errand: Errand, witness: Witness) -> Answering {
        let upstream = self.clone();
        Box::pin(async move { upstream.certificate(&token, errand, &witness).await })
    }
}

impl upstream::Watch for Witness {
    fn sent(&self, at: Moment) {
        self.progress.set(at);
    }

    fn refused(&self, fetched: Fetched) {
        self.gateway.withdraw_if_signed(&self.token, &fetched.body, call_of(&fetched));
    }
}

fn call_of(fetched: &Fetched) -> Call {
    Call { sent: fetched.sent, received: fetched.received, upstream_age: fetched.age }
}

/// A request whose answers keep being overtaken by revocations and purges is told to come back.
const MAX_CALLS: usize = 4;

/// When to come back after that, or when no mark is free.
const BUSY: Duration = Duration::from_secs(1);

/// Of so many journeys the last outcomes are known; who asks why, asks soon.
const MAX_HEARD: usize = 10_000;

/// The largest 4xx of the upstream that is passed on.
const MAX_CLIENT_ERROR: usize = 16 * 1024;

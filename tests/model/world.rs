//! The real hub in a scripted world: an upstream that does what the script says, readers that come and go, a clock moved by hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use otk_gateway::audit::Audit;
use otk_gateway::budget::{Denied, Priority};
use otk_gateway::cache::{self, Cache, Purge};
use otk_gateway::certificate::{Etag, JourneyToken, PersonId, Timestamp};
use otk_gateway::clock::{Clock, Moment};
use otk_gateway::gateway::{Answering, Authority, Gateway, Outcome, Settings, Telling, Told, Witness};
use otk_gateway::metrics::Metrics;
use otk_gateway::reason::Reason;
use otk_gateway::release::Rules;
use otk_gateway::signature::Keys;
use otk_gateway::upstream::{Errand, Error, Fetched, Watch as _};
use secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::history::{Answer, At, MAX_AGE, SECOND, SKEW, Scope};
use crate::reference::Reference;

pub const JOURNEYS: u8 = 4;

/// Names the call that was made last.
pub const LAST: usize = usize::MAX;

/// What can happen. Numbers that name calls, readers or earlier answers are taken modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Ask { journey: u8, anew: bool },
    Leave { reader: usize },
    Send { call: usize },
    Compose { call: usize, replica: bool, key: u8, twist: Twist },
    Deliver { call: usize },
    Upstream { journey: u8, change: Change },
    Pass { millis: i64 },
    StepWall { seconds: i64 },
    Purge { scope: Scope },
    DropKey { key: u8 },
}

/// What is odd about an answer.
#[derive(Clone, Copy, Debug)]
pub enum Twist {
    None,
    Forged,
    Unsigned,
    AnotherJourneys(u8),
    Again(usize),
    Old,
    Ahead,
    NotFound,
    Failure,
    Timeout,
}

/// What the upstream decides about a journey.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Revoke,
    Expire,
    Activate,
    Reissue { ends_soon: bool },
    Redraw,
    Collide,
}

/// One kind of gateway.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub exposure: i64,
    pub is_small: bool,
    pub refresh_ahead: bool,
}

struct Truth {
    person: u8,
    code: &'static str,
    shown: (u8, u8),
    expires: i64,
}

struct Call {
    journey: u8,
    is_background: bool,
    witness: Witness,
    reply: oneshot::Sender<Result<Fetched, Error>>,
    sent: Option<(Moment, At)>,
    composed: Option<Composed>,
}

#[derive(Clone)]
struct Composed {
    outcome: Result<(u16, Bytes), Error>,
    answer: Option<Answer>,
}

#[derive(Default)]
struct Script(Mutex<Vec<Call>>);

impl Authority for Script {
    fn certificate(&self, token: JourneyToken, errand: Errand, witness: Witness) -> Answering {
        let (reply, replied) = oneshot::channel();
        let journey = token.as_bytes()[15];
        let is_background = errand.priority == Priority::Background;
        self.0.lock().expect("no panic").push(Call {
            journey,
            is_background,
            witness,
            reply,
            sent: None,
            composed: None,
        });
        Box::pin(async { replied.await.expect("every call is replied to") })
    }
}

struct Reader {
    journey: u8,
    anew: bool,
    arrived: At,
    told: JoinHandle<Told>,
}

pub struct World {
    shape: Shape,
    gateway: Arc<Gateway>,
    clock: Arc<Clock>,
    script: Arc<Script>,
    now: At,
    truths: Vec<Truth>,
    prints: u8,
    readers: Vec<Reader>,
    composed: Vec<Composed>,
    delivered: HashMap<u8, Vec<Answer>>,
    reference: Reference,
}

impl World {
    pub fn new(shape: Shape) -> Self {
        let noon = Timestamp::parse("2025-05-13T12:00:00Z").expect("a time");
        let clock = Arc::new(Clock::by_hand(noon));
        let script = Arc::new(Script::default());
        let seconds = |nanos: i64| Duration::from_nanos(nanos as u64);
        let rules = Rules {
            max_age: seconds(MAX_AGE),
            clock_skew: seconds(SKEW),
            max_exposure: seconds(shape.exposure),
            withheld_ttl: Duration::from_secs(300),
        };
        let settings = Settings { rules, not_found_ttl: Duration::from_secs(5), refresh_ahead: shape.refresh_ahead };
        let (image_capacity, max_journeys) = if shape.is_small { (16 * 2048, 2) } else { (1 << 30, 100) };
        let cache = Cache::new(cache::Settings { image_capacity, max_journeys });
        let gateway = Gateway::new(
            settings,
            keys(&[0, 1]),
            cache,
            script.clone(),
            clock.clone(),
            Arc::new(Metrics::new()),
            Arc::new(Audit::off()),
        );
        let truth = |journey: u8| {
            let (person, shown) = if journey < 2 { (1, (1, 1)) } else { (journey, (journey, journey)) };
            Truth { person, code: "ACTIVE", shown, expires: noon.0 + 365 * 86_400 * SECOND }
        };
        let reference = Reference::new(shape.exposure, max_journeys);
        Self {
            shape,
            gateway,
            clock,
            script,
            now: At { order: 0, mono: 0, wall: noon.0 },
            truths: (0..JOURNEYS).map(truth).collect(),
            prints: 10,
            readers: Vec::new(),
            composed: Vec::new(),
            delivered: HashMap::new(),
            reference,
        }
    }

    /// Lets one thing happen, and holds what the hub does against the reference.
    pub async fn happen(&mut self, event: Event) -> Result<(), String> {
        self.now.order += 1;
        let mut fresh = None;
        match event {
            Event::Ask { journey, anew } => self.ask(journey, anew),
            Event::Leave { reader } => {
                if let Some(reader) = nth(reader, self.readers.len()) {
                    self.readers.swap_remove(reader).told.abort();
                }
            }
            Event::Send { call } => self.send(call),
            Event::Compose { call, replica, key, twist } => self.compose(call, replica, key, twist),
            Event::Deliver { call } => fresh = self.deliver(call),
            Event::Upstream { journey, change } => self.decide(journey, change),
            Event::Pass { millis } => {
                self.clock.advance(Duration::from_millis(millis as u64));
                (self.now.mono, self.now.wall) =
                    (self.now.mono + millis * 1_000_000, self.now.wall + millis * 1_000_000);
            }
            Event::StepWall { seconds } => {
                self.clock.step_wall(seconds * SECOND);
                self.now.wall += seconds * SECOND;
            }
            Event::Purge { scope } => self.purge(scope),
            Event::DropKey { key } => {
                self.reference.drop_key(key, self.now.order);
                self.gateway.replace_keys(keys(&self.reference.keys.iter().copied().collect::<Vec<_>>()));
            }
        }
        settle().await;
        self.judge(event, fresh).await
    }

    /// Answers everything that is still under way, and demands that nobody waits for ever.
    pub async fn finish(&mut self) -> Result<(), String> {
        for _ in 0..64 {
            if self.readers.is_empty() {
                return Ok(());
            }
            let key = if self.reference.keys.contains(&1) { 1 } else { 0 };
            self.happen(Event::Pass { millis: 1 }).await?;
            self.happen(Event::Send { call: 0 }).await?;
            self.happen(Event::Compose { call: 0, replica: false, key, twist: Twist::None }).await?;
            self.happen(Event::Deliver { call: 0 }).await?;
        }
        Err(format!("{} readers wait for ever", self.readers.len()))
    }

    fn ask(&mut self, journey: u8, anew: bool) {
        let gateway = self.gateway.clone();
        let told = tokio::spawn(async move {
            match gateway.certificate(token(journey), anew, None) {
                Telling::Told(told) => told,
                Telling::Asking(asking) => asking.await,
            }
        });
        self.readers.push(Reader { journey, anew, arrived: self.now, told });
    }

    fn send(&mut self, call: usize) {
        let mut calls = self.script.0.lock().expect("no panic");
        let Some(call) = nth(call, calls.len()).map(|at| &mut calls[at]) else { return };
        if call.sent.is_none() {
            let sent = self.clock.now();
            call.witness.sent(sent);
            call.sent = Some((sent, self.now));
        }
    }

    fn compose(&mut self, call: usize, replica: bool, key: u8, twist: Twist) {
        let script = self.script.clone();
        let mut calls = script.0.lock().expect("no panic");
        let Some(call) = nth(call, calls.len()).map(|at| &mut calls[at]) else { return };
        if call.sent.is_some() && call.composed.is_none() {
            let composed = self.composition(call.journey, replica, key, twist);
            self.composed.push(composed.clone());
            call.composed = Some(composed);
        }
    }

    fn composition(&mut self, journey: u8, replica: bool, key: u8, twist: Twist) -> Composed {
        match twist {
            Twist::NotFound => {
                return Composed { outcome: Ok((404, Bytes::from_static(b"{\"success\":false}"))), answer: None };
            }
            Twist::Failure => return Composed { outcome: Err(Error::Connect), answer: None },
            Twist::Timeout => return Composed { outcome: Err(Error::Timeout), answer: None },
            Twist::Again(which) if !self.composed.is_empty() => {
                return self.composed[which % self.composed.len()].clone();
            }
            _ => {}
        }
        let truth = match twist {
            Twist::AnotherJourneys(other) => &self.truths[usize::from(other)],
            _ => &self.truths[usize::from(journey)],
        };
        let by_clock = self.now.wall + if replica { -20 * SECOND } else { 0 };
        let signed = match twist {
            Twist::Old => by_clock - 200 * SECOND,
            Twist::Ahead => by_clock + 90 * SECOND,
            _ => by_clock,
        } / 1_000_000
            * 1_000_000; // the upstream writes milliseconds
        let text = text(truth, signed);
        let digest = *blake3::hash(text.as_bytes()).as_bytes();
        let id = u64::from_le_bytes(digest[..8].try_into().expect("eight"));
        let signature = match twist {
            Twist::Unsigned => String::new(),
            Twist::Forged => sign(&[1; 32], key),
            _ => sign(&digest, key),
        };
        let wire = format!("{{\"signature\":\"{signature}\",{}", &text[1..]);
        let genuine = !matches!(twist, Twist::Unsigned | Twist::Forged);
        let Truth { person, code, shown, expires } = *truth;
        let (sent, received) = (At::default(), At::default());
        let answer = Answer { id, genuine, key, journey, person, code, shown, signed, expires, sent, received };
        Composed { outcome: Ok((200, wire.into())), answer: Some(answer) }
    }

    /// Hands an answer over; returns it if it may be held by the rules.
    fn deliver(&mut self, call: usize) -> Option<Answer> {
        let call = {
            let mut calls = self.script.0.lock().expect("no panic");
            let at = nth(call, calls.len())?;
            if calls[at].sent.is_none() && calls[at].is_background {
                let call = calls.remove(at); // the rate does not allow a refresh just now
                let _ = call.reply.send(Err(Error::Denied(Denied::NotNow)));
                return None;
            }
            calls[at].composed.as_ref()?;
            calls.remove(at)
        };
        let ((moment, sent), composed) = (call.sent?, call.composed?);
        let fetched = composed.outcome.map(|(status, body)| Fetched {
            status: http::StatusCode::from_u16(status).expect("a status"),
            body,
            sent: moment,
            received: self.clock.now(),
            age: Duration::ZERO,
        });
        let _ = call.reply.send(fetched);
        let answer = Answer { journey: call.journey, sent, received: self.now, ..composed.answer? };
        let may_be_held = self.reference.receive(&answer);
        if may_be_held {
            self.delivered.entry(answer.journey).or_default().push(answer.clone());
        }
        may_be_held.then_some(answer)
    }

    fn decide(&mut self, journey: u8, change: Change) {
        self.prints += 1;
        let (now, print) = (self.now.wall, self.prints);
        let stranger = self.truths[2].shown.0;
        let truth = &mut self.truths[usize::from(journey)];
        match change {
            Change::Revoke => truth.code = "REVOKED",
            Change::Expire => truth.code = "EXPIRED",
            Change::Activate => truth.code = "ACTIVE",
            Change::Reissue { ends_soon } => {
                let ends = now + if ends_soon { 20 * SECOND } else { 300 * 86_400 * SECOND };
                (truth.code, truth.shown, truth.expires) = ("ACTIVE", (print, print), ends);
            }
            Change::Redraw => truth.shown.1 = print,
            Change::Collide => truth.shown = (stranger, print),
        }
    }

    fn purge(&mut self, scope: Scope) {
        let what = match scope {
            Scope::Journey(journey) => Purge::Journey(token(journey)),
            Scope::Person(person) => Purge::Person(PersonId(person.into())),
            Scope::Etag(etag) => Purge::Etag(Etag::parse(&format!("etag-{etag}")).expect("an ETag")),
            Scope::All => Purge::All,
        };
        self.gateway.purge(&what, false);
        self.reference.purge(scope, self.now.order);
    }

    /// Whoever was answered in this event was answered rightly, and whoever was not had nothing to be answered with.
    async fn judge(&mut self, event: Event, fresh: Option<Answer>) -> Result<(), String> {
        for at in (0..self.readers.len()).rev() {
            if self.readers[at].told.is_finished() {
                let reader = self.readers.swap_remove(at);
                let (journey, anew, arrived) = (reader.journey, reader.anew, reader.arrived);
                let told = reader.told.await.map_err(|error| format!("a reader of {journey} ended: {error}"))?;
                self.judge_told(journey, anew, arrived, told, fresh.as_ref())?;
            }
        }
        let Event::Ask { journey, anew } = event else { return Ok(()) };
        let waits = self.readers.iter().any(|reader| reader.arrived.order == self.now.order);
        let newest = self.delivered.get(&journey).and_then(|answers| answers.last());
        // Where one ETag stood for two images, only one of them is held.
        let is_held = |answer: &&Answer| self.reference.is_unchanged(answer.shown.0);
        let is_allowed =
            newest.filter(is_held).is_some_and(|answer| self.reference.allows(answer, self.now, anew, self.now));
        if waits && is_allowed && !self.shape.is_small {
            return Err(format!("journey {journey}: a call is made although what is held may be shown"));
        }
        Ok(())
    }

    fn judge_told(
        &self,
        journey: u8,
        anew: bool,
        arrived: At,
        told: Told,
        fresh: Option<&Answer>,
    ) -> Result<(), String> {
        let allows = |answer: &Answer| self.reference.allows(answer, arrived, anew, self.now);
        let delivered = self.delivered.get(&journey).map_or(&[][..], Vec::as_slice);
        match told.outcome {
            Outcome::Release(permit) => {
                let image = permit.image()[3];
                if !delivered.iter().any(|answer| answer.shown.1 == image && allows(answer)) {
                    return Err(format!("journey {journey}: image {image} was released, and no rule allows it"));
                }
                let etag: u8 = permit.etag().as_str()[5..].parse().expect("ours");
                if permit.allows_not_modified() && !self.reference.is_unchanged(etag) && !self.shape.is_small {
                    return Err(format!("journey {journey}: 304 under ETag {etag} although its bytes changed"));
                }
                Ok(())
            }
            // With little memory the hub may remember of an ETag what the reference does not ask, and the other way round.
            Outcome::Refuse(refusal) if self.shape.is_small && refusal.reason == Reason::EtagConflict => Ok(()),
            other => {
                // What is held may have lost its image: to memory, or to another image under its ETag.
                let has_image = |answer: &&Answer| !self.shape.is_small && self.reference.is_unchanged(answer.shown.0);
                let held = delivered.last().filter(has_image);
                let held = fresh.filter(|answer| answer.journey == journey).or(held);
                match held.filter(|answer| allows(answer)) {
                    Some(answer) => {
                        Err(format!("journey {journey}: {other:?} although the rules allow image {}", answer.shown.1))
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

fn nth(number: usize, count: usize) -> Option<usize> {
    if number == LAST { count.checked_sub(1) } else { number.checked_rem(count) }
}

async fn settle() {
    for _ in 0..24 {
        tokio::task::yield_now().await;
    }
}

fn token(journey: u8) -> JourneyToken {
    JourneyToken::parse(&format!("00000000-0000-4000-8000-{journey:012x}")).expect("a token")
}

/// The answer in canonical form, less its signature.
fn text(truth: &Truth, signed: i64) -> String {
    let Truth { person, code, shown: (etag, image), expires } = truth;
    let (signed, expires) = (Timestamp(signed).to_rfc3339(), Timestamp(*expires).to_rfc3339());
    let (picture, tag) = if *code == "ACTIVE" {
        let url = base64_simd::STANDARD.encode_to_string([0xff, 0xd8, 0xff, *image]);
        (format!("\"data:image/jpeg;base64,{url}\""), format!("\"etag-{etag}\""))
    } else {
        ("null".to_owned(), "null".to_owned())
    };
    format!(
        "{{\"data\":{{\"active_status\":{{\"code\":\"{code}\",\"messages\":\"\"}},\"certificate_base64\":{picture},\"certificate_etag\":{tag},\
         \"expires_on\":\"{expires}\",\"uaekyc_id\":{person}}},\"errors\":[],\"meta\":{{\"timestamp\":\"{signed}\"}},\"success\":true}}"
    )
}

fn curve() -> &'static Secp256k1<All> {
    static CURVE: OnceLock<Secp256k1<All>> = OnceLock::new();
    CURVE.get_or_init(Secp256k1::new)
}

fn secret(key: u8) -> SecretKey {
    SecretKey::from_byte_array([key + 3; 32]).expect("below the order")
}

fn keys(numbers: &[u8]) -> Keys {
    Keys::parse(numbers.iter().map(|key| hex::encode(PublicKey::from_secret_key(curve(), &secret(*key)).serialize())))
        .expect("keys")
}

fn sign(digest: &[u8; 32], key: u8) -> String {
    hex::encode(curve().sign_ecdsa(Message::from_digest(*digest), &secret(key)).serialize_compact())
}

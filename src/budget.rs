//! Whose turn it is to call the upstream: 25 a second, a fair share for each journey, so many at once, and pauses it asks for.
//!
//! Every call takes a turn, retries, passthrough and refreshes included. A caller is told at once when its turn is, or that it
//! is too far away; nobody queues in vain. The arithmetic (`Turns`, `Pause`, `Circuit`) is pure and takes the time as an
//! argument; `Budget` adds the waiting.
//!
//! Never: calls anybody, or knows what an answer says.
//!
//! The surprising decision: the window is a little longer than a second. Calls that start a second apart here may arrive a
//! little less than a second apart there, and the upstream counts there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::certificate::JourneyToken;
use circuit::{Circuit, Standing};

pub mod circuit;

/// What calls may cost.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Calls in any second; below one, one call in so many seconds.
    pub requests_per_second: f64,
    /// How long a call may wait for its turn.
    pub queue_timeout: Duration,
    /// Calls at once.
    pub max_concurrent: usize,
    /// When outages end all calls for a while.
    pub circuit: circuit::Settings,
}

/// How urgent a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it.
    Foreground,
    /// Nobody does: it takes a turn that is free at once, and leaves some for those who wait.
    Background,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Our own rate is used up, by everyone or by this journey alone.
    RateLimited {
        /// One journey's share, not the whole.
        journey: bool,
        /// When a turn comes.
        retry_after: Duration,
    },
    /// The upstream said 429.
    Pausing {
        /// Until it may be asked again.
        retry_after: Duration,
    },
    /// The upstream said 503 with `Retry-After`, or is not there: the circuit is open.
    Suspended {
        /// Until it may be asked again.
        retry_after: Duration,
    },
    /// Too many calls at once.
    Overloaded,
    /// A refresh found no free turn.
    NotNow,
}

/// Deals out turns.
pub struct Budget {
    settings: ArcSwap<Settings>,
    state: Mutex<State>,
    places: ArcSwap<Semaphore>,
    circuit: Arc<Mutex<Circuit>>,
}

/// A turn: the call may start now, and holds one of the places until this is dropped.
#[derive(Debug)]
pub struct Turn {
    /// How long it was waited for.
    pub waited: Duration,
    probe: Option<Probe>,
    place: Option<OwnedSemaphorePermit>,
}

/// The one call that an open circuit lets pass; dropped without news, the next call is one.
#[derive(Debug)]
struct Probe(Arc<Mutex<Circuit>>);

struct State {
    all: Turns,
    journeys: HashMap<JourneyToken, Turns>,
    pause: Option<Pause>,
}

/// When calls started, and may start.
#[derive(Clone, Debug)]
struct Turns {
    most: usize,
    window: Duration,
    starts: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    by_rate: bool,
}

impl Budget {
    /// All turns free.
    pub fn new(settings: Settings) -> Self {
        let state = State { all: Turns::new(settings.requests_per_second), journeys: HashMap::new(), pause: None };
        Self {
            places: ArcSwap::from_pointee(Semaphore::new(settings.max_concurrent)),
            settings: ArcSwap::from_pointee(settings),
            state: Mutex::new(state),
            circuit: Arc::default(),
        }
    }

    /// From now on deals by these; what was dealt counts on. Calls under way keep the places they have.
    pub fn replace_settings(&self, settings: Settings) {
        let mut state = self.state();
        let before = self.settings.swap(Arc::new(settings.clone()));
        if before.max_concurrent != settings.max_concurrent {
            self.places.store(Arc::new(Semaphore::new(settings.max_concurrent)));
        }
        state.all.set_rate(settings.requests_per_second);
        state.journeys.values_mut().for_each(|turns| turns.set_rate(settings.requests_per_second / 5.0));
    }

    /// Waits for a turn for a call, about this journey if it is about one.
    pub async fn turn(&self, journey: Option<&JourneyToken>, priority: Priority) -> Result<Turn, Denied> {
        let asked = Instant::now();
        let settings = self.settings.load_full();
        self.check_pause(asked)?;
        let probe = self.pass_circuit(asked)?;
        let place = self.place(priority, settings.queue_timeout).await?;
        let deadline = asked + settings.queue_timeout;
        loop {
            let rate = self.settings.load().requests_per_second;
            let reserved = self.state().reserve(journey, priority, Instant::now(), deadline, rate);
            match reserved? {
                Reserved::AskAgain(at) => tokio::time::sleep_until(at).await,
                Reserved::Start(at) => break tokio::time::sleep_until(at).await,
            }
        }
        self.check_pause(Instant::now())?; // the upstream may have asked for one meanwhile
        if probe.is_none() {
            self.check_circuit(Instant::now())?; // or have gone
        }
        Ok(Turn { waited: asked.elapsed(), probe, place: Some(place) })
    }

    /// The upstream asked for a pause; none ends earlier because another call was told a shorter one. Returns how much of
    /// it is believed.
    pub fn pause(&self, wait: Duration, by_rate: bool) -> Duration {
        let wait = wait.min(MAX_PAUSE);
        let until = Instant::now() + wait;
        let mut state = self.state();
        if state.pause.is_none_or(|pause| pause.until < until) {
            state.pause = Some(Pause { until, by_rate });
        }
        wait
    }

    /// A call ended; `turn` is its first one. An outage brought no answer, or a 5xx.
    pub fn ended(&self, turn: &mut Turn, journey: Option<&JourneyToken>, is_outage: bool) {
        let is_probe = turn.probe.is_some();
        let now = Instant::now();
        let mut circuit = lock(&self.circuit);
        let before = circuit.standing(now);
        if is_outage {
            circuit.outage(journey.copied(), is_probe, now, roll(), self.settings.load().circuit);
        } else {
            circuit.answered(is_probe);
        }
        let after = circuit.standing(now);
        drop(circuit);
        turn.probe = None;
        if before != after {
            tracing::warn!(circuit = after.as_str(), "the circuit to the upstream has changed");
        }
    }

    /// How much longer no call is made: the upstream's pause, or the circuit's.
    pub fn pause_left(&self) -> Option<Duration> {
        let now = Instant::now();
        let pause = self.state().pause.map(|pause| pause.until.saturating_duration_since(now));
        pause.max(lock(&self.circuit).left(now)).filter(|left| !left.is_zero())
    }

    /// How the circuit stands.
    pub fn circuit(&self) -> Standing {
        lock(&self.circuit).standing(Instant::now())
    }

    /// Calls that could start at once just now.
    pub fn free_turns(&self) -> usize {
        self.state().all.free(Instant::now())
    }

    /// Calls in any second, as configured.
    pub fn requests_per_second(&self) -> f64 {
        self.settings.load().requests_per_second
    }

    async fn place(&self, priority: Priority, within: Duration) -> Result<OwnedSemaphorePermit, Denied> {
        let places = self.places.load_full();
        if priority == Priority::Background {
            return places.try_acquire_owned().map_err(|_| Denied::NotNow);
        }
        match tokio::time::timeout(within, places.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Denied::Overloaded),
        }
    }

    fn check_pause(&self, now: Instant) -> Result<(), Denied> {
        let Some(pause) = self.state().pause else { return Ok(()) };
        let retry_after = pause.until.saturating_duration_since(now);
        if retry_after.is_zero() {
            return Ok(());
        }
        Err(if pause.by_rate { Denied::Pausing { retry_after } } else { Denied::Suspended { retry_after } })
    }

    fn pass_circuit(&self, now: Instant) -> Result<Option<Probe>, Denied> {
        let admitted = lock(&self.circuit).admit(now);
        let is_probe = admitted.map_err(|retry_after| Denied::Suspended { retry_after })?;
        Ok(is_probe.then(|| Probe(self.circuit.clone())))
    }

    fn check_circuit(&self, now: Instant) -> Result<(), Denied> {
        let left = lock(&self.circuit).left(now);
        left.map_or(Ok(()), |retry_after| Err(Denied::Suspended { retry_after }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between 0 and 1; the middle where there is no randomness to be had.
fn roll() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

// === impl Turn, Probe ===

impl Turn {
    /// The call that an open circuit let pass, to see whether the upstream is back. It is not tried again.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Gives the place back before the turn is over, so that the wait for another turn holds none.
    pub fn leave_place(&mut self) {
        self.place = None;
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        lock(&self.0).abandoned(Instant::now());
    }
}

/// What a caller is told of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserved {
    /// The journey's share is used up until then. Nothing is reserved: a turn held that far ahead would hold up everybody.
    AskAgain(Instant),
    /// The turn is taken.
    Start(Instant),
}

impl State {
    fn reserve(
        &mut self,
        journey: Option<&JourneyToken>,
        priority: Priority,
        now: Instant,
        deadline: Instant,
        rate: f64,
    ) -> Result<Reserved, Denied> {
        let deadline = deadline.max(now); // what is free now needs no waiting, and is never too late
        self.journeys.retain(|_, turns| turns.is_busy(now));
        let own = journey.map(|token| self.journeys.entry(*token).or_insert_with(|| Turns::new(rate / 5.0)));
        let own_start = own.as_ref().map_or(now, |own| own.next(now));
        let start = self.all.next(now);
        let leaves_none = own_start > now || start > now || self.all.free(now) <= self.all.most / 5;
        if priority == Priority::Background && leaves_none {
            return Err(Denied::NotNow);
        }
        if own_start > deadline || start > deadline {
            return Err(Denied::RateLimited { journey: own_start > deadline, retry_after: own_start.max(start) - now });
        }
        if own_start > now {
            return Ok(Reserved::AskAgain(own_start));
        }
        self.all.take(start);
        if let Some(own) = own {
            own.take(start);
        }
        Ok(Reserved::Start(start))
    }
}

impl Turns {
    fn new(rate: f64) -> Self {
        let mut turns = Self { most: 1, window: MARGIN, starts: VecDeque::new() };
        turns.set_rate(rate);
        turns
    }

    /// What has started counts on.
    fn set_rate(&mut self, rate: f64) {
        self.most = rate.floor().max(1.0) as usize;
        self.window = Duration::from_secs_f64((1.0 / rate.min(1.0)).min(MAX_WINDOW)) + MARGIN;
        self.forget();
    }

    /// The first instant from `from` on at which one more start leaves no window with too many.
    ///
    /// Starts are in order, but may lie ahead of `from` (reserved); a start in the middle would count in the windows of both
    /// sides, so the next one is never before the last.
    fn next(&self, from: Instant) -> Instant {
        let after_last = self.starts.back().map_or(from, |last| from.max(*last));
        let nth_last = self.starts.len().checked_sub(self.most).map(|at| self.starts[at]);
        nth_last.map_or(after_last, |nth| after_last.max(nth + self.window))
    }

    fn take(&mut self, start: Instant) {
        self.starts.push_back(start);
        self.forget();
    }

    /// Only the last `most` starts can keep the next one waiting.
    fn forget(&mut self) {
        while self.starts.len() > self.most {
            self.starts.pop_front();
        }
    }

    fn free(&self, now: Instant) -> usize {
        self.most - self.starts.iter().filter(|start| **start + self.window > now).count().min(self.most)
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.starts.back().is_some_and(|last| *last + self.window > now)
    }
}

/// Between our clock and the upstream's door.
const MARGIN: Duration = Duration::from_millis(25);

/// The longest pause that is believed.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// In seconds: one call an hour is as good as none.
const MAX_WINDOW: f64 = 3600.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CIRCUIT: circuit::Settings = circuit::Settings { failures: 2, open: Duration::from_secs(5) };

    fn token(number: u8) -> JourneyToken {
        JourneyToken::parse(&format!("00000000-0000-4000-8000-{number:012}")).expect("a token")
    }

    proptest! {
        /// Everybody asks, and asks again when told to, as `turn` does.
        #[test]
        fn no_second_ever_holds_more_starts_than_the_rate(
            rate in 0.2f64..30.0, asks in proptest::collection::vec((0u64..400, 0u8..4), 1..200),
        ) {
            let mut now = Instant::now();
            let mut waiting: Vec<(Instant, Instant, Option<u8>)> = Vec::new();
            let mut asks = asks.into_iter().peekable();
            let mut starts = Vec::new();
            let mut state = State { all: Turns::new(rate), journeys: HashMap::new(), pause: None };
            while asks.peek().is_some() || !waiting.is_empty() {
                if let Some((millis, who)) = asks.next() {
                    now += Duration::from_millis(millis);
                    waiting.push((now, now + Duration::from_secs(1), (who < 2).then_some(who)));
                } else {
                    now += Duration::from_millis(50);
                }
                for (at, deadline, who) in std::mem::take(&mut waiting) {
                    if at > now {
                        waiting.push((at, deadline, who));
                        continue;
                    }
                    match state.reserve(who.map(token).as_ref(), Priority::Foreground, now, deadline.max(now), rate) {
                        Ok(Reserved::Start(start)) => {
                            prop_assert!(start >= now && start <= deadline.max(now));
                            starts.push((start, who));
                        }
                        Ok(Reserved::AskAgain(at)) => waiting.push((at, deadline, who)),
                        Err(_) => {}
                    }
                }
            }
            let most = |rate: f64| rate.floor().max(1.0) as usize;
            let window = |rate: f64| Duration::from_secs_f64(1.0 / rate.min(1.0));
            for (at, _) in &starts {
                let within = |window| starts.iter().filter(move |(other, _)| other >= at && *other < *at + window);
                prop_assert!(within(window(rate)).count() <= most(rate));
                for who in [0, 1] {
                    let own = within(window(rate / 5.0)).filter(|(_, whose)| *whose == Some(who)).count();
                    prop_assert!(own <= most(rate / 5.0));
                }
            }
        }
    }

    #[test]
    fn a_journey_that_has_had_its_fifth_holds_up_nobody_else() {
        let mut state = State { all: Turns::new(10.0), journeys: HashMap::new(), pause: None };
        let now = Instant::now();
        let mut ask =
            |who| state.reserve(Some(&token(who)), Priority::Foreground, now, now + Duration::from_secs(2), 10.0);
        assert_eq!((ask(1), ask(1)), (Ok(Reserved::Start(now)), Ok(Reserved::Start(now))));
        assert!(matches!(ask(1), Ok(Reserved::AskAgain(at)) if at > now + Duration::from_secs(1)));
        assert_eq!(ask(2), Ok(Reserved::Start(now)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_too_far_away_is_refused_at_once() {
        let budget = Budget::new(Settings {
            requests_per_second: 1.0,
            queue_timeout: Duration::from_millis(500),
            max_concurrent: 9,
            circuit: CIRCUIT,
        });
        assert!(budget.turn(None, Priority::Foreground).await.is_ok());
        let denied = budget.turn(None, Priority::Foreground).await.map(|_| ());
        assert!(
            matches!(denied, Err(Denied::RateLimited { journey: false, retry_after }) if retry_after > Duration::from_millis(500)),
            "{denied:?}"
        );
    }

    #[tokio::test]
    async fn a_refresh_leaves_turns_for_those_who_wait() {
        let budget = Budget::new(Settings {
            requests_per_second: 5.0,
            queue_timeout: Duration::from_secs(1),
            max_concurrent: 9,
            circuit: CIRCUIT,
        });
        for _ in 0..4 {
            assert!(budget.turn(None, Priority::Background).await.is_ok());
        }
        assert_eq!(budget.turn(None, Priority::Background).await.map(|_| ()), Err(Denied::NotNow));
        assert!(budget.turn(None, Priority::Foreground).await.is_ok());
    }

    #[tokio::test]
    async fn a_pause_refuses_with_its_reason_and_a_shorter_one_does_not_end_it() {
        let budget = Budget::new(Settings {
            requests_per_second: 25.0,
            queue_timeout: Duration::from_secs(1),
            max_concurrent: 9,
            circuit: CIRCUIT,
        });
        budget.pause(Duration::from_secs(30), false);
        budget.pause(Duration::from_secs(1), true);
        let denied = budget.turn(None, Priority::Foreground).await.map(|_| ());
        assert!(matches!(denied, Err(Denied::Suspended { retry_after }) if retry_after > Duration::from_secs(20)));
        let long = Budget::new(budget.settings.load().as_ref().clone());
        long.pause(Duration::from_secs(9999), true);
        assert!(long.pause_left().is_some_and(|left| left <= MAX_PAUSE));
    }

    /// On a clock that goes on, the deadline had always passed by the time a turn was looked for, and every call was refused.
    #[tokio::test]
    async fn a_free_turn_is_given_to_a_call_that_may_not_wait() {
        let budget = Budget::new(Settings {
            requests_per_second: 2.0,
            queue_timeout: Duration::ZERO,
            max_concurrent: 9,
            circuit: CIRCUIT,
        });
        for _ in 0..2 {
            assert!(budget.turn(None, Priority::Foreground).await.is_ok());
        }
        let denied = budget.turn(None, Priority::Foreground).await.map(|_| ());
        assert!(matches!(denied, Err(Denied::RateLimited { journey: false, .. })), "{denied:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_waited_for_and_then_refused() {
        let budget = Budget::new(Settings {
            requests_per_second: 25.0,
            queue_timeout: Duration::from_secs(1),
            max_concurrent: 1,
            circuit: CIRCUIT,
        });
        let first = budget.turn(None, Priority::Foreground).await;
        assert_eq!(budget.turn(None, Priority::Foreground).await.map(|_| ()), Err(Denied::Overloaded));
        drop(first);
        assert!(budget.turn(None, Priority::Foreground).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_refuses_at_once_and_lets_one_probe_pass() {
        let budget = Budget::new(Settings {
            requests_per_second: 25.0,
            queue_timeout: Duration::from_secs(1),
            max_concurrent: 9,
            circuit: CIRCUIT,
        });
        for number in [1, 2] {
            let mut turn = budget.turn(Some(&token(number)), Priority::Foreground).await.expect("a turn");
            budget.ended(&mut turn, Some(&token(number)), true);
        }
        assert_eq!(budget.circuit(), Standing::Open);
        let denied = budget.turn(None, Priority::Foreground).await.map(|_| ());
        assert!(matches!(denied, Err(Denied::Suspended { retry_after }) if retry_after <= Duration::from_secs(6)));
        tokio::time::advance(Duration::from_secs(6)).await;
        drop(budget.turn(None, Priority::Foreground).await.expect("a probe that brings no news"));
        let mut probe = budget.turn(None, Priority::Foreground).await.expect("a probe");
        assert!(probe.is_probe() && budget.turn(None, Priority::Foreground).await.is_err());
        budget.ended(&mut probe, None, false);
        assert!(!budget.turn(None, Priority::Foreground).await.expect("closed").is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_rate_forgets_no_call() {
        let mut settings =
            Settings { requests_per_second: 2.0, queue_timeout: Duration::ZERO, max_concurrent: 9, circuit: CIRCUIT };
        let budget = Budget::new(settings.clone());
        for _ in 0..2 {
            assert!(budget.turn(None, Priority::Foreground).await.is_ok());
        }
        settings.requests_per_second = 3.0;
        budget.replace_settings(settings);
        assert!(budget.turn(None, Priority::Foreground).await.is_ok());
        assert!(budget.turn(None, Priority::Foreground).await.is_err());
    }
}

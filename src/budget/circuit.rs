//! Whether the upstream is there at all: after so many outages in a row it is left alone for a while.
//!
//! Pure; the time and the die's roll are arguments. An outage is a call that brought no answer, or a 5xx; anything else the
//! upstream says shows that it is there. One journey whose call always fails opens nothing: the outages must be of two at least.
//!
//! The surprising decision: only the probe closes an open circuit. A call that was under way when it opened may still come
//! home, and says nothing about the next one.

use std::time::Duration;

use tokio::time::Instant;

use crate::certificate::JourneyToken;

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Outages in a row.
    pub failures: u32,
    /// Until the first probe.
    pub open: Duration,
}

/// How a circuit stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Calls are made.
    Closed,
    /// None is.
    Open,
    /// One is, to see.
    HalfOpen,
}

/// What is remembered of the calls' ends.
#[derive(Debug, Default)]
pub struct Circuit(State);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        outages: u32,
        /// The journey of the first of them that was about one.
        first: Option<JourneyToken>,
        are_several: bool,
    },
    Open {
        until: Instant,
        wait: Duration,
    },
    Probing {
        wait: Duration,
    },
}

impl Circuit {
    /// Lets a call pass; true if it is the probe. Refused: how long to wait.
    pub fn admit(&mut self, now: Instant) -> Result<bool, Duration> {
        match self.0 {
            State::Closed { .. } => Ok(false),
            State::Open { until, .. } if now < until => Err(until - now),
            State::Open { wait, .. } => {
                self.0 = State::Probing { wait };
                Ok(true)
            }
            State::Probing { .. } => Err(PROBING),
        }
    }

    /// How long a call that is no probe has to wait.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        match self.0 {
            State::Closed { .. } => None,
            State::Open { until, .. } => Some(until.saturating_duration_since(now)),
            State::Probing { .. } => Some(PROBING),
        }
    }

    /// A call, about this journey if it was about one, met an outage. `die` is between 0 and 1.
    pub fn outage(
        &mut self,
        journey: Option<JourneyToken>,
        is_probe: bool,
        now: Instant,
        die: f64,
        settings: Settings,
    ) {
        match &mut self.0 {
            State::Closed { outages, first, are_several } => {
                *outages += 1;
                *are_several |= matches!((&*first, journey), (Some(one), Some(other)) if *one != other);
                *first = first.or(journey);
                if *are_several && *outages >= settings.failures {
                    self.open(settings.open, now, die);
                }
            }
            State::Probing { wait } if is_probe => {
                let wait = (*wait * 2).min(LONGEST);
                self.open(wait, now, die);
            }
            State::Open { .. } | State::Probing { .. } => {}
        }
    }

    /// A call was answered.
    pub fn answered(&mut self, is_probe: bool) {
        if is_probe || matches!(self.0, State::Closed { .. }) {
            self.0 = State::default();
        }
    }

    /// The probe ended without news: the next call is one.
    pub fn abandoned(&mut self, now: Instant) {
        if let State::Probing { wait } = self.0 {
            self.0 = State::Open { until: now, wait };
        }
    }

    /// In one word.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.0 {
            State::Closed { .. } => Standing::Closed,
            State::Open { until, .. } if now < until => Standing::Open,
            State::Open { .. } | State::Probing { .. } => Standing::HalfOpen,
        }
    }

    /// Gateways that lost the upstream together should not come back together.
    fn open(&mut self, wait: Duration, now: Instant, die: f64) {
        self.0 = State::Open { until: now + wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * die.clamp(0.0, 1.0)), wait };
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { outages: 0, first: None, are_several: false }
    }
}

impl Standing {
    /// The word in the summary.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// While a probe is out, others are told to come back after this long.
const PROBING: Duration = Duration::from_secs(1);

/// The longest wait, before jitter. Source: the contract, `circuit_open`.
const LONGEST: Duration = Duration::from_secs(60);

/// To either side. Source: the same.
const JITTER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { failures: 3, open: Duration::from_secs(5) };
    const MIDDLE: f64 = 0.5;

    fn journey(number: u8) -> Option<JourneyToken> {
        JourneyToken::parse(&format!("00000000-0000-4000-8000-{number:012}"))
    }

    /// A circuit after outages of these journeys, all now.
    fn after(outages: &[u8], now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for number in outages {
            circuit.outage(journey(*number), false, now, MIDDLE, SETTINGS);
        }
        circuit
    }

    #[test]
    fn so_many_in_a_row_over_two_journeys_open_it() {
        let now = Instant::now();
        for (outages, wanted) in [
            (&[1, 2][..], Standing::Closed),
            (&[1, 1, 1, 1, 1, 1], Standing::Closed),
            (&[1, 1, 2], Standing::Open),
            (&[1, 1, 1, 1, 2], Standing::Open),
        ] {
            assert_eq!(after(outages, now).standing(now), wanted, "{outages:?}");
        }
        let mut interrupted = after(&[1, 2], now);
        interrupted.answered(false);
        interrupted.outage(journey(1), false, now, MIDDLE, SETTINGS);
        assert_eq!(interrupted.standing(now), Standing::Closed);
    }

    #[test]
    fn calls_about_no_journey_count_but_are_no_second_one() {
        let now = Instant::now();
        let mut circuit = after(&[1], now);
        for _ in 0..5 {
            circuit.outage(None, false, now, MIDDLE, SETTINGS);
        }
        assert_eq!(circuit.standing(now), Standing::Closed);
        circuit.outage(journey(2), false, now, MIDDLE, SETTINGS);
        assert_eq!(circuit.standing(now), Standing::Open);
    }

    #[test]
    fn one_probe_passes_and_decides() {
        let now = Instant::now();
        let mut circuit = after(&[1, 1, 2], now);
        assert_eq!(circuit.admit(now), Err(Duration::from_secs(5)));
        let later = now + Duration::from_secs(5);
        assert_eq!(circuit.standing(later), Standing::HalfOpen);
        assert_eq!(circuit.admit(later), Ok(true));
        assert_eq!(circuit.admit(later), Err(PROBING));
        circuit.answered(false);
        assert_eq!(circuit.admit(later), Err(PROBING), "a call from before says nothing");
        circuit.answered(true);
        assert_eq!((circuit.admit(later), circuit.standing(later)), (Ok(false), Standing::Closed));
    }

    #[test]
    fn a_probe_without_news_is_followed_by_another() {
        let now = Instant::now();
        let mut circuit = after(&[1, 1, 2], now);
        let later = now + Duration::from_secs(5);
        assert_eq!(circuit.admit(later), Ok(true));
        circuit.abandoned(later);
        assert_eq!(circuit.admit(later), Ok(true));
    }

    #[test]
    fn failed_probes_double_the_wait_to_a_minute_and_the_die_moves_it_by_a_fifth() {
        let mut now = Instant::now();
        let mut circuit = after(&[1, 1, 2], now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let left = circuit.left(now).expect("open");
            waits.push(left.as_secs());
            now += left;
            assert_eq!(circuit.admit(now), Ok(true));
            circuit.outage(journey(1), true, now, MIDDLE, SETTINGS);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        for (die, millis) in [(0.0, 4000), (1.0, 6000)] {
            let mut circuit = Circuit::default();
            for number in [1, 1, 2] {
                circuit.outage(journey(number), false, now, die, SETTINGS);
            }
            assert_eq!(circuit.left(now), Some(Duration::from_millis(millis)));
        }
    }
}

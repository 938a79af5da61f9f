//! The only reader of time.
//!
//! Everywhere else a `Moment` is an argument. A moment has three readings: the wall clock (what `expires_on` and signed times
//! are compared with), a monotonic one (so that a wall clock set back cannot make an answer young again), and its place in the
//! order of all readings. The last is what "the call was sent after the request arrived" means: no two moments share a place,
//! whatever the clocks' resolution. Age is the longer of the two elapsed times, because the monotonic clock stops while a
//! machine is suspended.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::certificate::Timestamp;

/// One reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    order: u64,
    /// Nanoseconds; half the size of a `Duration`, and a million of these are remembered.
    mono: u64,
    wall: Timestamp,
}

/// A place in the order of all moments; `Order::START` comes before every one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(u64);

/// Tells the time: the machine's, or one that a test moves by hand.
#[derive(Debug)]
pub struct Clock {
    readings: AtomicU64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    System { start: Instant },
    Hand { mono: AtomicU64, wall: AtomicI64 },
}

// === impl Moment ===

impl Moment {
    /// Its place among all moments.
    pub fn order(&self) -> Order {
        Order(self.order)
    }

    /// The wall clock's reading.
    pub fn wall(&self) -> Timestamp {
        self.wall
    }

    /// How long ago `earlier` was: the longer of what the two clocks say.
    pub fn age_of(&self, earlier: &Moment) -> Duration {
        self.mono_since(earlier).max(self.wall.since(earlier.wall))
    }

    /// How long ago `earlier` was at least: the shorter of what the two clocks say. For what must be kept a while.
    pub fn surely_since(&self, earlier: &Moment) -> Duration {
        self.mono_since(earlier).min(self.wall.since(earlier.wall))
    }

    fn mono_since(&self, earlier: &Moment) -> Duration {
        Duration::from_nanos(self.mono.saturating_sub(earlier.mono))
    }
}

// === impl Order ===

impl Order {
    /// Before every moment.
    pub const START: Order = Order(0);
}

// === impl Clock ===

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self { readings: AtomicU64::new(1), source: Source::System { start: Instant::now() } }
    }

    /// A clock that stands still until it is moved.
    pub fn by_hand(wall: Timestamp) -> Self {
        Self {
            readings: AtomicU64::new(1),
            source: Source::Hand { mono: AtomicU64::new(0), wall: AtomicI64::new(wall.0) },
        }
    }

    /// Reads it. Every reading is later in order than all before it.
    pub fn now(&self) -> Moment {
        let (mono, wall) = match &self.source {
            Source::System { start } => (start.elapsed().as_nanos() as u64, system_wall()),
            Source::Hand { mono, wall } => (mono.load(Ordering::SeqCst), Timestamp(wall.load(Ordering::SeqCst))),
        };
        Moment { order: self.readings.fetch_add(1, Ordering::SeqCst), mono, wall }
    }

    /// Lets time pass on both clocks of a hand-driven one; the system's clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        self.step_mono(by);
        self.step_wall(by.as_nanos() as i64);
    }

    /// Moves only the monotonic clock.
    pub fn step_mono(&self, by: Duration) {
        if let Source::Hand { mono, .. } = &self.source {
            mono.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
        }
    }

    /// Moves only the wall clock, by nanoseconds, back as well: a step, or (forward) a suspended machine.
    pub fn step_wall(&self, nanos: i64) {
        if let Source::Hand { wall, .. } = &self.source {
            wall.fetch_add(nanos, Ordering::SeqCst);
        }
    }
}

fn system_wall() -> Timestamp {
    let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    };
    Timestamp::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_the_longer_of_both_clocks() {
        let clock = Clock::by_hand(Timestamp(0));
        let start = clock.now();
        clock.step_mono(Duration::from_secs(5));
        clock.step_wall(-3_600_000_000_000);
        assert_eq!(clock.now().age_of(&start), Duration::from_secs(5), "a wall clock set back makes nothing younger");
        clock.step_wall(3_600_000_000_000 + 60_000_000_000);
        assert_eq!(clock.now().age_of(&start), Duration::from_secs(60), "a suspended machine ages what it holds");
        assert_eq!(clock.now().surely_since(&start), Duration::from_secs(5));
    }

    #[test]
    fn no_two_readings_share_a_place() {
        let clock = Clock::by_hand(Timestamp(0));
        let (first, second) = (clock.now(), clock.now());
        assert!(Order::START < first.order() && first.order() < second.order());
    }
}

//! One call per key at a time, shared by everyone who may share it.
//!
//! The work runs in a task of its own, so that nobody who gives up takes it from the others, and the last one who gives up
//! does not lose it either. Its endings:
//!
//! * *done*: everybody receives the same cloned outcome (a failure is an outcome too);
//! * *panicked*, or *shut down* with the runtime: everybody receives `Lost`;
//! * *timed out* is the work's own business, and so an outcome.
//!
//! Never: knows what is fetched, or how old a call may be. Who may share a call under way is asked of the caller, who is shown
//! the call's progress; if he may not, a second call starts, and newcomers are offered that one.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The calls under way, each with its progress `P` and its outcome to come `V`.
pub struct Flights<K, P, V> {
    under_way: Arc<UnderWay<K, P, V>>,
}

type UnderWay<K, P, V> = Mutex<HashMap<K, Arc<Flight<P, V>>>>;

struct Flight<P, V> {
    progress: Arc<P>,
    landed: watch::Receiver<Option<V>>,
}

/// The work ended without an outcome: it panicked, or the process is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// A place in a call.
pub struct Seat<V> {
    /// Somebody else had started it.
    pub is_shared: bool,
    landed: watch::Receiver<Option<V>>,
}

impl<K, P, V> Flights<K, P, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    P: Default + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// None under way.
    pub fn new() -> Self {
        Self { under_way: Arc::default() }
    }

    /// Takes a seat in the call under way for this key if `may_share` agrees, else starts one with `work`.
    pub fn join<F>(&self, key: K, may_share: impl FnOnce(&P) -> bool, work: impl FnOnce(Arc<P>) -> F) -> Seat<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&key).filter(|flight| may_share(&flight.progress)) {
            return Seat { is_shared: true, landed: flight.landed.clone() };
        }
        let progress = Arc::new(P::default());
        let (landing, landed) = watch::channel(None);
        let flight = Arc::new(Flight { progress: progress.clone(), landed: landed.clone() });
        under_way.insert(key.clone(), flight.clone());
        drop(under_way);

        let entry = Entry { under_way: self.under_way.clone(), key, flight };
        let work = work(progress);
        tokio::spawn(async move {
            let entry = entry; // taken out also when the work panics
            let outcome = work.await;
            drop(entry); // first, so that nobody joins a call that has already ended
            landing.send_replace(Some(outcome));
        });
        Seat { is_shared: false, landed }
    }

    /// Something is under way for this key.
    pub fn is_under_way(&self, key: &K) -> bool {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }
}

impl<K, P, V> Default for Flights<K, P, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    P: Default + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Clone> Seat<V> {
    /// Waits for the call to end.
    pub async fn outcome(mut self) -> Result<V, Lost> {
        let landed = self.landed.wait_for(Option::is_some).await.map_err(|_| Lost)?;
        landed.clone().ok_or(Lost)
    }
}

/// A call's place in the map; gives it up when dropped, unless a later call has taken it.
struct Entry<K: Eq + Hash, P, V> {
    under_way: Arc<UnderWay<K, P, V>>,
    key: K,
    flight: Arc<Flight<P, V>>,
}

impl<K: Eq + Hash, P, V> Drop for Entry<K, P, V> {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::oneshot;

    type TestFlights = Flights<&'static str, AtomicUsize, u32>;

    /// A call that ends when told.
    fn begin(flights: &TestFlights) -> (Seat<u32>, oneshot::Sender<u32>) {
        let (land, landing) = oneshot::channel();
        let seat = flights.join("a", |_| false, |_| async { landing.await.expect("told") });
        (seat, land)
    }

    fn share(flights: &TestFlights) -> Seat<u32> {
        flights.join("a", |_| true, |_| async { unreachable!("a call is under way") })
    }

    #[tokio::test]
    async fn everybody_receives_the_one_outcome() {
        let flights = TestFlights::new();
        let (first, land) = begin(&flights);
        let second = share(&flights);
        assert!(!first.is_shared && second.is_shared);
        land.send(7).expect("the call waits");
        assert_eq!((first.outcome().await, second.outcome().await), (Ok(7), Ok(7)));
        assert!(!flights.is_under_way(&"a"));
    }

    #[tokio::test]
    async fn a_leader_who_gives_up_takes_it_from_nobody() {
        let flights = TestFlights::new();
        let (leader, land) = begin(&flights);
        let follower = share(&flights);
        drop(leader);
        land.send(7).expect("the call still waits");
        assert_eq!(follower.outcome().await, Ok(7));
    }

    #[tokio::test]
    async fn the_last_one_who_gives_up_does_not_lose_it() {
        let flights = TestFlights::new();
        let (only, land) = begin(&flights);
        drop(only);
        let late = share(&flights);
        land.send(7).expect("the call still waits");
        assert_eq!(late.outcome().await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_told_to_everybody_and_frees_the_key() {
        let flights = TestFlights::new();
        let (first, land) = begin(&flights);
        let second = share(&flights);
        drop(land); // the work's `expect` panics
        assert_eq!((first.outcome().await, second.outcome().await), (Err(Lost), Err(Lost)));
        assert!(!flights.is_under_way(&"a"));
    }

    #[tokio::test]
    async fn a_second_call_takes_the_newcomers_and_keeps_the_place() {
        let flights = TestFlights::new();
        let (first, land_first) = begin(&flights);
        let (second, land_second) = begin(&flights);
        land_first.send(1).expect("waits");
        assert_eq!(first.outcome().await, Ok(1));
        assert!(flights.is_under_way(&"a"), "the first's end leaves the second's place");
        let newcomer = share(&flights);
        land_second.send(2).expect("waits");
        assert_eq!((second.outcome().await, newcomer.outcome().await), (Ok(2), Ok(2)));
    }

    #[tokio::test]
    async fn who_may_share_is_asked_with_the_progress() {
        let flights = TestFlights::new();
        let (land, landing) = oneshot::channel();
        let seat = flights.join(
            "a",
            |_| true,
            |progress| async move {
                progress.store(3, Ordering::SeqCst);
                landing.await.expect("told")
            },
        );
        tokio::task::yield_now().await;
        let shared = flights.join("a", |progress| progress.load(Ordering::SeqCst) == 3, |_| async { 0 });
        assert!(shared.is_shared);
        land.send(9).expect("waits");
        assert_eq!(seat.outcome().await, Ok(9));
    }

    #[test]
    fn a_runtime_that_ends_loses_the_call() {
        let flights = TestFlights::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let seat = runtime.block_on(async { flights.join("a", |_| true, |_| std::future::pending()) });
        drop(runtime);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(runtime.block_on(seat.outcome()), Err(Lost));
    }
}

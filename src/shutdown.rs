//! Signals, the order in which a process ends, and how the news of it reaches everybody.
//!
//! Never: ends anything itself. A `Trigger` is pulled once; every `Drain` hears of it, also one that asks later. The surprising
//! decision: when a trigger is gone unpulled, that counts as the end as well, at once; nobody is left who could end it later.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Starts the end.
pub struct Trigger(watch::Sender<Stage>);

/// Hears of the end.
#[derive(Clone)]
pub struct Drain(watch::Receiver<Stage>);

/// The signals that ask a process to end: SIGTERM (an orchestrator) and SIGINT (Ctrl-C).
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// The signal that asks a process to read its configuration again: SIGHUP.
pub struct Hangups(Signal);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    Over,
}

/// A trigger and what hears of it.
pub fn drain() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(Stage::Serving);
    (Trigger(sender), Drain(receiver))
}

/// Waits until a signal asks the process to end.
pub async fn requested() -> io::Result<()> {
    Signals::listen()?.next().await;
    Ok(())
}

/// How a process that serves ends: asked to, it says that it is not ready any more, goes on accepting for `delay` (load
/// balancers need that long to notice), and pulls the trigger. Asked once more at any time, it ends everything at once.
///
/// `asked` is awaited twice, as in `async || signals.next().await`. Does not return before that second time: run it beside what serves, and drop it when that has ended. The deadline of the
/// drain is with what serves, because it counts what it cuts.
pub async fn in_order(mut asked: impl AsyncFnMut(), delay: Duration, unready: impl FnOnce(), trigger: &Trigger) {
    asked().await;
    unready();
    let polite = async {
        tokio::time::sleep(delay).await;
        trigger.pull();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = polite => {}
        () = asked() => trigger.end(),
    }
}

// === impl Signals ===

impl Signals {
    /// From now on these signals do not end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// === impl Hangups ===

impl Hangups {
    /// From now on this signal does not end the process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

// === impl Trigger ===

impl Trigger {
    /// From now on no new connection is accepted, and open ones end after what is under way on them.
    pub fn pull(&self) {
        self.advance(Stage::Draining);
    }

    /// From now on nothing is waited for.
    pub fn end(&self) {
        self.advance(Stage::Over);
    }

    /// There is no way back.
    fn advance(&self, to: Stage) {
        self.0.send_if_modified(|stage| {
            let is_later = to > *stage;
            *stage = to.max(*stage);
            is_later
        });
    }
}

// === impl Drain ===

impl Drain {
    /// Waits until the end has begun.
    pub async fn begun(&mut self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until nothing is to be waited for any more.
    pub async fn over(&mut self) {
        self.reached(Stage::Over).await;
    }

    /// The end has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() >= Stage::Draining
    }

    async fn reached(&mut self, wanted: Stage) {
        // An error says that the trigger is gone, which counts as the end.
        let _ = self.0.wait_for(|stage| *stage >= wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::time::{Instant, timeout};

    const DELAY: Duration = Duration::from_secs(5);

    async fn is_over(drain: &mut Drain) -> bool {
        timeout(Duration::from_secs(1), drain.over()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_hears_of_it_also_later() {
        let (trigger, mut early) = drain();
        assert!(!early.has_begun());
        trigger.pull();
        early.begun().await;
        let mut late = early.clone();
        late.begun().await;
        assert!(late.has_begun() && !is_over(&mut late).await);
        trigger.end();
        trigger.pull();
        assert!(is_over(&mut late).await, "there is no way back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_that_is_gone_is_the_end() {
        let (trigger, mut drain) = drain();
        drop(trigger);
        assert!(is_over(&mut drain).await);
    }

    #[tokio::test(start_paused = true)]
    async fn unready_comes_first_then_the_delay_then_the_drain() {
        let (trigger, mut drain) = drain();
        let asked = Instant::now();
        let is_unready = Cell::new(false);
        let mut is_first = true;
        let once = async || {
            if !std::mem::take(&mut is_first) {
                std::future::pending::<()>().await;
            }
        };
        let order = in_order(once, DELAY, || is_unready.set(true), &trigger);
        tokio::select! {
            () = order => panic!("nobody asked again"),
            () = drain.begun() => {}
        }
        assert!(is_unready.get());
        assert_eq!(asked.elapsed(), DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn asked_again_it_ends_at_once_even_during_the_delay() {
        let (trigger, mut drain) = drain();
        let asked = Instant::now();
        in_order(async || {}, DELAY, || {}, &trigger).await;
        drain.over().await;
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}

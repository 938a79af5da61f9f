//! Signals, and how the news that the process ends reaches everybody.
//!
//! Never: ends anything itself. `Trigger` is pulled once; every `Drain` hears of it, also one that asks later.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Starts the end.
pub struct Trigger(watch::Sender<bool>);

/// Hears of the end.
#[derive(Clone)]
pub struct Drain(watch::Receiver<bool>);

/// A trigger and what hears of it.
pub fn drain() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Drain(receiver))
}

/// Waits for SIGTERM (an orchestrator) or SIGINT (Ctrl-C).
pub async fn requested() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

impl Trigger {
    /// From now on no new connection is accepted, and open ones end after what is under way on them.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Waits until the end has begun; for ever if its trigger is gone unpulled.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The end has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_of_it_also_later() {
        let (trigger, mut early) = drain();
        assert!(!early.has_begun());
        trigger.pull();
        early.begun().await;
        let mut late = early.clone();
        late.begun().await;
        assert!(late.has_begun());
    }
}

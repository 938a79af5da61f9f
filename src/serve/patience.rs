//! How long a connection may keep us waiting, and for what.
//!
//! The HTTP library has one time-out for heads, and it also runs while a kept-alive connection is idle; and it has none for a
//! client that does not take what it asked for. So we count ourselves. A connection is always in one phase, which follows from
//! what is known of it; how long it may stay there is the phase's time-out, counted anew when something moves.
//!
//! The surprising decisions: a request is under way until its last byte has left for the socket, not until its body was handed
//! over, because HTTP/2 takes a whole body in at once and then waits for the client. And nobody re-arms a timer when a phase
//! changes: the one timer of a connection is moved only towards an earlier deadline, and otherwise rings, looks and sleeps on.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::wire::{Standing, Wire};

/// The time-outs of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a head.
    pub header: Duration,
    /// Without progress in writing.
    pub write: Duration,
    /// With nothing under way.
    pub idle: Duration,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first request, or the rest of a head that has begun.
    Head,
    /// Another request, if the client has one.
    Idle,
    /// The handler; it bounds its own work, the reading of the request's body included.
    Busy,
    /// The client, to take what was written.
    Taking,
    /// The client, to notice that the connection ends.
    Leaving,
}

/// What is known of one connection; shared by its I/O, its requests and its alarm.
#[derive(Clone, Default)]
pub struct Patience(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    wire: Wire,
    requests: u32,
    /// Requests at the handler, and bodies of which more may come.
    ours: usize,
    /// Pieces of bodies that the client has not taken.
    theirs: usize,
    is_blocked: bool,
    is_leaving: bool,
    is_shut: bool,
    is_given_up: bool,
    has_moved: bool,
}

// === impl Patience ===

impl Patience {
    /// A head is complete. Its request is under way until the guard, or the body that holds it, is dropped.
    pub fn request(&self) -> (UnderWay, Standing) {
        let mut state = self.state();
        state.requests = state.requests.saturating_add(1);
        state.ours += 1;
        state.has_moved = true;
        let standing = state.wire.standing(state.requests);
        (UnderWay(self.clone()), standing)
    }

    /// At least one request was read from the connection.
    pub fn has_served(&self) -> bool {
        self.state().requests > 0
    }

    /// These bytes came in.
    pub fn came(&self, bytes: &[u8]) {
        self.state().wire.see(bytes);
    }

    /// The socket took some bytes.
    ///
    /// On HTTP/2 this alone is no progress: answering a client's pings is not delivering what it asked for.
    pub fn took(&self) {
        let mut state = self.state();
        state.is_blocked = false;
        state.has_moved |= !state.wire.is_http2();
    }

    /// The socket takes nothing at present.
    pub fn blocked(&self) {
        self.state().is_blocked = true;
    }

    /// The connection is to end once nothing is under way.
    pub fn leave(&self) {
        self.state().is_leaving = true;
    }

    /// Everything was written, and the writing side is being closed.
    pub fn shut(&self) {
        self.state().is_shut = true;
    }

    /// The client may still be sending something that it was cut short at.
    pub fn is_mid_request(&self) -> bool {
        !self.state().wire.is_between_requests()
    }

    /// What was written and not taken is not worth keeping.
    pub fn give_up(&self) {
        self.state().is_given_up = true;
    }

    /// See [`Patience::give_up`].
    pub fn is_given_up(&self) -> bool {
        self.state().is_given_up
    }

    /// The phase, and whether something moved since the last look.
    fn look(&self) -> (Phase, bool) {
        let mut state = self.state();
        let has_moved = std::mem::take(&mut state.has_moved);
        (state.phase(), has_moved)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn phase(&self) -> Phase {
        if self.is_shut {
            Phase::Leaving
        } else if self.theirs > 0 {
            Phase::Taking
        } else if self.ours > 0 {
            Phase::Busy
        } else if self.is_blocked {
            Phase::Taking
        } else if self.wire.is_in_head() {
            Phase::Head
        } else if self.is_leaving {
            Phase::Leaving
        } else if self.requests == 0 {
            Phase::Head
        } else {
            Phase::Idle
        }
    }
}

/// Rings when a connection has stayed in a phase for too long.
pub struct Alarm {
    patience: Patience,
    limits: Limits,
    phase: Phase,
    deadline: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

// === impl Alarm ===

impl Alarm {
    /// For a connection whose first head is due by then.
    pub fn new(patience: Patience, limits: Limits, first_head: Instant) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(first_head));
        Self { patience, limits, phase: Phase::Head, deadline: Some(first_head), sleep }
    }

    /// The phase that lasted too long.
    ///
    /// Poll it after the connection, in the same task, so that it sees what the connection did.
    pub async fn rings(&mut self) -> Phase {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Phase> {
        let (phase, has_moved) = self.patience.look();
        if has_moved || phase != self.phase {
            self.phase = phase;
            self.deadline = self.limit().map(|limit| Instant::now() + limit);
        }
        if self.deadline.is_some_and(|deadline| deadline < self.sleep.deadline()) {
            self.set(self.deadline);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Poll::Ready(self.phase);
            }
            self.set(self.deadline);
        }
        Poll::Pending
    }

    /// With no deadline a look every so often is due: an HTTP/2 stream may move on without waking its connection.
    fn set(&mut self, deadline: Option<Instant>) {
        let wake = deadline.unwrap_or_else(|| Instant::now() + self.limits.write);
        self.sleep.as_mut().reset(wake);
    }

    fn limit(&self) -> Option<Duration> {
        match self.phase {
            Phase::Head => Some(self.limits.header),
            Phase::Idle => Some(self.limits.idle),
            Phase::Taking => Some(self.limits.write),
            Phase::Leaving => Some(LINGER),
            Phase::Busy => None,
        }
    }
}

/// A request under way on a connection.
pub struct UnderWay(Patience);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ours -= 1;
        state.has_moved = true;
    }
}

/// A body that keeps its request under way until it is out.
pub struct Watched<B> {
    body: B,
    under_way: UnderWay,
}

impl<B> Watched<B> {
    /// This body, for this request.
    pub fn new(body: B, under_way: UnderWay) -> Self {
        Self { body, under_way }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map_ok(|frame| frame.map_data(|bytes| Piece::new(bytes, self.under_way.0.clone())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A part of a body on its way to the client; every part that leaves is progress.
pub struct Piece<D> {
    bytes: D,
    patience: Patience,
}

impl<D> Piece<D> {
    fn new(bytes: D, patience: Patience) -> Self {
        {
            let mut state = patience.state();
            state.theirs += 1;
            state.has_moved = true;
        }
        Self { bytes, patience }
    }
}

impl<D> Drop for Piece<D> {
    fn drop(&mut self) {
        let mut state = self.patience.state();
        state.theirs -= 1;
        state.has_moved = true;
    }
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.patience.state().has_moved = true;
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.patience.state().has_moved = true;
        self.bytes.copy_to_bytes(count)
    }
}

/// How long the other side may take to hang up. Without it a refusal could be lost: closing a socket on unread bytes resets it.
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use tokio::time::{sleep, timeout};

    const LIMITS: Limits =
        Limits { header: Duration::from_secs(10), write: Duration::from_secs(30), idle: Duration::from_secs(75) };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn accepted() -> (Patience, Alarm) {
        let patience = Patience::default();
        (patience.clone(), Alarm::new(patience, LIMITS, Instant::now() + LIMITS.header))
    }

    async fn rings_within(alarm: &mut Alarm, time: Duration) -> Option<Phase> {
        timeout(time, alarm.rings()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_dripping_connection_is_out_of_time_after_the_head_time() {
        let (patience, mut alarm) = accepted();
        assert_eq!(rings_within(&mut alarm, seconds(9)).await, None);
        patience.came(b"GET /");
        assert_eq!(rings_within(&mut alarm, seconds(2)).await, Some(Phase::Head));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_as_long_as_its_handler_likes() {
        let (patience, mut alarm) = accepted();
        patience.came(b"GET / HTTP/1.1\r\n\r\n");
        let _under_way = patience.request();
        assert_eq!(rings_within(&mut alarm, seconds(1000)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_lives_longer_than_a_head_may_take() {
        let (patience, mut alarm) = accepted();
        patience.came(b"GET / HTTP/1.1\r\n\r\n");
        drop(patience.request());
        assert_eq!(rings_within(&mut alarm, seconds(74)).await, None);
        assert_eq!(rings_within(&mut alarm, seconds(2)).await, Some(Phase::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_head_counts_from_its_first_byte() {
        let (patience, mut alarm) = accepted();
        patience.came(b"GET / HTTP/1.1\r\n\r\n");
        drop(patience.request());
        assert_eq!(rings_within(&mut alarm, seconds(60)).await, None);
        patience.came(b"G");
        assert_eq!(rings_within(&mut alarm, seconds(9)).await, None);
        patience.came(b"ET");
        assert_eq!(rings_within(&mut alarm, seconds(2)).await, Some(Phase::Head));
    }

    #[tokio::test(start_paused = true)]
    async fn blank_lines_keep_nobody_alive() {
        let (patience, mut alarm) = accepted();
        patience.came(b"GET / HTTP/1.1\r\n\r\n");
        drop(patience.request());
        assert_eq!(rings_within(&mut alarm, seconds(70)).await, None);
        patience.came(b"\r\n");
        assert_eq!(rings_within(&mut alarm, seconds(6)).await, Some(Phase::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn two_requests_on_one_connection_are_both_waited_for() {
        let (patience, mut alarm) = accepted();
        let (first, second) = (patience.request(), patience.request());
        drop(first);
        assert_eq!(rings_within(&mut alarm, seconds(1000)).await, None);
        drop(second);
        assert_eq!(rings_within(&mut alarm, seconds(76)).await, Some(Phase::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_handed_over_is_under_way_until_the_client_has_taken_it() {
        let (patience, mut alarm) = accepted();
        let (under_way, _) = patience.request();
        let mut body = Watched::new(Full::new(Bytes::from_static(b"image")), under_way);
        let mut piece = body.frame().await.unwrap().unwrap().into_data().ok().unwrap();
        drop(body);
        for _ in 0..4 {
            assert_eq!(rings_within(&mut alarm, seconds(29)).await, None, "slow, but taking it");
            piece.advance(1);
        }
        assert_eq!(rings_within(&mut alarm, seconds(31)).await, Some(Phase::Taking));
        drop(piece);
        assert_eq!(rings_within(&mut alarm, seconds(74)).await, None);
        assert_eq!(rings_within(&mut alarm, seconds(2)).await, Some(Phase::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn answering_pings_is_no_progress() {
        let (patience, mut alarm) = accepted();
        patience.came(b"PRI * HTTP/2.0\r\n\r\n");
        let (under_way, _) = patience.request();
        let _piece = Piece::new(Bytes::from_static(b"image"), patience.clone());
        let pings = async {
            loop {
                patience.took();
                sleep(seconds(5)).await;
            }
        };
        let phase = tokio::select! {
            phase = rings_within(&mut alarm, seconds(40)) => phase,
            () = pings => None,
        };
        assert_eq!(phase, Some(Phase::Taking));
        drop(under_way);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_takes_nothing_is_out_of_time_also_without_a_body() {
        let (patience, mut alarm) = accepted();
        drop(patience.request());
        patience.blocked();
        assert_eq!(rings_within(&mut alarm, seconds(29)).await, None);
        patience.took();
        patience.blocked();
        assert_eq!(rings_within(&mut alarm, seconds(29)).await, None);
        assert_eq!(rings_within(&mut alarm, seconds(2)).await, Some(Phase::Taking));
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_is_short_but_waits_for_what_is_under_way() {
        let (patience, mut alarm) = accepted();
        let under_way = patience.request();
        patience.leave();
        assert_eq!(rings_within(&mut alarm, seconds(1000)).await, None);
        drop(under_way);
        assert_eq!(rings_within(&mut alarm, seconds(2)).await, Some(Phase::Leaving));
    }
}

//! How long a connection may keep us waiting, and for what.
//!
//! The HTTP library has one time-out for heads, and it also runs while a kept-alive connection is idle; so we count ourselves.
//! A connection is always in one phase: its first head is awaited (from accept), a request is under way, it is idle, or a
//! further head has begun. Beside that, a client that takes none of what is written to it is out of patience too.
//!
//! The surprising decision: nobody re-arms a timer when a phase changes. A look every so often is enough, because no deadline
//! is ever set nearer than the shortest of the time-outs.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

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

/// One connection's patience; shared by its I/O, its requests and its watcher.
#[derive(Clone)]
pub struct Patience(Arc<Shared>);

struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// What came since nothing was under way: a head, and perhaps some of what follows it.
    head: Vec<u8>,
    /// Since then the socket takes nothing.
    stuck_since: Option<Instant>,
    /// Since then a piece of a body waits for the client to ask for the next: in HTTP/2 a client need not fill the socket to
    /// take nothing.
    offered_since: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Until then a head must be complete.
    Head { until: Instant },
    /// So many requests are under way.
    Busy { requests: usize, is_h2: bool },
    /// Until then a new request must begin.
    Idle { until: Instant, is_h2: bool },
}

impl Patience {
    /// A connection that was accepted just now.
    pub fn new(limits: Limits) -> Self {
        let phase = Phase::Head { until: Instant::now() + limits.header };
        let state = State { phase, head: Vec::new(), stuck_since: None, offered_since: None };
        Self(Arc::new(Shared { limits, state: Mutex::new(state) }))
    }

    /// Ends when the connection has kept us waiting for too long.
    pub async fn lost(&self) {
        let limits = self.0.limits;
        let look = limits.header.min(limits.write).min(limits.idle);
        loop {
            let now = Instant::now();
            match self.deadline() {
                Some(deadline) if deadline <= now => return,
                deadline => tokio::time::sleep_until(deadline.unwrap_or(now + look).min(now + look)).await,
            }
        }
    }

    /// A head is complete; the request is under way until the guard is dropped. `look` sees the bytes of the head, unless
    /// another request was under way when they came.
    pub fn request<R>(&self, is_h2: bool, look: impl FnOnce(&[u8]) -> R) -> (UnderWay, R) {
        let mut state = self.state();
        let requests = if let Phase::Busy { requests, .. } = state.phase { requests } else { 0 };
        state.phase = Phase::Busy { requests: requests + 1, is_h2 };
        let seen = look(&state.head);
        state.head.clear();
        drop(state);
        (UnderWay(self.clone()), seen)
    }

    fn ended(&self) {
        let mut state = self.state();
        if let Phase::Busy { requests, is_h2 } = state.phase {
            let until = Instant::now() + self.0.limits.idle;
            state.offered_since = None;
            state.phase =
                if requests > 1 { Phase::Busy { requests: requests - 1, is_h2 } } else { Phase::Idle { until, is_h2 } };
        }
    }

    /// Bytes came: on an idle connection, the beginning of a head (HTTP/2 has pings and settings, too).
    fn came(&self, bytes: &[u8]) {
        let mut state = self.state();
        if let Phase::Idle { is_h2: false, .. } = state.phase {
            state.phase = Phase::Head { until: Instant::now() + self.0.limits.header };
        }
        if let Phase::Head { .. } = state.phase {
            let room = MAX_SEEN.saturating_sub(state.head.len()).min(bytes.len());
            state.head.extend_from_slice(&bytes[..room]);
        }
    }

    fn wrote(&self, is_stuck: bool) {
        let now = Instant::now();
        let mut state = self.state();
        if is_stuck {
            state.stuck_since.get_or_insert(now);
            return;
        }
        state.stuck_since = None;
        state.offered_since = state.offered_since.map(|_| now);
        if let Phase::Idle { until, .. } = &mut state.phase {
            *until = now + self.0.limits.idle; // the end of an answer may take longer than its body lives
        }
    }

    /// A body gave its next piece, or has none ready and waits for somebody else.
    fn offered(&self, has_piece: bool) {
        self.state().offered_since = has_piece.then(Instant::now);
    }

    fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        let of_phase = match state.phase {
            Phase::Head { until } | Phase::Idle { until, .. } => Some(until),
            Phase::Busy { .. } => None,
        };
        let of_writing =
            state.stuck_since.into_iter().chain(state.offered_since).map(|since| since + self.0.limits.write);
        of_phase.into_iter().chain(of_writing).min()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way on a connection.
pub struct UnderWay(Patience);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended();
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

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.under_way.0.offered(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells the connection's patience what it does.
pub struct Timed<T> {
    stream: T,
    patience: Patience,
}

impl<T> Timed<T> {
    /// This stream, under this patience.
    pub fn new(stream: T, patience: Patience) -> Self {
        Self { stream, patience }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() && buf.filled().len() > before {
            self.patience.came(&buf.filled()[before..]);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patience.wrote(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patience.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// More of a head than this is not kept for a second look; such a chunked request is refused.
const MAX_SEEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    const LIMITS: Limits =
        Limits { header: Duration::from_secs(10), write: Duration::from_secs(30), idle: Duration::from_secs(75) };

    fn begin(patience: &Patience, is_h2: bool) -> UnderWay {
        patience.request(is_h2, |_| ()).0
    }

    async fn is_lost_within(patience: &Patience, seconds: u64) -> bool {
        timeout(Duration::from_secs(seconds), patience.lost()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_lost_after_the_head_time() {
        assert!(is_lost_within(&Patience::new(LIMITS), 11).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_as_long_as_it_likes() {
        let patience = Patience::new(LIMITS);
        let _under_way = begin(&patience, false);
        assert!(!is_lost_within(&patience, 1000).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_lives_longer_than_a_head_may_take() {
        let patience = Patience::new(LIMITS);
        drop(begin(&patience, false));
        assert!(!is_lost_within(&patience, 74).await);
        assert!(is_lost_within(&patience, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_head_counts_from_its_first_byte() {
        let (mut client, server) = tokio::io::duplex(64);
        let patience = Patience::new(LIMITS);
        let mut server = Timed::new(server, patience.clone());
        drop(begin(&patience, false));
        tokio::time::sleep(Duration::from_secs(60)).await;
        client.write_all(b"G").await.expect("a pipe");
        server.read_u8().await.expect("a pipe");
        assert!(!is_lost_within(&patience, 9).await);
        assert!(is_lost_within(&patience, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn two_requests_on_one_connection_are_both_waited_for() {
        let patience = Patience::new(LIMITS);
        let (first, second) = (begin(&patience, true), begin(&patience, true));
        drop(first);
        assert!(!is_lost_within(&patience, 1000).await);
        drop(second);
        assert!(is_lost_within(&patience, 76).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_lost() {
        let (_client, server) = tokio::io::duplex(4);
        let patience = Patience::new(LIMITS);
        let mut server = Timed::new(server, patience.clone());
        let _under_way = begin(&patience, false);
        let writing = server.write_all(b"more than fits");
        let (lost, _) = tokio::join!(is_lost_within(&patience, 31), timeout(Duration::from_secs(31), writing));
        assert!(lost);
    }
}

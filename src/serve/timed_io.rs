//! A connection's bytes on their way, with its patience looking on.
//!
//! Passes everything through unchanged and unbuffered, vectored writes included. Its one act of its own: when the HTTP library
//! closes the connection, what the client is still sending is read and dropped for a moment, because closing a socket with
//! unread bytes in it resets the connection, and the client would never see why it was refused.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::listener::Stream;
use super::patience::Patience;

/// A stream that tells the connection's patience what it does.
pub struct TimedIo {
    stream: Stream,
    patience: Patience,
    is_flushing: bool,
    is_shut: bool,
}

impl TimedIo {
    /// This stream, under this patience.
    pub fn new(stream: Stream, patience: Patience) -> Self {
        Self { stream, patience, is_flushing: false, is_shut: false }
    }

    fn note<T>(&self, polled: &Poll<io::Result<T>>) {
        match polled {
            Poll::Ready(_) => self.patience.took(),
            Poll::Pending => self.patience.blocked(),
        }
    }

    /// Reads and drops until the client hangs up, or has nothing more to say and was not cut short.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [MaybeUninit::uninit(); SCRATCH];
        loop {
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Pending if self.patience.is_mid_request() => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for TimedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.patience.came(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// A stream that encrypts may hold bytes back until here. The HTTP library flushes at every turn, so that only a flush
    /// that could not be done at once is worth a note.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if polled.is_pending() || self.is_flushing {
            self.note(&polled);
        }
        self.is_flushing = polled.is_pending();
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            self.patience.shut();
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        self.poll_linger(cx).map(Ok)
    }
}

impl Drop for TimedIo {
    fn drop(&mut self) {
        if self.patience.is_given_up() {
            self.stream.forget_unsent();
        }
    }
}

const SCRATCH: usize = 4096;

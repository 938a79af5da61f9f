//! A TCP connection that sends kept pages without copying them.
//!
//! What lies in pages of its own (see `pages`) is handed to a pipe by reference and moved from there to the socket; copying
//! it into the socket's buffers is most of the work of a hit on an image. Everything else is written as ever.
//!
//! The surprising decision: a pipe never holds anything between two calls. A thread has one pipe for all its connections, and
//! whatever the socket would not take is thrown away together with the pipe and handed over again when there is room: what
//! was meant for one client cannot reach another, because it is nowhere.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{SendFlags, sendmsg};
use rustix::pipe::{
    IoSliceRaw, PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice, vmsplice,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::listener::Connection;
use crate::pages;

/// The connection.
pub struct Splicing(pub TcpStream);

impl Splicing {
    /// Does it once the socket has room, and again when it was mistaken about that.
    fn poll_io(&self, cx: &mut Context<'_>, act: impl Fn() -> Result<usize, Errno>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_io(Interest::WRITABLE, || Ok(act()?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// These pages, or as much of them as there is room for. Where that cannot be done they are written.
    fn poll_pages(&mut self, cx: &mut Context<'_>, pages: &[u8], has_more: bool) -> Poll<io::Result<usize>> {
        match ready!(self.poll_io(cx, || hand_over(pages, &self.0, has_more))) {
            Ok(sent) => Poll::Ready(Ok(sent)),
            Err(_) => Pin::new(&mut self.0).poll_write(cx, pages),
        }
    }
}

impl AsyncRead for Splicing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Splicing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    /// Of a mixture of pages and others, those of one kind that come first; whoever writes comes back for the rest.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs.iter().position(|buf| pages::are_kept(buf)) {
            None if bufs.len() == 1 => Pin::new(&mut self.0).poll_write(cx, &bufs[0]), // the cheaper system call
            None => Pin::new(&mut self.0).poll_write_vectored(cx, bufs),
            Some(0) => self.poll_pages(cx, &bufs[0], bufs.len() > 1),
            Some(others) => self.poll_io(cx, || {
                sendmsg(&self.0, &bufs[..others], &mut Default::default(), SendFlags::MORE | SendFlags::NOSIGNAL)
            }),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Connection for Splicing {
    fn forget_unsent(&self) {
        self.0.forget_unsent();
    }
}

/// Hands kept pages to the socket; how many bytes it took. Only the socket may say that there is no room.
fn hand_over(pages: &[u8], socket: &TcpStream, has_more: bool) -> Result<usize, Errno> {
    let pipe = PIPE.take().map_or_else(Pipe::new, Ok).map_err(|_| Errno::NOBUFS)?;
    let loaded = pipe.load(pages).map_err(|_| Errno::NOBUFS)?;
    let more = if has_more || loaded < pages.len() { SpliceFlags::MORE } else { SpliceFlags::empty() };
    let sent = splice(&pipe.out, None, socket, None, loaded, SpliceFlags::NONBLOCK | more)?;
    if sent == loaded {
        PIPE.set(Some(pipe));
    }
    Ok(sent)
}

/// An empty pipe.
struct Pipe {
    into: OwnedFd,
    out: OwnedFd,
}

impl Pipe {
    fn new() -> Result<Self, Errno> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity = fcntl_setpipe_size(&into, CAPACITY).or_else(|_| fcntl_getpipe_size(&into))?;
        if capacity < MIN_CAPACITY { Err(Errno::NOBUFS) } else { Ok(Self { into, out }) }
    }

    /// References to as many of these kept pages as fit; how many bytes that is.
    #[expect(unsafe_code, reason = "the kernel goes on reading after the call, which no borrow can express")]
    fn load(&self, pages: &[u8]) -> Result<usize, Errno> {
        debug_assert!(pages::are_kept(pages));
        // SAFETY: the pipe's writing end, so that the memory is only read. It never changes, and what the kernel has
        // references to outlives its mapping here: see `pages`.
        unsafe { vmsplice(&self.into, &[IoSliceRaw::from_slice(pages)], SpliceFlags::NONBLOCK) }
    }
}

thread_local! {
    static PIPE: Cell<Option<Pipe>> = const { Cell::new(None) };
}

/// Bytes that go through a pipe at once. Measured with 500 KB images against 256 KiB and 1 MiB: a twentieth more than the one,
/// as much as the other. The kernel lets an ordinary user have 128 of these.
const CAPACITY: usize = 512 * 1024;

/// A user who has more is given smaller ones. The usual size is still faster than copying; the least there is would not be.
const MIN_CAPACITY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpSocket;

    async fn pair() -> (Splicing, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap(); // far less than a pipe holds
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Splicing(server.unwrap().0), client.unwrap())
    }

    async fn write(connection: &mut Splicing, bufs: &[&[u8]]) -> io::Result<usize> {
        let bufs: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        poll_fn(|cx| Pin::new(&mut *connection).poll_write_vectored(cx, &bufs)).await
    }

    fn has_pipe() -> bool {
        let pipe = PIPE.take();
        let is_there = pipe.is_some();
        PIPE.set(pipe);
        is_there
    }

    #[tokio::test]
    async fn what_lies_before_pages_is_written_and_they_are_handed_over() {
        let (mut connection, mut client) = pair().await;
        let kept = pages::keep(vec![7; 50_000].into());
        assert_eq!(write(&mut connection, &[b"head", b"frame", &kept, b"end"]).await.unwrap(), 9);
        assert!(!has_pipe(), "nothing went through a pipe yet");
        assert_eq!(write(&mut connection, &[&kept, b"end"]).await.unwrap(), 50_000);
        assert!(has_pipe(), "it did, and the pipe is empty again");
        assert_eq!(write(&mut connection, &[b"end"]).await.unwrap(), 3);
        drop(connection);
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert!(all == [b"headframe", &kept[..], b"end"].concat());
    }

    #[tokio::test]
    async fn a_pipe_that_was_not_emptied_is_never_used_again() {
        let (mut slow, mut client) = pair().await;
        let (first, second) = (pages::keep(vec![1; CAPACITY].into()), pages::keep(vec![2; 50_000].into()));
        let sent = write(&mut slow, &[&first]).await.unwrap();
        assert!(sent < first.len(), "the socket took less than was handed over");
        assert!(!has_pipe());

        let (mut other, mut reader) = pair().await;
        assert_eq!(write(&mut other, &[&second]).await.unwrap(), 50_000);
        drop((slow, other));
        let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
        client.read_to_end(&mut of_first).await.unwrap();
        reader.read_to_end(&mut of_second).await.unwrap();
        assert!(of_first == first[..sent] && of_second == second);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_says_so_itself() {
        let (mut connection, _client) = pair().await;
        poll_fn(|cx| Pin::new(&mut connection).poll_shutdown(cx)).await.unwrap();
        let kept = pages::keep(vec![7; 50_000].into());
        assert_eq!(write(&mut connection, &[&kept]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(!has_pipe());
    }
}

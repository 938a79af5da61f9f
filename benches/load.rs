//! A load generator that costs less than what it measures: keep-alive connections on one thread, bodies read and dropped.
//!
//! Without `--rate` every connection asks as soon as it is answered. With it requests are due at fixed times, and latency counts
//! from when a request was due, so that a server that stalls is charged for everybody who had to wait. Nothing here sleeps: it
//! has a core of its own.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    port: u16,
    /// `%012d` in it stands for a number: `path:FIRST` counts up from there, `path:FIRST:COUNT` goes round
    #[arg(long)]
    path: String,
    #[arg(long)]
    seconds: f64,
    #[arg(long)]
    connections: u64,
    /// The only status that is right
    #[arg(long)]
    status: u16,
    /// The only length of a body that is right
    #[arg(long)]
    length: usize,
    #[arg(long)]
    header: Vec<String>,
    /// Requests a second, at fixed times
    #[arg(long)]
    rate: Option<f64>,
    /// KiB that are read at once
    #[arg(long, default_value_t = 64)]
    buffer: usize,
    /// How many in all; else as many as the time allows
    #[arg(long)]
    requests: Option<u64>,
}

/// What all connections share.
struct Run {
    args: Args,
    began: Instant,
    begun: Cell<u64>,
    latencies: RefCell<Vec<f32>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args::parse();
    let run = Rc::new(Run { args, began: Instant::now(), begun: Cell::new(0), latencies: RefCell::default() });
    let local = tokio::task::LocalSet::new();
    let clients: Vec<_> = (0..run.args.connections).map(|_| local.spawn_local(run.clone().client())).collect();
    local.await;
    for client in clients {
        if let Err(wrong) = client.await.expect("no panic") {
            eprintln!("{wrong}");
            std::process::exit(1);
        }
    }
    let took = run.began.elapsed().as_secs_f64();
    let mut latencies = run.latencies.take();
    latencies.sort_by(f32::total_cmp);
    let at = |share: f64| latencies.get(((latencies.len() as f64 * share) as usize).min(latencies.len() - 1));
    let (p50, p99) = (at(0.5).copied().unwrap_or_default(), at(0.99).copied().unwrap_or_default());
    let (requests, rate) = (latencies.len(), latencies.len() as f64 / took);
    println!("{{\"requests\":{requests},\"rate\":{rate},\"p50\":{p50},\"p99\":{p99}}}");
}

impl Run {
    async fn client(self: Rc<Self>) -> io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.args.port)).await?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; self.args.buffer * 1024];
        while let Some((number, due)) = self.next().await {
            stream.write_all(self.request(number).as_bytes()).await?;
            self.answer(&mut stream, &mut buffer).await?;
            self.latencies.borrow_mut().push(due.elapsed().as_secs_f32());
        }
        Ok(())
    }

    /// The number of the next request and when it is due; `None` when there is none.
    async fn next(&self) -> Option<(u64, Instant)> {
        let number = self.begun.get();
        let end = self.began + Duration::from_secs_f64(self.args.seconds);
        if self.args.requests.is_some_and(|requests| number >= requests) || Instant::now() >= end {
            return None;
        }
        self.begun.set(number + 1);
        let Some(rate) = self.args.rate else { return Some((number, Instant::now())) };
        let due = self.began + Duration::from_secs_f64(number as f64 / rate);
        // The runtime's timers are as coarse as a millisecond, which is longer than most answers take.
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        Some((number, due))
    }

    fn request(&self, number: u64) -> String {
        let mut path = self.args.path.clone();
        if let Some((pattern, numbers)) = self.args.path.split_once(':') {
            let (first, count) = numbers.split_once(':').unwrap_or((numbers, ""));
            let first: u64 = first.parse().expect("a number");
            let number = count.parse::<u64>().map_or(number, |count| number % count);
            path = pattern.replace("%012d", &format!("{:012}", first + number));
        }
        let headers: String = self.args.header.iter().map(|header| format!("{header}\r\n")).collect();
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
    }

    async fn answer(&self, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        let head = loop {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
            filled += read;
            if let Some(end) = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let status: u16 = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let length = if status == 304 { 0 } else { length.unwrap_or(0) };
        if (status, length) != (self.args.status, self.args.length) {
            return Err(io::Error::other(format!("status {status} and {length} bytes")));
        }
        let mut left = (head + length).saturating_sub(filled);
        while left > 0 {
            let most = left.min(buffer.len());
            let read = stream.read(&mut buffer[..most]).await?;
            if read == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
            left -= read;
        }
        Ok(())
    }
}

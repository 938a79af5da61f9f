//! How often memory is asked for while a hit is answered: a count, which no machine makes slower.
//!
//! The whole process is counted: the HTTP library, our own work and the log, which is at `warn` as in the comparison. The
//! client asks over a socket with buffers of its own.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use otk_gateway::app::App;
use otk_gateway::clock::Clock;
use otk_gateway::config;
use otk_gateway::sandbox::{demo, token};
use otk_gateway::{serve, shutdown};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Asks and reads the answer to its end; allocates nothing.
fn ask(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) {
    stream.write_all(request).expect("written");
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).expect("read");
        assert!(read > 0, "the connection ended");
        filled += read;
        let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if filled >= end + 4 + length.unwrap_or(0) {
            return;
        }
    }
}

#[test]
fn a_hit_asks_for_memory_less_than_ten_times() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (stop, drain) = shutdown::drain();
    let _entered = runtime.enter();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let sandbox = demo::serve(&serve::Address::Localhost(port), None, drain).expect("a sandbox");
    runtime.spawn(sandbox);
    let text = demo::configuration(8080)
        .replace("localhost:8080", "127.0.0.1:0")
        .replace("localhost:8081", "127.0.0.1:0")
        .replace("localhost:8082", &format!("localhost:{port}"));
    let text = format!("cache.max_exposure = \"1h\"\n{text}");
    let loaded = config::parse(&text, &demo::surroundings()).unwrap_or_else(|refused| panic!("{refused:?}"));
    let app = App::new(&loaded.config, Arc::new(Clock::system()), None, None).expect("an address");
    let address = app.data_addresses()[0];
    runtime.spawn(app.run(std::future::pending));

    let path = format!("/otk-service/v1/certificates/{}", token(1));
    let mut stream = TcpStream::connect(address).expect("listening");
    let mut buffer = vec![0; 2 << 20];
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n").into_bytes();
    let image = request(&format!("{path}/image"), "");
    ask(&mut stream, &image, &mut buffer);
    let head = String::from_utf8_lossy(&buffer[..2048]).into_owned();
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an ETag");
    let not_modified = request(&format!("{path}/image"), &format!("if-none-match: {etag}\r\n"));
    let json = request(&path, "");
    for (what, request) in [("image", image), ("304", not_modified), ("json", json)] {
        for _ in 0..8 {
            ask(&mut stream, &request, &mut buffer);
        }
        const ROUNDS: usize = 64;
        let region = Region::new(GLOBAL);
        for _ in 0..ROUNDS {
            ask(&mut stream, &request, &mut buffer);
        }
        let change = region.change();
        let each = (change.allocations + change.reallocations) as f64 / ROUNDS as f64;
        println!("{what}: {each:.1} allocations");
        assert!(each < 10.0, "{what}: {each:.1} allocations");
    }
    stop.pull();
}

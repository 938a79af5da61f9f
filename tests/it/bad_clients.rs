//! Whatever a client sends: a clear error or a closed connection, and no call to the upstream.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

const CHUNKED_GET: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn started(more: &str) -> (Gateway, Played) {
    let clock = clock();
    let upstream = play(&clock).await;
    (gateway_at(&upstream.url, &upstream.key(), more, clock).await, upstream)
}

fn status_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or("")
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_refused_and_their_connection_closed() {
    let (gateway, upstream) = started("").await;
    let path = path(2);
    for (name, head) in [
        ("no Host", format!("GET {path} HTTP/1.1\r\n\r\n")),
        ("two Hosts", format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n")),
        (
            "two lengths",
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n"),
        ),
        (
            "length then chunks",
            format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{CHUNKED_GET}"
            ),
        ),
        (
            "chunked twice",
            format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, chunked\r\n\r\n{CHUNKED_GET}"
            ),
        ),
        (
            "chunked in two lines",
            format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{CHUNKED_GET}"
            ),
        ),
        (
            "another coding first",
            format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: deflate, chunked\r\n\r\n{CHUNKED_GET}"
            ),
        ),
        (
            "an empty coding",
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: ,chunked\r\n\r\n{CHUNKED_GET}"),
        ),
        (
            "a coding after chunked",
            format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, identity\r\n\r\n{CHUNKED_GET}"
            ),
        ),
        (
            "white space before the colon",
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding : chunked\r\n\r\n{CHUNKED_GET}"),
        ),
        ("a NUL in a value", format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n")),
        ("a folded line", format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n")),
        ("no HTTP", "\x16\x03\x01\x02\x00\x01\r\n\r\n".to_owned()),
        ("a version that is none", format!("GET {path} HTTP/9.9\r\nhost: localhost\r\n\r\n")),
    ] {
        let answer = raw(gateway.data, head.as_bytes()).await;
        assert!(answer.is_empty() || status_line(&answer).contains(" 400"), "{name}: {}", status_line(&answer));
        assert_eq!(answer.matches("HTTP/1.1 ").count().max(1), 1, "{name}: nothing behind it is answered");
    }
    let answer = raw(gateway.data, format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{CHUNKED_GET}").as_bytes()).await;
    assert_eq!(
        answer.matches("HTTP/1.1 ").count(),
        1,
        "chunks, then a length: read as chunked and the connection closed"
    );
    assert!(upstream.sandbox.calls(&token(2)) <= 1);
}

#[tokio::test]
async fn heads_and_bodies_beyond_the_caps_are_refused() {
    let (gateway, upstream) = started("").await;
    let head = format!("GET {} HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", path(2), "a".repeat(300_000));
    let answer = raw(gateway.data, head.as_bytes()).await;
    assert!(answer.is_empty() || status_line(&answer).contains(" 431"), "{}", status_line(&answer));
    let body = "x".repeat(65 * 1024);
    let refused = gateway.send("GET", &path(2), &[], &body).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "REQUEST-TOO-LARGE"));
    assert_eq!(gateway.send("GET", &path(2), &[], &body[..64 * 1024]).await.status, 200, "so much is read and dropped");
    let refused = gateway.send("POST", "/otk-service/v2/create-journey", &[], &"x".repeat((1 << 20) + 1)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "REQUEST-TOO-LARGE"));
    assert_eq!(upstream.sandbox.calls(&token(2)), 1);
}

#[tokio::test]
async fn paths_and_methods_that_are_none_of_ours_cost_no_call() {
    let (gateway, _upstream) = started("").await;
    let base = "/otk-service/v1/certificates";
    for (method, path, status, code) in [
        ("GET", format!("{base}/nonsense"), 400, "INVALID-JOURNEY-TOKEN"),
        ("GET", format!("{base}/00000000-0000-1000-8000-000000000001"), 400, "INVALID-JOURNEY-TOKEN"),
        ("GET", format!("{base}/{}?x=1", token(1)), 400, "INVALID-REQUEST"),
        ("POST", format!("{base}/{}", token(1)), 405, "METHOD-NOT-ALLOWED"),
        ("GET", "/".to_owned(), 403, "ROUTE-NOT-ALLOWED"),
        ("GET", "/otk-service/customer-details/x".to_owned(), 403, "ROUTE-NOT-ALLOWED"),
        ("GET", "/otk-service/v2/journey-details/%2e%2e".to_owned(), 400, "INVALID-REQUEST"),
        ("GET", "/otk-service//v2/create-journey".to_owned(), 400, "INVALID-REQUEST"),
        ("GET", "/otk-service/v2/create-journey;x".to_owned(), 400, "INVALID-REQUEST"),
        ("GET", "/otk-service/v2/create-journey".to_owned(), 405, "METHOD-NOT-ALLOWED"),
    ] {
        let refused = gateway.ask(method, &path, &[]).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(refused.headers.contains_key("allow"), status == 405);
    }
    assert_eq!(gateway.metric("otk_gateway_upstream_requests_total{outcome=\"ok\"}").await, 0.0);
}

#[tokio::test]
async fn foreign_hosts_and_foreign_pages_are_refused() {
    let (gateway, _upstream) = started("listen.allowed_origins = [\"https://app.example\"]").await;
    let path = path(2);
    for (headers, status, code) in [
        (vec![("host", "localhost:1234")], 200, ""),
        (vec![("host", "[::1]:80")], 200, ""),
        (vec![("host", "evil.example")], 421, "HOST-NOT-ALLOWED"),
        (vec![("origin", "https://evil.example")], 403, "CROSS-SITE"),
        (vec![("origin", "null")], 403, "CROSS-SITE"),
        (vec![("sec-fetch-site", "cross-site")], 403, "CROSS-SITE"),
        (vec![("origin", "https://app.example"), ("sec-fetch-site", "cross-site")], 200, ""),
        (vec![("origin", "http://localhost:3000")], 200, ""),
        (vec![("sec-fetch-site", "same-origin")], 200, ""),
    ] {
        let reply = gateway.ask("GET", &path, &headers).await;
        assert_eq!(reply.status, status, "{headers:?}");
        if !code.is_empty() {
            assert_eq!(reply.code(), code, "{headers:?}");
        }
    }
    assert!(gateway.ask("GET", &path, &[("host", "evil.example")]).await.text().contains("listen.allowed_hosts"));
    let absolute = format!("GET http://evil.example{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(!status_line(&raw(gateway.data, absolute.as_bytes()).await).contains(" 200"));
    let absolute = format!("GET http://localhost{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(status_line(&raw(gateway.data, absolute.as_bytes()).await).contains(" 200"));
}

#[tokio::test]
async fn clients_that_keep_us_waiting_are_cut_off() {
    let (gateway, _upstream) =
        started("listen.header_timeout = \"200ms\"\nlisten.idle_timeout = \"300ms\"\nlisten.write_timeout = \"300ms\"")
            .await;
    for begun in ["", "GET / HTTP/1.1\r\nhost: local"] {
        assert!(raw(gateway.data, begun.as_bytes()).await.is_empty(), "silent or slow: closed");
    }
    let idle = raw(gateway.data, format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", path(2)).as_bytes()).await;
    assert!(status_line(&idle).contains(" 200"), "answered, then closed for being idle");

    // Takes nothing of 30 images: the gateway ends it, and what could not be written is not waited for.
    let mut stream = TcpStream::connect(gateway.data).await.expect("listening");
    let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", image_path(1));
    stream.write_all(request.repeat(30).as_bytes()).await.expect("written");
    eventually("cut off", async || gateway.metric("otk_gateway_connections{listener=\"data\"}").await == 0.0).await;
    let mut taken = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut taken)).await.expect("closed");
    assert!(taken.len() < 30 * 500_000);
}

#[tokio::test]
async fn at_the_cap_of_connections_accepting_pauses_and_goes_on() {
    let (gateway, _upstream) = started("listen.max_connections = 1").await;
    let mut first = TcpStream::connect(gateway.data).await.expect("listening");
    first.write_all(b"GET ").await.expect("written");
    eventually("taken", async || gateway.metric("otk_gateway_connections{listener=\"data\"}").await == 1.0).await;
    let address = gateway.data;
    let second = tokio::spawn(async move { ask(address, "GET", &path(2), &[], "").await });
    drop(first);
    assert_eq!(second.await.expect("answered").status, 200);
}

#[tokio::test]
async fn an_http2_client_that_never_opens_its_window_is_cut_off() {
    let (gateway, _upstream) = started("listen.write_timeout = \"300ms\"").await;
    let stream = TcpStream::connect(gateway.data).await.expect("listening");
    let mut builder = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    builder.initial_stream_window_size(1);
    let (mut sender, connection) = builder.handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let uri = format!("http://localhost{}", path(1));
    let request = http::Request::get(uri).body(http_body_util::Empty::<bytes::Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.expect("a head");
    eventually("cut off", async || gateway.metric("otk_gateway_connections{listener=\"data\"}").await == 0.0).await;
    drop(response);
}

//! Traces that begin elsewhere go on here, and reach a collector if there is one.

use std::sync::{Arc, Mutex};

use httpmock::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::authority::{NOON, answer, public_key, sign};
use crate::support::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CERTIFICATE: &str = "/otk-service/v1/certificates/0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b";

/// A collector that keeps what it is sent, as it came.
async fn collector() -> (String, Arc<Mutex<Vec<(String, Value)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let keep = keep.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let Ok(read @ 1..) = stream.read_buf(&mut bytes).await else { return };
                    let _ = read;
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(':')?;
                        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                    });
                    if body.len() < length.unwrap_or_default() {
                        continue;
                    }
                    let asked = head.lines().next().unwrap_or_default().to_owned();
                    keep.lock().expect("no panic").push((asked, serde_json::from_str(body).expect("JSON")));
                    bytes.clear();
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
                }
            });
        }
    });
    (url, kept)
}

#[tokio::test]
async fn a_trace_goes_on_upstream_and_to_the_collector() {
    let upstream = MockServer::start_async().await;
    let continued = upstream
        .mock_async(|when, then| {
            when.path(CERTIFICATE).header_matches("traceparent", format!("^00-{TRACE}-[0-9a-f]{{16}}-01$"));
            then.status(200).body(sign(answer("ACTIVE", NOON)));
        })
        .await;
    let passed = upstream
        .mock_async(|when, then| {
            when.path("/otk-service/v1/residents/stale")
                .header_matches("traceparent", format!("^00-{TRACE}-[0-9a-f]{{16}}-01$"));
            then.status(200).body("{}");
        })
        .await;
    let (url, kept) = collector().await;
    let more = format!("telemetry.otlp_endpoint = \"{url}/prefix\"");
    let mut gateway = gateway(&upstream.base_url(), &public_key(), &more).await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [("traceparent", parent.as_str())];
    assert_eq!(gateway.ask("GET", CERTIFICATE, &headers).await.status, 200);
    assert_eq!(gateway.ask("GET", "/otk-service/v1/residents/stale", &headers).await.status, 200);
    assert_eq!((continued.calls_async().await, passed.calls_async().await), (1, 1));
    let unsampled = format!("00-{TRACE}-00f067aa0ba902b7-00");
    gateway.ask("GET", "/otk-service/v1/residents/stale", &[("traceparent", unsampled.as_str())]).await;
    gateway.get("/elsewhere").await;
    gateway.stop();
    gateway.ended().await;

    let kept = kept.lock().unwrap().clone();
    assert!(kept.iter().all(|(asked, _)| asked == "POST /prefix/v1/traces HTTP/1.1"), "{kept:?}");
    let spans: Vec<_> = kept
        .iter()
        .flat_map(|(_, body)| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans").clone())
        .collect();
    assert_eq!(spans.len(), 3, "what is not sampled is not sent");
    let first = &spans[0];
    assert_eq!((&first["traceId"], &first["parentSpanId"]), (&TRACE.into(), &"00f067aa0ba902b7".into()));
    assert_eq!((&first["name"], &first["kind"]), (&"GET certificate".into(), &2.into()));
    let attribute = |span: &Value, key: &str| {
        let attributes = span["attributes"].as_array().expect("a list").clone();
        attributes.into_iter().find(|one| one["key"] == key).map(|one| one["value"].clone()).unwrap_or_default()
    };
    assert_eq!(attribute(first, "http.response.status_code")["intValue"], "200");
    assert_eq!(attribute(first, "otk_gateway.cache")["stringValue"], "miss");
    let last = &spans[2];
    assert_ne!(last["traceId"], TRACE);
    assert_eq!(attribute(last, "error.type")["stringValue"], "route-not-allowed");
    assert!(!format!("{kept:?}").contains("0b7a9f52"), "no token");
}

#[tokio::test]
async fn a_collector_that_is_not_there_holds_nobody_up() {
    let upstream = MockServer::start_async().await;
    let more = "telemetry.otlp_endpoint = \"http://127.0.0.1:9\"";
    let gateway = gateway(&upstream.base_url(), &public_key(), more).await;
    assert_eq!(gateway.get("/elsewhere").await.status, 403);
    eventually("the span is given up", async || gateway.metric("otk_gateway_spans_dropped_total").await == 1.0).await;
}

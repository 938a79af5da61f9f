//! An upstream that is not there is left alone for a while, and then asked once.

use std::time::Duration;

use httpmock::prelude::*;

use crate::support::authority::{NOON, answer, public_key, sign};
use crate::support::*;

const FAST: &str = "upstream.circuit_failures = 4\nupstream.circuit_open = \"300ms\"\nupstream.retries = 0\n\
                    upstream.requests_per_second = 1000";

fn journey(number: u8) -> String {
    format!("/otk-service/v1/certificates/0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f{number:04x}")
}

#[tokio::test]
async fn outages_of_two_journeys_open_the_circuit_and_a_probe_closes_it() {
    let upstream = MockServer::start_async().await;
    let failing = upstream.mock_async(|when, then| drop((when.any_request(), then.status(500).body("x")))).await;
    let gateway = gateway(&upstream.base_url(), &public_key(), FAST).await;
    for number in [1, 1, 1, 2] {
        assert_eq!(gateway.get(&journey(number)).await.code(), "UPSTREAM-ERROR");
    }
    let refused = gateway.get(&journey(3)).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "UPSTREAM-SUSPENDED"));
    assert_eq!((refused.header("retry-after"), failing.calls_async().await), ("1", 4));
    assert_eq!(gateway.metric("otk_gateway_circuit_open").await, 1.0);
    assert_eq!(gateway.admin("GET", "/status", "").await.json()["upstream"]["circuit"], "open");
    let passthrough = gateway.get("/otk-service/v1/residents/stale").await;
    assert_eq!(passthrough.code(), "UPSTREAM-SUSPENDED");

    failing.delete_async().await;
    upstream.mock_async(|when, then| drop((when.any_request(), then.status(404).body("{}")))).await;
    eventually("the probe", async || gateway.get(&journey(3)).await.status == 404).await;
    assert_eq!(gateway.metric("otk_gateway_circuit_open").await, 0.0);
    assert_eq!(gateway.get(&journey(4)).await.status, 404);
}

#[tokio::test]
async fn what_is_held_is_served_while_the_circuit_is_open() {
    let upstream = MockServer::start_async().await;
    upstream
        .mock_async(|when, then| {
            when.path(journey(9));
            then.status(200).body(sign(answer("ACTIVE", NOON)));
        })
        .await;
    let gateway = gateway(&upstream.base_url(), &public_key(), FAST).await;
    assert_eq!(gateway.get(&journey(9)).await.status, 200);
    upstream.mock_async(|when, then| drop((when.any_request(), then.status(500).body("x")))).await;
    for number in [1, 2, 1, 2] {
        gateway.get(&journey(number)).await;
    }
    assert_eq!(gateway.get(&journey(1)).await.code(), "UPSTREAM-SUSPENDED");
    assert_eq!(gateway.get(&journey(9)).await.status, 200);
}

#[tokio::test]
async fn refusals_and_forgeries_are_no_outages() {
    let upstream = MockServer::start_async().await;
    let gateway = gateway(&upstream.base_url(), &public_key(), FAST).await;
    for (status, body) in [(400, "{}"), (401, "{}"), (403, "<html>"), (404, "{}"), (200, "{\"signature\":\"00\"}")] {
        let answer = upstream.mock_async(|when, then| drop((when.any_request(), then.status(status).body(body)))).await;
        for number in 0..12 {
            let reply = gateway.get(&journey(number % 3)).await;
            assert_ne!(reply.status, 503, "{status} {body}");
        }
        answer.delete_async().await;
        gateway.pass(Duration::from_secs(10));
    }
    assert_eq!(gateway.metric("otk_gateway_circuit_open").await, 0.0);
}

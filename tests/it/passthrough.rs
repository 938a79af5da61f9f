//! The upstream's other calls: handed on with our key, handed back clean.

use httpmock::MockServer;
use serde_json::json;

use crate::support::authority::{self, API_KEY, http, sign};
use crate::support::*;

const CREATE: &str = "/otk-service/v2/create-journey";

fn listed(signature: &str) -> String {
    format!("[[passthrough]]\nmethod = \"POST\"\npath = \"{CREATE}\"\nsignature = \"{signature}\"")
}

#[tokio::test]
async fn headers_are_cleaned_in_both_directions() {
    let server = MockServer::start_async().await;
    let mock = server
        .mock_async(|when, then| {
            let mut when = when
                .method("POST")
                .path(CREATE)
                .header("x-transaction-key", API_KEY)
                .header("x-kept", "yes")
                .body("{\"a\":1}")
                .header_exists("via");
            for gone in [
                "authorization",
                "cookie",
                "forwarded",
                "x-forwarded-for",
                "x-original-url",
                "x-http-method-override",
                "x-named",
                "te",
                "otk-gateway-status",
            ] {
                when = when.header_missing(gone);
            }
            drop(when);
            then.status(201)
                .header("set-cookie", "a=b")
                .header("otk-gateway-status", "ACTIVE")
                .header("x-own", "kept")
                .body("{}");
        })
        .await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
    let headers = [
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("forwarded", "for=1"),
        ("x-forwarded-for", "1"),
        ("x-original-url", "/"),
        ("x-http-method-override", "PUT"),
        ("connection", "x-named"),
        ("x-named", "1"),
        ("te", "trailers"),
        ("otk-gateway-status", "x"),
        ("x-transaction-key", "theirs"),
        ("x-kept", "yes"),
    ];
    let reply = gateway.send("POST", CREATE, &headers, "{\"a\":1}").await;
    assert_eq!((reply.status, reply.header("x-own"), reply.text().as_str()), (201, "kept", "{}"), "{}", reply.text());
    assert_eq!((reply.header("set-cookie"), reply.header("otk-gateway-status")), ("", ""));
    assert_eq!((reply.header("cache-control"), reply.header("cache-status")), ("no-store", "otk-gateway; fwd=bypass"));
    assert!(reply.header("via").ends_with("otk-gateway"));
    assert_eq!(mock.calls_async().await, 1);
}

#[tokio::test]
async fn signatures_are_observed_or_enforced_as_listed() {
    let valid = sign(json!({ "result": { "x": 1 } }));
    let invalid = valid.replace("\"x\":1", "\"x\":2");
    for (body, finding, enforced) in [
        (valid.as_str(), "valid", None),
        (&invalid, "invalid", Some("SIGNATURE-INVALID")),
        ("{\"signature\":\"\"}", "absent", Some("SIGNATURE-MISSING")),
        ("<html>", "absent", Some("SIGNATURE-MISSING")),
        ("", "absent", Some("SIGNATURE-MISSING")),
    ] {
        let url = authority::raw(http(200, body)).await;
        for mode in ["observe", "enforce", "off"] {
            let gateway = gateway(&url, &authority::public_key(), &listed(mode)).await;
            let reply = gateway.send("POST", CREATE, &[], "").await;
            match (mode, enforced) {
                ("enforce", Some(code)) => assert_eq!((reply.status, reply.code().as_str()), (502, code), "{body}"),
                ("off", _) => assert_eq!(
                    (reply.status, reply.header("otk-gateway-signature"), reply.text().as_str()),
                    (200, "", body)
                ),
                _ => assert_eq!(
                    (reply.status, reply.header("otk-gateway-signature"), reply.text().as_str()),
                    (200, finding, body)
                ),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_too_long_to_hold_streams_unchecked_or_is_refused() {
    let long = format!("\"{}\"", "x".repeat(100_000));
    let url = authority::raw(http(200, &long)).await;
    let small = "upstream.max_response = \"64KiB\"";
    let gateway_observing = gateway(&url, &authority::public_key(), &format!("{small}\n{}", listed("observe"))).await;
    let reply = gateway_observing.send("POST", CREATE, &[], "").await;
    assert_eq!((reply.status, reply.header("otk-gateway-signature"), reply.body.len()), (200, "unchecked", long.len()));
    let gateway = gateway(&url, &authority::public_key(), &format!("{small}\n{}", listed("enforce"))).await;
    assert_eq!(gateway.send("POST", CREATE, &[], "").await.code(), "UPSTREAM-TOO-LARGE");
}

#[tokio::test]
async fn a_certificate_never_takes_this_way() {
    let url = authority::raw(http(200, &sign(json!({ "data": { "certificate_base64": "x" } })))).await;
    let gateway = gateway(&url, &authority::public_key(), "").await;
    let refused = gateway.send("POST", CREATE, &[], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "UPSTREAM-MALFORMED"));
}

#[tokio::test]
async fn statuses_about_our_key_and_our_rate_become_ours() {
    for (status, answered, code) in
        [(401, 502, "UPSTREAM-REJECTED-KEY"), (403, 502, "UPSTREAM-FORBIDDEN"), (429, 503, "RATE-LIMITED")]
    {
        let url = authority::raw(http(status, "{}")).await;
        let gateway = gateway(&url, &authority::public_key(), "").await;
        let refused = gateway.send("POST", CREATE, &[], "").await;
        assert_eq!((refused.status, refused.code().as_str()), (answered, code));
    }
    let url = authority::raw(http(500, "{\"own\":1}")).await;
    let gateway = gateway(&url, &authority::public_key(), "").await;
    let passed = gateway.send("POST", CREATE, &[], "").await;
    assert_eq!((passed.status, passed.text().as_str()), (500, "{\"own\":1}"));
}

#[tokio::test]
async fn a_post_is_never_tried_again_and_an_early_end_is_seen() {
    let server = MockServer::start_async().await;
    let mock = server.mock_async(|_, then| drop(then.status(503))).await;
    let gateway_for_mock = gateway(&server.base_url(), &authority::public_key(), "").await;
    assert_eq!(gateway_for_mock.send("POST", CREATE, &[], "").await.status, 503);
    assert_eq!(mock.calls_async().await, 1);

    let cut = authority::raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let held = gateway(&cut, &authority::public_key(), "").await;
    assert_eq!(held.send("POST", CREATE, &[], "").await.code(), "UPSTREAM-UNREACHABLE");
    let streamed = gateway(&cut, &authority::public_key(), &listed("off")).await;
    let head = format!("POST {CREATE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    let seen = raw(streamed.data, head.as_bytes()).await;
    assert!(seen.contains(" 200") && seen.ends_with("half"), "the head was out, so the stream is cut: {seen}");
}

/// Of the body of a listed call every error of the library's was an early end; and `3, 3` as a length travelled on.
#[tokio::test]
async fn what_breaks_http_is_malformed_and_does_not_travel_on() {
    for broken in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc",
    ] {
        let gateway = gateway(&authority::raw(broken).await, &authority::public_key(), "").await;
        assert_eq!(gateway.send("POST", CREATE, &[], "").await.code(), "UPSTREAM-MALFORMED");
    }
}

/// Only a JSON object of one meaning was searched; a list, or what a lenient reader makes of a key twice, passed.
#[tokio::test]
async fn a_certificate_does_not_take_this_way_in_a_list_or_in_odd_json_either() {
    for (body, status) in [
        (r#"[{"certificate_base64":"x"}]"#, 502),
        (r#"[{"certificate\u005fbase64":"x"}]"#, 502),
        ("\u{feff}{\"certificate_base64\":\"x\"}", 502),
        (r#"{"certificate_base64":"x","a":1,"a":2}"#, 502),
        (r#"{"\u0063ertificate_base64":"x","a":1,"a":2}"#, 502),
        (r#"[{"certificate_base64":null}]"#, 200),
        (r#"["certificate_base64"]"#, 200),
    ] {
        let gateway = gateway(&authority::raw(http(200, body)).await, &authority::public_key(), "").await;
        let reply = gateway.send("POST", CREATE, &[], "").await;
        assert_eq!(reply.status, status, "{body}");
        assert!(status == 200 || reply.code() == "UPSTREAM-MALFORMED");
    }
}

/// The caller was told of our own rate instead of what the upstream had said.
#[tokio::test]
async fn what_the_upstream_said_passes_when_there_is_no_turn_to_try_again() {
    let url = authority::raw(http(502, "{\"own\":1}")).await;
    let more = "upstream.requests_per_second = 0.02\nupstream.queue_timeout = \"100ms\"";
    let gateway = gateway(&url, &authority::public_key(), more).await;
    let passed = gateway.get("/otk-service/v1/residents/stale").await;
    assert_eq!((passed.status, passed.text().as_str()), (502, "{\"own\":1}"));
}

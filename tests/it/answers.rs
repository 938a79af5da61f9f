//! What leaves, header by header.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use sha2::{Digest, Sha256};

use crate::support::authority::{self, NOON, answer, sign};
use crate::support::*;

#[tokio::test]
async fn an_image_says_all_about_itself() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    let image = gateway.get(&image_path(1)).await;
    let etag = gateway.get(&path(1)).await.json()["data"]["certificate_etag"].as_str().expect("an ETag").to_owned();
    assert!(image.body.starts_with(&[0xff, 0xd8, 0xff]));
    let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(&image.body)));
    for (name, value) in [
        ("content-type", "image/jpeg"),
        ("etag", &format!("\"{etag}\"")),
        ("repr-digest", &digest),
        ("cache-control", "private, no-cache"),
        ("age", "0"),
        ("otk-gateway-status", "ACTIVE"),
        ("x-content-type-options", "nosniff"),
        ("via", "1.1 otk-gateway"),
        ("cache-status", "otk-gateway; fwd=uri-miss; stored"),
        ("content-length", &image.body.len().to_string()),
        ("vary", ""),
        ("content-encoding", ""),
    ] {
        assert_eq!(image.header(name), value, "{name}");
    }
    gateway.pass(Duration::from_millis(7900));
    let later = gateway.get(&image_path(1)).await;
    assert_eq!((later.header("age"), later.header("cache-status")), ("7", "otk-gateway; hit; ttl=22"));

    let head = gateway.ask("HEAD", &image_path(1), &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "repr-digest", "etag", "content-type", "age"] {
        assert_eq!(head.header(name), later.header(name), "{name}");
    }
}

#[tokio::test]
async fn the_json_still_verifies_and_its_tag_follows_the_other_members() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "cache.refresh_ahead = false", clock).await;
    let json = gateway.get(&path(1)).await;
    let keys = otk_gateway::signature::Keys::parse([upstream.key()]).expect("a key");
    assert!(otk_gateway::signature::verify(&json.body, &keys).is_ok());
    let etag = json.json()["data"]["certificate_etag"].as_str().expect("an ETag").to_owned();
    let tag = json.header("etag").to_owned();
    let hex = tag.strip_prefix(&format!("W/\"{etag}.")).and_then(|rest| rest.strip_suffix('"')).expect("a weak tag");
    assert!(hex.len() == 8 && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(gateway.ask("GET", &path(1), &[("if-none-match", &tag)]).await.status, 304);
    gateway.pass(Duration::from_secs(31)); // the sandbox's last_updated follows its clock
    assert_ne!(gateway.get(&path(1)).await.header("etag"), tag);
}

#[tokio::test]
async fn if_none_match_is_answered_304_in_all_its_forms() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    let tag = gateway.get(&image_path(1)).await.header("etag").to_owned();
    for (value, status) in [
        (tag.as_str(), 304),
        ("*", 304),
        (&format!("W/{tag}"), 304),
        (&format!("\"a\", {tag}, W/\"b\""), 304),
        ("\"other\"", 200),
        (tag.trim_matches('"'), 200),
        (&format!("{tag} x"), 200),
        ("", 200),
    ] {
        assert_eq!(gateway.ask("GET", &image_path(1), &[("if-none-match", value)]).await.status, status, "{value}");
    }
    let held = gateway.ask("GET", &path(1), &[("if-none-match", &tag)]).await;
    assert_eq!((held.status, held.body.len()), (304, 0), "the plain ETag matches on the JSON too");
    for name in ["etag", "cache-control", "date", "age", "cache-status", "otk-gateway-status"] {
        assert!(held.headers.contains_key(name), "{name}");
    }
    upstream.change(&token(1), "revoke").await;
    gateway.pass(Duration::from_secs(31));
    assert_eq!(gateway.ask("GET", &image_path(1), &[("if-none-match", "*")]).await.status, 410, "a 304 is a release");
    assert!(gateway.metric("otk_gateway_releases_total{representation=\"not_modified\"}").await >= 5.0);
}

#[tokio::test]
async fn a_request_id_is_taken_over_unless_it_could_tell_something() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    let with =
        async |id: &str| gateway.ask("GET", &path(2), &[("x-request-id", id)]).await.header("x-request-id").to_owned();
    assert_eq!(with("order-7.A_b").await, "order-7.A_b");
    for hostile in [token(2).as_str(), "a b", &"x".repeat(65), "", "a;b"] {
        let given = with(hostile).await;
        assert!(!given.is_empty() && given != hostile, "{hostile}");
    }
}

#[tokio::test]
async fn not_found_is_upstreams_own_word_and_remembered_for_a_moment() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    for path in [path(11), image_path(11)] {
        let reply = gateway.get(&path).await;
        assert_eq!(
            (reply.status, reply.header("content-type"), reply.header("cache-control")),
            (404, "application/json", "no-store")
        );
        assert_eq!(reply.json()["errors"][0]["code"], "UAEKYC-ERR-JOURNEY-002");
    }
    assert_eq!(upstream.sandbox.calls(&token(11)), 1);
    gateway.ask("GET", &path(11), &[("cache-control", "no-cache")]).await;
    assert_eq!(upstream.sandbox.calls(&token(11)), 2);
    gateway.pass(Duration::from_secs(6));
    gateway.get(&path(11)).await;
    assert_eq!(upstream.sandbox.calls(&token(11)), 3);
    assert_eq!(gateway.metric("otk_gateway_cache_journeys").await, 0.0, "a 404 takes no mark");
}

#[tokio::test]
async fn http2_by_prior_knowledge_serves_the_same() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    let stream = tokio::net::TcpStream::connect(gateway.data).await.expect("listening");
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let uri = format!("http://localhost{}", image_path(1));
    let request = http::Request::get(uri).body(http_body_util::Empty::<bytes::Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!((response.status().as_u16(), response.headers()["via"].to_str().expect("text")), (200, "2 otk-gateway"));
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("whole").to_bytes();
    assert!(body.starts_with(&[0xff, 0xd8, 0xff]));
}

/// The time to live was told as if the upstream's own cache had held nothing.
#[tokio::test]
async fn the_time_to_live_is_shorter_by_the_upstreams_age() {
    for (code, ttl) in [("ACTIVE", 30 - 8), ("REVOKED", 300 - 8)] {
        let body = sign(answer(code, NOON));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nage: 8";
        let url = authority::raw(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        let gateway = gateway(&url, &authority::public_key(), "cache.refresh_ahead = false").await;
        gateway.get(&path(1)).await;
        let again = gateway.get(&path(1)).await;
        assert_eq!(again.header("cache-status"), format!("otk-gateway; hit; ttl={ttl}"));
        assert_eq!(again.header("age"), "0", "seconds since our own call");
    }
}

//! No image leaves after it was revoked, and nothing else is withheld.

use std::time::Duration;

use crate::support::authority::{self, NOON, answer, http, noon_plus, sign};
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_revocation_is_obeyed_at_the_latest_max_exposure_later() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "cache.refresh_ahead = false", clock).await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    upstream.change(&token(1), "revoke").await;

    gateway.pass(30 * SECOND);
    assert_eq!(gateway.get(&image_path(1)).await.status, 200, "within the exposure the gateway cannot know");
    gateway.pass(SECOND);
    let refused = gateway.get(&image_path(1)).await;
    assert_eq!((refused.status, refused.code().as_str()), (410, "CERTIFICATE-REVOKED"));
    assert_eq!(refused.header("otk-gateway-status"), "REVOKED");
    assert_eq!(upstream.sandbox.calls(&token(1)), 2);

    let told = gateway.get(&path(1)).await;
    assert_eq!((told.status, told.header("otk-gateway-status")), (200, "REVOKED"));
    assert!(told.holds_no_image());
    assert_eq!(told.header("cache-control"), "no-store");
    assert_eq!(told.header("cache-status"), "otk-gateway; hit; ttl=300");
    assert_eq!(upstream.sandbox.calls(&token(1)), 2, "REVOKED is remembered for withheld_ttl");
    gateway.pass(301 * SECOND);
    gateway.get(&path(1)).await;
    assert_eq!(upstream.sandbox.calls(&token(1)), 3);
}

#[tokio::test]
async fn no_cache_learns_of_a_revocation_at_once_and_its_relatives_ask_again() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    gateway.pass(SECOND);
    assert_eq!(gateway.get(&image_path(13)).await.status, 200);
    assert_eq!(gateway.get(&image_path(13)).await.header("cache-status"), "otk-gateway; hit; ttl=30");
    upstream.change(&token(1), "revoke").await;
    gateway.pass(SECOND);

    let refused = gateway.ask("GET", &image_path(1), &[("cache-control", "max-age=0, No-Cache")]).await;
    assert_eq!((refused.status, refused.code().as_str()), (410, "CERTIFICATE-REVOKED"));
    let relative = gateway.get(&image_path(13)).await;
    assert_eq!((relative.status, relative.header("cache-status")), (200, "otk-gateway; fwd=stale; stored"));
    assert_eq!(upstream.sandbox.calls(&token(13)), 2);
}

#[tokio::test]
async fn only_a_later_active_answer_lifts_a_revocation() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    upstream.change(&token(1), "revoke").await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 410);
    upstream.change(&token(1), "activate").await;
    let anew = [("cache-control", "no-cache")];
    let tie = gateway.ask("GET", &image_path(1), &anew).await;
    assert_eq!(
        (tie.status, tie.code().as_str()),
        (502, "RESPONSE-ROLLED-BACK"),
        "signed at the same time as the revocation"
    );
    gateway.pass(SECOND);
    assert_eq!(gateway.ask("GET", &image_path(1), &anew).await.status, 200);
}

#[tokio::test]
async fn every_journey_of_the_sandbox_ends_as_it_is_named() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    for (number, on_json, on_image, code) in [
        (1, 200, 200, ""),
        (2, 200, 410, "CERTIFICATE-REVOKED"),
        (3, 200, 410, "CERTIFICATE-EXPIRED"),
        (4, 502, 502, "SIGNATURE-INVALID"),
        (5, 200, 410, "CERTIFICATE-REVOKED"),
        (6, 200, 410, "CERTIFICATE-EXPIRED"),
        (7, 502, 502, "RESPONSE-REPLAYED"),
        (8, 200, 200, ""),
        (9, 502, 502, "UPSTREAM-ERROR"),
        (10, 502, 502, "UPSTREAM-FORBIDDEN"),
        (11, 404, 404, ""),
        (12, 502, 502, "SIGNATURE-MISSING"),
        (13, 200, 200, ""),
        (14, 200, 200, ""),
    ] {
        let (json, image) = (gateway.get(&path(number)).await, gateway.get(&image_path(number)).await);
        assert_eq!((json.status, image.status), (on_json, on_image), "{number}");
        assert_eq!(image.holds_no_image(), on_image != 200, "{number}");
        if !code.is_empty() {
            assert_eq!(image.code(), code, "{number}");
        }
        gateway.pass(SECOND); // so that no two answers are the very same
    }
    assert_eq!(gateway.metric("otk_gateway_releases_total{representation=\"image\"}").await, 4.0);
    assert_eq!(gateway.metric("otk_gateway_refused_total{reason=\"signature-invalid\"}").await, 2.0);
    assert_eq!(gateway.metric("otk_gateway_withheld_total{reason=\"certificate-revoked\"}").await, 4.0);
}

#[tokio::test]
async fn a_withheld_envelope_is_rebuilt_without_image_and_signature() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    for (number, word, code) in [(5, "revoked", "REVOKED"), (6, "expired", "EXPIRED")] {
        let told = gateway.get(&path(number)).await;
        assert_eq!(
            (told.status, told.header("otk-gateway-withheld"), told.header("otk-gateway-status")),
            (200, word, code)
        );
        let body = told.json();
        assert!(body["data"]["certificate_base64"].is_null() && body["data"]["certificate_etag"].is_null());
        assert_eq!(
            (body["data"]["active_status"]["code"].as_str(), body["signature"].as_str()),
            (Some(code), Some(""))
        );
        assert!(told.holds_no_image() && !told.headers.contains_key("etag"));
    }
    let own = gateway.get(&path(2)).await;
    assert!(own.header("otk-gateway-withheld").is_empty());
    assert_eq!(
        own.json()["signature"].as_str().map(str::len),
        Some(128),
        "REVOKED without an image is upstream's own text"
    );
}

#[tokio::test]
async fn exposure_zero_asks_for_every_request() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "cache.max_exposure = \"0s\"", clock).await;
    for asked in 1..=3 {
        assert_eq!(gateway.get(&image_path(1)).await.status, 200);
        assert_eq!(upstream.sandbox.calls(&token(1)), asked);
        gateway.pass(SECOND);
    }
}

#[tokio::test]
async fn a_certificate_that_ends_while_it_is_held_is_withheld() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway =
        gateway_at(&upstream.url, &upstream.key(), "cache.max_exposure = \"24h\"\ncache.refresh_ahead = false", clock)
            .await;
    let mut journey =
        otk_gateway::sandbox::Journey { expires_in_days: 1, ..upstream.sandbox.journey(&token(1)).expect("it exists") };
    journey.person = 1;
    upstream.sandbox.put(&token(1), journey);
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    gateway.pass(Duration::from_secs(86_400) - SECOND);
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    gateway.pass(SECOND);
    let refused = gateway.get(&image_path(1)).await;
    assert_eq!((refused.status, refused.code().as_str()), (410, "CERTIFICATE-EXPIRED"));
    assert_eq!(upstream.sandbox.calls(&token(1)), 1, "no call is needed to see the date");
}

/// An answer with a code that nobody knows was forgotten at a tie, and the ACTIVE one beside it released.
#[tokio::test]
async fn an_active_answer_signed_together_with_one_of_an_unknown_code_does_not_count() {
    let said = |code, signed| http(200, &sign(answer(code, signed)));
    let active = sign(answer("ACTIVE", NOON));
    let unknown = {
        let mut answer = answer("ACTIVE", NOON);
        answer["data"]["active_status"]["code"] = "SUSPENDED".into();
        http(200, &sign(answer))
    };
    let url =
        authority::in_turn(vec![http(200, &active), unknown, http(200, &active), said("ACTIVE", &noon_plus(1))]).await;
    let gateway = gateway(&url, &authority::public_key(), "cache.max_exposure = \"0s\"").await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    assert_eq!(gateway.get(&image_path(1)).await.code(), "UPSTREAM-MALFORMED");
    assert_eq!(gateway.get(&image_path(1)).await.code(), "RESPONSE-ROLLED-BACK");
    assert_eq!(gateway.get(&image_path(1)).await.status, 200, "signed later");
}

/// The body of a refusal was thrown away unread, and with it the news.
#[tokio::test]
async fn a_signed_revocation_is_obeyed_whatever_status_it_comes_with() {
    for (status, code) in [
        (500, "UPSTREAM-ERROR"),
        (503, "UPSTREAM-ERROR"),
        (401, "UPSTREAM-REJECTED-KEY"),
        (403, "UPSTREAM-FORBIDDEN"),
        (429, "RATE-LIMITED"),
    ] {
        let revoked = http(status, &sign(answer("REVOKED", NOON)));
        let url = authority::in_turn(vec![http(200, &sign(answer("ACTIVE", NOON))), revoked]).await;
        let gateway = gateway(&url, &authority::public_key(), "upstream.retries = 0").await;
        assert_eq!(gateway.get(&image_path(1)).await.status, 200);
        assert_eq!(gateway.get(&image_path(1)).await.status, 200, "from memory");
        assert_eq!(gateway.ask("GET", &image_path(1), &[("cache-control", "no-cache")]).await.code(), code);
        assert_ne!(gateway.get(&image_path(1)).await.status, 200, "{status}");
    }
}

//! One call for everybody, and nobody can lose it for the others.

use std::time::Duration;

use crate::support::authority::{self, NOON, answer, http, sign};
use crate::support::*;

#[tokio::test]
async fn callers_share_one_call_and_one_who_leaves_does_not_end_it() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    let address = gateway.data;
    let leader = tokio::spawn(async move { ask(address, "GET", &image_path(8), &[], "").await });
    eventually("the call is out", async || upstream.sandbox.calls(&token(8)) == 1).await;
    let followers: Vec<_> =
        (0..10).map(|_| tokio::spawn(async move { ask(address, "GET", &image_path(8), &[], "").await })).collect();
    leader.abort();
    for follower in followers {
        assert_eq!(follower.await.expect("answered").status, 200);
    }
    assert_eq!(upstream.sandbox.calls(&token(8)), 1);
    assert!(gateway.metric("otk_gateway_cache_requests_total{result=\"collapsed\"}").await >= 1.0);
}

#[tokio::test]
async fn the_last_one_who_leaves_does_not_lose_it_either() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    let address = gateway.data;
    let only = tokio::spawn(async move { ask(address, "GET", &image_path(8), &[], "").await });
    eventually("the call is out", async || upstream.sandbox.calls(&token(8)) == 1).await;
    only.abort();
    eventually("it is held", async || gateway.metric("otk_gateway_cache_images").await == 1.0).await;
    assert!(gateway.get(&image_path(8)).await.header("cache-status").starts_with("otk-gateway; hit"));
    assert_eq!(upstream.sandbox.calls(&token(8)), 1);
}

#[tokio::test]
async fn with_exposure_zero_nobody_joins_a_call_that_is_out() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "cache.max_exposure = \"0s\"", clock).await;
    let address = gateway.data;
    let first = tokio::spawn(async move { ask(address, "GET", &path(8), &[], "").await });
    eventually("the call is out", async || upstream.sandbox.calls(&token(8)) == 1).await;
    let second = ask(address, "GET", &path(8), &[], "").await;
    assert_eq!((first.await.expect("answered").status, second.status), (200, 200));
    assert_eq!(upstream.sandbox.calls(&token(8)), 2);
}

#[tokio::test]
async fn an_image_is_held_once_for_all_journeys_that_share_it() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    gateway.get(&image_path(1)).await;
    let bytes = gateway.metric("otk_gateway_cache_image_bytes").await;
    gateway.pass(Duration::from_secs(1));
    gateway.get(&image_path(13)).await;
    assert_eq!(gateway.metric("otk_gateway_cache_images").await, 1.0);
    assert_eq!(gateway.metric("otk_gateway_cache_image_bytes").await, bytes);
    assert_eq!(gateway.metric("otk_gateway_cache_journeys").await, 2.0);
}

#[tokio::test]
async fn what_is_asked_for_late_in_its_time_is_renewed_in_the_background() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    gateway.get(&image_path(1)).await;
    gateway.pass(Duration::from_secs(23));
    assert!(gateway.get(&image_path(1)).await.header("cache-status").contains("hit; ttl=7"));
    eventually("renewed", async || gateway.get(&image_path(1)).await.header("cache-status").contains("hit; ttl=30"))
        .await;
    assert_eq!(upstream.sandbox.calls(&token(1)), 2);
}

#[tokio::test]
async fn the_images_held_stay_within_image_capacity() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "cache.image_capacity = \"1200KiB\"", clock).await;
    for number in [1, 8, 14] {
        assert_eq!(gateway.get(&image_path(number)).await.status, 200);
        assert!(gateway.metric("otk_gateway_cache_image_bytes").await <= 1200.0 * 1024.0);
        gateway.pass(Duration::from_secs(1));
    }
    assert_eq!(gateway.metric("otk_gateway_cache_journeys").await, 3.0, "marks outlive images");
}

/// What was on its way when the operator purged was told again from memory afterwards: REVOKED for five minutes.
#[tokio::test]
async fn neither_a_revoked_nor_a_404_that_was_under_way_at_a_purge_is_told_again() {
    let revoked = http(200, &sign(answer("REVOKED", NOON)));
    for before in [revoked, http(404, "{}")] {
        let answers = vec![before, http(200, &sign(answer("ACTIVE", &authority::noon_plus(1))))];
        let url = authority::in_turn_after(Duration::from_millis(500), answers).await;
        let gateway = gateway(&url, &authority::public_key(), "").await;
        let address = gateway.data;
        let first = tokio::spawn(async move { ask(address, "GET", &image_path(1), &[], "").await });
        eventually("it has its turn", async || gateway.metric("otk_gateway_rate_wait_seconds_count").await == 1.0)
            .await;
        tokio::time::sleep(Duration::from_millis(50)).await; // from there it is a few microseconds until it is out
        let purge = format!("{{\"journey\":\"{}\"}}", token(1));
        assert_eq!(gateway.admin("POST", "/purge", &purge).await.status, 200);
        assert!((404..=410).contains(&first.await.expect("answered").status));
        assert_eq!(gateway.get(&image_path(1)).await.status, 200, "the next request starts a call of its own");
    }
}

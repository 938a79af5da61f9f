//! The end: unready first, what is under way is finished, idle connections close.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::authority;
use crate::support::*;

#[tokio::test]
async fn what_is_under_way_is_finished_and_nothing_new_is_taken() {
    let clock = clock();
    let upstream = play(&clock).await;
    let mut gateway = gateway_at(&upstream.url, &upstream.key(), "", clock).await;
    let address = gateway.data;
    let mut idle = TcpStream::connect(address).await.expect("listening");
    idle.write_all(format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", path(2)).as_bytes()).await.expect("written");
    let mut some = [0; 64];
    idle.read_exact(&mut some).await.expect("answered");
    let slow = tokio::spawn(async move { ask(address, "GET", &image_path(8), &[], "").await });
    eventually("the call is out", async || upstream.sandbox.calls(&token(8)) == 1).await;

    gateway.stop();
    assert_eq!(slow.await.expect("answered").status, 200);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), idle.read_to_end(&mut rest)).await.expect("closed").expect("read");
    assert_eq!(gateway.ended().await, otk_gateway::serve::Ended::Drained);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn during_the_delay_it_is_unready_but_serves() {
    let clock = clock();
    let upstream = play(&clock).await;
    let mut gateway = gateway_at(&upstream.url, &upstream.key(), "listen.drain_delay = \"5s\"", clock).await;
    gateway.stop();
    eventually("unready", async || gateway.admin("GET", "/readyz", "").await.status == 503).await;
    assert!(gateway.admin("GET", "/readyz", "").await.text().contains("not_draining"));
    assert_eq!(gateway.get(&path(2)).await.status, 200);
    assert_eq!(gateway.ended().await, otk_gateway::serve::Ended::Drained);
}

#[tokio::test]
async fn the_deadline_wins() {
    let clock = clock();
    let upstream = play(&clock).await;
    let mut gateway = gateway_at(&upstream.url, &upstream.key(), "listen.drain_timeout = \"100ms\"", clock).await;
    let mut begun = TcpStream::connect(gateway.data).await.expect("listening");
    begun
        .write_all(b"POST /otk-service/v2/create-journey HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")
        .await
        .expect("written");
    eventually("under way", async || gateway.metric("otk_gateway_in_flight_requests").await == 1.0).await;
    gateway.stop();
    assert_eq!(gateway.ended().await, otk_gateway::serve::Ended::Cut(1));
}

/// SHUTTING-DOWN stood in the list of errors, and nobody ever got it: connections were cut without a word.
#[tokio::test]
async fn whoever_waits_for_the_upstream_when_the_deadline_is_near_is_told() {
    let url = authority::in_turn_after(Duration::from_secs(60), vec![String::new()]).await;
    let more = "listen.drain_timeout = \"2s\"\nupstream.request_timeout = \"60s\"";
    let mut gateway = gateway(&url, &authority::public_key(), more).await;
    let address = gateway.data;
    let certificate = tokio::spawn(async move { ask(address, "GET", &image_path(1), &[], "").await });
    let listed = tokio::spawn(async move { ask(address, "POST", "/otk-service/v2/create-journey", &[], "{}").await });
    eventually("under way", async || gateway.metric("otk_gateway_in_flight_requests").await == 2.0).await;
    gateway.stop();
    for waiting in [certificate, listed] {
        let told = waiting.await.expect("answered");
        assert_eq!((told.status, told.code().as_str(), told.header("retry-after")), (503, "SHUTTING-DOWN", "1"));
    }
    gateway.ended().await;
}

//! What goes over the wire to the upstream, how often, and how it may fail.

use std::time::Duration;

use httpmock::MockServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::authority::{self, API_KEY, NOON, answer, http, sign};
use crate::support::*;

fn genuine() -> String {
    sign(answer("ACTIVE", NOON))
}

#[tokio::test]
async fn a_call_carries_the_key_and_nothing_conditional() {
    let server = MockServer::start_async().await;
    let mock = server
        .mock_async(|when, then| {
            when.method("GET")
                .path(format!("/prefix{}", path(1)))
                .header("x-transaction-key", API_KEY)
                .header("accept", "application/json")
                .header("content-type", "application/json")
                .header("accept-encoding", "identity")
                .header("cache-control", "no-cache")
                .header_missing("if-none-match")
                .header_missing("authorization");
            then.status(200).body(genuine());
        })
        .await;
    let gateway = gateway(&format!("{}/prefix/", server.base_url()), &authority::public_key(), "").await;
    let hostile = [
        ("if-none-match", "\"x\""),
        ("authorization", "Bearer x"),
        ("x-transaction-key", "theirs"),
        ("accept-encoding", "gzip"),
    ];
    assert_eq!(
        gateway
            .ask(
                "GET",
                &image_path(1)
                    .to_uppercase()
                    .replace("/OTK-SERVICE/V1/CERTIFICATES", "/otk-service/v1/certificates")
                    .replace("/IMAGE", "/image"),
                &hostile
            )
            .await
            .status,
        200
    );
    assert_eq!(mock.calls_async().await, 1);
    gateway.get(&image_path(1)).await;
    assert_eq!(mock.calls_async().await, 1, "the token was folded to lower case");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_once_more_and_others_are_not() {
    for (status, calls) in [(500, 1), (502, 2), (503, 2), (504, 2), (404, 1), (403, 1)] {
        let server = MockServer::start_async().await;
        let mock = server.mock_async(|_, then| drop(then.status(status).body("{}"))).await;
        let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
        gateway.get(&path(1)).await;
        assert_eq!(mock.calls_async().await, calls, "{status}");
    }
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        // Each connection promises to stay and goes after one answer.
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(http(200, &genuine()).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let gateway = gateway(&url, &authority::public_key(), "cache.max_exposure = \"0s\"").await;
    for _ in 0..4 {
        assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    }
}

#[tokio::test]
async fn a_429_silences_everybody_for_as_long_as_it_says() {
    let server = MockServer::start_async().await;
    let mock = server.mock_async(|_, then| drop(then.status(429).header("retry-after", "37"))).await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
    for number in [1, 2, 3] {
        let refused = gateway.get(&path(number)).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "RATE-LIMITED"));
        assert!((1..=37).contains(&refused.header("retry-after").parse::<u64>().expect("seconds")));
    }
    assert_eq!(mock.calls_async().await, 1);
    assert_eq!(gateway.metric("otk_gateway_rate_limited_total{by=\"upstream\"}").await, 3.0);
}

/// The first 429 told its own caller to stay away for an hour, while the gateway itself believes a minute.
#[tokio::test]
async fn a_429_that_asks_for_too_much_silences_for_a_minute() {
    for asked in ["3600", "99999999999999999999999"] {
        let server = MockServer::start_async().await;
        server.mock_async(|_, then| drop(then.status(429).header("retry-after", asked))).await;
        let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
        assert_eq!(gateway.get(&path(1)).await.header("retry-after"), "60", "{asked}");
    }
}

/// Only a 503 was left alone when it named another time.
#[tokio::test]
async fn what_names_another_time_is_not_tried_again() {
    for status in [502, 503, 504] {
        for later in ["7", "soon"] {
            let server = MockServer::start_async().await;
            let mock = server.mock_async(|_, then| drop(then.status(status).header("retry-after", later))).await;
            let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
            assert_eq!(gateway.get(&path(1)).await.code(), "UPSTREAM-ERROR");
            assert_eq!(mock.calls_async().await, 1, "{status} {later}");
        }
    }
}

#[tokio::test]
async fn a_503_that_asks_for_a_pause_is_not_tried_again_and_suspends() {
    let server = MockServer::start_async().await;
    let mock = server.mock_async(|_, then| drop(then.status(503).header("retry-after", "9999"))).await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "").await;
    assert_eq!(gateway.get(&path(1)).await.code(), "UPSTREAM-ERROR");
    let refused = gateway.get(&path(2)).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "UPSTREAM-SUSPENDED"));
    assert!(refused.header("retry-after").parse::<u64>().expect("seconds") <= 60);
    assert_eq!(mock.calls_async().await, 1);
}

#[tokio::test]
async fn the_rate_is_kept_and_who_cannot_be_served_in_time_is_told_at_once() {
    let clock = clock();
    let upstream = play(&clock).await;
    // One call in fifty seconds: however slow the machine, the second comes too early.
    let more = "upstream.requests_per_second = 0.02\nupstream.queue_timeout = \"100ms\"";
    let gateway = gateway_at(&upstream.url, &upstream.key(), more, clock).await;
    assert_eq!(gateway.get(&path(2)).await.status, 200);
    for number in [3, 5] {
        let refused = gateway.get(&path(number)).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "RATE-LIMITED"));
        assert!(refused.header("retry-after").parse::<u64>().expect("seconds") >= 1);
        assert_eq!(upstream.sandbox.calls(&token(number)), 0);
    }
    assert_eq!(gateway.metric("otk_gateway_rate_limited_total{by=\"gateway\"}").await, 2.0);
}

#[tokio::test]
async fn one_journey_gets_at_most_a_fifth() {
    let clock = clock();
    let upstream = play(&clock).await;
    // Everybody together has one call in two seconds, one journey one in ten; a call waits up to four.
    let more = "upstream.requests_per_second = 0.5\nupstream.queue_timeout = \"4s\"\ncache.max_exposure = \"0s\"";
    let gateway = gateway_at(&upstream.url, &upstream.key(), more, clock).await;
    let anew = [("cache-control", "no-cache")];
    assert_eq!(gateway.get(&path(2)).await.status, 200);
    assert_eq!(gateway.ask("GET", &path(2), &anew).await.code(), "RATE-LIMITED");
    assert_eq!(gateway.metric("otk_gateway_rate_limited_total{by=\"journey\"}").await, 1.0);
    assert_eq!(gateway.get(&path(3)).await.status, 200, "others are not held up");
}

#[tokio::test]
async fn a_slow_upstream_times_out_and_a_missing_one_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let gateway_for_slow = gateway(&url, &authority::public_key(), "upstream.request_timeout = \"300ms\"").await;
    let slow = gateway_for_slow.get(&path(1)).await;
    assert_eq!((slow.status, slow.code().as_str()), (504, "UPSTREAM-TIMEOUT"));
    drop(listener);
    let gone = gateway_for_slow.get(&path(2)).await;
    assert_eq!((gone.status, gone.code().as_str()), (502, "UPSTREAM-UNREACHABLE"));
    assert!(gateway_for_slow.metric("otk_gateway_upstream_requests_total{outcome=\"timeout\"}").await >= 1.0);
}

#[tokio::test]
async fn upstreams_age_counts_towards_the_exposure() {
    let server = MockServer::start_async().await;
    let mock = server.mock_async(|_, then| drop(then.status(200).header("age", "25").body(genuine()))).await;
    let gateway = gateway(&server.base_url(), &authority::public_key(), "cache.refresh_ahead = false").await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    gateway.pass(Duration::from_secs(5));
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    assert_eq!(mock.calls_async().await, 1);
    gateway.pass(Duration::from_secs(1));
    gateway.get(&image_path(1)).await;
    assert_eq!(mock.calls_async().await, 2);
}

#[tokio::test]
async fn a_new_journey_finds_no_room_while_all_marks_are_young() {
    let clock = clock();
    let upstream = play(&clock).await;
    let gateway = gateway_at(&upstream.url, &upstream.key(), "cache.max_journeys = 1", clock).await;
    assert_eq!(gateway.get(&path(1)).await.status, 200);
    let refused = gateway.get(&path(2)).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "OVERLOADED"));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(upstream.sandbox.calls(&token(2)), 0);
    gateway.pass(Duration::from_secs(180));
    assert_eq!(gateway.get(&path(2)).await.status, 200);
}

mod tls {
    use super::*;
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::TlsAcceptor;

    struct Authority {
        ca: String,
        server: (String, String),
        client: (String, String),
    }

    fn authority_of_certificates() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let leaf = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let certificate = CertificateParams::new(vec![name.to_owned()])
                .expect("a name")
                .signed_by(&key, &issuer)
                .expect("signed");
            (certificate.pem(), key.serialize_pem())
        };
        Authority { ca: issuer.pem(), server: leaf("localhost"), client: leaf("client") }
    }

    /// An upstream behind TLS that wants a client certificate; says over which protocol it was asked.
    async fn serve(
        authority: &Authority,
        alpn: &'static [u8],
    ) -> (u16, tokio::sync::mpsc::UnboundedReceiver<&'static str>) {
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(&authority.ca)).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .expect("a verifier");
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate(&authority.server.0)],
                PrivateKeyDer::from_pem_slice(authority.server.1.as_bytes()).expect("PEM"),
            )
            .expect("a server certificate");
        config.alpn_protocols = vec![alpn.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (asked, asks) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let asked = asked.clone();
                let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let _ = asked.send(if request.version() == http::Version::HTTP_2 { "h2" } else { "http/1.1" });
                    async {
                        Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::new(
                            bytes::Bytes::from(genuine()),
                        )))
                    }
                });
                let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                tokio::spawn(async move {
                    drop(builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await)
                });
            }
        });
        (port, asks)
    }

    #[tokio::test]
    async fn a_private_authority_and_a_client_certificate_over_both_protocols() {
        let certificates = authority_of_certificates();
        let files = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let (ca, cert, key) =
            (file("ca", &certificates.ca), file("cert", &certificates.client.0), file("key", &certificates.client.1));
        for alpn in ["h2", "http/1.1"] {
            let (port, mut asks) = serve(&certificates, alpn.as_bytes()).await;
            let url = format!("https://localhost:{port}");
            let more = format!(
                "upstream.ca_file = \"{ca}\"\nupstream.client_cert_file = \"{cert}\"\nupstream.client_key_file = \"{key}\""
            );
            let trusted = gateway(&url, &authority::public_key(), &more).await;
            assert_eq!(trusted.get(&image_path(1)).await.status, 200, "{alpn}");
            assert_eq!(asks.recv().await, Some(alpn));
            let stranger = gateway(&url, &authority::public_key(), "").await;
            assert_eq!(stranger.get(&image_path(1)).await.code(), "UPSTREAM-UNREACHABLE");
            assert!(stranger.metric("otk_gateway_upstream_requests_total{outcome=\"tls\"}").await >= 1.0);
        }
    }
}

#[tokio::test]
async fn an_egress_proxy_is_asked_to_connect() {
    let clock = clock();
    let upstream = play(&clock).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("bound"));
    let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = client.read(&mut head).await.expect("a head");
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let target = head.split_whitespace().nth(1).expect("a target").to_owned();
            let _ = asked.send(head);
            let mut server = tokio::net::TcpStream::connect(target).await.expect("the sandbox");
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.expect("written");
            tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut client, &mut server).await) });
        }
    });
    let gateway = gateway_at(&upstream.url, &upstream.key(), &format!("upstream.proxy = \"{proxy}\""), clock).await;
    assert_eq!(gateway.get(&image_path(1)).await.status, 200);
    let head = asks.recv().await.expect("asked");
    assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
    assert!(!head.contains("x-transaction-key"), "the proxy does not get the key");
}

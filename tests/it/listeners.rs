//! Where clients connect, and how they prove who they are: Unix sockets, TLS, client certificates, tokens.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::support::certificates::{Authority, Pair, certificate, private_key, roots};
use crate::support::*;

/// The lines of configuration for TLS with this certificate.
fn tls(files: &Files, (chain, key): &Pair) -> String {
    let (chain, key) = (files.write("tls.crt", chain), files.write("tls.key", key));
    format!("listen.tls_cert_file = \"{}\"\nlisten.tls_key_file = \"{}\"\n", chain.display(), key.display())
}

/// One GET over TLS; the status and the version that was agreed on, or nothing where there was no session.
async fn get(gateway: &Gateway, trusted: &str, own: Option<&Pair>, alpn: &[&[u8]]) -> Option<(u16, Version)> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots(trusted));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            builder.with_client_auth_cert(vec![certificate(chain)], private_key(key)).expect("a pair")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(gateway.data).await.expect("listening");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = Request::get(format!("https://localhost{}", path(2))).header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let response = if is_h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        sender.send_request(request).await.ok()?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        sender.send_request(request).await.ok()?
    };
    let (status, version) = (response.status().as_u16(), response.version());
    response.into_body().collect().await.expect("a body");
    Some((status, version))
}

#[tokio::test]
async fn tls_speaks_both_versions_of_http_by_agreement() {
    let (clock, files, authority) = (clock(), Files::new(), Authority::new());
    let upstream = play(&clock).await;
    let more = tls(&files, &authority.issue("localhost"));
    let gateway = gateway_at(&upstream.url, &upstream.key(), &more, clock).await;
    assert_eq!(get(&gateway, &authority.pem, None, &[b"h2", b"http/1.1"]).await, Some((200, Version::HTTP_2)));
    assert_eq!(get(&gateway, &authority.pem, None, &[b"http/1.1"]).await, Some((200, Version::HTTP_11)));
    assert_eq!(get(&gateway, &authority.pem, None, &[]).await, Some((200, Version::HTTP_11)));
    assert_eq!(get(&gateway, &Authority::new().pem, None, &[b"h2"]).await, None);
    let end = gateway.metric("otk_gateway_tls_not_after_timestamp_seconds{role=\"listen\"}").await;
    assert!(end > 2.0e9, "{end}");
    let plain = raw(gateway.data, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!plain.contains("HTTP/1.1 200"), "{plain}");
}

#[tokio::test]
async fn with_an_authority_of_clients_nobody_else_gets_past_the_handshake() {
    let (clock, files, clients) = (clock(), Files::new(), Authority::new());
    let upstream = play(&clock).await;
    let server = Authority::new();
    let ca = files.write("clients.crt", &clients.pem);
    let more = format!("{}listen.client_ca_file = \"{}\"", tls(&files, &server.issue("localhost")), ca.display());
    let gateway = gateway_at(&upstream.url, &upstream.key(), &more, clock).await;
    let (known, stranger) = (clients.issue("app"), Authority::new().issue("app"));
    assert_eq!(get(&gateway, &server.pem, Some(&known), &[b"h2"]).await, Some((200, Version::HTTP_2)));
    assert_eq!(get(&gateway, &server.pem, Some(&stranger), &[]).await, None);
    assert_eq!(get(&gateway, &server.pem, None, &[]).await, None);
    eventually("they are counted", async || {
        gateway.metric("otk_gateway_connections_refused_total{listener=\"data\"}").await >= 2.0
    })
    .await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections() {
    let (clock, files) = (clock(), Files::new());
    let (before, after) = (Authority::new(), Authority::new());
    let upstream = play(&clock).await;
    let more = tls(&files, &before.issue("localhost"));
    let gateway = gateway_at(&upstream.url, &upstream.key(), &more, clock).await;
    assert!(get(&gateway, &before.pem, None, &[]).await.is_some());
    let (chain, key) = after.issue("localhost");
    files.write("tls.crt", &chain); // the key does not fit yet, so nothing changes
    let line = "otk_gateway_secret_usable{secret=\"listen_tls\"}";
    eventually("a pair that does not fit", async || gateway.metric(line).await == 0.0).await;
    assert!(get(&gateway, &before.pem, None, &[]).await.is_some());
    files.write("tls.key", &key);
    eventually("the new certificate", async || get(&gateway, &after.pem, None, &[]).await.is_some()).await;
    assert_eq!(gateway.metric(line).await, 1.0);
}

#[tokio::test]
async fn a_unix_socket_serves_and_needs_no_allowed_host_of_its_own() {
    let (clock, files) = (clock(), Files::new());
    let upstream = play(&clock).await;
    let socket = files.path("gateway.sock");
    let config = configuration(&upstream.url, &upstream.key(), "");
    let config = config.replacen("127.0.0.1:0", &format!("unix:{}", socket.display()), 1);
    let running = started(&config);
    let stream = UnixStream::connect(&socket).await.expect("listening");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = Request::get(path(2)).header("host", "localhost").body(Empty::<Bytes>::new()).expect("a request");
    assert_eq!(sender.send_request(request).await.expect("an answer").status(), 200);
    drop(running);
    eventually("the socket is gone", async || !socket.exists()).await;
}

#[tokio::test]
async fn a_client_token_is_asked_of_every_request() {
    let (clock, files) = (clock(), Files::new());
    let upstream = play(&clock).await;
    let token = files.write("token", "client-token-1\n");
    let more = format!("listen.client_token_file = \"{}\"", token.display());
    let gateway = gateway_at(&upstream.url, &upstream.key(), &more, clock).await;
    for headers in
        [&[][..], &[("authorization", "Bearer client-token-2")], &[("authorization", "Basic client-token-1")]]
    {
        for path in [path(1), "/otk-service/v1/residents/stale".to_owned(), "/".to_owned()] {
            let reply = gateway.ask("GET", &path, headers).await;
            assert_eq!((reply.status, reply.code().as_str()), (401, "CLIENT-UNAUTHENTICATED"));
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
    }
    assert_eq!(upstream.sandbox.calls(&crate::support::token(1)), 0);
    let reply = gateway.ask("GET", &path(1), &[("authorization", "Bearer client-token-1")]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(gateway.metric("otk_gateway_refused_total{reason=\"client-unauthenticated\"}").await, 9.0);
}

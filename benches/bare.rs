//! The HTTP library and nothing else: one constant answer for every request, with the headers of a release. What a server
//! built on it can at best do, short of sending bodies without copying them.
//!
//! `bare LENGTH` answers 200 with a body of so many bytes, `bare 0` answers 304.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, VIA};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let length = std::env::args().nth(1).and_then(|length| length.parse().ok()).unwrap_or(500_000);
    let body = Bytes::from(vec![7; length]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let service = service_fn(move |_| {
            let response = answer(body.clone());
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(body: Bytes) -> Response<Full<Bytes>> {
    let is_image = !body.is_empty();
    let mut response = Response::new(Full::new(body));
    *response.headers_mut() = HeaderMap::with_capacity(12);
    if is_image {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    } else {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// As long as those of a release.
const HEADERS: [(HeaderName, &str); 8] = [
    (ETAG, "\"etag-00000000000000000001\""),
    (CACHE_CONTROL, "private, no-cache"),
    (AGE, "0"),
    (HeaderName::from_static("cache-status"), "otk-gateway; hit; ttl=3599"),
    (HeaderName::from_static("otk-gateway-status"), "ACTIVE"),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (VIA, "1.1 otk-gateway"),
    (HeaderName::from_static("x-request-id"), "0123456789abcdef0123456789abcdef"),
];

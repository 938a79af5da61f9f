//! The page for people: what `/status` says, live, in a browser.
//!
//! One answer holds everything, style and script included, and its policy allows exactly these two, by their digests, and
//! calls to where it came from. Nothing comes from elsewhere, and nothing can be put into it: it sets text, never markup, and
//! the browser holds it to that.
//!
//! A peer from elsewhere needs the bearer token for this page as for `/status`. A browser does not send one by itself, so
//! whoever looks from afar comes through a tunnel (`ssh -L`, `kubectl port-forward`) or a proxy that adds it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use http::{Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest, Sha256};

/// The page. Put together anew for each who asks: it costs less than a millisecond, and few do.
pub fn answer() -> Response<Full<Bytes>> {
    let page = MARKUP.replace("/* page.css */", STYLE).replace("/* page.js */", SCRIPT);
    let mut answer = super::text(StatusCode::OK, page);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, policy().try_into().expect("digests are base64"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    answer
}

/// `data:` is for the tab's icon, which the script draws.
fn policy() -> String {
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

fn digest(of: &str) -> String {
    STANDARD.encode(Sha256::digest(of))
}

const MARKUP: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

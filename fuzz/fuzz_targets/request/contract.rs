//! What must hold of every conversation, whatever was sent.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use otk_gateway_fuzz::http1::{self, Answer};
use regex::Regex;

use crate::Seen;
use crate::authority::{API_KEY, HIDDEN, JOURNEYS, SHOWN};

/// Panics where these bytes, the requests read from them and what was said in return do not fit together.
pub fn hold(bytes: &[u8], seen: &[Seen], said: &[u8]) {
    for Seen { parts, status } in seen {
        assert_ne!(*status, 500, "INTERNAL");
        let is_let_in = is_for_us(parts) && !is_foreign_page(&parts.headers);
        assert!(is_let_in || matches!(status, 400 | 403 | 421), "{status} to somebody who may not ask: {parts:?}");
        let is_release = *status == 304
            || (*status == 200 && parts.uri.path().contains(JOURNEYS) && parts.uri.path().ends_with("/image"));
        assert!(!is_release || may_see(parts), "a release to somebody who may not see it: {parts:?}");
    }
    assert!(!holds(said, HIDDEN), "an image without a permit");
    assert!(!holds(said, SHOWN) || seen.iter().any(is_shown), "an image that nobody asked for");
    assert!(!contains(said, API_KEY.as_bytes()), "the API key");
    if bytes.starts_with(PREFACE) {
        frames(said);
    } else {
        in_order(bytes, seen);
        answers(seen, said);
    }
}

fn is_shown(request: &Seen) -> bool {
    request.status == 200 && may_see(&request.parts)
}

/// A naive reading of the contract: GET or HEAD, journey 01, our host, no foreign page. Lenient where leniency is harmless,
/// for nothing must be let through that this refuses.
fn may_see(parts: &Parts) -> bool {
    let is_asked = matches!(parts.method, Method::GET | Method::HEAD) && JOURNEY_01.is_match(parts.uri.path());
    is_asked && parts.uri.query().is_none() && is_for_us(parts) && !is_foreign_page(&parts.headers)
}

fn is_for_us(parts: &Parts) -> bool {
    let mut hosts: Vec<_> =
        parts.headers.get_all("host").iter().map(|host| host.to_str().unwrap_or_default()).collect();
    let in_header = hosts.len();
    hosts.extend(parts.uri.authority().map(|authority| authority.as_str()));
    let is_one = in_header == 1 || (in_header == 0 && parts.version != Version::HTTP_11 && !hosts.is_empty());
    is_one && hosts.iter().all(|host| OUR_HOST.is_match(host))
}

fn is_foreign_page(headers: &HeaderMap) -> bool {
    let texts = |name: &str| -> Vec<_> {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    match texts("origin").as_slice() {
        [] => texts("sec-fetch-site").iter().any(|site| site.eq_ignore_ascii_case("cross-site")),
        [origin] => !OUR_PAGE.is_match(origin),
        _ => true,
    }
}

/// The requests that were read are the ones that stand there: no other, and none behind a doubtful end but to be refused.
fn in_order(bytes: &[u8], seen: &[Seen]) {
    let stream = http1::requests(bytes);
    let standing = stream.requests.iter().chain(&stream.then_chunked);
    for (request, asked) in seen.iter().zip(standing) {
        assert_eq!(request.parts.method.as_str(), asked.method);
        let target = asked.target.split('#').next().unwrap_or_default();
        let read = request.parts.uri.to_string();
        let is_same = target.eq_ignore_ascii_case(&read) || (400..500).contains(&request.status);
        assert!(is_same, "{target:?} was read as {read:?}");
    }
    let beyond = stream.requests.len() + usize::from(stream.then_chunked.is_some());
    for request in seen.iter().skip(beyond) {
        assert_eq!(request.status, 400, "a request where none stands: {:?}", request.parts);
    }
    assert!(seen.len() <= beyond + 1, "a request behind one that was in doubt");
}

/// Every request that was read has its answer, in order; behind them at most a bare refusal of what could not be read.
fn answers(seen: &[Seen], said: &[u8]) {
    let has_body = |nth: usize| seen.get(nth).is_none_or(|request| request.parts.method != Method::HEAD);
    let answers = match http1::answers(said, has_body) {
        Ok(answers) => answers,
        Err(why) => panic!("{why}: {}", String::from_utf8_lossy(said)),
    };
    assert!(seen.len() <= answers.len() && answers.len() <= seen.len() + 1, "{} for {}", answers.len(), seen.len());
    for (request, answer) in seen.iter().zip(&answers) {
        assert_eq!(request.status, answer.status);
        assert!(!holds(&answer.body, SHOWN) || is_shown(request), "an image for somebody who may not see it");
        dressed(answer);
    }
    for bare in answers.iter().skip(seen.len()) {
        assert!(matches!(bare.status, 400 | 414 | 431 | 505) && bare.body.is_empty(), "{bare:?}");
    }
}

/// What every answer of ours carries.
fn dressed(answer: &Answer) {
    let text = |name: &str| answer.header(name).and_then(|value| std::str::from_utf8(value).ok());
    assert!(text("x-request-id").is_some_and(|id| REQUEST_ID.is_match(id)), "{answer:?}");
    assert!(text("via").is_some_and(|via| via.ends_with("otk-gateway")), "{answer:?}");
    let kept_back = ["set-cookie", "x-transaction-key", "keep-alive", "upgrade"];
    assert!(answer.headers.iter().all(|(name, _)| !kept_back.contains(&name.as_str())), "{answer:?}");
    let error = text("proxy-status");
    if let Some(error) = error {
        let code = error.split("details=\"").nth(1).and_then(|rest| rest.strip_suffix('"')).expect("details");
        assert!(answer.status >= 400 && code != "internal", "{answer:?}");
        assert_eq!(text("cache-control"), Some("no-store"));
        if answer.body.is_empty() {
            return; // to HEAD
        }
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["errors"][0]["code"], format!("OTK-GATEWAY-{}", code.to_ascii_uppercase()));
        assert_eq!(body["meta"]["request_id"].as_str(), text("x-request-id"));
    }
}

/// Whole frames, and answers only on streams that clients open.
fn frames(mut said: &[u8]) {
    while !said.is_empty() {
        let (head, rest) = said.split_at_checked(9).expect("a whole frame's head");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let is_of_an_answer = matches!(head[3], 0 | 1 | 9); // DATA, HEADERS, CONTINUATION
        assert!(head[3] <= 9 && (!is_of_an_answer || stream % 2 == 1), "{head:?}");
        said = rest.split_at_checked(length).expect("a whole frame").1;
    }
}

/// As bytes, or in the base64 of the JSON.
fn holds(said: &[u8], image: &[u8]) -> bool {
    let digits = BASE64_STANDARD.encode(image);
    contains(said, &image[4..]) || contains(said, &digits.as_bytes()[..digits.len() - 4])
}

fn contains(said: &[u8], part: &[u8]) -> bool {
    said.windows(part.len()).any(|window| window == part)
}

static JOURNEY_01: LazyLock<Regex> =
    LazyLock::new(|| pattern("^/otk-service/v1/certificates/00000000-0000-4000-8000-000000000001(/image)?$"));
static OUR_HOST: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^((?i:localhost)\.?|127\.0\.0\.1\.?|\[[0:]+1\])(:[0-9]*)?$"));
static OUR_PAGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?i:https://app\.example)\.?(:443|:)?$|^(?i:https?)://((?i:localhost)\.?|127\.0\.0\.1\.?|\[[0:]+1\])(:[0-9]*)?$",
    )
});
static REQUEST_ID: LazyLock<Regex> = LazyLock::new(|| pattern("^[A-Za-z0-9._-]{1,64}$"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

//! A pretend authority, for the demo, for applications' own tests and for ours.
//!
//! It speaks the documented API with its own key pair, and misbehaves in the ways that its fourteen journeys are named after.
//! It shares no line with the gateway that reads or verifies: a second opinion must not share our misunderstandings.
//!
//! Never: a real person, a real certificate, or a key that protects anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use sign::Signer;

pub mod demo;
mod picture;
mod sign;
pub mod tour;

/// Tells the time, so that a test can move it.
pub type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// How the sandbox behaves.
pub struct Settings {
    /// The only key it takes; any if none.
    pub api_key: Option<String>,
    /// Its clock.
    pub now: Now,
    /// How long the slow journey takes.
    pub slow: Duration,
}

/// The pretend authority.
pub struct Sandbox {
    settings: Settings,
    signer: Signer,
    journeys: Mutex<HashMap<String, Journey>>,
    calls: Mutex<HashMap<String, u64>>,
}

/// One journey, and how it misbehaves.
#[derive(Clone, Debug)]
pub struct Journey {
    /// `data.uaekyc_id`
    pub person: i64,
    /// `data.active_status.code`
    pub code: &'static str,
    /// Sends the image whatever the code is.
    pub always_image: bool,
    /// Which picture.
    pub picture: Picture,
    /// From now.
    pub expires_in_days: i64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Which certificate is on the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Picture {
    /// Written on it.
    pub number: u8,
    /// How much noise is on it: 9 makes about 500 KB, 15 about 800 KB.
    pub grain: u32,
}

/// What is wrong with a journey's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Changed after it was signed.
    Tampered,
    /// Signed an hour ago.
    Replayed,
    /// Takes its time.
    Slow,
    /// HTTP 500.
    ServerError,
    /// A firewall's page.
    Forbidden,
    /// 404.
    NotFound,
    /// `signature` is empty.
    Unsigned,
}

type Answer = Response<Full<Bytes>>;

impl Sandbox {
    /// With the journeys that always exist.
    pub fn new(settings: Settings) -> Arc<Self> {
        let journeys = (1..=14).map(|number| (token(number), standing(number))).collect();
        Arc::new(Self { settings, signer: Signer::new(), journeys: Mutex::new(journeys), calls: Mutex::default() })
    }

    /// The key that its answers are signed with, in hex.
    pub fn public_key(&self) -> String {
        self.signer.public_key()
    }

    /// Adds a journey, or changes one.
    pub fn put(&self, token: &str, journey: Journey) {
        lock(&self.journeys).insert(token.to_owned(), journey);
    }

    /// A journey as it is now.
    pub fn journey(&self, token: &str) -> Option<Journey> {
        lock(&self.journeys).get(token).cloned()
    }

    /// How often this journey was asked for.
    pub fn calls(&self, token: &str) -> u64 {
        lock(&self.calls).get(token).copied().unwrap_or(0)
    }

    /// Answers one request.
    pub async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Answer {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments[..] {
            ["sandbox", "public-key"] => text(StatusCode::OK, "text/plain", self.public_key() + "\n"),
            ["sandbox", "stats"] => self.stats(),
            ["sandbox", "journeys", token, act] => only(Method::POST, &request, || self.change(token, act)),
            ["otk-service", ..] if !self.knows_key(&request) => error(StatusCode::UNAUTHORIZED, "003", "unauthorized"),
            ["otk-service", "v1", "certificates", token] if request.method() == Method::GET => {
                self.certificate(token).await
            }
            ["otk-service", "v1", "certificates", _] => only(Method::GET, &request, not_found),
            ["otk-service", "v1", "residents", "stale"] => only(Method::GET, &request, || self.stale_residents()),
            ["otk-service", "create-journey-url"] => only(Method::POST, &request, || self.journey_url("result")),
            ["otk-service", "v2", "create-journey"] => only(Method::POST, &request, || self.journey_url("data")),
            ["otk-service", "v2", "journey-details", token] => {
                only(Method::GET, &request, || self.details(token, false))
            }
            ["otk-service", "customer-details", token] => only(Method::GET, &request, || self.details(token, true)),
            _ => not_found(),
        }
    }

    fn knows_key<B>(&self, request: &Request<B>) -> bool {
        let given = request.headers().get("x-transaction-key").map(HeaderValue::as_bytes);
        match (&self.settings.api_key, given) {
            (_, None | Some(b"")) => false,
            (None, Some(_)) => true,
            (Some(key), Some(given)) => key.as_bytes() == given,
        }
    }

    async fn certificate(&self, token: &str) -> Answer {
        if !is_uuid_v4(token) {
            return error(StatusCode::BAD_REQUEST, "001", "invalid journey token");
        }
        let token = token.to_ascii_lowercase();
        *lock(&self.calls).entry(token.clone()).or_insert(0) += 1;
        let Some(journey) = lock(&self.journeys).get(&token).cloned() else { return not_found() };
        match journey.fault {
            Fault::ServerError => return error(StatusCode::INTERNAL_SERVER_ERROR, "500", "internal error"),
            Fault::Forbidden => return text(StatusCode::FORBIDDEN, "text/html", FIREWALL.to_owned()),
            Fault::NotFound => return not_found(),
            Fault::Slow => tokio::time::sleep(self.settings.slow).await,
            Fault::None | Fault::Tampered | Fault::Replayed | Fault::Unsigned => {}
        }
        json_answer(StatusCode::OK, &self.signed(&journey))
    }

    fn signed(&self, journey: &Journey) -> Value {
        let now = OffsetDateTime::from((self.settings.now)());
        let signed_at = if journey.fault == Fault::Replayed { now - time::Duration::HOUR } else { now };
        let shows_image = journey.code == "ACTIVE" || journey.always_image;
        let image = shows_image.then(|| drawn(journey.picture));
        let answer = json!({
            "success": true,
            "data": {
                "uaekyc_id": journey.person,
                "certificate_base64": image.map(|image| format!("data:image/jpeg;base64,{}", image.base64)),
                "certificate_etag": image.map(|image| image.etag.as_str()),
                "issued_on": instant(now + time::Duration::days(journey.expires_in_days - 365)),
                "expires_on": instant(now + time::Duration::days(journey.expires_in_days)),
                "active_status": { "code": journey.code, "messages": if journey.code == "ACTIVE" { "" } else { "made up by the sandbox" } },
                "last_updated": local_instant(now),
            },
            "message": "Retrieved certificate details successfully",
            "meta": { "timestamp": instant(signed_at), "filters": {} },
            "errors": [],
        });
        match journey.fault {
            Fault::Unsigned => with_signature(answer, String::new()),
            Fault::Tampered => {
                let mut tampered = self.sign(answer);
                tampered["data"]["uaekyc_id"] = json!(journey.person + 1);
                tampered
            }
            _ => self.sign(answer),
        }
    }

    fn sign(&self, answer: Value) -> Value {
        let signature = self.signer.sign(&answer);
        with_signature(answer, signature)
    }

    fn change(&self, token: &str, act: &str) -> Answer {
        let code = match act {
            "revoke" => "REVOKED",
            "expire" => "EXPIRED",
            "activate" => "ACTIVE",
            _ => return not_found(),
        };
        let token = token.to_ascii_lowercase();
        match lock(&self.journeys).get_mut(&token) {
            None => not_found(),
            Some(journey) => {
                journey.code = code;
                json_answer(StatusCode::OK, &json!({ "journey": token, "status": code }))
            }
        }
    }

    fn stats(&self) -> Answer {
        let calls = lock(&self.calls).clone();
        let total: u64 = calls.values().sum();
        json_answer(StatusCode::OK, &json!({ "total": total, "journeys": calls }))
    }

    fn stale_residents(&self) -> Answer {
        let pagination = json!({ "total_count": 1, "page": 1, "page_size": 50, "has_more": false });
        let meta = json!({ "timestamp": self.timestamp(), "pagination": pagination });
        let answer =
            json!({ "success": true, "data": { "uaekyc_ids": [10_001] }, "message": "", "meta": meta, "errors": [] });
        json_answer(StatusCode::OK, &self.sign(answer))
    }

    fn journey_url(&self, envelope: &str) -> Answer {
        let body = json!({ "journeyToken": token(1), "journeyUrl": "https://journey.example.invalid/start" });
        let answer = json!({ "success": true, envelope: body, "message": "", "meta": { "timestamp": self.timestamp() }, "errors": [] });
        json_answer(StatusCode::OK, &self.sign(answer))
    }

    fn details(&self, token: &str, with_customer: bool) -> Answer {
        let Some(journey) = lock(&self.journeys).get(&token.to_ascii_lowercase()).cloned() else { return not_found() };
        let mut result = json!({ "journeyToken": token, "status": "COMPLETED" });
        if with_customer {
            result["uaeKycId"] = json!(journey.person);
            result["fullName"] = json!("SPECIMEN PERSON");
        }
        json_answer(StatusCode::OK, &self.sign(json!({ "result": result })))
    }

    fn timestamp(&self) -> String {
        instant(OffsetDateTime::from((self.settings.now)()))
    }
}

/// The journeys that always exist: 00000000-0000-4000-8000-0000000000NN.
pub fn token(number: u8) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn standing(number: u8) -> Journey {
    let grain = if number == 14 { 15 } else { 9 };
    let mut journey = Journey {
        person: 10_000 + i64::from(number),
        code: "ACTIVE",
        always_image: false,
        picture: Picture { number, grain },
        expires_in_days: 300,
        fault: Fault::None,
    };
    match number {
        2 => journey.code = "REVOKED",
        3 => (journey.code, journey.expires_in_days) = ("EXPIRED", -3),
        4 => journey.fault = Fault::Tampered,
        5 => (journey.code, journey.always_image) = ("REVOKED", true),
        6 => journey.expires_in_days = -1,
        7 => journey.fault = Fault::Replayed,
        8 => journey.fault = Fault::Slow,
        9 => journey.fault = Fault::ServerError,
        10 => journey.fault = Fault::Forbidden,
        11 => journey.fault = Fault::NotFound,
        12 => journey.fault = Fault::Unsigned,
        13 => (journey.person, journey.picture) = (10_001, Picture { number: 1, grain }),
        _ => {}
    }
    journey
}

/// A picture, ready to be sent.
struct Drawn {
    base64: String,
    etag: String,
}

/// Draws each picture once in the life of the process.
fn drawn(picture: Picture) -> &'static Drawn {
    static DRAWN: OnceLock<Mutex<HashMap<Picture, &'static Drawn>>> = OnceLock::new();
    let mut drawn = lock(DRAWN.get_or_init(Mutex::default));
    drawn.entry(picture).or_insert_with(|| {
        let number = format!("JOURNEY {:02}", picture.number);
        let lines =
            ["SPECIMEN CERTIFICATE", "NOT A REAL DOCUMENT", &number, "MADE UP BY THE SANDBOX"].map(str::to_owned);
        let jpeg = picture::specimen(&lines, picture.grain);
        let etag = blake3::hash(&jpeg).to_hex()[..32].to_owned();
        Box::leak(Box::new(Drawn { base64: BASE64_STANDARD.encode(&jpeg), etag }))
    })
}

fn with_signature(mut answer: Value, signature: String) -> Value {
    answer["signature"] = signature.into();
    answer
}

fn is_uuid_v4(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| if is_dash(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() })
        && bytes[14] == b'4'
        && matches!(bytes[19].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b')
}

/// Three fraction digits and `Z`, as upstream writes most times.
fn instant(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(&format).expect("a year of four digits")
}

/// Six fraction digits and an offset, as upstream writes `last_updated`.
fn local_instant(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+04:00");
    at.to_offset(time::macros::offset!(+4)).format(&format).expect("a year of four digits")
}

fn only<B>(method: Method, request: &Request<B>, answer: impl FnOnce() -> Answer) -> Answer {
    if *request.method() == method {
        return answer();
    }
    let mut refused = error(StatusCode::METHOD_NOT_ALLOWED, "405", "method not allowed");
    refused.headers_mut().insert(ALLOW, HeaderValue::from_str(method.as_str()).expect("a method is a token"));
    refused
}

fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "002", "not found")
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let entry = json!({ "code": format!("UAEKYC-ERR-JOURNEY-{code}"), "type": "JOURNEY", "message": message });
    json_answer(
        status,
        &json!({ "success": false, "data": null, "message": message, "signature": "", "meta": {}, "errors": [entry] }),
    )
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    text(status, "application/json", value.to_string())
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const FIREWALL: &str = "<!DOCTYPE html><html><head><title>Request Rejected</title></head><body>The requested URL was rejected.</body></html>";

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn sandbox() -> Arc<Sandbox> {
        Sandbox::new(Settings { api_key: None, now: Arc::new(SystemTime::now), slow: Duration::ZERO })
    }

    async fn ask(sandbox: &Arc<Sandbox>, method: &str, path: &str) -> (u16, Value) {
        let request =
            Request::builder().method(method).uri(path).header("x-transaction-key", "any").body(()).expect("a request");
        let answer = sandbox.clone().answer(request).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("whole").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn certificate(sandbox: &Arc<Sandbox>, number: u8) -> (u16, Value) {
        ask(sandbox, "GET", &format!("/otk-service/v1/certificates/{}", token(number))).await
    }

    #[tokio::test]
    async fn every_journey_behaves_as_it_is_listed() {
        let sandbox = sandbox();
        for (number, status, code, has_image) in [
            (1, 200, "ACTIVE", true),
            (2, 200, "REVOKED", false),
            (3, 200, "EXPIRED", false),
            (4, 200, "ACTIVE", true),
            (5, 200, "REVOKED", true),
            (6, 200, "ACTIVE", true),
            (7, 200, "ACTIVE", true),
            (8, 200, "ACTIVE", true),
            (12, 200, "ACTIVE", true),
            (13, 200, "ACTIVE", true),
        ] {
            let (answered, answer) = certificate(&sandbox, number).await;
            assert_eq!((answered, answer["data"]["active_status"]["code"].as_str()), (status, Some(code)), "{number}");
            assert_eq!(answer["data"]["certificate_base64"].is_string(), has_image, "{number}");
        }
        for (number, status) in [(9, 500), (10, 403), (11, 404), (99, 404)] {
            assert_eq!(certificate(&sandbox, number).await.0, status, "{number}");
        }
        let (one, thirteen) = (certificate(&sandbox, 1).await.1, certificate(&sandbox, 13).await.1);
        assert_eq!(one["data"]["uaekyc_id"], thirteen["data"]["uaekyc_id"]);
        assert_eq!(one["data"]["certificate_etag"], thirteen["data"]["certificate_etag"]);
        assert_eq!(ask(&sandbox, "GET", "/otk-service/v1/certificates/nonsense").await.0, 400);
        assert_eq!(sandbox.calls(&token(1)), 2);
    }

    #[tokio::test]
    async fn its_pictures_are_jpegs_of_the_promised_size() {
        let sandbox = sandbox();
        for (number, bytes) in [(1, 500_000), (14, 800_000)] {
            let (_, answer) = certificate(&sandbox, number).await;
            let url = answer["data"]["certificate_base64"].as_str().expect("an image").to_owned();
            let jpeg =
                BASE64_STANDARD.decode(url.strip_prefix("data:image/jpeg;base64,").expect("a JPEG")).expect("base64");
            assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]) && jpeg.ends_with(&[0xff, 0xd9]));
            assert!((bytes * 95 / 100..=bytes * 110 / 100).contains(&jpeg.len()), "{number}: {}", jpeg.len());
        }
    }

    #[tokio::test]
    async fn a_journey_can_be_revoked_live_and_a_key_is_required() {
        let sandbox = sandbox();
        assert_eq!(ask(&sandbox, "POST", &format!("/sandbox/journeys/{}/revoke", token(1))).await.0, 200);
        assert_eq!(certificate(&sandbox, 1).await.1["data"]["active_status"]["code"], "REVOKED");
        assert_eq!(ask(&sandbox, "GET", &format!("/sandbox/journeys/{}/revoke", token(1))).await.0, 405);
        let request =
            Request::builder().uri(format!("/otk-service/v1/certificates/{}", token(1))).body(()).expect("a request");
        assert_eq!(sandbox.answer(request).await.status(), 401);
    }
}

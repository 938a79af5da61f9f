//! The authority as a script: what it says about certificates, and a plain server for its other calls.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use otk_gateway::certificate::JourneyToken;
use otk_gateway::clock::Clock;
use otk_gateway::gateway::{Answering, Authority, Witness};
use otk_gateway::serve::{self, Address, Counters, Peer};
use otk_gateway::shutdown;
use otk_gateway::upstream::{Errand, Error, Fetched, Watch as _};
use otk_gateway_fuzz::curve;
use serde_json::{Value, json};

/// When all of this happens.
pub const NOON: &str = "2025-05-13T12:00:00.000Z";

/// Of all tokens but the last two digits; those choose the story.
pub const JOURNEYS: &str = "00000000-0000-4000-8000-0000000000";

/// The image of journey 01, which may be shown.
pub const SHOWN: &[u8] = b"\xff\xd8\xff\xe0an image that may be shown to whoever may see it";

/// The image of all the others, which must not.
pub const HIDDEN: &[u8] = b"\xff\xd8\xff\xe0no image that anybody may ever be shown for what";

/// Must not come back either.
pub const API_KEY: &str = "key-that-must-not-leak-4711";

/// Answers at once.
pub struct Script {
    clock: Arc<Clock>,
    stories: Vec<Result<(StatusCode, Bytes), Error>>,
}

impl Script {
    pub fn new(clock: Arc<Clock>) -> Self {
        let ok = |text: Value| Ok((StatusCode::OK, Bytes::from(text.to_string())));
        let expired = json!("2024-01-01T00:00:00Z");
        let old = json!("2025-05-13T11:00:00.000Z");
        let signed = |number, code, image, change: &dyn Fn(&mut Value)| ok(sign(answer(number, code, image, change)));
        let as_it_is: &dyn Fn(&mut Value) = &|_| ();
        let stories = vec![
            Err(Error::ServerError { is_passing: false }),
            signed(1, "ACTIVE", Some(SHOWN), as_it_is),
            signed(2, "REVOKED", None, as_it_is),
            signed(3, "EXPIRED", None, as_it_is),
            ok({
                let mut forged = sign(answer(4, "ACTIVE", Some(HIDDEN), as_it_is));
                forged["data"]["uaekyc_id"] = 5.into();
                forged
            }),
            signed(5, "REVOKED", Some(HIDDEN), as_it_is),
            signed(6, "ACTIVE", Some(HIDDEN), &|answer| answer["data"]["expires_on"] = expired.clone()),
            signed(7, "ACTIVE", Some(HIDDEN), &|answer| answer["meta"]["timestamp"] = old.clone()),
            ok(answer(8, "ACTIVE", Some(HIDDEN), as_it_is)),
            Ok((StatusCode::NOT_FOUND, Bytes::from_static(br#"{"success":false,"message":"no such journey"}"#))),
        ];
        Self { clock, stories }
    }
}

impl Authority for Script {
    fn certificate(&self, token: JourneyToken, _: Errand, witness: Witness) -> Answering {
        let sent = self.clock.now();
        witness.sent(sent);
        let path = token.to_path();
        let number = path.strip_prefix(JOURNEYS).and_then(|number| number.parse::<usize>().ok());
        let story = number.and_then(|number| self.stories.get(number)).unwrap_or(&self.stories[0]);
        let received = self.clock.now();
        let fetched = story.clone().map(|(status, body)| Fetched { status, body, sent, received, age: Duration::ZERO });
        Box::pin(std::future::ready(fetched))
    }
}

/// The usual answer about a person who has this number.
fn answer(number: u64, code: &str, image: Option<&[u8]>, change: &dyn Fn(&mut Value)) -> Value {
    let mut answer = json!({
        "success": true,
        "data": {
            "uaekyc_id": number,
            "certificate_base64": image.map(|bytes| format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(bytes))),
            "certificate_etag": image.map(|_| format!("etag-of-{number}")),
            "issued_on": "2025-01-15T10:30:45.123Z",
            "expires_on": "2026-01-15T10:30:45.123Z",
            "active_status": { "code": code, "messages": "" },
            "last_updated": "2025-01-15T14:30:45.123456+04:00",
        },
        "message": "", "meta": { "timestamp": NOON, "filters": {} }, "errors": [],
    });
    change(&mut answer);
    answer
}

/// serde_json sorts the keys, which for these answers is canonical.
fn sign(mut answer: Value) -> Value {
    answer["signature"] = curve::sign(&answer.to_string(), false).into();
    answer
}

/// Starts the server for the other calls; returns its URL.
pub fn start() -> String {
    let any_port = Address::Socket(([127, 0, 0, 1], 0).into());
    let listeners = serve::bind(&any_port).expect("a port");
    let url = format!("http://{}", listeners[0].local_addr().expect("bound"));
    let settings = Arc::new(ArcSwap::from_pointee(crate::SERVE));
    let (running, drain) = shutdown::drain();
    std::mem::forget(running); // it serves until the process ends
    let host = url.trim_start_matches("http://").to_owned();
    let answer = move |request: Request<Incoming>, _: Peer| {
        is_clean(request.headers(), &host);
        std::future::ready(other_call(request.method(), request.uri().path()))
    };
    tokio::spawn(serve::run(listeners, answer, settings, Arc::new(Counters::default()), drain));
    url
}

fn other_call(method: &Method, path: &str) -> Response<Full<Bytes>> {
    let text = match *method {
        // A certificate where none belongs.
        Method::GET if path.ends_with("/twice") => {
            let image = answer(9, "ACTIVE", Some(HIDDEN), &|_| ())["data"]["certificate_base64"].to_string();
            format!(r#"{{"certificate_base64":null,"\u0063ertificate_base64":{image}}}"#)
        }
        Method::GET => sign(answer(9, "ACTIVE", Some(HIDDEN), &|_| ())).to_string(),
        Method::POST => r#"{"success":true,"data":{"url":"https://otk.example"},"signature":""}"#.to_owned(),
        _ => format!("plain {}", path.len()),
    };
    let response = Response::builder().header("set-cookie", "a=b").header("otk-gateway-status", "ACTIVE");
    response.header("x-transaction-key", API_KEY).body(Full::new(text.into())).expect("an answer")
}

/// What the contract says never goes upwards, and what always does.
fn is_clean(headers: &HeaderMap, host: &str) {
    let one = |name: &str| {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0].to_str().expect("text").to_owned()
    };
    assert_eq!(one("host"), host);
    assert_eq!(one("x-transaction-key"), API_KEY);
    for name in headers.keys() {
        let name = name.as_str();
        let is_kept_back = ["authorization", "cookie", "forwarded", "x-original-url", "x-rewrite-url"].contains(&name)
            || ["x-http-method-override", "connection", "keep-alive", "te", "trailer", "upgrade"].contains(&name)
            || name.starts_with("x-forwarded-")
            || name.starts_with("otk-gateway-")
            || name.starts_with("proxy-");
        assert!(!is_kept_back, "{name} went upwards");
    }
}

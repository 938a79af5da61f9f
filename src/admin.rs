//! The operators' listener: alive, ready, counted, and a few things they may do.
//!
//! `/livez`, `/readyz` and `/metrics` answer anybody who can reach the listener; the rest answers this machine only, after the
//! same checks of host and origin as on the data listener, for a web page must not be able to purge anything.
//!
//! Never: prints the environment, the configuration, a key. Tokens and persons appear in `/expiring`, which is what it is for,
//! and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use crate::audit::Audit;
use crate::budget::circuit::Standing as Circuit;
use crate::cache::Purge;
use crate::certificate::{Etag, JourneyToken, PersonId, Timestamp};
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::metrics::{Distribution, Gauges, Metrics};
use crate::proxy::bearer::Bearer;
use crate::proxy::error::{self, Refusal};
use crate::proxy::gate::Gate;
use crate::proxy::{self, new_request_id};
use crate::reason::Reason;
use crate::rotation::Standing;
use crate::serve::{Counters, Peer};
use crate::telemetry::{Logs, Pseudonyms};
use crate::trace::export::Exporter;
use crate::upstream::Upstream;

/// Answers the admin listener's requests.
pub struct Admin {
    /// Whether the gateway takes requests.
    pub ready: Readiness,
    /// The rooms it looks into.
    pub rooms: Rooms,
    /// Who may ask, by host and origin.
    pub gate: Arc<ArcSwap<Gate>>,
    /// What a peer from elsewhere has to bear for anything but health and metrics.
    pub token: Arc<Bearer>,
    /// When this process began.
    pub started: Instant,
}

/// What the summary and the metrics are made of.
pub struct Rooms {
    /// The hub.
    pub gateway: Arc<Gateway>,
    /// For its pauses and turns.
    pub upstream: Upstream,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// For journeys' names.
    pub pseudonyms: Pseudonyms,
    /// For the times in errors.
    pub clock: Arc<Clock>,
    /// Connections of the data listener.
    pub data: Arc<Counters>,
    /// Connections of this one.
    pub admin: Arc<Counters>,
    /// For the count of dropped lines; none in a test.
    pub logs: Option<Arc<Logs>>,
    /// For how the record stands.
    pub audit: Arc<Audit>,
    /// For the count of spans that were dropped.
    pub traces: Option<Exporter>,
    /// Whoever put the rooms together.
    pub operations: Arc<dyn Operations>,
}

/// What operators can ask of whoever put the rooms together.
pub trait Operations: Send + Sync {
    /// Reads the configuration again and puts it into force, or tells everything that is wrong with it.
    fn reload(&self) -> Result<Reloaded, Vec<String>>;
    /// The configuration that was read last is the one in force.
    fn is_last_reload_good(&self) -> bool;
    /// How the secrets stand.
    fn secrets(&self) -> Vec<Standing>;
    /// When the certificates end that this gateway shows, by role.
    fn tls_ends(&self) -> Vec<(&'static str, Timestamp)>;
}

/// A configuration was read again and is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose new value waits for a restart.
    pub restart_needed: Vec<&'static str>,
    /// What to think about.
    pub warnings: Vec<String>,
}

/// A latch: ready once, then no more.
#[derive(Debug, Default)]
pub struct Readiness {
    is_serving: AtomicBool,
    is_draining: AtomicBool,
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>, peer: Peer) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (parts, body) = request.into_parts();
        let answered = self.route(&parts, body, peer).await;
        let mut answer = answered.unwrap_or_else(|refusal| {
            error::error_response(&refusal, self.rooms.clock.now().wall(), &new_request_id()).map(Full::new)
        });
        if parts.method == Method::HEAD {
            *answer.body_mut() = Full::default();
        }
        answer
    }

    async fn route<B>(&self, parts: &Parts, body: B, peer: Peer) -> Result<Answer, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let path = parts.uri.path();
        let route = ROUTES.iter().find(|(known, ..)| *known == path);
        let is_open = matches!(path, "/livez" | "/readyz" | "/metrics");
        if !is_open {
            self.gate.load().admit(parts)?;
            self.authenticate(parts, peer)?;
        }
        let Some((_, methods)) = route else { return Ok(not_found()) };
        if !methods.split(", ").any(|method| method == parts.method) {
            return Err(Refusal::of(Reason::MethodNotAllowed).allowing(*methods));
        }
        match path {
            "/livez" => Ok(text(StatusCode::OK, "alive\n".into())),
            "/readyz" => Ok(self.readyz()),
            "/metrics" => Ok(self.metrics()),
            "/status" => Ok(json_answer(StatusCode::OK, &self.status())),
            "/expiring" => self.expiring(parts.uri.query()),
            "/explain" => self.explain(&proxy::read(body, MAX_BODY, BODY_TIMEOUT).await?),
            "/reload" => {
                proxy::read(body, MAX_BODY, BODY_TIMEOUT).await?;
                self.reload().await
            }
            _ => self.purge(&proxy::read(body, MAX_BODY, BODY_TIMEOUT).await?),
        }
    }

    /// This machine is trusted; others bear the token, and where there is none they may not.
    fn authenticate(&self, parts: &Parts, peer: Peer) -> Result<(), Refusal> {
        if peer.is_loopback {
            return Ok(());
        }
        if !self.token.is_expected() {
            return Err(Refusal::of(Reason::ClientUnauthenticated));
        }
        Ok(self.token.admit(&parts.headers)?)
    }

    /// A secret that could not be renewed is no reason to take no requests, but it is said here too.
    fn readyz(&self) -> Answer {
        let missing = self.ready.missing();
        let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let secrets = self.rooms.operations.secrets();
        let unusable: Vec<_> = secrets.iter().filter(|one| !one.is_usable).map(|one| one.secret).collect();
        json_answer(status, &json!({ "ready": missing.is_empty(), "missing": missing, "unusable_secrets": unusable }))
    }

    /// Files may be slow, so not on the threads that serve.
    async fn reload(&self) -> Result<Answer, Refusal> {
        let operations = self.rooms.operations.clone();
        let ended = tokio::task::spawn_blocking(move || operations.reload()).await;
        Ok(match ended.map_err(|_| Refusal::of(Reason::Internal))? {
            Ok(Reloaded { restart_needed, warnings }) => {
                let body = json!({ "reloaded": true, "restart_needed": restart_needed, "warnings": warnings });
                json_answer(StatusCode::OK, &body)
            }
            Err(complaints) => {
                let body = json!({ "reloaded": false, "complaints": complaints });
                json_answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
            }
        })
    }

    fn metrics(&self) -> Answer {
        let mut answer = text(StatusCode::OK, self.rooms.metrics.render(&self.gauges()));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
        answer
    }

    fn gauges(&self) -> Gauges {
        let Rooms { gateway, upstream, data, admin, logs, operations, .. } = &self.rooms;
        let fill = gateway.fill();
        let load = |of: fn(&Counters) -> &std::sync::atomic::AtomicU64| {
            [of(data), of(admin)].map(|count| count.load(Ordering::Relaxed))
        };
        Gauges {
            image_bytes: fill.image_bytes,
            images: fill.images,
            journeys: fill.journeys as u64,
            expiring: [7, 30, 90].map(|days| gateway.count_expiring(days * DAY) as u64),
            connections: load(|counters| &counters.open),
            connections_refused: load(|counters| &counters.refused),
            log_lines_dropped: logs.as_ref().map_or(0, |logs| logs.dropped()),
            is_circuit_open: upstream.budget().circuit() != Circuit::Closed,
            is_last_reload_good: operations.is_last_reload_good(),
            secrets: operations.secrets(),
            tls_ends: operations.tls_ends(),
            audit: self.rooms.audit.standing(),
            spans_dropped: self.rooms.traces.as_ref().map_or(0, Exporter::dropped),
        }
    }

    /// The summary: what the page shows, and what an operator's script reads.
    fn status(&self) -> Value {
        let Rooms { gateway, upstream, metrics, .. } = &self.rooms;
        let (gauges, counted) = (self.gauges(), metrics.summary());
        let missing = self.ready.missing();
        let capacity = gateway.capacity();
        let suspended = upstream.budget().pause_left();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "ready": missing.is_empty(),
            "missing": missing,
            "in_flight_requests": metrics.in_flight(),
            "cache": {
                "image_bytes": gauges.image_bytes,
                "image_capacity": capacity.image_capacity,
                "images": gauges.images,
                "journeys": gauges.journeys,
                "max_journeys": capacity.max_journeys,
                "requests": all(&counted.cache),
            },
            "releases": all(&counted.releases),
            "withheld": seen(&counted.withheld),
            "refusals": seen(&counted.refused),
            "exposure": distribution(&counted.confirmation_age, Some(gateway.max_exposure())),
            "upstream": {
                "requests": all(&counted.upstream),
                "latency": distribution(&counted.upstream_duration, None),
                "requests_per_second": upstream.budget().requests_per_second(),
                "free_turns": upstream.budget().free_turns(),
                "suspended_seconds": suspended.map_or(0, |left| left.as_secs() + 1),
                "circuit": upstream.budget().circuit().as_str(),
                "clock_offset_seconds": counted.clock_offset,
                "keys": gateway.keys().ids().map(|id| id.to_string()).collect::<Vec<_>>(),
            },
            "secrets": gauges.secrets.iter().map(secret).collect::<Vec<_>>(),
            "tls": gauges.tls_ends.iter().map(tls_end).collect::<Vec<_>>(),
            "certificates_expiring": { "7d": gauges.expiring[0], "30d": gauges.expiring[1], "90d": gauges.expiring[2] },
            "audit": gauges.audit.map(|audit| json!({ "writable": audit.is_writable, "failures": audit.failures })),
            "config": { "last_reload_successful": gauges.is_last_reload_good },
        })
    }

    fn expiring(&self, query: Option<&str>) -> Result<Answer, Refusal> {
        let within = match query.map(|query| query.strip_prefix("within=")) {
            None => 30 * DAY,
            Some(Some(text)) => span(text).ok_or_else(|| invalid("within takes a number and a unit: 12h, 30d"))?,
            Some(None) => return Err(invalid("the query may hold within=30d and nothing else")),
        };
        let now = self.rooms.clock.now().wall();
        let listed: Vec<Value> = self
            .rooms
            .gateway
            .expiring(within)
            .iter()
            .map(|expiring| {
                json!({
                    "token": expiring.journey.to_path(),
                    "uaekyc_id": expiring.person.map(|person| person.0),
                    "expires_on": expiring.expires_on.to_rfc3339(),
                    "days_left": expiring.expires_on.since(now).as_secs() / DAY.as_secs(),
                })
            })
            .collect();
        Ok(json_answer(StatusCode::OK, &Value::from(listed)))
    }

    fn explain(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let token =
            read_explain(body).ok_or_else(|| invalid("the body is JSON with the one member journey, a UUID v4"))?;
        let explanation = self.rooms.gateway.explain(&token);
        let outcomes: Vec<Value> =
            explanation.outcomes.iter().map(|(at, word)| json!({ "at": at.to_rfc3339(), "outcome": word })).collect();
        let held = explanation.held;
        let rules = held.as_ref().map(|held| {
            let word = |holds: bool| if holds { "pass" } else { "fail" };
            let numbered = held.rules.iter().zip(1..);
            numbered
                .map(|((name, holds), number)| json!({ "rule": number, "name": name, "result": word(*holds) }))
                .collect::<Value>()
        });
        Ok(json_answer(
            StatusCode::OK,
            &json!({
                "journey": self.rooms.pseudonyms.of(&token).to_string(),
                "status": held.as_ref().and_then(|held| held.status).map(|status| status.as_str()),
                "etag": held.as_ref().and_then(|held| held.etag.as_ref()).map(|etag| etag.as_str().to_owned()),
                "signed_at": held.as_ref().and_then(|held| held.signed).map(|signed| signed.to_rfc3339()),
                "age_seconds": held.as_ref().map(|held| held.age.as_secs()),
                "rules": rules,
                "outcomes": outcomes,
            }),
        ))
    }

    fn purge(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let (what, forget) = read_purge(body).ok_or_else(|| {
            invalid(
                "the body is JSON with exactly one of journey, uaekyc_id, etag and all:true, and forget:true or not",
            )
        })?;
        let purged = self.rooms.gateway.purge(&what, forget);
        tracing::info!(purged, forget, "purged");
        Ok(json_answer(StatusCode::OK, &json!({ "purged": purged })))
    }
}

fn all(counts: &[(&'static str, u64)]) -> Value {
    counts.iter().map(|(word, count)| ((*word).to_owned(), Value::from(*count))).collect::<Map<_, _>>().into()
}

/// Only what has happened: there are many reasons.
fn seen(counts: &[(&'static str, u64)]) -> Value {
    all(&counts.iter().filter(|(_, count)| *count > 0).copied().collect::<Vec<_>>())
}

/// Cumulative, as in the metrics; the last bucket has no bound.
fn distribution(of: &Distribution, most: Option<Duration>) -> Value {
    let buckets: Vec<_> = of.buckets.iter().map(|(bound, count)| json!({ "le": bound, "count": count })).collect();
    let count = of.buckets.last().map_or(0, |(_, count)| *count);
    let mut shown = json!({ "count": count, "sum_seconds": of.sum, "buckets": buckets });
    if let Some(most) = most {
        shown["max_seconds"] = most.as_secs_f64().into();
    }
    shown
}

fn secret(one: &Standing) -> Value {
    json!({
        "name": one.secret,
        "age_seconds": one.age.as_secs(),
        "usable": one.is_usable,
        "failures": one.failures,
    })
}

fn tls_end((role, end): &(&'static str, Timestamp)) -> Value {
    json!({ "role": role, "not_after": end.to_rfc3339() })
}

/// Exactly one selector, of the right type; nothing unknown beside it.
fn read_purge(body: &[u8]) -> Option<(Purge, bool)> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else { return None };
    let forget = match members.remove("forget") {
        None => false,
        Some(forget) => forget.as_bool()?,
    };
    let mut members = members.into_iter();
    let (name, value) = members.next()?;
    if members.next().is_some() {
        return None;
    }
    let what = match (name.as_str(), &value) {
        ("journey", Value::String(token)) => Purge::Journey(JourneyToken::parse(token)?),
        ("uaekyc_id", Value::Number(id)) => Purge::Person(PersonId(whole(id)?)),
        ("etag", Value::String(etag)) => Purge::Etag(Etag::parse(etag)?),
        ("all", Value::Bool(true)) => Purge::All,
        _ => return None,
    };
    Some((what, forget))
}

/// By value, as everywhere: 12345.0 is 12345.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let is_whole = |double: &f64| double.fract() == 0.0 && double.abs() < 9e15; // beyond that doubles skip integers
    number.as_i64().or_else(|| number.as_f64().filter(is_whole).map(|double| double as i64))
}

fn read_explain(body: &[u8]) -> Option<JourneyToken> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return None };
    let token = members.get("journey").filter(|_| members.len() == 1)?;
    JourneyToken::parse(token.as_str()?)
}

/// `30d`, `12h`, `45m`, `10s`.
fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds).filter(|seconds| *seconds <= MAX_SPAN)?))
}

fn not_found() -> Answer {
    json_answer(
        StatusCode::NOT_FOUND,
        &json!({ "message": "no such path here", "paths": ROUTES.map(|(path, _)| path) }),
    )
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = text(status, value.to_string() + "\n");
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn text(status: StatusCode, text: String) -> Answer {
    let length = HeaderValue::from(text.len());
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::of(Reason::InvalidRequest).saying(message)
}

// === impl Readiness ===

impl Readiness {
    /// Every listener is bound and serving.
    pub fn serving(&self) {
        self.is_serving.store(true, Ordering::SeqCst);
    }

    /// The end has begun.
    pub fn draining(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
    }

    fn missing(&self) -> Vec<&'static str> {
        let conditions = [
            ("serving", self.is_serving.load(Ordering::SeqCst)),
            ("not_draining", !self.is_draining.load(Ordering::SeqCst)),
        ];
        conditions.iter().filter(|(_, holds)| !holds).map(|(name, _)| *name).collect()
    }
}

const ROUTES: [(&str, &str); 8] = [
    ("/livez", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/status", "GET, HEAD"),
    ("/expiring", "GET, HEAD"),
    ("/explain", "POST"),
    ("/purge", "POST"),
    ("/reload", "POST"),
];

const MAX_BODY: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);

/// A hundred years: the certificates are valid for one.
const MAX_SPAN: u64 = 100 * 366 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_names_exactly_one_thing() {
        let token = "0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b";
        let journey = JourneyToken::parse(token).map(Purge::Journey).expect("a token");
        assert_eq!(read_purge(format!("{{\"journey\":\"{token}\"}}").as_bytes()), Some((journey, false)));
        assert_eq!(read_purge(br#"{"all":true,"forget":true}"#), Some((Purge::All, true)));
        assert_eq!(read_purge(br#"{"uaekyc_id":1}"#), Some((Purge::Person(PersonId(1)), false)));
        assert_eq!(read_purge(br#"{"uaekyc_id":1.0}"#), Some((Purge::Person(PersonId(1)), false)));
        assert_eq!(read_purge(br#"{"uaekyc_id":1.5}"#), None);
        for wrong in [
            "",
            "{}",
            "[]",
            "{\"all\":false}",
            "{\"all\":1}",
            "{\"journey\":\"x\"}",
            "{\"uaekyc_id\":\"1\"}",
            "{\"forget\":true}",
            "{\"all\":true,\"etag\":\"e\"}",
            "{\"all\":true,\"forget\":1}",
            "{\"every\":true}",
            "{\"etag\":\"\"}",
        ] {
            assert_eq!(read_purge(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_span_has_a_unit() {
        assert_eq!(span("30d"), Some(30 * DAY));
        assert_eq!(span("12h"), Some(Duration::from_secs(43_200)));
        for wrong in ["", "d", "30", "-1d", "1w", "99999999999999999999d", "1.5h", "1é"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ready_is_a_latch() {
        let ready = Readiness::default();
        assert_eq!(ready.missing(), ["serving"]);
        ready.serving();
        assert!(ready.missing().is_empty());
        ready.draining();
        ready.serving();
        assert_eq!(ready.missing(), ["not_draining"]);
    }
}

//! The HTTP face: one request in, one answer out.
//!
//! `route` says what a request asks for, the hub what may be answered, `respond` and `error` how that looks. Here they are
//! put in order, with what every answer has in common: a request id, `Via`, one count in the metrics, one line in the log.
//!
//! Never: cache, signature of a certificate, or the upstream's certificate call; those are the hub's.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, VIA};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::watch;

use crate::audit::{Audit, Entry, Event, Unrecorded};
use crate::certificate::{JourneyToken, Timestamp};
use crate::clock::Clock;
use crate::gateway::{CacheUse, Evidence, Forwarded, Gateway, Outcome, Telling, Told};
use crate::metrics::{Metrics, Route as RouteLabel};
use crate::reason::Reason;
use crate::serve::Peer;
use crate::telemetry::{Pseudonyms, RequestIds};
use crate::trace::Context;
use crate::trace::export::{Attribute, Exporter, Span};
use crate::upstream::Upstream;

use bearer::Bearer;
use body::Body;
use encodings::Encodings;
use error::Refusal;
use respond::{Answered, Face, Kind};
use route::Route;

pub mod bearer;
pub mod body;
pub mod conditional;
pub mod encodings;
pub mod error;
pub mod gate;
pub mod hygiene;
pub mod passthrough;
pub mod pattern;
pub mod respond;
pub mod route;

/// Answers the data listener's requests.
pub struct Proxy {
    encodings: Encodings,
    rooms: Rooms,
    settings: ArcSwap<Settings>,
    is_closing: watch::Sender<bool>,
}

/// The rooms that the HTTP face stands in front of.
pub struct Rooms {
    /// The hub.
    pub gateway: Arc<Gateway>,
    /// For the calls that are passed through.
    pub upstream: Upstream,
    /// For the times in errors.
    pub clock: Arc<Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// For journeys' names in logs.
    pub pseudonyms: Pseudonyms,
    /// For requests' names.
    pub request_ids: Arc<RequestIds>,
    /// The record of what was answered.
    pub audit: Arc<Audit>,
    /// The token that clients bear, if they must.
    pub client: Arc<Bearer>,
    /// Where spans go, if anywhere.
    pub traces: Option<Exporter>,
}

/// What the HTTP face is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts, origins and listed calls.
    pub rules: route::Rules,
    /// What is done about signatures, for each listed call.
    pub modes: Vec<passthrough::Mode>,
    /// Requests at once.
    pub max_requests: usize,
    /// Bytes of a request's body.
    pub max_request: usize,
    /// How long a client may take to send it.
    pub body_timeout: Duration,
}

/// What one request came to, for its log line and its place in the record.
struct Story {
    request_id: HeaderValue,
    peer: Peer,
    trace: Option<Context>,
    route: RouteLabel,
    journey: Option<JourneyToken>,
    reason: Option<Reason>,
    cache: Option<CacheUse>,
    exposure: Option<Duration>,
    upstream: Option<Duration>,
}

impl Proxy {
    /// A face for this hub.
    pub fn new(settings: Settings, rooms: Rooms) -> Self {
        let (is_closing, _) = watch::channel(false);
        Self { encodings: Encodings::new(), rooms, settings: ArcSwap::from_pointee(settings), is_closing }
    }

    /// Judges from now on by these.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// From now on nobody waits for the upstream any more: connections are about to be cut, and whoever waits is told so.
    pub fn close(&self) {
        self.is_closing.send_replace(true);
    }

    async fn closed(&self) {
        let _ = self.is_closing.subscribe().wait_for(|is_closing| *is_closing).await; // the sender lives in here
    }

    /// Answers one request, whatever happens inside.
    ///
    /// The request is taken apart before the future begins: what a future is given it keeps for good, beside what it makes of it.
    pub fn answer<B>(self: Arc<Self>, request: Request<B>, peer: Peer) -> impl Future<Output = Response<Body>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let began = Instant::now();
        let in_flight = self.rooms.metrics.begin_request();
        let (parts, body) = request.into_parts();
        let mut story = self.story(&parts, peer);
        let settings = self.settings.load_full();
        async move {
            let told = AssertUnwindSafe(self.tell(&parts, body, &settings, &mut story)).catch_unwind().await;
            let told = told.unwrap_or_else(|_| Err(Refusal::of(Reason::Internal)));
            self.finish(told, &parts, &settings, story, began.elapsed()).map(|body| body.until_out(in_flight))
        }
    }

    fn story(&self, parts: &Parts, peer: Peer) -> Story {
        let given = route::request_id(parts).and_then(|id| HeaderValue::from_str(id).ok());
        let request_id = given.unwrap_or_else(|| self.rooms.request_ids.next());
        let trace = Context::continued(&parts.headers).or_else(|| self.rooms.traces.is_some().then(Context::begun));
        Story::new(request_id, peer, trace)
    }

    /// What every answer gets, and what is told of it to those who watch.
    fn finish(
        &self,
        told: Result<Response<Body>, Refusal>,
        parts: &Parts,
        settings: &Settings,
        mut story: Story,
        took: Duration,
    ) -> Response<Body> {
        let mut response = told.unwrap_or_else(|refusal| {
            story.reason = Some(refusal.reason());
            self.rooms.metrics.refused(refusal.reason());
            error::error_response(&refusal, self.rooms.clock.now().wall(), story.request_id()).map(Body::whole)
        });
        sign_off(&mut response, parts, settings);
        let is_head = parts.method == Method::HEAD;
        if is_head {
            say_length(&mut response);
        }
        self.rooms.metrics.request(story.route, response.status().as_u16(), took);
        self.log(&story, &response, took);
        self.trace(&story, &parts.method, &response, took);
        response.headers_mut().insert(REQUEST_ID, story.request_id);
        if is_head { response.map(|_| Body::empty()) } else { response }
    }

    /// The order of things: room, framing, route, body, and then the hub or the upstream.
    async fn tell<B>(
        &self,
        parts: &Parts,
        body: B,
        settings: &Settings,
        story: &mut Story,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        if self.rooms.metrics.in_flight() > settings.max_requests {
            return Err(Refusal::of(Reason::Overloaded));
        }
        crate::serve::strict::framing(parts).map_err(|_| Refusal::of(Reason::InvalidRequest).closing())?;
        self.rooms.client.admit(&parts.headers)?;
        match route::route(parts, &settings.rules)? {
            Route::Certificate { token, as_image, no_cache, .. } => {
                story.route = if as_image { RouteLabel::Image } else { RouteLabel::Certificate };
                story.journey = Some(token);
                read(body, MAX_IDLE_BODY, settings.body_timeout).await?;
                let face = if as_image { Face::Image } else { Face::Json };
                self.certificate(token, no_cache, face, parts, story).await
            }
            Route::Passthrough { entry } => {
                story.route = RouteLabel::Passthrough;
                // What a GET's body says is nobody's concern; it is read so that the next request can be found, and dropped.
                let body = match parts.method {
                    Method::GET | Method::HEAD => {
                        read(body, MAX_IDLE_BODY, settings.body_timeout).await?;
                        Bytes::new()
                    }
                    _ => read(body, settings.max_request, settings.body_timeout).await?,
                };
                Box::pin(self.pass(parts, body, settings.modes[entry], story)).await
            }
        }
    }

    /// Asks the hub, and the record if one is kept; a decision that has been overtaken on the way there is made anew.
    async fn certificate(
        &self,
        token: JourneyToken,
        anew: bool,
        face: Face,
        parts: &Parts,
        story: &mut Story,
    ) -> Result<Response<Body>, Refusal> {
        for _ in 0..MAX_DECISIONS {
            story.upstream = None;
            let told = match self.rooms.gateway.certificate(token, anew, story.trace) {
                Telling::Told(told) => told,
                Telling::Asking(asking) => Box::pin(self.hear(asking, story)).await,
            };
            story.cache = Some(told.cache);
            let evidence = self.rooms.audit.is_on().then(|| told.evidence());
            let answered = respond::certificate(told, face, &parts.headers, &self.encodings);
            let Some(evidence) = evidence else { return self.count(answered, story) };
            if let Some(answered) = Box::pin(self.record(&token, answered, evidence, story)).await {
                return self.count(answered, story);
            }
        }
        Err(self.withheld(Refusal::of(Reason::Overloaded)))
    }

    /// Waits for the end of a call, unless nobody is to wait any more.
    async fn hear(&self, asking: impl Future<Output = Told>, story: &mut Story) -> Told {
        let asked = Instant::now();
        let told = tokio::select! {
            biased;
            told = asking => told,
            () = self.closed() => Told { outcome: Outcome::Refuse(Reason::ShuttingDown.into()), cache: ASKED },
        };
        story.upstream = Some(asked.elapsed());
        told
    }

    /// Writes the line of this answer before it leaves. `None`: the decision does not stand any more.
    async fn record(
        &self,
        token: &JourneyToken,
        answered: Result<Answered, Refusal>,
        evidence: Evidence,
        story: &Story,
    ) -> Option<Result<Answered, Refusal>> {
        let (event, representation, status, reason) = match &answered {
            Ok(Answered { kind: Kind::Released(representation, _), response }) => {
                (Event::Released, Some(*representation), response.status(), None)
            }
            Ok(Answered { kind: Kind::Withheld(reason), response }) => {
                (Event::Withheld, None, response.status(), Some(*reason))
            }
            Ok(Answered { kind: Kind::Passed, response }) => (Event::Refused, None, response.status(), None),
            Err(refusal) => (refusal_event(refusal), None, refusal.status(), Some(refusal.reason())),
        };
        let client = story.client();
        let entry = Entry {
            journey: Some(token),
            etag: evidence.etag.as_ref(),
            representation,
            status: Some(status.as_u16()),
            client: Some(&client),
            reason,
            signed_at: evidence.signed,
            confirmed_at: evidence.sent,
            request_id: Some(story.request_id()),
            ..Entry::of(event)
        };
        let stands = || evidence.grounds.is_none_or(|grounds| self.rooms.gateway.stands(token, &grounds));
        let receipt = self.rooms.audit.record(entry, stands)?;
        match receipt.written().await {
            Err(Unrecorded) if event == Event::Released => Some(Err(Refusal::of(Reason::AuditUnavailable))),
            Ok(()) | Err(Unrecorded) => Some(answered),
        }
    }

    fn count(&self, answered: Result<Answered, Refusal>, story: &mut Story) -> Result<Response<Body>, Refusal> {
        let answered = answered.map_err(|refusal| self.withheld(refusal))?;
        match answered.kind {
            Kind::Released(representation, age) => {
                story.exposure = Some(age);
                self.rooms.metrics.released(representation, age);
            }
            Kind::Withheld(reason) => {
                story.reason = Some(reason);
                self.rooms.metrics.withheld(reason);
            }
            Kind::Passed => {}
        }
        Ok(answered.response)
    }

    /// A certificate that was asked for is not given.
    fn withheld(&self, refusal: Refusal) -> Refusal {
        self.rooms.metrics.withheld(refusal.reason());
        refusal
    }

    async fn pass(
        &self,
        parts: &Parts,
        body: Bytes,
        mode: passthrough::Mode,
        story: &mut Story,
    ) -> Result<Response<Body>, Refusal> {
        let path_and_query = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let call = passthrough::Call {
            method: parts.method.clone(),
            path_and_query,
            headers: &parts.headers,
            version: parts.version,
            body,
            request_id: story.request_id(),
            trace: story.trace,
        };
        let asked = Instant::now();
        let keys = self.rooms.gateway.keys();
        let passed = tokio::select! {
            biased;
            passed = passthrough::pass(call, mode, &self.rooms.upstream, &keys) => passed,
            () = self.closed() => Err(Refusal::of(Reason::ShuttingDown)),
        };
        story.upstream = Some(asked.elapsed());
        let mut response = passed?;
        response.headers_mut().insert(respond::CACHE_STATUS, HeaderValue::from_static("otk-gateway; fwd=bypass"));
        Ok(response)
    }

    fn log(&self, story: &Story, response: &Response<Body>, took: Duration) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return; // a journey's name is a hash, which costs more than the rest of a short answer
        }
        let journey = story.journey.map(|token| self.rooms.pseudonyms.of(&token));
        tracing::info!(
            request_id = story.request_id(),
            trace_id = story.trace.map(|trace| trace.trace_id()),
            journey = journey.map(tracing::field::display),
            route = story.route.as_str(),
            status = response.status().as_u16(),
            reason = story.reason.map(Reason::as_str),
            cache = story.cache.map(CacheUse::as_str),
            exposure_ms = story.exposure.map(|age| age.as_millis() as u64),
            upstream_us = story.upstream.map(|took| took.as_micros() as u64),
            took_us = took.as_micros() as u64,
            bytes = http_body::Body::size_hint(response.body()).exact(),
            "request"
        );
    }

    fn trace(&self, story: &Story, method: &Method, response: &Response<Body>, took: Duration) {
        let (Some(traces), Some(context)) = (&self.rooms.traces, story.trace) else { return };
        let now = self.rooms.clock.now().wall();
        let known = KNOWN_METHODS.iter().find(|known| *known == method).map_or("_OTHER", |known| known.as_str());
        let text = |text: &str| Attribute::Text(text.to_owned());
        let mut attributes = vec![
            ("http.request.method", text(known)),
            ("http.route", text(story.route.as_str())),
            ("http.response.status_code", Attribute::Number(response.status().as_u16().into())),
            ("otk_gateway.request_id", text(story.request_id())),
        ];
        let journey = story.journey.map(|token| self.rooms.pseudonyms.of(&token).to_string());
        attributes.extend(journey.map(|name| ("otk_gateway.journey", Attribute::Text(name))));
        attributes.extend(story.cache.map(|cache| ("otk_gateway.cache", text(cache.as_str()))));
        attributes.extend(story.reason.map(|reason| ("error.type", text(reason.as_str()))));
        let millis = |took: Duration| Attribute::Number(took.as_millis() as i64);
        attributes.extend(story.exposure.map(|age| ("otk_gateway.exposure_ms", millis(age))));
        attributes.extend(story.upstream.map(|took| ("otk_gateway.upstream_ms", millis(took))));
        traces.take(Span {
            context,
            name: format!("{known} {}", story.route.as_str()),
            begun: Timestamp::from_nanos(i128::from(now.0) - took.as_nanos() as i128),
            took,
            attributes,
            is_error: response.status().is_server_error(),
        });
    }
}

// === impl Story ===

impl Story {
    fn new(request_id: HeaderValue, peer: Peer, trace: Option<Context>) -> Self {
        let route = RouteLabel::Other;
        Self {
            request_id,
            peer,
            trace,
            route,
            journey: None,
            reason: None,
            cache: None,
            exposure: None,
            upstream: None,
        }
    }

    fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// Who asked, as the record says it.
    fn client(&self) -> String {
        match self.peer.address {
            Some(address) if !self.peer.is_loopback => address.ip().to_canonical().to_string(),
            _ => "local".to_owned(),
        }
    }
}

/// On the image's path a withheld certificate is an error of ours; in the record it is withheld like any other.
fn refusal_event(refusal: &Refusal) -> Event {
    match refusal.reason() {
        Reason::CertificateRevoked | Reason::CertificateExpired => Event::Withheld,
        _ => Event::Refused,
    }
}

/// Reads a body to its end, up to a bound in bytes and in time.
///
/// What a hit never does is boxed, here and below: the future of a request is moved several times before it runs.
pub(crate) async fn read<B>(body: B, at_most: usize, within: Duration) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let slow = || Refusal::of(Reason::InvalidRequest).saying("the body of the request did not come in time").closing();
    Box::pin(tokio::time::timeout(within, read_all(body, at_most))).await.unwrap_or_else(|_| Err(slow()))
}

async fn read_all<B>(mut body: B, at_most: usize) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let too_large = || Refusal::of(Reason::RequestTooLarge).closing();
    if body.size_hint().lower() > at_most as u64 {
        return Err(too_large());
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Refusal::of(Reason::InvalidRequest).saying("the body of the request broke off").closing();
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if read.len() + data.len() > at_most {
            return Err(too_large());
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// What every answer carries.
fn sign_off(response: &mut Response<Body>, parts: &Parts, settings: &Settings) {
    let headers = response.headers_mut();
    headers.entry(VIA).or_insert_with(|| hygiene::via(parts.version));
    if crate::serve::strict::must_close(parts) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(origin) = settings.rules.gate.embedding_origin(&parts.headers) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// An answer to HEAD says how long the body would have been; other answers' bodies say it themselves.
fn say_length(response: &mut Response<Body>) {
    let length = http_body::Body::size_hint(response.body()).exact();
    let has_body = response.status() != http::StatusCode::NOT_MODIFIED;
    if let Some(length) = length.filter(|_| has_body && !response.headers().contains_key(CONTENT_LENGTH)) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How the cache takes part in an answer that was not waited for: whether an old one is held does not matter any more.
const ASKED: CacheUse = CacheUse::Forwarded { why: Forwarded::Miss, collapsed: false };

/// A GET's body means nothing; so much of it is read and dropped.
const MAX_IDLE_BODY: usize = 64 * 1024;

/// A request whose decisions keep being overtaken before they are recorded is told to come back.
const MAX_DECISIONS: usize = 3;

/// Of these the name stands in a trace; of others, which clients make up, it does not.
const KNOWN_METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

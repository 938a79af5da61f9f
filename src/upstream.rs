//! The only room that calls the authority.
//!
//! A call carries our key, waits for its turn, is bounded in time and in bytes, is tried again once where that is safe, and
//! ends in bytes or in an `Error` that says whose fault it was. It is never conditional and never redirected: a 304 or a 3xx
//! comes back as it is, and proves nothing.
//!
//! Never: parses JSON, caches, logs.
//!
//! The surprising decision: the pool of the HTTP library may not retry by itself, although it would know a connection that
//! died while idle. Every attempt takes a turn under the upstream's limit, and a retry nobody counted would break it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, Sleep};

use crate::budget::{Budget, Denied, Priority, Turn};
use crate::certificate::JourneyToken;
use crate::clock::{Clock, Moment};
use crate::metrics::{LimitedBy, Metrics, Outcome};
use crate::reason::Reason;
use crate::trace::{Context, TRACEPARENT};
use connect::{Born, Connector, Failed};

pub mod connect;
pub mod tls;

/// Where the upstream is and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host, and perhaps a path that comes before `/otk-service`.
    pub base_url: Uri,
    /// Name, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// The whole exchange, retries included, waiting for the first turn not.
    pub request_timeout: Duration,
    /// How often a failed GET is tried again.
    pub retries: u32,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// How long any connection is kept.
    pub connection_max_age: Duration,
    /// Bytes of an answer's body.
    pub max_response: usize,
    /// An egress proxy that takes CONNECT.
    pub proxy: Option<Uri>,
}

/// The way to the upstream; cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    way: ArcSwap<Way>,
    budget: Arc<Budget>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    api_key: ArcSwap<HeaderValue>,
}

/// Where calls go, and the connections there; replaced as one.
struct Way {
    client: Client<Connector, Full<Bytes>>,
    settings: Settings,
}

/// An answer about a certificate, unread.
#[derive(Clone)]
pub struct Fetched {
    /// 2xx, 3xx, or a 4xx that is not about our key or our rate.
    pub status: StatusCode,
    /// All of it.
    pub body: Bytes,
    /// Just before the call that brought it went out.
    pub sent: Moment,
    /// When it was whole.
    pub received: Moment,
    /// How long a cache on the way says it held it; forever if that cannot be read.
    pub age: Duration,
}

/// How a call about a certificate is made.
#[derive(Clone, Copy, Debug)]
pub struct Errand {
    /// How urgent it is.
    pub priority: Priority,
    /// The request that caused it, if one did. Others that share the call have traces of their own.
    pub trace: Option<Context>,
}

/// Whoever wants to know how a call about a certificate goes on.
pub trait Watch: Sync {
    /// The next attempt goes out now.
    fn sent(&self, at: Moment);
    /// This came with a status that says something about us, not about the certificate.
    fn refused(&self, fetched: Fetched);
}

/// One attempt of a call about a certificate.
#[derive(Clone, Copy)]
struct Attempt {
    trace: Option<Context>,
    sent: Moment,
    deadline: Instant,
}

/// Another call, for the upstream to answer as it likes.
pub struct Forward {
    /// Any.
    pub method: Method,
    /// Begins with `/`.
    pub path_and_query: String,
    /// Without anything that is ours or of one connection only.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

/// The body of an answer that is handed on; holds the call's place, and ends with an error where the upstream broke off.
pub struct Body {
    incoming: Incoming,
    deadline: Pin<Box<Sleep>>,
    _turn: Turn,
}

/// The body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The connection ended first.
    Closed,
    /// What came breaks HTTP.
    Malformed,
    /// The time for the exchange did.
    Timeout,
}

/// Why a call brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It did not start.
    Denied(Denied),
    /// No connection.
    Connect,
    /// No TLS session.
    Tls,
    /// The connection ended before the answer was whole.
    Closed,
    /// No answer in time.
    Timeout,
    /// An answer that breaks HTTP, or came encoded though none was asked for.
    Malformed,
    /// A body beyond the cap.
    TooLarge,
    /// 401.
    RejectedKey,
    /// 403.
    Forbidden,
    /// 429.
    RateLimited {
        /// How long the upstream wants to be left alone.
        retry_after: Duration,
    },
    /// 5xx.
    ServerError {
        /// Worth another try: 502, 503 or 504, and no wish to be left alone.
        is_passing: bool,
    },
}

impl Upstream {
    /// A pool without connections yet.
    pub fn new(
        settings: Settings,
        tls: Option<Arc<rustls::ClientConfig>>,
        api_key: HeaderValue,
        budget: Arc<Budget>,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let way = ArcSwap::from_pointee(Way::new(settings, tls));
        let api_key = ArcSwap::from_pointee(sensitive(api_key));
        Self(Arc::new(Inner { way, budget, clock, metrics, api_key }))
    }

    /// Calls there from the next call on, over new connections. A call whose `sent` is later than the return of this went the
    /// new way.
    pub fn replace_way(&self, settings: Settings, tls: Option<Arc<rustls::ClientConfig>>) {
        self.0.way.store(Arc::new(Way::new(settings, tls)));
    }

    /// Whose turn it is.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Uses another key from the next call on.
    pub fn replace_api_key(&self, api_key: HeaderValue) {
        self.0.api_key.store(Arc::new(sensitive(api_key)));
    }

    /// Bytes that the body of an answer may have.
    pub fn max_response(&self) -> usize {
        self.0.way.load().settings.max_response
    }

    /// Get Certificate. `watch` is told the moment before each attempt goes out, so that no age counted from it is too short,
    /// and what came with each refusal.
    pub async fn certificate(
        &self,
        token: &JourneyToken,
        errand: Errand,
        watch: &impl Watch,
    ) -> Result<Fetched, Error> {
        let mut turn = self.turn(Some(token), errand.priority).await?;
        let ended = self.exchange(token, errand, &mut turn, watch).await;
        let is_outage = ended.as_ref().is_err_and(Error::is_outage);
        self.0.budget.ended(&mut turn, Some(token), is_outage);
        ended
    }

    /// The first attempt, in this turn, and the retries, each in one of its own.
    async fn exchange(
        &self,
        token: &JourneyToken,
        errand: Errand,
        turn: &mut Turn,
        watch: &impl Watch,
    ) -> Result<Fetched, Error> {
        let settings = self.0.way.load().settings.clone();
        let deadline = Instant::now() + settings.request_timeout;
        let mut retries_left = if turn.is_probe() { 0 } else { settings.retries };
        loop {
            let sent = self.0.clock.now();
            watch.sent(sent);
            let attempt = Attempt { trace: errand.trace, sent, deadline };
            let failed = match self.attempt_certificate(token, attempt, watch).await {
                Err(error) if error.is_passing() && retries_left > 0 => error,
                ended => return ended,
            };
            retries_left -= 1;
            turn.leave_place();
            let another = tokio::time::timeout_at(deadline, self.turn(Some(token), errand.priority)).await;
            *turn = match another {
                Ok(Ok(turn)) => turn,
                Ok(Err(_)) | Err(_) => return Err(failed), // what went wrong tells more than that there was no second try
            };
        }
    }

    /// Any other call, answered by the upstream as it likes; the body comes as it comes.
    pub async fn forward(&self, forward: Forward) -> Result<Response<Body>, Error> {
        let mut turn = self.turn(None, Priority::Foreground).await?;
        let settings = self.0.way.load().settings.clone();
        let deadline = Instant::now() + settings.request_timeout;
        let ended = self.exchange_forward(&forward, deadline, settings.retries, &mut turn).await;
        match &ended {
            Ok(response) => self.0.budget.ended(&mut turn, None, response.status().is_server_error()),
            Err(error) => self.0.budget.ended(&mut turn, None, error.is_outage()),
        }
        let deadline = Box::pin(tokio::time::sleep_until(deadline));
        Ok(ended?.map(|incoming| Body { incoming, deadline, _turn: turn }))
    }

    async fn exchange_forward(
        &self,
        forward: &Forward,
        deadline: Instant,
        retries: u32,
        turn: &mut Turn,
    ) -> Result<Response<Incoming>, Error> {
        let may_retry = forward.method == Method::GET && !turn.is_probe();
        let mut retries_left = if may_retry { retries } else { 0 };
        loop {
            let failed = match self.attempt_forward(forward, deadline).await {
                Err(error) if error.is_passing() && retries_left > 0 => Err(error),
                Ok(response) if is_passing(response.status(), response.headers()) && retries_left > 0 => Ok(response),
                ended => return ended,
            };
            retries_left -= 1;
            turn.leave_place();
            let another = tokio::time::timeout_at(deadline, self.turn(None, Priority::Foreground)).await;
            *turn = match another {
                Ok(Ok(turn)) => turn,
                Ok(Err(_)) | Err(_) => return failed, // as for certificates
            };
        }
    }

    async fn turn(&self, journey: Option<&JourneyToken>, priority: Priority) -> Result<Turn, Error> {
        let turn = self.0.budget.turn(journey, priority).await;
        match &turn {
            Ok(turn) => self.0.metrics.rate_wait(turn.waited),
            Err(Denied::RateLimited { journey: true, .. }) => self.0.metrics.rate_limited(LimitedBy::Journey),
            Err(Denied::RateLimited { .. }) => self.0.metrics.rate_limited(LimitedBy::Gateway),
            Err(Denied::Pausing { .. }) => self.0.metrics.rate_limited(LimitedBy::Upstream),
            Err(Denied::Suspended { .. } | Denied::Overloaded | Denied::NotNow) => {}
        }
        turn.map_err(Error::Denied)
    }

    async fn attempt_certificate(
        &self,
        token: &JourneyToken,
        attempt: Attempt,
        watch: &impl Watch,
    ) -> Result<Fetched, Error> {
        let began = Instant::now();
        let path = certificate_path(token);
        let fetching = self.fetch(&path, attempt, watch);
        let ended = tokio::time::timeout_at(attempt.deadline, fetching).await.unwrap_or(Err(Error::Timeout));
        let outcome = match &ended {
            Ok(fetched) => outcome_of(fetched.status),
            Err(error) => error.outcome(),
        };
        self.0.metrics.upstream_call(outcome, began.elapsed());
        ended
    }

    async fn fetch(&self, path: &str, attempt: Attempt, watch: &impl Watch) -> Result<Fetched, Error> {
        let Attempt { sent, deadline, .. } = attempt;
        let mut headers = certificate_headers();
        if let Some(trace) = attempt.trace {
            headers.insert(TRACEPARENT, trace.to_header());
        }
        let way = self.0.way.load_full(); // after `sent` was taken, see `replace_way`
        let response = self.send(&way, Method::GET, path, headers, Bytes::new()).await?;
        let refusal = self.refusal(response.status(), response.headers());
        let (head, body) = response.into_parts();
        let age = age(&head.headers);
        let whole = |body| Fetched { status: head.status, body, sent, received: self.0.clock.now(), age };
        let body = collect(body, way.settings.max_response);
        let Err(refusal) = refusal else { return body.await.map(whole) };
        // What the refusal is called does not wait for its body, nor depend on it.
        let soon = deadline.min(Instant::now() + REFUSAL_BODY);
        if let Ok(Ok(body)) = tokio::time::timeout_at(soon, body).await {
            watch.refused(whole(body));
        }
        Err(refusal)
    }

    async fn attempt_forward(&self, forward: &Forward, deadline: Instant) -> Result<Response<Incoming>, Error> {
        let began = Instant::now();
        let Forward { method, path_and_query, headers, body } = forward;
        let way = self.0.way.load_full();
        let sending = self.send(&way, method.clone(), path_and_query, headers.clone(), body.clone());
        let ended = tokio::time::timeout_at(deadline, sending).await.unwrap_or(Err(Error::Timeout));
        let outcome = match &ended {
            Ok(response) => outcome_of(response.status()),
            Err(error) => error.outcome(),
        };
        self.0.metrics.upstream_call(outcome, began.elapsed());
        if let Ok(response) = &ended {
            self.note_pause(response.status(), response.headers());
        }
        ended
    }

    /// One request, one answer's head; a connection that is too old or badly framed is not used again.
    async fn send(
        &self,
        way: &Way,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target(&way.settings.base_url, path)?;
        *request.headers_mut() = headers;
        sign_in(request.headers_mut(), HeaderValue::clone(&self.0.api_key.load()));
        let connection = capture_connection(&mut request);
        let response = way.client.request(request).await.map_err(|error| classify(&error))?;
        way.retire_if_old(&connection);
        if !is_well_framed(&response) {
            poison(&connection);
            return Err(Error::Malformed);
        }
        self.note_clock(response.headers());
        Ok(response)
    }

    /// Statuses that say something about us and not about the certificate.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), Error> {
        let pause = self.note_pause(status, headers);
        match status {
            StatusCode::UNAUTHORIZED => Err(Error::RejectedKey),
            StatusCode::FORBIDDEN => Err(Error::Forbidden),
            StatusCode::TOO_MANY_REQUESTS => Err(Error::RateLimited { retry_after: pause.unwrap_or(DEFAULT_PAUSE) }),
            _ if status.is_server_error() => Err(Error::ServerError { is_passing: is_passing(status, headers) }),
            _ => Ok(()),
        }
    }

    /// A 429, or a 503 that says so, wants all of us to be quiet for a while.
    fn note_pause(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        let by_rate = status == StatusCode::TOO_MANY_REQUESTS;
        let is_asked = status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(header::RETRY_AFTER);
        if !by_rate && !is_asked {
            return None;
        }
        let asked = retry_after(headers, SystemTime::now()).unwrap_or(DEFAULT_PAUSE);
        if by_rate {
            self.0.metrics.rate_limited(LimitedBy::Upstream);
        }
        Some(self.0.budget.pause(asked, by_rate))
    }

    fn note_clock(&self, headers: &HeaderMap) {
        let date = headers
            .get(header::DATE)
            .and_then(|date| date.to_str().ok())
            .and_then(|date| httpdate::parse_http_date(date).ok());
        let Some(date) = date else { return };
        let now = SystemTime::now();
        let millis = match date.duration_since(now) {
            Ok(ahead) => ahead.as_millis() as i64,
            Err(behind) => -(behind.duration().as_millis() as i64),
        };
        self.0.metrics.clock_offset(millis);
    }
}

// === impl Way ===

impl Way {
    fn new(settings: Settings, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let connector = Connector::new(tls, settings.proxy.clone(), settings.connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.pool_idle_timeout)
            .retry_canceled_requests(false)
            .http1_max_headers(128)
            .build(connector);
        Self { client, settings }
    }

    fn retire_if_old(&self, connection: &CaptureConnection) {
        let mut extras = http::Extensions::new();
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.get_extras(&mut extras);
        }
        if extras.get::<Born>().is_some_and(|born| born.0.elapsed() >= self.settings.connection_max_age) {
            poison(connection);
        }
    }
}

fn poison(connection: &CaptureConnection) {
    if let Some(connected) = connection.connection_metadata().as_ref() {
        connected.poison();
    }
}

/// Where Get Certificate is asked for.
pub(crate) fn certificate_path(token: &JourneyToken) -> String {
    format!("/otk-service/v1/certificates/{}", token.to_path())
}

/// What Get Certificate carries beside what every call does.
pub(crate) fn certificate_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::ACCEPT, HeaderValue::from_static("application/json")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::VIA, HeaderValue::from_static("1.1 otk-gateway")),
    ])
}

/// What every call carries.
pub(crate) fn sign_in(headers: &mut HeaderMap, api_key: HeaderValue) {
    headers.insert(TRANSACTION_KEY, sensitive(api_key));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
}

/// A path of the upstream's, behind the prefix it may have.
pub(crate) fn target(base_url: &Uri, path: &str) -> Result<Uri, Error> {
    let mut parts = base_url.clone().into_parts();
    let prefix = base_url.path().trim_end_matches('/');
    let target = PathAndQuery::try_from(format!("{prefix}{path}")).map_err(|_| Error::Malformed)?;
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).map_err(|_| Error::Malformed)
}

/// Reads a body to its end, but not beyond the cap.
pub(crate) async fn collect(body: Incoming, at_most: usize) -> Result<Bytes, Error> {
    if body.size_hint().lower() > at_most as u64 {
        return Err(Error::TooLarge);
    }
    let mut body = body;
    let mut collected = Vec::with_capacity(body.size_hint().exact().unwrap_or(0) as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| classify_hyper(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > at_most {
            return Err(Error::TooLarge);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.into())
}

/// The library takes the last word on framing where two are given (RFC 9112, section 6.3); we take none.
pub(crate) fn is_well_framed(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = match (encodings.next(), encodings.next()) {
        (None, _) => false,
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return false,
    };
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_length = match (lengths.next(), lengths.next()) {
        (None, _) => true,
        // Nothing but digits: the library reads a list of equal numbers as one, and so it would travel on.
        (Some(only), None) => !is_chunked && !only.is_empty() && only.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(_), Some(_)) => false,
    };
    let is_encoded = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    is_length && !is_encoded && (response.version() != Version::HTTP_10 || !is_chunked)
}

/// Worth another try at once; not where the upstream names another time.
fn is_passing(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        && !headers.contains_key(header::RETRY_AFTER)
}

fn outcome_of(status: StatusCode) -> Outcome {
    match status {
        StatusCode::UNAUTHORIZED => Outcome::RejectedKey,
        StatusCode::FORBIDDEN => Outcome::Forbidden,
        StatusCode::NOT_FOUND => Outcome::NotFound,
        StatusCode::TOO_MANY_REQUESTS => Outcome::RateLimited,
        _ if status.is_client_error() => Outcome::ClientError,
        _ if status.is_server_error() => Outcome::ServerError,
        _ => Outcome::Ok,
    }
}

/// `Age` (RFC 9111, section 5.1). One that cannot be read might be any.
pub(crate) fn age(headers: &HeaderMap) -> Duration {
    let seconds =
        |value: &HeaderValue| value.to_str().ok().and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    headers.get_all(header::AGE).iter().map(|value| seconds(value).unwrap_or(Duration::MAX)).max().unwrap_or_default()
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, of any length, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn classify(error: &hyper_util::client::legacy::Error) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(failed) = cause.downcast_ref::<Failed>() {
            return match failed {
                Failed::Connect => Error::Connect,
                Failed::Tls => Error::Tls,
            };
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            return classify_hyper(error);
        }
        source = cause.source();
    }
    if error.is_connect() { Error::Connect } else { Error::Closed }
}

pub(crate) fn classify_hyper(error: &hyper::Error) -> Error {
    // Of a broken chunk the library says only "body"; its source tells a breach of HTTP from an early end.
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return classify_io(io);
        }
        source = cause.source();
    }
    if error.is_parse() { Error::Malformed } else { Error::Closed }
}

/// TLS tells of an alert in the same way as HTTP of a broken chunk; with TLS 1.3 the upstream's "no" to our certificate comes
/// after the handshake.
fn classify_io(error: &io::Error) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Error::Tls;
    }
    let is_breach = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
    if is_breach { Error::Malformed } else { Error::Closed }
}

// === impl Error ===

impl Error {
    /// The word for the client.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Denied(Denied::RateLimited { .. } | Denied::Pausing { .. } | Denied::NotNow) => Reason::RateLimited,
            Self::Denied(Denied::Suspended { .. }) => Reason::UpstreamSuspended,
            Self::Denied(Denied::Overloaded) => Reason::Overloaded,
            Self::Connect | Self::Tls | Self::Closed => Reason::UpstreamUnreachable,
            Self::Timeout => Reason::UpstreamTimeout,
            Self::Malformed => Reason::UpstreamMalformed,
            Self::TooLarge => Reason::UpstreamTooLarge,
            Self::RejectedKey => Reason::UpstreamRejectedKey,
            Self::Forbidden => Reason::UpstreamForbidden,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::ServerError { .. } => Reason::UpstreamError,
        }
    }

    /// When to come back, where somebody said.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(
                Denied::RateLimited { retry_after, .. }
                | Denied::Pausing { retry_after }
                | Denied::Suspended { retry_after },
            )
            | Self::RateLimited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// A refresh that found no free turn; nothing is wrong.
    pub fn is_not_now(&self) -> bool {
        *self == Self::Denied(Denied::NotNow)
    }

    /// The upstream is not there or not well, as opposed to having said no.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::Closed | Self::Timeout | Self::ServerError { .. })
    }

    fn is_passing(&self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::Closed | Self::ServerError { is_passing: true })
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Denied(_) | Self::RateLimited { .. } => Outcome::RateLimited,
            Self::Connect | Self::Closed => Outcome::Connect,
            Self::Tls => Outcome::Tls,
            Self::Timeout => Outcome::Timeout,
            Self::Malformed => Outcome::Malformed,
            Self::TooLarge => Outcome::TooLarge,
            Self::RejectedKey => Outcome::RejectedKey,
            Self::Forbidden => Outcome::Forbidden,
            Self::ServerError { .. } => Outcome::ServerError,
        }
    }
}

// === impl Body, BodyError ===

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        Pin::new(&mut self.incoming).poll_frame(cx).map_err(|error| match classify_hyper(&error) {
            Error::Malformed => BodyError::Malformed,
            _ => BodyError::Closed,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(..)")
    }
}

impl BodyError {
    /// The word for the client, while the head is not out yet.
    pub fn reason(self) -> Reason {
        match self {
            Self::Closed => Reason::UpstreamUnreachable,
            Self::Malformed => Reason::UpstreamMalformed,
            Self::Timeout => Reason::UpstreamTimeout,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the upstream's answer broke off",
            Self::Malformed => "the upstream's answer breaks HTTP",
            Self::Timeout => "the upstream's answer took too long",
        })
    }
}

impl std::error::Error for BodyError {}

const TRANSACTION_KEY: HeaderName = HeaderName::from_static("x-transaction-key");
/// How long the body of a refusal is waited for.
const REFUSAL_BODY: Duration = Duration::from_secs(1);

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("otk-gateway/", env!("CARGO_PKG_VERSION")));

/// After a 429 that names no time, and where the time cannot be read. Source: the contract, "The release rules".
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// An upstream that wanted a client certificate was said to have sent a malformed answer.
    #[test]
    fn an_alert_after_the_handshake_is_about_tls() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert_eq!(classify_io(&io::Error::new(io::ErrorKind::InvalidData, alert)), Error::Tls);
        assert_eq!(classify_io(&io::ErrorKind::InvalidData.into()), Error::Malformed);
        assert_eq!(classify_io(&io::ErrorKind::ConnectionReset.into()), Error::Closed);
    }
}

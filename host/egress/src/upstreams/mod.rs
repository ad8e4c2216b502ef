//! Named external services: `http://NAME.upstream/path`.
//!
//! * [`Upstreams::granted`]: the upstream that a function may call. [`Upstreams::send`]: one request to it, from a function or
//!   from Larder itself. [`Upstreams::signer`]: signatures under an upstream's key.
//! * A request passes [`cache`] (with [`freshness`]), [`single_flight`] (concurrent identical requests are coalesced),
//!   [`breaker`] and [`limiter`] (rate and concurrency). Then [`service`] adds the credential, and [`scrub`] removes it from the
//!   response.
//!
//! The rules:
//! * **The credential is added after everything that a function controls, and removed from everything that a function sees.**
//! * **Cache hits do not count against the rate limit.** Only requests that are sent count.
//! * **A response is buffered before anybody sees it**, up to `bytesMax`, so that the same bytes are scrubbed, cached, shared
//!   and counted by the breaker.

mod breaker;
mod cache;
mod freshness;
mod limiter;
mod scrub;
mod service;
mod single_flight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::{DashMap, Entry};
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Full, LengthLimitError, Limited, StreamBody};
use larder_model::breakers::{BreakerState, BreakerStatus};
use larder_model::grants::leads;
use larder_model::ids::{FunctionId, PartnerId};
use larder_model::outgoing;
use larder_model::time::{Clock, Millis};
use larder_model::{Grants, Upstream, UpstreamSettings, fields};
use larder_secrets::Secrets;
use larder_signals::Signals;

use self::breaker::Breaker;
use self::cache::{Answer, Cache, CachedResponse, Key};
use self::freshness::Directives;
use self::service::Service;
use self::single_flight::{Call, Shared, SingleFlight};
use crate::{Body, Client, EffectiveGrants, Error, Tenants, Times};

/// How the cache handled a request (RFC 9211).
const CACHE_STATUS: &str = "cache-status";
/// How long a breaker's status is stored for other processes.
const STATUS_TTL: Duration = Duration::from_secs(3_600);
/// Above this number of entries, unused ones are dropped.
const STATES_MAX: usize = 4_096;

/// Larger bodies are scrubbed off the async threads.
const SCRUBBED_IN_PASSING_MAX: usize = 32 << 10;

/// An upstream's owner and name.
type UpstreamKey = (Option<PartnerId>, String);

/// The upstreams of the process. Clones share their state.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    client: Client,
    clock: Clock,
    signals: Signals,
    tenants: Arc<dyn Tenants>,
    cache: Cache,
    single_flight: SingleFlight,
    services: DashMap<UpstreamKey, Arc<Service>>,
    breakers: DashMap<(PartnerId, UpstreamKey), Arc<Breaker>>,
}

/// An upstream with its decrypted credential. It has no `Debug`, because it must not be printed.
pub struct UpstreamView {
    pub upstream: Upstream,
    /// The credential; `None` if there is none or if it cannot be decrypted. In the second case nothing may be sent.
    pub secret: Option<String>,
}

/// A function's request as it is sent to the service.
struct Asked<'a> {
    partner: &'a PartnerId,
    service: &'a Service,
    method: Method,
    /// Path and query at the service.
    target: String,
    headers: HeaderMap,
    timeouts: outgoing::Times,
    begun: Instant,
}

/// A response with the times from which its age is computed.
struct Fetched {
    answer: Answer,
    requested_ms: Millis,
    received_ms: Millis,
}

impl Upstreams {
    pub fn new(
        client: Client,
        clock: Clock,
        signals: Signals,
        secrets: Secrets,
        tenants: Arc<dyn Tenants>,
    ) -> Upstreams {
        Upstreams(Arc::new(Inner {
            client,
            clock,
            cache: Cache::new(signals.clone(), secrets),
            signals,
            tenants,
            single_flight: SingleFlight::default(),
            services: DashMap::new(),
            breakers: DashMap::new(),
        }))
    }

    /// Returns what is asked for the function's grants at each call.
    pub fn effective_grants(&self, partner: &PartnerId, function: &FunctionId) -> EffectiveGrants {
        EffectiveGrants::new(self.0.tenants.clone(), partner, function)
    }

    /// Returns the upstream that a function calls by this name, if it exists and is granted.
    pub fn granted(&self, partner: &PartnerId, grants: &Grants, name: &str) -> Result<Arc<UpstreamView>, Error> {
        let view = grants.allow_upstream(name).and_then(|()| self.find(partner, name)).map_err(Error::Denied)?;
        // Its address may have changed since the run started.
        match grants.leads.get(&leads::upstream_key(name)) {
            Some(approved) if *approved != leads::of_upstream(&view.upstream) => {
                Err(Error::Denied(Grants::leads_elsewhere(name)))
            }
            _ => Ok(view),
        }
    }

    /// Sends a request on behalf of a tenant. Only the path and query of its URI are used, below the upstream's own path.
    pub async fn send(
        &self,
        partner: &PartnerId,
        view: &UpstreamView,
        request: Request<Body>,
        timeouts: outgoing::Times,
    ) -> Result<Response<Body>, Error> {
        let service = self.service(view)?;
        let (head, body) = request.into_parts();
        let asked = Asked {
            partner,
            service: &service,
            target: service.target(&head.uri)?,
            method: head.method,
            headers: service.headers(head.headers),
            timeouts,
            begun: Instant::now(),
        };
        self.0.answer(&asked, body).await
    }

    /// Returns a signer for a function. Each signature checks the grants that are effective at that moment.
    pub fn signer(&self, effective_grants: EffectiveGrants) -> Signer {
        Signer { upstreams: self.clone(), effective_grants }
    }

    /// Returns the breaker's status: the most recent one of this process and of those that other processes reported. With a
    /// `partner` it is that of this tenant's calls; without, the worst status of all tenants, for the operator.
    pub async fn breaker(&self, partner: Option<&PartnerId>, upstream: &Upstream) -> BreakerStatus {
        let key = (upstream.owner.clone(), upstream.name.clone());
        let here = self.0.breakers.iter().filter(|entry| {
            let (own, of) = entry.key();
            *of == key && partner.is_none_or(|partner| own == partner)
        });
        let here = here
            .map(|entry| entry.value().status())
            .max_by_key(|status| (status.state, status.since_ms))
            .unwrap_or_default();
        let Some(partner) = partner else { return here };
        let theirs = self.0.signals.get(&breaker_key(partner, &key)).await;
        match theirs.and_then(|text| serde_json::from_slice::<BreakerStatus>(&text).ok()) {
            Some(theirs) if theirs.since_ms > here.since_ms => theirs,
            _ => here,
        }
    }

    /// Checks the settings that only egress can check.
    pub fn check(settings: &UpstreamSettings) -> Result<(), (&'static str, String)> {
        service::destination(settings).map(drop)
    }

    fn find(&self, partner: &PartnerId, name: &str) -> Result<Arc<UpstreamView>, String> {
        let found = self.0.tenants.upstream(partner, name);
        found.ok_or_else(|| {
            format!("there is no upstream {name:?}; make it: larder upstream create {name} --url https://..")
        })
    }

    fn service(&self, view: &UpstreamView) -> Result<Arc<Service>, Error> {
        let key = (view.upstream.owner.clone(), view.upstream.name.clone());
        if let Some(known) = self.0.services.get(&key).filter(|service| service.is_of(view)) {
            return Ok(known.clone());
        }
        if self.0.services.len() >= STATES_MAX {
            self.0.services.retain(|_, service| Arc::strong_count(service) > 1);
        }
        // Checked again under the lock: concurrent callers must share one limiter.
        match self.0.services.entry(key) {
            Entry::Occupied(known) if known.get().is_of(view) => Ok(known.get().clone()),
            entry => Ok(entry.insert(Arc::new(Service::new(view)?)).clone()),
        }
    }
}

impl Inner {
    /// Answers from the cache or from the service.
    async fn answer(&self, asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Error> {
        let upstream = &asked.service.upstream;
        let Some(key) = cache::key(upstream, &asked.method, &asked.target, &asked.headers) else {
            return self.bypass_cache(asked, body).await;
        };
        let Some(body) = is_empty(body).await? else {
            return self.through_cache(asked, &key).await;
        };
        self.bypass_cache(asked, body).await
    }

    /// Sends a request that does not use the cache.
    async fn bypass_cache(&self, asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Error> {
        let answer = self.fetch(asked, asked.headers.clone(), body).await?.answer;
        if asked.service.upstream.settings.cache.enabled && !asked.method.is_safe() && answer.status < 400 {
            self.cache.forget(cache::target_key(&asked.service.upstream, &asked.target)).await;
        }
        Ok(asked.response(&answer, None))
    }

    async fn through_cache(&self, asked: &Asked<'_>, key: &Key) -> Result<Response<Body>, Error> {
        let said = Directives::of(&asked.headers);
        loop {
            let now = self.clock.now_ms();
            let kept = self.cache.find(key, &said, now).await;
            if let Some(kept) = kept.as_ref().filter(|kept| kept.is_fresh(&said, now)) {
                return Ok(asked.reuse(kept, now, "hit"));
            }
            if said.has("only-if-cached") {
                let none = Answer { status: 504, headers: HeaderMap::new(), body: Bytes::new() };
                return Ok(asked.response(&none, Some("fwd=miss")));
            }
            // A shared response may not be as fresh as these directives require, and the response to a HEAD has no body for a GET.
            let bypasses_coalescing =
                asked.method == Method::HEAD || ["no-cache", "max-age", "min-fresh"].iter().any(|d| said.has(d));
            if bypasses_coalescing {
                return self.ask(asked, key, kept).await.map(|(response, _)| response);
            }
            match self.single_flight.join(*key) {
                Call::Leader(leader) => {
                    let answered = self.ask(asked, key, kept).await;
                    match &answered {
                        Ok((_, Some(kept))) => leader.share(Shared::Response(kept.clone())),
                        Ok((_, None)) => leader.share(Shared::NotShareable),
                        // Other callers may have longer timeouts.
                        Err(err) if asked.gave_up_waiting(err) => drop(leader),
                        Err(err) => leader.share(Shared::Failed(asked.partner.clone(), err.clone())),
                    }
                    return answered.map(|(response, _)| response);
                }
                Call::Follower(follower) => match tokio::time::timeout(asked.left(), follower.shared()).await {
                    Err(_) => return Err(asked.too_long()),
                    Ok(Some(Shared::Response(kept))) => {
                        return Ok(asked.reuse(&kept, self.clock.now_ms(), "fwd=miss; collapsed"));
                    }
                    Ok(Some(Shared::NotShareable)) => {
                        return self.ask(asked, key, kept).await.map(|(response, _)| response);
                    }
                    Ok(Some(Shared::Failed(partner, err))) if partner == *asked.partner => return Err(err),
                    Ok(Some(Shared::Failed(..)) | None) => {}
                },
            }
        }
    }

    /// Asks the service: with a cached response it revalidates, otherwise it fetches. Also returns the entry that other callers
    /// may use.
    async fn ask(
        &self,
        asked: &Asked<'_>,
        key: &Key,
        kept: Option<Arc<CachedResponse>>,
    ) -> Result<(Response<Body>, Option<Arc<CachedResponse>>), Error> {
        let settings = &asked.service.upstream.settings.cache;
        let fresh = |kept: &Arc<CachedResponse>, now| {
            kept.is_fresh(&Directives::of(&HeaderMap::new()), now).then(|| kept.clone())
        };
        let mut headers = freshness::compared(&asked.headers);
        if let Some(kept) = &kept {
            kept.ask(&mut headers);
        }
        let fetched =
            match self.fetch(asked, headers, Full::default().map_err(|never| match never {}).boxed_unsync()).await {
                Ok(fetched) if fetched.answer.status < 500 => fetched,
                failed => {
                    let now = self.clock.now_ms();
                    return match (kept.filter(|kept| kept.may_be_stale(now)), failed) {
                        (Some(kept), _) => Ok((asked.reuse(&kept, now, "hit; detail=stale-if-error"), None)),
                        (None, Ok(fetched)) => Ok((asked.response(&fetched.answer, Some("fwd=miss")), None)),
                        (None, Err(err)) => Err(err),
                    };
                }
            };
        let Fetched { answer, requested_ms, received_ms } = fetched;
        if answer.status == StatusCode::NOT_MODIFIED.as_u16()
            && let Some(kept) = kept
        {
            let renewed = kept.renewed(&answer.headers, settings.max_age_seconds, requested_ms, received_ms);
            let Some(renewed) = renewed.map(Arc::new) else {
                // The cached response does not belong to the service's current representation.
                self.cache.forget(key.0).await;
                return Box::pin(self.ask(asked, key, None)).await;
            };
            self.cache.keep(key, renewed.clone(), received_ms).await;
            let response = asked.reuse(&renewed, received_ms, "hit; fwd=stale; fwd-status=304");
            return Ok((response, fresh(&renewed, received_ms)));
        }
        let response = asked.response(&answer, Some("fwd=miss"));
        if asked.method != Method::GET || answer.body.len() as u64 > settings.bytes_max {
            return Ok((response, None));
        }
        let Some(kept) =
            CachedResponse::new(key, answer, settings.max_age_seconds, requested_ms, received_ms).map(Arc::new)
        else {
            return Ok((response, None));
        };
        self.cache.keep(key, kept.clone(), received_ms).await;
        Ok((response, fresh(&kept, received_ms)))
    }

    /// Sends one request to the service.
    async fn fetch(&self, asked: &Asked<'_>, mut headers: HeaderMap, body: Body) -> Result<Fetched, Error> {
        let service = asked.service;
        let settings = &service.upstream.settings;
        let breaker = self.breaker_of(asked);
        let pass = breaker.admit(Instant::now(), self.clock.now_ms()).map_err(Error::Unavailable)?;
        let wait = || Duration::from_millis(settings.wait_ms).min(asked.left());
        let _permit = service.limiter.acquire(asked.partner, wait()).await?;
        let (owner, name) = (&service.upstream.owner, &service.upstream.name);
        let key = format!("{}:{name}", owner.as_ref().map_or("", PartnerId::as_str));
        service.limiter.acquire_rate(&self.clock, &self.signals, &key, settings.rate_per_minute, wait()).await?;

        let uri = service.authorise(&asked.target, &mut headers)?;
        let gave_up = Arc::new(AtomicBool::new(false));
        let body = {
            let gave_up = gave_up.clone();
            body.map_err(move |err| {
                gave_up.store(true, Ordering::Relaxed);
                err
            })
        };
        let mut request = Request::new(body.boxed_unsync());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (asked.method.clone(), uri, headers);
        let times = asked.times().at_most(asked.timeouts);
        let requested_ms = self.clock.now_ms();
        let answer = match self.client.send(asked.partner, &service.to, request, &times).await {
            Ok(response) => buffered_response(service, &asked.method, response).await,
            Err(err) => Err(err),
        };
        let received_ms = self.clock.now_ms();
        let retry_after = answer.as_ref().ok().and_then(|answer| fields::retry_after(&answer.headers, received_ms));
        let failure = match &answer {
            Ok(answer) => (answer.status >= 500).then(|| format!("it answered {}", answer.status)),
            // A caller's own timeout or an aborted request body is not a failure of the service.
            Err(err) if asked.gave_up_waiting(err) || gave_up.load(Ordering::Relaxed) => return Err(err.clone()),
            Err(err) => (!err.is_refusal()).then(|| err.to_string()),
        };
        let failure = failure.as_deref().map(|why| (why, retry_after.unwrap_or_default()));
        if let Some(status) = pass.settle(failure, &settings.breaker, Instant::now(), received_ms) {
            self.report(asked, &status).await;
        }
        Ok(Fetched { answer: answer?, requested_ms, received_ms })
    }

    fn breaker_of(&self, asked: &Asked<'_>) -> Arc<Breaker> {
        let upstream = &asked.service.upstream;
        let key = (asked.partner.clone(), (upstream.owner.clone(), upstream.name.clone()));
        if self.breakers.len() >= STATES_MAX && !self.breakers.contains_key(&key) {
            self.breakers
                .retain(|_, breaker| Arc::strong_count(breaker) > 1 || breaker.status().state != BreakerState::Closed);
        }
        self.breakers.entry(key).or_default().clone()
    }

    /// Reports a change of the breaker in the log, in the metrics and to the other processes.
    async fn report(&self, asked: &Asked<'_>, status: &BreakerStatus) {
        let (partner, upstream) = (asked.partner, &asked.service.upstream);
        let word = status.state.word();
        let open = if status.state == BreakerState::Open { 1.0 } else { 0.0 };
        let labels = [("partner", partner.to_string()), ("upstream", upstream.name.clone())];
        metrics::gauge!("larder_upstream_breaker_open", &labels).set(open);
        tracing::warn!(
            partner.id = %partner, upstream = %upstream.name, reason = %status.reason,
            "the breaker of upstream {} is {word} for partner {partner}", upstream.name
        );
        let key = breaker_key(partner, &(upstream.owner.clone(), upstream.name.clone()));
        self.signals.set(&key, larder_model::json(status).into(), STATUS_TTL).await;
    }
}

impl Asked<'_> {
    fn settings(&self) -> &UpstreamSettings {
        &self.service.upstream.settings
    }

    /// The time left for the whole request.
    fn left(&self) -> Duration {
        self.settings().total().saturating_sub(self.begun.elapsed())
    }

    fn times(&self) -> Times {
        let settings = self.settings();
        let between = Duration::from_millis(settings.answer_ms);
        Times {
            connect: Duration::from_millis(settings.connect_ms),
            first_byte: between,
            between_bytes: between,
            total: self.left(),
        }
    }

    /// Was it a timeout that the caller had set, shorter than the upstream's?
    fn gave_up_waiting(&self, err: &Error) -> bool {
        let (ours, used) = (self.times(), self.times().at_most(self.timeouts));
        matches!(err, Error::Timeout(_) | Error::ConnectTimeout(_))
            && (used.connect < ours.connect
                || used.first_byte < ours.first_byte
                || used.between_bytes < ours.between_bytes)
    }

    fn too_long(&self) -> Error {
        Error::Timeout(format!("there was no complete answer within {} ms (totalMs)", self.settings().total_ms))
    }

    fn reuse(&self, kept: &CachedResponse, now: Millis, how: &str) -> Response<Body> {
        let mut response = self.response(&kept.answer, Some(how));
        response.headers_mut().insert(header::AGE, HeaderValue::from((kept.age_ms(now).max(0) / 1_000) as u64));
        response
    }

    /// Builds the response for the caller. `how` is the cache status, if the cache was used.
    fn response(&self, answer: &Answer, how: Option<&str>) -> Response<Body> {
        let how_counted = how.map_or("past", |how| how.split([';', ' ']).next().unwrap_or(how));
        let labels = [("upstream", self.service.upstream.name.clone()), ("how", how_counted.to_owned())];
        metrics::counter!("larder_upstream_answers_total", &labels).increment(1);
        let body = if self.method == Method::HEAD { Bytes::new() } else { answer.body.clone() };
        let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
        *response.headers_mut() = answer.headers.clone();
        if let Some(how) = how.and_then(|how| HeaderValue::from_str(&format!("larder; {how}")).ok()) {
            response.headers_mut().append(CACHE_STATUS, how);
        }
        response
    }
}

/// Buffers a response and removes the credential from it.
async fn buffered_response(service: &Service, method: &Method, response: Response<Body>) -> Result<Answer, Error> {
    let (mut head, body) = response.into_parts();
    let most = service.upstream.settings.bytes_max;
    let too_large = || Error::ResponseTooLarge(format!("the answer's body has more than {most} bytes (bytesMax)"));
    if service.scrubber.has_secrets() {
        let coded = fields::tokens(&head.headers, header::CONTENT_ENCODING).iter().any(|coding| coding != "identity");
        let part = [StatusCode::PARTIAL_CONTENT, StatusCode::IM_USED].contains(&head.status)
            || head.status.is_success() && head.headers.contains_key(header::CONTENT_RANGE);
        let why = match (coded, part) {
            (true, _) => "the answer has a content encoding",
            (_, true) => "the answer is a part of one",
            _ => "",
        };
        if !why.is_empty() {
            let why = format!("{why}, which was not asked for: it cannot be looked through for the credential");
            return Err(Error::Protocol(why));
        }
    }
    let limited = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX));
    let body = limited.collect().await.map_err(|err| match err.downcast::<Error>() {
        Ok(err) => *err,
        Err(err) if err.is::<LengthLimitError>() => too_large(),
        Err(err) => Error::Incomplete(err.to_string()),
    })?;
    let body = body.to_bytes();
    // Scrubbing a large body takes more than a few hundred microseconds: other threads take over this thread's tasks.
    let body = match body.len() > SCRUBBED_IN_PASSING_MAX && service.scrubber.has_secrets() {
        true => tokio::task::block_in_place(|| service.scrubber.clean(body)),
        false => service.scrubber.clean(body),
    };
    if *method != Method::HEAD && head.status != StatusCode::NOT_MODIFIED && head.status != StatusCode::NO_CONTENT {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len() as u64));
    }
    let headers = service.scrubber.clean_headers(head.headers);
    Ok(Answer { status: head.status.as_u16(), headers, body })
}

/// Returns `None` for an empty body, else the same body. A request with a body is not identified by its target alone.
async fn is_empty(mut body: Body) -> Result<Option<Body>, Error> {
    loop {
        match body.frame().await.transpose()? {
            None => return Ok(None),
            Some(frame) if frame.data_ref().is_none_or(Bytes::is_empty) => {}
            Some(frame) => {
                let all = stream::once(async { Ok(frame) }).chain(BodyStream::new(body));
                return Ok(Some(StreamBody::new(all).boxed_unsync()));
            }
        }
    }
}

fn breaker_key(partner: &PartnerId, (owner, name): &UpstreamKey) -> String {
    format!("breaker:{partner}:{}:{name}", owner.as_ref().map_or("", PartnerId::as_str))
}

/// Signs for one function: see [`Upstreams::signer`].
#[derive(Clone)]
pub struct Signer {
    upstreams: Upstreams,
    effective_grants: EffectiveGrants,
}

impl Signer {
    /// Computes HMAC-SHA256 under the signing key of this upstream. The text of a refusal is for the guest.
    pub fn sign(&self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        let grants = self.effective_grants.grants()?;
        let view =
            self.upstreams.granted(&self.effective_grants.partner, &grants, upstream).map_err(|err| err.to_string())?;
        self.upstreams.service(&view).map_err(|err| err.to_string())?.sign(data)
    }
}

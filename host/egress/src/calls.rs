//! The outgoing calls of one run of an execution: its grants, their limits, and the headers of every call.
//!
//! The checks run before any network access: method, scheme, authority, grant and limits. Only then is a name resolved
//! ([`Client`]). A repeated run numbers its calls from the start, so they carry the idempotency keys of the first run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use larder_model::ids::ExecutionId;
use larder_model::net::http_rule::{Rule, default_port};
use larder_model::outgoing::{self, Body, Error, Target};
use larder_model::{Grants, settings};
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ulid::Ulid;

use crate::body::{Budget, bounded};
use crate::upstreams::Upstreams;
use crate::{Client, Destination, EffectiveGrants, Times};

/// The total size of all request and response bodies of one execution's upstream calls.
const UPSTREAM_BYTES_MAX: u64 = 32 << 20;
const UPSTREAM_CALLS_MAX: u32 = 100;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub struct Calls {
    client: Client,
    effective_grants: EffectiveGrants,
    execution: String,
    grants: Vec<Granted>,
    upstreams: Upstreams,
    /// The grants of named upstreams, with the calls made and the bytes left for all of them together.
    named: Arc<Grants>,
    named_calls: AtomicU32,
    named_bytes: Budget,
    times: Times,
    open: Arc<Semaphore>,
    open_max: usize,
    /// The total duration of the calls, in milliseconds.
    spent_ms: Arc<AtomicU64>,
    time_max: Duration,
}

/// A grant and its remaining calls and bytes.
struct Granted {
    rule: Rule,
    calls: AtomicU32,
    bytes: Budget,
}

/// The resources of an open call.
struct Open {
    _permit: OwnedSemaphorePermit,
    begun: Instant,
    spent_ms: Arc<AtomicU64>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.spent_ms.fetch_add(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

impl Calls {
    pub fn new(
        client: Client,
        upstreams: Upstreams,
        settings: &settings::Egress,
        effective_grants: EffectiveGrants,
        execution: &ExecutionId,
        grants: &Arc<Grants>,
    ) -> Calls {
        // Grants are validated when they are stored; a grant that no longer parses covers nothing.
        let rules = grants.http.iter().filter_map(|grant| Rule::of(grant).ok());
        let granted = |rule: Rule| Granted { calls: AtomicU32::new(0), bytes: Budget::new(rule.bytes), rule };
        Calls {
            client,
            effective_grants,
            execution: execution.to_string(),
            grants: rules.map(granted).collect(),
            upstreams,
            named: grants.clone(),
            named_calls: AtomicU32::new(0),
            named_bytes: Budget::new(UPSTREAM_BYTES_MAX),
            times: Times::of(settings),
            open: Arc::new(Semaphore::new(settings.calls_at_once)),
            open_max: settings.calls_at_once,
            spent_ms: Arc::default(),
            time_max: settings.time_per_execution,
        }
    }

    async fn guarded(
        &self,
        ordinal: u32,
        mut request: Request<Body>,
        times: outgoing::Times,
    ) -> Result<Response<Body>, Error> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (scheme, to) = match Target::of(&method, &uri)? {
            Target::Upstream(name) => return self.to_upstream(&name, ordinal, request, times).await,
            Target::Host(scheme, to) => (scheme, to),
        };
        let port = to.port.unwrap_or(default_port(scheme));
        let covering = self.grants.iter().filter(|g| g.rule.covers(scheme, &to.host, port, &method, uri.path()));
        let mut granted = Err(Error::not_granted(&method, &uri));
        for grant in covering {
            granted = grant.admit().map(|()| grant);
            if granted.is_ok() {
                break;
            }
        }
        let granted = granted?;
        self.still(|now| {
            let mut rules = now.http.iter().filter_map(|grant| Rule::of(grant).ok());
            rules.any(|rule| rule.covers(scheme, &to.host, port, &method, uri.path()))
        })?;
        let (open, times) = self.open(times)?;
        self.mark(&mut request, ordinal)?;
        let budget = granted.bytes.clone();
        let over = |max| Error::RequestTooLarge(format!("the grant allows {max} bytes of one execution (bytes)"));
        let request = request.map(|body| bounded(body, budget.clone(), over, ()));
        let to = Destination::new(scheme, to, granted.rule.network.into_iter().collect());
        let answer = self.client.send(&self.effective_grants.partner, &to, request, &times).await?;
        let over = |max| Error::ResponseTooLarge(format!("the grant allows {max} bytes of one execution (bytes)"));
        Ok(answer.map(|body| bounded(body, budget, over, open)))
    }

    async fn to_upstream(
        &self,
        name: &str,
        ordinal: u32,
        mut request: Request<Body>,
        timeouts: outgoing::Times,
    ) -> Result<Response<Body>, Error> {
        let upstream = self.upstreams.granted(&self.effective_grants.partner, &self.named, name)?;
        self.still(|now| now.upstreams.contains(name))?;
        if self.named_calls.fetch_add(1, Ordering::Relaxed) >= UPSTREAM_CALLS_MAX {
            return Err(Error::Denied(format!("one execution may call upstreams {UPSTREAM_CALLS_MAX} times")));
        }
        let (open, times) = self.open(timeouts)?;
        self.mark(&mut request, ordinal)?;
        let over = || format!("the bodies of one execution's calls of upstreams may have {UPSTREAM_BYTES_MAX} bytes");
        let request =
            request.map(|body| bounded(body, self.named_bytes.clone(), move |_| Error::RequestTooLarge(over()), ()));
        // The upstream's settings bound each phase.
        let answer = self.upstreams.send(&self.effective_grants.partner, &upstream, request, timeouts);
        let answer = tokio::time::timeout(times.total, answer).await.unwrap_or_else(|_| {
            Err(Error::Timeout(format!("the call was not over within {} ms (egress.timeout)", times.total.as_millis())))
        })?;
        Ok(answer.map(|body| bounded(body, self.named_bytes.clone(), move |_| Error::ResponseTooLarge(over()), open)))
    }

    /// Checks that the grant has not been revoked since the run started.
    fn still(&self, covered: impl Fn(&Grants) -> bool) -> Result<(), Error> {
        let now = self.effective_grants.grants().map_err(Error::Denied)?;
        if Arc::ptr_eq(&now, &self.named) || covered(&now) {
            return Ok(());
        }
        Err(Error::Denied("the grant for this call was revoked during the run".into()))
    }

    /// Opens one more call, if the limits allow it, and returns its timeouts.
    fn open(&self, times: outgoing::Times) -> Result<(Open, Times), Error> {
        let _permit = self.open.clone().try_acquire_owned().map_err(|_| {
            Error::Crowded(format!(
                "{} calls of the execution are open, the most at once (egress.calls_at_once)",
                self.open_max
            ))
        })?;
        let left = self.time_max.saturating_sub(Duration::from_millis(self.spent_ms.load(Ordering::Relaxed)));
        if left.is_zero() {
            return Err(Error::Denied(format!(
                "the calls of one execution may take {} s together (egress.time_per_execution)",
                self.time_max.as_secs_f32()
            )));
        }
        let mut times = self.times.at_most(times);
        times.total = times.total.min(left);
        Ok((Open { _permit, begun: Instant::now(), spent_ms: self.spent_ms.clone() }, times))
    }

    /// Adds the headers by which the other side recognizes a repeated call and finds it in its records.
    fn mark(&self, request: &mut Request<Body>, ordinal: u32) -> Result<(), Error> {
        let value = |text: String| HeaderValue::try_from(text).map_err(|err| Error::Host(err.to_string()));
        let headers = request.headers_mut();
        // A function may know better what makes its calls the same.
        if !headers.contains_key(IDEMPOTENCY_KEY) {
            headers.insert(IDEMPOTENCY_KEY, value(format!("{}-c{ordinal}", self.execution))?);
        }
        headers.remove("tracestate");
        headers.insert("traceparent", value(traceparent(&self.execution, ordinal))?);
        Ok(())
    }
}

impl Calls {
    /// Sends one request of the guest, the run's `ordinal`th.
    pub async fn send(
        &self,
        ordinal: u32,
        request: Request<Body>,
        times: outgoing::Times,
    ) -> Result<Response<Body>, Error> {
        let answer = self.guarded(ordinal, request, times).await;
        if let Err(err) = &answer
            && err.is_refusal()
        {
            counter!("larder_egress_refusals_total", "reason" => err.kind()).increment(1);
        }
        answer
    }
}

impl Granted {
    /// Counts one more call, if one is left.
    fn admit(&self) -> Result<(), Error> {
        if self.bytes.is_spent() {
            return Err(Error::Denied(format!("the grant allows {} bytes of one execution (bytes)", self.bytes.max)));
        }
        let max = self.rule.calls;
        let counted =
            self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| (calls < max).then_some(calls + 1));
        counted.map(|_| ()).map_err(|_| Error::Denied(format!("the grant allows {max} calls of one execution (calls)")))
    }
}

/// W3C Trace Context: the trace is the execution (the 128 bits of its ULID), the span is the call.
fn traceparent(execution: &str, ordinal: u32) -> String {
    let hash =
        |text: String| u128::from_le_bytes(*blake3::hash(text.as_bytes()).as_bytes().first_chunk().expect("32 bytes"));
    let trace = Ulid::from_string(execution).map_or_else(|_| hash(execution.to_owned()), |ulid| ulid.0).max(1);
    let span = (hash(format!("{execution}-c{ordinal}")) as u64).max(1);
    format!("00-{trace:032x}-{span:016x}-01")
}

#[cfg(test)]
mod tests {
    use super::traceparent;

    #[test]
    fn a_trace_is_an_execution_and_a_span_a_call() {
        let execution = "01k9z4ndektsv4rrffq69g5fav";
        let first = traceparent(execution, 1);
        assert_eq!(first, traceparent(execution, 1));
        assert_eq!(first[3..35], format!("{:032x}", ulid::Ulid::from_string(execution).unwrap().0));
        let (second, other) = (traceparent(execution, 2), traceparent("chosen-by-somebody", 1));
        assert_eq!(first[..36], second[..36]);
        assert_ne!(first[36..], second[36..]);
        assert_ne!(first[..36], other[..36]);
        assert_eq!(other.len(), 55);
    }
}

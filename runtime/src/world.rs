//! One call of a program: instantiate, call, turn the end into an [`Outcome`].
//!
//! A [`Program`] is linked once and knows its exports; each call makes a fresh store and instance, which are dropped when
//! it ends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;
use larder_model::limits::{Exceeded, LimitKind, Limits};
use larder_model::outcome::{End, Failure, Outcome};
use larder_model::{Event, Exports};
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker};
use wasmtime::{Module, PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, ResourceTableError};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{FieldMapError, WasiHttpView};

use crate::bindings::EventFunctionPre;
use crate::bindings::larder::function::event_types;
use crate::call::{Answer, Call, RequestBody, Run, Sanitize, TakesTrailers};
use crate::compile::Artifact;
use crate::engine::WASM_STACK_BYTES;
use crate::fault::HostFault;
use crate::imports::{FIELDS_BYTES_MAX, HANDLES_MAX, HOSTCALL_BYTES_MAX, RESOURCES_MAX, State};
use crate::instances::Instances;
use crate::logs::Collector;
use crate::meter::Meter;
use crate::split::import_name;
use crate::{answer, cgi, event_http};

/// How long a call may wait for an instance. It is the host's admission that keeps waiting short, not this.
const ADMISSION_WAIT: Duration = Duration::from_secs(30);

/// A component that is ready to be called.
pub struct Program {
    artifact: Artifact,
    http: Option<Http>,
    handler: Option<EventFunctionPre<State>>,
    instances: Arc<Instances>,
    /// They are in memory as long as a program has them.
    _shares: Vec<Arc<Module>>,
    /// When it was last asked for, on the cache's clock.
    pub(crate) last_used: AtomicU64,
}

/// What answers HTTP.
enum Http {
    Proxy(ProxyPre<State>),
    Command(CommandPre<State>),
}

/// What one call has besides its store.
struct Running {
    limits: Limits,
    meter: Arc<Meter>,
    logs: Arc<Collector>,
}

/// The end of a call, with the data of its store unless it failed.
type CallEnd = (End, Option<State>);

impl Program {
    /// Fails if the component does not fit what is linked and what it shares, or exceeds the pool's bounds.
    pub(crate) fn link(
        linker: &Linker<State>,
        component: &Component,
        artifact: Artifact,
        shares: Vec<Arc<Module>>,
        instances: Arc<Instances>,
    ) -> wasmtime::Result<Program> {
        let pre = if shares.is_empty() {
            linker.instantiate_pre(component)?
        } else {
            let mut linker = linker.clone();
            for (shared, module) in artifact.shares.iter().zip(&shares) {
                linker.root().module(&import_name(&shared.digest), module)?;
            }
            linker.instantiate_pre(component)?
        };
        let http = match artifact.exports {
            Exports { command: true, .. } => Some(Http::Command(CommandPre::new(pre.clone())?)),
            Exports { http: true, .. } => Some(Http::Proxy(ProxyPre::new(pre.clone())?)),
            Exports { http: false, .. } => None,
        };
        Ok(Program {
            http,
            handler: artifact.exports.handler.then(|| EventFunctionPre::new(pre)).transpose()?,
            artifact,
            instances,
            _shares: shares,
            last_used: AtomicU64::new(0),
        })
    }

    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Runs the export made for this kind of call. Time counts from when there is an instance for it.
    pub async fn run(&self, call: Call, run: Run) -> Outcome {
        let limits = run.limits;
        let permit =
            tokio::time::timeout(ADMISSION_WAIT, self.instances.enter(&run.lane, limits.memory_bytes)).await.ok();
        let running = Running {
            limits,
            meter: Meter::new(limits, run.lane.clone()),
            logs: Arc::new(Collector::new(limits.log_bytes)),
        };
        let (end, state) = match permit {
            Some(_permit) => self.call(call, run, &running).await,
            None => (
                failed(Failure::Host(format!(
                    "no instance and memory were free within {} s",
                    ADMISSION_WAIT.as_secs()
                ))),
                None,
            ),
        };
        let applicable = match &end {
            End::Returned(_) => true,
            End::Answered(response) => response.status().as_u16() < 500,
            End::Streamed { status, .. } => *status < 500,
            End::Retry(_) | End::Reject(_) | End::Failed(_) => false,
        };
        let (effects, reads) = state.filter(|_| applicable).map(|state| state.host.finish()).unwrap_or_default();
        let (logs, usage) = (running.logs.take(), running.meter.usage());
        Outcome { end: end.with_short_reason(), effects, reads, logs, usage }
    }

    async fn call(&self, call: Call, run: Run, running: &Running) -> CallEnd {
        match call {
            Call::Http { request, answer, sanitize } => match &self.http {
                Some(http) => running.answer(http, request, answer, sanitize, run).await,
                None => (
                    failed(Failure::NoExport(
                        "this program handles events: it exports neither wasi:http/incoming-handler nor wasi:cli/run"
                            .into(),
                    )),
                    None,
                ),
            },
            Call::Event { event, headers } => match (&self.handler, &self.http) {
                (Some(handler), _) => running.handle(handler, event, run).await,
                (None, Some(http)) => match event_http::request(event, headers) {
                    Ok(request) => {
                        let (end, state) = running.answer(http, request, Answer::Buffered, None, run).await;
                        match end {
                            End::Answered(response) => (event_http::end(response), state),
                            other => (other, state),
                        }
                    }
                    Err(err) => (failed(Failure::BadRequest(format!("the event is no HTTP request: {err}"))), None),
                },
                (None, None) => (failed(Failure::NoExport("this program exports no handler".into())), None),
            },
        }
    }
}

impl Running {
    fn store(&self, engine: &wasmtime::Engine, data: State, hostcall_bytes: usize) -> Store<State> {
        let mut store = Store::new(engine, data);
        store.limiter(|state| &mut state.allowance);
        store.set_hostcall_fuel(hostcall_bytes);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_epoch_deadline(1);
        let meter = self.meter.clone();
        store.epoch_deadline_callback(move |_| {
            Ok(if meter.may_go_on() {
                // Wasmtime's own yield wakes itself at once, and tokio then leaves its timers and sockets waiting.
                UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
            } else {
                UpdateDeadline::Interrupt
            })
        });
        store
    }

    async fn handle(&self, handler: &EventFunctionPre<State>, mut event: Event, run: Run) -> CallEnd {
        let attributes = std::mem::take(&mut event.attributes);
        let event = event_types::Event {
            id: event.id,
            source: event.source,
            type_: event.kind,
            subject: event.subject,
            time: event.time,
            data_content_type: event.data_content_type,
            data: event.data.into(),
        };
        // What the handler returns comes out under this bound as well.
        let answer_bytes = usize::try_from(self.limits.response_bytes).unwrap_or(usize::MAX);
        let hostcall_bytes = HOSTCALL_BYTES_MAX.max(answer_bytes.saturating_add(CHUNK_SLACK_BYTES));
        let data = State::new(run, &self.meter, &self.logs, None);
        let mut store = self.store(handler.engine(), data, hostcall_bytes);
        store.data_mut().host.attributes = attributes;
        let guest = async move {
            let called = async {
                let instance = handler.instantiate_async(&mut store).await?;
                instance.larder_function_handler().call_handle(&mut store, &event).await
            };
            (called.await, store.into_data())
        };
        let (called, state) = match self.meter.watch(guest).await {
            Ok(ended) => ended,
            Err(exceeded) => return (failed(Failure::Limit(exceeded)), None),
        };
        let end = match called {
            Ok(Ok(Some(answer))) if answer.len() > answer_bytes => failed(self.answer_too_large(answer.len())),
            Ok(Ok(answer)) => End::Returned(answer),
            Ok(Err(event_types::HandlerError::Retry(why))) => End::Retry(why),
            Ok(Err(event_types::HandlerError::Reject(why))) => End::Reject(why),
            // Raised outside of the guest's code: its answer was too large to be taken out.
            Err(err) if is_hostcall_exhausted(&err) && err.downcast_ref::<WasmBacktrace>().is_none() => {
                failed(self.answer_too_large(hostcall_bytes))
            }
            Err(err) => match err.downcast_ref::<I32Exit>() {
                Some(I32Exit(code)) => failed(self.trap(format!("exited with code {code} before it returned"))),
                None => failed(self.failure(&err, hostcall_bytes)),
            },
        };
        (end, Some(state))
    }

    async fn answer(
        &self,
        http: &Http,
        request: http::Request<RequestBody>,
        answer: Answer,
        sanitize: Option<Sanitize>,
        run: Run,
    ) -> CallEnd {
        let rules = answer::Rules {
            to_head_request: request.method() == http::Method::HEAD,
            takes_trailers: request.extensions().get::<TakesTrailers>().is_some(),
            response_bytes: self.limits.response_bytes,
            sanitize,
            meter: self.meter.clone(),
            logs: self.logs.clone(),
        };
        match http {
            Http::Proxy(proxy) => self.proxy(proxy, request, answer, rules, run).await,
            Http::Command(command) => self.command(command, request, answer, rules, run).await,
        }
    }

    /// A guest of `wasi:http`.
    async fn proxy(
        &self,
        http: &ProxyPre<State>,
        request: http::Request<RequestBody>,
        answer: Answer,
        rules: answer::Rules,
        run: Run,
    ) -> CallEnd {
        let scheme = match request.uri().scheme_str() {
            Some("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        let request = request.map(|body| {
            body.map_err(|err| wasmtime_wasi_http::Error::InternalError(Some(err.to_string()))).boxed_unsync()
        });
        let data = State::new(run, &self.meter, &self.logs, None);
        let mut store = self.store(http.engine(), data, HOSTCALL_BYTES_MAX);
        let (head_to, head) = oneshot::channel();
        let resources = store.data_mut().http().new_incoming_request(scheme, request).and_then(|request| {
            let out = store.data_mut().http().new_response_outparam(head_to)?;
            Ok((request, out))
        });
        let (request, out) = match resources {
            Ok(resources) => resources,
            // Its store is new, so it is the request that does not do.
            Err(err) => return (failed(Failure::BadRequest(format!("{err:#}"))), None),
        };
        let guest = async move {
            let called = self.meter.watch(async move {
                let called = async {
                    let instance = http.instantiate_async(&mut store).await?;
                    instance.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
                };
                match called.await {
                    Err(err) if !matches!(err.downcast_ref(), Some(I32Exit(0))) => Err(err),
                    Ok(()) | Err(_) => Ok(store),
                }
            });
            match called.await {
                Ok(Ok(store)) => Ok(store),
                Ok(Err(err)) => Err(self.ended(&err)),
                Err(exceeded) => Err(Failure::Limit(exceeded)),
            }
        };
        let (end, store) = answer::drive(guest, head, answer, rules).await;
        (end, store.map(Store::into_data))
    }

    /// A guest that is a command: CGI.
    async fn command(
        &self,
        command: &CommandPre<State>,
        request: http::Request<RequestBody>,
        answer: Answer,
        rules: answer::Rules,
        mut run: Run,
    ) -> CallEnd {
        let (request, body) = request.into_parts();
        run.backends.variables = match cgi::variables(&run.backends.variables, &request, body.size_hint().exact()) {
            Ok(variables) => variables.into(),
            Err(why) => return (failed(Failure::BadRequest(why)), None),
        };
        let (head_to, head) = oneshot::channel();
        let (input, output) = (cgi::Input::new(body), cgi::Output::new(head_to));
        let data = State::new(run, &self.meter, &self.logs, Some((input, output.clone())));
        let mut store = self.store(command.engine(), data, HOSTCALL_BYTES_MAX);
        let guest = async move {
            let called = self.meter.watch(async move {
                let called = async {
                    let instance = command.instantiate_async(&mut store).await?;
                    instance.wasi_cli_run().call_run(&mut store).await
                };
                match called.await {
                    Ok(Ok(())) => Ok(store),
                    Ok(Err(())) => Err(I32Exit(1).into()),
                    Err(err) if matches!(err.downcast_ref(), Some(I32Exit(0))) => Ok(store),
                    Err(err) => Err(err),
                }
            });
            match called.await {
                Ok(Ok(store)) => output.end().map(|()| store),
                Ok(Err(err)) => Err(output.fault().unwrap_or_else(|| self.ended(&err))),
                Err(exceeded) => Err(Failure::Limit(exceeded)),
            }
        };
        let (end, store) = answer::drive(guest, head, answer, rules).await;
        (end, store.map(Store::into_data))
    }

    /// What ended a guest that answers HTTP.
    fn ended(&self, err: &wasmtime::Error) -> Failure {
        match err.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => self.trap(format!("exited with code {code}")),
            None => self.failure(err, HOSTCALL_BYTES_MAX),
        }
    }

    /// What ended the guest. A limit that we enforced explains the trap that enforced it.
    fn failure(&self, err: &wasmtime::Error, hostcall_bytes: usize) -> Failure {
        if let Some(exceeded) = self.meter.ended_by() {
            return Failure::Limit(exceeded);
        }
        if let Some(HostFault(why)) = err.downcast_ref() {
            return Failure::Host(why.clone());
        }
        if err.is::<PoolConcurrencyLimitError>() {
            return Failure::Host(format!("no free instance: {err}"));
        }
        if let Some(Trap::StackOverflow) = err.downcast_ref() {
            let value = WASM_STACK_BYTES as u64;
            return Failure::Limit(Exceeded { limit: LimitKind::StackBytes, value, used: value + 1 });
        }
        if let Some(value) = host_resource(err, hostcall_bytes) {
            return Failure::Limit(Exceeded { limit: LimitKind::HostResources, value, used: value + 1 });
        }
        if let Some(exceeded) = self.meter.refused_growth() {
            return Failure::Limit(exceeded);
        }
        let place = err.downcast_ref::<WasmBacktrace>().and_then(|trace| trace.frames().first()?.func_name());
        let cause = err.root_cause().to_string();
        self.trap(match place {
            Some(place) => format!("{cause} (in {})", place.chars().take(200).collect::<String>()),
            None => cause,
        })
    }

    fn trap(&self, text: String) -> Failure {
        Failure::Trap(match self.logs.last_words() {
            Some(last) => format!("{text}; stderr: {last}"),
            None => text,
        })
    }

    fn answer_too_large(&self, used: usize) -> Failure {
        let value = self.limits.response_bytes;
        Failure::Limit(Exceeded { limit: LimitKind::ResponseBytes, value, used: used as u64 })
    }
}

/// What surrounds a handler's answer when it is taken out.
const CHUNK_SLACK_BYTES: usize = 64 << 10;

fn failed(failure: Failure) -> End {
    End::Failed(failure)
}

/// Wasmtime has no types for some of these; the texts are held by tests.
fn host_resource(err: &wasmtime::Error, hostcall_bytes: usize) -> Option<u64> {
    if let Some(ResourceTableError::Full) = err.downcast_ref() {
        return Some(RESOURCES_MAX as u64);
    }
    if let Some(FieldMapError::TooManyFields | FieldMapError::TotalSizeTooBig) = err.downcast_ref() {
        return Some(FIELDS_BYTES_MAX as u64);
    }
    if is_hostcall_exhausted(err) {
        return Some(hostcall_bytes as u64);
    }
    let cause = err.root_cause().to_string();
    if cause.contains("store handle limit exceeded") {
        return Some(HANDLES_MAX as u64);
    }
    None
}

fn is_hostcall_exhausted(err: &wasmtime::Error) -> bool {
    err.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

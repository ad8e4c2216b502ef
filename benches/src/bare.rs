//! What Larder is measured against: the least that serves a component with a fresh instance per call.
//!
//! Wasmtime with every setting that pays (pooling, copy-on-write, resetting memory in place) and no platform: no
//! limits, no epochs, no records, nothing captured, no check of what is loaded. The same imports are linked, and the
//! same is done for them as far as the guest can tell.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use larder::function::{attributes, enrolment, event_types, events, savings, state};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "larder:function/event-function",
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}
use bindings::larder;

pub struct Bare {
    engine: Engine,
    linker: Linker<State>,
}

impl Bare {
    /// Room for as many instances as Larder's default.
    pub fn new() -> wasmtime::Result<Bare> {
        const SLOTS: u32 = 72;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(SLOTS)
            .total_core_instances(SLOTS * 20)
            .total_memories(SLOTS * 2)
            .total_tables(SLOTS * 8)
            .total_stacks(SLOTS)
            .max_core_instances_per_component(20)
            .max_memories_per_component(2)
            .max_tables_per_component(8)
            .max_memory_size(256 << 20)
            .table_elements(20_000)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .memory_init_cow(true)
            .concurrency_support(false)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        event_types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        savings::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        attributes::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        state::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        events::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        enrolment::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        Ok(Bare { engine, linker })
    }

    /// Compiles into a file.
    pub fn compile(&self, wasm: &[u8], to: &Path) -> anyhow::Result<()> {
        let code = self.engine.precompile_component(wasm).map_err(anyhow::Error::msg)?;
        std::fs::write(to, code).with_context(|| to.display().to_string())
    }

    /// Compiles into a file with the settings of Larder's engine that shape machine code.
    pub fn compile_as_larder(wasm: &[u8], to: &Path) -> anyhow::Result<()> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .memory_init_cow(true)
            .concurrency_support(false)
            .epoch_interruption(true)
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true);
        let engine = Engine::new(&config).map_err(anyhow::Error::msg)?;
        let code = engine.precompile_component(wasm).map_err(anyhow::Error::msg)?;
        std::fs::write(to, code).with_context(|| to.display().to_string())
    }

    fn map(&self, file: &Path) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "the file was made by `compile` of this run, in a temporary folder")]
        unsafe {
            Component::deserialize_file(&self.engine, file)
        }
    }

    pub fn http(&self, file: &Path) -> wasmtime::Result<Http> {
        Ok(Http(ProxyPre::new(self.linker.instantiate_pre(&self.map(file)?)?)?))
    }

    pub fn handler(&self, file: &Path) -> wasmtime::Result<Handler> {
        Ok(Handler(bindings::EventFunctionPre::new(self.linker.instantiate_pre(&self.map(file)?)?)?))
    }
}

/// A component that exports `wasi:http/incoming-handler`.
#[derive(Clone)]
pub struct Http(ProxyPre<State>);

impl Http {
    pub async fn call<B>(&self, request: Request<B>) -> wasmtime::Result<Response<Bytes>>
    where
        B: http_body::Body<Data = Bytes, Error: Into<Error>> + Send + 'static,
    {
        let mut store = Store::new(self.0.engine(), State::new(None));
        let (to, head) = oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let out = store.data_mut().http().new_response_outparam(to)?;
        let guest = async {
            let instance = self.0.instantiate_async(&mut store).await?;
            instance.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
        };
        let answer = async {
            let head = head.await.map_err(|_| wasmtime::Error::msg("no response"))?;
            let (parts, body) = head.map_err(|code| wasmtime::Error::msg(format!("{code:?}")))?.into_parts();
            let body = body.collect().await.map_err(|err| wasmtime::Error::msg(err.to_string()))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let ((), response) = tokio::try_join!(guest, answer)?;
        Ok(response)
    }
}

/// A component that exports `larder:function/handler`.
pub struct Handler(bindings::EventFunctionPre<State>);

pub use enrolment::Details as Enrolment;
pub use event_types::Event;

impl Handler {
    pub async fn call(&self, event: &Event, enrolment: Enrolment) -> wasmtime::Result<Option<Vec<u8>>> {
        let mut store = Store::new(self.0.engine(), State::new(Some(enrolment)));
        let instance = self.0.instantiate_async(&mut store).await?;
        let ended = instance.larder_function_handler().call_handle(&mut store, event).await?;
        ended.map_err(|err| wasmtime::Error::msg(format!("{err:?}")))
    }
}

pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoEgress,
    enrolment: Option<Enrolment>,
}

impl State {
    fn new(enrolment: Option<Enrolment>) -> State {
        State {
            wasi: WasiCtx::builder().build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: NoEgress,
            enrolment,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

struct NoEgress;

type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoEgress {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Connection,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Connection), Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

impl event_types::Host for State {}

impl savings::Host for State {
    async fn create_transaction(&mut self, _: savings::Transaction) -> wasmtime::Result<Result<String, String>> {
        Ok(Ok("execution-1".into()))
    }
}

impl state::Host for State {
    async fn get(&mut self, _: String) -> wasmtime::Result<Result<Option<Vec<u8>>, String>> {
        Ok(Ok(None))
    }

    async fn set(&mut self, _: String, _: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        Ok(Ok(()))
    }

    async fn delete(&mut self, _: String) -> wasmtime::Result<Result<(), String>> {
        Ok(Ok(()))
    }

    async fn increment(&mut self, _: String, _: String) -> wasmtime::Result<Result<(), String>> {
        Ok(Ok(()))
    }

    async fn list(&mut self, _: String, _: Option<String>) -> wasmtime::Result<Result<Vec<state::Entry>, String>> {
        Ok(Ok(vec![]))
    }
}

impl attributes::Host for State {
    async fn current(&mut self) -> wasmtime::Result<Vec<event_types::Attribute>> {
        Ok(vec![])
    }
}

impl events::Host for State {
    async fn emit(&mut self, _: events::NewEvent) -> wasmtime::Result<Result<String, String>> {
        Ok(Ok("execution-2".into()))
    }

    async fn emit_with(
        &mut self,
        event: events::NewEvent,
        _: Vec<events::Attribute>,
    ) -> wasmtime::Result<Result<String, String>> {
        self.emit(event).await
    }
}

impl enrolment::Host for State {
    async fn current(&mut self) -> wasmtime::Result<Option<Enrolment>> {
        Ok(self.enrolment.clone())
    }
}

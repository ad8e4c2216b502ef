//! One file per capability: what a guest may do with it, its host functions. What they are answered with comes from
//! [`Backends`].
//!
//! * [`Run`]'s grants and backends become a [`Host`], the part of a store's data that the `larder:*` interfaces work on.
//! * [`State`] is all data of a store: `Host` beside what WASI and wasi:http need.
//! * [`link`] names everything that a guest can import; what is not in it does not exist for a guest.
//!
//! The rules: **no host function changes anything outside its store** (changes are collected as [`Effect`]s), and
//! **everything a guest can make the host keep has a bound** below.

mod attributes;
mod clocks;
mod enrolment;
mod environment;
mod error_code;
mod events;
mod http;
mod random;
mod response;
mod savings;
mod signing;
mod state;
mod stdio;

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_model::EventRules;
use larder_model::grants::Grants;
use larder_model::limits::LimitKind;
use larder_model::outcome::Effect;
use larder_model::state::Read;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::backends::{self, Backends, Enrolment};
use crate::bindings::larder::function;
use crate::call::Run;
use crate::cgi;
use crate::logs::{Collector, Stream};
use crate::meter::{Allowance, Meter};

/// Live resources of the component model, in the guest's hands.
pub(crate) const HANDLES_MAX: usize = 4_096;
/// Live things behind them on the host's side: streams, bodies, header maps.
pub(crate) const RESOURCES_MAX: usize = 1_024;
/// More of them than an honest guest has at a time. Beyond, each may carry little: the limits of one multiplied by
/// `RESOURCES_MAX` would be 32 MiB of headers and 43 MiB of bodies that the guest's memory limit never sees.
const CROWD: usize = 64;
/// They are counted at every so many calls: counting takes longer than most calls.
const CROWD_COUNTED_EVERY: u32 = 32;
/// Bytes of one header map.
pub(crate) const FIELDS_BYTES_MAX: usize = 32 << 10;
const FIELDS_BYTES_IN_A_CROWD: usize = 2 << 10;
/// Bytes of one write to a body; the guest may be two such writes ahead of the host.
const CHUNK_BYTES: usize = crate::stream::CHUNK_BYTES;
const CHUNK_BYTES_IN_A_CROWD: usize = 1 << 10;
/// Bytes a guest hands to the host in one call. Above every size that an interface of ours allows (65,536 bytes of
/// state or event data); what the host hands to a guest is bounded by the guest's memory instead.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 2 << 20;
/// Bytes of all effects together, which the host keeps until the run has ended.
const EFFECTS_BYTES_MAX: u64 = 4 << 20;
/// Questions of one run to a backend: reads of state, and whether somebody may be saved for. Each costs a query.
const QUESTIONS_MAX: u64 = 1_000;
/// Bytes of what a run's reads depended on, which is kept until the run has ended.
const READS_BYTES_MAX: u64 = 2 << 20;
/// Bytes of all state values that a run reads. As many of the largest as it has questions fit.
const VALUES_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a state value and of an event's data.
const VALUE_BYTES_MAX: usize = 65_536;

/// The data of a store.
pub(crate) struct State {
    pub host: Host,
    pub allowance: Allowance,
    pub table: ResourceTable,
    wasi: WasiCtx,
    environment: environment::Environment,
    random: random::Random,
    http: WasiHttpCtx,
    egress: http::Egress,
    /// Calls of wasi:http since its resources were counted.
    uncounted: u32,
}

impl State {
    /// `command`: stdin and stdout of a run that is a command.
    pub fn new(
        run: Run,
        meter: &Arc<Meter>,
        logs: &Arc<Collector>,
        command: Option<(cgi::Input, cgi::Output)>,
    ) -> State {
        let backends = &run.backends;
        let clock = clocks::Clock::begin(backends.clocks.clone());
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stdio::Sink { stream: Stream::Stdout, logs: logs.clone() })
            .stderr(stdio::Sink { stream: Stream::Stderr, logs: logs.clone() })
            .wall_clock(clock.clone())
            .monotonic_clock(clock)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if let Some((stdin, stdout)) = command {
            wasi.stdin(stdin).stdout(stdout);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut fields = WasiHttpCtx::new();
        fields.set_field_size_limit(FIELDS_BYTES_MAX);
        let egress = http::Egress::new(backends.http.clone(), logs.clone());
        State {
            environment: environment::Environment(backends.variables.clone()),
            random: random::Random::new(backends.random.clone(), meter.clone()),
            host: Host::new(run, meter.clone()),
            allowance: Allowance::new(meter.clone()),
            table,
            wasi: wasi.build(),
            http: fields,
            egress,
            uncounted: 0,
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
        self.uncounted += 1;
        if self.uncounted >= CROWD_COUNTED_EVERY {
            self.uncounted = 0;
            let crowd = self.table.iter_mut().nth(CROWD).is_some();
            self.http.set_field_size_limit(if crowd { FIELDS_BYTES_IN_A_CROWD } else { FIELDS_BYTES_MAX });
            self.egress.chunk_bytes = if crowd { CHUNK_BYTES_IN_A_CROWD } else { CHUNK_BYTES };
        }
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.egress }
    }
}

/// Everything that a guest can import.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    response::link(linker)?;
    error_code::link(linker)?;
    random::link(linker)?;
    environment::link(linker)?;
    function::event_types::add_to_linker::<_, HasSelf<Host>>(linker, host)?;
    function::savings::add_to_linker::<_, HasSelf<Host>>(linker, host)?;
    function::state::add_to_linker::<_, HasSelf<Host>>(linker, host)?;
    function::attributes::add_to_linker::<_, HasSelf<Host>>(linker, host)?;
    function::events::add_to_linker::<_, HasSelf<Host>>(linker, host)?;
    function::enrolment::add_to_linker::<_, HasSelf<Host>>(linker, host)?;
    function::signing::add_to_linker::<_, HasSelf<Host>>(linker, host)
}

fn host(state: &mut State) -> &mut Host {
    &mut state.host
}

/// What the `larder:*` interfaces work on: the run's grants, and what the guest did with them.
pub(crate) struct Host {
    execution: String,
    effects_max: u32,
    grants: Arc<Grants>,
    enrolment: Option<Enrolment>,
    /// Of the event that the run is for.
    pub attributes: BTreeMap<String, String>,
    savings: Arc<dyn backends::Savings>,
    signing: Option<Arc<dyn backends::Signing>>,
    signed: signing::Signed,
    event_rules: Arc<EventRules>,
    state: state::View,
    effects: Vec<Effect>,
    effects_bytes: u64,
    questions: u64,
    /// Counts transactions and events together; their ids are made of it.
    ordinal: u32,
    meter: Arc<Meter>,
}

impl Host {
    fn new(run: Run, meter: Arc<Meter>) -> Host {
        let Backends { enrolment, state, savings, signing, event_rules, .. } = run.backends;
        Host {
            execution: run.execution,
            effects_max: run.limits.effects,
            grants: run.grants,
            enrolment,
            attributes: BTreeMap::new(),
            savings,
            signing,
            signed: signing::Signed::default(),
            event_rules,
            state: state::View::new(state),
            effects: Vec::new(),
            effects_bytes: 0,
            questions: 0,
            ordinal: 0,
            meter,
        }
    }

    /// What the guest did and what it depended on.
    pub fn finish(self) -> (Vec<Effect>, Vec<Read>) {
        (self.effects, self.state.into_reads())
    }

    /// The same in every run of the execution that does the same.
    fn next_id(&mut self) -> String {
        self.ordinal += 1;
        format!("{}-{}", self.execution, self.ordinal)
    }

    /// Room for one more effect that carries so many bytes; an error traps the guest.
    fn admit_effect(&mut self, bytes: usize) -> wasmtime::Result<()> {
        if self.effects.len() >= self.effects_max as usize {
            let max = u64::from(self.effects_max);
            return Err(self.over(LimitKind::Effects, max, max + 1));
        }
        self.effects_bytes += bytes as u64;
        if self.effects_bytes > EFFECTS_BYTES_MAX {
            return Err(self.over(LimitKind::HostResources, EFFECTS_BYTES_MAX, self.effects_bytes));
        }
        Ok(())
    }

    /// Room for one more question to a backend, whatever its answer will be; an error traps the guest.
    fn admit_question(&mut self) -> wasmtime::Result<()> {
        self.questions += 1;
        if self.questions > QUESTIONS_MAX {
            return Err(self.over(LimitKind::HostResources, QUESTIONS_MAX, self.questions));
        }
        Ok(())
    }

    fn over(&self, limit: LimitKind, value: u64, used: u64) -> wasmtime::Error {
        wasmtime::Error::msg(self.meter.end(limit, value, used).to_string())
    }
}

impl function::event_types::Host for Host {}

/// 1 to 255 characters; gives what is wrong otherwise.
fn check_length(what: &str, text: &str, min: usize) -> Result<(), String> {
    let length = text.chars().count();
    if length < min || length > 255 {
        return Err(format!("{what} has {length} characters, {min} to 255 are allowed"));
    }
    Ok(())
}

fn check_value(what: &str, bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(format!("{what} has {} bytes, up to {VALUE_BYTES_MAX} are allowed", bytes.len()));
    }
    Ok(())
}

//! `wasi:cli/environment`. Ours and not wasmtime-wasi's, which copies the environment for each run: most runs never ask.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::cli::environment;

use super::State;
use crate::backends::Variables;

/// What a run sees of its environment.
pub(crate) struct Environment(pub Arc<Variables>);

/// Instead of what wasmtime-wasi has linked.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    environment::add_to_linker::<_, HasSelf<Environment>>(linker, |state| &mut state.environment)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl environment::Host for Environment {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.0.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(vec![])
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

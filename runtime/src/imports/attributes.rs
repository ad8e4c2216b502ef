//! `larder:function/attributes`: what else is known of the event that a run is for.

use super::Host;
use crate::bindings::larder::function::attributes;
use crate::bindings::larder::function::event_types::Attribute;

impl attributes::Host for Host {
    async fn current(&mut self) -> wasmtime::Result<Vec<Attribute>> {
        let all = self.attributes.iter();
        Ok(all.map(|(name, value)| Attribute { name: name.clone(), value: value.clone() }).collect())
    }
}

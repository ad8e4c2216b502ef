//! `larder:function/enrolment`: the end user that a run is for.

use super::Host;
use crate::bindings::larder::function::enrolment;

impl enrolment::Host for Host {
    async fn current(&mut self) -> wasmtime::Result<Option<enrolment::Details>> {
        Ok(self.enrolment.as_ref().map(|enrolment| enrolment::Details {
            end_user: enrolment.end_user.clone(),
            topic: enrolment.topic.clone(),
            settings: enrolment.settings.clone(),
        }))
    }
}

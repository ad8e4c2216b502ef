//! The role `front`: it passes on to a core what everybody may reach, and has nothing else.

use larder_model::settings::Settings;
use larder_model::time::Clock;
use larder_server::front::Front;
use larder_server::listener::{self, Listeners};
use larder_signals::lifecycle::Lifecycle;

use super::Role;
use crate::telemetry;

/// Are these roles a front's, and the settings too? Who takes a front over finds nothing of the core's there.
pub fn check(roles: &[Role], settings: &Settings) -> anyhow::Result<bool> {
    if !roles.contains(&Role::Front) {
        anyhow::ensure!(
            !settings.front.is_one(),
            "front.cores is for a process with --roles front; a core has front.listen"
        );
        return Ok(false);
    }
    anyhow::ensure!(
        roles.len() == 1,
        "--roles: a front has no other role, because whoever takes it over would have that too"
    );
    anyhow::ensure!(settings.front.is_one(), "front.cores must name the cores: the addresses of their front.listen");
    let given = settings.not_for_a_front();
    anyhow::ensure!(
        given.is_empty(),
        "{}: a front must not have this; it needs no database, no Redis and no key but its own, so take it out of the settings \
         and off this machine",
        given.join(", ")
    );
    Ok(true)
}

pub fn run(settings: Settings, listeners: Listeners, life: &Lifecycle) -> anyhow::Result<Front> {
    let front = Front::open(settings, Clock::System, life)?;
    listener::start_front(&front, listeners, telemetry::front_metrics())?;
    front.start();
    Ok(front)
}

//! Executions, builds, events and fan-outs.

use larder_signals::Work;

use crate::app::App;
use crate::workers::{self, build, claim, expand, route};

pub fn start(app: &App) {
    let (life, poll) = (&app.life, app.settings.worker.poll);
    let held = claim::Held::default();
    life.spawn("execute", claim::drive(app.clone(), held.clone()));
    life.spawn_last("renew", claim::renew(app.clone(), held));
    life.spawn("route", workers::drive(app.clone(), Work::Events, poll, route::step));
    life.spawn("expand", workers::drive(app.clone(), Work::Fanouts, poll, expand::step));
    for _ in 0..app.settings.build.at_once {
        life.spawn("build", workers::drive(app.clone(), Work::Builds, poll, build::step));
    }
}

//! Executions, builds, events and fan-outs.

use larder_platform::app::App;
use larder_platform::jobs::{builds, driver, events, executions, fanouts};
use larder_signals::Work;

pub fn start(app: &App) {
    let (life, poll) = (&app.life, app.settings.worker.poll);
    let held = executions::Held::default();
    life.spawn("execute", executions::drive(app.clone(), held.clone()));
    life.spawn_last("renew", executions::renew(app.clone(), held));
    life.spawn("route", driver::drive(app.clone(), Work::Events, poll, events::step));
    life.spawn("expand", driver::drive(app.clone(), Work::Fanouts, poll, fanouts::step));
    for _ in 0..app.settings.build.at_once {
        life.spawn("build", driver::drive(app.clone(), Work::Builds, poll, builds::step));
    }
}

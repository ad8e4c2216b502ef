//! Executions, builds, events and fan-outs.

use larder_platform::jobs::builds::{Builder, Builds};
use larder_platform::jobs::driver::drive;
use larder_platform::jobs::events::Events;
use larder_platform::jobs::executions::{self, Executions};
use larder_platform::jobs::fanouts::{self, Fanouts};
use larder_server::app::App;

pub fn start(app: &App) {
    let (life, common) = (&app.life, &app.common);
    let held = executions::HeldLeases::default();
    life.spawn("execute", drive(common.clone(), Executions::new(app.executor.clone(), held.clone())));
    life.spawn_last("renew", executions::renew(common.clone(), held));
    life.spawn("route", drive(common.clone(), Events(common.clone())));
    let ranges = fanouts::HeldRanges::default();
    life.spawn("fan-outs", drive(common.clone(), Fanouts::new(app.executor.clone(), ranges.clone())));
    life.spawn_last("renew ranges", fanouts::renew(common.clone(), ranges));
    let (runtime, objects) = (app.runtime.clone(), app.objects.clone());
    let builder = Builder { common: common.clone(), runtime, objects };
    for _ in 0..app.settings.build.at_once {
        life.spawn("build", drive(common.clone(), Builds(builder.clone())));
    }
}

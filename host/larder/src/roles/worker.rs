//! Executions, builds, events, fan-outs and bulk actions.

use larder_platform::jobs::builds::{Builder, Builds};
use larder_platform::jobs::bulk_actions::BulkActions;
use larder_platform::jobs::driver::drive;
use larder_platform::jobs::events::Events;
use larder_platform::jobs::executions::Executions;
use larder_platform::jobs::fanouts::Fanouts;
use larder_platform::jobs::leases::{self, HeldExecutions, HeldRanges};
use larder_platform::jobs::mails::Mails;
use larder_server::app::App;

pub fn start(app: &App) {
    let (life, common) = (&app.life, &app.common);
    let (held, ranges) = (HeldExecutions::default(), HeldRanges::default());
    life.spawn("execute", Executions::new(app.executor.clone(), held.clone()).drive());
    life.spawn("route", drive(common.clone(), Events(common.clone())));
    life.spawn("fan-outs", drive(common.clone(), Fanouts::new(app.executor.clone(), ranges.clone())));
    life.spawn("mails", drive(common.clone(), Mails(app.administration.clone())));
    life.spawn("bulk-actions", drive(common.clone(), BulkActions(common.clone())));
    life.spawn_last("renew", leases::renew(common.clone(), held, ranges));
    let (runtime, objects) = (app.runtime.clone(), app.objects.clone());
    let builder = Builder { common: common.clone(), runtime, objects };
    for _ in 0..app.settings.build.at_once {
        life.spawn("build", drive(common.clone(), Builds(builder.clone())));
    }
}

//! Schedules, feeds, domains, and certificates.

use larder_platform::certificates::{self, Issuer};
use larder_platform::domains::{self, Domains};
use larder_platform::jobs::driver::drive;
use larder_platform::jobs::feeds::{Feeds, Poller};
use larder_platform::jobs::schedules::Schedules;
use larder_server::app::App;

pub fn start(app: &App) {
    let (life, common) = (&app.life, &app.common);
    let poller = Poller { common: common.clone(), upstreams: app.upstreams.clone() };
    life.spawn("schedule", drive(common.clone(), Schedules::new(common.clone())));
    life.spawn("feeds", drive(common.clone(), Feeds::new(poller)));
    let domains = Domains { common: common.clone(), egress: app.egress.clone() };
    life.spawn("domains", domains::check(domains));
    if !common.settings.acme.directory.is_empty() {
        let issuer = Issuer { common: common.clone(), secrets: app.secrets.clone(), egress: app.egress.clone() };
        life.spawn("certificates", certificates::issue(issuer));
    }
}

//! Schedules and feeds.

use larder_platform::app::App;
use larder_platform::jobs::{feeds, schedules};

pub fn start(app: &App) {
    app.life.spawn("schedule", schedules::drive(app.clone()));
    app.life.spawn("feeds", feeds::drive(app.clone()));
}

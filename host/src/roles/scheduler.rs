//! Schedules and feeds.

use crate::app::App;
use crate::{feeds, schedule};

pub fn start(app: &App) {
    app.life.spawn("schedule", schedule::drive(app.clone()));
    app.life.spawn("feeds", feeds::poll::drive(app.clone()));
}

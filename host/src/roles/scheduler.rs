//! Schedules.

use crate::app::App;
use crate::schedule;

pub fn start(app: &App) {
    app.life.spawn("schedule", schedule::drive(app.clone()));
}

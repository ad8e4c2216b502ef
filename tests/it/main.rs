//! The one test binary: a file per subject, each at the outermost door that is still fast.

mod command_line;
mod crash;
mod events;
mod hostile;
mod isolation;
mod lifecycle;
mod limits;
mod schedules;
mod streaming;
mod toolchains;
mod uploads;
mod web_door;

//! The one test binary: a file per subject, each at the outermost door that is still fast.

mod api;
mod command_line;
mod crash;
mod events;
mod hot_path;
mod isolation;
mod lifecycle;
mod schedules;
mod serve;
mod settings;
mod web_door;

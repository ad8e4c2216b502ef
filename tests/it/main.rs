//! The one test binary: a file per subject, each at the outermost door that is still fast.

mod crash;
mod web_door;

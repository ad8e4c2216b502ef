//! The one test binary: a file per subject, each at the outermost door that is still fast.

mod web_door;

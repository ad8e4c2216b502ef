//! End users: who they are, and what they may do with what is theirs.

mod app;
mod keys;
mod me;
mod rates;
mod tokens;

//! End users: who they are, and what they may do with what is theirs.

mod keys;
mod me;
mod tokens;

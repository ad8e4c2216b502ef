//! The ledger: what is saved is saved once and in full, and what callers are told of it is true.

mod ceilings;
mod commits;
mod ledger;

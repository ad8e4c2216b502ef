//! Guests that misbehave, and the limits of those that do not.

mod corpus;
mod host_faults;
mod hostile;
mod limits;

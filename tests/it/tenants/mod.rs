//! Partners beside each other: nothing of one is seen by another, and none takes another's share.

mod audit;
mod isolation;
mod shares;
mod turns;

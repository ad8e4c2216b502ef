//! What a function may do: what was approved, and nothing else.

mod approvals;
mod enforcement;

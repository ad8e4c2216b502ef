//! The management API: its wire format, its document, and what a request that is sent again does.

mod deployments;
mod document;
mod executions;
mod functions;
mod idempotency;
mod lists;
mod paging;
mod schemathesis;
mod tail;
mod texts;

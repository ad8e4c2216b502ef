//! The management API: its wire format, its document, and what a request that is sent again does.

mod deployments;
mod document;
mod executions;
mod functions;
mod health;
mod idempotency;
mod lists;
mod paging;
mod project_variables;
mod realtime;
mod schemathesis;
mod tail;
mod texts;
mod usage;
mod webhooks;

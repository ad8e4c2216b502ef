//! The one test binary: a folder per subject, each test at the outermost door that is still fast.

#![allow(clippy::disallowed_methods, reason = "tests spawn as they like and ask the real time")]

mod api;
mod clients;
mod console;
mod deployments;
mod documentation;
mod egress;
mod end_users;
mod events;
mod grants;
mod money;
mod operations;
mod processes;
mod sandbox;
mod security;
mod storage;
mod tenants;
mod web;

//! What must not be read by others: secrets and files.

mod canary;
mod files;
mod secrets;
mod sign_in;

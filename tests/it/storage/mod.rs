//! Where data lies: databases, Redis, uploads; and how it is deleted.

mod connections;
mod deletes;
mod objects;

//! The clients of the replaced platform, unmodified, as their package registries have them.

mod browsers;
mod cli;
mod sdks;

//! The data of events, by the schemas in larder.toml. `larder types` writes this file.

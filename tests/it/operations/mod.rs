//! Larder in the hands of its operator: the command line, settings, start and end.

mod command_line;
mod environment;
mod facts;
mod lifecycle;
mod serve;
mod settings;

//! Whom to speak to and as whom: flags, then `LARDER_…` variables, then the nearest `larder-data/dev.env`, or the file that
//! `LARDER_DEV_ENV` names.
//!
//! The file fills in only for an endpoint that nobody named, so a development key never goes to another installation.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

const DEV_ENV: &str = "larder-data/dev.env";

/// Options that every client command takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Globals {
    /// Address of the API, which ends in /v1
    #[arg(long, global = true, env = "LARDER_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// The partner to act for
    #[arg(long, global = true, env = "LARDER_PARTNER", value_name = "ID")]
    pub partner: Option<String>,
    /// API key of the partner
    #[arg(long, global = true, env = "LARDER_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Operator key, for `partner`, `key` and `keys`
    #[arg(long, global = true, env = "LARDER_OPERATOR_KEY", value_name = "KEY", hide_env_values = true)]
    pub operator_key: Option<String>,
    /// File that `larder dev` wrote, if it is not in larder-data of this folder or one above
    #[arg(long, global = true, env = "LARDER_DEV_ENV", value_name = "FILE")]
    pub dev_env: Option<String>,
    /// Print the API's own objects as JSON, for scripts
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Connection {
    pub endpoint: String,
    pub partner: Option<String>,
    pub key: Option<String>,
    pub operator_key: Option<String>,
    /// To a `larder dev`, as its file says.
    pub dev: bool,
}

impl Globals {
    pub fn connect(&self) -> Result<Connection> {
        let here = std::env::current_dir().map_err(|err| Failure::usage(format!("no current folder: {err}")))?;
        let (connection, file) = self.resolve(&here)?;
        if let Some(file) = file {
            // Said to scripts too: what they do may land elsewhere than they think.
            eprintln!("using {} ({})", connection.endpoint, file.display());
        }
        Ok(connection)
    }

    fn resolve(&self, folder: &Path) -> Result<(Connection, Option<PathBuf>)> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let mut connection = Connection {
            endpoint: given(&self.endpoint).unwrap_or_default(),
            partner: given(&self.partner),
            key: given(&self.key),
            operator_key: given(&self.operator_key),
            dev: false,
        };
        if !connection.endpoint.is_empty() {
            return Ok((connection, None));
        }
        let nearest = || folder.ancestors().map(|folder| folder.join(DEV_ENV)).find(|file| file.is_file());
        let Some(file) = given(&self.dev_env).map(PathBuf::from).or_else(nearest) else {
            return Err(Failure::usage(
                "no endpoint: give --endpoint or LARDER_ENDPOINT, or start `larder dev` in this folder or one above it",
            ));
        };
        let text = std::fs::read_to_string(&file)
            .map_err(|err| Failure::usage(format!("cannot read {}: {err}", file.display())))?;
        let mut dev = parse_env(&text);
        let Some(endpoint) = dev.remove("LARDER_ENDPOINT") else {
            return Err(Failure::usage(format!("{} has no LARDER_ENDPOINT", file.display())));
        };
        connection.endpoint = endpoint;
        connection.dev = true;
        connection.partner = connection.partner.or_else(|| dev.remove("LARDER_PARTNER"));
        connection.key = connection.key.or_else(|| dev.remove("LARDER_KEY"));
        connection.operator_key = connection.operator_key.or_else(|| dev.remove("LARDER_OPERATOR_KEY"));
        Ok((connection, Some(file)))
    }
}

/// `NAME=value` lines as `larder dev` writes them.
fn parse_env(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches("export ").split_once('='))
        .filter(|(name, value)| !name.starts_with('#') && !value.trim().is_empty())
        .map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with_dev_env() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("larder-data")).unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        let text = "# written by larder dev\nLARDER_ENDPOINT=http://127.0.0.1:8080/v1\nLARDER_PARTNER=demo\n\
                    export LARDER_KEY=\"dev-key\"\nLARDER_OPERATOR_KEY=op=key=\n";
        std::fs::write(folder.path().join(DEV_ENV), text).unwrap();
        folder
    }

    #[test]
    fn the_nearest_dev_env_fills_in_what_was_not_given() {
        let folder = folder_with_dev_env();
        let globals = Globals { partner: Some("other".into()), endpoint: Some(String::new()), ..Globals::default() };
        let (connection, file) = globals.resolve(&folder.path().join("a/b")).unwrap();
        assert_eq!(
            connection,
            Connection {
                endpoint: "http://127.0.0.1:8080/v1".into(),
                partner: Some("other".into()),
                key: Some("dev-key".into()),
                operator_key: Some("op=key=".into()),
                dev: true,
            }
        );
        assert_eq!(file, Some(folder.path().join(DEV_ENV)));
    }

    #[test]
    fn a_named_endpoint_never_gets_the_development_key() {
        let folder = folder_with_dev_env();
        let globals = Globals { endpoint: Some("https://larder.example/v1".into()), ..Globals::default() };
        let (connection, file) = globals.resolve(folder.path()).unwrap();
        assert_eq!((connection.key, connection.operator_key, file), (None, None, None));
    }
}

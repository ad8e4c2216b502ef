//! `larder doors`: the table of doors with this installation's networks, and which door a request takes.

use std::net::IpAddr;

use anyhow::Context;
use larder_model::doors::{self, Host, Names, Row, Setting, Who};
use larder_model::settings::Settings;

/// The table, and the networks of the settings that it names.
pub fn table(settings: &Settings) -> String {
    let mut text = doors::table_text();
    text.push('\n');
    let root = settings.root_host().unwrap_or_default();
    text.push_str(&format!("ROOT is {root}, of server.root_url.\n"));
    text.push_str(&match settings.server.functions_domain.as_str() {
        "" => "FUNCTIONS is not set (server.functions_domain).\n".to_owned(),
        functions => format!("FUNCTIONS is {functions}, of server.functions_domain.\n"),
    });
    for setting in Setting::ALL {
        let networks: Vec<String> = setting.networks(settings).iter().map(ToString::to_string).collect();
        let networks = if networks.is_empty() { "nobody".to_owned() } else { networks.join(", ") };
        text.push_str(&format!("{} lets in {networks}.\n", setting.name()));
    }
    text.push_str(
        "Through a front (docs/tiers.md) a request is in no network: only what everybody may reach is open.\n",
    );
    text
}

/// The door of a request to this address by this client, in a sentence.
pub fn explain(settings: &Settings, url: &str, client: IpAddr) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is no address such as https://host/path"))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let name = uri.host().filter(|_| is_http);
    let name = name.with_context(|| format!("{url:?} must begin with http:// or https:// and a host"))?;
    let root = settings.root_host().unwrap_or_default();
    let names = Names { root: &root, functions: &settings.server.functions_domain };
    let host = names.host(&name.to_ascii_lowercase());
    let (row, is_open) = doors::find(&host, uri.path(), Some(client), settings);
    let Row { door, hosts, who, to, .. } = row;
    let paths = row.paths_text();
    let outcome = match (who, is_open) {
        (_, true) if *to == doors::To::Function || *to == doors::To::Web => {
            format!("open for {client}; it leads to {to}")
        }
        (_, true) => format!("open for {client}; it leads to {to}, which looks for exactly {:?}", uri.path()),
        (Who::In(setting), false) => format!("closed: {client} is in none of the networks of {}; 404", setting.name()),
        (_, false) if host == Host::Unknown && *to == doors::To::Nothing && row.paths.is_empty() => {
            format!(
                "closed: {name} is no name of server.root_url or server.functions_domain; {} (a domain of a partner's \
                 own is known to the database only: larder rules list)",
                if uri.scheme_str() == Some("https") { 421 } else { 404 }
            )
        }
        (_, false) => "closed for everybody; 404".to_owned(),
    };
    Ok(format!("door {door} ({hosts}, {paths}): {outcome}\n"))
}

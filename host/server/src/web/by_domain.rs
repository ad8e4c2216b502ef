//! Calls of a function by its domain. Whoever knows the domain may call the function if its `execute` roles admit them.

use http::HeaderMap;

use larder_model::rules::Reaches;

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::web::{Found, caller};

/// The function that has this domain, if it lets the caller in. It takes no query.
pub async fn find(app: &App, domain: &str, headers: &HeaderMap) -> Result<Found, Problem> {
    if domain == app.settings.server.functions_domain {
        let message = "functions are called at domains below this one, not at it";
        return Err(Problem::new(Kind::AccessForbidden, message));
    }
    let mut found = app.directory.at_domain(domain);
    if found.is_none() {
        // The rule may have been made a moment ago.
        app.directory.refresh_soon().await;
        found = app.directory.at_domain(domain);
    }
    let none = || Problem::new(Kind::RuleNotFound, "no function has this domain");
    let Some((tenant, Reaches::Function(function))) = found else { return Err(none()) };
    let view = tenant.functions.get(&function).filter(|view| view.function.enabled);
    let none = || Problem::new(Kind::FunctionNotFound, "the function of this domain is disabled");
    let view = view.ok_or_else(none)?.clone();
    app.rates.take_partner(&tenant.rate, tenant.partner.id.as_str()).await?;
    let user = caller(app, &tenant, &view, headers).await?;
    let active = view.active.as_ref();
    let none = || Problem::new(Kind::DeploymentNotFound, "the function of this domain has no active deployment");
    if !active.ok_or_else(none)?.exports.http {
        let message = "the function of this domain serves no HTTP requests";
        return Err(Problem::new(Kind::RouteNotFound, message));
    }
    Ok((tenant, view, user))
}

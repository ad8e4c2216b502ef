//! Calls of a function by its domain. Whoever knows the domain may call the function if its `execute` roles admit them.

use std::sync::Arc;

use larder_platform::directory::{FunctionView, Tenant};

use crate::app::App;
use crate::problem::{Kind, Problem};

/// Roles of callers who are nobody in particular.
const GUESTS: [&str; 2] = ["any", "guests"];

/// The function that has this domain, if everybody may call it. It takes no query.
pub async fn find(app: &App, domain: &str) -> Result<(Arc<Tenant>, Arc<FunctionView>), Problem> {
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
    let (tenant, function) = found.ok_or_else(none)?;
    let view = tenant.functions.get(&function).filter(|view| view.function.enabled);
    let none = || Problem::new(Kind::FunctionNotFound, "the function of this domain is disabled");
    let view = view.ok_or_else(none)?.clone();
    if !view.function.execute.iter().any(|role| GUESTS.contains(&role.as_str())) {
        let message =
            "the function of this domain may not be called by everybody: its execute roles hold neither any nor guests";
        return Err(Problem::new(Kind::ExecutePermission, message));
    }
    let active = view.active.as_ref();
    let none = || Problem::new(Kind::DeploymentNotFound, "the function of this domain has no active deployment");
    if !active.ok_or_else(none)?.exports.http {
        let message = "the function of this domain serves no HTTP requests";
        return Err(Problem::new(Kind::RouteNotFound, message));
    }
    Ok((tenant, view))
}

//! `/_larder/me` at the web endpoint: what an end user reads and changes of their own, by their own token.
//!
//! * [`Me`] is the extractor: a handler that takes one has an end user, and asks the store for that one only.
//! * [`serve`] answers a request below [`RESERVED`], with the headers that browsers need ([`crate::cors`]).
//! * One file per resource. The routes are those of the API's router, so the document has them, too.
//!
//! The rules: **the partner comes from the host and the end user from the token, never from what is asked for**; what is
//! another's is answered as what is not there.

mod enrolments;
mod savings;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderValue, Request, Response, header};
use larder_model::EndUser;
use larder_model::ids::PartnerId;
use larder_platform::admission;
use larder_platform::directory::Tenant;
use larder_platform::identity;
use larder_store::listing::Listing;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::auth;
use crate::cors::{self, Asked};
use crate::problem::{Kind, Problem};
use crate::routing::Endpoint;

/// Below this, paths of the web endpoint are Larder's and no function's.
pub const RESERVED: &str = "/_larder";

/// Rows of a page.
const LIMIT_MAX: u32 = 100;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(savings::router()).merge(enrolments::router())
}

/// Is this path Larder's?
pub fn is_reserved(path: &str) -> bool {
    path.strip_prefix(RESERVED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request below [`RESERVED`]. It has the endpoint as an extension.
pub async fn serve(app: App, router: Router, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
    let tenant = match request.extensions().get::<Endpoint>() {
        Some(Endpoint::Web(Some(partner))) => app.directory.tenant(partner),
        _ => None,
    };
    let identity = tenant.as_ref().and_then(|tenant| tenant.identity.as_deref());
    let asked = Asked::of(&request, |origin| identity.is_some_and(|view| view.identity.settings.allows(origin)));
    let mut response = match asked.preflight(&cors::OF_END_USERS) {
        Some(answer) => answer,
        None => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
    };
    let headers = response.headers_mut();
    asked.mark(&cors::OF_END_USERS, headers);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The end user who asks.
pub struct Me {
    pub partner: PartnerId,
    pub tenant: Arc<Tenant>,
    pub user: EndUser,
    /// Held until the handler returns.
    _permit: admission::EndUserPermit,
}

impl FromRequestParts<App> for Me {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Me, Problem> {
        let Some(Endpoint::Web(Some(partner))) = parts.extensions.get::<Endpoint>().cloned() else {
            return Err(Problem::no_such_route());
        };
        let tenant = app.directory.tenant(&partner);
        let tenant = tenant.ok_or_else(|| Problem::not_found(Kind::PartnerNotFound, "Project"))?;
        app.rates.take_partner(&tenant.rate, partner.as_str()).await?;
        let view = identity::find(&tenant)?;
        let user = auth::end_user(app, view, &parts.headers).await?.ok_or_else(|| {
            Problem::new(Kind::TokenMissing, "This needs the token of an end user: Authorization: Bearer TOKEN")
        })?;
        let permit = admission::admit_end_user(app, &tenant, &user).await?;
        Ok(Me { partner, tenant, user, _permit: permit })
    }
}

/// End users' lists have short pages.
fn bounded(listing: Listing) -> Listing {
    Listing { limit: listing.limit.min(LIMIT_MAX), ..listing }
}

impl Me {
    /// The name of a function, or empty: it is no more.
    fn name_of(&self, function: &str) -> String {
        let id = function.parse().ok();
        let view = id.and_then(|id| self.tenant.functions.get(&id));
        view.map(|view| view.function.name.clone()).unwrap_or_default()
    }
}

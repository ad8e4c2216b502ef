//! Cross-origin requests of browsers (Fetch standard, section 3.2): which pages may read answers.
//!
//! A partner lists the origins of its pages in its identity settings. No cookie counts at these doors, so a page can do no more
//! than the token that it holds.

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tower::ServiceExt;

use crate::app::App;
use crate::auth;
use crate::problem::{Kind, Problem};

/// What pages of a listed origin may send to a door, and read of its answers.
pub struct Door {
    methods: &'static str,
    headers: &'static str,
    /// Beside those that pages may always read.
    exposed: &'static str,
    /// Whether browsers may send cookies. They are not looked at, but a page that asks for it reads nothing otherwise.
    credentials: bool,
}

/// `/_larder/me`.
pub const OF_END_USERS: Door = Door {
    methods: "GET, POST, PATCH, DELETE",
    headers: "Authorization, Content-Type, X-Appwrite-JWT",
    exposed: "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset",
    credentials: false,
};

/// The part of the API that SDKs for browsers have ([`is_for_pages`]).
///
/// `X-Appwrite-Mode` must never be among its headers: with it the cookie of an administrator counts. `X-Appwrite-Key` is not,
/// either: keys belong on servers.
const OF_PAGES: Door = Door {
    methods: "GET, POST, PUT, PATCH, DELETE",
    headers: "Authorization, Content-Type, Content-Range, Range, Idempotency-Key, X-Appwrite-ID, X-Appwrite-JWT, \
              X-Appwrite-Locale, X-Appwrite-Project, X-Appwrite-Response-Format, X-Appwrite-Session, \
              X-Appwrite-Timestamp, X-Fallback-Cookies, X-Larder-Partner, X-SDK-Language, X-SDK-Name, X-SDK-Platform, \
              X-SDK-Version",
    exposed: "Retry-After, X-Appwrite-Warning, X-Fallback-Cookies, X-RateLimit-Limit, X-RateLimit-Remaining, \
              X-RateLimit-Reset",
    credentials: true,
};
const MAX_AGE_S: &str = "600";

/// What a browser asks before or with a request.
pub struct Asked {
    /// The origin of the page, if it may read the answer.
    allowed: Option<HeaderValue>,
    /// It only asks whether it may.
    preflight: bool,
}

impl Asked {
    pub fn of(request: &Request<Body>, allows: impl FnOnce(&str) -> bool) -> Asked {
        let origin = request.headers().get(header::ORIGIN);
        let allowed = origin.filter(|origin| origin.to_str().is_ok_and(allows));
        let preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Asked { allowed: allowed.cloned(), preflight: preflight && origin.is_some() }
    }

    /// The answer to a preflight.
    pub fn preflight(&self, door: &Door) -> Option<Response<Body>> {
        if !self.preflight {
            return None;
        }
        if self.allowed.is_none() {
            let message = "Pages of this origin may not call this: the project lists origins in its identity settings";
            return Some(Problem::new(Kind::OriginForbidden, message).into_response());
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, door.methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, door.headers),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    }

    /// Says in any answer who may read it.
    pub fn mark(&self, door: &Door, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from(header::ORIGIN));
        if let Some(origin) = &self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(door.exposed));
            if door.credentials {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
}

/// Answers a request to the API, which has its endpoint as an extension.
pub async fn serve_api(app: App, router: Router, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let is_for_pages = is_for_pages(parts.uri.path());
    // A preflight on the bare address names no project: it is answered if any lists the origin, and the request after it by
    // its own project. Servers send no origin.
    let is_of_page = is_for_pages && parts.headers.contains_key(header::ORIGIN);
    let origins = is_of_page.then(|| auth::partner(&parts).ok());
    let request = Request::from_parts(parts, body);
    let asked = Asked::of(&request, |origin| match &origins {
        Some(Some(partner)) => {
            let tenant = app.directory.tenant(partner);
            let identity = tenant.as_ref().and_then(|tenant| tenant.identity.as_deref());
            identity.is_some_and(|view| view.identity.settings.allows(origin))
        }
        Some(None) => app.directory.knows_origin(origin),
        None => false,
    });
    let mut response = match asked.preflight(&OF_PAGES) {
        Some(answer) => answer,
        None => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
    };
    if is_for_pages {
        asked.mark(&OF_PAGES, response.headers_mut());
    }
    response
}

/// The paths that SDKs for browsers call. What an operator, an administrator or a server calls is not among them.
fn is_for_pages(path: &str) -> bool {
    let is_executions = |rest: &str| rest.split('/').nth(1) == Some("executions");
    path == "/v1/ping" || path.strip_prefix("/v1/functions/").is_some_and(is_executions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_reach_what_their_sdks_have() {
        for (path, expected) in [
            ("/v1/ping", true),
            ("/v1/functions/f/executions", true),
            ("/v1/functions/f/executions/e", true),
            ("/v1/functions", false),
            ("/v1/functions/f", false),
            ("/v1/functions/f/deployments/executions", false),
            ("/v1/functions//executions", true),
            ("/v1/account", false),
            ("/v1/console/variables", false),
            ("/v1/operator/functions/f/executions", false),
        ] {
            assert_eq!(is_for_pages(path), expected, "{path}");
        }
    }

    #[test]
    fn no_page_sends_what_makes_a_cookie_count() {
        for forbidden in ["mode", "key", "*"] {
            let named = |name: &str| name.trim().to_ascii_lowercase().ends_with(forbidden);
            let found = OF_PAGES.headers.split(',').find(|name| named(name) && name.trim() != "Idempotency-Key");
            assert_eq!(found, None);
        }
    }
}

//! Cross-origin requests of browsers (Fetch standard, section 3.2): which pages may read answers.
//!
//! No cookie is ever looked at, so credentials are not allowed and a page can do no more than its holder of a token can.

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use larder_model::IdentitySettings;

use crate::problem::{Kind, Problem};

const METHODS: &str = "GET, POST, PATCH, DELETE";
const HEADERS: &str = "Authorization, Content-Type, X-Appwrite-JWT";
/// Beside those that pages may always read.
const EXPOSED: &str = "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset";
const MAX_AGE_S: &str = "600";

/// What a browser asks before or with a request.
pub struct Asked {
    /// The origin of the page, if it may read the answer.
    allowed: Option<HeaderValue>,
    /// It only asks whether it may.
    preflight: bool,
}

impl Asked {
    pub fn of(request: &Request<Body>, settings: Option<&IdentitySettings>) -> Asked {
        let origin = request.headers().get(header::ORIGIN);
        let allowed = origin.filter(|origin| {
            let text = origin.to_str().unwrap_or_default();
            settings.is_some_and(|settings| settings.allows(text))
        });
        let preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Asked { allowed: allowed.cloned(), preflight: preflight && origin.is_some() }
    }

    /// The answer to a preflight.
    pub fn preflight(&self) -> Option<Response<Body>> {
        if !self.preflight {
            return None;
        }
        if self.allowed.is_none() {
            let message = "Pages of this origin may not call this: the project lists origins in its identity settings";
            return Some(Problem::new(Kind::OriginForbidden, message).into_response());
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    }

    /// Says in any answer who may read it.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from(header::ORIGIN));
        if let Some(origin) = &self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

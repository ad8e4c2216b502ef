//! The consoles: where the administrators of a partner (`P.ROOT/depo`) and the operator (`ROOT/meta_depo`) see and decide.
//!
//! * [`visitor`]: who asks, by which session. [`fields`]: forms that were sent, checked. [`failure`]: what is answered otherwise.
//! * [`page`]: what every page has. [`asked`]: filters and pages of lists, which the address has. [`chart`]: SVG. [`look`]: language, time zone, colours, and how numbers and times are written.
//! * [`live`]: what a page may be told of while somebody looks at it.
//! * [`audit`]: who changed what. [`account`]: signing in and out, links, sessions, the second factor. [`provider`]: signing in at the operator's provider. [`depo`], [`meta`]: the screens.
//!
//! The pages are HTML that the server makes from `templates/`, which escape everything. The rules:
//!
//! * **A handler calls the services that the API calls**, with the person as the caller, and nothing else.
//! * **A session counts only where a person has navigated to.** Functions answer at the same host, so their pages are of the same
//!   origin: what such a page fetches, frames or opens is never a console with a session in it (ADR 0055).
//! * **Every form is a page's own**: it carries the token of its session, and comes from this origin.

mod account;
mod asked;
mod audit;
mod chart;
pub(crate) mod depo;
mod failure;
mod fields;
pub mod live;
mod look;
mod meta;
mod page;
mod provider;
mod visitor;

pub use look::{Language, span};

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use tower::ServiceExt;

use self::failure::Failure;
use self::visitor::Visitor;
use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::routing::Endpoint;

/// The door of a partner's console.
const DEPO: &str = "/depo";
/// The door of the operator's.
const META_DEPO: &str = "/meta_depo";

/// Names of the cookies of consoles. Functions neither see nor set them (`web/head`).
pub fn is_cookie(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    name.starts_with("__host-http-larder_")
        || ["larder_console", "larder_look", "larder_oidc"].iter().any(|own| name.starts_with(own))
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";

/// Of every answer of a console.
const HEADERS: [(HeaderName, &str); 10] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
    (header::CACHE_CONTROL, "no-store"),
];

struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset { name: "console.css", kind: "text/css; charset=utf-8", text: include_str!("assets/console.css") },
    Asset { name: "console.js", kind: "text/javascript; charset=utf-8", text: include_str!("assets/console.js") },
    Asset { name: "icon.svg", kind: "image/svg+xml", text: include_str!("assets/icon.svg") },
];

/// Both consoles. They want the request's `Endpoint` and the peer's address as extensions.
pub fn router(app: App) -> Router {
    Router::new()
        .merge(account::router(DEPO).merge(provider::router(DEPO)).merge(depo::router()))
        .merge(account::router(META_DEPO).merge(provider::router(META_DEPO)).merge(meta::router()))
        .route("/depo/assets/{name}", get(asset))
        .route("/meta_depo/assets/{name}", get(asset))
        .fallback(async || Failure::from(Problem::no_such_route()))
        .method_not_allowed_fallback(async || {
            Failure::from(Problem::new(Kind::NotImplemented, "This page does not have this method"))
        })
        .with_state(app)
}

/// Stylesheet, script and icon; they say nothing of anybody. Their address changes with their text.
async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => ([(header::CONTENT_TYPE, asset.kind)], asset.text).into_response(),
        None => Failure::from(Problem::no_such_route()).into_response(),
    }
}

/// Answers a request that came through the door of a console.
pub async fn serve(app: App, router: Router, mut request: Request<Body>) -> Response {
    let path = request.uri().path();
    let base = match request.extensions().get::<Endpoint>() {
        Some(Endpoint::Console(_)) => DEPO,
        Some(Endpoint::MetaConsole) => META_DEPO,
        _ => return Problem::no_such_route().into_response(),
    };
    // The door reads paths leniently; what is behind it has one spelling.
    if !path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Problem::no_such_route().into_response();
    }
    if let Some(Endpoint::Console(partner)) = request.extensions().get()
        && app.directory.tenant(partner).is_none()
    {
        // It may have been made a moment ago.
        app.directory.refresh_soon().await;
    }
    let Some(visitor) = Visitor::of(&app, &request, base) else { return Problem::no_such_route().into_response() };
    let visitor = Arc::new(visitor);
    let is_asset = path.strip_prefix(base).is_some_and(|rest| rest.starts_with("/assets/"));
    request.extensions_mut().insert(visitor.clone());
    let mut response = match visitor.is_safe() {
        true => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
        false => Failure::NoTls.into_response(),
    };
    if let Some(failure) = response.extensions_mut().remove::<Arc<Failure>>() {
        response = failure.page(&app, &visitor);
    }
    let is_kept = is_asset && response.status() == StatusCode::OK;
    mark(response.headers_mut(), is_kept);
    response
}

fn mark(headers: &mut HeaderMap, is_asset: bool) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_asset {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_short_and_templates_never_mark_text_as_safe() {
        let script = ASSETS.iter().find(|asset| asset.name == "console.js").unwrap().text;
        assert!(script.lines().count() <= 350);
        for word in ["innerHTML", "outerHTML", "eval(", "document.write", "insertAdjacentHTML"] {
            assert!(!script.contains(word), "{word}");
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut read = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for forbidden in ["|safe", "| safe", "escape(\"none\")", " style=", "<style", "onclick", "javascript:"] {
                assert!(!text.contains(forbidden), "{forbidden} in {text}");
            }
            read += 1;
        }
        assert!(read > 5);
    }
}

//! The fields of a form that was sent. Who takes [`Fields`] has a form of a page of this console, of the same session.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::Request;
use http::{HeaderMap, header};
use larder_platform::keys;

use super::failure::Failure;
use super::visitor::{Anybody, form_token, is_navigation};
use crate::api::requests;
use crate::app::App;

/// Bytes of a form.
const BODY_MAX: usize = 64 * 1024;
const TOKEN: &str = "form_token";

pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// A field, without blanks around it; empty if it was not sent.
    pub fn get(&self, name: &str) -> &str {
        self.exactly(name).trim()
    }

    /// All fields with this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.trim())
    }

    /// A field as it was typed, such as a password.
    pub fn exactly(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl FromRequest<App> for Fields {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Fields, Failure> {
        let (mut parts, body) = request.into_parts();
        let Anybody(visitor) = Anybody::from_request_parts(&mut parts, app).await?;
        if !is_of_this_origin(&parts.headers) {
            return Err(Failure::OtherOrigin);
        }
        let body = requests::bytes(body, BODY_MAX).await?;
        let fields = Fields(form_urlencoded::parse(&body).into_owned().collect());
        let secret = visitor.secret.as_deref().ok_or(Failure::OldForm)?;
        if !keys::is_text(fields.get(TOKEN), &keys::hash(&form_token(secret))) {
            return Err(Failure::OldForm);
        }
        Ok(fields)
    }
}

/// Browsers say where a form was sent from, and no page can say otherwise.
fn is_of_this_origin(headers: &HeaderMap) -> bool {
    let is_same = headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let fits = |origin: &str| origin.split_once("://").is_some_and(|(_, named)| named.eq_ignore_ascii_case(host));
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    // Without a referrer the origin of a form is told as null.
    is_same && is_navigation(headers) && origin.is_none_or(|origin| origin == "null" || fits(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_comes_from_a_page_of_the_same_origin() {
        let from = |site: &str, mode: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "acme.bank.test".parse().unwrap());
            headers.insert("sec-fetch-site", site.parse().unwrap());
            headers.insert("sec-fetch-mode", mode.parse().unwrap());
            headers.insert("sec-fetch-dest", "document".parse().unwrap());
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
            is_of_this_origin(&headers)
        };
        assert!(from("same-origin", "navigate", None) && from("same-origin", "navigate", Some("null")));
        assert!(from("same-origin", "navigate", Some("https://acme.bank.test")));
        assert!(!from("same-origin", "navigate", Some("https://other.bank.test")));
        assert!(!from("same-origin", "cors", Some("https://acme.bank.test")));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!from(site, "navigate", None), "{site}");
        }
        assert!(!is_of_this_origin(&HeaderMap::new()));
    }
}

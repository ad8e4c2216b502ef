//! Who visits a console: [`Visitor`] is anybody, [`Reader`] somebody who has signed in and has a role there.
//!
//! The cookie holds the token of a session, or a random text until there is one. The tokens in forms follow from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use larder_model::administrators::Place;
use larder_platform::administrators::{self, SignedIn};
use larder_platform::audit;
use larder_platform::directory::Tenant;
use larder_platform::{keys, second_factors};

use super::failure::Failure;
use super::look::Look;
use super::page::Page;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::routing::Endpoint;

/// Only the server sets a cookie with this prefix, and only for this host (RFC 6265bis); older browsers hold at least the second.
const SECURE: &str = "__Host-Http-larder_";
const SESSION: &str = "console";
const LOOK: &str = "look";
/// Of somebody who was sent to the provider.
const OIDC: &str = "oidc";
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Which console this is.
#[derive(Clone)]
pub enum Site {
    Partner(Arc<Tenant>),
    Installation,
}

impl Site {
    pub fn place(&self) -> Place {
        match self {
            Site::Partner(tenant) => Place::Partner(tenant.partner.id.clone()),
            Site::Installation => Place::Installation,
        }
    }
}

pub struct Visitor {
    pub site: Site,
    pub base: &'static str,
    pub look: Look,
    pub address: IpAddr,
    pub agent: String,
    /// The text in the cookie; `None` where a session does not count, too.
    pub secret: Option<String>,
    /// The same wherever the request comes from. It counts only together with the token of a page ([`super::live`]).
    pub carried: Option<String>,
    /// The text in the cookie of somebody who comes back from the provider.
    pub sent_away: Option<String>,
    is_secure: bool,
    /// May a cookie be set? A page elsewhere, or a script, must not put a fresh one in the place of a session's.
    pub takes_cookies: bool,
    /// A page elsewhere has led here, so the browser has left out the cookie of a session that there may be.
    pub is_led: bool,
    /// The page that is asked for, with its query; for a form, the first one.
    pub target: String,
}

impl Visitor {
    /// `None`: there is no such partner.
    pub fn of(app: &App, request: &Request<Body>, base: &'static str) -> Option<Visitor> {
        let site = match request.extensions().get::<Endpoint>()? {
            Endpoint::Console(partner) => Site::Partner(app.directory.tenant(partner)?),
            _ => Site::Installation,
        };
        let headers = request.headers();
        let is_secure =
            request.uri().scheme_str() == Some("https") || app.settings.server.root_url.starts_with("https://");
        let name = |name: &str| cookie_name(name, is_secure);
        let look = Look::read(cookie(headers, &name(LOOK)), headers, &app.zones);
        let from = headers.get("sec-fetch-site").map(HeaderValue::as_bytes).unwrap_or_default();
        let takes_cookies = is_navigation(headers) && matches!(from, b"none" | b"same-origin");
        let is_page = matches!(*request.method(), Method::GET | Method::HEAD);
        let asked = request.uri().path_and_query().filter(|_| is_page);
        let text = |name| headers.get(name).map(HeaderValue::as_bytes).map(String::from_utf8_lossy).unwrap_or_default();
        let carried = cookie(headers, &name(SESSION)).map(str::to_owned);
        Some(Visitor {
            site,
            base,
            look,
            address: request.extensions().get::<SocketAddr>().map_or(UNKNOWN, SocketAddr::ip),
            agent: text(header::USER_AGENT).into_owned(),
            secret: carried.clone().filter(|_| is_navigation(headers)),
            sent_away: cookie(headers, &name(OIDC)).filter(|_| is_navigation(headers)).map(str::to_owned),
            is_secure,
            takes_cookies,
            is_led: is_navigation(headers) && !takes_cookies && carried.is_none(),
            carried,
            target: asked.map_or(base, |asked| asked.as_str()).to_owned(),
        })
    }

    /// Nobody reads along: by TLS, or within this machine.
    pub fn is_safe(&self) -> bool {
        self.is_secure || self.address.to_canonical().is_loopback()
    }

    /// The token that forms of a page carry.
    pub fn form_token(&self) -> String {
        self.secret.as_deref().map(form_token).unwrap_or_default()
    }

    /// The header that sets the session's cookie: with this text, or away.
    pub fn session_cookie(&self, secret: Option<&str>) -> (header::HeaderName, String) {
        self.set_cookie(SESSION, secret, "")
    }

    pub fn look_cookie(&self, look: &Look) -> (header::HeaderName, String) {
        self.set_cookie(LOOK, Some(&look.written()), "; Max-Age=31536000")
    }

    /// The only cookie that comes along when another site leads here: the provider does.
    pub fn oidc_cookie(&self, text: Option<&str>) -> (header::HeaderName, String) {
        let (name, cookie) = self.set_cookie(OIDC, text, "; Max-Age=600");
        (name, cookie.replace("SameSite=Strict", "SameSite=Lax"))
    }

    fn set_cookie(&self, name: &str, value: Option<&str>, more: &str) -> (header::HeaderName, String) {
        let name = cookie_name(name, self.is_secure);
        let secure = if self.is_secure { "; Secure" } else { "" };
        let age = if value.is_none() { "; Max-Age=0" } else { more };
        let value = value.unwrap_or_default();
        (header::SET_COOKIE, format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}"))
    }

    /// An address of this console.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn cookie_name(name: &str, is_secure: bool) -> String {
    // Without TLS a browser keeps no cookie with the prefix: that is for `larder dev` on the own machine.
    if is_secure { format!("{SECURE}{name}") } else { format!("larder_{name}") }
}

/// The one cookie with this name. Of two, one was set by somebody else.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name && !value.is_empty()).then_some(value)
    });
    found.next().filter(|_| found.next().is_none())
}

/// Has a person navigated here in a window? No script can say so of what it fetches, nor a page of what it frames.
pub fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

pub fn form_token(secret: &str) -> String {
    hex::encode(keys::hash(&format!("form of {secret}")))
}

/// The text of a cookie for somebody who has not signed in.
pub fn new_secret() -> String {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).expect("the operating system gives random bytes");
    format!("visit_{}", hex::encode(secret))
}

/// Anybody's request to a console.
#[derive(Clone)]
pub struct Anybody(pub Arc<Visitor>);

impl<S: Send + Sync> FromRequestParts<S> for Anybody {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Anybody, Failure> {
        let visitor = parts.extensions.get::<Arc<Visitor>>().cloned();
        visitor.map(Anybody).ok_or_else(|| Problem::internal("a page outside of a console").into())
    }
}

/// Somebody who has signed in here. What they may is looked up each time.
pub struct Newcomer {
    pub visitor: Arc<Visitor>,
    pub by: SignedIn,
}

impl FromRequestParts<App> for Newcomer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Newcomer, Failure> {
        let Anybody(visitor) = Anybody::from_request_parts(parts, app).await?;
        let found = match &visitor.secret {
            Some(token) => administrators::find_session(app, token).await?,
            None => None,
        };
        let found = found.filter(|by| by.administrator.may_enter(&visitor.site.place()));
        // Nobody is told whether there is a session, or of whom.
        let by = found.ok_or(Failure::SignIn)?;
        audit::by(audit::person(&by.administrator));
        Ok(Newcomer { visitor, by })
    }
}

impl Newcomer {
    pub fn page(&self, app: &App, title: &'static str) -> Page {
        Page::new(app, &self.visitor, title).of(&self.by)
    }
}

/// The same, with the second factor that their roles need.
pub struct Reader(Newcomer);

impl std::ops::Deref for Reader {
    type Target = Newcomer;

    fn deref(&self) -> &Newcomer {
        &self.0
    }
}

impl FromRequestParts<App> for Reader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Reader, Failure> {
        let newcomer = Newcomer::from_request_parts(parts, app).await?;
        if second_factors::is_missing(app, &newcomer.by.administrator) {
            return Err(Failure::SecondFactor);
        }
        Ok(Reader(newcomer))
    }
}

/// A reader at the console of a partner, as a caller of its services.
pub struct Desk {
    pub reader: Reader,
    pub caller: Caller,
}

impl FromRequestParts<App> for Desk {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Desk, Failure> {
        let reader = Reader::from_request_parts(parts, app).await?;
        let Site::Partner(tenant) = &reader.visitor.site else { return Err(Problem::no_such_route().into()) };
        let caller = Caller::of_person(app, tenant.clone(), &reader.by, parts).await?;
        Ok(Desk { reader, caller })
    }
}

impl Desk {
    pub fn page(&self, app: &App, title: &'static str) -> Page {
        self.reader.page(app, title).for_caller(&self.caller)
    }
}

/// A reader at the console of the operator.
pub struct OperatorsDesk(pub Reader);

impl FromRequestParts<App> for OperatorsDesk {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<OperatorsDesk, Failure> {
        let reader = Reader::from_request_parts(parts, app).await?;
        match reader.visitor.site {
            Site::Installation => Ok(OperatorsDesk(reader)),
            Site::Partner(_) => Err(Problem::no_such_route().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_came_twice_is_none() {
        let of = |cookies: &[&str]| {
            let all = cookies.iter().map(|value| (header::COOKIE, value.parse().unwrap()));
            let headers: HeaderMap = all.collect();
            cookie(&headers, "larder_console").map(str::to_owned)
        };
        assert_eq!(of(&["a=b; larder_console=x; c=d"]), Some("x".into()));
        for none in [
            &["larder_console=x; larder_console=y"][..],
            &["larder_console=x", "larder_console=y"],
            &["larder_console="],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}

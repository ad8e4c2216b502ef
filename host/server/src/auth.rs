//! Authentication: credentials → caller, partner and scopes.
//!
//! [`Caller`], [`Operator`], [`Author`] and [`Person`] are extractors. A handler that takes one cannot be reached without valid
//! credentials. What makes a key valid is in [`larder_platform::keys`] and [`larder_platform::run_keys`].

use std::str::Utf8Error;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use larder_model::EndUser;
use larder_model::administrators::Role;
use larder_model::audit::{Actor, ActorKind};
use larder_model::ids::{KeyId, PartnerId};
use larder_model::time::Clock;
use larder_platform::administrators::{self, SignedIn};
use larder_platform::admission;
use larder_platform::audit;
use larder_platform::bodies::Account;
use larder_platform::common::{Common, Owner};
use larder_platform::directory::Tenant;
use larder_platform::identity::{self, Denied, IdentityView};
use larder_platform::keys::{self, KeyText};
use larder_platform::rates::Of;
use larder_platform::{run_keys, second_factors};
use larder_store::Changer;
use larder_wire::scopes::{self, Scope};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::routing::{Endpoint, PARTNER_HEADERS};

const KEY_HEADER: &str = "x-appwrite-key";
const TOKEN_HEADER: &str = "x-appwrite-jwt";
/// Below this path, operations are the operator's.
pub const OPERATORS: &str = "/v1/operator/";

/// The caller of a partner's API: a key of the partner, a function by the key of its run, somebody with a role in the partner
/// who has signed in, an end user, or a guest.
pub struct Caller {
    pub partner: PartnerId,
    pub tenant: Arc<Tenant>,
    /// Who it is in the history of changes: a key, or `run-…` and `admin-…`. `None`: a guest.
    pub key: Option<KeyId>,
    /// The end user that a token names, if there is no key.
    pub user: Option<EndUser>,
    /// A guest has none.
    scopes: Vec<String>,
    /// Of somebody who has signed in.
    role: Option<Role>,
    /// Of a read: held until its handler returns.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Caller {
    /// The caller as the author of a change to what names in grants resolve to. A key that may approve grants approves them
    /// with the change.
    pub fn changer<'a>(&'a self, clock: &'a Clock) -> Changer<'a> {
        let (approves, may_upload) = (self.has(Scope::GrantsWrite), self.has(Scope::FunctionsWrite));
        Changer { key: self.key.as_ref(), approves, may_upload, names_feeds: self.has(Scope::FeedsWrite), clock }
    }

    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        let word = scope.words()[0];
        let message = if self.is_guest() {
            format!("This needs a key with the scope {word}, and none was sent")
        } else if let Some(role) = self.role {
            format!("Your role here is {role}, which has no {word}: ask an administrator", role = role.word())
        } else {
            format!("The key lacks the scope {word}")
        };
        Err(Problem::new(Kind::Scope, message))
    }

    pub fn has(&self, scope: Scope) -> bool {
        let named = || scope.words().iter().any(|word| self.scopes.iter().any(|s| s == word));
        !self.is_guest() && (scope == Scope::HealthRead || named())
    }

    /// Without a key. An end user is one, too, and may have a token.
    pub fn is_guest(&self) -> bool {
        self.key.is_none()
    }

    /// Somebody who has signed in at the console of a partner where they have a role: the same as by the API.
    pub async fn of_person(app: &App, tenant: Arc<Tenant>, by: &SignedIn, parts: &Parts) -> Result<Caller, Problem> {
        let partner = tenant.partner.id.clone();
        let (key, scopes, role) = as_person(app, by, &partner)?;
        audit::by(audit::person(&by.administrator));
        count(app, &tenant, Some(&key), parts).await?;
        let permit = read_permit(app, &tenant, parts).await?;
        Ok(Caller { partner, tenant, key: Some(key), user: None, scopes, role: Some(role), _permit: permit })
    }
}

fn key_actor(id: &KeyId, name: &str) -> Actor {
    Actor { kind: ActorKind::Key, id: id.to_string(), name: name.to_owned() }
}

/// Counts a request and its bytes among those of the partner and of the key.
async fn count(app: &App, tenant: &Tenant, key: Option<&KeyId>, parts: &Parts) -> Result<(), Problem> {
    if let Some(account) = parts.extensions.get::<Account>() {
        account.belongs_to(&tenant.bodies, key.is_some());
    }
    let partner = tenant.partner.id.as_str();
    app.rates.take_partner(&tenant.rate, partner).await?;
    if let Some(key) = key {
        app.rates.take(Of::Key, &[partner, key.as_str()]).await?;
    }
    Ok(())
}

/// The turn of a read among those of the partner.
async fn read_permit(app: &App, tenant: &Tenant, parts: &Parts) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    Ok(match parts.method {
        Method::GET | Method::HEAD => Some(admission::admit_read(app, tenant).await?),
        _ => None,
    })
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        let partner = partner(parts)?;
        let text = key_text(&parts.headers)?;
        if text.is_some_and(run_keys::is_text) {
            // What a run may do is what its function may at this moment, whichever process changed it.
            app.directory.refresh(&partner).await?;
        }
        let known = |tenant: &Tenant| text.and_then(KeyText::id_of).is_none_or(|id| tenant.keys.contains_key(&id));
        let mut tenant = app.directory.tenant(&partner);
        if !tenant.as_deref().is_some_and(known) {
            app.directory.refresh_soon().await;
            tenant = app.directory.tenant(&partner);
        }
        let tenant = tenant.ok_or_else(|| Problem::not_found(Kind::PartnerNotFound, "Project"))?;
        let cookie = session_token(&parts.headers).filter(|_| is_admin_mode(&parts.headers));
        let (key, scopes, role) = match text {
            Some(text) if run_keys::is_text(text) => {
                let run = run_keys::verify(&app.run_keys, app, &tenant, text).await?;
                audit::by(key_actor(&run.id, "a run of a function"));
                (Some(run.id), Some(run.scopes), None)
            }
            Some(text) => {
                let key = keys::verify(&tenant, text, app.clock.now_ms())?;
                audit::by(key_actor(&key.id, &key.name));
                (Some(key.id.clone()), Some(key.scopes.clone()), None)
            }
            None => match cookie {
                Some(token) => {
                    let by = administrators::find_session(app, token).await?.ok_or_else(no_session)?;
                    let (key, scopes, role) = as_person(app, &by, &partner)?;
                    audit::by(audit::person(&by.administrator));
                    (Some(key), Some(scopes), Some(role))
                }
                None => (None, None, None),
            },
        };
        count(app, &tenant, key.as_ref(), parts).await?;
        let user = match (&key, &tenant.identity) {
            (None, Some(identity)) => end_user(app, identity, &parts.headers).await?,
            _ => None,
        };
        let permit = read_permit(app, &tenant, parts).await?;
        Ok(Caller { partner, tenant, key, user, scopes: scopes.unwrap_or_default(), role, _permit: permit })
    }
}

/// The author of an operation that partners have on what they own and the operator on what the operator owns
/// ([`crate::api::owners`]).
pub enum Author {
    Partner(Caller),
    Operator,
}

impl Author {
    pub fn owner(&self) -> Owner {
        match self {
            Author::Partner(caller) => Some(caller.partner.clone()),
            Author::Operator => None,
        }
    }

    /// The operator may do everything with what is the operator's.
    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        match self {
            Author::Partner(caller) => caller.may(scope),
            Author::Operator => Ok(()),
        }
    }
}

impl FromRequestParts<App> for Author {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Author, Problem> {
        if parts.uri.path().starts_with(OPERATORS) {
            return Operator::from_request_parts(parts, app).await.map(|_| Author::Operator);
        }
        Caller::from_request_parts(parts, app).await.map(Author::Partner)
    }
}

/// Whose the subject of a request is, without authentication: the handler checks a credential other than a key.
pub struct Addressed(pub Owner);

impl FromRequestParts<App> for Addressed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Addressed, Problem> {
        if parts.uri.path().starts_with(OPERATORS) {
            return Ok(Addressed(None));
        }
        let partner = partner(parts)?;
        if let (Some(account), Some(tenant)) = (parts.extensions.get::<Account>(), app.directory.tenant(&partner)) {
            account.belongs_to(&tenant.bodies, false);
        }
        Ok(Addressed(Some(partner)))
    }
}

/// The partner of the request. The host decides; a header may repeat it but not change it. On a bare address, a header or
/// `?project=` decides.
pub fn partner(parts: &Parts) -> Result<PartnerId, Problem> {
    let none = || {
        Problem::new(
            Kind::AccessForbidden,
            "No project: call P-api.ROOT, or send X-Appwrite-Project on the bare address",
        )
    };
    match parts.extensions.get::<Endpoint>() {
        Some(Endpoint::Api(Some(partner))) => {
            let other = |name: &str| {
                parts.headers.get(name).is_some_and(|named| named.as_bytes() != partner.as_str().as_bytes())
            };
            if PARTNER_HEADERS.into_iter().any(other) {
                return Err(Problem::new(
                    Kind::Unauthorized,
                    "The project that a header names is not the one of this address",
                ));
            }
            Ok(partner.clone())
        }
        Some(Endpoint::Api(None)) => {
            let query = parts.uri.query().unwrap_or_default();
            let named =
                crate::api::queries::pairs(query).find_map(|(name, value)| (name == "project").then_some(value));
            named.and_then(|id| id.parse().ok()).ok_or_else(none)
        }
        Some(Endpoint::Web(_) | Endpoint::Function(_) | Endpoint::Console(_) | Endpoint::MetaConsole) | None => {
            Err(none())
        }
    }
}

fn key_text(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    match headers.get(KEY_HEADER).map(|text| text.to_str()) {
        None | Some(Ok("")) => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(keys::Denied::Unknown.into()),
    }
}

/// The end user that the token of a request names; `None` without a token. The token is in `Authorization: Bearer`, or where
/// clients of the replaced platform put it.
pub async fn end_user(app: &App, identity: &IdentityView, headers: &HeaderMap) -> Result<Option<EndUser>, Problem> {
    let token = match token(headers) {
        Some(token) => token?,
        None => return Ok(None),
    };
    let user = identity::authenticate(&app.identities, identity, token).await?;
    app.rates.take(Of::EndUser, &[identity.identity.partner.as_str(), &user.id]).await?;
    Ok(Some(user))
}

/// Other schemes of `Authorization` are the function's own matter.
pub fn token(headers: &HeaderMap) -> Option<Result<&str, Denied>> {
    fn bearer(value: &HeaderValue) -> Option<Result<&str, Utf8Error>> {
        let (scheme, rest) = value.as_bytes().split_at_checked(6)?;
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(|byte| *byte == b' ');
        is_bearer.then_some(std::str::from_utf8(rest).map(str::trim))
    }
    let tokens = headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer);
    let jwts = headers.get_all(TOKEN_HEADER).iter().filter(|value| !value.is_empty());
    let mut all = tokens.chain(jwts.map(|value| std::str::from_utf8(value.as_bytes())));
    let first = all.next()?;
    // Two programs might take different ones of several.
    Some(if all.next().is_some() { Err(Denied::Token) } else { first.map_err(|_| Denied::Token) })
}

/// The cookie of a session. Functions never see it (`web/head`).
pub const SESSION_COOKIE: &str = "a_session_console";
/// The project of routes for people.
const CONSOLE: &str = "console";
const MODE_HEADER: &str = "x-appwrite-mode";

/// The token of the session in the request's cookies.
pub fn session_token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, value)| *name == SESSION_COOKIE && !value.is_empty()).map(|(_, value)| value).next()
}

/// Only with this header does a session count in a project: no page of another site can send it.
fn is_admin_mode(headers: &HeaderMap) -> bool {
    headers.get(MODE_HEADER).is_some_and(|mode| mode == "admin")
}

fn no_session() -> Problem {
    Problem::new(Kind::Unauthorized, "The session has ended: sign in again")
}

/// Whether somebody who has signed in may do at this moment what needs these scopes of a partner.
pub fn person_may(common: &Common, by: &SignedIn, partner: &PartnerId, needed: &[Scope]) -> bool {
    let role = by.administrator.role_in(partner).filter(|_| has_factors(common, by).is_ok());
    role.is_some_and(|role| needed.iter().all(|scope| scopes::of_role(role).any(|own| own == *scope)))
}

/// A role that needs a second factor allows nothing without one: in the console it is set up first, and the API asks for none.
pub fn has_factors(common: &Common, by: &SignedIn) -> Result<(), Problem> {
    if second_factors::is_missing(common, &by.administrator) {
        let message = "Your role needs a second factor: set one up in the console. This API asks for none, so use the console or a key";
        return Err(Problem::new(Kind::MoreFactors, message));
    }
    Ok(())
}

/// Somebody holds the scopes of their role in the partner, and nothing of others.
fn as_person(common: &Common, by: &SignedIn, partner: &PartnerId) -> Result<(KeyId, Vec<String>, Role), Problem> {
    let none = || Problem::new(Kind::Unauthorized, "You have no role in this project");
    let role = by.administrator.role_in(partner).ok_or_else(none)?;
    has_factors(common, by)?;
    let id = audit::id_of(&by.administrator.id).parse();
    let id = id.map_err(|_| Problem::internal("the id of an administrator is too long"))?;
    let scopes = scopes::of_role(role);
    Ok((id, scopes.map(|scope| scope.words()[0].to_owned()).collect(), role))
}

/// A request to a route for people, whose project is `console`. The header keeps pages of other sites out.
pub struct OfConsole(());

impl<S: Send + Sync> FromRequestParts<S> for OfConsole {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<OfConsole, Problem> {
        if parts.headers.get(PARTNER_HEADERS[0]).is_some_and(|project| project == CONSOLE) {
            return Ok(OfConsole(()));
        }
        Err(Problem::new(Kind::AccessForbidden, "This is for people: send X-Appwrite-Project: console"))
    }
}

/// Somebody who has signed in.
pub struct Person(pub SignedIn);

impl FromRequestParts<App> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Person, Problem> {
        OfConsole::from_request_parts(parts, app).await?;
        let none = || Problem::new(Kind::Scope, "This needs somebody who has signed in");
        let token = session_token(&parts.headers).ok_or_else(none)?;
        let by = administrators::find_session(app, token).await?.ok_or_else(no_session)?;
        audit::by(audit::person(&by.administrator));
        Ok(Person(by))
    }
}

/// The operator of the installation, who belongs to no partner.
pub struct Operator(());

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Operator, Problem> {
        let text = key_text(&parts.headers)?;
        match text {
            Some(text) if keys::is_text(text, &app.operator_key_hash) => {
                audit::by(Actor::operator());
                Ok(Operator(()))
            }
            _ => Err(Problem::new(Kind::Unauthorized, "This needs the operator key")),
        }
    }
}

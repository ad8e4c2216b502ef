//! Signing in at the operator's provider. Both consoles have these two addresses.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;
use axum::routing::get;
use http::{StatusCode, header};
use larder_model::administrators::Place;
use larder_platform::Error;
use larder_platform::providers::{self, Brought, Provider, Refused, Visit};

use super::account::{Answer, refused_sign_in};
use super::failure::Failure;
use super::page::own_address;
use super::visitor::{Anybody, Visitor, new_secret};
use crate::api::queries::pairs;
use crate::app::App;
use crate::problem::Problem;

pub fn router(base: &str) -> Router<App> {
    Router::new().route(&format!("{base}/oidc"), get(begin)).route(&format!("{base}/oidc/return"), get(come_back))
}

/// Where the provider sends people back. It must know this address: what a request says of its host does not count.
fn back(provider: &Provider, visitor: &Visitor) -> String {
    let origin = match visitor.site.place() {
        Place::Partner(partner) => provider.settings.url_of(partner.as_str()),
        Place::Installation => provider.settings.server.root_url.clone(),
    };
    format!("{}{}", origin.trim_end_matches('/'), visitor.at("/oidc/return"))
}

fn first(query: &str, wanted: &str) -> Option<String> {
    pairs(query).find(|(name, _)| name == wanted).map(|(_, value)| value)
}

/// Another site does not send anybody to the provider from here.
async fn begin(
    State(app): State<App>,
    State(provider): State<Provider>,
    Anybody(visitor): Anybody,
    RawQuery(asked): RawQuery,
) -> Answer {
    if !app.settings.oidc.is_set() {
        return Err(Problem::no_such_route().into());
    }
    if !visitor.takes_cookies {
        return Err(Failure::SignIn);
    }
    let next = first(&asked.unwrap_or_default(), "next").unwrap_or_default();
    let next = own_address(visitor.base, &next).unwrap_or(visitor.base);
    let secret = new_secret();
    let to = match providers::begin(&provider, &secret, &back(&provider, &visitor)).await {
        Ok(to) => to,
        Err(err) => return refused(&app, &visitor, err),
    };
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let cookie = visitor.oidc_cookie(Some(&format!("{secret}.{next}")));
    Ok((StatusCode::SEE_OTHER, [cookie, (header::LOCATION, to)]).into_response())
}

/// The browser sends the session's cookie with what a page of ours leads to, and not with what another site does: so this is a
/// page, which leads on by itself.
async fn come_back(
    State(app): State<App>,
    State(provider): State<Provider>,
    Anybody(visitor): Anybody,
    RawQuery(asked): RawQuery,
) -> Answer {
    if !app.settings.oidc.is_set() {
        return Err(Problem::no_such_route().into());
    }
    let asked = asked.unwrap_or_default();
    let sent_away = visitor.sent_away.as_deref().unwrap_or_default();
    let (secret, next) = sent_away.split_once('.').unwrap_or_default();
    let brought = Brought {
        secret: secret.to_owned(),
        state: first(&asked, "state").unwrap_or_default(),
        code: first(&asked, "code").unwrap_or_default(),
        issuer: first(&asked, "iss"),
        error: first(&asked, "error").unwrap_or_default(),
    };
    let place = visitor.site.place();
    let back = back(&provider, &visitor);
    let visit = Visit { place: &place, back: &back, address: visitor.address, agent: &visitor.agent };
    let mut answer = match providers::finish(&provider, brought, visit).await {
        Ok((_, token)) => {
            let next = pairs(&format!("next={next}")).next().map(|(_, value)| value).unwrap_or_default();
            let next = own_address(visitor.base, &next).unwrap_or(visitor.base);
            let refresh = (header::REFRESH, format!("0; url={next}"));
            ([visitor.session_cookie(Some(&token)), refresh], Failure::led(&app, &visitor, next)).into_response()
        }
        Err(err) => refused(&app, &visitor, err)?,
    };
    let (name, value) = visitor.oidc_cookie(None);
    answer.headers_mut().append(name, value.parse().map_err(Problem::internal)?);
    Ok(answer)
}

fn refused(app: &App, visitor: &Visitor, err: Error) -> Answer {
    let Error::Provider(why) = err else { return Err(err.into()) };
    let text = match why {
        Refused::Away(_) => "oidc.refused.away",
        Refused::Denied(_) => "oidc.refused.denied",
        Refused::Stale => "oidc.refused.stale",
        Refused::Token(_) => "oidc.refused.token",
        Refused::Email => "oidc.refused.email",
        Refused::Taken => "oidc.refused.taken",
        Refused::NoRole => "oidc.refused.no_role",
        Refused::OneFactor => "oidc.refused.one_factor",
    };
    Ok(refused_sign_in(app, visitor, visitor.look.language.text(text)))
}

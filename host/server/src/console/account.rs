//! Signing in and out, links, own sessions, the second factor, and how pages look. Both consoles have these pages.

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use larder_model::administrators::{LinkKind, Session, check_email};
use larder_model::audit::Door;
use larder_model::ids::SessionId;
use larder_platform::administrator_links::Made;
use larder_platform::administrators::{self, Attempt};
use larder_platform::audit::{self, Asked};
use larder_platform::second_factors::{self, Offer};
use larder_platform::{Error, administrator_links};
use qrcodegen::{QrCode, QrCodeEcc};

use super::failure::Failure;
use super::fields::Fields;
use super::look::{Keys, Language, Theme};
use super::page::{Page, ok, own_address, redirect, render};
use super::visitor::{Anybody, Newcomer, Reader, Visitor, form_token, new_secret};
use crate::api::queries::pairs;
use crate::app::App;
use crate::letters;
use crate::problem::Problem;

pub type Answer = Result<Response, Failure>;

pub fn router(base: &str) -> Router<App> {
    let at = |path: &str| format!("{base}{path}");
    Router::new()
        .route(&at("/"), get(async |Anybody(visitor): Anybody| redirect(visitor.base)))
        .route(&at("/sign-in"), get(sign_in_page).post(sign_in))
        .route(&at("/sign-out"), post(sign_out))
        .route(&at("/forgotten"), get(forgotten_page).post(forgotten))
        .route(&at("/set-password"), get(password_page).post(set_password))
        .route(&at("/enter"), get(enter_page).post(enter))
        .route(&at("/sessions"), get(sessions))
        .route(&at("/sessions/end"), post(end_session))
        .route(&at("/sessions/end-others"), post(end_others))
        .route(&at("/second-factor"), get(second_factor_page).post(set_second_factor))
        .route(&at("/look"), get(look_page).post(set_look))
}

fn query(query: Option<&str>, wanted: &str) -> String {
    pairs(query.unwrap_or_default()).find(|(name, _)| name == wanted).map(|(_, value)| value).unwrap_or_default()
}

/// A page with a form for somebody who may have no cookie yet: they get one, and the form follows from it.
fn with_form(app: &App, visitor: &Visitor, title: &'static str, page: impl FnOnce(Page) -> Response) -> Response {
    let mut p = Page::new(app, visitor, title);
    if visitor.is_led {
        return Failure::SignIn.into_response();
    }
    if visitor.secret.is_some() || !visitor.takes_cookies {
        return page(p);
    }
    let secret = new_secret();
    p.form_token = form_token(&secret);
    let mut response = page(p);
    let (name, value) = visitor.session_cookie(Some(&secret));
    if let Ok(value) = value.parse() {
        response.headers_mut().append(name, value);
    }
    response
}

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignInPage {
    p: Page,
    next: String,
    email: String,
    refused: Option<String>,
}

async fn sign_in_page(State(app): State<App>, Anybody(visitor): Anybody, RawQuery(asked): RawQuery) -> Response {
    let next = query(asked.as_deref(), "next");
    let next = own_address(visitor.base, &next).unwrap_or(visitor.base).to_owned();
    with_form(&app, &visitor, "sign_in.title", |p| ok(&SignInPage { p, next, email: String::new(), refused: None }))
}

/// The page again for somebody who was not let in by the provider.
pub fn refused_sign_in(app: &App, visitor: &Visitor, refused: &str) -> Response {
    let (p, next) = (Page::new(app, visitor, "sign_in.title"), visitor.base.to_owned());
    render(StatusCode::FORBIDDEN, &SignInPage { p, next, email: String::new(), refused: Some(refused.to_owned()) })
}

/// Whoever has no role here is answered as somebody with a wrong password.
async fn sign_in(State(app): State<App>, Anybody(visitor): Anybody, fields: Fields) -> Answer {
    let attempt = Attempt {
        email: fields.get("email").chars().take(254).collect(),
        password: fields.exactly("password").chars().take(256).collect(),
        address: visitor.address,
        agent: visitor.agent.clone(),
        replaces: visitor.secret.clone(),
        code: Some(fields.get("code").to_owned()),
        place: Some(visitor.site.place()),
    };
    let next = own_address(visitor.base, fields.get("next")).unwrap_or(visitor.base).to_owned();
    let email = attempt.email.clone();
    let p = |title| Page::new(&app, &visitor, title);
    match administrators::sign_in(&app.administration, attempt).await {
        Ok((_, token)) => Ok(([visitor.session_cookie(Some(&token))], redirect(&next)).into_response()),
        Err(Error::InvalidCredentials) => {
            let p = p("sign_in.title");
            let refused = Some(p.t("sign_in.refused").to_owned());
            Ok(render(StatusCode::FORBIDDEN, &SignInPage { p, next, email, refused }))
        }
        Err(Error::TooManySignIns { retry_after_s }) => {
            let p = p("sign_in.title");
            let refused = p.t("sign_in.wait").replace("{seconds}", &retry_after_s.to_string());
            let page = render(StatusCode::TOO_MANY_REQUESTS, &SignInPage { p, next, email, refused: Some(refused) });
            Ok(([(http::header::RETRY_AFTER, retry_after_s.to_string())], page).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

async fn sign_out(State(app): State<App>, newcomer: Newcomer, _: Fields) -> Answer {
    let (visitor, by) = (&newcomer.visitor, &newcomer.by);
    administrators::sign_out(&app, by, &by.session.id).await?;
    Ok(([visitor.session_cookie(None)], redirect(&visitor.at("/sign-in?done=done.signed_out"))).into_response())
}

#[derive(Template)]
#[template(path = "forgotten.html")]
struct ForgottenPage {
    p: Page,
    email: String,
    refused: Option<String>,
}

async fn forgotten_page(State(app): State<App>, Anybody(visitor): Anybody) -> Answer {
    if !app.settings.mail.is_on() {
        return Err(Problem::no_such_route().into());
    }
    let (email, refused) = (String::new(), None);
    Ok(with_form(&app, &visitor, "forgotten.title", |p| ok(&ForgottenPage { p, email, refused })))
}

/// The answer says nothing of whether there is somebody, and neither does the time that it takes: the letter is written afterwards.
async fn forgotten(State(app): State<App>, Anybody(visitor): Anybody, fields: Fields) -> Answer {
    if !app.settings.mail.is_on() {
        return Err(Problem::no_such_route().into());
    }
    let given: String = fields.get("email").chars().take(254).collect();
    let email = check_email(&given).unwrap_or_else(|_| given.to_ascii_lowercase());
    match administrators::count_reset(&app, &email, visitor.address).await {
        Ok(()) => {}
        Err(Error::TooManySignIns { retry_after_s }) => {
            let p = Page::new(&app, &visitor, "forgotten.title");
            let refused = Some(p.t("sign_in.wait").replace("{seconds}", &retry_after_s.to_string()));
            let page = render(StatusCode::TOO_MANY_REQUESTS, &ForgottenPage { p, email: given, refused });
            return Ok(([(http::header::RETRY_AFTER, retry_after_s.to_string())], page).into_response());
        }
        Err(other) => return Err(other.into()),
    }
    let to = visitor.at("/sign-in?done=done.mailed");
    app.life.clone().spawn_work("a letter", async move {
        let (language, now) = (visitor.look.language, app.clock.now_ms());
        let letter = |made: &Made| letters::reset(&app.settings, language, made, now);
        let place = visitor.site.place();
        let asked = Asked::new(app.clock.ulid(), Some(visitor.address), Door::Console);
        let reset = administrator_links::reset(&app.administration, &email, &place, letter);
        if let Err(err) = audit::asked(asked, reset).await {
            tracing::error!(error = %err, "a letter to somebody who has forgotten their password could not be written");
        }
    });
    Ok(redirect(&to))
}

#[derive(Template)]
#[template(path = "set-password.html")]
struct PasswordPage {
    p: Page,
    token: String,
    email: String,
    refused: Option<String>,
}

/// Looking at a link does not use it: programs that check mail look, too.
async fn password_page(State(app): State<App>, Anybody(visitor): Anybody, RawQuery(asked): RawQuery) -> Answer {
    let token = query(asked.as_deref(), "token");
    let found = administrator_links::find(&app, &token, LinkKind::Password, &visitor.site.place()).await?;
    let (_, administrator) = found.ok_or(Error::NoLink)?;
    let email = administrator.email;
    Ok(with_form(&app, &visitor, "password.title", |p| ok(&PasswordPage { p, token, email, refused: None })))
}

async fn set_password(State(app): State<App>, Anybody(visitor): Anybody, fields: Fields) -> Answer {
    let (token, place) = (fields.get("token").to_owned(), visitor.site.place());
    let found = administrator_links::find(&app, &token, LinkKind::Password, &place).await?;
    let (_, administrator) = found.ok_or(Error::NoLink)?;
    let password = fields.exactly("password").to_owned();
    let p = Page::new(&app, &visitor, "password.title");
    let refused = match password == fields.exactly("again") {
        false => p.t("password.differ").to_owned(),
        true => match administrator_links::set_password(&app.administration, &token, &place, password).await {
            Ok(()) => return Ok(redirect(&visitor.at("/sign-in?done=done.password"))),
            Err(Error::Invalid { .. }) => p.t("password.length").to_owned(),
            Err(other) => return Err(other.into()),
        },
    };
    let email = administrator.email;
    Ok(render(StatusCode::BAD_REQUEST, &PasswordPage { p, token, email, refused: Some(refused) }))
}

#[derive(Template)]
#[template(path = "enter.html")]
struct EnterPage {
    p: Page,
    token: String,
}

/// The page behind a link of `larder dev`.
async fn enter_page(State(app): State<App>, Anybody(visitor): Anybody, RawQuery(asked): RawQuery) -> Answer {
    let token = query(asked.as_deref(), "token");
    let found = administrator_links::find(&app, &token, LinkKind::Session, &visitor.site.place()).await?;
    found.ok_or(Error::NoLink)?;
    Ok(with_form(&app, &visitor, "enter.title", |p| ok(&EnterPage { p, token })))
}

async fn enter(State(app): State<App>, Anybody(visitor): Anybody, fields: Fields) -> Answer {
    let place = visitor.site.place();
    let link = fields.get("token");
    let (_, token) = administrator_links::sign_in(&app, link, &place, visitor.address, &visitor.agent).await?;
    Ok(([visitor.session_cookie(Some(&token))], redirect(visitor.base)).into_response())
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    p: Page,
    sessions: Vec<Session>,
    current: SessionId,
}

async fn sessions(State(app): State<App>, reader: Reader) -> Answer {
    let sessions = app.store.sessions(&reader.by.administrator.id).await?;
    let current = reader.by.session.id.clone();
    Ok(ok(&SessionsPage { p: reader.page(&app, "sessions.title"), sessions, current }))
}

async fn end_session(State(app): State<App>, reader: Reader, fields: Fields) -> Answer {
    let id = fields.get("session").parse().map_err(|err| Problem::argument("session", err))?;
    administrators::sign_out(&app, &reader.by, &id).await?;
    Ok(redirect(&reader.visitor.at("/sessions?done=done.ended")))
}

async fn end_others(State(app): State<App>, reader: Reader, _: Fields) -> Answer {
    administrators::end_others(&app, &reader.by).await?;
    Ok(redirect(&reader.visitor.at("/sessions?done=done.others_ended")))
}

#[derive(Template)]
#[template(path = "second-factor.html")]
struct SecondFactorPage {
    p: Page,
    offer: Offer,
    picture: Picture,
    has: bool,
    is_missing: bool,
    has_password: bool,
    email: String,
    codes_left: u64,
    refused: Option<String>,
}

#[derive(Template)]
#[template(path = "recovery-codes.html")]
struct CodesPage {
    p: Page,
    codes: Vec<String>,
}

/// A QR code as one path of squares.
struct Picture {
    size: i32,
    path: String,
}

impl Picture {
    const BORDER: i32 = 4;

    fn of(text: &str) -> Result<Picture, Problem> {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).map_err(Problem::internal)?;
        let dark = (0..code.size())
            .flat_map(|y| (0..code.size()).map(move |x| (x, y)))
            .filter(|(x, y)| code.get_module(*x, *y));
        let path = dark.map(|(x, y)| format!("M{} {}h1v1h-1z", x + Self::BORDER, y + Self::BORDER)).collect();
        Ok(Picture { size: code.size() + 2 * Self::BORDER, path })
    }
}

async fn second_factor_page(State(app): State<App>, newcomer: Newcomer) -> Answer {
    let offer = second_factors::offer(&app.administration, &newcomer.by);
    second_factor(&app, &newcomer, offer, None).await
}

async fn second_factor(app: &App, newcomer: &Newcomer, offer: Offer, refused: Option<(StatusCode, String)>) -> Answer {
    let administrator = &newcomer.by.administrator;
    let (status, refused) = refused.map_or((StatusCode::OK, None), |(status, why)| (status, Some(why)));
    let page = SecondFactorPage {
        p: newcomer.page(app, "factor.title"),
        picture: Picture::of(&offer.url)?,
        offer,
        has: administrator.second_factor,
        is_missing: second_factors::is_missing(app, administrator),
        has_password: !administrator.password_hash.is_empty(),
        email: administrator.email.clone(),
        codes_left: app.store.count_recovery_codes(&administrator.id).await?,
        refused,
    };
    Ok(render(status, &page))
}

async fn set_second_factor(State(app): State<App>, mut newcomer: Newcomer, fields: Fields) -> Answer {
    let (administration, address) = (&app.administration, newcomer.visitor.address);
    let (offer, code) = (fields.get("offer"), fields.get("code"));
    let password = fields.exactly("password").chars().take(256).collect();
    let set = second_factors::set_up(administration, &mut newcomer.by, offer, code, password, address).await;
    let words = newcomer.visitor.look.language;
    let refused = match set {
        Ok(codes) => return Ok(ok(&CodesPage { p: newcomer.page(&app, "codes.title"), codes })),
        Err(Error::InvalidCredentials) => (StatusCode::FORBIDDEN, words.text("factor.wrong_password").to_owned()),
        Err(Error::Invalid { name, .. }) if name == "code" => {
            (StatusCode::BAD_REQUEST, words.text("factor.wrong_code").to_owned())
        }
        Err(Error::TooManySignIns { retry_after_s }) => {
            let text = words.text("sign_in.wait").replace("{seconds}", &retry_after_s.to_string());
            (StatusCode::TOO_MANY_REQUESTS, text)
        }
        Err(other) => return Err(other.into()),
    };
    let offer = second_factors::offered(administration, &newcomer.by, offer)?;
    second_factor(&app, &newcomer, offer, Some(refused)).await
}

#[derive(Template)]
#[template(path = "look.html")]
struct LookPage {
    p: Page,
    refused: Option<String>,
}

async fn look_page(State(app): State<App>, Anybody(visitor): Anybody, newcomer: Result<Newcomer, Failure>) -> Response {
    with_form(&app, &visitor, "look.title", |p| {
        let p = match &newcomer {
            Ok(newcomer) => p.of(&newcomer.by),
            Err(_) => p,
        };
        ok(&LookPage { p, refused: None })
    })
}

async fn set_look(State(app): State<App>, Anybody(visitor): Anybody, fields: Fields) -> Response {
    let mut look = visitor.look.clone();
    look.language = Language::from_word(fields.get("language")).unwrap_or(look.language);
    look.theme = Theme::from_word(fields.get("theme")).unwrap_or(look.theme);
    look.keys = Keys::from_word(fields.get("keys")).unwrap_or(look.keys);
    let Some(zone) = app.zones.zone(fields.get("zone")) else {
        let p = Page::new(&app, &visitor, "look.title");
        let refused = Some(p.t("look.no_zone").to_owned());
        return render(StatusCode::BAD_REQUEST, &LookPage { p, refused });
    };
    look.set_zone(zone);
    ([visitor.look_cookie(&look)], redirect(&visitor.at("/look?done=done.look"))).into_response()
}

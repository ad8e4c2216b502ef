//! What every page has, and how it is answered.

use std::borrow::Cow;
use std::sync::OnceLock;

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use larder_model::time::Millis;
use larder_model::{Amount, text};
use larder_platform::administrators::SignedIn;
use larder_platform::keys;
use larder_wire::scopes::Scope;

use super::asked::{AFTER, Asked};
use super::live::{Ticket, Topic};
use super::look::{self, Look};
use super::visitor::{Desk, Site, Visitor};
use super::{ASSETS, DEPO};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

/// What templates call `p`.
pub struct Page {
    pub look: Look,
    pub base: &'static str,
    /// Whose console it is.
    pub place: String,
    /// The heading and the title.
    pub title: String,
    /// Who has signed in.
    pub person: Option<String>,
    pub form_token: String,
    /// The key of a text about what was just done.
    pub notice: Option<&'static str>,
    pub now: Millis,
    /// It is told of what happens.
    pub live: Option<Watched>,
    /// What the provider is called at which people may sign in.
    pub provider: Option<String>,
    /// Does anybody get mail?
    pub mails: bool,
    path: String,
    /// What the reader may do in the partner.
    scopes: Vec<&'static str>,
}

/// A page that is told of what happens while somebody looks at it.
pub struct Watched {
    /// The token by which its script opens the stream.
    pub token: String,
    /// Where the same page is at its start.
    pub start: String,
}

/// A line of the navigation: its path, the key of its text, the key that goes there.
pub struct Way {
    pub path: &'static str,
    pub text: &'static str,
    pub key: &'static str,
}

pub const fn way(path: &'static str, text: &'static str, key: &'static str) -> Way {
    Way { path, text, key }
}

/// Texts about what was done, which an address may name.
const NOTICES: [&str; 18] = [
    "done.approved",
    "done.asked",
    "done.cancelled",
    "done.disabled",
    "done.discarded",
    "done.enabled",
    "done.ended",
    "done.look",
    "done.mailed",
    "done.others_ended",
    "done.password",
    "done.paused",
    "done.redriven",
    "done.resumed",
    "done.second_factor",
    "done.sent",
    "done.signed_out",
    "done.updated",
];

impl Page {
    /// `title` is the key of a text.
    pub fn new(app: &App, visitor: &Visitor, title: &'static str) -> Page {
        let place = match &visitor.site {
            Site::Partner(tenant) => tenant.partner.name.clone(),
            Site::Installation => "MetaDEPo".into(),
        };
        let query = visitor.target.split_once('?').map_or("", |(_, query)| query);
        let done = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "done").map(|(_, value)| value);
        Page {
            title: visitor.look.language.text(title).to_owned(),
            look: visitor.look.clone(),
            base: visitor.base,
            place,
            person: None,
            form_token: visitor.form_token(),
            notice: done.and_then(|done| NOTICES.into_iter().find(|notice| *notice == done)),
            now: app.clock.now_ms(),
            live: None,
            mails: app.settings.mail.is_on(),
            provider: app.settings.oidc.is_set().then(|| app.settings.oidc.shown()),
            path: visitor.target.split('?').next().unwrap_or_default().to_owned(),
            scopes: vec![],
        }
    }

    /// For a caller with these rights: what they may not do is not offered.
    pub fn for_caller(mut self, caller: &Caller) -> Page {
        self.scopes = Scope::ALL.into_iter().filter(|scope| caller.has(*scope)).map(|scope| scope.words()[0]).collect();
        self
    }

    /// May the reader do what needs this scope?
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contains(&scope)
    }

    pub fn of(mut self, by: &SignedIn) -> Page {
        let administrator = &by.administrator;
        let name = if administrator.name.is_empty() { &administrator.email } else { &administrator.name };
        self.person = Some(name.clone());
        self
    }

    /// Told of what happens. A list is told at its first page alone.
    pub fn watching(mut self, desk: &Desk, topic: Topic) -> Page {
        let visitor = &desk.reader.visitor;
        let asked = Asked::of(visitor);
        if let Some(secret) = visitor.secret.as_deref().filter(|_| asked.get(AFTER).is_empty()) {
            let token = Ticket { secret, partner: &desk.caller.partner }.write(&topic, self.now);
            self.live = Some(Watched { token, start: asked.start() });
        }
        self
    }

    /// With a heading that is a name.
    pub fn titled(mut self, title: impl Into<String>) -> Page {
        self.title = title.into();
        self
    }

    /// The text with this key.
    pub fn t(&self, key: &str) -> &'static str {
        self.look.language.text(key)
    }

    /// A word of the API, as people read it.
    pub fn word(&self, word: &str) -> &'static str {
        self.t(&format!("word.{word}"))
    }

    pub fn ways(&self) -> &'static [Way] {
        if self.base == DEPO { super::depo::WAYS } else { super::meta::WAYS }
    }

    /// Is this page the one of the way, or below it?
    pub fn is_at(&self, path: &str) -> bool {
        let own = self.path.strip_prefix(self.base).unwrap_or_default();
        if path.is_empty() {
            own.is_empty()
        } else {
            own.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }

    /// The address of the stylesheet, script or icon: another one for another text.
    pub fn asset(&self, name: &str) -> String {
        static VERSION: OnceLock<String> = OnceLock::new();
        let all = || ASSETS.iter().map(|asset| asset.text).collect::<String>();
        let version = VERSION.get_or_init(|| hex::encode(&keys::hash(&all())[..6]));
        format!("{}/assets/{name}?v={version}", self.base)
    }

    pub fn local(&self, at: &Millis) -> String {
        self.look.local(*at)
    }

    pub fn utc(&self, at: &Millis) -> String {
        look::utc(*at)
    }

    pub fn money(&self, amount: &Amount) -> String {
        self.look.language.money(amount)
    }

    pub fn number(&self, number: &u64) -> String {
        self.look.language.decimal(&number.to_string())
    }

    /// A text of a guest or an outside service, with a mark for characters that hide or turn what is around them.
    pub fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        text::cleaned(text)
    }

    /// How long ago, in one unit.
    pub fn ago(&self, at: &Millis) -> String {
        let seconds = ((self.now - at) / 1_000).max(0);
        let (number, unit) = match seconds {
            0..120 => (seconds, "s"),
            120..7_200 => (seconds / 60, "min"),
            7_200..172_800 => (seconds / 3_600, "h"),
            _ => (seconds / 86_400, "d"),
        };
        format!("{number}\u{a0}{unit}")
    }

    /// Milliseconds of microseconds.
    pub fn ms(&self, us: &u64) -> String {
        let ms = format!("{}.{:03}", us / 1_000, us % 1_000);
        format!("{}\u{a0}ms", self.look.language.decimal(&ms))
    }
}

/// The answer with a page.
pub fn render(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
            (status, kind, html).into_response()
        }
        Err(err) => Problem::internal(err).into_response(),
    }
}

pub fn ok(template: &impl Template) -> Response {
    render(StatusCode::OK, template)
}

/// Elsewhere in this console, by GET.
pub fn redirect(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// An address of this console that somebody wanted to go to, if it is one: nobody is led elsewhere.
pub fn own_address<'a>(base: &str, wanted: &'a str) -> Option<&'a str> {
    let rest = wanted.strip_prefix(base)?;
    let fits = rest.is_empty() || rest.starts_with(['/', '?']);
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>'));
    (fits && is_plain && !rest.starts_with("//") && !rest.starts_with("/sign-in")).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for own in ["/depo", "/depo/functions", "/depo/functions/f/runs?after=x", "/depo?done=x"] {
            assert_eq!(own_address("/depo", own), Some(own));
        }
        for other in [
            "",
            "/",
            "//evil.test",
            "https://evil.test",
            "/depot",
            "/depo//evil.test",
            "/depo/\\evil",
            "javascript:x",
            "/depo/\r\nx",
            "/depo/sign-in",
        ] {
            assert_eq!(own_address("/depo", other), None, "{other}");
        }
    }
}

//! What letters say, as text and as HTML.

use askama::Template;
use larder_model::administrators::Administrator;
use larder_model::settings::Settings;
use larder_platform::administrator_links::Made;
use larder_platform::mails::Letter;

use crate::console::{Language, span};

#[derive(Template)]
#[template(path = "letter.txt")]
struct Text<'a> {
    letter: &'a Parts,
}

#[derive(Template)]
#[template(path = "letter.html")]
struct Html<'a> {
    letter: &'a Parts,
}

struct Parts {
    language: Language,
    subject: String,
    hello: String,
    why: String,
    url: String,
    until: String,
    otherwise: &'static str,
}

/// A link with which somebody sets their first password.
pub fn invitation(settings: &Settings, to: &Administrator, made: &Made, now: i64) -> Letter {
    let is_new = to.password_hash.is_empty();
    let (subject, why) = match is_new {
        true => ("letter.invitation", "letter.invitation.why"),
        false => ("letter.reset", "letter.handed.why"),
    };
    written(settings, Language::English, to.name.as_str(), subject, why, made, now)
}

/// A link for somebody who has forgotten theirs.
pub fn reset(settings: &Settings, language: Language, made: &Made, now: i64) -> Letter {
    written(settings, language, "", "letter.reset", "letter.reset.why", made, now)
}

fn written(
    settings: &Settings,
    language: Language,
    name: &str,
    subject: &str,
    why: &str,
    made: &Made,
    now: i64,
) -> Letter {
    let host = settings.root_host().unwrap_or_default();
    let fill = |key: &str| language.text(key).replace("{host}", &host);
    let hello = match name {
        "" => language.text("letter.hello").to_owned(),
        name => format!("{} {name}", language.text("letter.hello")),
    };
    let until = language.text("letter.until").replace("{span}", &span(language, made.expires_at_ms - now));
    let otherwise = language.text("letter.otherwise");
    let letter =
        Parts { language, subject: fill(subject), hello, why: fill(why), url: made.url.clone(), until, otherwise };
    let render = |rendered: askama::Result<String>| rendered.expect("templates of texts do not fail");
    Letter {
        text: render(Text { letter: &letter }.render()),
        html: render(Html { letter: &letter }.render()),
        subject: letter.subject,
    }
}

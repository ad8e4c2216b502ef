//! How a reader wants pages: language, time zone, colours and keys. It is kept in a cookie that says nothing else.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use chrono::NaiveDate;
use http::{HeaderMap, header};
use larder_model::Amount;
use larder_model::time::{Millis, instant};
use larder_model::zones::{Zone, Zones};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant,)* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

choice! { Language { English = "en", Swedish = "sv", German = "de", } }
choice! { Theme { Auto = "auto", Light = "light", Dark = "dark", } }
choice! {
    /// Does the script listen to single keys?
    Keys { On = "on", Off = "off", }
}

const TEXTS: [(Language, &str); 3] = [
    (Language::English, include_str!("texts/en.txt")),
    (Language::Swedish, include_str!("texts/sv.txt")),
    (Language::German, include_str!("texts/de.txt")),
];

type Texts = HashMap<&'static str, &'static str>;

fn read(text: &'static str) -> Texts {
    text.lines().filter_map(|line| line.split_once(" = ")).collect()
}

/// How long something takes, in whole hours, or minutes where it is less than two hours.
pub fn span(language: Language, ms: Millis) -> String {
    let minutes = ms.max(0) / 60_000;
    match minutes >= 120 {
        true => language.text("letter.hours").replace("{n}", &(minutes / 60).to_string()),
        false => language.text("letter.minutes").replace("{n}", &minutes.to_string()),
    }
}

impl Language {
    /// The text with this key. One that is not there in a language is in English; a test finds it.
    pub fn text(self, key: &str) -> &'static str {
        static ALL: OnceLock<Vec<(Language, Texts)>> = OnceLock::new();
        let all = ALL.get_or_init(|| TEXTS.map(|(language, text)| (language, read(text))).into());
        let of = |wanted: Language| all.iter().find(|(language, _)| *language == wanted)?.1.get(key).copied();
        of(self).or_else(|| of(Language::English)).unwrap_or("?")
    }

    /// The first of ours that the browser asks for.
    fn accepted(headers: &HeaderMap) -> Language {
        let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut tags = wanted.split(',').map(|tag| tag.trim().split(['-', ';']).next().unwrap_or_default());
        tags.find_map(|tag| Language::from_word(&tag.to_ascii_lowercase())).unwrap_or(Language::English)
    }

    /// Between thousands, and before decimals.
    fn separators(self) -> (char, char) {
        match self {
            Language::English => (',', '.'),
            Language::Swedish => ('\u{a0}', ','),
            Language::German => ('.', ','),
        }
    }

    /// Decimal text with this language's separators.
    pub fn decimal(self, text: &str) -> String {
        let (thousands, point) = self.separators();
        let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("\u{2212}", rest));
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let mut written = sign.to_owned();
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                written.push(thousands);
            }
            written.push(digit);
        }
        if !decimals.is_empty() {
            written.push(point);
            written.push_str(decimals);
        }
        written
    }

    /// The amount with its currency, with all decimals.
    pub fn money(self, amount: &Amount) -> String {
        let number = self.decimal(&amount.to_string());
        match self {
            Language::English => format!("{}\u{a0}{number}", amount.currency()),
            Language::Swedish | Language::German => format!("{number}\u{a0}{}", amount.currency()),
        }
    }
}

#[derive(Clone)]
pub struct Look {
    pub language: Language,
    pub theme: Theme,
    pub keys: Keys,
    zone: Zone,
}

impl Look {
    /// `en.auto.on.Europe/Stockholm`; whatever cannot be read is as it is at first.
    pub fn read(cookie: Option<&str>, headers: &HeaderMap, zones: &Zones) -> Look {
        let mut parts = cookie.unwrap_or_default().splitn(4, '.');
        let mut next = || parts.next().unwrap_or_default();
        Look {
            language: Language::from_word(next()).unwrap_or_else(|| Language::accepted(headers)),
            theme: Theme::from_word(next()).unwrap_or(Theme::Auto),
            keys: Keys::from_word(next()).unwrap_or(Keys::On),
            zone: zones.zone(next()).unwrap_or_else(|| zones.utc()),
        }
    }

    /// As [`Look::read`] reads it.
    pub fn written(&self) -> String {
        format!("{}.{}.{}.{}", self.language.word(), self.theme.word(), self.keys.word(), self.zone.name())
    }

    pub fn set_zone(&mut self, zone: Zone) {
        self.zone = zone;
    }

    pub fn zone(&self) -> &str {
        self.zone.name()
    }

    /// A day in the reader's zone: that one, or the present one; from its first moment to that of the next.
    pub fn day(&self, given: Option<&str>, now: Millis) -> Option<(String, Range<Millis>)> {
        let rules = self.zone.rules();
        let day = match given {
            Some(text) => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?,
            None => rules.local(instant(now)).date_naive(),
        };
        let begins = |day: NaiveDate| Some(rules.first_instant(day.and_hms_opt(0, 0, 0)?)?.timestamp_millis());
        Some((day.format("%Y-%m-%d").to_string(), begins(day)?..begins(day.succ_opt()?)?))
    }

    /// In the reader's zone: `2026-12-01 14:03:07`.
    pub fn local(&self, at: Millis) -> String {
        self.zone.rules().local(instant(at)).format("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// `2026-12-01T13:03:07Z`, for machines and for comparing.
pub fn utc(at: Millis) -> String {
    instant(at).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use larder_model::Currency;
    use larder_model::audit::Action;

    use super::*;

    #[test]
    fn amounts_are_written_as_readers_of_the_language_do() {
        let amount = |minor| Amount::from_minor_units(minor, Currency::known("SEK").unwrap());
        for (language, minor, text) in [
            (Language::English, 123_456_789, "SEK\u{a0}1,234,567.89"),
            (Language::Swedish, 123_456_789, "1\u{a0}234\u{a0}567,89\u{a0}SEK"),
            (Language::German, -123_450, "\u{2212}1.234,50\u{a0}SEK"),
            (Language::German, 5, "0,05\u{a0}SEK"),
        ] {
            assert_eq!(language.money(&amount(minor)), text);
        }
        let yen = Amount::from_minor_units(1_000, Currency::known("JPY").unwrap());
        assert_eq!(Language::English.money(&yen), "JPY\u{a0}1,000");
    }

    #[test]
    fn every_text_exists_in_every_language_and_is_used() {
        let keys = |text: &'static str| read(text).into_keys().collect::<BTreeSet<_>>();
        let english = keys(TEXTS[0].1);
        assert!(english.len() > 50);
        for (language, text) in TEXTS {
            assert_eq!(keys(text), english, "{}", language.word());
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
            assert_eq!(lines, english.len(), "{}: a line is no text, or a key occurs twice", language.word());
        }
        // Keys stand in templates and sources as they are.
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut all = std::fs::read_to_string(root.join("src/letters.rs")).unwrap();
        let mut folders = vec![root.join("templates"), root.join("src/console")];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                match path.is_dir() {
                    true if path.ends_with("texts") || path.ends_with("assets") => {}
                    true => folders.push(path),
                    false => all.push_str(&std::fs::read_to_string(path).unwrap()),
                }
            }
        }
        let used = |key: &&&str| !all.contains(&format!("\"{key}\""));
        let is_action = |key: &str| key.strip_prefix("audit.").is_some_and(|word| Action::from_word(word).is_some());
        let is_a_words = |key: &&&str| key.starts_with("word.") || is_action(key);
        let unused: Vec<_> = english.iter().filter(used).filter(|key| !is_a_words(key)).collect();
        assert!(unused.is_empty(), "{unused:?}");
        for rest in all.split(".t(\"").skip(1) {
            let key = rest.split('"').next().unwrap();
            assert!(english.contains(key), "{key} is no text");
        }
    }

    #[test]
    fn a_look_is_read_as_it_was_written() {
        let zones = Zones::new(std::path::Path::new(""));
        let none = HeaderMap::new();
        let look = Look::read(Some("sv.dark.off.Europe/Stockholm"), &none, &zones);
        assert_eq!(look.written(), "sv.dark.off.Europe/Stockholm");
        assert_eq!(look.local(1_795_262_400_007), "2026-11-21 13:00:00");
        let (day, span) = look.day(None, 1_795_262_400_007).unwrap();
        assert_eq!((day.as_str(), span.end - span.start), ("2026-11-21", 86_400_000));
        assert_eq!(look.local(span.start), "2026-11-21 00:00:00");
        // A day of 25 hours, and what is none.
        assert_eq!(look.day(Some("2026-10-25"), 0).map(|(_, span)| span.end - span.start), Some(90_000_000));
        assert!(look.day(Some("2026-02-30"), 0).is_none() && look.day(Some("<x>"), 0).is_none());
        for nothing in [None, Some(""), Some("xx.<script>.?.Mars/Olympus"), Some("....")] {
            assert_eq!(Look::read(nothing, &none, &zones).written(), "en.auto.on.UTC");
        }
        let asks = |tags: &str| [(header::ACCEPT_LANGUAGE, tags.parse().unwrap())].into_iter().collect::<HeaderMap>();
        assert_eq!(Look::read(None, &asks("fr-FR, de-AT;q=0.9, en"), &zones).language, Language::German);
    }
}

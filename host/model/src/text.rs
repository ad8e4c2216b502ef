//! Texts that people read: memos, subjects, topics, names, reasons.
//!
//! A text may be in any script. What it may not have is a character that shows nothing of itself and changes how its
//! surroundings look: a control character, or one that turns the direction of writing or hides. With such a character a memo
//! on an end user's statement, or a name on an approver's screen, reads as something else than what it is.

use std::borrow::Cow;

/// Has no character that is not for people's texts; a text of one line.
pub fn check(text: &str) -> Result<(), &'static str> {
    match text.contains(is_deceptive) {
        true => Err("has a control character, or an invisible one that changes how text is shown"),
        false => Ok(()),
    }
}

/// The same text with a mark in place of each such character, but for the ends of lines and tabs. For what must be
/// reported, whatever it contains.
pub fn cleaned(text: &str) -> Cow<'_, str> {
    let bad = |c: char| is_deceptive(c) && !matches!(c, '\n' | '\t');
    match text.contains(bad) {
        true => Cow::Owned(text.chars().map(|c| if bad(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()),
        false => Cow::Borrowed(text),
    }
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Marks, embeddings, overrides and isolates of direction (Unicode Standard Annex 9).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Ends of lines that are no control characters, and formats that nobody should use any more.
            | '\u{2028}' | '\u{2029}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'
            // Of no width. The joiners (U+200C, U+200D) are letters' and emojis' business.
            | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_fine_and_nothing_invisible_is() {
        for text in ["", "Mål för AIK!", "گل‌ها", "👩‍👩‍👧", "日本語", "a\u{301}", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "100 % \u{a0}kr"]
        {
            assert_eq!(check(text), Ok(()), "{text:?}");
            assert_eq!(cleaned(text), text);
        }
        for c in [
            '\0', '\n', '\t', '\u{7f}', '\u{85}', '\u{9b}', '\u{202e}', '\u{2067}', '\u{200f}', '\u{2028}', '\u{200b}',
            '\u{feff}',
        ] {
            assert!(check(&format!("a{c}b")).is_err(), "{c:?}");
        }
        assert_eq!(cleaned("a\u{202e}b\nc\td\u{1b}"), "a\u{fffd}b\nc\td\u{fffd}");
    }
}

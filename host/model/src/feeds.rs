//! Feeds: outside services whose items become events.
//!
//! The JSON form of [`FeedSettings`] is what the API speaks and what is stored. The secrets of the push door stand nowhere
//! in it: they are sealed beside.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::feed_mapping::{Mapping, Pointer};
use crate::ids::PartnerId;
use crate::time::Millis;
use crate::upstreams;

#[derive(Clone, Debug)]
pub struct Feed {
    /// `None`: the operator's, for the partners that it names.
    pub owner: Option<PartnerId>,
    /// A DNS label, like an upstream's.
    pub name: String,
    pub settings: FeedSettings,
    /// The secrets of its push door; see [`Feed::place`].
    pub sealed: Option<Vec<u8>>,
    /// Where the upstream that it polls led when a key of feeds named it (`grants::leads`); `None`: that is not kept.
    pub lead: Option<String>,
    pub progress: Progress,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

/// How far a feed has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Counts claims and changes: whatever a poll comes to is written only while it stands where the poll began.
    pub attempt: i64,
    /// Behind which the next page begins.
    pub cursor: Option<String>,
    /// What the last answer was tagged with.
    pub etag: Option<String>,
    /// When it is polled next, while it is polled the end of that lease; `None`: it is only pushed.
    pub due_at_ms: Option<Millis>,
    /// The last poll that went well, or push.
    pub good_at_ms: Option<Millis>,
    /// The time of the newest item.
    pub newest_at_ms: Option<Millis>,
    /// Polls in a row that failed, and why the last one did.
    pub failures: u32,
    pub error: Option<String>,
    /// Items that became events, that had before, and that could not.
    pub items: u64,
    pub duplicates: u64,
    pub refused: u64,
    /// What was wrong with the last that could not.
    pub last_refused: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FeedSettings {
    /// What is asked, and how often; without it the feed only takes what is pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollSettings>,
    /// Does it take what is pushed?
    #[serde(default)]
    pub push: bool,
    pub mapping: Mapping,
    /// Of a feed of the operator: the partners whose functions get its events.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub partners: BTreeSet<PartnerId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PollSettings {
    /// The name of an upstream: the owner's, or the operator's.
    pub upstream: String,
    /// Behind the upstream's URL, with the query: `/goals?limit=100`.
    pub path: String,
    /// Between two polls that find nothing new.
    #[serde(default = "PollSettings::period_seconds")]
    pub period_seconds: u32,
    /// For services that page; without it everything is asked for each time, and `ETag` tells that nothing has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<CursorSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CursorSettings {
    /// Where in an answer the cursor of the next page stands.
    #[schema(value_type = String)]
    pub next: Pointer,
    /// The parameter of the query in which it is sent.
    #[serde(default = "CursorSettings::parameter")]
    pub parameter: String,
}

impl CursorSettings {
    fn parameter() -> String {
        "cursor".into()
    }
}

const PATH_BYTES_MAX: usize = 1_024;
const PARTNERS_MAX: usize = 1_000;
const PERIOD_SECONDS: std::ops::RangeInclusive<u32> = 1..=86_400;

impl PollSettings {
    fn period_seconds() -> u32 {
        60
    }

    pub fn period(&self) -> Duration {
        Duration::from_secs(self.period_seconds.into())
    }
}

impl FeedSettings {
    /// Names the first setting that cannot be, and why.
    pub fn check(&self, of_operator: bool) -> Result<(), (String, String)> {
        let wrong = |name: &str, why: String| Err((name.to_owned(), why));
        if let Some(poll) = &self.poll {
            if !upstreams::is_name(&poll.upstream) {
                return wrong("poll.upstream", "is not a name of an upstream".into());
            }
            let printable = poll.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
            if !poll.path.starts_with('/') || !printable || poll.path.len() > PATH_BYTES_MAX {
                return wrong(
                    "poll.path",
                    format!("must begin with / and have at most {PATH_BYTES_MAX} printable bytes"),
                );
            }
            if !PERIOD_SECONDS.contains(&poll.period_seconds) {
                let (least, most) = PERIOD_SECONDS.into_inner();
                return wrong("poll.periodSeconds", format!("must be {least} to {most}"));
            }
            if let Some(cursor) = &poll.cursor
                && !(cursor.parameter.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                    && (1..=64).contains(&cursor.parameter.len()))
            {
                return wrong("poll.cursor.parameter", "must be 1 to 64 of the characters A-Z a-z 0-9 - _ .".into());
            }
        } else if !self.push {
            return wrong("poll", "or `push` must be given: nothing would come in".into());
        }
        if !of_operator && !self.partners.is_empty() {
            return wrong("partners", "belongs to feeds of the operator".into());
        }
        if self.partners.len() > PARTNERS_MAX {
            return wrong("partners", format!("may have at most {PARTNERS_MAX}"));
        }
        Ok(())
    }
}

impl Feed {
    /// Whose functions get its events.
    pub fn receivers(&self) -> Vec<&PartnerId> {
        self.owner.iter().chain(&self.settings.partners).collect()
    }

    /// What its secrets are sealed for.
    pub fn place(&self) -> [&str; 3] {
        ["feed", self.owner.as_ref().map_or("", PartnerId::as_str), &self.name]
    }

    /// How it stands, in a word.
    pub fn status(&self) -> &'static str {
        match &self.progress {
            Progress { failures: 1.., .. } => "failing",
            Progress { good_at_ms: None, .. } => "waiting",
            _ => "ok",
        }
    }
}

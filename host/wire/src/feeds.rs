//! Feeds: outside services whose items become events.

use larder_model::FeedSettings;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::{Row, page};

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Feed)]
pub struct FeedObject {
    pub name: String,
    /// `partner` or `operator`.
    pub owner: String,
    #[serde(rename = "$createdAt")]
    pub created_at: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    /// `waiting` until something has come in, then `ok` or, since the last poll, `failing`.
    pub status: String,
    pub lag: Lag,
    /// Items that became events, that had before, and that could not be.
    pub items: u64,
    pub duplicates: u64,
    pub refused: u64,
    /// Polls in a row that failed.
    pub failures: u32,
    /// The rest is not told to partners of one of the operator's.
    #[serde(flatten)]
    pub own: Option<Own>,
    /// With which pushes are signed (Standard Webhooks): told when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// How far it is behind, in seconds; `null`: nothing has come in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Since something last came in as it should, be it the news that there is none.
    pub good_seconds: Option<f64>,
    /// Since the newest item was published.
    pub newest_item_seconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Own {
    #[serde(flatten)]
    pub settings: FeedSettings,
    /// Behind which the next page begins.
    pub position: Option<String>,
    pub next_poll_at: Option<String>,
    /// Why the last poll failed.
    pub error: Option<String>,
    /// What was wrong with the last item that could not be an event.
    pub last_refused: Option<String>,
}

page!(FeedList { total: usize, feeds: FeedObject });

impl Row for FeedObject {
    fn id(&self) -> &str {
        &self.name
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRotation {
    /// How long the present secret stays good beside the new one; default a day, 0: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_seconds: Option<u32>,
    /// The sender's own new secret; without it one is made, and told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What became of pushed items.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pushed {
    /// That became events.
    pub new: u64,
    /// That had come in before.
    pub duplicates: u64,
    /// That cannot be events, and what is wrong with the last of them.
    pub refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refused: Option<String>,
}

/// A feed to create, as its author writes it: the server judges it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewFeed {
    pub name: String,
    pub push: bool,
    pub mapping: NewMapping,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<NewPoll>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partners: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct NewMapping {
    pub items: String,
    pub id: String,
    pub source: String,
    pub r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub time: String,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewPoll {
    pub upstream: String,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<NewCursor>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct NewCursor {
    pub next: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
}

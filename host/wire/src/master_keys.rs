//! Master keys, and their rotation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MasterKeys)]
pub struct MasterKeysObject {
    /// The id of the key that seals.
    pub sealing: String,
    pub since: String,
    /// Those of the file of the process that answers, in its order.
    pub keys: Vec<MasterKeyObject>,
    /// Values under none of these keys, or sealed before values had keys of their own.
    pub otherwise: u64,
    /// From when on nothing sealed under another key is still to be written; empty: not every process follows yet.
    pub settled_at: String,
    pub processes: Vec<ProcessObject>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MasterKey)]
pub struct MasterKeyObject {
    #[serde(rename = "$id")]
    pub id: String,
    pub sealing: bool,
    /// How many are sealed under it.
    pub values: u64,
    /// Nothing needs it any more, but backups.
    pub may_be_dropped: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Process)]
pub struct ProcessObject {
    #[serde(rename = "$id")]
    pub id: String,
    #[serde(rename = "$updatedAt")]
    pub updated_at: String,
    pub name: String,
    /// Master keys of its file.
    pub known: Vec<String>,
    pub sealing: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRotation {
    /// The key to take into use, which must be the first of the file. Default: whichever that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// How many values to rewrap at most. Default: as many as ten seconds take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rotation)]
pub struct RotationObject {
    /// How many values this request has rewrapped.
    pub rewrapped: u64,
    /// How many are still under other keys. Send the request again until there are none.
    pub left: u64,
    /// Values that do not open, by table and key; the first ten.
    pub unopened: Vec<String>,
    #[serde(flatten)]
    pub state: MasterKeysObject,
}

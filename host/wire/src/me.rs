//! What an end user reads and changes of their own, below `/_larder/me` at the web endpoint.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::enrolments::EnrolmentObject;
use crate::pages::{Row, page};
use crate::transactions::TransactionObject;

/// The end user that the token names.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Me)]
pub struct MeObject {
    pub end_user: String,
    pub verified: bool,
    pub labels: Vec<String>,
}

/// What was saved in one currency by one function.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Saving)]
pub struct SavingObject {
    pub function_id: String,
    /// Or empty: the function is no more.
    pub function_name: String,
    pub currency: String,
    /// The sum as decimal text, such as `12.50`.
    pub amount: String,
    /// How many transactions that are.
    pub transactions: u64,
    /// When the last of them was made.
    pub last_at: String,
}

page!(SavingList { total: usize, savings: SavingObject });

impl Row for SavingObject {
    fn id(&self) -> &str {
        &self.function_id
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MyTransaction)]
pub struct MyTransactionObject {
    #[serde(flatten)]
    pub transaction: TransactionObject,
    /// Or empty: the function is no more.
    pub function_name: String,
}

page!(MyTransactionList { total: u64, transactions: MyTransactionObject });

impl Row for MyTransactionObject {
    fn id(&self) -> &str {
        &self.transaction.id
    }
}

/// A function that end users may join.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Savehack)]
pub struct SavehackObject {
    pub function_id: String,
    pub name: String,
    /// The topics that may be chosen; `*` at the end stands for anything. If there is one, it needs not be given.
    pub topics: Vec<String>,
    /// A JSON Schema for the settings; empty: any object.
    #[schema(value_type = Object)]
    pub settings_schema: Value,
}

page!(SavehackList { total: usize, savehacks: SavehackObject });

impl Row for SavehackObject {
    fn id(&self) -> &str {
        &self.function_id
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MyEnrolment)]
pub struct MyEnrolmentObject {
    #[serde(flatten)]
    pub enrolment: EnrolmentObject,
    pub function_name: String,
    /// May its end user change it? Otherwise the project does.
    pub open: bool,
}

page!(MyEnrolmentList { total: u64, enrolments: MyEnrolmentObject });

impl Row for MyEnrolmentObject {
    fn id(&self) -> &str {
        &self.enrolment.id
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinInput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_id: Option<String>,
    /// One of the topics of the savehack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// An object that keeps to the savehack's schema.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Box<RawValue>>,
}

//! Lists: `{total, <name of the rows>: [...]}`.

use serde::de::DeserializeOwned;

/// A page of a list.
pub trait Page: DeserializeOwned {
    type Row: Row;
    /// The member that holds the rows.
    const ROWS: &'static str;

    /// How many rows there are, on all pages.
    fn total(&self) -> u64;

    fn into_rows(self) -> Vec<Self::Row>;
}

/// An object of a list.
pub trait Row {
    /// What tells it from the other rows, and what a cursor names.
    fn id(&self) -> &str;
}

macro_rules! page {
    ($name:ident { total: $total:ident, $rows:ident: $row:ident } as $member:expr) => {
        #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            pub total: $total,
            pub $rows: Vec<$row>,
        }

        impl $crate::pages::Page for $name {
            type Row = $row;
            const ROWS: &'static str = $member;

            fn total(&self) -> u64 {
                self.total as u64
            }

            fn into_rows(self) -> Vec<$row> {
                self.$rows
            }
        }
    };
    ($name:ident { total: $total:ident, $rows:ident: $row:ident }) => {
        $crate::pages::page!($name { total: $total, $rows: $row } as stringify!($rows));
    };
}

pub(crate) use page;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        administrators, audit, bulk_actions, certificates, console, dead_letters, deployments, enrolments, executions,
        fanouts, feeds, functions, grants, limits, partners, rules, runtimes,
    };
    use crate::{transactions, upstreams, variables, webhooks};

    fn check<P: Page + Default + serde::Serialize>() {
        let page = serde_json::to_value(P::default()).unwrap();
        assert_eq!(page, serde_json::json!({ "total": 0, P::ROWS: [] }));
    }

    #[test]
    fn rows_are_where_the_page_says() {
        check::<administrators::AdministratorList>();
        check::<administrators::SessionList>();
        check::<audit::AuditList>();
        check::<bulk_actions::BulkActionList>();
        check::<certificates::CertificateList>();
        check::<console::ProjectList>();
        check::<console::TeamList>();
        check::<dead_letters::DeadLetterList>();
        check::<deployments::DeploymentList>();
        check::<enrolments::EnrolmentList>();
        check::<executions::ExecutionList>();
        check::<fanouts::FanoutList>();
        check::<feeds::FeedList>();
        check::<functions::FunctionList>();
        check::<grants::GrantChangeList>();
        check::<limits::LimitList>();
        check::<partners::KeyList>();
        check::<partners::PartnerList>();
        check::<rules::RuleList>();
        check::<runtimes::RuntimeList>();
        check::<runtimes::SpecificationList>();
        check::<transactions::TransactionList>();
        check::<upstreams::UpstreamList>();
        check::<variables::VariableList>();
        check::<webhooks::WebhookList>();
    }
}

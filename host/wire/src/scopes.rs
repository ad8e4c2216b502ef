//! Scopes: what an API key, or somebody with a role in a partner, is allowed to do.

use larder_model::administrators::Role;

/// What a key may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    FunctionsRead,
    FunctionsWrite,
    ExecutionsRead,
    ExecutionsWrite,
    EventsRead,
    EventsWrite,
    /// Reading what events say, and not only what became of them.
    EventsData,
    EnrolmentsRead,
    EnrolmentsWrite,
    FeedsRead,
    FeedsWrite,
    TransactionsRead,
    GrantsRead,
    /// Saying yes to what functions may reach.
    GrantsWrite,
    UpstreamsRead,
    UpstreamsWrite,
    IdentityRead,
    /// Saying whose tokens are good: a key with it can become any end user.
    IdentityWrite,
    RulesRead,
    RulesWrite,
    WebhooksRead,
    WebhooksWrite,
    /// Variables of the project.
    ProjectRead,
    ProjectWrite,
    /// Reading who changed what.
    AuditRead,
    HealthRead,
}

impl Scope {
    pub const ALL: [Scope; 26] = [
        Scope::FunctionsRead,
        Scope::FunctionsWrite,
        Scope::ExecutionsRead,
        Scope::ExecutionsWrite,
        Scope::EventsRead,
        Scope::EventsWrite,
        Scope::EventsData,
        Scope::EnrolmentsRead,
        Scope::EnrolmentsWrite,
        Scope::FeedsRead,
        Scope::FeedsWrite,
        Scope::TransactionsRead,
        Scope::GrantsRead,
        Scope::GrantsWrite,
        Scope::UpstreamsRead,
        Scope::UpstreamsWrite,
        Scope::IdentityRead,
        Scope::IdentityWrite,
        Scope::RulesRead,
        Scope::RulesWrite,
        Scope::WebhooksRead,
        Scope::WebhooksWrite,
        Scope::ProjectRead,
        Scope::ProjectWrite,
        Scope::AuditRead,
        Scope::HealthRead,
    ];

    /// The scopes of a key that allow it; any one is enough.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Scope::FunctionsRead => &["functions.read"],
            Scope::FunctionsWrite => &["functions.write"],
            Scope::ExecutionsRead => &["executions.read", "execution.read"],
            Scope::ExecutionsWrite => &["executions.write", "execution.write"],
            // Who may send an event may see what became of it.
            Scope::EventsRead => &["events.read", "events.write"],
            Scope::EventsWrite => &["events.write"],
            Scope::EventsData => &["events.data"],
            Scope::EnrolmentsRead => &["enrolments.read"],
            Scope::EnrolmentsWrite => &["enrolments.write"],
            Scope::FeedsRead => &["feeds.read"],
            Scope::FeedsWrite => &["feeds.write"],
            Scope::TransactionsRead => &["transactions.read"],
            Scope::GrantsRead => &["grants.read"],
            Scope::GrantsWrite => &["grants.write"],
            Scope::UpstreamsRead => &["upstreams.read"],
            Scope::UpstreamsWrite => &["upstreams.write"],
            Scope::IdentityRead => &["identity.read"],
            Scope::IdentityWrite => &["identity.write"],
            Scope::RulesRead => &["rules.read"],
            Scope::RulesWrite => &["rules.write"],
            Scope::WebhooksRead => &["webhooks.read"],
            Scope::WebhooksWrite => &["webhooks.write"],
            Scope::ProjectRead => &["project.read"],
            Scope::ProjectWrite => &["project.write"],
            Scope::AuditRead => &["audit.read"],
            Scope::HealthRead => &["health.read"],
        }
    }
}

/// The scopes of somebody with this role in a partner.
///
/// What events say is personal, so that only administrators read it. Whoever changes functions does not approve what they reach.
pub fn of_role(role: Role) -> impl Iterator<Item = Scope> {
    Scope::ALL.into_iter().filter(move |scope| match role {
        Role::Administrator => true,
        Role::Operator => false,
        Role::Viewer | Role::Developer | Role::Approver => match scope {
            Scope::FunctionsRead
            | Scope::ExecutionsRead
            | Scope::EventsRead
            | Scope::EnrolmentsRead
            | Scope::FeedsRead
            | Scope::TransactionsRead
            | Scope::GrantsRead
            | Scope::UpstreamsRead
            | Scope::IdentityRead
            | Scope::RulesRead
            | Scope::WebhooksRead
            | Scope::ProjectRead
            | Scope::AuditRead
            | Scope::HealthRead => true,
            Scope::FunctionsWrite | Scope::ExecutionsWrite | Scope::EventsWrite | Scope::FeedsWrite => {
                role == Role::Developer
            }
            Scope::GrantsWrite => role == Role::Approver,
            Scope::EventsData
            | Scope::EnrolmentsWrite
            | Scope::UpstreamsWrite
            | Scope::IdentityWrite
            | Scope::RulesWrite
            | Scope::WebhooksWrite
            | Scope::ProjectWrite => false,
        },
    })
}

/// May a key have this scope?
pub fn is_scope(text: &str) -> bool {
    Scope::ALL.iter().any(|scope| scope.words().contains(&text))
}

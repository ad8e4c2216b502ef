//! The scopes that the replaced platform's clients know. A function keeps those that it is given; only those of Larder's own
//! services would take effect.

/// `X.read` and `X.write`.
const OF_RESOURCES: &[&str] = &[
    "apps",
    "archives",
    "attributes",
    "backups.policies",
    "buckets",
    "collections",
    "columns",
    "databases",
    "documents",
    "domains",
    "execution",
    "executions",
    "files",
    "functions",
    "indexes",
    "insights",
    "keys",
    "log",
    "messages",
    "migrations",
    "mocks",
    "oauth2",
    "platforms",
    "policies",
    "presences",
    "project",
    "project.oauth2",
    "project.policies",
    "providers",
    "reports",
    "restorations",
    "rows",
    "rules",
    "schedules",
    "sessions",
    "sites",
    "stages",
    "subscribers",
    "tables",
    "targets",
    "teams",
    "templates",
    "tokens",
    "topics",
    "users",
    "vcs",
    "wafRules",
    "webhooks",
];
const SINGLE: &[&str] = &[
    "assistant.read",
    "avatars.read",
    "dedicatedDatabases.execute",
    "events.read",
    "health.read",
    "locale.read",
    "oauth2.introspect",
    "usage.read",
];

pub fn is_known(scope: &str) -> bool {
    let resource = || scope.strip_suffix(".read").or_else(|| scope.strip_suffix(".write"));
    SINGLE.contains(&scope) || resource().is_some_and(|resource| OF_RESOURCES.contains(&resource))
}

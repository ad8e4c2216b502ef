//! Each statement on a partner's rows names the partner in its condition, and each change of a snapshot counts it. Exceptions
//! are listed with the reason.

use std::collections::{BTreeMap, BTreeSet};

use super::architecture::{files, read};

/// Statements across partners.
const ACROSS: [(&str, &str); 32] = [
    ("administrator_roles", "an administrator may have several partners"),
    ("all_feeds", "metrics of all feeds, for the operator"),
    ("all_functions_with_grants", "an upstream of the operator concerns the grants of all partners"),
    ("all_schedules", "schedules follow changed rules of time zones"),
    ("delete_administrator_roles", "an administrator may have several partners"),
    ("delete_removed_state", "its scope names the partner"),
    ("delete_removed_state_locks", "its scope names the partner"),
    ("delete_roles_of_administrator", "an administrator may have several partners"),
    ("delete_roles_of_provider_account", "an administrator may have several partners"),
    ("due_bulk_actions", "the queue of bulk actions"),
    ("due_feeds", "the queue of feeds"),
    ("end_all_leases", "the embedded database has one process, which has just started"),
    ("end_all_range_leases", "the embedded database has one process, which has just started"),
    ("end_build_claims", "the embedded database has one process, which has just started"),
    ("end_feed_leases", "the embedded database has one process, or a process ends its own"),
    ("end_leases", "a process ends its own leases"),
    ("end_range_leases", "a process ends its own leases"),
    ("find_digest", "an upload is kept while any deployment needs it"),
    ("holder_of_domain", "a domain is one partner's of all"),
    ("last_removed_state", "its scope names the partner"),
    ("list_removals", "the queue of removals"),
    ("list_stored_bytes", "each process knows what every partner stores"),
    ("next_due_execution", "when the next execution of any partner is due"),
    ("next_feed", "when the next feed of any partner is due"),
    ("next_schedule", "when the next schedule of any partner is due"),
    ("old_event_roots", "retention goes by age"),
    ("old_executions", "retention goes by age"),
    ("old_idempotency_keys", "retention goes by age"),
    ("renew_leases", "a process renews its own leases"),
    ("renew_ranges", "a process renews its own leases"),
    ("unfinished_uploads", "retention goes by age"),
    ("state_locks", "a group of the ledger has outcomes of any partner"),
];

/// Names of the tables whose rows are a partner's.
fn tables() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files("host/store", ".sql") {
        for table in read(&file).split("CREATE TABLE ").skip(1) {
            let (name, rest) = table.split_once(" (").expect("columns");
            if rest.split(");").next().is_some_and(|columns| columns.contains("partner_id")) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// `"-- name …\n TEXT"` in a source: name → text. Tests of the sources come last and are left out.
fn statements(source: &str) -> BTreeMap<String, String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default().replace("\\n", "\n");
    let literals = source.split("\"-- ").skip(1).filter_map(|rest| rest.split('"').next());
    let named = literals.filter_map(|literal| literal.split_once('\n'));
    named.map(|(name, text)| (name.split(' ').next().unwrap_or_default().to_owned(), text.to_owned())).collect()
}

/// Is it on a partner's rows, and of any partner? What is inserted is a row with its partner.
fn is_across(text: &str, tables: &BTreeSet<String>) -> bool {
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let condition = text.split_once("WHERE").map_or("", |(_, condition)| condition);
    words.any(|word| tables.contains(word)) && !text.contains("INSERT INTO") && !condition.contains("partner_id")
}

#[test]
fn statements_bind_the_partner_or_are_listed() {
    let tables = tables();
    assert!(tables.len() >= 15, "{tables:?}");
    let sources = files("host/store", ".rs");
    let all: BTreeMap<String, String> = sources.iter().flat_map(|file| statements(&read(file))).collect();
    assert!(all.len() > 150, "{} statements", all.len());
    let across: BTreeSet<&str> =
        all.iter().filter(|(_, text)| is_across(text, &tables)).map(|(name, _)| name.as_str()).collect();
    let listed: BTreeSet<&str> = ACROSS.iter().map(|(name, _)| *name).collect();
    let unlisted: Vec<_> = across.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&across).collect();
    assert!(unlisted.is_empty() && gone.is_empty(), "of any partner: {unlisted:?}; listed and not: {gone:?}");
    // One that forgets the partner is found.
    assert!(is_across("DELETE FROM variables WHERE function_id = ? AND id = ?", &tables));
    assert!(!is_across("DELETE FROM variables WHERE partner_id = ? AND id = ?", &tables));
}

/// Files whose rows are in the snapshots, and their transactions that change nothing of a snapshot.
const IN_SNAPSHOTS: [&str; 8] =
    ["deployments", "functions", "grants", "identities", "partners", "rules", "upstreams", "variables"];
const UNSEEN: [(&str, &str); 4] = [
    ("check_routes", "it reads"),
    ("claim_build", "a build is no part of a snapshot"),
    ("insert_deployment", "a new deployment is not active"),
    ("put_identity_keys", "the keys of an issuer are no part of a snapshot"),
];

#[test]
fn changes_of_a_snapshot_touch_the_partner() {
    let (mut checked, mut untouched) = (0, BTreeSet::new());
    for file in files("host/store", ".rs") {
        if !file.file_stem().is_some_and(|stem| IN_SNAPSHOTS.iter().any(|name| stem == *name)) {
            continue;
        }
        let source = read(&file);
        let source = source.replace(".tx_when(", ".tx(");
        let all = source.split(".tx(").skip(1).filter_map(|text| text.trim_start().strip_prefix('"'));
        for transaction in all {
            let (name, body) = transaction.split_once('"').expect("a name");
            checked += 1;
            if !body.contains("touch(tx,") && !body.contains("touch_all(tx)") {
                untouched.insert(name.to_owned());
            }
        }
    }
    assert!(checked > 20, "{checked}");
    assert_eq!(untouched, UNSEEN.map(|(name, _)| name.to_owned()).into());
}

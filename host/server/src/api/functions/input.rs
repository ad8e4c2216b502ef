//! What callers set of a function, and the rules for it.

use larder_model::cron::Cron;
use larder_model::doors;
use larder_model::event_schemas::PER_TYPE_MAX;
use larder_model::grants::check::check_pattern;
use larder_model::time::instant;
use larder_model::{EnrolBy, Enrolling, Function, FunctionSettings, Per, Topics};
use larder_platform::common::Common;
use larder_wire::functions::FunctionInput;
use larder_wire::scopes::is_scope;

use crate::api::functions::scopes;
use crate::api::requests::{self, required, text};
use crate::api::runtimes;
use crate::me;
use crate::problem::{Kind, Problem};

const TIMEOUT_DEFAULT_S: u32 = 15;
const LIST_MAX: usize = 100;
const SCOPES_MAX: usize = 200;
const RETENTION_MAX: u32 = 36_500;
const ROUTE_CHARS_MAX: usize = 256;

/// What would make this function of any other.
fn of(function: &Function) -> FunctionInput {
    let f = function.clone();
    FunctionInput {
        function_id: None,
        name: Some(f.name),
        runtime: Some(f.runtime),
        execute: Some(f.execute),
        events: Some(f.events),
        schedule: Some(f.schedule),
        timezone: Some(f.timezone),
        timeout: Some(f.timeout_s),
        enabled: Some(f.enabled),
        logging: Some(f.logging),
        entrypoint: Some(f.entrypoint),
        commands: Some(f.commands),
        scopes: Some(f.scopes),
        deployment_retention: Some(f.deployment_retention),
        specification: Some(f.specification),
        build_specification: None,
        runtime_specification: None,
        installation_id: None,
        provider_repository_id: None,
        per: Some(f.per.word().to_owned()),
        topics: Some(f.topics.word().to_owned()),
        routes: Some(f.routes),
        limits: Some(f.limits),
        enrol: Some(f.enrolling.by.word().to_owned()),
        enrol_topics: Some(f.enrolling.topics),
        settings_schema: Some(f.enrolling.schema.into()),
        event_schemas: Some(serde_json::to_value(f.event_schemas).expect("schemas serialise")),
    }
}

/// Puts what is given over `function`, whose id and times stay. For an update, `function` is the present one.
pub fn apply(input: FunctionInput, common: &Common, function: &mut Function) -> Result<(), Problem> {
    if input.installation_id.is_some_and(|id| !id.is_empty()) {
        return Err(Problem::not_found(Kind::InstallationNotFound, "Installation"));
    }
    if input.provider_repository_id.is_some_and(|id| !id.is_empty()) {
        return Err(Problem::argument("providerRepositoryId", "there is no version control here"));
    }
    function.name = text("name", required("name", input.name)?, 1..=128)?;
    if let Some(runtime) = input.runtime.filter(|runtime| !runtime.is_empty()) {
        function.runtime = runtimes::check(runtime)?;
    }
    if function.runtime.is_empty() {
        return Err(Problem::argument("runtime", "is required"));
    }
    function.execute =
        list("execute", input.execute, LIST_MAX, |role| is_role(role).then_some(()).ok_or("is not a role"))?;
    function.events = list("events", input.events, LIST_MAX, |pattern| match pattern.split('.').next() {
        // As on the replaced platform: a function that its own events trigger would never come to rest.
        Some("functions") => Err("is about functions themselves, whose events trigger no function"),
        _ => check_pattern(pattern),
    })?;
    function.scopes = list("scopes", input.scopes, SCOPES_MAX, |scope| {
        (scopes::is_known(scope) || is_scope(scope)).then_some(()).ok_or("is not a scope")
    })?;
    if let Some(timezone) = input.timezone {
        function.timezone = timezone;
    }
    if function.timezone.is_empty() {
        function.timezone = "UTC".into();
    }
    let zone = common
        .zones
        .zone(&function.timezone)
        .ok_or_else(|| Problem::argument("timezone", format!("{:?} is not an IANA time zone", function.timezone)))?;
    function.schedule = text("schedule", input.schedule.unwrap_or_default().trim().to_owned(), 0..=255)?;
    if !function.schedule.is_empty() {
        let cron = Cron::parse(&function.schedule).map_err(|err| Problem::argument("schedule", err))?;
        cron.next_after(instant(common.clock.now_ms()), &zone.rules())
            .ok_or_else(|| Problem::argument("schedule", "has no next firing"))?;
    }
    let timeout_max = common.settings.functions.timeout_max.as_secs() as u32;
    function.timeout_s = input.timeout.unwrap_or(TIMEOUT_DEFAULT_S.min(timeout_max));
    if !(1..=timeout_max).contains(&function.timeout_s) {
        return Err(Problem::argument("timeout", format!("must be 1 to {timeout_max} seconds")));
    }
    function.enabled = input.enabled.unwrap_or(true);
    function.logging = input.logging.unwrap_or(true);
    if let Some(entrypoint) = input.entrypoint.filter(|entrypoint| !entrypoint.is_empty()) {
        function.entrypoint = text("entrypoint", entrypoint, 1..=1_028)?;
    }
    function.commands = requests::chars("commands", input.commands.unwrap_or_default(), 0..=8_192)?;
    function.deployment_retention = input.deployment_retention.unwrap_or(0);
    if function.deployment_retention > RETENTION_MAX {
        return Err(Problem::argument("deploymentRetention", format!("must be 0 to {RETENTION_MAX} days")));
    }
    let specification = [input.runtime_specification, input.build_specification, input.specification];
    if let Some(specification) = specification.into_iter().flatten().find(|slug| !slug.is_empty()) {
        function.specification = runtimes::check_specification(specification)?;
    }
    if let Some(per) = &input.per {
        function.per = word("per", per, Per::Event, Per::WORDS, Per::from_word)?;
    }
    if let Some(topics) = &input.topics {
        function.topics = word("topics", topics, Topics::Subject, Topics::WORDS, Topics::from_word)?;
    }
    if input.routes.is_some() {
        function.routes = list("routes", input.routes, LIST_MAX, route)?;
    }
    let mut seen: Vec<&str> = function.routes.iter().map(|route| route.trim_end_matches('/')).collect();
    seen.sort_unstable();
    if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Problem::argument("routes", format!("{}/ occurs twice", twice[0])));
    }
    if let Some(limits) = input.limits {
        limits.check().map_err(|why| Problem::argument("limits", why))?;
        function.limits = limits;
    }
    if let Some(enrol) = &input.enrol {
        function.enrolling.by = word("enrol", enrol, EnrolBy::Partner, EnrolBy::WORDS, EnrolBy::from_word)?;
    }
    if input.enrol_topics.is_some() {
        function.enrolling.topics = list("enrolTopics", input.enrol_topics, LIST_MAX, Enrolling::check_topic)?;
    }
    if let Some(schema) = input.settings_schema {
        function.enrolling.schema =
            schema.try_into().map_err(|why: String| Problem::argument("settingsSchema", why))?;
    }
    if let Some(schemas) = input.event_schemas {
        let wrong = |why: String| Problem::argument("eventSchemas", why);
        function.event_schemas = serde_json::from_value(schemas).map_err(|err| wrong(err.to_string()))?;
        let tenant = common.directory.tenant(&function.partner);
        let rules = tenant.as_deref().map(|tenant| &tenant.event_rules);
        let mut checked = function.event_schemas.iter().filter(|(_, one)| one.validate);
        let full =
            checked.find(|(kind, one)| rules.is_some_and(|rules| rules.is_full(kind, &function.id, &one.schema)));
        if let Some((kind, _)) = full {
            return Err(wrong(format!(
                "{kind:?}: {PER_TYPE_MAX} functions check this type by schemas of their own already"
            )));
        }
    }
    Ok(())
}

/// The settings that a deployment asks for, as somebody sends them: with them, `function` keeps the rules of functions. Gives
/// the function that would be.
pub fn settings(common: &Common, function: &Function, body: &[u8]) -> Result<(FunctionSettings, Function), Problem> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let wrong = |why: String| Problem::argument("settings", why);
    let mut asked: FunctionSettings = match serde_json::from_slice(body) {
        Ok(asked) if is_object => asked,
        Ok(_) => return Err(wrong("must be a JSON object".into())),
        Err(err) => return Err(wrong(err.to_string())),
    };
    asked.schedule = asked.schedule.map(|schedule| schedule.trim().to_owned());
    let mut with = function.clone();
    asked.apply(&mut with);
    apply(of(&with), common, &mut with)?;
    // As the rules write it: an empty time zone, say, is UTC.
    asked.timezone = asked.timezone.map(|_| with.timezone.clone());
    Ok((asked, with))
}

fn list(
    name: &str,
    values: Option<Vec<String>>,
    max: usize,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Vec<String>, Problem> {
    let values = values.unwrap_or_default();
    if values.len() > max {
        return Err(Problem::argument(name, format!("may have at most {max} values")));
    }
    for value in &values {
        check(value).map_err(|why| Problem::argument(name, format!("{value:?} {why}")))?;
    }
    Ok(values)
}

fn word<T>(
    name: &str,
    value: &str,
    default: T,
    words: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, Problem> {
    match value {
        "" => Ok(default),
        text => parse(text).ok_or_else(|| Problem::argument(name, format!("must be one of {}", words.join(", ")))),
    }
}

/// Who may execute: `any`, `guests`, `users[/verified]`, `user:ID[/verified]`, `team:ID[/ROLE]`, `member:ID`, `label:NAME`.
fn is_role(role: &str) -> bool {
    let is_id = |text: &str| text.parse::<larder_model::ids::FunctionId>().is_ok();
    let is_dimension = |text: &str| matches!(text, "verified" | "unverified");
    match role.split_once(':') {
        None => match role.split_once('/') {
            None => matches!(role, "any" | "guests" | "users"),
            Some((kind, dimension)) => kind == "users" && is_dimension(dimension),
        },
        Some(("label", name)) => (1..=36).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric()),
        Some(("member", id)) => is_id(id),
        Some(("user", rest)) => rest.split_once('/').map_or(is_id(rest), |(id, dim)| is_id(id) && is_dimension(dim)),
        Some(("team", rest)) => rest.split_once('/').map_or(is_id(rest), |(id, role)| is_id(id) && is_id(role)),
        Some(_) => false,
    }
}

fn route(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("must begin with /");
    }
    if text.len() > ROUTE_CHARS_MAX {
        return Err("must have at most 256 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("has a character that paths carry only percent-encoded");
    }
    if text.contains(['?', '#']) {
        return Err("must not have a query or fragment");
    }
    if text.contains("//") {
        return Err("has an empty segment");
    }
    if me::is_reserved(text) || doors::is_reserved(text) {
        return Err(
            "is Larder's: nothing below /_larder, /v1, /depo, /meta_depo, /internal, /flipper or /field_test is a \
                    function's",
        );
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("must not have the segments . or ..");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        for role in [
            "any",
            "guests",
            "users",
            "users/verified",
            "user:u1",
            "user:u1/unverified",
            "team:t/owner",
            "member:m",
            "label:vip",
        ] {
            assert!(is_role(role), "{role}");
        }
        for role in ["", "*", "role:all", "any/verified", "user:", "user:u1/x", "label:a-b", "team:t/"] {
            assert!(!is_role(role), "{role}");
        }
    }

    #[test]
    fn routes_are_plain_prefixes() {
        for text in ["/", "/hello", "/hello/", "/a/b-c/%C3%A4", "/..a"] {
            assert_eq!(route(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "hello",
            "/a?b",
            "/a#b",
            "/a/../b",
            "/..",
            "//a",
            "/ä",
            "/a b",
            "/_larder",
            "/_larder/me",
            &format!("/{}", "x".repeat(256)),
        ] {
            assert!(route(text).is_err(), "{text}");
        }
    }
}

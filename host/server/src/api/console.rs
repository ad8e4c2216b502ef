//! What command lines and consoles of the replaced platform ask for once somebody has signed in: settings of the installation,
//! and partners as projects of one team. The project of these routes is `console`.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::Partner;
use larder_model::ids::PartnerId;
use larder_platform::common::Common;
use larder_platform::{administrators, partners};
use larder_store::db::Value;
use larder_store::listing::{Column, Filter, Kind as Type, Listing, Op};
use larder_wire::console::{NewProject, ProjectList, ProjectObject, TEAM, TeamList, TeamObject, VariablesObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Ids};
use crate::app::App;
use crate::auth::{self, Person};
use crate::problem::{Kind, Problem};

/// By which projects are filtered, in memory.
const PROJECTS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Type::Text },
    Column { attribute: "name", column: "name", kind: Type::Text },
    Column { attribute: "teamId", column: "team", kind: Type::Text },
];

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(variables))
        .routes(routes!(list_projects, create_project))
        .routes(routes!(get_project))
        .routes(routes!(list_teams))
}

#[utoipa::path(get, path = "/v1/console/variables", tag = "console", operation_id = "getConsoleVariables",
    security(("session" = [])), responses((status = 200, body = VariablesObject)))]
async fn variables(State(common): State<Common>, _: Person) -> Json<VariablesObject> {
    let settings = &common.settings;
    let https = if settings.server.root_url.starts_with("https://") { "enabled" } else { "disabled" };
    Json(VariablesObject {
        _APP_DOMAIN_FUNCTIONS: settings.server.functions_domain.clone(),
        _APP_DOMAIN_TARGET_CNAME: settings.domain_target(),
        _APP_STORAGE_LIMIT: settings.build.upload_bytes_max as u64,
        _APP_COMPUTE_SIZE_LIMIT: settings.build.upload_bytes_max as u64,
        _APP_COMPUTE_BUILD_TIMEOUT: settings.build.deadline.as_secs(),
        _APP_USAGE_STATS: "enabled".into(),
        _APP_DOMAIN_ENABLED: !settings.server.functions_domain.is_empty(),
        _APP_OPTIONS_FORCE_HTTPS: https.into(),
        ..VariablesObject::default()
    })
}

/// The partners where the person has a role.
#[utoipa::path(get, path = "/v1/projects", tag = "console", operation_id = "listProjects", security(("session" = [])),
    params(ListParams, ("search" = Option<String>, Query, description = "Part of the id or name")),
    responses((status = 200, body = ProjectList)))]
async fn list_projects(
    State(common): State<Common>,
    Person(by): Person,
    RawQuery(query): RawQuery,
) -> Result<Json<ProjectList>, Problem> {
    let Listing { filters, offset, limit, .. } = queries::parse(query.as_deref(), PROJECTS, &["id", "name"])?.listing;
    let mut own = Vec::new();
    for partner in common.store.partners().await? {
        if by.administrator.role_in(&partner.id).is_some() && all(&filters, &partner)? {
            own.push(ProjectObject::from(partner));
        }
    }
    let total = own.len();
    let projects = own.into_iter().skip(offset as usize).take(limit as usize).collect();
    Ok(Json(ProjectList { total, projects }))
}

fn all(filters: &[Filter], partner: &Partner) -> Result<bool, Problem> {
    filters.iter().try_fold(true, |so_far, filter| Ok(so_far && holds(filter, partner)?))
}

fn holds(filter: &Filter, partner: &Partner) -> Result<bool, Problem> {
    let (column, op, values) = match filter {
        Filter::And(filters) => return all(filters, partner),
        Filter::Or(filters) => {
            return filters.iter().try_fold(false, |so_far, filter| Ok(so_far || holds(filter, partner)?));
        }
        Filter::Compare { column, op, values } => (*column, *op, values),
    };
    let own = match column {
        "id" => partner.id.as_str(),
        "name" => partner.name.as_str(),
        _ => TEAM,
    };
    let is = |value: &Value| matches!(value, Value::Text(text) if text == own);
    let has = |value: &Value| matches!(value, Value::Text(text) if own.contains(text.as_str()));
    match op {
        Op::Equal => Ok(values.iter().any(is)),
        Op::NotEqual => Ok(!values.iter().any(is)),
        Op::Contains => Ok(values.iter().any(has)),
        _ => Err(Problem::argument("queries", "projects are filtered by equal, notEqual and contains")),
    }
}

/// Makes a partner, of which the person is an administrator from then on. Only operators may.
#[utoipa::path(post, path = "/v1/projects", tag = "console", operation_id = "createProject", security(("session" = [])),
    request_body = NewProject, responses((status = 201, body = ProjectObject)))]
async fn create_project(
    State(common): State<Common>,
    Person(mut by): Person,
    body: Body,
) -> Result<(StatusCode, Json<ProjectObject>), Problem> {
    let input: NewProject = requests::json(body, requests::BODY_MAX).await?;
    let id = requests::required("projectId", input.project_id)?;
    let id: PartnerId = requests::new_id("projectId", &id, &common.clock)?;
    if !id.is_label() {
        let why = "must be a DNS label of at most 30 of a-z 0-9 - that does not end in - or -api";
        return Err(Problem::argument("projectId", why));
    }
    let name = requests::text("name", input.name.unwrap_or_else(|| id.to_string()), 1..=128)?;
    if !by.administrator.is_operator() {
        let message = "Projects are made by operators of this installation: ask one for `larder partner create`, and to make you \
                       its administrator";
        return Err(Problem::new(Kind::Unauthorized, message));
    }
    auth::has_factors(&common, &by)?;
    let partner = partners::create(&common, &id, &name).await?;
    administrators::join(&common, &mut by.administrator, &id).await?;
    Ok((StatusCode::CREATED, Json(partner.into())))
}

#[utoipa::path(get, path = "/v1/projects/{projectId}", tag = "console", operation_id = "getProject",
    security(("session" = [])), responses((status = 200, body = ProjectObject)))]
async fn get_project(
    State(common): State<Common>,
    Person(by): Person,
    ids: Ids,
) -> Result<Json<ProjectObject>, Problem> {
    let id: PartnerId = ids.get("projectId")?;
    let found = common.store.partner(&id).await?.filter(|_| by.administrator.role_in(&id).is_some());
    // One answer for what is not there and for what is others'.
    Ok(Json(found.ok_or_else(|| Problem::not_found(Kind::PartnerNotFound, "Project"))?.into()))
}

/// The one team of the installation.
#[utoipa::path(get, path = "/v1/teams", tag = "console", operation_id = "listTeams", security(("session" = [])),
    params(ListParams), responses((status = 200, body = TeamList)))]
async fn list_teams(Person(by): Person, RawQuery(query): RawQuery) -> Result<Json<TeamList>, Problem> {
    let Listing { offset, .. } = queries::parse(query.as_deref(), PROJECTS, &["id", "name"])?.listing;
    let since = larder_wire::datetime(by.administrator.created_at_ms);
    let team = TeamObject {
        id: TEAM.into(),
        created_at: since.clone(),
        updated_at: since,
        name: "Larder".into(),
        total: 1,
        ..TeamObject::default()
    };
    let teams = if offset == 0 { vec![team] } else { vec![] };
    Ok(Json(TeamList { total: 1, teams }))
}

//! The savehacks that I may join, and those that I have joined.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use larder_model::ids::{EnrolmentId, FunctionId};
use larder_model::{Enrolment, PausedBy};
use larder_platform::common::Common;
use larder_platform::directory::FunctionView;
use larder_platform::enrolments;
use larder_store::filters;
use larder_wire::enrolments::EnrolmentChange;
use larder_wire::me::{JoinInput, MyEnrolmentList, MyEnrolmentObject, SavehackList, SavehackObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::enrolments::{settings, status};
use crate::api::queries::{self, ListParams};
use crate::api::requests::{self, Deleted, Ids};
use crate::app::App;
use crate::me::Me;
use crate::problem::{Kind, Problem};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(savehacks)).routes(routes!(list, join)).routes(routes!(get, update, end))
}

/// The savehacks that the project has opened, and that run.
#[utoipa::path(get, path = "/_larder/me/savehacks", tag = "me", operation_id = "listSavehacks", security(("token" = [])),
    responses((status = 200, body = SavehackList)))]
async fn savehacks(me: Me) -> Json<SavehackList> {
    let runs = |view: &&std::sync::Arc<FunctionView>| {
        view.function.enrolling.is_open() && view.function.enabled && view.active.is_some()
    };
    let mut savehacks: Vec<SavehackObject> = me
        .tenant
        .functions
        .values()
        .filter(runs)
        .map(|view| {
            let enrolling = &view.function.enrolling;
            SavehackObject {
                function_id: view.function.id.to_string(),
                name: view.function.name.clone(),
                topics: enrolling.topics_of(&me.user.id),
                settings_schema: enrolling.schema.value(),
            }
        })
        .collect();
    savehacks.sort_by(|a, b| (&a.name, &a.function_id).cmp(&(&b.name, &b.function_id)));
    Json(SavehackList { total: savehacks.len(), savehacks })
}

fn object(me: &Me, enrolment: Enrolment) -> MyEnrolmentObject {
    let view = me.tenant.functions.get(&enrolment.function);
    MyEnrolmentObject {
        function_name: me.name_of(enrolment.function.as_str()),
        open: view.is_some_and(|view| view.function.enrolling.is_open()),
        enrolment: enrolment.into(),
    }
}

/// The savehacks that I take part in.
#[utoipa::path(get, path = "/_larder/me/enrolments", tag = "me", operation_id = "listMyEnrolments",
    security(("token" = [])), params(ListParams), responses((status = 200, body = MyEnrolmentList)))]
async fn list(
    State(common): State<Common>,
    me: Me,
    RawQuery(query): RawQuery,
) -> Result<Json<MyEnrolmentList>, Problem> {
    let query = queries::parse(query.as_deref(), filters::MY_ENROLMENTS, &[])?;
    let page = common.store.list_enrolments_of(&me.partner, &me.user.id, &super::bounded(query.listing)).await?;
    let enrolments = page.rows.into_iter().map(|enrolment| object(&me, enrolment)).collect();
    Ok(Json(MyEnrolmentList { total: page.total, enrolments }))
}

/// Joins a savehack.
#[utoipa::path(post, path = "/_larder/me/enrolments", tag = "me", operation_id = "joinSavehack",
    security(("token" = [])), request_body = JoinInput, responses((status = 201, body = MyEnrolmentObject)))]
async fn join(
    State(common): State<Common>,
    me: Me,
    body: Body,
) -> Result<(StatusCode, Json<MyEnrolmentObject>), Problem> {
    let body: JoinInput = requests::json(body, requests::BODY_MAX).await?;
    let function: FunctionId = requests::id("functionId", &requests::required("functionId", body.function_id)?)?;
    let topic = body.topic.map(|topic| requests::text("topic", topic, 1..=255)).transpose()?;
    let enrolment =
        enrolments::join(&common, &me.tenant, &me.user.id, function, topic, settings(body.settings)?).await?;
    Ok((StatusCode::CREATED, Json(object(&me, enrolment))))
}

/// Mine, or none.
async fn find(common: &Common, me: &Me, ids: &Ids) -> Result<Enrolment, Problem> {
    let id: EnrolmentId = ids.get("enrolmentId")?;
    let found = common.store.enrolment(&me.partner, &id).await?.filter(|enrolment| enrolment.end_user == me.user.id);
    found.ok_or_else(|| Problem::not_found(Kind::EnrolmentNotFound, "Enrolment"))
}

#[utoipa::path(get, path = "/_larder/me/enrolments/{enrolmentId}", tag = "me", operation_id = "getMyEnrolment",
    security(("token" = [])), responses((status = 200, body = MyEnrolmentObject)))]
async fn get(State(common): State<Common>, me: Me, ids: Ids) -> Result<Json<MyEnrolmentObject>, Problem> {
    let found = find(&common, &me, &ids).await?;
    Ok(Json(object(&me, found)))
}

/// Pauses (`paused`) or resumes (`active`), and replaces the settings. What is not given stays.
#[utoipa::path(patch, path = "/_larder/me/enrolments/{enrolmentId}", tag = "me", operation_id = "updateMyEnrolment",
    security(("token" = [])), request_body = EnrolmentChange, responses((status = 200, body = MyEnrolmentObject)))]
async fn update(
    State(common): State<Common>,
    me: Me,
    ids: Ids,
    body: Body,
) -> Result<Json<MyEnrolmentObject>, Problem> {
    let change: EnrolmentChange = requests::json(body, requests::BODY_MAX).await?;
    let (status, settings) = (status(change.status)?, change.settings.map(|text| settings(Some(text))).transpose()?);
    let old = find(&common, &me, &ids).await?;
    enrolments::update(&common, &me.tenant, &old, status, settings.as_deref(), PausedBy::EndUser).await?;
    let new = find(&common, &me, &ids).await?;
    Ok(Json(object(&me, new)))
}

/// Leaves the savehack. What it has kept for me is removed; my transactions stay.
#[utoipa::path(delete, path = "/_larder/me/enrolments/{enrolmentId}", tag = "me", operation_id = "endMyEnrolment",
    security(("token" = [])), responses((status = 204)))]
async fn end(State(common): State<Common>, me: Me, ids: Ids) -> Result<Deleted, Problem> {
    let old = find(&common, &me, &ids).await?;
    enrolments::end(&common, &me.tenant, &old).await?;
    Ok(Deleted)
}

//! The one mapping of errors to HTTP, for the API and for the web endpoint's own answers.
//!
//! A [`Problem`] is what a caller reads: `{message, code, type, version}`. An internal cause is logged once, here, and never
//! sent to the caller. The [`Kind`] decides status and type, by the table below.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use larder_model::ids::ExecutionId;
use larder_platform::objects;
use larder_platform::quotas::{Exceeded, Refused};
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! kinds {
    ($($kind:ident = $status:literal $word:literal,)*) => {
        /// The kinds of problems that the wire format distinguishes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($kind,)* }

        impl Kind {
            pub fn status(self) -> StatusCode {
                let code = match self { $(Kind::$kind => $status,)* };
                StatusCode::from_u16(code).expect("the table has valid codes")
            }

            pub fn word(self) -> &'static str {
                match self { $(Kind::$kind => $word,)* }
            }
        }
    };
}

kinds! {
    ArgumentInvalid = 400 "general_argument_invalid",
    BadHeaders = 400 "general_unknown",
    BadRequest = 400 "general_bad_request",
    CursorNotFound = 400 "general_cursor_not_found",
    QueryInvalid = 400 "general_query_invalid",
    BuildCompleted = 400 "build_already_completed",
    BuildNotReady = 400 "build_not_ready",
    ContentRange = 400 "storage_invalid_content_range",
    ExecutionInProgress = 400 "execution_in_progress",
    FileEmpty = 400 "storage_file_empty",
    FileSize = 400 "deployment_invalid_file_size",
    FileType = 400 "storage_file_type_unsupported",
    UnsetSecret = 400 "variable_cannot_unset_secret",
    AccessForbidden = 401 "general_access_forbidden",
    KeyExpired = 401 "project_key_expired",
    SignatureInvalid = 401 "feed_signature_invalid",
    Scope = 401 "general_unauthorized_scope",
    Unauthorized = 401 "user_unauthorized",
    GrantsNotApproved = 403 "general_access_forbidden",
    OwnUpload = 403 "general_access_forbidden",
    DeadLetterNotFound = 404 "dead_letter_not_found",
    DeploymentNotFound = 404 "deployment_not_found",
    EnrolmentNotFound = 404 "enrolment_not_found",
    EventNotFound = 404 "event_not_found",
    ExecutionNotFound = 404 "execution_not_found",
    FeedNotFound = 404 "feed_not_found",
    FunctionNotFound = 404 "function_not_found",
    InstallationNotFound = 404 "installation_not_found",
    KeyNotFound = 404 "key_not_found",
    PartnerNotFound = 404 "project_not_found",
    RouteNotFound = 404 "general_route_not_found",
    RuntimeUnsupported = 404 "function_runtime_unsupported",
    TransactionNotFound = 404 "transaction_not_found",
    UpstreamNotFound = 404 "upstream_not_found",
    VariableNotFound = 404 "variable_not_found",
    NotImplemented = 405 "general_not_implemented",
    BodyTooSlow = 408 "general_bad_request",
    SynchronousTimeout = 408 "function_synchronous_timeout",
    EnrolmentExists = 409 "enrolment_already_exists",
    FeedExists = 409 "feed_already_exists",
    FunctionExists = 409 "function_already_exists",
    IdempotencyInFlight = 409 "general_idempotency_in_flight",
    MasterKeyNotEverywhere = 409 "master_key_not_everywhere",
    MasterKeyNotFirst = 409 "master_key_not_first",
    MasterKeyUnknown = 409 "master_key_unknown",
    PartnerExists = 409 "project_already_exists",
    RouteExists = 409 "function_route_already_exists",
    GrantsChanged = 409 "general_conflict",
    Taken = 409 "general_conflict",
    UpstreamExists = 409 "upstream_already_exists",
    VariableExists = 409 "variable_already_exists",
    PayloadTooLarge = 413 "general_payload_too_large",
    BodyTooLarge = 413 "general_argument_invalid",
    QuotaExceeded = 413 "project_quota_exceeded",
    StorageRange = 416 "storage_invalid_range",
    ExpectationFailed = 417 "general_bad_request",
    Misdirected = 421 "general_route_not_found",
    IdempotencyMismatch = 422 "general_idempotency_mismatch",
    TooManyCalls = 429 "general_rate_limit_exceeded",
    Internal = 500 "general_server_error",
    OutcomeUnknown = 500 "execution_outcome_unknown",
    NotOffered = 501 "general_not_implemented",
    FunctionFailed = 502 "function_failed",
    Unavailable = 503 "general_server_error",
    FunctionTimeout = 504 "function_timeout",
}

/// Seconds after which a request that was refused for lack of capacity may be retried.
const RETRY_AFTER_S: u32 = 1;

/// An error response.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", .kind.word())]
pub struct Problem {
    pub kind: Kind,
    pub message: String,
    /// Seconds after which the caller may retry.
    pub retry_after_s: Option<u32>,
    /// The execution that it is about, for the caller to look up.
    pub execution: Option<ExecutionId>,
}

/// A [`Problem`] in the wire format.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Error {
    /// For people; it names what was wrong.
    message: String,
    /// The HTTP status.
    code: u16,
    r#type: &'static str,
    version: &'static str,
    /// The execution that it is about, where one was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_id: Option<String>,
}

impl Problem {
    pub fn new(kind: Kind, message: impl Into<String>) -> Problem {
        let retry = matches!(kind, Kind::IdempotencyInFlight | Kind::TooManyCalls | Kind::Unavailable);
        Problem { kind, message: message.into(), retry_after_s: retry.then_some(RETRY_AFTER_S), execution: None }
    }

    /// The problem in the wire format.
    pub fn body(&self) -> Error {
        Error {
            message: self.message.clone(),
            code: self.kind.status().as_u16(),
            r#type: self.kind.word(),
            version: crate::api::FORMAT_VERSION,
            execution_id: self.execution.as_ref().map(ToString::to_string),
        }
    }

    /// It is not known whether the effects of this execution were applied. A retry could apply them twice, so the answer does
    /// not suggest one.
    pub fn outcome_unknown(id: &ExecutionId) -> Problem {
        let message = format!(
            "It is not known whether what the execution {id} did was applied. Look it up before sending anything again: once the \
             database answers, its record says completed (it was) or failed (nothing of it was)"
        );
        Problem { execution: Some(id.clone()), ..Problem::new(Kind::OutcomeUnknown, message) }
    }

    /// An invalid parameter, by its name.
    pub fn argument(name: &str, why: impl std::fmt::Display) -> Problem {
        Problem::new(Kind::ArgumentInvalid, format!("Invalid `{name}`: {why}"))
    }

    pub fn not_found(kind: Kind, what: &str) -> Problem {
        Problem::new(kind, format!("{what} with the requested ID could not be found."))
    }

    pub fn no_such_route() -> Problem {
        Problem::new(Kind::RouteNotFound, "There is no such route")
    }

    /// An internal error. Its cause goes to the log only.
    pub fn internal(cause: impl std::fmt::Display) -> Problem {
        tracing::error!(error = %cause, "a request failed");
        Problem::new(Kind::Internal, "Server Error")
    }

    /// A temporary error. Its cause goes to the log only.
    pub fn unavailable(cause: impl std::fmt::Display) -> Problem {
        tracing::warn!(error = %cause, "a request could not be served now");
        Problem::new(Kind::Unavailable, "Try again in a moment")
    }

    /// A conflict becomes a problem of this kind with this message. Any other error keeps its own.
    pub fn or_taken(err: larder_store::Error, kind: Kind, message: &str) -> Problem {
        match err {
            larder_store::Error::Conflict { .. } => Problem::new(kind, message),
            other => other.into(),
        }
    }
}

impl From<larder_store::Error> for Problem {
    fn from(err: larder_store::Error) -> Problem {
        match err {
            larder_store::Error::NotFound { what } => match what {
                "cursor" => Problem::new(Kind::CursorNotFound, "Invalid `queries`: the cursor's row does not exist"),
                "dead letter" => Problem::not_found(Kind::DeadLetterNotFound, "Dead letter"),
                "deployment" => Problem::not_found(Kind::DeploymentNotFound, "Deployment"),
                "enrolment" => Problem::not_found(Kind::EnrolmentNotFound, "Enrolment"),
                "execution" => Problem::not_found(Kind::ExecutionNotFound, "Execution"),
                "feed" => Problem::not_found(Kind::FeedNotFound, "Feed"),
                "function" => Problem::not_found(Kind::FunctionNotFound, "Function"),
                "key" => Problem::not_found(Kind::KeyNotFound, "Key"),
                "upstream" => Problem::not_found(Kind::UpstreamNotFound, "Upstream"),
                "variable" => Problem::not_found(Kind::VariableNotFound, "Variable"),
                other => Problem::internal(format!("{other} was not found")),
            },
            larder_store::Error::RouteTaken { route, function } => {
                Problem::new(Kind::RouteExists, format!("The route {route} belongs to the function {function} already"))
            }
            larder_store::Error::BeingRemoved(id) => Problem::new(
                Kind::FunctionExists,
                format!(
                    "The function {id} was deleted and its rows are still being removed: try again in a moment, or take another ID"
                ),
            ),
            larder_store::Error::Conflict { .. } => Problem::new(Kind::Taken, "This is taken already"),
            larder_store::Error::Contended(_)
            | larder_store::Error::Unavailable(_)
            | larder_store::Error::Unknown(_) => Problem::unavailable(err),
            larder_store::Error::TooLarge { .. } => Problem::new(Kind::PayloadTooLarge, err.to_string()),
            larder_store::Error::PageTooLarge { rows } => Problem::new(
                Kind::QueryInvalid,
                format!("Invalid `queries`: the page would be too large; ask for fewer rows (limit {})", rows.max(1)),
            ),
            larder_store::Error::TooSlow(_) => Problem::new(
                Kind::QueryInvalid,
                "Invalid `queries`: the list takes too long, because it has to look at too many rows. Narrow it down by \
                 `$createdAt` or another attribute that has an index (see the document), or leave the total out (total=false)",
            ),
            larder_store::Error::BadRow { .. } | larder_store::Error::Statement { .. } => Problem::internal(err),
        }
    }
}

impl From<objects::Error> for Problem {
    fn from(err: objects::Error) -> Problem {
        match err {
            objects::Error::Store { .. } => Problem::unavailable(err),
            objects::Error::Corrupt { .. } | objects::Error::Settings { .. } => Problem::internal(err),
        }
    }
}

impl From<Exceeded> for Problem {
    fn from(why: Exceeded) -> Problem {
        let message = why.to_string();
        match why.cap.refused() {
            Refused::Later => {
                Problem { retry_after_s: Some(why.retry_after_s), ..Problem::new(Kind::TooManyCalls, message) }
            }
            Refused::TooLarge => Problem::new(Kind::QuotaExceeded, message),
        }
    }
}

impl From<larder_secrets::Error> for Problem {
    fn from(err: larder_secrets::Error) -> Problem {
        Problem::internal(err)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status(), axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(id) = self.execution.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            headers.insert("x-appwrite-execution-id", id);
        }
        response
    }
}

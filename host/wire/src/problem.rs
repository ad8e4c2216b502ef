//! The error object, and the kinds of problems.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! kinds {
    ($($kind:ident = $status:literal $word:literal,)*) => {
        /// What is wrong, as the wire format tells kinds apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($kind,)* }

        impl Kind {
            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Kind::$kind => $status,)* }
            }

            /// The `type` of the error object.
            pub const fn word(self) -> &'static str {
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
    RuleNotVerified = 400 "rule_verification_failed",
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
    ExecutePermission = 401 "function_execute_permission_missing",
    TokenMissing = 401 "user_unauthorized",
    TokenInvalid = 401 "user_jwt_invalid",
    SignatureInvalid = 401 "feed_signature_invalid",
    Scope = 401 "general_unauthorized_scope",
    InvalidCredentials = 401 "user_invalid_credentials",
    MoreFactors = 401 "user_more_factors_required",
    Unauthorized = 401 "user_unauthorized",
    GrantsNotApproved = 403 "general_access_forbidden",
    EnrolmentNotOpen = 403 "enrolment_not_open",
    OriginForbidden = 403 "general_unknown_origin",
    OwnUpload = 403 "general_access_forbidden",
    AdministratorNotFound = 404 "administrator_not_found",
    AuditRecordNotFound = 404 "audit_record_not_found",
    BulkActionNotFound = 404 "bulk_action_not_found",
    CertificateNotFound = 404 "certificate_not_found",
    SessionNotFound = 404 "user_session_not_found",
    DeadLetterNotFound = 404 "dead_letter_not_found",
    DeploymentNotFound = 404 "deployment_not_found",
    EnrolmentNotFound = 404 "enrolment_not_found",
    EventNotFound = 404 "event_not_found",
    ExecutionNotFound = 404 "execution_not_found",
    FanoutNotFound = 404 "fanout_not_found",
    FeedNotFound = 404 "feed_not_found",
    FunctionNotFound = 404 "function_not_found",
    IdentityNotFound = 404 "identity_not_found",
    FrontNotFound = 404 "front_not_found",
    InstallationNotFound = 404 "installation_not_found",
    KeyNotFound = 404 "key_not_found",
    PartnerNotFound = 404 "project_not_found",
    RouteNotFound = 404 "general_route_not_found",
    RuleNotFound = 404 "rule_not_found",
    RuleResourceNotFound = 404 "rule_resource_not_found",
    RuntimeUnsupported = 404 "function_runtime_unsupported",
    TemplateNotFound = 404 "function_template_not_found",
    TransactionNotFound = 404 "transaction_not_found",
    UpstreamNotFound = 404 "upstream_not_found",
    VariableNotFound = 404 "variable_not_found",
    WebhookNotFound = 404 "webhook_not_found",
    NotImplemented = 405 "general_not_implemented",
    NoCertificate = 404 "health_certificate_not_found",
    BodyTooSlow = 408 "general_bad_request",
    SynchronousTimeout = 408 "function_synchronous_timeout",
    EnrolmentPaused = 409 "enrolment_paused_by_project",
    AdministratorExists = 409 "administrator_already_exists",
    BulkActionStatus = 409 "bulk_action_status_conflict",
    EnrolmentExists = 409 "enrolment_already_exists",
    FanoutStatus = 409 "fanout_status_conflict",
    FeedExists = 409 "feed_already_exists",
    FrontExists = 409 "front_already_exists",
    FunctionExists = 409 "function_already_exists",
    IdempotencyInFlight = 409 "general_idempotency_in_flight",
    MasterKeyNotEverywhere = 409 "master_key_not_everywhere",
    MasterKeyNotFirst = 409 "master_key_not_first",
    MasterKeyUnknown = 409 "master_key_unknown",
    PartnerExists = 409 "project_already_exists",
    RouteExists = 409 "function_route_already_exists",
    RuleExists = 409 "rule_already_exists",
    GrantsChanged = 409 "general_conflict",
    Taken = 409 "general_conflict",
    UpstreamExists = 409 "upstream_already_exists",
    VariableExists = 409 "variable_already_exists",
    WebhookExists = 409 "webhook_already_exists",
    PayloadTooLarge = 413 "general_payload_too_large",
    BodyTooLarge = 413 "general_argument_invalid",
    QuotaExceeded = 413 "project_quota_exceeded",
    StorageRange = 416 "storage_invalid_range",
    ExpectationFailed = 417 "general_bad_request",
    Misdirected = 421 "general_route_not_found",
    EventUnfit = 422 "event_data_invalid",
    IdempotencyMismatch = 422 "general_idempotency_mismatch",
    TooManyCalls = 429 "general_rate_limit_exceeded",
    Internal = 500 "general_server_error",
    OutcomeUnknown = 500 "execution_outcome_unknown",
    NotOffered = 501 "general_not_implemented",
    FunctionFailed = 502 "function_failed",
    NoCore = 502 "front_no_core",
    CoreBroke = 502 "front_outcome_unknown",
    QueueTooLong = 503 "health_queue_size_exceeded",
    Unavailable = 503 "general_server_error",
    FunctionTimeout = 504 "function_timeout",
    CoreTimeout = 504 "front_outcome_unknown",
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(description = "How a [`Problem`] is written.")]
pub struct Error {
    /// For people; it names what was wrong.
    pub message: String,
    /// The HTTP status.
    pub code: u16,
    pub r#type: String,
    pub version: String,
    /// The execution that it is about, where one was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
}

//! The one mapping of errors to HTTP, for the API and for the web endpoint's own answers.
//!
//! A [`Problem`] is what a caller reads: `{message, code, type, version}`. An internal cause is logged once, here, and never
//! sent to the caller. The [`Kind`] decides status and type.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use larder_model::ids::ExecutionId;
use larder_platform::bodies::Fault;
use larder_platform::quotas::{Exceeded, Refused};
use larder_platform::rates::Limited;
use larder_platform::{identity, key_rotation, keys, objects, run_keys, uploads};
use larder_wire::FORMAT_VERSION;
use larder_wire::problem::Error;
pub use larder_wire::problem::Kind;

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
    /// The rate that was exceeded.
    pub rate: Option<Limited>,
}

impl Problem {
    pub fn new(kind: Kind, message: impl Into<String>) -> Problem {
        let retry = matches!(kind, Kind::IdempotencyInFlight | Kind::TooManyCalls | Kind::Unavailable);
        Problem {
            kind,
            message: message.into(),
            retry_after_s: retry.then_some(RETRY_AFTER_S),
            execution: None,
            rate: None,
        }
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).expect("the table of kinds has valid codes")
    }

    /// The problem in the wire format.
    pub fn body(&self) -> Error {
        Error {
            message: self.message.clone(),
            code: self.kind.status(),
            r#type: self.kind.word().into(),
            version: FORMAT_VERSION.into(),
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
}

impl From<larder_platform::Error> for Problem {
    fn from(err: larder_platform::Error) -> Problem {
        use larder_platform::Error;
        let message = err.to_string();
        let kind = match err {
            Error::Store(err) => return err.into(),
            Error::Secrets(err) => return err.into(),
            Error::Exceeded(why) => return why.into(),
            Error::Body(fault) => return fault.into(),
            Error::Unwritten(err) => return Problem::unavailable(err),
            Error::OutcomeUnknown(id) => return Problem::outcome_unknown(&id),
            Error::Invalid { .. } => Kind::ArgumentInvalid,
            Error::EventUnfit { .. } => Kind::EventUnfit,
            Error::TooMany { .. } | Error::NoPush | Error::NoOwnGrants => Kind::BadRequest,
            Error::TooManySignIns { retry_after_s } => {
                return Problem { retry_after_s: Some(retry_after_s), ..Problem::new(Kind::TooManyCalls, message) };
            }
            Error::Unhashed(_) | Error::Uncertified(_) => return Problem::internal(message),
            Error::FrontExists => Kind::FrontExists,
            Error::AdministratorExists => Kind::AdministratorExists,
            Error::InvalidCredentials => Kind::InvalidCredentials,
            Error::MoreFactors => Kind::MoreFactors,
            Error::NoLink => Kind::RouteNotFound,
            Error::Provider(_) => Kind::InvalidCredentials,
            Error::PartnerExists => Kind::PartnerExists,
            Error::FunctionExists => Kind::FunctionExists,
            Error::VariableExists => Kind::VariableExists,
            Error::FeedExists => Kind::FeedExists,
            Error::UpstreamExists | Error::OperatorsUpstream => Kind::UpstreamExists,
            Error::WebhookExists => Kind::WebhookExists,
            Error::RuleExists => Kind::RuleExists,
            Error::RuleNotProved(_) => Kind::RuleNotVerified,
            Error::RuleWithoutFunction => Kind::RuleResourceNotFound,
            Error::PartnerAtFunctionsDomain => Kind::ArgumentInvalid,
            Error::EnrolmentExists => Kind::EnrolmentExists,
            Error::EnrolmentNotOpen => Kind::EnrolmentNotOpen,
            Error::EnrolmentPaused => Kind::EnrolmentPaused,
            Error::BulkActionStatus(_) => Kind::BulkActionStatus,
            Error::FanoutStatus(_) => Kind::FanoutStatus,
            Error::SecretVariable => Kind::UnsetSecret,
            Error::PushRefused => Kind::SignatureInvalid,
            Error::BuildNotReady(_) | Error::BuildEnded(_) => Kind::BuildNotReady,
            Error::BuildCompleted => Kind::BuildCompleted,
            Error::ChunkDiffers { .. } => Kind::ContentRange,
            Error::Upload(err) => return err.into(),
            Error::GrantsChanged => Kind::GrantsChanged,
            Error::OwnUpload(_) => Kind::OwnUpload,
            Error::BodyOfQueued { .. } => Kind::PayloadTooLarge,
            Error::ExecutionInProgress => Kind::ExecutionInProgress,
        };
        Problem::new(kind, message)
    }
}

impl From<keys::Denied> for Problem {
    fn from(why: keys::Denied) -> Problem {
        let kind = match why {
            keys::Denied::OtherKind => Kind::Scope,
            keys::Denied::Unknown => Kind::Unauthorized,
            keys::Denied::Expired => Kind::KeyExpired,
        };
        Problem::new(kind, why.to_string())
    }
}

impl From<Limited> for Problem {
    fn from(why: Limited) -> Problem {
        let problem = Problem::new(Kind::TooManyCalls, why.to_string());
        Problem { retry_after_s: Some(why.retry_after_s), rate: Some(why), ..problem }
    }
}

impl From<identity::Denied> for Problem {
    fn from(why: identity::Denied) -> Problem {
        let kind = match why {
            identity::Denied::Token => Kind::TokenInvalid,
            identity::Denied::NoKeys => Kind::Unavailable,
        };
        Problem::new(kind, why.to_string())
    }
}

impl From<run_keys::Refused> for Problem {
    fn from(why: run_keys::Refused) -> Problem {
        match why {
            run_keys::Refused::Denied(why) => why.into(),
            run_keys::Refused::Store(err) => err.into(),
        }
    }
}

impl From<larder_store::Error> for Problem {
    fn from(err: larder_store::Error) -> Problem {
        match err {
            larder_store::Error::NotFound { what } => match what {
                "administrator" => Problem::not_found(Kind::AdministratorNotFound, "Administrator"),
                "bulk action" => Problem::not_found(Kind::BulkActionNotFound, "Bulk action"),
                "certificate" => Problem::not_found(Kind::CertificateNotFound, "Certificate"),
                "cursor" => Problem::new(Kind::CursorNotFound, "Invalid `queries`: the cursor's row does not exist"),
                "dead letter" => Problem::not_found(Kind::DeadLetterNotFound, "Dead letter"),
                "deployment" => Problem::not_found(Kind::DeploymentNotFound, "Deployment"),
                "enrolment" => Problem::not_found(Kind::EnrolmentNotFound, "Enrolment"),
                "execution" => Problem::not_found(Kind::ExecutionNotFound, "Execution"),
                "fan-out" => Problem::not_found(Kind::FanoutNotFound, "Fan-out"),
                "feed" => Problem::not_found(Kind::FeedNotFound, "Feed"),
                "front" => Problem::not_found(Kind::FrontNotFound, "Front"),
                "function" => Problem::not_found(Kind::FunctionNotFound, "Function"),
                "identity" => Problem::new(
                    Kind::IdentityNotFound,
                    "The project does not say how its end users prove who they are: set it with PUT /v1/identity",
                ),
                "key" => Problem::not_found(Kind::KeyNotFound, "Key"),
                "rule" => Problem::not_found(Kind::RuleNotFound, "Rule"),
                "session" => Problem::not_found(Kind::SessionNotFound, "Session"),
                "upstream" => Problem::not_found(Kind::UpstreamNotFound, "Upstream"),
                "variable" => Problem::not_found(Kind::VariableNotFound, "Variable"),
                "webhook" => Problem::not_found(Kind::WebhookNotFound, "Webhook"),
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

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        match fault {
            Fault::TooLarge { max } => {
                Problem::new(Kind::BodyTooLarge, format!("Invalid body: it has more than {max} bytes"))
            }
            Fault::TooSlow => Problem::new(Kind::BodyTooSlow, "Invalid body: it came too slowly"),
            Fault::BrokeOff => Problem::new(Kind::BadRequest, "Invalid body: it broke off"),
            Fault::Exceeded(why) => why.into(),
            Fault::Full => Problem::unavailable(fault),
        }
    }
}

impl From<uploads::Error> for Problem {
    fn from(err: uploads::Error) -> Problem {
        match err {
            uploads::Error::Exceeded(why) => why.into(),
            uploads::Error::Folder(_) => Problem::unavailable(err),
            uploads::Error::Objects(err) => err.into(),
        }
    }
}

impl From<key_rotation::Error> for Problem {
    fn from(err: key_rotation::Error) -> Problem {
        match &err {
            key_rotation::Error::NotFirst { .. } => Problem::new(Kind::MasterKeyNotFirst, err.to_string()),
            key_rotation::Error::NotEverywhere { users, .. } => {
                let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
                Problem::new(Kind::MasterKeyNotEverywhere, format!("{err}; not yet: {}", names.join(", ")))
            }
            // The operator is told what is wrong with the file.
            key_rotation::Error::Secrets(_) => Problem::new(Kind::MasterKeyUnknown, err.to_string()),
            key_rotation::Error::Store(_) => match err {
                key_rotation::Error::Store(err) => err.into(),
                other => Problem::internal(other),
            },
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
        let mut response = (self.status(), axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(rate) = self.rate {
            headers.insert("x-ratelimit-limit", HeaderValue::from(rate.burst));
            headers.insert("x-ratelimit-remaining", HeaderValue::from(0_u32));
            headers.insert("x-ratelimit-reset", HeaderValue::from(rate.reset_at_s));
        }
        // RFC 6750, section 3.
        let challenge = match self.kind {
            Kind::TokenInvalid => Some("Bearer error=\"invalid_token\""),
            Kind::TokenMissing => Some("Bearer"),
            _ => None,
        };
        headers.extend(challenge.map(|text| (header::WWW_AUTHENTICATE, HeaderValue::from_static(text))));
        if let Some(id) = self.execution.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            headers.insert("x-appwrite-execution-id", id);
        }
        response
    }
}

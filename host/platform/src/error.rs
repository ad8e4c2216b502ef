//! Why a service refuses a change, or could not make it.
//!
//! The text of a refusal is for the person who asked for the change. Errors of the store, of secrets and of the ledger are for
//! the log.

use larder_model::ids::ExecutionId;
use larder_store::Error as StoreError;

use crate::bodies::Fault;
use crate::ledger::Unwritten;
use crate::quotas::Exceeded;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secrets(#[from] larder_secrets::Error),
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    #[error(transparent)]
    Body(#[from] Fault),
    #[error(transparent)]
    Upload(#[from] crate::uploads::Error),
    /// A buffered record could not be written, so it cannot be read.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// It is not known whether the execution was queued.
    #[error("it is not known whether the execution {0} was queued")]
    OutcomeUnknown(ExecutionId),
    /// A value cannot be as it was given.
    #[error("Invalid `{name}`: {why}")]
    Invalid { name: String, why: String },
    /// An event's data are not what a function that takes it says they are.
    #[error("Invalid `{name}`: {why} (event {id:?} of type {kind}); nothing of the request was stored")]
    EventUnfit { name: String, why: String, id: String, kind: String },
    /// A fixed bound. Those that an operator sets are [`Exceeded`].
    #[error("A {of} has at most {most} {what}")]
    TooMany { of: &'static str, most: u64, what: &'static str },

    #[error("A partner with this ID exists already")]
    PartnerExists,
    #[error("An administrator has this address already")]
    AdministratorExists,
    /// One text for all reasons.
    #[error("Invalid credentials: check the e-mail address and the password")]
    InvalidCredentials,
    #[error("Signing in needs a second factor, which the API does not ask for: sign in at the console")]
    MoreFactors,
    /// One text for all reasons.
    #[error("This link is not valid: it was used, it has expired, or a newer one was made. Ask for another one")]
    NoLink,
    /// For the person there is a text of the console's.
    #[error("Signing in at the provider was refused: {0}")]
    Provider(#[from] crate::providers::Refused),
    #[error("Too many attempts to sign in: try again later")]
    TooManySignIns { retry_after_s: u32 },
    #[error("a password could not be hashed: {0}")]
    Unhashed(String),
    #[error("A function with this ID exists already")]
    FunctionExists,
    #[error("A variable of this function or project has this ID or key already")]
    VariableExists,
    #[error("A feed with this name exists already")]
    FeedExists,
    #[error("An upstream with this name exists already")]
    UpstreamExists,
    #[error("The operator has an upstream with this name, which your functions call by it: choose another name")]
    OperatorsUpstream,
    #[error(
        "A front with this name and another key exists already: remove it first (larder front remove), or take another name"
    )]
    FrontExists,
    #[error("a certificate could not be made: {0}")]
    Uncertified(String),
    #[error("A webhook with this ID exists already")]
    WebhookExists,
    #[error("The domain belongs to a rule already")]
    RuleExists,
    /// What DNS lacks.
    #[error("{0}")]
    RuleNotProved(String),
    #[error("The function that the rule is for could not be found")]
    RuleWithoutFunction,
    #[error("This ID is part of the address below which functions have domains (server.functions_domain)")]
    PartnerAtFunctionsDomain,
    #[error("This end user is already enrolled in this function with this topic")]
    EnrolmentExists,
    #[error("End users do not join or change this themselves: the project does")]
    EnrolmentNotOpen,
    #[error("The project has paused this enrolment: only it can resume or end it")]
    EnrolmentPaused,

    /// The fan-out is not in a status from which this can be done.
    #[error("{0}")]
    FanoutStatus(&'static str),
    /// The bulk action is not in a status from which this can be done.
    #[error("{0}")]
    BulkActionStatus(&'static str),
    #[error("A secret variable cannot be made plain again")]
    SecretVariable,
    #[error("This feed does not accept pushes: set `push`")]
    NoPush,
    /// One text for all reasons: the sender learns neither which one it is nor whether there is such a feed.
    #[error("The push is not signed, its timestamp is not current, or it is not signed with a secret of this feed")]
    PushRefused,
    #[error("The build of this deployment is {0}, not ready")]
    BuildNotReady(&'static str),
    #[error("The build of this deployment is {0}: there is nothing to approve")]
    BuildEnded(&'static str),
    #[error("The build has ended already")]
    BuildCompleted,
    #[error("Chunk {number} of {of} was received before, with other bytes: begin the upload again")]
    ChunkDiffers { number: u32, of: u32 },
    #[error("This deployment requests no grants of its own: it uses those of the function")]
    NoOwnGrants,
    #[error("The effective or the requested grants have changed since `digest` was read: read them again")]
    GrantsChanged,
    #[error("The project requires another key for this: {0}")]
    OwnUpload(&'static str),
    #[error(
        "Invalid `body`: it has {bytes} bytes; the database accepts {most} for a queued execution (max_allowed_packet)"
    )]
    BodyOfQueued { bytes: usize, most: usize },
    #[error("The execution is waiting for its first attempt or running: it can be deleted once it has ended or failed")]
    ExecutionInProgress,
}

impl Error {
    pub(crate) fn invalid(name: &str, why: impl ToString) -> Error {
        Error::Invalid { name: name.to_owned(), why: why.to_string() }
    }

    /// This refusal for a conflict. Any other error of the store stays what it is.
    pub(crate) fn on_conflict(self) -> impl FnOnce(StoreError) -> Error {
        move |err| match err {
            StoreError::Conflict { .. } => self,
            other => other.into(),
        }
    }
}

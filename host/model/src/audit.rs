//! Audit records: who changed what, when, from where, and what it was before and after.
//!
//! A record is for people who were not there: it holds names as they were then, and no secret ever. What machines do all day
//! (calls, events, state, savings) has no record here: the ledger is one itself.

use serde::{Deserialize, Serialize};

use crate::ids::PartnerId;
use crate::time::Millis;
use crate::words::words;

words! {
    /// What kind of actor did it.
    ActorKind {
        /// Somebody who had signed in.
        Person = "person",
        /// A key of the partner, of a run, or the operator's.
        Key = "key",
        /// Larder by itself, such as a build that ended.
        System = "system",
        /// Nobody whom Larder knew: an attempt to sign in, a link that was used.
        Nobody = "nobody",
    }
}

words! {
    /// The door through which it came.
    Door {
        Api = "api",
        Console = "console",
        /// The API, by a client that calls itself the command line.
        Cli = "cli",
        /// Nowhere: Larder did it by itself.
        Inside = "inside",
    }
}

words! {
    /// What was done. The part before the point is the kind of the subject.
    Action {
        FunctionCreate = "function.create",
        FunctionUpdate = "function.update",
        FunctionDelete = "function.delete",
        DeploymentCreate = "deployment.create",
        DeploymentCancel = "deployment.cancel",
        DeploymentActivate = "deployment.activate",
        DeploymentDelete = "deployment.delete",
        /// Somebody said yes to the grants that it asks for.
        DeploymentApprove = "deployment.approve",
        /// Somebody wanted to, and was not another than who asked.
        DeploymentApproveRefused = "deployment.approve_refused",
        GrantsSet = "grants.set",
        GrantsSetRefused = "grants.set_refused",
        VariableCreate = "variable.create",
        VariableUpdate = "variable.update",
        VariableDelete = "variable.delete",
        UpstreamCreate = "upstream.create",
        UpstreamUpdate = "upstream.update",
        UpstreamDelete = "upstream.delete",
        FeedCreate = "feed.create",
        FeedUpdate = "feed.update",
        FeedDelete = "feed.delete",
        FeedRotateSecret = "feed.rotate_secret",
        EnrolmentCreate = "enrolment.create",
        EnrolmentUpdate = "enrolment.update",
        EnrolmentDelete = "enrolment.delete",
        FanoutPause = "fanout.pause",
        FanoutResume = "fanout.resume",
        FanoutCancel = "fanout.cancel",
        FanoutRedrive = "fanout.redrive",
        DeadLetterRedrive = "dead_letter.redrive",
        DeadLetterRedriveAll = "dead_letter.redrive_all",
        DeadLetterDiscard = "dead_letter.discard",
        BulkActionCreate = "bulk_action.create",
        BulkActionPause = "bulk_action.pause",
        BulkActionResume = "bulk_action.resume",
        BulkActionCancel = "bulk_action.cancel",
        ExecutionDelete = "execution.delete",
        IdentitySet = "identity.set",
        IdentityDelete = "identity.delete",
        RuleCreate = "rule.create",
        RuleDelete = "rule.delete",
        WebhookCreate = "webhook.create",
        WebhookUpdate = "webhook.update",
        WebhookRotateSecret = "webhook.rotate_secret",
        WebhookDelete = "webhook.delete",
        PartnerCreate = "partner.create",
        PartnerUpdate = "partner.update",
        KeyCreate = "key.create",
        KeyDelete = "key.delete",
        AdministratorCreate = "administrator.create",
        AdministratorUpdate = "administrator.update",
        AdministratorDelete = "administrator.delete",
        /// A link was made with which somebody sets a password or enters.
        AdministratorInvite = "administrator.invite",
        AdministratorSetPassword = "administrator.set_password",
        AdministratorSetSecondFactor = "administrator.set_second_factor",
        SessionSignIn = "session.sign_in",
        SessionSignInFailed = "session.sign_in_failed",
        SessionEnd = "session.end",
        SessionEndOthers = "session.end_others",
        CertificateRenew = "certificate.renew",
        FrontEnrol = "front.enrol",
        FrontRemove = "front.remove",
        MasterKeyRotate = "master_key.rotate",
    }
}

impl Action {
    /// The kind of what it is done to: `function`, `dead_letter`.
    pub fn subject_kind(self) -> &'static str {
        self.word().split_once('.').map_or("", |(kind, _)| kind)
    }
}

/// Who did something, as of then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub kind: ActorKind,
    /// Or empty. Somebody who has signed in is `admin-…`, as in the history of grants.
    pub id: String,
    pub name: String,
}

impl Actor {
    pub fn system() -> Actor {
        Actor { kind: ActorKind::System, id: String::new(), name: "larder".into() }
    }

    pub fn nobody() -> Actor {
        Actor { kind: ActorKind::Nobody, id: String::new(), name: String::new() }
    }

    pub fn operator() -> Actor {
        Actor { kind: ActorKind::Key, id: "operator".into(), name: "the operator's key".into() }
    }
}

/// What happened. It is written in the transaction of the change.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    pub actor: Actor,
    pub action: Action,
    /// The id or name of what was changed.
    pub subject: String,
    /// JSON objects of the members that changed; empty for none.
    pub before: String,
    pub after: String,
    /// The client's address, or empty.
    pub address: String,
    pub door: Door,
    /// The same for all records of one request.
    pub request: String,
    pub created_at_ms: Millis,
}

/// An entry in somebody's records.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// Whose records; `None`: those of the installation.
    pub owner: Option<PartnerId>,
    pub id: String,
    /// Counts the owner's records from 1, without a gap.
    pub number: i64,
    /// In the records of the installation, the partner that it concerns.
    pub about: Option<PartnerId>,
    pub entry: AuditEntry,
}

//! What comes out of an execution. Nothing of it has been applied: that is the ledger's.

use bytes::Bytes;

use crate::limits::{Exceeded, Usage};
use crate::{Amount, Event, state, text};

pub struct Outcome {
    pub end: End,
    /// In the order in which the guest made them. Empty unless the end is one after which effects may be applied.
    pub effects: Vec<Effect>,
    /// What the guest's state reads depended on.
    pub reads: Vec<state::Read>,
    pub logs: Logs,
    pub usage: Usage,
}

impl Outcome {
    /// Approximate bytes that it occupies.
    pub fn bytes(&self) -> usize {
        let answer = match &self.end {
            End::Returned(answer) => answer.as_ref().map_or(0, Vec::len),
            End::Answered(response) => response.body().len(),
            _ => 0,
        };
        answer + self.effects.iter().map(Effect::bytes).sum::<usize>() + self.logs.stdout.len() + self.logs.stderr.len()
    }
}

/// How the guest ended.
pub enum End {
    /// The handler returned, perhaps with an answer.
    Returned(Option<Vec<u8>>),
    /// A whole HTTP response, of any status from 200 to 599.
    Answered(http::Response<Bytes>),
    /// The response left while the guest ran, and the guest ended well.
    Streamed {
        status: u16,
        body_bytes: u64,
    },
    /// The handler asks to be run again later.
    Retry(String),
    /// The handler refuses the event for good.
    Reject(String),
    Failed(Failure),
}

/// Bytes of a text that says why. A guest has a hand in most of them, and people are to read them.
const REASON_BYTES_MAX: usize = 16 << 10;

impl End {
    /// The same, with a reason that is not too long and reads as what it is.
    pub fn with_short_reason(self) -> End {
        match self {
            End::Retry(why) => End::Retry(short(why)),
            End::Reject(why) => End::Reject(short(why)),
            End::Failed(failure) => End::Failed(match failure {
                Failure::Limit(exceeded) => Failure::Limit(exceeded),
                Failure::Trap(why) => Failure::Trap(short(why)),
                Failure::BadResponse(why) => Failure::BadResponse(short(why)),
                Failure::NoExport(why) => Failure::NoExport(short(why)),
                Failure::BadRequest(why) => Failure::BadRequest(short(why)),
                Failure::Host(why) => Failure::Host(short(why)),
            }),
            End::Returned(_) | End::Answered(_) | End::Streamed { .. } => self,
        }
    }
}

fn short(mut why: String) -> String {
    if why.len() > REASON_BYTES_MAX {
        why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
        why.shrink_to_fit();
        why.push('…');
    }
    text::cleaned(&why).into_owned()
}

/// Why there is no answer. All but `Host` are the fault of the guest or of who calls it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Limit(Exceeded),
    /// A trap, an exit, or an exception that nobody caught; the text is for the function's owner.
    #[error("trapped: {0}")]
    Trap(String),
    /// Returned without a response, with one that HTTP does not allow, or in the middle of its body.
    #[error("no valid response: {0}")]
    BadResponse(String),
    /// The program has no export for this kind of call.
    #[error("{0}")]
    NoExport(String),
    /// What it is called with cannot be handed to a guest, however often it is tried.
    #[error("the function cannot be given this: {0}")]
    BadRequest(String),
    /// The host could not do its part (a backend failed, no instance to be had): try again.
    #[error("the host failed: {0}")]
    Host(String),
}

/// Something that a function wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    SetState {
        key: String,
        value: Bytes,
    },
    DeleteState {
        key: String,
    },
    IncrementState {
        key: String,
        by: i64,
    },
    Transaction {
        id: String,
        end_user: Option<String>,
        amount: Amount,
        memo: Option<String>,
    },
    /// `source` and `time` are empty: the host fills them in.
    Emit(Event),
}

impl Effect {
    /// Approximate bytes that it occupies.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Effect::SetState { key, value } => key.len() + value.len(),
            Effect::DeleteState { key } | Effect::IncrementState { key, .. } => key.len(),
            Effect::Transaction { id, end_user, memo, .. } => id.len() + text(end_user) + text(memo),
            Effect::Emit(event) => event.data.len() + event.kind.len() + text(&event.subject),
        }
    }
}

/// stdout and stderr, as text with a bound. Invalid UTF-8 is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    pub stdout: String,
    pub stderr: String,
    /// What did not fit; a marker line at the end of `stdout` or `stderr` says so too.
    pub dropped_bytes: u64,
}

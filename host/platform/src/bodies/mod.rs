//! Budgets for the bodies of requests and answers that the process holds in memory.
//!
//! * [`Account`]: the bytes that one request holds, charged to the budgets of its tenant and of the process. Authentication
//!   sets the tenant; until then the request counts as one without a key.
//! * [`Account::hold`] charges an answer until the client has read it.
//! * [`whole`] reads a body within a bound. The server's listener adds a lowest rate and a deadline.
//!
//! The rule: **a body is not read before every check that does not need it has passed.**

mod account;
mod answers;

use std::error::Error;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

pub use self::account::{Account, Bodies, TenantBytes};
use crate::quotas::Exceeded;

/// The body of an answer on its way to the client.
pub type AnswerBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Why a body could not be read to its end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Fault {
    #[error("the body has more than {max} bytes")]
    TooLarge { max: usize },
    #[error("the body came too slowly")]
    TooSlow,
    #[error("the body broke off")]
    BrokeOff,
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// The process has reached its limit of bytes held.
    #[error("this process holds as many bytes of requests as it may (server.body_bytes_held_max)")]
    Full,
}

impl Fault {
    /// The fault that caused an error of a library that read the body.
    pub fn behind(err: &(dyn Error + 'static)) -> Fault {
        let mut cause = Some(err);
        while let Some(err) = cause {
            if let Some(fault) = err.downcast_ref() {
                return *fault;
            }
            cause = err.source();
        }
        Fault::BrokeOff
    }
}

/// Refuses a body by its declared length, before anything is read.
pub fn check_length(body: &impl Body, max: usize) -> Result<(), Fault> {
    if body.size_hint().lower() > max as u64 { Err(Fault::TooLarge { max }) } else { Ok(()) }
}

/// Reads the whole body, but no further than its bound.
pub async fn whole<B>(mut body: B, max: usize) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    check_length(&body, max)?;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|err| Fault::behind(&*err.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > max {
            return Err(Fault::TooLarge { max });
        }
        // Most bodies arrive in one piece, which is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

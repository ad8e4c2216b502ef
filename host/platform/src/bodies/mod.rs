//! Bodies: how those of requests are read, how long that may take, and how much of requests and answers the process holds.
//!
//! * [`ClientBody`]: the body of a request at any listener. It has a lowest rate and a deadline ([`Pace`]), and each byte
//!   that it hands out is charged to the request's [`Account`].
//! * [`Account`]: what one request holds, out of the budget of its tenant and of the process. Whoever authenticates the
//!   caller says whose it is; until then it counts as a caller without a key.
//! * [`Account::hold`]: the answer, until the client has taken it.
//! * [`Rest`]: what a refused client still sends. It is read and dropped, within bounds, so that the client sees the answer.
//!
//! The rule: **no byte of a body is read before everything that can refuse the request without it has been checked.**

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

/// Why a body was not read to its end.
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
    /// The process holds as many bytes as it may.
    #[error("this process holds as many bytes of requests as it may (server.body_bytes_held_max)")]
    Full,
}

impl Fault {
    /// The fault behind an error of a library that read the body.
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

/// Refuses by the length that the client declares, before anything is read.
pub fn check_length(body: &impl Body, max: usize) -> Result<(), Fault> {
    if body.size_hint().lower() > max as u64 { Err(Fault::TooLarge { max }) } else { Ok(()) }
}

/// The whole body, read no further than its bound.
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
        // Most bodies come in one piece, which is not copied.
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

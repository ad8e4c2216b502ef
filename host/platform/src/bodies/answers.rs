//! Counts answers that clients have not read yet: they are in memory until then.
//!
//! A function that has run cannot be refused any more. So an answer is always held. The next call is refused while the tenant
//! or the process holds too much ([`crate::admission`]).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use larder_model::share;

use crate::bodies::account::Budget;
use crate::bodies::{Account, AnswerBody, Bodies, Fault, TenantBytes};
use crate::quotas::{Cap, Exceeded};

/// Smaller answers fit into the system's buffers of a connection and are not counted.
const COUNTED_FROM: u64 = 64 << 10;

impl Bodies {
    /// May a call of the tenant begin, given the answers that it holds?
    pub fn check_answers(&self, tenant: &TenantBytes) -> Result<(), Fault> {
        let Budget { answers, answers_max, tenant_answers_max, .. } = &*self.0;
        let own = tenant.answers();
        if own >= *tenant_answers_max {
            return Err(Exceeded::new(Cap::AnswerBytes, *tenant_answers_max, own).into());
        }
        if share::fits(*answers_max, answers.load(Relaxed), own, 0) { Ok(()) } else { Err(Fault::Full) }
    }
}

impl Account {
    /// Counts an answer of known size until its client has read it. A stream is not held: the function waits for the client.
    pub fn hold(&self, response: Response<AnswerBody>) -> Response<AnswerBody> {
        match response.body().size_hint().exact() {
            Some(bytes) if bytes >= COUNTED_FROM => {
                let charge = Arc::new(AnswerCharge::new(self, bytes));
                response.map(|body| CountedBody { body, charge }.boxed_unsync())
            }
            _ => response,
        }
    }
}

/// The bytes of an answer, until its last part is written to the client or the client disconnects.
struct AnswerCharge {
    budget: Bodies,
    tenant: Arc<TenantBytes>,
    bytes: u64,
}

impl AnswerCharge {
    fn new(account: &Account, bytes: u64) -> AnswerCharge {
        let (budget, tenant) = account.payers();
        tenant.answers.fetch_add(bytes, Relaxed);
        budget.0.answers.fetch_add(bytes, Relaxed);
        AnswerCharge { budget, tenant, bytes }
    }
}

impl Drop for AnswerCharge {
    fn drop(&mut self) {
        self.tenant.answers.fetch_sub(self.bytes, Relaxed);
        self.budget.0.answers.fetch_sub(self.bytes, Relaxed);
    }
}

/// A body with its charge.
struct CountedBody {
    body: AnswerBody,
    charge: Arc<AnswerCharge>,
}

/// A part of a body with its charge: the server's buffers hold parts after the body itself was dropped.
struct Part(Bytes, #[expect(dead_code, reason = "dropping it releases the bytes")] Arc<AnswerCharge>);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let charge = self.charge.clone();
        let part = |data| Bytes::from_owner(Part(data, charge));
        Pin::new(&mut self.body).poll_frame(cx).map_ok(|frame| frame.map_data(part))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

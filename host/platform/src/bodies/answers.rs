//! Answers that their clients have not taken yet: they are in memory until then, so they count.
//!
//! What has run cannot be refused any more. So an answer is always held, and it is the next call that is refused while
//! the tenant, or the process, holds too much ([`crate::admission`]).

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

/// Smaller answers fit into what the system buffers for a connection.
const COUNTED_FROM: u64 = 64 << 10;

impl Bodies {
    /// May a call of the tenant begin, by the answers that it holds already?
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
    /// Counts an answer of known size until its client has taken it. A stream is not held: it waits for its client.
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

/// So many bytes of an answer, until the last part of it was written to the client or the client is gone.
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

struct CountedBody {
    body: AnswerBody,
    charge: Arc<AnswerCharge>,
}

/// The server's buffers hold parts of a body after the body itself was dropped.
struct Part(Bytes, #[expect(dead_code, reason = "dropping it gives the bytes back")] Arc<AnswerCharge>);

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

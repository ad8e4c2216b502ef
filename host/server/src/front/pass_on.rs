//! One request through a front.
//!
//! The rule: **no request is carried out twice**. It is sent again only if no byte of it was written, or if a core said that it
//! has not begun it. Whatever else breaks is answered 502 or 504, and its outcome is not known.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use larder_model::fields;
use larder_model::net::hop_by_hop;
use larder_platform::bodies::AnswerBody;
use rustls::AlertDescription;

use super::Front;
use super::cores::{Core, Line, refusal};
use super::request_body::{RequestBody, Source};
use super::told::{self, Told};
use crate::client_body::ClientBody;
use crate::problem::{Kind, Problem};
use crate::web;

/// What came of sending a request to a core.
enum Sent {
    Answered(Response<Incoming>),
    /// Nobody has looked at it: the core is about to end, or has refused this front.
    NotBegun(Option<AlertDescription>),
    /// No byte of it was written.
    Back,
    Failed(Problem),
}

pub async fn pass_on(front: &Front, told: &Told, request: Request<ClientBody>) -> Response<AnswerBody> {
    let (mut head, body) = request.into_parts();
    // It is held by nobody here.
    body.account().streams();
    let takes_trailers = fields::tokens(&head.headers, header::TE).iter().any(|coding| coding == "trailers");
    hop_by_hop::strip(&mut head.headers);
    head.headers.remove(header::EXPECT);
    if takes_trailers {
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    told::write(&mut head.headers, told);
    let path = head.uri.path_and_query().cloned();
    head.uri = path.map_or_else(Uri::default, Uri::from);
    head.version = Version::HTTP_11;
    let source = Source::new(body);
    let mut last = Problem::new(Kind::NoCore, "no core can be reached: nothing was done");
    for core in front.cores.in_turn() {
        loop {
            let (mut line, is_new) = match front.cores.idle(core) {
                Some(line) => (line, false),
                None => match front.cores.open(front, core).await {
                    Ok(line) => (line, true),
                    Err(_) => break,
                },
            };
            let request = Request::from_parts(head.clone(), source.attempt());
            match send(&mut line.sender, request, &source, front.settings.front.answer_timeout).await {
                Sent::Answered(response) => {
                    count(core, "answered");
                    return answer(front, core, line, response);
                }
                // The core has closed what was idle; that says nothing of it.
                Sent::Back if !is_new => continue,
                Sent::Back => break,
                Sent::NotBegun(why) => {
                    last = match why {
                        Some(alert) => {
                            core.refused(alert);
                            Problem::new(Kind::NoCore, "no core takes requests of this front: nothing was done")
                        }
                        None => {
                            front.cores.leaves(core);
                            Problem::new(Kind::Unavailable, "no core takes requests now: nothing was done")
                        }
                    };
                    count(core, "not begun");
                    if !source.is_whole() {
                        let message = "a core takes no requests now, and the body is too large to send it again";
                        return web::refuse(Problem::new(Kind::Unavailable, message));
                    }
                    break;
                }
                Sent::Failed(problem) => {
                    count(core, "failed");
                    return web::refuse(problem);
                }
            }
        }
    }
    metrics::counter!("larder_front_requests_total", "core" => "none", "result" => "failed").increment(1);
    web::refuse(last)
}

fn count(core: &Core, result: &'static str) {
    metrics::counter!("larder_front_requests_total", "core" => core.address.clone(), "result" => result).increment(1);
}

async fn send(
    sender: &mut SendRequest<RequestBody>,
    request: Request<RequestBody>,
    source: &Source,
    timeout: Duration,
) -> Sent {
    let late = async {
        loop {
            let due = source.moved() + timeout;
            tokio::time::sleep_until(due).await;
            if source.moved() + timeout <= due {
                return;
            }
        }
    };
    let answered = tokio::select! {
        answered = sender.try_send_request(request) => answered,
        () = late => {
            let message = "the core did not answer in time (front.answer_timeout); it is not known whether the request was carried out";
            return Sent::Failed(Problem::new(Kind::CoreTimeout, message));
        }
    };
    match answered {
        Ok(response) if told::is_not_begun(response.headers()) => Sent::NotBegun(None),
        Ok(response) => Sent::Answered(response),
        Err(err) if err.message().is_some() => Sent::Back,
        Err(err) => Sent::Failed(match (source.fault(), refusal(err.error())) {
            (Some(fault), _) => fault.into(),
            (None, Some(alert)) => return Sent::NotBegun(Some(alert)),
            (None, None) => {
                tracing::warn!(error = %err.error(), "a core broke off before it answered");
                let message =
                    "the core broke off before it answered; it is not known whether the request was carried out";
                Problem::new(Kind::CoreBroke, message)
            }
        }),
    }
}

fn answer(front: &Front, core: &Arc<Core>, line: Line, response: Response<Incoming>) -> Response<AnswerBody> {
    let (mut head, body) = response.into_parts();
    let trailers = head.headers.get(header::TRAILER).cloned();
    hop_by_hop::strip(&mut head.headers);
    head.headers.extend(trailers.map(|trailers| (header::TRAILER, trailers)));
    head.version = Version::HTTP_11;
    let kept = Some(Kept { front: front.clone(), core: core.clone(), line });
    Response::from_parts(head, Passing { body, kept }.map_err(Into::into).boxed_unsync())
}

/// An answer on its way, and the connection by which it comes.
struct Passing {
    body: Incoming,
    kept: Option<Kept>,
}

struct Kept {
    front: Front,
    core: Arc<Core>,
    line: Line,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.keep(),
            // What broke is no good for another request.
            Poll::Ready(Some(Err(_))) => self.kept = None,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Passing {
    fn keep(&mut self) {
        if let Some(Kept { front, core, line }) = self.kept.take() {
            front.cores.keep(&front, &core, line);
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // Of an answer that was not read to its end the connection is closed, which tells the core.
        if self.body.is_end_stream() {
            self.keep();
        }
    }
}

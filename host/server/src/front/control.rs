//! What a front asks a core for itself.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::SendRequest;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Front;
use super::cores::IDLE_MAX;

/// Bytes of an answer: a chain and a key.
const ANSWER_MAX: usize = 256 * 1024;

/// What a core says of a name.
#[derive(Default, Serialize, Deserialize)]
pub struct NameAnswer {
    /// The front serves it.
    pub is_ours: bool,
    /// Its certificate is the one that the front knows.
    pub is_unchanged: bool,
    pub certificate: Option<CertificateOfName>,
}

/// In PEM.
#[derive(Serialize, Deserialize)]
pub struct CertificateOfName {
    pub chain: String,
    pub key: String,
}

/// A connection for questions.
pub struct Asking {
    sender: SendRequest<Empty<Bytes>>,
    used: Instant,
}

/// Asks any core; `None`: it has no answer (404). An error says why none could be asked.
pub async fn ask(front: &Front, method: Method, path: &str) -> Result<Option<Bytes>, String> {
    let kept = front.cores.asking.lock().await.take().filter(|kept| kept.used.elapsed() < IDLE_MAX);
    if let Some(kept) = kept
        && let Ok(answer) = ask_by(front, kept, method.clone(), path).await
    {
        return Ok(answer);
    }
    // Whatever is asked may be asked again.
    let mut last = String::new();
    for core in front.cores.in_turn() {
        let asked = async {
            let sender = front.cores.connect(front, core, front.cores.identity.load().control.clone()).await?;
            ask_by(front, Asking { sender, used: Instant::now() }, method.clone(), path).await
        };
        match asked.await {
            Ok(answer) => return Ok(answer),
            Err(why) => last = format!("{}: {why}", core.address),
        }
    }
    Err(last)
}

async fn ask_by(front: &Front, mut by: Asking, method: Method, path: &str) -> Result<Option<Bytes>, String> {
    let request = Request::builder().method(method).uri(path).header("host", "core");
    let request = request.body(Empty::new()).map_err(|err| err.to_string())?;
    let answered = async {
        by.sender.ready().await.map_err(|err| err.to_string())?;
        let answer = by.sender.send_request(request).await.map_err(|err| err.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|err| err.to_string())?;
        Ok((status, body.to_bytes()))
    };
    let answered = tokio::time::timeout(front.settings.front.connect_timeout * 4, answered).await;
    let (status, body) = answered.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))?;
    by.used = Instant::now();
    if !front.life.is_draining() {
        *front.cores.asking.lock().await = Some(by);
    }
    match status {
        StatusCode::OK => Ok(Some(body)),
        StatusCode::NOT_FOUND => Ok(None),
        other => Err(format!("it answered {other}")),
    }
}

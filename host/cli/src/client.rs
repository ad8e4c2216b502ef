//! Larder's wire, from the outside: one request, one answer, and what went wrong in words.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::time::Duration;

use larder_wire::pages::{Page, Row};
use larder_wire::problem::Error;
use larder_wire::queries::Query;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Url, multipart};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::connection::Connection;
use crate::failure::{Failure, Refusal, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the longest synchronous execution and than an upload over a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
const PAGE: usize = 100;
/// A list that is longer than this is narrowed by options, not walked.
const PAGES_MAX: usize = 100;

/// An object of the wire, and how it was sent, which `--json` prints.
#[derive(Debug)]
pub struct Answer<T> {
    object: T,
    sent: Value,
}

impl<T> Deref for Answer<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T> Answer<T> {
    pub fn sent(&self) -> &Value {
        &self.sent
    }

    pub fn into_object(self) -> T {
        self.object
    }
}

impl<T: DeserializeOwned> Answer<T> {
    pub fn read(sent: Value) -> serde_json::Result<Answer<T>> {
        Ok(Answer { object: T::deserialize(&sent)?, sent })
    }
}

impl<P: Page> Answer<P> {
    pub fn into_rows(mut self) -> Vec<Answer<P::Row>> {
        let sent = match self.sent[P::ROWS].take() {
            Value::Array(rows) => rows,
            _ => vec![],
        };
        let rows = self.object.into_rows().into_iter().zip(sent);
        rows.map(|(object, sent)| Answer { object, sent }).collect()
    }
}

pub struct Client {
    http: reqwest::Client,
    base: Url,
    pub partner: String,
}

impl Client {
    pub fn of_partner(connection: &Connection) -> Result<Client> {
        let partner = needed(&connection.partner, "no partner: give --partner or LARDER_PARTNER")?;
        let key = needed(&connection.key, "no key: give --key or LARDER_KEY")?;
        Client::new(&connection.endpoint, Some(partner), key)
    }

    /// The operator belongs to no partner, so this sends none.
    pub fn of_operator(connection: &Connection) -> Result<Client> {
        let key = needed(&connection.operator_key, "no operator key: give --operator-key or LARDER_OPERATOR_KEY")?;
        Client::new(&connection.endpoint, None, key)
    }

    fn new(endpoint: &str, partner: Option<&str>, key: &str) -> Result<Client> {
        let wrong = |why: String| Failure::usage(format!("endpoint {endpoint}: {why}"));
        let base = Url::parse(endpoint.trim_end_matches('/')).map_err(|err| wrong(err.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("must begin with http:// or https://".into()));
        }
        if !base.path().ends_with("/v1") {
            return Err(wrong("must end in /v1".into()));
        }
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("application/json"));
        headers.insert("x-sdk-language", HeaderValue::from_static("cli"));
        headers.insert("x-appwrite-key", header("the key", key, true)?);
        if let Some(partner) = partner {
            headers.insert("x-appwrite-project", header("the partner", partner, false)?);
        }
        // Another part of the process may have installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("larder-cli/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // A key goes where it was told to go and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if is_local(&base) {
            http = http.no_proxy();
        }
        // Names under .localhost mean this machine, but few system resolvers know.
        if let Some(host) = base.host_str().filter(|host| host.ends_with(".localhost")) {
            let port = base.port_or_known_default().unwrap_or(80);
            http = http.resolve(host, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        }
        let http = http.build().map_err(|err| Failure::failed(format!("cannot set up HTTP: {}", chain(&err))))?;
        Ok(Client { http, base, partner: partner.unwrap_or_default().to_owned() })
    }

    /// The address of a path below the endpoint, each segment escaped.
    pub fn url(&self, path: &[&str]) -> Result<Url> {
        if let Some(bad) = path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(Failure::usage(format!("`{bad}` is not an id")));
        }
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an http address has a path").extend(path);
        Ok(url)
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Answer<T>> {
        self.get_url(self.url(path)?).await
    }

    pub async fn get_url<T: DeserializeOwned>(&self, url: Url) -> Result<Answer<T>> {
        self.send(self.http.get(url)).await
    }

    /// The text of an answer, as it is.
    pub async fn text(&self, url: Url) -> Result<String> {
        let (status, body) = self.sent(self.http.get(url)).await?;
        String::from_utf8(body.into())
            .map_err(|err| Failure::failed(format!("{} answered {status}, but not text: {err}", self.base)))
    }

    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Answer<T>> {
        self.send(self.http.request(method, self.url(path)?).json(body)).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<Answer<T>> {
        self.call(Method::POST, path, body).await
    }

    /// A body in a media type of its own.
    pub async fn post_as<T: DeserializeOwned>(
        &self,
        path: &[&str],
        media_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Answer<T>> {
        self.send(self.http.post(self.url(path)?).header("content-type", media_type).body(body)).await
    }

    pub async fn upload<T: DeserializeOwned>(&self, path: &[&str], form: multipart::Form) -> Result<Answer<T>> {
        self.send(self.http.post(self.url(path)?).multipart(form)).await
    }

    pub async fn delete(&self, path: &[&str]) -> Result<()> {
        self.send(self.http.delete(self.url(path)?)).await.map(|_: Answer<IgnoredAny>| ())
    }

    /// One page of a list.
    pub async fn list<P: Page>(&self, path: &[&str], queries: &[Query]) -> Result<Answer<P>> {
        let mut url = self.url(path)?;
        let text = |query| serde_json::to_string(query).expect("plain values serialise");
        url.query_pairs_mut().extend_pairs(queries.iter().map(|query| ("queries[]", text(query))));
        self.get_url(url).await
    }

    /// The id that begins so, among the newest rows of a list: ids may be typed as far as they are unique. What none begins
    /// with is taken as it is, for Larder to say what it thinks of it.
    pub async fn whole_id<P: Page>(&self, path: &[&str], given: &str) -> Result<String> {
        match self.list::<P>(path, &[Query::newest_first(), Query::limit(PAGE)]).await {
            Ok(list) => whole_id(&list.into_object().into_rows(), given),
            // Whoever may not look types all of it.
            Err(Failure::Refused(Refusal { status: 401 | 403 | 404, .. })) => Ok(given.to_owned()),
            Err(failure) => Err(failure),
        }
    }

    /// All rows of a list, page by page.
    pub async fn list_all<P: Page>(&self, path: &[&str], queries: &[Query]) -> Result<Vec<Answer<P::Row>>> {
        let mut rows: Vec<Answer<P::Row>> = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut page = queries.to_vec();
            page.push(Query::limit(PAGE));
            page.extend(rows.last().map(|last| Query::after(last.id())));
            let found = self.list::<P>(path, &page).await?.into_rows();
            let done = found.len() < PAGE;
            rows.extend(found);
            if done {
                return Ok(rows);
            }
        }
        Err(Failure::failed(format!("more than {} {}", PAGE * PAGES_MAX, P::ROWS)))
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>> {
        let (status, body) = self.sent(request).await?;
        let sent = match serde_json::from_slice::<Value>(&body) {
            Ok(sent) => sent,
            Err(_) if body.is_empty() => Value::Null,
            Err(err) => {
                return Err(Failure::failed(format!("{} answered {status}, but not JSON: {err}", self.base)));
            }
        };
        let other = |err| format!("{} answered {status}, but not what this version of larder reads: {err}", self.base);
        Answer::read(sent).map_err(|err| Failure::failed(other(err)))
    }

    /// The body of an answer that is no refusal.
    async fn sent(&self, request: RequestBuilder) -> Result<(reqwest::StatusCode, bytes::Bytes)> {
        let lost = |err: reqwest::Error| Failure::Unreachable(format!("cannot reach {}: {}", self.base, chain(&err)));
        let answer = request.send().await.map_err(lost)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(lost)?;
        if status.is_success() {
            return Ok((status, body));
        }
        Err(Failure::Refused(match serde_json::from_slice::<Error>(&body) {
            Ok(error) => Refusal { status: status.as_u16(), kind: error.r#type, message: error.message },
            Err(_) => Refusal {
                status: status.as_u16(),
                kind: String::new(),
                message: format!("{} answered without Larder's error object", self.base),
            },
        }))
    }
}

/// The id of these rows' that is this text, else the one that begins so.
pub fn whole_id<R: Row>(rows: &[R], given: &str) -> Result<String> {
    let ids = rows.iter().map(Row::id);
    if ids.clone().any(|id| id == given) {
        return Ok(given.to_owned());
    }
    let found: Vec<&str> = ids.filter(|id| id.starts_with(given)).collect();
    match found[..] {
        [] => Ok(given.to_owned()),
        [one] => Ok(one.to_owned()),
        _ => Err(Failure::usage(format!(
            "{} ids begin with {given}: {}; type more of it",
            found.len(),
            found.join(", ")
        ))),
    }
}

/// Whether the address is this machine itself.
pub fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn needed<'a>(value: &'a Option<String>, missing: &str) -> Result<&'a str> {
    value.as_deref().ok_or_else(|| Failure::usage(missing))
}

fn header(what: &str, value: &str, secret: bool) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(value)
        .map_err(|_| Failure::usage(format!("{what} has characters that no header may carry")))?;
    header.set_sensitive(secret);
    Ok(header)
}

/// The error and its causes; an HTTP client's outermost text alone never says what happened.
fn chain(err: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(err.source(), |cause| cause.source());
    causes.last().map_or_else(|| err.to_string(), |cause| cause.to_string())
}

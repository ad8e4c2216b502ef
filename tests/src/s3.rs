//! A small S3 server in the test's own process, over a folder: a file is an object. It checks every signature (AWS
//! Signature Version 4 in the `Authorization` header) and knows what an object store is asked for: put, copy, get, head,
//! delete, list, and uploads in parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use ring::{digest, hmac};
use tokio::net::TcpListener;

pub const ID: &str = "AKIDTESTS";
pub const SECRET: &str = "an-s3-secret-of-the-tests";
const BODY_MAX: usize = 64 << 20;
/// Rows of a page of a list; few, so that pages are asked for.
const PAGE: usize = 3;

/// Serves until the test ends; each folder in `folder` is a bucket. Gives the endpoint.
pub async fn serve(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(answer).with_state(folder.to_path_buf());
    tokio::spawn(async move { axum::serve(listener, router).await });
    endpoint
}

/// An error as S3 says it.
struct Refusal(StatusCode, &'static str);

impl From<std::io::Error> for Refusal {
    fn from(err: std::io::Error) -> Refusal {
        match err.kind() {
            std::io::ErrorKind::NotFound => Refusal(StatusCode::NOT_FOUND, "NoSuchKey"),
            _ => Refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("<Error><Code>{}</Code><Message>{0:?}</Message></Error>", self.1)).into_response()
    }
}

type Query = BTreeMap<String, String>;

async fn answer(State(folder): State<PathBuf>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return Refusal(StatusCode::BAD_REQUEST, "EntityTooLarge").into_response();
    };
    let query: Query =
        reqwest::Url::parse(&format!("http://s3{}", parts.uri)).expect("a URL").query_pairs().into_owned().collect();
    let done = match signed(&parts.method, parts.uri.path(), &query, &parts.headers, &body) {
        true => serve_one(&folder, &parts.method, parts.uri.path(), &query, &parts.headers, &body),
        false => Err(Refusal(StatusCode::FORBIDDEN, "SignatureDoesNotMatch")),
    };
    done.unwrap_or_else(IntoResponse::into_response)
}

fn serve_one(
    folder: &Path,
    method: &Method,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Refusal> {
    let bad = || Refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let bucket = folder.join(bucket);
    if !bucket.is_dir() {
        return Err(Refusal(StatusCode::NOT_FOUND, "NoSuchBucket"));
    }
    if key.split('/').any(|part| part == "..") {
        return Err(bad());
    }
    let file = bucket.join(key);
    let (upload, part) = (query.get("uploadId"), query.get("partNumber"));
    // Parts lie beside the buckets until the upload is completed.
    let parts = |id: &str| folder.join(".parts").join(id.replace('/', "_"));
    match (method.as_str(), upload, key.is_empty()) {
        ("GET", _, true) => list(&bucket, query),
        ("GET" | "HEAD", None, false) => {
            let bytes = std::fs::read(&file)?;
            let answer = Response::builder()
                .header(header::LAST_MODIFIED, modified(&file)?.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
                .header(header::ETAG, format!("\"{}\"", hash(&bytes)))
                .header(header::CONTENT_LENGTH, bytes.len());
            Ok(answer.body(if method == Method::GET { Body::from(bytes) } else { Body::empty() }).expect("an answer"))
        }
        ("PUT", None, false) => {
            let bytes = match headers.get("x-amz-copy-source").and_then(|from| from.to_str().ok()) {
                Some(from) => std::fs::read(folder.join(from.trim_start_matches('/')))?.into(),
                None => body.clone(),
            };
            write(&file, &bytes)?;
            let copied = format!("<CopyObjectResult><ETag>\"{}\"</ETag></CopyObjectResult>", hash(&bytes));
            Ok(([(header::ETAG, format!("\"{}\"", hash(&bytes)))], copied).into_response())
        }
        ("DELETE", None, false) => {
            match std::fs::remove_file(&file) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err.into()),
                _ => {}
            }
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        ("POST", None, false) if query.contains_key("uploads") => {
            let id = format!("{:x}", crate::Random::new().below(u64::MAX));
            std::fs::create_dir_all(parts(&id))?;
            Ok(format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
                .into_response())
        }
        ("PUT", Some(id), false) => {
            let number: u32 = part.and_then(|number| number.parse().ok()).ok_or_else(bad)?;
            std::fs::write(parts(id).join(format!("{number:05}")), body)?;
            Ok([(header::ETAG, format!("\"{}\"", hash(body)))].into_response())
        }
        ("POST", Some(id), false) => {
            let whole: Vec<u8> = sorted(&parts(id))?.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?.concat();
            write(&file, &whole)?;
            std::fs::remove_dir_all(parts(id))?;
            let etag = hash(&whole);
            Ok(format!("<CompleteMultipartUploadResult><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>")
                .into_response())
        }
        ("DELETE", Some(id), false) => {
            std::fs::remove_dir_all(parts(id))?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(bad()),
    }
}

/// Version 2 of a list: objects under a prefix in the order of their keys, by pages.
fn list(bucket: &Path, query: &Query) -> Result<Response, Refusal> {
    let prefix = query.get("prefix").map_or("", String::as_str);
    let after = query.get("continuation-token").map_or("", String::as_str);
    let mut keys = Vec::new();
    let mut folders = vec![bucket.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in sorted(&folder)? {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(key) = path.strip_prefix(bucket) {
                keys.push(key.to_string_lossy().into_owned());
            }
        }
    }
    keys.sort();
    keys.retain(|key| key.starts_with(prefix) && key.as_str() > after);
    let mut rows = String::new();
    for key in keys.iter().take(PAGE) {
        let file = bucket.join(key);
        let at = modified(&file)?.to_rfc3339_opts(SecondsFormat::Millis, true);
        let (size, etag) = (std::fs::metadata(&file)?.len(), hash(&std::fs::read(&file)?));
        rows += &format!(
            "<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>\"{etag}\"</ETag><Size>{size}</Size></Contents>"
        );
    }
    if keys.len() > PAGE {
        rows += &format!("<NextContinuationToken>{}</NextContinuationToken>", keys[PAGE - 1]);
    }
    let more = keys.len() > PAGE;
    Ok(format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{rows}</ListBucketResult>").into_response())
}

fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().expect("a bucket"))?;
    std::fs::write(file, bytes)
}

fn sorted(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn modified(file: &Path) -> std::io::Result<DateTime<Utc>> {
    Ok(std::fs::metadata(file)?.modified()?.into())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the request was signed with our key: its method, path, query, the headers that it names, and its body.
fn signed(method: &Method, path: &str, query: &Query, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(authorization) = text("authorization").strip_prefix("AWS4-HMAC-SHA256 ") else { return false };
    let fields: BTreeMap<&str, &str> =
        authorization.split(',').filter_map(|field| field.trim().split_once('=')).collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    let Some((id, scope)) = field("Credential").split_once('/') else { return false };
    let [date, region, service, end] = scope.split('/').collect::<Vec<_>>()[..] else { return false };
    let names: Vec<&str> = field("SignedHeaders").split(';').collect();
    let stated = text("x-amz-content-sha256");
    if id != ID || !names.contains(&"host") || (stated != "UNSIGNED-PAYLOAD" && stated != hash(body)) {
        return false;
    }
    let query: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    let lines: String = names.iter().map(|name| format!("{name}:{}\n", text(name).trim())).collect();
    let (query, named) = (query.join("&"), field("SignedHeaders"));
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{named}\n{stated}");
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", text("x-amz-date"), hash(canonical.as_bytes()));
    let mac = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let key = [region, service, end, &to_sign]
        .iter()
        .fold(mac(format!("AWS4{SECRET}").as_bytes(), date), |key, text| mac(key.as_ref(), text));
    hex(key.as_ref()) == field("Signature")
}

/// Percent-encoding as the signature wants it.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

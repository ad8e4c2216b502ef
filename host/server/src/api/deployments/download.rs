//! Giving an upload back, whole or in part.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use larder_platform::common::Common;
use larder_platform::objects::Objects;
use larder_wire::scopes::Scope;

use crate::api::deployments::find_by_path;
use crate::api::queries::pairs;
use crate::api::requests::Ids;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// The uploaded bytes. What is compiled from them is machine code of this installation and not given out, so `output`
/// is the same component.
#[utoipa::path(get, path = "/v1/functions/{functionId}/deployments/{deploymentId}/download", tag = "deployments",
    operation_id = "getDeploymentDownload",
    params(("type" = Option<String>, Query, description = "`source` (default) or `output`"),
        ("range" = Option<String>, Header, description = "`bytes=a-b`")),
    responses((status = 200, content_type = "application/wasm", body = Vec<u8>),
        (status = 206, content_type = "application/wasm", body = Vec<u8>)))]
pub(super) async fn download(
    State(common): State<Common>,
    State(objects): State<Objects>,
    caller: Caller,
    ids: Ids,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    caller.may(Scope::FunctionsRead)?;
    let kind = pairs(query.as_deref().unwrap_or_default()).find(|(name, _)| name == "type").map(|(_, value)| value);
    if !matches!(kind.as_deref(), None | Some("source" | "output")) {
        return Err(Problem::argument("type", "must be source or output"));
    }
    let deployment = find_by_path(&common, &caller, &ids).await?;
    let bytes = objects.get(&deployment.digest).await?;
    let name = format!("attachment; filename=\"{}-source.wasm\"", deployment.id);
    answer(bytes, headers.get(header::RANGE), &name)
}

fn answer(bytes: Bytes, range: Option<&HeaderValue>, name: &str) -> Result<Response<Body>, Problem> {
    let total = bytes.len();
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/wasm")
        .header(header::CONTENT_DISPOSITION, name)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-store");
    let response = match range {
        None => response.body(Body::from(bytes)),
        Some(range) => {
            let (from, to) = range.to_str().ok().and_then(|text| parse(text, total)).ok_or_else(|| {
                Problem::new(Kind::StorageRange, format!("The range must be bytes=a-b within {total} bytes"))
            })?;
            response
                .status(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_RANGE, format!("bytes {from}-{to}/{total}"))
                .body(Body::from(bytes.slice(from..=to)))
        }
    };
    response.map_err(Problem::internal)
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n` (RFC 9110, section 14.1.2).
fn parse(range: &str, total: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = total.checked_sub(1)?;
    let (from, to) = match (from, to) {
        ("", suffix) => (total.saturating_sub(suffix.parse().ok().filter(|n| *n > 0)?), last),
        (from, "") => (from.parse().ok()?, last),
        (from, to) => (from.parse().ok()?, to.parse::<usize>().ok()?.min(last)),
    };
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes=0-3", Some((0, 3))),
            ("bytes=8-", Some((8, 9))),
            ("bytes=8-99", Some((8, 9))),
            ("bytes=-4", Some((6, 9))),
            ("bytes=-40", Some((0, 9))),
            ("bytes=-0", None),
            ("bytes=10-", None),
            ("bytes=3-2", None),
            ("bytes=0-1,3-4", None),
            ("items=0-1", None),
        ] {
            assert_eq!(parse(text, 10), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), None);
    }
}

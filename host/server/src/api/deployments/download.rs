//! Giving an upload back, whole or in part.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use larder_model::SourceFormat;
use larder_platform::common::Common;
use larder_platform::objects::Objects;
use larder_wire::scopes::Scope;

use crate::api::deployments::{chunks, find_by_path};
use crate::api::queries::pairs;
use crate::api::requests::Ids;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// `source`: the uploaded bytes. `output`: the component that runs, which of an archive is known once its build is ready. What is
/// compiled from it is machine code of this installation and not given out.
#[utoipa::path(get, path = "/v1/functions/{functionId}/deployments/{deploymentId}/download", tag = "deployments",
    operation_id = "getDeploymentDownload",
    params(("type" = Option<String>, Query, description = "`source` (default) or `output`"),
        ("range" = Option<String>, Header, description = "`bytes=a-b`")),
    responses(
        (status = 200, content((Vec<u8> = "application/wasm"), (Vec<u8> = "application/gzip"))),
        (status = 206, content((Vec<u8> = "application/wasm"), (Vec<u8> = "application/gzip"))),
    ))]
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
    let kind = kind.as_deref().unwrap_or("source");
    if !matches!(kind, "source" | "output") {
        return Err(Problem::argument("type", "must be source or output"));
    }
    let deployment = find_by_path(&common, &caller, &ids).await?;
    let packed = deployment.source_format == SourceFormat::TarGz;
    if packed && kind == "output" && deployment.component_bytes == 0 {
        let status = deployment.status.word();
        let message = format!("The build of this deployment is {status}: the component in its archive is not known");
        return Err(Problem::new(Kind::BuildNotReady, message));
    }
    let (media_type, ending) = match packed && kind == "source" {
        true => ("application/gzip", "tar.gz"),
        false => ("application/wasm", "wasm"),
    };
    let bytes = match packed && kind == "output" {
        true => objects.get(&deployment.digest).await?,
        false => chunks::source(&common, &objects, &deployment).await?,
    };
    let name = format!("attachment; filename=\"{}-{kind}.{ending}\"", deployment.id);
    answer(bytes, media_type, headers.get(header::RANGE), &name)
}

fn answer(bytes: Bytes, media_type: &str, range: Option<&HeaderValue>, name: &str) -> Result<Response<Body>, Problem> {
    let total = bytes.len();
    let response = Response::builder()
        .header(header::CONTENT_TYPE, media_type)
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

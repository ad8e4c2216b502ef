//! Taking an upload in: one multipart request with one `.wasm` or `.tar.gz` file, counted while it streams.
//!
//! The parts may come in any order; clients send `activate` behind the file. A large file comes in several requests
//! ([`chunks`]).

use axum::Json;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use bytes::BytesMut;
use http_body_util::Limited;
use larder_model::{Digest, Grants, SourceFormat};
use larder_platform::bodies::{Account, Fault};
use larder_platform::common::Common;
use larder_platform::objects::Objects;
use larder_platform::stored;
use larder_platform::uploads::{Staging, Upload as Staged};
use larder_wire::deployments::DeploymentObject;
use larder_wire::scopes::Scope;
use utoipa::ToSchema;

use crate::api::deployments::chunks::{self, Chunk, Range};
use crate::api::deployments::{NewDeployment, begin};
use crate::api::queries::flag;
use crate::api::requests::{Ids, text};
use crate::api::{functions, grants};
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// Bytes of a part that is not the file.
const TEXT_PART_MAX: usize = 64 * 1024;
const ORIGIN_CHARS_MAX: usize = 512;
/// What a body may have besides the file.
const OVERHEAD_MAX: usize = 1 << 20;

/// The parts of an upload, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read` reads")]
pub(super) struct Upload {
    /// A component, in a file whose name ends in `.wasm`, or an archive with one, in a file whose name ends in `.tar.gz`.
    #[schema(value_type = String, format = Binary)]
    code: Vec<u8>,
    activate: Option<bool>,
    entrypoint: Option<String>,
    commands: Option<String>,
    /// What it asks to be granted, as JSON; without it, it has whatever the function has.
    grants: Option<String>,
    /// What it asks of its function's settings once it is active, as a JSON object; what is left out stays as it is.
    #[schema(value_type = Option<larder_model::FunctionSettings>)]
    settings: Option<String>,
    /// The project that it comes from, as the client names it.
    origin: Option<String>,
}

#[derive(Default)]
struct Parts {
    file: Option<(String, SourceFormat, Staged)>,
    activate: bool,
    entrypoint: Option<String>,
    grants: Option<Grants>,
    settings: Option<String>,
    origin: Option<String>,
}

#[utoipa::path(post, path = "/v1/functions/{functionId}/deployments", tag = "deployments", operation_id = "createDeployment",
    request_body(content = Upload, content_type = "multipart/form-data"), responses((status = 202, body = DeploymentObject)))]
pub(super) async fn create(
    State(common): State<Common>,
    State(objects): State<Objects>,
    State(staging): State<Staging>,
    caller: Caller,
    ids: Ids,
    request: Request,
) -> Result<(StatusCode, Json<DeploymentObject>), Problem> {
    caller.may(Scope::FunctionsWrite)?;
    let function = ids.get("functionId")?;
    let max = common.settings.build.upload_bytes_max;
    let kind = if request.headers().get("x-sdk-language").is_some_and(|sdk| sdk == "cli") { "cli" } else { "manual" };
    let range = chunks::range(request.headers(), max)?;
    let upload = chunks::upload_id(request.headers(), range.as_ref())?;
    // Before the body is read: nobody uploads megabytes to learn that the function is not there.
    let function = functions::find(&common, &caller.partner, &function).await?;
    let chunk = match range.as_ref().and_then(Range::chunk) {
        Some(range) => Some(chunks::find(&common, &function, upload, range).await?),
        None => None,
    };
    let more = chunk.as_ref().map_or(1, Chunk::more_bytes);
    stored::admit(&common, &caller.tenant.stored, more)?;
    // It goes to the staging folder as it comes.
    if let Some(account) = request.extensions().get::<Account>() {
        account.streams();
    }
    let staged = staging.begin(&caller.tenant.uploads)?;
    let parts = read(request, staged, max).await?;
    let (name, source_format, mut file) =
        parts.file.ok_or_else(|| Problem::new(Kind::FileEmpty, "The part `code` is missing"))?;
    if let Some(range) = &range {
        file.keep(range.part_of(file.bytes())?);
    }
    if file.bytes() > max as u64 {
        return Err(too_large(max));
    }
    if file.bytes() == 0 {
        return Err(Problem::new(Kind::FileEmpty, "The file is empty"));
    }
    let settings = match &parts.settings {
        Some(text) => {
            let (settings, with) = functions::input::settings(&common, &function, text.as_bytes())?;
            common.store.check_routes(&with).await?;
            Some(settings)
        }
        None => None,
    };
    if let Some(Chunk { of: Some(deployment), range }) = chunk {
        let bytes = file.bytes();
        let added = chunks::add(&common, &objects, &deployment, range.ordinal, file).await;
        // The bytes of a refused chunk are stored until they are swept.
        let object = added.inspect_err(|_| caller.tenant.stored.add(bytes))?;
        return Ok((StatusCode::ACCEPTED, Json(object)));
    }
    let size = chunk.as_ref().map_or(file.bytes(), Chunk::more_bytes);
    stored::admit(&common, &caller.tenant.stored, size)?;
    caller.tenant.stored.add(size);
    let entrypoint = parts.entrypoint.filter(|text| !text.is_empty()).unwrap_or_else(|| function.entrypoint.clone());
    let (source_digest, first) = match chunk {
        Some(Chunk { range, .. }) => (Digest::UNKNOWN, Some((range.ordinal, file))),
        None => (file.store(&objects).await?, None),
    };
    let new = NewDeployment {
        activate: parts.activate,
        kind: kind.to_owned(),
        // Of an archive, it is what the build finds.
        entrypoint: if entrypoint.is_empty() && source_format == SourceFormat::Wasm { name } else { entrypoint },
        source_format,
        source_bytes: size,
        source_digest,
        grants: parts.grants,
        settings,
        origin: parts.origin.filter(|text| !text.is_empty()),
        uploader: caller.key.clone(),
    };
    let deployment = begin(&common, &function, new).await?;
    let answer = match first {
        Some((ordinal, file)) => chunks::add(&common, &objects, &deployment, ordinal, file).await?,
        None => deployment.into(),
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

pub(super) fn too_large(max: usize) -> Problem {
    Problem::new(Kind::FileSize, format!("The file has more than {max} bytes"))
}

async fn read(request: Request, staged: Staged, max: usize) -> Result<Parts, Problem> {
    let mut staged = Some(staged);
    // The body as a whole is bounded too, or parts that nobody asked for would be read for ever.
    let mut request = request.map(|body| axum::body::Body::new(Limited::new(body, max.saturating_add(OVERHEAD_MAX))));
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|err| {
        Problem::new(Kind::FileEmpty, format!("The body is not multipart/form-data: {}", err.body_text()))
    })?;
    let broken = |err: MultipartError| {
        if err.status() == StatusCode::PAYLOAD_TOO_LARGE || is_too_long(&err) {
            return too_large(max);
        }
        match Fault::behind(&err) {
            Fault::BrokeOff => {}
            fault => return fault.into(),
        }
        Problem::argument("code", format!("the upload could not be read: {}", err.body_text()))
    };
    let mut parts = Parts::default();
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "code" => {
                let file = field.file_name().unwrap_or_default().to_owned();
                let format = format(&file).ok_or_else(|| {
                    let message = format!(
                        "The file is named {file:?}: upload a component (.wasm), or an archive that has one (.tar.gz)"
                    );
                    Problem::new(Kind::FileType, message)
                })?;
                let mut staged = staged.take().ok_or_else(|| Problem::argument("code", "occurs twice"))?;
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    // One client sends a byte more than its range tells.
                    if staged.bytes() as usize + chunk.len() > max + 1 {
                        return Err(too_large(max));
                    }
                    staged.write(&chunk).await?;
                }
                parts.file = Some((file, format, staged));
            }
            "activate" => parts.activate = flag("activate", &part_text(&mut field, "activate").await?)?,
            "entrypoint" => {
                parts.entrypoint = Some(text("entrypoint", part_text(&mut field, "entrypoint").await?, 0..=1_028)?);
            }
            "grants" => parts.grants = Some(grants::parse(part_text(&mut field, "grants").await?.as_bytes())?),
            "settings" => parts.settings = Some(part_text(&mut field, "settings").await?),
            "origin" => {
                parts.origin = Some(text("origin", part_text(&mut field, "origin").await?, 0..=ORIGIN_CHARS_MAX)?)
            }
            // `commands` would tell how to build from source.
            _ => {}
        }
    }
    Ok(parts)
}

/// How a file of this name holds its component.
fn format(name: &str) -> Option<SourceFormat> {
    let name = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    match () {
        () if ends(&[".wasm"]) => Some(SourceFormat::Wasm),
        () if ends(&[".tar.gz", ".tgz", ".gz"]) => Some(SourceFormat::TarGz),
        () => None,
    }
}

fn is_too_long(err: &MultipartError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(err);
    while let Some(err) = cause {
        if err.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = err.source();
    }
    false
}

async fn part_text(field: &mut Field<'_>, name: &str) -> Result<String, Problem> {
    let bytes = collect(field, TEXT_PART_MAX).await.map_err(|err| Problem::argument(name, err.body_text()))?;
    let bytes = bytes.ok_or_else(|| Problem::argument(name, format!("must have at most {TEXT_PART_MAX} bytes")))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Problem::argument(name, "must be UTF-8"))
}

/// A text's bytes; `None` as soon as there are more than `max`.
async fn collect(field: &mut Field<'_>, max: usize) -> Result<Option<BytesMut>, MultipartError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = field.chunk().await? {
        if bytes.len() + chunk.len() > max {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn form(parts: &[(&str, &str)]) -> Request {
        let mut body = String::new();
        for (head, content) in parts {
            body += &format!("--x\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n");
        }
        body += "--x--\r\n";
        Request::builder().header("content-type", "multipart/form-data; boundary=x").body(Body::from(body)).unwrap()
    }

    async fn read(request: Request, max: usize) -> Result<Parts, Problem> {
        let mut settings = larder_model::settings::Settings::load(None, &[]).unwrap().build;
        settings.uploads_per_partner = 1;
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(&settings, folder.path()).unwrap();
        super::read(request, staging.begin(&Default::default()).unwrap(), max).await
    }

    const FILE: &str = r#"name="code"; filename="a.WASM""#;

    #[tokio::test]
    async fn parts_come_in_any_order() {
        let parts =
            read(form(&[(FILE, "wasm"), (r#"name="activate""#, "true"), (r#"name="x""#, "y")]), 4).await.unwrap();
        let (name, format, file) = parts.file.unwrap();
        assert_eq!((name.as_str(), format, file.bytes()), ("a.WASM", SourceFormat::Wasm, 4));
        assert!(parts.activate);
        let parts = read(form(&[(r#"name="entrypoint""#, "e"), (FILE, "")]), 4).await.unwrap();
        assert_eq!((parts.entrypoint.as_deref(), parts.activate), (Some("e"), false));
    }

    #[tokio::test]
    async fn a_bad_upload_is_refused_by_what_is_wrong() {
        let kind = async |request| read(request, 4).await.err().unwrap().kind;
        assert_eq!(kind(form(&[(FILE, "123456")])).await, Kind::FileSize);
        assert_eq!(kind(form(&[(r#"name="code"; filename="a.zip""#, "1")])).await, Kind::FileType);
        assert_eq!(kind(form(&[(r#"name="code""#, "1")])).await, Kind::FileType);
        assert_eq!(kind(form(&[(r#"name="activate""#, "yes")])).await, Kind::ArgumentInvalid);
        assert_eq!(kind(Request::new(Body::from("x"))).await, Kind::FileEmpty);
        let cut =
            Request::builder().header("content-type", "multipart/form-data; boundary=x").body(Body::from("--x\r\n"));
        assert_eq!(kind(cut.unwrap()).await, Kind::ArgumentInvalid);
    }

    #[tokio::test]
    async fn parts_that_nobody_asked_for_have_a_bound_too() {
        let junk = "j".repeat(OVERHEAD_MAX + 10);
        let problem = read(form(&[(r#"name="junk""#, &junk), (FILE, "1")]), 4).await.err().unwrap();
        assert_eq!(problem.kind, Kind::FileSize, "{problem}");
    }
}

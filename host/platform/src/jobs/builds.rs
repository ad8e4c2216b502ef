//! Uploads → artifacts. The log of a build is its deployment's `buildLogs`.

use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_model::deployments::WAITS;
use larder_model::grants::Difference;
use larder_model::{BuildStatus, Deployment, Digest, Function, SourceFormat};
use larder_runtime::{Artifact, CompileError, Found, Runtime};
use larder_signals::Work;
use larder_signals::crash::{self, Point};

use crate::common::context;
use crate::jobs::driver::{Job, Next};
use crate::objects::Objects;
use crate::{archives, chunks, deployments, needs, stored};

context! {
    /// The context of builds.
    Builder {
        runtime: Arc<Runtime>,
        objects: Objects,
    }
}

/// How often a build is restarted because it did not finish. The build itself may have killed its process.
const LOST_MAX: u32 = 3;
/// How long a lease lasts, and how often it is renewed while its build runs.
const CLAIM: Duration = Duration::from_secs(60);
const RENEW: Duration = Duration::from_secs(15);
/// The delay before a build is restarted that exceeded its time on a busy machine.
const PAUSE: Duration = Duration::from_secs(1);

/// The result of a build.
enum Built {
    Ready(Box<(Found, Artifact, Grants)>),
    /// The upload, or a grant that it requests, is at fault.
    Refused(String),
    /// The machine was too busy.
    Late(String),
    /// It was cancelled, or another process has claimed it.
    Gone,
}

/// The function's effective grants, and those that this deployment requests.
struct Grants {
    effective: larder_model::Grants,
    asked: larder_model::Grants,
}

/// Builds uploads.
pub struct Builds(pub Builder);

impl Job for Builds {
    const WORK: Work = Work::Builds;
    type Permit = ();

    fn poll(&self) -> Duration {
        self.0.settings.worker.poll
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        Ok(Next::after(step(&self.0).await?, self.poll()))
    }
}

/// Builds the next deployment without a finished build. The build of a process that died is taken over when its lease
/// expires.
pub async fn step(builder: &Builder) -> larder_store::Result<bool> {
    let until = || builder.clock.now_ms() + CLAIM.as_millis() as i64;
    let claimed = builder.store.claim_build(&builder.holder, builder.clock.now_ms(), until()).await?;
    let Some(mut deployment) = claimed else { return Ok(false) };
    crash::point(Point::BuildClaimed);
    deployment.status = BuildStatus::Building;
    deployment.build_logs = match deployment.source_digest {
        Digest::UNKNOWN => format!("upload: {} bytes in chunks\n", deployment.source_bytes),
        digest => format!("upload: {} bytes, sha256 {digest}\n", deployment.source_bytes),
    };
    for _ in 0..deployment.build_lost {
        deployment.build_logs.push_str("an earlier build did not finish; it is started again\n");
    }
    deployment.updated_at_ms = builder.clock.now_ms();
    if !builder.store.update_build(&deployment, Some(&builder.holder), &builder.clock).await? {
        return Ok(true);
    }
    deployments::tell(builder, &deployment, false);
    let built = {
        let claim = deployment.clone();
        let mut building = pin!(build(builder, &mut deployment));
        loop {
            tokio::select! {
                biased;
                built = &mut building => break built?,
                () = tokio::time::sleep(RENEW) => {
                    if !builder.store.keep_build(&claim, &builder.holder, until()).await? {
                        break Built::Gone;
                    }
                }
            }
        }
    };
    match built {
        Built::Ready(built) => {
            let (found, artifact, grants) = *built;
            ready(&mut deployment, &found, &artifact, &grants);
        }
        Built::Refused(why) => {
            deployment.status = BuildStatus::Failed;
            let _ = writeln!(deployment.build_logs, "error: {why}");
        }
        Built::Late(why) => {
            tracing::warn!(deployment.id = %deployment.id, why, "a build is restarted: {why}");
            let again = builder.clock.now_ms() + PAUSE.as_millis() as i64;
            builder.store.release_build(&deployment, &builder.holder, again).await?;
            return Ok(true);
        }
        Built::Gone => {
            builder.store.release_build(&deployment, &builder.holder, builder.clock.now_ms()).await?;
            return Ok(true);
        }
    }
    deployment.updated_at_ms = builder.clock.now_ms();
    let ended = builder.store.update_build(&deployment, Some(&builder.holder), &builder.clock).await?;
    if !ended {
        builder.store.release_build(&deployment, &builder.holder, builder.clock.now_ms()).await?;
    }
    metrics::counter!("larder_builds_total", "status" => deployment.status.word()).increment(1);
    tracing::info!(
        partner.id = %deployment.partner, function.id = %deployment.function, deployment.id = %deployment.id,
        "build of deployment {} is {}", deployment.id, deployment.status.word()
    );
    if ended {
        deployments::ended(builder, &deployment).await?;
    }
    Ok(true)
}

/// Checks from cheap to expensive: the format, then the grants, and only then the compilation.
async fn build(builder: &Builder, deployment: &mut Deployment) -> larder_store::Result<Built> {
    if deployment.build_lost > LOST_MAX {
        return Ok(Built::Refused(format!(
            "{} builds of it did not finish: their processes died, or the machine was too busy; \
             upload it again at another time",
            deployment.build_lost
        )));
    }
    let function = builder.store.function(&deployment.partner, &deployment.function).await?;
    let wasm = match component(builder, deployment, function.as_ref()).await {
        Ok(wasm) => wasm,
        Err(err) => return Ok(failed(deployment, err)),
    };
    let found = match builder.runtime.inspect(wasm.clone()).await {
        Ok(found) => found,
        Err(err) => return Ok(failed(deployment, err)),
    };
    let effective = function.map(|function| function.grants).unwrap_or_default();
    let asked = deployment.grants.clone().unwrap_or_else(|| effective.clone());
    if let Some(why) = needs::missing(&found, &asked, &deployment.function) {
        return Ok(Built::Refused(why));
    }
    let artifact = match builder.runtime.compile(wasm.clone()).await {
        Ok(artifact) => artifact,
        Err(err) => return Ok(failed(deployment, err)),
    };
    if let Err(err) = keep(builder, deployment, wasm).await {
        return Ok(failed(deployment, err));
    }
    Ok(Built::Ready(Box::new((found, artifact, Grants { effective, asked }))))
}

/// The component of the upload: the upload itself, or what is in the archive.
async fn component(
    builder: &Builder,
    deployment: &mut Deployment,
    function: Option<&Function>,
) -> Result<Bytes, CompileError> {
    let host = |err: &dyn std::fmt::Display| CompileError::Host(err.to_string());
    let upload = chunks::source(&builder.store, &builder.objects, deployment).await.map_err(|err| host(&err))?;
    let upload = upload.ok_or_else(|| CompileError::Host("chunks of a complete upload are missing".into()))?;
    if deployment.source_digest == Digest::UNKNOWN {
        let digest = hash(&upload).await?;
        builder.objects.put(&digest, upload.clone()).await.map_err(|err| host(&err))?;
        let count = chunks::count(deployment.source_bytes);
        let _ = writeln!(deployment.build_logs, "put together of {count} chunks: sha256 {digest}");
        (deployment.source_digest, deployment.digest) = (digest, digest);
    }
    if function.is_some_and(|function| !function.commands.is_empty()) {
        deployment.build_logs.push_str("the function's commands are not run: an upload is built already\n");
    }
    if deployment.source_format == SourceFormat::Wasm {
        let why = "its name ends in .wasm, but its content is gzip: let the name of an archive end in .tar.gz";
        return if archives::is_gzip(&upload) { Err(CompileError::Rejected(why.into())) } else { Ok(upload) };
    }
    let build = &builder.settings.build;
    let bounds =
        archives::Bounds { unpacked_bytes: build.unpacked_bytes_max, component_bytes: build.upload_bytes_max as u64 };
    let entrypoint = deployment.entrypoint.clone();
    let unpacked = tokio::task::spawn_blocking(move || archives::unpack(&upload, &entrypoint, &bounds)).await;
    let unpacked = unpacked.map_err(|err| host(&err))?.map_err(CompileError::Rejected)?;
    let _ = writeln!(
        deployment.build_logs,
        "archive: {} files, {} bytes unpacked; the component is {:?}, {} bytes; other files are not used",
        unpacked.files,
        unpacked.bytes,
        unpacked.path,
        unpacked.wasm.len()
    );
    if deployment.entrypoint.is_empty() {
        deployment.entrypoint = unpacked.path;
    }
    Ok(unpacked.wasm.into())
}

/// Stores the component beside its archive.
async fn keep(builder: &Builder, deployment: &mut Deployment, wasm: Bytes) -> Result<(), CompileError> {
    if deployment.source_format == SourceFormat::Wasm {
        return Ok(());
    }
    let bytes = wasm.len() as u64;
    if let Some(tenant) = builder.directory.tenant(&deployment.partner) {
        stored::admit(builder, &tenant.stored, bytes).map_err(|why| CompileError::Rejected(why.to_string()))?;
        tenant.stored.add(bytes);
    }
    let digest = hash(&wasm).await?;
    builder.objects.put(&digest, wasm).await.map_err(|err| CompileError::Host(err.to_string()))?;
    (deployment.digest, deployment.component_bytes) = (digest, bytes);
    Ok(())
}

async fn hash(bytes: &Bytes) -> Result<Digest, CompileError> {
    let bytes = bytes.clone();
    let hashed = tokio::task::spawn_blocking(move || Digest::of(&bytes)).await;
    hashed.map_err(|err| CompileError::Host(err.to_string()))
}

fn failed(deployment: &Deployment, err: CompileError) -> Built {
    match err {
        CompileError::Rejected(why) => Built::Refused(why),
        CompileError::Late(why) => Built::Late(why),
        CompileError::Host(_) => {
            tracing::error!(deployment.id = %deployment.id, error = %err, "a build failed because of the host");
            Built::Refused(err.to_string())
        }
    }
}

fn ready(deployment: &mut Deployment, found: &Found, artifact: &Artifact, grants: &Grants) {
    let log = &mut deployment.build_logs;
    let mut kinds = Vec::new();
    if artifact.exports.command {
        kinds.push("HTTP requests as a CGI program (wasi:cli/run)");
    } else if artifact.exports.http {
        kinds.push("HTTP requests (wasi:http/incoming-handler)");
    }
    if artifact.exports.handler {
        kinds.push("events and schedules (larder:function/handler)");
    } else {
        kinds.push("events and schedules as POST in CloudEvents binary mode");
    }
    if found.is_module {
        let _ = writeln!(log, "a core module: made a component with the adapter for WASI preview 1");
    }
    let _ = writeln!(log, "serves: {}", kinds.join("; "));
    if artifact.may_have_effects {
        let _ = writeln!(log, "may have effects: HTTP answers leave after they are committed");
    }
    if !found.uncalled.is_empty() {
        let _ = writeln!(log, "imports and never calls: {}", needs::interfaces(&found.uncalled));
    }
    if needs::calls_out(&artifact.imports) && grants.asked.http.is_empty() && grants.asked.upstreams.is_empty() {
        let _ = writeln!(
            log,
            "imports wasi:http/outgoing-handler: every outgoing call is refused, as no http or upstreams are granted"
        );
    }
    let _ = writeln!(
        log,
        "compiled in {} ms: {} bytes of code from {} bytes",
        artifact.compile_ms, artifact.artifact_bytes, artifact.wasm_bytes
    );
    for shared in &artifact.shares {
        let _ = writeln!(
            log,
            "and a core module of {} bytes, which is compiled once for all functions that have it",
            shared.wasm_bytes
        );
    }
    let extensions = Difference::between(&grants.effective, &grants.asked).extensions;
    if !extensions.is_empty() && deployment.approval.is_none() {
        let _ = writeln!(log, "{WAITS}");
        for what in extensions {
            let _ = writeln!(log, "  {what}");
        }
        let _ = writeln!(log, "larder grants approve {} {}", deployment.function, deployment.id);
    }
    deployment.status = BuildStatus::Ready;
    deployment.exports = Some(artifact.exports);
    deployment.build_bytes = artifact.artifact_bytes;
    deployment.build_ms = artifact.compile_ms;
}

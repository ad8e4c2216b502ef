//! Uploads → artifacts. What a build says stands in its deployment's `buildLogs`.

use std::fmt::Write;
use std::time::Duration;

use larder_runtime::{Artifact, CompileError};

use crate::app::App;
use crate::crash::{self, Point};
use crate::grants::{self, Difference};
use crate::model::{BuildStatus, Deployment, hex};
use crate::schedule;
use crate::store;

/// How often a build is begun again because its process died: it may be what killed it.
const LOST_MAX: usize = 3;
const LOST: &str = "the process that built it is gone; it begins again\n";
/// The line of a build log behind which stands what its grants widen.
pub const WAITS: &str = "waits until somebody says yes to its grants. The function";
/// Beyond the deadline of compiling: fetching the upload, writing what came of it.
const MARGIN: Duration = Duration::from_secs(30);

/// Builds the next deployment that no build has finished. One whose process died in the middle is taken over when its
/// claim runs out.
pub async fn step(app: App) -> store::Result<bool> {
    let now = app.clock.now_ms();
    let until = now + (app.settings.build.deadline + MARGIN).as_millis() as i64;
    let Some(mut deployment) = app.store.claim_build(&app.holder, now, until).await? else { return Ok(false) };
    crash::point(Point::BuildClaimed);
    let lost = match deployment.status {
        BuildStatus::Building => deployment.build_logs.matches(LOST).count() + 1,
        _ => 0,
    };
    deployment.status = BuildStatus::Building;
    deployment.build_logs = format!(
        "upload: {} bytes, sha256 {}\n{}",
        deployment.source_bytes,
        hex(&deployment.digest.0),
        LOST.repeat(lost)
    );
    deployment.updated_at_ms = app.clock.now_ms();
    if !app.store.update_build(&deployment, Some(&app.holder), &app.clock).await? {
        return Ok(true);
    }
    let compiled = match app.objects.get(&deployment.digest).await {
        Ok(_) if lost > LOST_MAX => Err(CompileError::Rejected(format!("{lost} processes died while they built it"))),
        Ok(wasm) => app.runtime.compile(wasm).await,
        Err(err) => Err(CompileError::Host(err.to_string())),
    };
    match compiled {
        Ok(artifact) => judge(&app, &mut deployment, &artifact).await?,
        Err(err) => {
            if let CompileError::Host(why) = &err {
                tracing::error!(deployment.id = %deployment.id, error = why, "a build failed through the host's fault");
            }
            deployment.status = BuildStatus::Failed;
            let _ = writeln!(deployment.build_logs, "error: {err}");
        }
    }
    deployment.updated_at_ms = app.clock.now_ms();
    let ended = app.store.update_build(&deployment, Some(&app.holder), &app.clock).await?;
    if !ended {
        app.store.release_build(&deployment, &app.holder, app.clock.now_ms()).await?;
    }
    metrics::counter!("larder_builds_total", "status" => deployment.status.word()).increment(1);
    tracing::info!(
        partner.id = %deployment.partner, function.id = %deployment.function, deployment.id = %deployment.id,
        "build of deployment {} is {}", deployment.id, deployment.status.word()
    );
    if ended && deployment.status == BuildStatus::Ready && deployment.activate {
        app.directory.reload(&deployment.partner).await?;
        schedule::arm(&app, &deployment.partner, &deployment.function).await?;
    }
    Ok(true)
}

/// What it imports against what it asks for, or else has.
async fn judge(app: &App, deployment: &mut Deployment, artifact: &Artifact) -> store::Result<()> {
    let function = app.store.function(&deployment.partner, &deployment.function).await?;
    let in_force = function.map(|function| function.grants).unwrap_or_default();
    let grants = deployment.grants.as_ref().unwrap_or(&in_force);
    if let Some(why) = grants::missing(&artifact.imports, grants, &deployment.function) {
        deployment.status = BuildStatus::Failed;
        deployment.build_logs.push_str(&why);
        return Ok(());
    }
    let reaches_out = !grants.http.is_empty() || !grants.upstreams.is_empty();
    let widens = Difference::between(&in_force, grants).widens;
    ready(deployment, artifact, reaches_out);
    let log = &mut deployment.build_logs;
    if !widens.is_empty() && deployment.approval.is_none() {
        let _ = writeln!(log, "{WAITS}");
        for what in widens {
            let _ = writeln!(log, "  {what}");
        }
        let _ = writeln!(log, "larder grants approve {} {}", deployment.function, deployment.id);
    }
    Ok(())
}

fn ready(deployment: &mut Deployment, artifact: &Artifact, reaches_out: bool) {
    let log = &mut deployment.build_logs;
    let mut kinds = Vec::new();
    if artifact.exports.http {
        kinds.push("HTTP requests (wasi:http/incoming-handler)");
    }
    if artifact.exports.handler {
        kinds.push("events and schedules (larder:function/handler)");
    } else {
        kinds.push("events and schedules as POST in CloudEvents binary mode");
    }
    let _ = writeln!(log, "serves: {}", kinds.join("; "));
    if artifact.may_have_effects {
        let _ = writeln!(log, "may have effects: HTTP answers leave after they are committed");
    }
    if grants::calls_out(&artifact.imports) && !reaches_out {
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
    deployment.status = BuildStatus::Ready;
    deployment.exports = Some(artifact.exports);
    deployment.build_bytes = artifact.artifact_bytes;
    deployment.build_ms = artifact.compile_ms;
}

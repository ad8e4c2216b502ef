//! Admission: may this call begin now?
//!
//! Calls at once are counted by this process. Calls in a minute are counted by all processes together: each counts its
//! own, and a few times a second they exchange their sums through Redis ([`share`]), so that a call is decided from memory.
//! Without Redis each process has its own count.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::clock::Millis;
use crate::partners::Tenant;

const MINUTE_MS: Millis = 60_000;
/// Between two exchanges of counts.
const SHARE: Duration = Duration::from_millis(200);
/// How long a minute's sum is kept for others.
const KEPT: Duration = Duration::from_secs(120);

/// Why a call may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    #[error("too many calls at once")]
    AtOnce,
    #[error("too many calls in this minute")]
    InAMinute {
        /// Seconds until the next one begins.
        retry_after_s: u32,
    },
}

impl TooMany {
    pub fn retry_after_s(self) -> u32 {
        match self {
            TooMany::AtOnce => 1,
            TooMany::InAMinute { retry_after_s } => retry_after_s,
        }
    }
}

/// Room for one call of the partner, until the permit is dropped.
pub fn admit(app: &App, tenant: &Tenant) -> Result<OwnedSemaphorePermit, TooMany> {
    let refused = |why: TooMany, reason: &'static str| {
        metrics::counter!("larder_calls_refused_total", "reason" => reason).increment(1);
        why
    };
    let most = app.settings.server.calls_per_minute;
    if most > 0 {
        let now = app.clock.now_ms();
        if tenant.calls.known(now.div_euclid(MINUTE_MS)) >= most {
            let left_ms = (MINUTE_MS - now.rem_euclid(MINUTE_MS)) as u64;
            let retry_after_s = left_ms.div_ceil(1_000) as u32;
            return Err(refused(TooMany::InAMinute { retry_after_s }, "rate"));
        }
    }
    let permit = tenant.permits.clone().try_acquire_owned().map_err(|_| refused(TooMany::AtOnce, "concurrency"))?;
    if most > 0 {
        tenant.calls.add();
    }
    Ok(permit)
}

/// Exchanges counts with the other processes until this one drains.
pub async fn share(app: App) {
    let drain = app.life.drain();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SHARE) => {}
            () = drain.cancelled() => return,
        }
        let minute = app.clock.now_ms().div_euclid(MINUTE_MS);
        for (partner, tenant) in app.directory.tenants().iter() {
            let Some(own) = tenant.calls.own(minute) else { continue };
            let key = format!("calls:{partner}:{minute}");
            if let Some(all) = app.queue.count(&key, tenant.calls.untold(own), KEPT).await {
                tenant.calls.shared(own, all);
            }
        }
    }
}

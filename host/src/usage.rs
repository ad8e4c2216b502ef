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
use crate::quotas::{Cap, Exceeded};

pub(crate) const MINUTE_MS: Millis = 60_000;
/// Between two exchanges of counts.
const SHARE: Duration = Duration::from_millis(200);
/// How long a minute's sum is kept for others.
const KEPT: Duration = Duration::from_secs(120);

/// Room for one call of the partner, until the permit is dropped.
pub fn admit(app: &App, tenant: &Tenant) -> Result<OwnedSemaphorePermit, Exceeded> {
    let most = app.settings.server.calls_per_minute;
    if most > 0 {
        let now = app.clock.now_ms();
        let made = tenant.calls.known(now.div_euclid(MINUTE_MS));
        if made >= most {
            let left_ms = (MINUTE_MS - now.rem_euclid(MINUTE_MS)) as u64;
            return Err(Exceeded::new(Cap::CallsPerMinute, most, made).retry_after_s(left_ms.div_ceil(1_000) as u32));
        }
    }
    let at_once = app.settings.server.calls_per_partner as u64;
    let full = |_| Exceeded::new(Cap::CallsAtOnce, at_once, at_once);
    let permit = tenant.permits.clone().try_acquire_owned().map_err(full)?;
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

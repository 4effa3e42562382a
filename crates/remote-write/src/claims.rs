//! How every worker takes claims from the queue, whatever they hold, and how it ends.
//!
//! It sends nothing and books nothing. It keeps true: trouble with the disk is waited out; a stop is obeyed at every wait; a
//! worker that ends without being told to says so.

use std::{sync::Arc, time::Duration};

use pipeline::{LogClaim, LogOutlet, MetricClaim, Outlet, OutletError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    DestinationStatus,
    line::{Stopped, now_ms},
    roster::{Dealer, Seat},
};

/// A way out of a lane.
pub(crate) trait Claims: Send {
    type Claim: Send;

    /// The next claim. Cancel-safe.
    fn next_claim(&mut self) -> impl Future<Output = Result<Self::Claim, OutletError>> + Send;
}

impl Claims for Outlet {
    type Claim = MetricClaim;

    async fn next_claim(&mut self) -> Result<MetricClaim, OutletError> {
        self.next().await
    }
}

impl Claims for LogOutlet {
    type Claim = LogClaim;

    async fn next_claim(&mut self) -> Result<LogClaim, OutletError> {
        self.next().await
    }
}

/// Takes the next claim, unless it is time to stop or the queue is gone.
pub(crate) async fn next_claim<C: Claims>(
    destination: &str,
    stop: &CancellationToken,
    outlet: &mut C,
) -> Result<C::Claim, Stopped> {
    loop {
        let error = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Stopped),
            claim = outlet.next_claim() => match claim {
                Ok(claim) => return Ok(claim),
                Err(error) => error,
            },
        };
        if error.is_closed() {
            return Err(Stopped);
        }
        let OutletError::Queue(cause) = &error;
        tracing::warn!(destination, %cause, "the queue cannot be read; trying again in a second");
        tokio::select! {
            () = stop.cancelled() => return Err(Stopped),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// Waits for a part of what may be in flight. While it waits the lines know that nothing comes for them.
pub(crate) async fn take_room<T>(
    stop: &CancellationToken,
    dealer: &Dealer<T>,
    room: &Arc<Semaphore>,
    permits: u32,
) -> Result<OwnedSemaphorePermit, Stopped> {
    if let Ok(permit) = Arc::clone(room).try_acquire_many_owned(permits) {
        return Ok(permit);
    }
    dealer.starve();
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Stopped),
        // The semaphore is never closed.
        permit = Arc::clone(room).acquire_many_owned(permits) => permit.map_err(|_| Stopped),
    }
}

/// Waits until a line has something, and then for `wait` or until it has enough. False: it is time to stop, or nothing will come.
pub(crate) async fn gather<T>(stop: &CancellationToken, seat: &Seat<T>, wait: Duration) -> bool {
    let some = tokio::select! {
        biased;
        () = stop.cancelled() => return false,
        some = seat.some() => some,
    };
    if !some {
        return false;
    }
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        // The result is the same: there is something.
        _ = tokio::time::timeout(wait, seat.full()) => true,
    }
}

/// When no frame of a step can become readable any more, by the clock: `late` after its end. After the clock was set back,
/// frames carry times in its future; two steps are waited for then and no longer.
pub(crate) fn step_end(step: i64, step_ms: i64, late: Duration) -> Instant {
    let wait =
        step.saturating_add(1).saturating_mul(step_ms).saturating_sub(now_ms()).clamp(0, step_ms.saturating_mul(2));
    Instant::now() + Duration::from_millis(u64::try_from(wait).unwrap_or_default()) + late
}

/// Says on `tracker` when all parts of a worker have ended.
pub(crate) fn see_off(
    parts: TaskTracker,
    tracker: &TaskTracker,
    stop: CancellationToken,
    destination: String,
    status: DestinationStatus,
) {
    parts.close();
    tracker.spawn(async move {
        parts.wait().await;
        if !stop.is_cancelled() {
            tracing::warn!(destination, "the worker of this destination ended by itself; its data waits on disk");
        }
        status.stopped();
    });
}

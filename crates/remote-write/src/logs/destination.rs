//! A log destination's worker: reads its lanes, deals claims to lines, and stops when told.
//!
//! It encodes nothing and judges nothing. It keeps true: frames of one source are sent in the order of their lane; at a stop
//! what is under way gets a short grace, and the rest stays on disk.

use std::sync::Arc;

use net::Authorize;
use pipeline::{AgeClock, LogClaim, LogOutlet};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    LogDeliveryMetrics,
    head::Heads,
    line::{ADDRESSES, LogLine, Road},
    lot::{Dealt, LogLot},
    wire::Wire,
};
use crate::{
    DestinationConfig, DestinationStatus, ProtocolConfig, Tuning,
    claims::{gather, next_claim, see_off, step_end, take_room},
    courier::Post,
    line::Stopped,
    pace::{Pace, Probes},
    roster::{Dealer, Roster, Seat},
};

/// Starts workers of log destinations.
#[derive(Debug)]
pub struct LogDestination;

/// Claimed frames that wait for their request: below what the queue lets a destination claim, so that a line which gathers
/// many small frames is told when no more can come.
const FRAMES: usize = 192;

impl LogDestination {
    /// Starts the worker of one destination on `tracker`. It reads `outlets` (one per lane) until `stop`. It cannot fail: a
    /// destination that cannot work as configured is held, with its data on disk, and its status says why.
    pub fn spawn(
        config: DestinationConfig,
        authorize: Option<Arc<dyn Authorize>>,
        outlets: Vec<LogOutlet>,
        metrics: &LogDeliveryMetrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> DestinationStatus {
        Self::spawn_tuned(config, authorize, outlets, metrics, tracker, stop, Tuning::default())
    }

    /// The same with other times and sizes.
    pub fn spawn_tuned(
        config: DestinationConfig,
        authorize: Option<Arc<dyn Authorize>>,
        outlets: Vec<LogOutlet>,
        metrics: &LogDeliveryMetrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
        tuning: Tuning,
    ) -> DestinationStatus {
        let url = net::masked(&config.url);
        let cells = metrics.remote.of(metrics.remote.labels(&config.name, &url));
        let status =
            DestinationStatus::new(config.name.clone(), url, config.protocol.name(), authorize.clone(), cells.clone());
        let ProtocolConfig::Logs(protocol) = &config.protocol else {
            status.held("its protocol is one for metrics, and it was given log lines; check `protocol`".to_owned());
            return status;
        };
        let wire = Wire::new(&config, protocol);
        let lines = if wire.names_by_place() {
            u32::try_from(outlets.len()).unwrap_or(u32::MAX).clamp(1, 1 << 16)
        } else {
            config.shards.clamp(1, 1 << 16)
        };
        cells.shards.set(i64::from(lines.saturating_mul(ADDRESSES)));
        cells.held.set(0);
        let host = config.url.host_str().unwrap_or_default();
        let host = config.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let heads = Heads::new(config.external_labels.clone(), config.write_relabel.clone());
        let config = Arc::new(config);
        let refused = Probes { min: tuning.probe_min, max: tuning.probe_max };
        let unready = Probes { min: tuning.unready_min, max: tuning.unready_max };
        let road = Arc::new(Road {
            post: Post::new(Arc::clone(&config), authorize, status.clone(), cells.clone()),
            config,
            tuning,
            wire,
            heads,
            pace: Pace::new(lines.saturating_mul(ADDRESSES), refused, unready),
            status: status.clone(),
            metrics: cells,
            cells: metrics.of(&host),
            clock: AgeClock::default(),
            stop: stop.clone(),
        });
        let parts = TaskTracker::new();
        if road.wire.names_by_place() {
            for (number, outlet) in (0..).zip(outlets) {
                parts.spawn(lane(Arc::clone(&road), number, outlet));
            }
        } else {
            let full = road.config.batching.max_bytes.max(1) as u64;
            let (dealers, seats) = Roster::open(lines, outlets.len(), full);
            for (number, seat) in (0..).zip(seats) {
                parts.spawn(shard(Arc::clone(&road), number, seat));
            }
            let room = Arc::new(Semaphore::new(FRAMES));
            for (outlet, dealer) in outlets.into_iter().zip(dealers) {
                parts.spawn(deal(Arc::clone(&road), outlet, dealer, Arc::clone(&room)));
            }
        }
        see_off(parts, tracker, stop, road.config.name.clone(), status.clone());
        status
    }
}

/// Bytes of a claim's lines, and the newest time among them.
fn measure(road: &Road, claim: &LogClaim) -> u64 {
    let Ok(batch) = claim.batch() else { return 0 };
    if let Some(newest) = batch.streams.iter().map(|stream| stream.last_ns).max() {
        road.metrics.queue_highest.note(newest.div_euclid(1_000_000));
    }
    batch.streams.iter().map(|stream| stream.raw_len as u64).sum()
}

/// Reads one lane and deals its claims.
async fn deal(road: Arc<Road>, mut outlet: LogOutlet, dealer: Dealer<Dealt>, room: Arc<Semaphore>) {
    while let Ok(claim) = next_claim(&road.config.name, &road.stop, &mut outlet).await {
        let Ok(permit) = take_room(&road.stop, &dealer, &room, 1).await else { return };
        let (stream, bytes) = (claim.frame().stream, measure(&road, &claim));
        if !dealer.deal(stream, bytes, Dealt { claim, bytes, room: Some(permit) }) {
            return;
        }
    }
}

/// Gathers frames for `batchwait`, or until there is `batchsize` of lines, and sends them. What waits for an address that has
/// to be tried again goes on beside that.
async fn shard(road: Arc<Road>, number: u32, seat: Seat<Dealt>) {
    let mut line = LogLine::new(Arc::clone(&road), number);
    let wait = road.config.batching.max_age.max(road.tuning.linger);
    let most = road.config.batching.max_bytes.max(1) as u64;
    loop {
        let more = {
            let gathered = gather(&road.stop, &seat, wait);
            tokio::pin!(gathered);
            loop {
                let ended = tokio::select! {
                    biased;
                    more = &mut gathered => break more,
                    ended = line.send_waiting() => ended,
                };
                // What was kept for the sake of the address may leave now.
                if ended.is_err() || line.send_kept(most).await.is_err() {
                    return;
                }
            }
        };
        if !more {
            // At a stop, the rest stays on disk.
            let _ = line.finish().await;
            return;
        }
        let mut bytes = 0;
        for (dealt, binding) in seat.take() {
            bytes += dealt.bytes;
            line.push(LogLot::new(dealt, Some(binding), &road.metrics.pending));
        }
        if line.send_apart(most).await.is_err() {
            return;
        }
        seat.sent(bytes, 0);
    }
}

/// Frames in one group of objects at most, half of what a destination may claim by default.
const FRAMES_PER_GROUP: usize = 128;
/// With so many that wait, there is room for another group, and where it ends is still up to its frames alone.
const FRAMES_THAT_WAIT: usize = 112;

/// A lane on its way into a bucket: groups of consecutive frames, one object for each address in a group.
///
/// Where a group ends is a function of its frames alone (their ingest times in steps of `batching.max_age`, their sizes,
/// their number), and the clock only says that no more frames of a step can come. So after a crash, when the cursor stands
/// at the beginning of a group, the same objects are made again, and are found stored.
async fn lane(road: Arc<Road>, number: u32, outlet: LogOutlet) {
    let mut line = LogLine::new(Arc::clone(&road), number);
    if groups(&road, &mut line, outlet).await.is_err() {
        // What is under way may end; what is gathered stays on disk.
        line.forget();
        let _ = line.finish().await;
    }
}

async fn groups(road: &Road, line: &mut LogLine, mut outlet: LogOutlet) -> Result<(), Stopped> {
    let batching = road.config.batching;
    let step_ms = i64::try_from(batching.max_age.as_millis()).unwrap_or(i64::MAX).max(1);
    let most = batching.max_bytes.max(1) as u64;
    let in_flight = road.config.max_in_flight_bytes / 2;
    let step_of = |claim: &LogClaim| claim.frame().ingest_ms.div_euclid(step_ms);
    let lot = |claim, bytes| LogLot::new(Dealt { claim, bytes, room: None }, None, &road.metrics.pending);
    let mut over: Option<LogClaim> = None;
    loop {
        loop {
            let (frames, bytes) = line.span();
            if frames <= FRAMES_THAT_WAIT && bytes <= in_flight / 2 {
                break;
            }
            line.send_waiting().await?;
        }
        let first = match over.take() {
            Some(claim) => claim,
            None => next_meanwhile(road, line, &mut outlet).await?,
        };
        let step = step_of(&first);
        let (mut frames, mut raw, mut packed) = (1, measure(road, &first), first.payload().len() as u64);
        line.push(lot(first, raw));
        let deadline = step_end(step, step_ms, road.tuning.late);
        while over.is_none() && raw < most {
            let claim = tokio::select! {
                claim = next_meanwhile(road, line, &mut outlet) => claim?,
                () = tokio::time::sleep_until(deadline) => break,
            };
            let bytes = measure(road, &claim);
            frames += 1;
            raw += bytes;
            packed += claim.payload().len() as u64;
            if step_of(&claim) == step && frames <= FRAMES_PER_GROUP && raw <= most && packed <= in_flight {
                line.push(lot(claim, bytes));
            } else {
                over = Some(claim);
            }
        }
        line.send().await?;
    }
}

/// The next claim; meanwhile, what waits to be tried again goes on. Cancel-safe.
async fn next_meanwhile(road: &Road, line: &mut LogLine, outlet: &mut LogOutlet) -> Result<LogClaim, Stopped> {
    loop {
        tokio::select! {
            claim = next_claim(&road.config.name, &road.stop, outlet) => return claim,
            ended = line.send_waiting() => ended?,
        }
    }
}

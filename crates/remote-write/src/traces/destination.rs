//! An OTLP destination's worker: reads its lanes, deals claims to lines, and stops when told.
//!
//! It encodes nothing and judges nothing. It keeps true: requests of one sender are sent in the order of their lane, but to X-Ray;
//! at a stop what is under way gets a short grace, and the rest stays on disk.

use std::sync::Arc;

use net::Authorize;
use pipeline::{AgeClock, OtlpClaim, OtlpOutlet, OutletError};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    OtlpDeliveryMetrics,
    line::{Dealt, Road, TraceLine, TraceLot},
    wire::Wire,
};
use crate::{
    DestinationConfig, DestinationStatus, ProtocolConfig, Tuning,
    claims::{Claims, gather, next_claim, see_off, step_end, take_room},
    courier::Post,
    line::Stopped,
    pace::{Pace, Probes},
    roster::{Dealer, Roster, Seat},
};

/// Starts workers of OTLP destinations.
#[derive(Debug)]
pub struct TraceDestination;

impl Claims for OtlpOutlet {
    type Claim = OtlpClaim;

    async fn next_claim(&mut self) -> Result<OtlpClaim, OutletError> {
        self.next().await
    }
}

/// Claimed frames that wait for their request: below what the queue lets a destination claim, so that a line which gathers
/// many small frames is told when no more can come.
const FRAMES: usize = 192;

/// Received bytes that a line turns into segment documents at once: a few requests of 50. What is more goes to other lines,
/// which X-Ray's small requests need and its traces do not mind.
const X_RAY_TURN: u64 = 32 << 10;

impl TraceDestination {
    /// Starts the worker of one destination on `tracker`. It reads `outlets` (one per lane) until `stop`. It cannot fail: a
    /// destination that cannot work as configured is held, with its data on disk, and its status says why.
    pub fn spawn(
        config: DestinationConfig,
        authorize: Option<Arc<dyn Authorize>>,
        outlets: Vec<OtlpOutlet>,
        metrics: &OtlpDeliveryMetrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> DestinationStatus {
        Self::spawn_tuned(config, authorize, outlets, metrics, tracker, stop, Tuning::default())
    }

    /// The same with other times and sizes.
    pub fn spawn_tuned(
        config: DestinationConfig,
        authorize: Option<Arc<dyn Authorize>>,
        outlets: Vec<OtlpOutlet>,
        metrics: &OtlpDeliveryMetrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
        tuning: Tuning,
    ) -> DestinationStatus {
        let url = net::masked(&config.url);
        let cells = metrics.remote.of(metrics.remote.labels(&config.name, &url));
        let status =
            DestinationStatus::new(config.name.clone(), url, config.protocol.name(), authorize.clone(), cells.clone());
        let ProtocolConfig::Otlp(protocol) = &config.protocol else {
            status.held("its protocol is none for OTLP; check `protocol`".to_owned());
            return status;
        };
        let wire = Wire::new(&config, protocol);
        let otlp_cells = metrics.of(protocol.exporter(), &config.name);
        let lines = if wire.names_by_place() {
            u32::try_from(outlets.len()).unwrap_or(u32::MAX).clamp(1, 1 << 16)
        } else {
            config.shards.clamp(1, 1 << 16)
        };
        cells.shards.set(i64::from(lines));
        cells.held.set(0);
        let config = Arc::new(config);
        let post = Post::new(Arc::clone(&config), authorize, status.clone(), cells.clone());
        let post = if matches!(wire, Wire::Grpc(_)) { post.speaking_grpc() } else { post };
        let refused = Probes { min: tuning.probe_min, max: tuning.probe_max };
        let unready = Probes { min: tuning.unready_min, max: tuning.unready_max };
        let road = Arc::new(Road {
            post,
            tuning,
            pace: Pace::new(lines, refused, unready),
            status: status.clone(),
            metrics: cells,
            cells: otlp_cells,
            wire,
            config,
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
            let full = if road.wire.keeps_order() { full } else { full.min(X_RAY_TURN) };
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

fn arrived(road: &Road, claim: &OtlpClaim) -> u64 {
    road.metrics.queue_highest.note(claim.frame().ingest_ms);
    claim.body().len() as u64
}

/// Reads one lane and deals its claims.
async fn deal(road: Arc<Road>, mut outlet: OtlpOutlet, dealer: Dealer<Dealt>, room: Arc<Semaphore>) {
    while let Ok(claim) = next_claim(&road.config.name, &road.stop, &mut outlet).await {
        let Ok(permit) = take_room(&road.stop, &dealer, &room, 1).await else { return };
        let bytes = arrived(&road, &claim);
        let stream = if road.wire.keeps_order() { claim.frame().stream } else { claim.frame().offset };
        if !dealer.deal(stream, bytes, Dealt { claim, room: Some(permit) }) {
            return;
        }
    }
}

/// Gathers requests for a short time, or until there are enough bytes, and sends them.
async fn shard(road: Arc<Road>, number: u32, seat: Seat<Dealt>) {
    let mut line = TraceLine::new(Arc::clone(&road), number);
    let wait = road.config.batching.max_age.max(road.tuning.linger);
    loop {
        if !gather(&road.stop, &seat, wait).await {
            return;
        }
        let mut bytes = 0;
        for (dealt, binding) in seat.take() {
            bytes += dealt.claim.body().len() as u64;
            line.push(TraceLot::new(dealt, Some(binding), &road.metrics.pending));
        }
        if line.send().await.is_err() {
            return;
        }
        seat.sent(bytes, 0);
    }
}

/// Frames in one group of objects at most, half of what a destination may claim by default.
const FRAMES_PER_GROUP: usize = 128;

/// A lane on its way into a bucket: groups of consecutive frames, one object for each signal in a group.
///
/// Where a group ends is a function of its frames alone (their ingest times in steps of `batching.max_age`, their sizes,
/// their number), and the clock only says that no more frames of a step can come. So after a crash, when the cursor stands
/// at the beginning of a group, the same objects are made again, and are found stored.
async fn lane(road: Arc<Road>, number: u32, mut outlet: OtlpOutlet) {
    let batching = road.config.batching;
    let step_ms = i64::try_from(batching.max_age.as_millis()).unwrap_or(i64::MAX).max(1);
    let most = (batching.max_bytes.max(1) as u64).min(road.config.max_in_flight_bytes / 2);
    let step_of = |claim: &OtlpClaim| claim.frame().ingest_ms.div_euclid(step_ms);
    let mut line = TraceLine::new(Arc::clone(&road), number);
    let mut over: Option<OtlpClaim> = None;
    loop {
        let first = match over.take() {
            Some(claim) => claim,
            None => match next_claim(&road.config.name, &road.stop, &mut outlet).await {
                Ok(claim) => claim,
                Err(Stopped) => return,
            },
        };
        let step = step_of(&first);
        let (mut frames, mut bytes) = (1, arrived(&road, &first));
        let lot = |claim| TraceLot::new(Dealt { claim, room: None }, None, &road.metrics.pending);
        line.push(lot(first));
        let deadline = step_end(step, step_ms, road.tuning.late);
        while over.is_none() && bytes < most {
            let claim = tokio::select! {
                claim = next_claim(&road.config.name, &road.stop, &mut outlet) => claim,
                () = tokio::time::sleep_until(deadline) => break,
            };
            let Ok(claim) = claim else { return };
            frames += 1;
            bytes += arrived(&road, &claim);
            if step_of(&claim) == step && frames <= FRAMES_PER_GROUP && bytes <= most {
                line.push(lot(claim));
            } else {
                over = Some(claim);
            }
        }
        if line.send().await.is_err() {
            return;
        }
    }
}

//! A destination's worker: reads its lanes, deals claims to lines, and stops when told.
//!
//! It encodes nothing and judges nothing. It keeps true: frames of one stream are sent in the order of their lane;
//! at a stop what is under way gets a short grace, and the rest stays on disk.

use std::{sync::Arc, time::Duration};

use net::Authorize;
use pipeline::{AgeClock, MetricClaim, Outlet};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    DestinationConfig, DestinationStatus, ProtocolConfig, RemoteStorageMetrics, Rewrite,
    claims::{next_claim, see_off, step_end, take_room},
    courier::Courier,
    line::{Line, Shared, Stopped},
    load::Limits,
    lot::{Dealt, Lot},
    metadata::{MetadataBook, post_metadata},
    pace::{Pace, Probes},
    roster::{Binding, Dealer, Found, Roster, Seat},
    tables::WireTables,
    wire::press::Presses,
};

/// Times and sizes that no configuration file speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// A destination that refuses us is asked again after this, doubling ...
    pub probe_min: Duration,
    /// ... up to this.
    pub probe_max: Duration,
    /// When a request cannot be made (no credentials, a secret's file that is missing) it is tried again after this,
    /// doubling ...
    pub unready_min: Duration,
    /// ... up to this.
    pub unready_max: Duration,
    /// A body that is not full waits this long for the frames that became durable in the same instant.
    pub linger: Duration,
    /// The rest of a frame whose beginning filled a request waits this long for others: two commits of the queue, so that what
    /// the next one brings takes it along.
    pub rest_linger: Duration,
    /// How long after the end of its step an object waits for frames that are late to become durable.
    pub late: Duration,
    /// At a stop, a request under way may end within this.
    pub stop_grace: Duration,
    /// The longest `Retry-After` that is believed.
    pub longest_wish: Duration,
    /// Samples decoded and not settled: frames of few but huge targets would hold more memory than their stored bytes say.
    pub samples_in_flight: u32,
    /// A line that has had nothing to do for this long gives its memory back.
    pub rest: Duration,
    /// Bytes of series tables kept.
    pub table_bytes: usize,
    /// A series table unused for this long is forgotten.
    pub table_idle: Duration,
    /// Metric families kept for metadata.
    pub families: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            probe_min: Duration::from_secs(5),
            probe_max: Duration::from_secs(60),
            unready_min: Duration::from_secs(1),
            unready_max: Duration::from_secs(30),
            linger: Duration::from_millis(5),
            rest_linger: Duration::from_millis(500),
            late: Duration::from_secs(2),
            stop_grace: Duration::from_secs(5),
            longest_wish: Duration::from_secs(300),
            samples_in_flight: 500_000,
            rest: Duration::from_secs(15),
            table_bytes: 256 << 20,
            table_idle: Duration::from_secs(600),
            families: 20_000,
        }
    }
}

/// Starts workers.
#[derive(Debug)]
pub struct Destination;

impl Destination {
    /// Starts the worker of one destination on `tracker`. It reads `outlets` (one per lane) until `stop`. It cannot fail: a
    /// destination that cannot work as configured is held, with its data on disk, and its status says why.
    pub fn spawn(
        config: DestinationConfig,
        authorize: Option<Arc<dyn Authorize>>,
        outlets: Vec<Outlet>,
        metrics: &RemoteStorageMetrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> DestinationStatus {
        Self::spawn_tuned(config, authorize, outlets, metrics, tracker, stop, Tuning::default())
    }

    /// The same with other times and sizes.
    pub fn spawn_tuned(
        config: DestinationConfig,
        authorize: Option<Arc<dyn Authorize>>,
        outlets: Vec<Outlet>,
        metrics: &RemoteStorageMetrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
        tuning: Tuning,
    ) -> DestinationStatus {
        let url = net::masked(&config.url);
        let cells = metrics.of(metrics.labels(&config.name, &url));
        let protocol = config.protocol.name();
        let status = DestinationStatus::new(config.name.clone(), url, protocol, authorize.clone(), cells.clone());
        let lines = match &config.protocol {
            ProtocolConfig::Prometheus { .. } => config.shards.max(1),
            ProtocolConfig::S3 { .. } => u32::try_from(outlets.len()).unwrap_or(u32::MAX).max(1),
            ProtocolConfig::Logs(_) | ProtocolConfig::Otlp(_) => {
                status.held("its protocol is none for metrics, which it was given; check `protocol`".to_owned());
                return status;
            }
        };
        for gauge in [&cells.shards, &cells.shards_max, &cells.shards_min, &cells.shards_desired] {
            gauge.set(i64::from(lines));
        }
        let max_samples = i64::try_from(config.batching.max_samples).unwrap_or(i64::MAX);
        cells.shard_capacity.set(max_samples);
        cells.max_samples.set(max_samples);
        cells.held.set(0);

        let metadata = match &config.protocol {
            ProtocolConfig::Prometheus { metadata } if metadata.send => Some(*metadata),
            _ => None,
        };
        let book = metadata.map(|_| Arc::new(MetadataBook::new(tuning.families)));
        let rewrite =
            Rewrite { external_labels: config.external_labels.clone(), write_relabel: config.write_relabel.clone() };
        let tables =
            WireTables::new(rewrite, config.native_histograms, book.clone(), tuning.table_bytes, tuning.table_idle);
        let config = Arc::new(config);
        let courier = Arc::new(Courier::new(Arc::clone(&config), authorize, status.clone(), cells.clone()));
        let refused = Probes { min: tuning.probe_min, max: tuning.probe_max };
        let unready = Probes { min: tuning.unready_min, max: tuning.unready_max };
        let pace = Pace::new(lines, refused, unready);
        let shared = Arc::new(Shared {
            config,
            tuning,
            courier: Arc::clone(&courier),
            pace,
            tables,
            presses: Presses::default(),
            clock: AgeClock::default(),
            status: status.clone(),
            metrics: cells.clone(),
            stop: stop.clone(),
        });

        let parts = TaskTracker::new();
        if let (Some(metadata), Some(book)) = (metadata, book) {
            parts.spawn(post_metadata(metadata, book, courier, status.clone(), cells, stop));
        }
        if shared.courier.protocol().names_by_place() {
            for (number, outlet) in (0..).zip(outlets) {
                parts.spawn(lane(Arc::clone(&shared), number, outlet));
            }
        } else {
            let full = shared.config.batching.max_samples.max(1) as u64;
            let (dealers, seats) = Roster::open(lines, outlets.len(), full);
            for (number, seat) in (0..).zip(seats) {
                parts.spawn(shard(Arc::clone(&shared), number, seat));
            }
            let room = Arc::new(Semaphore::new(tuning.samples_in_flight.max(1) as usize));
            for (outlet, dealer) in outlets.into_iter().zip(dealers) {
                parts.spawn(deal(Arc::clone(&shared), outlet, dealer, Arc::clone(&room)));
            }
        }
        see_off(parts, tracker, shared.stop.clone(), shared.config.name.clone(), status.clone());
        status
    }
}

fn arrived(
    shared: &Shared,
    claim: MetricClaim,
    room: Option<OwnedSemaphorePermit>,
    binding: Option<Binding<Dealt>>,
) -> Lot {
    let lot = Lot::new(claim, &shared.tables, room, binding, &shared.metrics.pending);
    if let Some(newest) = lot.newest_ms() {
        shared.metrics.highest.note(newest);
        shared.metrics.queue_highest.note(newest);
    }
    lot
}

/// Reads one lane and deals its claims. What waits at the lines is bounded by what the queue lets a destination claim.
async fn deal(shared: Arc<Shared>, mut outlet: Outlet, dealer: Dealer<Dealt>, room: Arc<Semaphore>) {
    while let Ok(claim) = next_claim(&shared.config.name, &shared.stop, &mut outlet).await {
        let (stream, items) = (claim.frame().stream, claim.frame().items);
        let permits = items.clamp(1, shared.tuning.samples_in_flight.max(1));
        let Ok(permit) = take_room(&shared.stop, &dealer, &room, permits).await else { return };
        if !dealer.deal(stream, u64::from(items), (claim, permit)) {
            return;
        }
    }
}

/// A remote-write shard: sends what there is, as soon as there is something.
async fn shard(shared: Arc<Shared>, number: u32, seat: Seat<Dealt>) {
    let batching = shared.config.batching;
    let limits =
        Limits { samples: batching.max_samples.max(1) as u64, bytes: batching.max_bytes.clamp(1, LARGEST_BODY) };
    let mut line = Line::new(Arc::clone(&shared), number);
    loop {
        let enough = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return line.send_last(limits).await,
            enough = gather(&shared, &seat, &mut line) => enough,
        };
        if !enough {
            return;
        }
        for ((claim, room), binding) in seat.take() {
            line.push(arrived(&shared, claim, Some(room), Some(binding)));
        }
        let Ok(kept) = line.send_some(limits).await else { return };
        seat.sent(kept, line.waiting());
    }
}

/// Waits until there is something to send and, for a short time, until it is a full request. False: nothing will come.
/// Cancel-safe.
async fn gather(shared: &Shared, seat: &Seat<Dealt>, line: &mut Line) -> bool {
    let linger = shared.config.batching.max_age.max(shared.tuning.linger);
    if line.is_empty() {
        let some = match tokio::time::timeout(shared.tuning.rest, seat.some()).await {
            Ok(some) => some,
            Err(_) => {
                line.shrink();
                seat.shrink();
                seat.some().await
            }
        };
        if !some {
            return false;
        }
    } else {
        // A few samples left over from a full request: the next frames take them along, if they come soon.
        match tokio::time::timeout(shared.tuning.rest_linger.max(linger), seat.more()).await {
            Ok(Found::Some) => {}
            Ok(Found::Enough) | Err(_) => return true,
        }
    }
    // The result is the same: there is something.
    let _ = tokio::time::timeout(linger, seat.full()).await;
    true
}

/// Snappy blocks end at 4 GiB; nobody takes bodies near that.
const LARGEST_BODY: usize = 1 << 30;

/// Frames in one object at most, half of what a destination may claim by default.
const FRAMES_PER_OBJECT: usize = 128;

/// A lane on its way into a bucket: objects of consecutive frames.
///
/// Where an object ends is a function of its frames alone (their ingest times in steps of `batching.max_age`, their sizes,
/// their number), and the clock only says that no more frames of a step can come. So after a crash, when the cursor stands
/// at the beginning of an object, the same object is made again, and is found stored.
async fn lane(shared: Arc<Shared>, number: u32, mut outlet: Outlet) {
    let batching = shared.config.batching;
    let limits = Limits { samples: u64::MAX, bytes: batching.max_bytes.clamp(1, LARGEST_BODY) };
    let step_ms = i64::try_from(batching.max_age.as_millis()).unwrap_or(i64::MAX).max(1);
    let in_flight = shared.config.max_in_flight_bytes / 2;
    let mut line = Line::new(Arc::clone(&shared), number);
    let mut over: Option<Lot> = None;
    loop {
        let first = match over.take() {
            Some(lot) => lot,
            None => match next_claim(&shared.config.name, &shared.stop, &mut outlet).await {
                Ok(claim) => arrived(&shared, claim, None, None),
                Err(Stopped) => return,
            },
        };
        // Given up by the queue before its turn.
        let Some(step) = step_of(&first, step_ms) else { continue };
        let (mut frames, mut wire, mut raw) = (1, first.wire_len(), raw_len(&first));
        let mut full = wire >= limits.bytes;
        line.push(first);
        let deadline = step_end(step, step_ms, shared.tuning.late);
        while !full {
            let claim = tokio::select! {
                claim = next_claim(&shared.config.name, &shared.stop, &mut outlet) => claim,
                () = tokio::time::sleep_until(deadline) => break,
            };
            let Ok(claim) = claim else { return };
            let lot = arrived(&shared, claim, None, None);
            frames += 1;
            wire += lot.wire_len();
            raw += raw_len(&lot);
            if step_of(&lot, step_ms) == Some(step)
                && frames <= FRAMES_PER_OBJECT
                && wire <= limits.bytes
                && raw <= in_flight
            {
                line.push(lot);
            } else {
                full = true;
                over = Some(lot);
            }
        }
        if line.send_all(limits).await == Err(Stopped) {
            return;
        }
    }
}

fn step_of(lot: &Lot, step_ms: i64) -> Option<i64> {
    Some(lot.claim()?.frame().ingest_ms.div_euclid(step_ms))
}

fn raw_len(lot: &Lot) -> u64 {
    lot.claim().map_or(0, |claim| claim.payload().len() as u64)
}

//! One sequence of claims on its way out: a shard of a remote-write destination, or a lane of a bucket.
//!
//! It turns claims into bodies, has them carried until each sample has come to an end, books every sample in exactly one
//! column, and settles claims whole. It does not read the queue and judges no answer. It keeps true: one request at a time,
//! samples in the order of the claims; what is not booked when it stops is left unsettled and comes back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use net::Backoff;
use pipeline::{AgeClock, off_reactor};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    DestinationConfig, DestinationStatus, Tuning,
    courier::Courier,
    load::{Limits, Load, Place, isolation_budget, write_body},
    lot::{Lot, Tally},
    metrics::DestinationMetrics,
    pace::{Cause, Pace},
    protocol::{Extent, Parcel},
    tables::WireTables,
    verdict::{Loss, Verdict},
    wire::press::Presses,
};

/// What the lines of one destination share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<DestinationConfig>,
    pub(crate) tuning: Tuning,
    pub(crate) courier: Arc<Courier>,
    pub(crate) pace: Pace,
    pub(crate) tables: WireTables,
    pub(crate) presses: Presses,
    /// Tells what is too old to be sent.
    pub(crate) clock: AgeClock,
    pub(crate) status: DestinationStatus,
    pub(crate) metrics: DestinationMetrics,
    /// No new request after this.
    pub(crate) stop: CancellationToken,
}

/// See the file's head.
pub(crate) struct Line {
    shared: Arc<Shared>,
    /// Shard or lane number, for the state of the destination.
    number: u32,
    lots: VecDeque<Lot>,
    /// It is time to stop, and one attempt may still be made.
    last_call: bool,
}

/// A body, ready to travel, and what is in it.
struct Packed {
    load: Load,
    parcel: Parcel,
}

/// The worker was told to stop; what is not settled comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Bodies of more samples than this take more than about a millisecond and are made off the reactor.
const LONG_BODY: u64 = 16_384;

impl Line {
    pub(crate) fn new(shared: Arc<Shared>, number: u32) -> Self {
        Self { shared, number, lots: VecDeque::new(), last_call: false }
    }

    pub(crate) fn push(&mut self, lot: Lot) {
        self.lots.push_back(lot);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }

    /// Nothing has come for a while: gives memory back.
    pub(crate) fn shrink(&mut self) {
        self.lots.shrink_to_fit();
        self.shared.presses.shrink();
    }

    /// Samples that wait, those of a partly sent lot included.
    pub(crate) fn waiting(&self) -> u64 {
        self.lots.iter().map(|lot| u64::from(lot.items() - lot.sent)).sum()
    }

    /// Makes one body of what waits, up to `limits`, and brings each of its samples to an end. Settles the lots that are
    /// through, oldest first, and says how many samples were in the body.
    pub(crate) async fn send_some(&mut self, limits: Limits) -> Result<u64, Stopped> {
        let sent = self.lots.front().map_or(0, |lot| lot.sent);
        let (end, kept) = self.deliver(Place { lot: 0, sample: sent }, limits).await?;
        for _ in 0..end.lot {
            if let Some(lot) = self.lots.pop_front() {
                lot.settle();
            }
        }
        if let Some(lot) = self.lots.front_mut() {
            lot.sent = end.sample;
        }
        Ok(kept)
    }

    /// At a stop: sends the rest of what was sent in part, if the far end takes it at once. Otherwise all of it comes back.
    pub(crate) async fn send_last(mut self, limits: Limits) {
        if self.lots.front().is_some_and(|lot| lot.sent > 0) {
            self.last_call = true;
            let grace = self.shared.tuning.stop_grace;
            let _ = tokio::time::timeout(grace, self.send_some(limits)).await;
        }
    }

    /// Brings every sample of every lot to an end, then settles all lots, newest first: the queue's cursor is the end of
    /// the settled prefix, so it passes the whole group in one step or not at all, and a group begins again where it began.
    pub(crate) async fn send_all(&mut self, limits: Limits) -> Result<(), Stopped> {
        let mut at = Place::default();
        let last = Place { lot: self.lots.len(), sample: 0 };
        while at < last {
            (at, _) = self.deliver(at, limits).await?;
        }
        while let Some(lot) = self.lots.pop_back() {
            lot.settle();
        }
        Ok(())
    }

    /// Brings to an end what fits into one body from `from` on, in halves where the far end wants less or refuses a part. Gives
    /// the place behind it and the number of its samples.
    async fn deliver(&mut self, from: Place, limits: Limits) -> Result<(Place, u64), Stopped> {
        let all = Place { lot: self.lots.len(), sample: 0 };
        let first = self.pack(from, all, limits);
        let (end, kept) = (first.load.end, first.load.kept);
        // A refused body is halved between frames first, which costs two requests a frame at most: after a crash, frames
        // that a strict receiver has already are in one body with frames that it has not. Within a frame a poisoned sample
        // among n is found in about 2 log2(n) requests; the budget bounds what a far end that refuses everything can cost.
        // Past it, a refused part of a frame is refused whole.
        let mut isolations = isolation_budget(kept);
        let mut parts = vec![(from, end)];
        let mut ready = Some(first);
        while let Some((from, to)) = parts.pop() {
            let packed = match ready.take() {
                Some(packed) => packed,
                None => self.pack(from, to, Limits::NONE),
            };
            let Some((load, verdict)) = self.carry(packed).await? else {
                continue;
            };
            let (loss, message, halve) = match verdict {
                Verdict::Partial { written, loss, message } => {
                    self.book(&load, written.unwrap_or(0), Some((loss, &message)));
                    continue;
                }
                Verdict::TooLarge { message } => (Loss::TooLarge, message, true),
                Verdict::Refused { loss, message, isolate } => {
                    let within = load.shares.iter().filter(|share| share.kept > 0).count() < 2;
                    let halve = isolate && (isolations > 0 || !within);
                    isolations -= u32::from(halve && within);
                    (loss, message, halve)
                }
                Verdict::Accepted | Verdict::Retry { .. } | Verdict::Hold { .. } | Verdict::Unready { .. } => {
                    self.book(&load, load.kept, None);
                    continue;
                }
            };
            if halve && load.kept > 1 {
                let half = Limits { samples: load.first_half(), ..Limits::NONE };
                let middle = write_body(&self.lots, None, from, to, half, self.cutoff()).end;
                parts.push((middle, to));
                parts.push((from, middle));
            } else {
                self.book(&load, 0, Some((loss, &message)));
            }
        }
        Ok((end, kept))
    }

    /// Sends one body until the far end says something final about it. `None`: nothing of it was left to send.
    async fn carry(&mut self, packed: Packed) -> Result<Option<(Load, Verdict)>, Stopped> {
        let Packed { mut load, mut parcel } = packed;
        let shared = Arc::clone(&self.shared);
        let mut backoff = Backoff::new(shared.config.backoff.min, shared.config.backoff.max);
        // When the next attempt may be made.
        let mut earliest = None;
        loop {
            // It may have waited for long: what is too old by now, or was given up by the queue, is not sent.
            if self.let_go(&load) || self.cutoff().is_some_and(|cutoff| load.oldest_ms < cutoff) {
                Packed { load, parcel } = self.pack(load.from, load.end, Limits::NONE);
            }
            if load.kept == 0 {
                self.book(&load, 0, None);
                return Ok(None);
            }
            let turn = async {
                if let Some(earliest) = earliest {
                    tokio::time::sleep_until(earliest).await;
                }
                shared.pace.acquire().await
            };
            let permit = tokio::select! {
                biased;
                () = shared.stop.cancelled(), if !self.last_call => return Err(Stopped),
                () = grace(&shared.stop, shared.tuning.stop_grace), if self.last_call => return Err(Stopped),
                permit = turn => permit,
                () = self.oldest_given_up(&load) => continue,
            };
            if self.cutoff().is_some_and(|cutoff| load.oldest_ms < cutoff) {
                continue;
            }
            let verdict = tokio::select! {
                verdict = shared.courier.attempt(&parcel, backoff.failures()) => verdict,
                () = grace(&shared.stop, shared.tuning.stop_grace) => return Err(Stopped),
                () = self.all_given_up(&load) => continue,
            };
            let wait = match verdict {
                Verdict::Retry { after, pressure, why } => {
                    if pressure {
                        shared.pace.pressed();
                    }
                    shared.pace.missed();
                    shared.metrics.retried.inc_by(load.kept);
                    shared.status.retrying(self.number, &why);
                    match after {
                        Some(wish) => backoff.next_delay_after(wish.min(shared.tuning.longest_wish)),
                        None => backoff.next_delay(),
                    }
                }
                Verdict::Hold { why } => self.held(&load, why, Cause::Refused),
                Verdict::Unready { why } => self.held(&load, why, Cause::Unready),
                verdict => {
                    let accepted = verdict == Verdict::Accepted;
                    if accepted {
                        shared.metrics.bytes.inc_by(parcel.body.len() as u64);
                    }
                    shared.pace.eased();
                    shared.status.working(self.number, accepted);
                    return Ok(Some((load, verdict)));
                }
            };
            shared.metrics.shards.set(i64::from(shared.pace.window()));
            drop(permit);
            if self.last_call {
                return Err(Stopped);
            }
            earliest = Some(Instant::now() + wait);
        }
    }

    /// Lets go of the frames of a body that the queue gave up. True if there were some.
    fn let_go(&mut self, load: &Load) -> bool {
        let mut some = false;
        for lot in self.lots.range_mut(load.lots(self.lots.len())) {
            some |= lot.let_go();
        }
        some
    }

    /// Resolves when the queue gives up the oldest frame of a body; it takes the oldest first.
    async fn oldest_given_up(&self, load: &Load) {
        let first = self.lots.range(load.lots(self.lots.len())).find_map(Lot::claim);
        match first {
            Some(claim) => claim.evicted_wait().await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when the queue has given up every frame of a body: its answer has nothing to say any more.
    async fn all_given_up(&self, load: &Load) {
        for claim in self.lots.range(load.lots(self.lots.len())).rev().filter_map(Lot::claim) {
            claim.evicted_wait().await;
        }
    }

    /// Samples with an older timestamp are not sent.
    fn cutoff(&self) -> Option<i64> {
        let max_age = self.shared.config.max_age?;
        Some(self.shared.clock.now_ms().saturating_sub(i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The destination is held for all lines; the pace says when it is tried again.
    fn held(&self, load: &Load, why: String, cause: Cause) -> Duration {
        self.shared.metrics.retried.inc_by(load.kept);
        self.shared.status.held(why);
        self.shared.pace.hold(cause);
        Duration::ZERO
    }

    /// Makes a compressed body of the samples from `from` on, up to `to` or the limits, and names it where the protocol
    /// wants names. The counts are complete for `from..end`.
    fn pack(&self, from: Place, to: Place, limits: Limits) -> Packed {
        let expected =
            self.lots.range(from.lot..self.lots.len().min(to.lot + 1)).map(|lot| u64::from(lot.items())).sum::<u64>();
        let cutoff = self.cutoff();
        off_reactor(expected.min(limits.samples) > LONG_BODY, || {
            self.shared.presses.with(|press| {
                let load = write_body(&self.lots, Some(press), from, to, limits, cutoff);
                // snap refuses only inputs beyond 4 GiB, and bodies are bounded far below.
                let body = if load.kept > 0 { press.finish().unwrap_or_default() } else { Bytes::new() };
                let named = load.kept > 0 && self.shared.courier.protocol().names_by_place();
                let extent = named.then(|| self.extent(&load)).flatten();
                let samples = load.kept;
                Packed { load, parcel: Parcel { body, extent, samples } }
            })
        })
    }

    fn extent(&self, load: &Load) -> Option<Extent> {
        let lots = load.lots(self.lots.len());
        let mut held = self.lots.range(lots.clone()).zip(lots).filter_map(|(lot, at)| Some((at, lot, lot.claim()?)));
        let (first_at, _, first) = held.next()?;
        let mut last = (first_at, first);
        let mut digest = Sha256::new();
        digest.update(first.payload());
        for (at, _, claim) in held {
            digest.update(claim.payload());
            last = (at, claim);
        }
        let mut short = [0; 8];
        short.copy_from_slice(&digest.finalize()[..8]);
        let (first, last_at, last) = (first.frame(), last.0, last.1.frame());
        let skipped = if first_at == load.from.lot { load.from.sample } else { 0 };
        let after = if last_at == load.end.lot { load.end.sample } else { last.items };
        Some(Extent {
            lane: first.lane.clone(),
            first_item: first.first_item + u64::from(skipped),
            last_item: (last.first_item + u64::from(after)).saturating_sub(1),
            ingest_ms: first.ingest_ms,
            digest: short,
        })
    }

    /// Books a body's samples: `delivered` of the kept ones were stored, the others lost as `lost` says.
    fn book(&mut self, load: &Load, delivered: u64, lost: Option<(Loss, &str)>) {
        let shared = &self.shared;
        let mut left = delivered.min(load.kept);
        let mut sum = Tally::default();
        for share in &load.shares {
            let stored = u32::try_from(left).unwrap_or(u32::MAX).min(share.kept);
            left -= u64::from(stored);
            let mut tally = Tally {
                delivered: stored,
                filtered: share.filtered,
                expired: share.expired,
                damaged: share.damaged,
                ..Tally::default()
            };
            tally.reject(lost.map_or(Loss::BadRequest, |(loss, _)| loss), share.kept - stored);
            tally.reject(Loss::Undecodable, share.undecodable);
            sum.add(&tally);
            if let Some(lot) = self.lots.get_mut(share.lot) {
                lot.tally.add(&tally);
            }
        }
        shared.status.count(u64::from(sum.delivered), u64::from(sum.filtered), u64::from(sum.expired));
        shared.metrics.dropped("dropped_series", u64::from(sum.filtered));
        shared.metrics.dropped("too_old", u64::from(sum.expired));
        // As in Prometheus, refused samples were sent too.
        shared.metrics.samples.inc_by(load.kept);
        if let Some((loss, message)) = lost {
            let refused = load.kept - delivered.min(load.kept);
            shared.metrics.failed.inc_by(refused);
            shared.status.lost(loss, refused, message);
        }
        let undecodable: u32 = load.shares.iter().map(|share| share.undecodable).sum();
        shared.status.lost(
            Loss::Undecodable,
            u64::from(undecodable),
            "the series table of these samples cannot be read",
        );
        shared.status.lost(
            Loss::Damaged,
            u64::from(sum.damaged),
            "the series table of these samples is damaged on disk",
        );
        if delivered > 0 {
            shared.metrics.queue_highest_sent.note(load.newest_ms);
        }
    }
}

/// Resolves some time after the stop: what is under way may end until then.
pub(crate) async fn grace(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

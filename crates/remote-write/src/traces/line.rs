//! One sequence of received requests on its way out: a shard of an OTLP destination, or a lane of a bucket.
//!
//! It makes requests of a group of lots, has them carried until each item has come to an end, and settles lots whole. It does
//! not read the queue and judges no answer. It keeps true: one request at a time, items in the order of the lots; every item
//! is booked in one column; what is not booked when it stops comes back.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use model::otlp::Signal;
use net::Backoff;
use pipeline::{AgeClock, OtlpClaim, off_reactor};
use prometheus_client::metrics::gauge::Gauge;
use sha2::{Digest, Sha256};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Piece,
    book::Book,
    cargo::{Cargo, pack},
    documents::Load,
    metrics::OtlpCells,
    wire::Wire,
};
use crate::{
    DestinationConfig, DestinationStatus, Tuning,
    courier::Post,
    line::{Stopped, grace},
    load::isolation_budget,
    logs::{found, wire::LogVerdict},
    lot::{Pending, Tally},
    metrics::DestinationMetrics,
    pace::{Cause, Pace},
    protocol::Extent,
    roster::Binding,
    verdict::{Loss, Verdict},
};

/// What the lines of one destination share.
#[derive(Debug)]
pub(crate) struct Road {
    pub(crate) config: Arc<DestinationConfig>,
    pub(crate) tuning: Tuning,
    pub(crate) post: Post,
    pub(crate) wire: Wire,
    pub(crate) pace: Pace,
    pub(crate) status: DestinationStatus,
    pub(crate) metrics: DestinationMetrics,
    pub(crate) cells: OtlpCells,
    /// Tells what is too old to be sent.
    pub(crate) clock: AgeClock,
    /// No new request after this.
    pub(crate) stop: CancellationToken,
}

/// A claim and its place among what is in flight.
#[derive(Debug)]
pub(crate) struct Dealt {
    pub(crate) claim: OtlpClaim,
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// A claim on its way out. Dropped unsettled, it comes back.
#[derive(Debug)]
pub(crate) struct TraceLot {
    claim: OtlpClaim,
    _room: Option<OwnedSemaphorePermit>,
    _binding: Option<Binding<Dealt>>,
    _pending: Pending,
}

impl TraceLot {
    pub(crate) fn new(dealt: Dealt, binding: Option<Binding<Dealt>>, pending: &Gauge) -> Self {
        let Dealt { claim, room } = dealt;
        let pending = Pending::new(pending, claim.frame().items);
        Self { claim, _room: room, _binding: binding, _pending: pending }
    }

    fn settle(self, tally: &Tally) {
        let items = self.claim.frame().items;
        let booked = tally.delivered + tally.filtered + tally.expired + tally.refused() + tally.damaged;
        // A lot that is dropped comes back, unless the queue gave it up.
        if booked == items {
            self.claim.settle(tally.outcome(items));
        }
    }
}

/// See the file's head.
pub(crate) struct TraceLine {
    road: Arc<Road>,
    number: u32,
    lots: Vec<TraceLot>,
}

/// Encoding more than this takes more than about a millisecond.
const LONG: usize = 256 << 10;

impl TraceLine {
    pub(crate) fn new(road: Arc<Road>, number: u32) -> Self {
        Self { road, number, lots: Vec::new() }
    }

    pub(crate) fn push(&mut self, lot: TraceLot) {
        self.lots.push(lot);
    }

    /// Brings every item of every lot to an end, and settles the lots, newest first: the queue's cursor passes the group in
    /// one step.
    pub(crate) async fn send(&mut self) -> Result<(), Stopped> {
        let lots = std::mem::take(&mut self.lots);
        let road = &*self.road;
        let book = Book::new(lots.len(), &road.status, &road.metrics, &road.cells);
        let mut group = Group { road, lots: &lots, book, number: self.number };
        let mut ended = Ok(());
        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            if ended.is_ok() {
                ended = group.send(signal).await;
            }
        }
        let tallies = group.book.into_tallies();
        // A group that is named by its place begins again where it began.
        if ended.is_ok() || !road.wire.names_by_place() {
            for (lot, tally) in lots.into_iter().zip(tallies).rev() {
                lot.settle(&tally);
            }
        }
        ended
    }
}

/// Lots that are sent together.
struct Group<'g> {
    road: &'g Road,
    lots: &'g [TraceLot],
    book: Book<'g>,
    number: u32,
}

impl<'g> Group<'g> {
    /// Everything of one signal.
    async fn send(&mut self, signal: Signal) -> Result<(), Stopped> {
        self.book.turn_to(signal);
        let mut of_signal = Vec::new();
        let cutoff_ms = self.cutoff_ms();
        for (at, lot) in self.lots.iter().enumerate() {
            let (frame, items) = (lot.claim.frame(), lot.claim.frame().items);
            if lot.claim.signal() != signal || lot.claim.evicted() {
                continue;
            }
            if !self.road.wire.takes(signal) {
                // The door lets in what somebody takes: that is not this one.
                self.book.filtered(at, items);
            } else if !self.road.wire.names_by_place() && cutoff_ms.is_some_and(|cutoff| frame.ingest_ms < cutoff) {
                self.book.expired(at, items);
            } else if items > 0 {
                of_signal.push(at);
            }
        }
        if of_signal.is_empty() {
            return Ok(());
        }
        if matches!(self.road.wire, Wire::XRay(_)) {
            return self.documents(&of_signal).await;
        }
        let lots = self.lots;
        let piece = |at: usize| {
            let claim = &lots.get(at)?.claim;
            Some(Piece { lot: at, items: claim.frame().items, body: Cow::Borrowed(claim.body()) })
        };
        let pieces: Vec<Piece<'g>> = of_signal.iter().filter_map(|at| piece(*at)).collect();
        let extent = if self.road.wire.names_by_place() { self.extent(&of_signal) } else { None };
        for cargo in pack(pieces, signal, self.road.wire.limits()) {
            self.bring(signal, cargo, extent.as_ref()).await?;
        }
        Ok(())
    }

    /// The same as X-Ray wants it, one request after the other, so that little of it is in memory at once.
    async fn documents(&mut self, of_signal: &[usize]) -> Result<(), Stopped> {
        let (lots, road) = (self.lots, self.road);
        let Wire::XRay(wire) = &road.wire else { return Ok(()) };
        let mut load = Load::new(0);
        for at in of_signal {
            let Some(lot) = lots.get(*at) else { continue };
            let (body, mut left) = (lot.claim.body(), lot.claim.frame().items);
            let mut reading = xray::Reading::of(body, wire.options());
            loop {
                let told = |made: Result<xray::Made, xray::Refusal>| self.made(*at, &mut left, made);
                let Some(next) = off_reactor(body.len() > LONG, || load.fill(*at, &mut reading, told)) else { break };
                let full = std::mem::replace(&mut load, next).close();
                self.bring(Signal::Traces, Cargo::Spans(full), None).await?;
            }
        }
        if load.is_empty() {
            return Ok(());
        }
        self.bring(Signal::Traces, Cargo::Spans(load.close()), None).await
    }

    /// A span of a lot of which so many are `left` was made a document, or is lost.
    fn made(&mut self, at: usize, left: &mut u32, made: Result<xray::Made, xray::Refusal>) {
        let (lost, loss) = match made {
            Ok(made) => {
                self.road.cells.made(1 + u64::from(made.second.is_some()), &made.shed);
                *left = left.saturating_sub(1);
                return;
            }
            Err(xray::Refusal::TraceId | xray::Refusal::SpanId) => (1, Loss::InvalidId),
            Err(xray::Refusal::StartTime) => (1, Loss::BadRequest),
            Err(xray::Refusal::Undecodable) => (*left, Loss::Undecodable),
        };
        *left = left.saturating_sub(lost);
        let message = made.err().map(|refusal| refusal.to_string()).unwrap_or_default();
        self.book.lost(at, lost, loss, &message);
    }

    fn encode(&self, signal: Signal, cargo: &Cargo<'_>) -> Bytes {
        off_reactor(cargo.bytes() > LONG, || self.road.wire.encode(signal, cargo))
    }

    /// Brings one request's items to their ends, in halves where the far end wants less or refuses a part.
    async fn bring(&mut self, signal: Signal, cargo: Cargo<'g>, extent: Option<&Extent>) -> Result<(), Stopped> {
        let mut isolations = isolation_budget(cargo.items());
        let mut stack = vec![cargo];
        while let Some(mut cargo) = stack.pop() {
            let Some(verdict) = self.carry(signal, &mut cargo, extent).await? else { continue };
            let ingest_ms = self.newest_ms(&cargo);
            let (loss, message, halve) = match verdict {
                Verdict::Partial { written, loss, message } => {
                    self.book.ended(&cargo, written.unwrap_or(0), Some((loss, &message)), ingest_ms);
                    continue;
                }
                Verdict::TooLarge { message } => (Loss::TooLarge, message, true),
                Verdict::Refused { loss, message, isolate } => {
                    let halve = isolate && isolations > 0;
                    isolations -= u32::from(halve);
                    (loss, message, halve)
                }
                Verdict::Accepted | Verdict::Retry { .. } | Verdict::Hold { .. } | Verdict::Unready { .. } => {
                    self.book.ended(&cargo, cargo.items(), None, ingest_ms);
                    continue;
                }
            };
            let whole = if halve { cargo.halve(signal) } else { Err(cargo) };
            match whole {
                Ok((first, rest)) => stack.extend([rest, first]),
                Err(cargo) => self.book.ended(&cargo, 0, Some((loss, &message)), None),
            }
        }
        Ok(())
    }

    /// Sends one request until the far end says something final about all of it. `None`: every item of it is booked.
    async fn carry(
        &mut self,
        signal: Signal,
        cargo: &mut Cargo<'g>,
        extent: Option<&Extent>,
    ) -> Result<Option<Verdict>, Stopped> {
        let Road { config, tuning, pace, status, metrics, stop, .. } = self.road;
        let mut backoff = Backoff::new(config.backoff.min, config.backoff.max);
        let (mut earliest, mut founded) = (None, false);
        let mut body = self.encode(signal, cargo);
        loop {
            // It may have waited for long: what is too old by now, or was given up by the queue, is not sent.
            if self.trim(cargo) {
                if cargo.items() == 0 {
                    return Ok(None);
                }
                body = self.encode(signal, cargo);
            }
            let turn = async {
                if let Some(earliest) = earliest {
                    tokio::time::sleep_until(earliest).await;
                }
                pace.acquire().await
            };
            let permit = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                permit = turn => permit,
                () = self.oldest_given_up(cargo) => continue,
            };
            let items = cargo.items();
            let verdict = tokio::select! {
                verdict = self.attempt(signal, &body, cargo, extent) => verdict,
                () = grace(stop, tuning.stop_grace) => return Err(Stopped),
            };
            let verdict = match verdict {
                LogVerdict::Missing { group, why } => match self.road.wire.founder() {
                    Some((founder, place)) => {
                        let made = tokio::select! {
                            made = found::found(&self.road.post, founder, place, group) => made,
                            () = grace(stop, tuning.stop_grace) => return Err(Stopped),
                        };
                        match made {
                            Ok(()) if !founded => {
                                founded = true;
                                continue;
                            }
                            // What was just made is not seen everywhere at once.
                            Ok(()) => Verdict::Retry { after: None, pressure: false, why }.into(),
                            Err(verdict) => verdict.into(),
                        }
                    }
                    None => Verdict::Hold { why }.into(),
                },
                other => other,
            };
            let wait = match verdict {
                LogVerdict::Each { lost, again, message } => {
                    pace.eased();
                    if self.part(cargo, &lost, &again, &message) {
                        status.working(self.number, true);
                        metrics.bytes.inc_by(body.len() as u64);
                        return Ok(None);
                    }
                    if cargo.items() < items {
                        backoff = Backoff::new(config.backoff.min, config.backoff.max);
                    } else {
                        pace.pressed();
                    }
                    metrics.retried.inc_by(cargo.items());
                    status.retrying(self.number, &message);
                    body = self.encode(signal, cargo);
                    backoff.next_delay()
                }
                LogVerdict::Whole(Verdict::Retry { after, pressure, why }) => {
                    if pressure {
                        pace.pressed();
                    }
                    pace.missed();
                    metrics.retried.inc_by(items);
                    status.retrying(self.number, &why);
                    match after {
                        Some(wish) => backoff.next_delay_after(wish.min(tuning.longest_wish)),
                        None => backoff.next_delay(),
                    }
                }
                LogVerdict::Whole(Verdict::Hold { why }) => self.held(items, why, Cause::Refused),
                LogVerdict::Whole(Verdict::Unready { why }) => self.held(items, why, Cause::Unready),
                LogVerdict::Missing { why, .. } => self.held(items, why, Cause::Refused),
                LogVerdict::Whole(verdict) => {
                    let accepted = verdict == Verdict::Accepted;
                    if accepted {
                        metrics.bytes.inc_by(body.len() as u64);
                    }
                    pace.eased();
                    status.working(self.number, accepted);
                    return Ok(Some(verdict));
                }
            };
            metrics.shards.set(i64::from(pace.window()));
            drop(permit);
            earliest = Some(Instant::now() + wait);
        }
    }

    /// Leaves out what the queue gave up, and books what is too old by now. True if something went.
    fn trim(&mut self, cargo: &mut Cargo<'g>) -> bool {
        let lots = self.lots;
        let mut changed = cargo.leave_out(|lot| lots.get(lot).is_none_or(|lot| lot.claim.evicted()));
        // Objects are built from the same frames each time.
        if let Some(cutoff) = self.cutoff_ms().filter(|_| !self.road.wire.names_by_place()) {
            let is_old = |lot: usize| lots.get(lot).is_some_and(|lot| lot.claim.frame().ingest_ms < cutoff);
            for (lot, items) in cargo.shares().into_iter().filter(|(lot, _)| is_old(*lot)) {
                self.book.expired(lot, items);
            }
            changed |= cargo.leave_out(is_old);
        }
        changed
    }

    /// Resolves when the queue gives up the oldest frame of a cargo; it takes the oldest first.
    async fn oldest_given_up(&self, cargo: &Cargo<'_>) {
        match cargo.oldest().and_then(|lot| self.lots.get(lot)) {
            Some(lot) => lot.claim.evicted_wait().await,
            None => std::future::pending().await,
        }
    }

    async fn attempt(&self, signal: Signal, body: &Bytes, cargo: &Cargo<'_>, extent: Option<&Extent>) -> LogVerdict {
        let wire = &self.road.wire;
        let items = cargo.items();
        let request = || wire.request(signal, body, items, extent);
        let judged = |status, headers: &http::HeaderMap, body: &[u8]| wire.judge(status, headers, body, cargo);
        let verdict = self.road.post.exchange(request, judged).await.unwrap_or_else(LogVerdict::from);
        let well = matches!(&verdict, LogVerdict::Whole(Verdict::Accepted | Verdict::Partial { .. }));
        self.road.cells.outcome(well);
        verdict
    }

    /// Books the spans that an answer names, and leaves those in the cargo that have to be sent once more. True if none are.
    fn part(
        &mut self,
        cargo: &mut Cargo<'g>,
        lost: &[(std::ops::Range<usize>, Loss)],
        again: &[usize],
        message: &str,
    ) -> bool {
        let Cargo::Spans(documents) = cargo else { return true };
        let mut again = again.iter().copied().peekable();
        let mut left = Vec::new();
        for (at, span) in std::mem::take(&mut documents.spans).into_iter().enumerate() {
            if again.next_if_eq(&at).is_some() {
                left.push(span);
                continue;
            }
            let loss = lost.iter().find(|(range, _)| range.contains(&at)).map(|(_, loss)| (*loss, message));
            self.book.ended_one(span.lot, loss);
        }
        let through = left.is_empty();
        documents.spans = left;
        through
    }

    /// Requests received earlier are not sent.
    fn cutoff_ms(&self) -> Option<i64> {
        let max_age = self.road.config.max_age?;
        let age = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        Some(self.road.clock.now_ms().saturating_sub(age))
    }

    /// The destination is held for all lines; the pace says when it is tried again.
    fn held(&self, items: u64, why: String, cause: Cause) -> Duration {
        self.road.metrics.retried.inc_by(items);
        self.road.status.held(why);
        self.road.pace.hold(cause);
        Duration::ZERO
    }

    /// When the newest of a cargo was received.
    fn newest_ms(&self, cargo: &Cargo<'_>) -> Option<i64> {
        let newest = cargo.shares().into_iter().map(|(lot, _)| lot).max()?;
        Some(self.lots.get(newest)?.claim.frame().ingest_ms)
    }

    /// Where lots of one lane lie in the queue.
    fn extent(&self, of_signal: &[usize]) -> Option<Extent> {
        let claims: Vec<&OtlpClaim> =
            of_signal.iter().filter_map(|at| self.lots.get(*at)).map(|lot| &lot.claim).collect();
        let (first, last) = (claims.first()?.frame(), claims.last()?.frame());
        let mut digest = Sha256::new();
        for claim in &claims {
            digest.update(claim.body());
        }
        let mut short = [0; 8];
        short.copy_from_slice(&digest.finalize()[..8]);
        Some(Extent {
            lane: first.lane.clone(),
            first_item: first.first_item,
            last_item: (last.first_item + u64::from(last.items)).saturating_sub(1),
            ingest_ms: first.ingest_ms,
            digest: short,
        })
    }
}

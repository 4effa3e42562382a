//! A chain between two lanes of the queue: it reads what receivers made durable and appends what survives.
//!
//! Keeps true: a received request is settled when each of its spans was dropped for a counted reason or is durable in the next lane;
//! until then it comes again after a crash. Data points and log records pass as they are.

use std::{
    collections::BTreeMap,
    future::ready,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use model::otlp::Signal;
use pipeline::{
    MAX_OTLP_REQUEST, OtlpBuffer, OtlpClaim, OtlpIntake, OtlpOutlet, Outcome, Reason, Receipt, off_reactor,
};
use prost::Message;
use proto::otlp_traces::ExportTraceServiceRequest;
use tokio_util::sync::CancellationToken;

use crate::{
    Chain, ProcessorMetrics, Sinks,
    auto_log::Line,
    chain::{Ended, FrameId, Output},
    metrics::StageCounts,
    parcel::parcels,
    span_metrics::Column,
};

/// Requests, and bytes of them, that are worked on at once and become durable together. Decoded, the smallest spans take a hundred
/// times their bytes.
const TOGETHER: usize = 128;
const TOGETHER_BYTES: usize = 1 << 20;
/// More bytes than this take about a millisecond.
const LONG: usize = 64 << 10;
/// How long a lane without room is left alone.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a stage that was told to stop goes on with what is there.
const GRACE: Duration = Duration::from_secs(2);

/// See the file's head.
#[derive(Debug)]
pub struct Stage {
    chain: Chain,
    counts: StageCounts,
    onward: Vec<OtlpIntake>,
    sinks: Sinks,
    held: BTreeMap<FrameId, Held>,
    /// Received bytes in `held`.
    bytes: u64,
    next: FrameId,
}

/// A received request and how many of its spans have not come to their end.
#[derive(Debug)]
struct Held {
    claim: OtlpClaim,
    open: u32,
    forwarded: u32,
    dropped: u32,
}

/// One request for the next lane.
struct Onward {
    /// Which of them.
    lane: usize,
    signal: Signal,
    body: OtlpBuffer,
    items: u32,
}

/// What a turn came to.
struct Worked {
    onward: Vec<Onward>,
    ended: Vec<Ended>,
    lines: Vec<Line>,
    columns: Vec<Column>,
}

/// Something for it to do.
enum Work {
    Claim(OtlpClaim),
    Due,
    Stop,
}

/// The queue takes nothing more, or the stage was told to stop.
struct Closed;

impl Stage {
    /// What its destination in the queue has to allow: bytes of received requests that are held at once, and their number.
    pub const ROOM_BYTES: u64 = 64 << 20;
    pub const ROOM_CLAIMS: usize = 1 << 16;

    /// `onward`: where destinations read; several if the chain parts spans between backends. `instance`: the entry of `traces.configs`.
    pub fn new(
        chain: Chain,
        onward: Vec<OtlpIntake>,
        sinks: Sinks,
        instance: &str,
        metrics: &ProcessorMetrics,
    ) -> Self {
        Self { chain, counts: metrics.of(instance), onward, sinks, held: BTreeMap::new(), bytes: 0, next: 0 }
    }

    /// A stage that hands what waits for a backend to those that are left, and counts it as that and nothing else.
    pub fn rerouting(chain: Chain, onward: Vec<OtlpIntake>, instance: &str, metrics: &ProcessorMetrics) -> Self {
        let counts = metrics.rerouting(instance);
        Self { chain, counts, onward, sinks: Sinks::default(), held: BTreeMap::new(), bytes: 0, next: 0 }
    }

    /// Works until `stop` or until the queue closes. What is not settled then comes back.
    pub async fn run(mut self, mut outlet: OtlpOutlet, stop: CancellationToken) {
        loop {
            let claims = match self.next_work(&mut outlet, &stop).await {
                Work::Claim(claim) => gathered(claim, &mut outlet).await,
                Work::Due => Vec::new(),
                Work::Stop => break,
            };
            if self.pass(claims, &stop).await.is_err() {
                return;
            }
        }
        // What arrived before the stop and needs no decision goes on now instead of after the next start.
        let rest = async {
            while let Some(claim) = at_once(&mut outlet).await {
                let claims = gathered(claim, &mut outlet).await;
                if self.pass(claims, &stop).await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(GRACE, rest).await;
        if self.sinks.retired.is_cancelled() {
            let columns = self.chain.last(Instant::now());
            self.sinks.put_columns(&columns, &self.counts).await;
            // A series has one sample at a time.
            tokio::time::sleep(Duration::from_millis(2)).await;
            let columns = self.chain.ending();
            self.sinks.put_columns(&columns, &self.counts).await;
        }
    }

    async fn next_work(&self, outlet: &mut OtlpOutlet, stop: &CancellationToken) -> Work {
        let due = self.chain.due();
        let due = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Work::Stop,
            () = due => Work::Due,
            claim = outlet.next() => claim.map_or(Work::Stop, Work::Claim),
        }
    }

    /// Works on these, and settles what came to its end.
    async fn pass(&mut self, claims: Vec<OtlpClaim>, stop: &CancellationToken) -> Result<(), Closed> {
        let bytes: usize = claims.iter().map(|claim| claim.body().len()).sum();
        let worked = off_reactor(bytes > LONG, || self.work(claims, Instant::now()));
        let Worked { onward, ended, lines, columns } = worked;
        let logged = match self.chain.logging() {
            Some(config) => self.sinks.put_lines(&lines, config.timeout, &self.counts).await,
            None => None,
        };
        self.sinks.put_columns(&columns, &self.counts).await;
        self.forward(onward, stop).await?;
        if let Some(receipt) = logged {
            // A lane of logs that closes first was told to: spans are not held for it.
            let _ = receipt.durable().await;
        }
        self.settle(&ended);
        Ok(())
    }

    fn work(&mut self, claims: Vec<OtlpClaim>, now: Instant) -> Worked {
        let mut onward = Vec::new();
        let mut out = Output::default();
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.chain.tick(now, second, &mut out);
        for claim in claims {
            let (signal, items) = (claim.signal(), claim.frame().items);
            if signal != Signal::Traces || self.chain.is_empty() {
                onward.push(as_it_is(&claim));
                let frame = self.hold(claim);
                out.ended.push(Ended { frame, forwarded: items, dropped: 0 });
                continue;
            }
            self.counts.accepted.inc_by(u64::from(items));
            // Checked at the door: a record that cannot be decoded is damaged or of a newer release.
            let request = match ExportTraceServiceRequest::decode(claim.body()) {
                Ok(request) => request,
                Err(error) => {
                    tracing::warn!(items, %error, "a queued request cannot be decoded for its processors and is given up");
                    self.counts.undecodable.inc_by(u64::from(items));
                    claim.settle(Outcome::Rejected(Reason::UNDECODABLE));
                    continue;
                }
            };
            let frame = self.hold(claim);
            self.chain.take(frame, request, now, second, &mut out);
        }
        // Before the queue would give nothing more: then nothing but time would end the wait.
        if self.bytes > Self::ROOM_BYTES / 4 * 3 || self.held.len() > Self::ROOM_CLAIMS / 4 * 3 {
            self.chain.press(second, &mut out);
        }
        let parts = out.forward.into_iter().flat_map(|request| self.chain.parted(request));
        for (lane, request) in parts {
            onward.extend(parcels(request, MAX_OTLP_REQUEST).into_iter().map(|parcel| {
                let mut body = OtlpBuffer::with_capacity(parcel.body.len());
                body.extend(&parcel.body);
                Onward { lane, signal: Signal::Traces, body, items: parcel.spans }
            }));
        }
        Worked { onward, ended: out.ended, lines: out.lines, columns: out.columns }
    }

    fn hold(&mut self, claim: OtlpClaim) -> FrameId {
        let (frame, open) = (self.next, claim.frame().items);
        self.next += 1;
        self.bytes += claim.body().len() as u64;
        self.held.insert(frame, Held { claim, open, forwarded: 0, dropped: 0 });
        frame
    }

    /// Makes everything durable in the next lane.
    async fn forward(&mut self, onward: Vec<Onward>, stop: &CancellationToken) -> Result<(), Closed> {
        let mut last: BTreeMap<usize, Receipt> = BTreeMap::new();
        for Onward { lane, signal, body, items } in onward {
            let receipt = self.append(lane, signal, body, items, stop).await?;
            last.insert(lane, receipt);
            if signal == Signal::Traces {
                self.counts.forwarded.inc_by(u64::from(items));
            }
        }
        // A lane makes durable in the order of its appends.
        let durable = async {
            for receipt in last.into_values() {
                receipt.durable().await.map_err(|_| Closed)?;
            }
            Ok(())
        };
        // A disk that takes nothing must not keep a stage that is to end: what it held comes back.
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            done = durable => done,
            () = given_up => Err(Closed),
        }
    }

    async fn append(
        &self,
        lane: usize,
        signal: Signal,
        body: OtlpBuffer,
        items: u32,
        stop: &CancellationToken,
    ) -> Result<Receipt, Closed> {
        let onward = self.onward.get(lane).ok_or(Closed)?;
        loop {
            match onward.append(signal, body.clone(), items, signal as u64).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) if error.is_full() => {}
                Err(error) if error.is_closed() => return Err(Closed),
                Err(error) => tracing::error!(%error, "processed spans cannot be appended to the queue; trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => return Err(Closed),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    fn settle(&mut self, ended: &[Ended]) {
        for one in ended {
            let Some(held) = self.held.get_mut(&one.frame) else { continue };
            held.forwarded = held.forwarded.saturating_add(one.forwarded);
            held.dropped = held.dropped.saturating_add(one.dropped);
            held.open = held.open.saturating_sub(one.forwarded.saturating_add(one.dropped));
            if held.open == 0
                && let Some(Held { claim, forwarded, dropped, .. }) = self.held.remove(&one.frame)
            {
                self.bytes = self.bytes.saturating_sub(claim.body().len() as u64);
                claim.settle(match dropped {
                    0 => Outcome::Delivered,
                    filtered => {
                        Outcome::Mixed { delivered: forwarded, filtered, rejected: Vec::new(), expired: 0, damaged: 0 }
                    }
                });
            }
        }
    }
}

fn as_it_is(claim: &OtlpClaim) -> Onward {
    let mut body = OtlpBuffer::with_capacity(claim.body().len());
    body.extend(claim.body());
    Onward { lane: 0, signal: claim.signal(), body, items: claim.frame().items }
}

/// The next claim, if there is one without waiting.
async fn at_once(outlet: &mut OtlpOutlet) -> Option<OtlpClaim> {
    tokio::select! {
        biased;
        claim = outlet.next() => claim.ok(),
        () = ready(()) => None,
    }
}

/// This one and what is there besides.
async fn gathered(first: OtlpClaim, outlet: &mut OtlpOutlet) -> Vec<OtlpClaim> {
    let mut bytes = first.body().len();
    let mut claims = vec![first];
    while claims.len() < TOGETHER && bytes < TOGETHER_BYTES {
        let Some(claim) = at_once(outlet).await else { break };
        bytes += claim.body().len();
        claims.push(claim);
    }
    claims
}

//! Data points and log records that go into the queue as samples and lines, for an instance of metrics or of logs.
//!
//! Keeps true: `Ok` means that all of a request is on disk but what is told as rejected; a request that is not answered with
//! success has added nothing to sums of differences.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::otlp::{Signal, footprint};
use otlp_translate::{ExponentialForm, MetricTranslator, Translated, log_lines};
use pipeline::{Durability, IntakeError, LogIntake, MetricIntake, Receipt, off_reactor};
use tokio::sync::{Mutex, MutexGuard};

use crate::{door::LONG, refusal::Refusal, room::Held};

/// How long a lane without room is waited for, and the disk.
const PATIENCE: Duration = Duration::from_secs(2);
const SYNC: Duration = Duration::from_secs(20);

/// Where the two signals go that are no spans; `None`: the lane of the receiver's own instance.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    metrics: Option<(MetricIntake, Mutex<MetricTranslator>)>,
    logs: Option<LogIntake>,
}

/// Takes back what a request added to sums unless that is done with: also when its client hangs up.
struct AtWork<'t>(MutexGuard<'t, MetricTranslator>);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.undo();
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Taken {
    /// Points or records that are not stored and never will be.
    pub rejected: u64,
    /// By reason.
    pub reasons: Vec<(&'static str, u64)>,
}

impl Taken {
    /// For the client.
    pub(crate) fn why(&self) -> String {
        let each = self.reasons.iter().map(|(reason, count)| format!("{reason}: {count}"));
        format!("not stored, by reason: {}", each.collect::<Vec<_>>().join(", "))
    }
}

impl Elsewhere {
    pub(crate) fn new(metrics: Option<MetricIntake>, logs: Option<LogIntake>, form: ExponentialForm) -> Self {
        Self { metrics: metrics.map(|intake| (intake, Mutex::new(MetricTranslator::new(form)))), logs }
    }

    /// Whether this signal goes elsewhere.
    pub(crate) fn takes(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => false,
            Signal::Metrics => self.metrics.is_some(),
            Signal::Logs => self.logs.is_some(),
        }
    }

    /// Translates and stores a request that was checked.
    pub(crate) async fn take(&self, signal: Signal, request: &[u8], held: &mut Held) -> Result<Taken, Refusal> {
        let long = request.len() > LONG / 8;
        let needed = off_reactor(long, || footprint(signal, request));
        held.more(needed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match (signal, &self.metrics, &self.logs) {
            (Signal::Metrics, Some((intake, translator)), _) => {
                let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
                let mut at_work = AtWork(translator.lock().await);
                let all = off_reactor(long, || at_work.0.translate(request, now_ms)).map_err(Refusal::Malformed)?;
                if !at_work.0.has_added() {
                    drop(at_work);
                    return Self::samples(intake, all).await;
                }
                // Others wait until it is certain what sums there are.
                let taken = Self::samples(intake, all).await?;
                at_work.0.done();
                Ok(taken)
            }
            (Signal::Logs, _, Some(intake)) => {
                let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
                Self::lines(intake, request, now_ns, long).await
            }
            _ => Err(Refusal::NotTaken(signal)),
        }
    }

    async fn samples(intake: &MetricIntake, all: Translated) -> Result<Taken, Refusal> {
        if intake.is_stalled() {
            return Err(Refusal::QueueFull);
        }
        let mut receipts = Vec::with_capacity(all.batches.len());
        for batch in &all.batches {
            let batch = batch.borrowed();
            receipts.push(put(intake.append_now(&batch)).await?);
        }
        for batch in &all.histograms {
            let batch = batch.borrowed();
            receipts.push(put(intake.append_histograms_now(&batch)).await?);
        }
        for batch in &all.stand_ins {
            let batch = batch.borrowed();
            receipts.push(put(intake.append_stand_ins_now(&batch)).await?);
        }
        durable(receipts).await?;
        let reasons: Vec<_> = all.rejected.into_iter().collect();
        Ok(Taken { rejected: reasons.iter().map(|(_, count)| count).sum(), reasons })
    }

    async fn lines(intake: &LogIntake, request: &[u8], now_ns: i64, long: bool) -> Result<Taken, Refusal> {
        let (mut batches, rejected) = off_reactor(long, || log_lines(request, now_ns)).map_err(Refusal::Malformed)?;
        let mut receipts = Vec::with_capacity(batches.len());
        for batch in &mut batches {
            receipts.push(put(intake.append(batch, Signal::Logs as u64, Durability::Now)).await?);
        }
        durable(receipts).await?;
        let reasons = if rejected > 0 { vec![("record_too_large", rejected)] } else { Vec::new() };
        Ok(Taken { rejected, reasons })
    }
}

async fn put(append: impl Future<Output = Result<Receipt, IntakeError>>) -> Result<Receipt, Refusal> {
    match tokio::time::timeout(PATIENCE, append).await {
        Ok(appended) => appended.map_err(crate::door::refused),
        Err(_) => Err(Refusal::QueueFull),
    }
}

async fn durable(receipts: Vec<Receipt>) -> Result<(), Refusal> {
    let all = async {
        for receipt in receipts {
            receipt.durable().await.map_err(|_| Refusal::Stopping)?;
        }
        Ok(())
    };
    tokio::time::timeout(SYNC, all).await.unwrap_or(Err(Refusal::QueueFull))
}

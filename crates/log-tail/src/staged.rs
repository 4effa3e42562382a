//! The stages of one file, and what they have not let go of yet.
//!
//! Lines go in with the place where they lie; what comes out waits in a row until the batch has room. Both, what stages hold
//! back and what waits, is [`held`](Staged::held): a position says of it that it was read and is not in the queue. So a
//! kill loses none of it, and repeats nothing of what came out in between.
//!
//! Keeps true: a line that left the row is in the batch, or was dropped and counted.

use std::{
    collections::VecDeque,
    ops::{Deref, Range},
    sync::Arc,
};

use model::{Labels, LogBatch, MAX_LOG_STREAMS, ModelError};
use stages::{Entry, LineGate, Parts, Passage, Pipeline};

use crate::{FileJob, TailError, lines::Counts, metrics::RouteMetrics, tail_file::BATCH};

/// Stretches of held lines that a position names. A file in which more lines of several streams are mixed has what stages
/// hold of it let go early.
const MAX_STRETCHES: usize = 512;
/// A line that no batch takes whole is cut into pieces of this size.
const PIECE: usize = 8 << 20;

/// A job whose stages were made.
#[derive(Debug)]
pub(crate) struct ReadyJob {
    settings: FileJob,
    /// Each file has a twin of it.
    pipeline: Option<Pipeline>,
    /// The limits of the route, if it has any.
    pub gate: Option<Arc<LineGate>>,
}

impl Deref for ReadyJob {
    type Target = FileJob;

    fn deref(&self) -> &FileJob {
        &self.settings
    }
}

impl ReadyJob {
    pub(crate) fn make(
        settings: FileJob,
        gate: Option<&Arc<LineGate>>,
        metrics: &RouteMetrics,
    ) -> Result<Self, TailError> {
        let pipeline = match settings.stages.stages.is_empty() {
            true => None,
            false => Some(
                Pipeline::new(&settings.stages, &settings.job_name, &metrics.stages)
                    .map_err(|source| TailError::Stages { job: settings.job_name.clone(), source })?,
            ),
        };
        let gate = gate.filter(|gate| !gate.is_open()).cloned();
        Ok(Self { settings, pipeline, gate })
    }

    pub(crate) fn all(
        jobs: Vec<FileJob>,
        gate: Option<&Arc<LineGate>>,
        metrics: &RouteMetrics,
    ) -> Result<Vec<Self>, TailError> {
        jobs.into_iter().map(|job| Self::make(job, gate, metrics)).collect()
    }
}

/// What one file's lines go through.
pub(crate) struct Staged {
    job: Arc<ReadyJob>,
    pipeline: Pipeline,
    /// Came out and is not in a batch.
    row: VecDeque<Entry>,
    /// The limits of the route make the file wait until then.
    wait_ns: i64,
}

impl Staged {
    /// `None`: the job has no stages.
    pub(crate) fn new(job: &Arc<ReadyJob>) -> Option<Self> {
        let pipeline = job.pipeline.as_ref()?.twin();
        Some(Self { job: job.clone(), pipeline, row: VecDeque::new(), wait_ns: 0 })
    }

    pub(crate) fn is_of(&self, job: &Arc<ReadyJob>) -> bool {
        Arc::ptr_eq(&self.job, job)
    }

    /// Takes a line that lies at `part` of its file.
    pub(crate) fn take(&mut self, labels: &Labels, time_ns: i64, line: &[u8], part: Range<u64>, now_ns: i64) {
        let mut entry = Entry::new(labels.clone(), time_ns, String::from_utf8_lossy(line));
        entry.parts = Parts::of(part);
        let row = &mut self.row;
        self.pipeline.process(entry, now_ns, &mut |entry| row.push_back(entry));
    }

    /// Lets go of what was held back long enough.
    pub(crate) fn tick(&mut self, now_ns: i64) {
        if self.pipeline.deadline().is_some_and(|due| due <= now_ns) {
            let row = &mut self.row;
            self.pipeline.flush(now_ns, &mut |entry| row.push_back(entry));
        }
    }

    /// Lets go of everything: nothing more comes.
    pub(crate) fn finish(&mut self, now_ns: i64) {
        let row = &mut self.row;
        self.pipeline.finish(now_ns, &mut |entry| row.push_back(entry));
    }

    /// When there is something to do without a new line, nanoseconds since the epoch.
    pub(crate) fn due_ns(&self) -> Option<i64> {
        self.pipeline.deadline()
    }

    /// Until when no line may come, if that is not now.
    pub(crate) fn waits(&self, now_ns: i64) -> Option<i64> {
        self.pipeline.hold_until().max(Some(self.wait_ns)).filter(|until| *until > now_ns)
    }

    /// Something came out that is not in a batch yet.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.row.is_empty()
    }

    /// Puts what came out into the batch, as far as it has room and limits allow.
    pub(crate) fn pour(&mut self, batch: &mut LogBatch, now_ns: i64, counts: &mut Counts) {
        while batch.bytes() < BATCH && self.wait_ns <= now_ns {
            // What does not fit now fits into the next batch, which is empty; limits are asked when it does.
            let fits = |entry: &Entry| batch.has_room(size(entry)) && batch.streams() < MAX_LOG_STREAMS;
            if !batch.is_empty() && self.row.front().is_some_and(|entry| !fits(entry)) {
                return;
            }
            let Some(mut entry) = self.row.pop_front() else { return };
            if !self.job.limits.apply(&mut entry.line, counts) {
                continue;
            }
            match self.job.gate.as_ref().map_or(Passage::Pass, |gate| gate.pass(&entry.labels, now_ns)) {
                Passage::Pass => {}
                Passage::Drop => continue,
                Passage::Hold(until_ns) => self.wait_ns = until_ns,
            }
            match put(batch, &entry) {
                Ok(()) => {}
                Err(ModelError::TooLarge { .. }) if entry.line.len() > PIECE => {
                    let rest = entry.line.split_off(entry.line.floor_char_boundary(PIECE));
                    counts.split += 1;
                    counts.refused += u64::from(put(batch, &entry).is_err());
                    entry.line = rest;
                    self.row.push_front(entry);
                }
                Err(_) => counts.refused += 1,
            }
        }
    }

    /// Which parts of the file were read and are not in a batch, rising; `None`: in more stretches than a position names.
    pub(crate) fn held(&self) -> Option<Vec<(u64, u64)>> {
        let mut held: Vec<(u64, u64)> = Vec::new();
        self.pipeline.held(|part| held.push((part.start, part.end)));
        held.extend(self.row.iter().flat_map(|entry| entry.parts.iter()).map(|part| (part.start, part.end)));
        held.sort_unstable();
        held.dedup_by(|next, before| {
            let touch = next.0 <= before.1;
            if touch {
                before.1 = before.1.max(next.1);
            }
            touch
        });
        (held.len() <= MAX_STRETCHES).then_some(held)
    }

    /// Everything between the first and the last held line, where there are too many stretches: rather twice than never.
    pub(crate) fn held_roughly(&self) -> Vec<(u64, u64)> {
        let (mut start, mut end) = (u64::MAX, 0);
        let mut note = |part: &Range<u64>| (start, end) = (start.min(part.start), end.max(part.end));
        self.pipeline.held(&mut note);
        self.row.iter().flat_map(|entry| entry.parts.iter()).for_each(note);
        if start < end { vec![(start, end)] } else { Vec::new() }
    }
}

/// Bytes it takes in a batch.
fn size(entry: &Entry) -> usize {
    entry.line.len()
        + entry.structured_metadata.iter().map(|(name, value)| name.len() + value.len() + 16).sum::<usize>()
}

fn put(batch: &mut LogBatch, entry: &Entry) -> Result<(), ModelError> {
    let metadata: Vec<(&str, &str)> = entry.structured_metadata.iter().collect();
    let stream = batch.stream(&entry.labels)?;
    batch.push(stream, entry.timestamp_ns, entry.line.as_bytes(), &metadata)
}

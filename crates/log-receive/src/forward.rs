//! The way that all sources share: line, labels, stages, batch, queue.
//!
//! Opens nothing and waits for no source. Keeps true: a mark goes into the queue in the same record as the last line
//! before it, and never before a line that the stages still hold back; nothing but one batch is kept in memory; a queue
//! without room makes [`Forward::push`] wait, and so its source.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use model::{Labels, LogBatch, MAX_LOG_STREAMS, SourceMark};
use pipeline::{Durability, LogIntake};
use relabel::Rule;
use stages::{Entry, LineGate, Passage, Pipeline, TENANT_LABEL};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    MarkBook, ReceiveError, ReceiveMetrics, SourceState,
    clock::now_ns,
    marks::{Handed, Settler},
    metrics::SourceCounts,
};

/// No line is longer than this, whatever the limits say: a batch must hold it.
pub const LONGEST_LINE: usize = 4 << 20;
/// A mark waits at most this long for the stages to hold nothing back; then they are made to give it out.
const UNCLEAN: Duration = Duration::from_secs(60);

/// What happens to every line of a source.
#[derive(Debug, Clone)]
pub struct ForwardConfig {
    /// `job_name` of the scrape config.
    pub job_name: String,
    /// `relabel_configs`.
    pub relabel: Vec<Rule>,
    /// `limits_config.max_line_size`, bytes; 0 for none but [`LONGEST_LINE`].
    pub max_line_size: usize,
    /// `limits_config.max_line_size_truncate`: cut longer lines instead of dropping them.
    pub max_line_size_truncate: bool,
    /// A batch of this many bytes leaves at once.
    pub batch_bytes: usize,
    /// A batch leaves after this, however small it is.
    pub batch_wait: Duration,
}

impl ForwardConfig {
    /// Defaults: no rules, no limits, batches of 512 KiB or 200 ms.
    pub fn new(job_name: &str) -> Self {
        Self {
            job_name: job_name.to_owned(),
            relabel: Vec::new(),
            max_line_size: 0,
            max_line_size_truncate: false,
            batch_bytes: 512 << 10,
            batch_wait: Duration::from_millis(200),
        }
    }
}

/// What relabelling made of a label set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admitted {
    Labels(Labels),
    /// A rule dropped it.
    Dropped,
    /// No label is left.
    Empty,
}

/// One source's way into the queue.
pub struct Forward {
    config: ForwardConfig,
    intake: LogIntake,
    stages: Option<Pipeline>,
    /// The limits that all sources of an instance have together.
    gate: Option<Arc<LineGate>>,
    /// The gate wants the source to wait until then.
    gate_ns: i64,
    /// Lines that left the stages and are not in the batch yet.
    staged: VecDeque<Entry>,
    batch: LogBatch,
    /// Bytes of lines in the batch.
    line_bytes: u64,
    since: Option<Instant>,
    /// Marks that wait until the stages hold nothing back.
    waiting: Vec<SourceMark>,
    unclean_since: Option<Instant>,
    /// Those that go with the next record.
    marks: Vec<SourceMark>,
    settler: Option<Settler>,
    /// The unit of order in the queue.
    order: u64,
    last_ns: i64,
    /// What is not handed over in the end is lost: nobody sends it again, and no place leads back to it.
    unique: bool,
    /// A line waits for room.
    waits: bool,
    state: SourceState,
    counts: SourceCounts,
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").field("config", &self.config).field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl Forward {
    /// The way of a source of this kind (`syslog`, ...) into `intake`'s lane.
    pub fn new(
        kind: &'static str,
        config: ForwardConfig,
        stages: Option<Pipeline>,
        intake: LogIntake,
        metrics: &ReceiveMetrics,
    ) -> Self {
        let order = xxh3_64(format!("{kind}\0{}", config.job_name).as_bytes());
        let state = SourceState::new(kind, &config.job_name);
        let counts = metrics.of(kind, &config.job_name);
        Self {
            config,
            intake,
            stages: stages.filter(|stages| !stages.is_empty()),
            gate: None,
            gate_ns: 0,
            staged: VecDeque::new(),
            batch: LogBatch::new(),
            line_bytes: 0,
            since: None,
            waiting: Vec::new(),
            unclean_since: None,
            marks: Vec::new(),
            settler: None,
            order,
            last_ns: 0,
            unique: matches!(kind, "syslog" | "stdin"),
            waits: false,
            state,
            counts,
        }
    }

    /// Marks are told to `book` as they become durable, by a task of `tasks` that ends with this value.
    #[must_use]
    pub fn with_book(mut self, book: Arc<dyn MarkBook>, tasks: &TaskTracker) -> Self {
        self.settler = Some(Settler::spawn(book, tasks));
        self
    }

    /// Lines pass this gate after their stages.
    #[must_use]
    pub fn with_gate(mut self, gate: Option<Arc<LineGate>>) -> Self {
        self.gate = gate.filter(|gate| !gate.is_open());
        self
    }

    /// Goes on with the status of a source that was there before.
    #[must_use]
    pub fn with_state(mut self, state: SourceState) -> Self {
        self.state = state;
        self
    }

    /// How the source is doing.
    pub fn state(&self) -> SourceState {
        self.state.clone()
    }

    /// Batches leave only when they are told to or full: what comes in one request goes into one record.
    pub(crate) fn gather_whole(&mut self) {
        self.config.batch_bytes = usize::MAX;
    }

    pub(crate) fn counts(&self) -> SourceCounts {
        self.counts.clone()
    }

    pub(crate) fn job_name(&self) -> &str {
        &self.config.job_name
    }

    /// The time of taking in, later than all that were given before: lines keep their order whoever sorts them.
    pub(crate) fn time(&mut self) -> i64 {
        self.last_ns = now_ns().max(self.last_ns.saturating_add(1));
        self.last_ns
    }

    /// Applies the rules and takes labels off that begin with `__`, except the tenant's.
    pub(crate) fn admit(&self, mut labels: Labels) -> Admitted {
        if !relabel::process(&mut labels, &self.config.relabel) {
            self.counts.dropped("relabel");
            return Admitted::Dropped;
        }
        labels.retain(|name, _| !name.starts_with("__") || name == TENANT_LABEL);
        if labels.is_empty() { Admitted::Empty } else { Admitted::Labels(labels) }
    }

    /// As [`admit`](Self::admit), for sources whose lines may come without any label: those get their job's name.
    pub(crate) fn admit_named(&self, labels: Labels) -> Option<Labels> {
        match self.admit(labels) {
            Admitted::Labels(labels) => Some(labels),
            Admitted::Dropped => None,
            Admitted::Empty => Some([("job", self.config.job_name.as_str())].into_iter().collect()),
        }
    }

    /// Takes a line. Waits while the queue has no room.
    pub(crate) async fn push(
        &mut self,
        labels: &Labels,
        timestamp_ns: i64,
        line: &[u8],
        metadata: &[(&str, &str)],
    ) -> Result<(), ReceiveError> {
        let Some(line) = self.within_limits(line) else { return Ok(()) };
        let Some(stages) = &mut self.stages else {
            return self.gather(labels, timestamp_ns, line, metadata).await;
        };
        let mut entry = Entry::new(labels.clone(), timestamp_ns, String::from_utf8_lossy(line));
        entry.structured_metadata = metadata.iter().copied().collect();
        let staged = &mut self.staged;
        stages.process(entry, now_ns(), &mut |line| staged.push_back(line));
        self.take_staged().await
    }

    fn within_limits<'l>(&self, line: &'l [u8]) -> Option<&'l [u8]> {
        let limit = match self.config.max_line_size {
            0 => LONGEST_LINE,
            limit => limit.min(LONGEST_LINE),
        };
        if line.len() <= limit {
            return Some(line);
        }
        if self.config.max_line_size_truncate || self.config.max_line_size == 0 {
            self.counts.cut("line_too_long");
            return Some(cut(line, limit));
        }
        self.counts.dropped("line_too_long");
        None
    }

    // Whoever waits may be dropped while it waits: a line leaves `staged` only when there is room for it.
    async fn take_staged(&mut self) -> Result<(), ReceiveError> {
        while let Some(bytes) =
            self.staged.front().map(|line| size(line.line.as_bytes(), line.structured_metadata.iter()))
        {
            self.make_room(bytes).await?;
            if let Some(line) = self.staged.pop_front()
                && self.passes(&line.labels)
            {
                let metadata: Vec<(&str, &str)> = line.structured_metadata.iter().collect();
                self.store(&line.labels, line.timestamp_ns, cut(line.line.as_bytes(), LONGEST_LINE), &metadata);
            }
        }
        Ok(())
    }

    async fn gather(
        &mut self,
        labels: &Labels,
        timestamp_ns: i64,
        line: &[u8],
        metadata: &[(&str, &str)],
    ) -> Result<(), ReceiveError> {
        self.waits = true;
        self.make_room(size(line, metadata.iter().copied())).await?;
        self.waits = false;
        if !self.passes(labels) {
            return Ok(());
        }
        self.store(labels, timestamp_ns, line, metadata);
        Ok(())
    }

    fn passes(&mut self, labels: &Labels) -> bool {
        match self.gate.as_ref().map_or(Passage::Pass, |gate| gate.pass(labels, now_ns())) {
            Passage::Pass => true,
            Passage::Hold(until_ns) => {
                self.gate_ns = until_ns;
                true
            }
            // Counted by the gate.
            Passage::Drop => false,
        }
    }

    async fn make_room(&mut self, bytes: usize) -> Result<(), ReceiveError> {
        let is_full = self.batch.bytes() >= self.config.batch_bytes
            || !self.batch.has_room(bytes)
            || self.batch.streams() >= MAX_LOG_STREAMS;
        if is_full && !self.batch.is_empty() {
            self.append(Durability::Soon).await?;
        }
        Ok(())
    }

    fn store(&mut self, labels: &Labels, timestamp_ns: i64, line: &[u8], metadata: &[(&str, &str)]) {
        let pushed = self.batch.stream(labels).and_then(|stream| self.batch.push(stream, timestamp_ns, line, metadata));
        match pushed {
            Ok(()) => {
                self.line_bytes += line.len() as u64;
                self.since.get_or_insert_with(Instant::now);
            }
            Err(error) => {
                self.counts.dropped("does_not_fit");
                tracing::warn!(job = self.config.job_name, %error, "a line cannot be stored and is given up");
            }
        }
    }

    /// Where the source stands after all lines so far.
    pub(crate) fn mark(&mut self, mark: SourceMark) {
        if self.stages.as_ref().is_some_and(|stages| stages.deadline().is_some()) {
            self.unclean_since.get_or_insert_with(Instant::now);
            self.waiting.retain(|known| known.key != mark.key);
            self.waiting.push(mark);
            return;
        }
        self.waiting.retain(|known| known.key != mark.key);
        self.marks.retain(|known| known.key != mark.key);
        self.marks.push(mark.clone());
        self.batch.mark(mark);
        self.since.get_or_insert_with(Instant::now);
    }

    fn release_marks(&mut self) {
        if self.stages.as_ref().is_none_or(|stages| stages.deadline().is_none()) {
            self.unclean_since = None;
            for mark in std::mem::take(&mut self.waiting) {
                self.mark(mark);
            }
        }
    }

    /// When [`tick`](Self::tick) has something to do. Sources wait for it beside their input, by [`at`].
    pub(crate) fn due(&self) -> Option<Instant> {
        let batch = self.since.map(|since| since + self.config.batch_wait);
        let held = self.stages.as_ref().and_then(|stages| stages.deadline()).map(|at_ns| Instant::now() + until(at_ns));
        let unclean = self.unclean_since.map(|since| since + UNCLEAN);
        [batch, held, unclean].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) async fn tick(&mut self) -> Result<(), ReceiveError> {
        let now = Instant::now();
        let all = self.unclean_since.is_some_and(|since| now >= since + UNCLEAN);
        if let Some(stages) = &mut self.stages
            && (all || stages.deadline().is_some_and(|at| at <= now_ns()))
        {
            let staged = &mut self.staged;
            if all {
                stages.finish(now_ns(), &mut |line| staged.push_back(line));
            } else {
                stages.flush(now_ns(), &mut |line| staged.push_back(line));
            }
            self.take_staged().await?;
        }
        self.release_marks();
        if self.since.is_some_and(|since| now >= since + self.config.batch_wait) {
            self.append(Durability::Soon).await?;
        }
        Ok(())
    }

    /// Hands everything over, also what the stages hold back. The receipt tells when the last of it is durable.
    pub(crate) async fn flush(&mut self, durability: Durability) -> Result<Option<Handed>, ReceiveError> {
        if let Some(stages) = &mut self.stages {
            let staged = &mut self.staged;
            stages.finish(now_ns(), &mut |line| staged.push_back(line));
            self.take_staged().await?;
        }
        self.release_marks();
        self.append(durability).await
    }

    /// Forgets what is not handed over yet: a request that failed half-way will come again whole.
    pub(crate) fn discard(&mut self) {
        if let Some(stages) = &mut self.stages {
            stages.finish(now_ns(), &mut |_| {});
        }
        self.staged.clear();
        self.waiting.clear();
        self.clear();
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.line_bytes = 0;
        self.since = None;
        self.marks.clear();
    }

    /// Waits while a stage or the gate wants the source to wait.
    pub(crate) async fn pace(&mut self) {
        loop {
            let stages_ns = self.stages.as_ref().and_then(|stages| stages.hold_until());
            let at_ns = stages_ns.unwrap_or(0).max(self.gate_ns);
            if at_ns <= now_ns() {
                return;
            }
            tokio::time::sleep(until(at_ns)).await;
        }
    }

    /// Lines that are in memory alone.
    fn unsent(&mut self) -> u64 {
        let mut held = 0;
        if let Some(stages) = &mut self.stages {
            stages.finish(now_ns(), &mut |_| held += 1);
        }
        held + self.staged.len() as u64 + u64::from(self.batch.items()) + u64::from(self.waits)
    }

    async fn append(&mut self, durability: Durability) -> Result<Option<Handed>, ReceiveError> {
        if self.batch.is_empty() {
            self.since = None;
            if let (Some(settler), false) = (&self.settler, self.marks.is_empty()) {
                // Every line before the mark is in a record already, or was dropped.
                settler.moved(std::mem::take(&mut self.marks));
            }
            // Without a book a mark goes with the next line: a record without lines would never be asked for.
            if self.marks.is_empty() {
                self.clear();
            }
            return Ok(None);
        }
        let begun = match &self.settler {
            Some(settler) if !self.marks.is_empty() => Some((settler, settler.begin(self.marks.clone()))),
            _ => None,
        };
        let receipt = self.intake.append(&mut self.batch, self.order, durability).await?;
        let handed = match begun {
            Some((settler, begun)) => settler.follow(receipt, begun),
            None => Handed::Receipt(receipt),
        };
        let lines = u64::from(self.batch.items());
        self.counts.taken(lines, self.line_bytes);
        self.state.handed_over(lines);
        self.clear();
        Ok(Some(handed))
    }
}

impl Drop for Forward {
    /// What was taken in and cannot be handed over any more is told, where it is lost.
    fn drop(&mut self) {
        let lines = if self.unique { self.unsent() } else { 0 };
        if lines > 0 {
            self.counts.dropped_many("not_handed_over", lines);
            tracing::warn!(
                job = self.config.job_name,
                lines,
                "lines that a source took in were not queued in time and are lost"
            );
        }
    }
}

/// Waits until then; for ever if there is no then.
pub(crate) async fn at(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn until(at_ns: i64) -> Duration {
    // A little late rather than a little early, which would be a second round.
    Duration::from_nanos(u64::try_from(at_ns.saturating_sub(now_ns())).unwrap_or(0)) + Duration::from_millis(1)
}

/// Bytes that a line may take in a batch: what is no UTF-8 becomes three times as long.
fn size<'a>(line: &[u8], metadata: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
    line.len().min(LONGEST_LINE).saturating_mul(3)
        + metadata.map(|(name, value)| name.len() + value.len() + 16).sum::<usize>()
}

/// At most `limit` bytes, not ending within a character.
pub(crate) fn cut(line: &[u8], limit: usize) -> &[u8] {
    let Some(mut kept) = line.get(..limit).filter(|_| line.len() > limit) else { return line };
    // A character is four bytes at most: three continuation bytes to step over.
    for _ in 0..3 {
        match line.get(kept.len()) {
            Some(next) if next & 0xc0 == 0x80 => match kept.split_last() {
                Some((_, rest)) => kept = rest,
                None => break,
            },
            _ => break,
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_cut_does_not_split_a_character() {
        let text = "aé€😀".as_bytes();
        for limit in 0..=text.len() {
            assert!(std::str::from_utf8(cut(text, limit)).is_ok(), "{limit}");
            assert!(cut(text, limit).len() <= limit);
        }
        assert_eq!(cut(b"abc", 2), b"ab");
        assert_eq!(cut(&[0x80; 9], 5).len(), 2);
    }
}

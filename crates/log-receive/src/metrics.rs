//! What sources count, under Promtail's names where it has one that no other part of the agent uses.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

type Label = [(&'static str, String); 1];
type SourceLabels = [(&'static str, String); 3];
type ReasonLabels = [(&'static str, String); 4];

/// Made per registry; shared by all sources that report to it. One value speaks for one instance of logs.
#[derive(Debug, Clone, Default)]
pub struct ReceiveMetrics {
    lines: Family<SourceLabels, Counter>,
    bytes: Family<SourceLabels, Counter>,
    faults: Family<ReasonLabels, Counter>,
    dropped: Family<ReasonLabels, Counter>,
    cut: Family<ReasonLabels, Counter>,
    journal_lines: Counter,
    journal_errors: Family<Label, Counter>,
    syslog_entries: Counter,
    syslog_errors: Counter,
    syslog_empty: Counter,
    docker_entries: Counter,
    docker_errors: Counter,
    instance: String,
    told: Arc<Mutex<BTreeMap<ReasonLabels, Told>>>,
}

/// When the log last spoke of refusals for one reason, and how many there were since.
#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    since: u64,
}

/// The log speaks of refusals at one source for one reason no more often.
const QUIET: Duration = Duration::from_secs(60);

impl ReceiveMetrics {
    /// Counters of a registry.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let own = "sigpost_log_source";
        registry.register(format!("{own}_lines"), "Lines handed to the queue", metrics.lines.clone());
        registry.register(format!("{own}_bytes"), "Bytes of lines handed to the queue", metrics.bytes.clone());
        registry.register(
            format!("{own}_faults"),
            "What went wrong at a source, by reason: refused requests, restarts, unreadable objects",
            metrics.faults.clone(),
        );
        registry.register(
            format!("{own}_dropped_lines"),
            "Lines that a source took in and gave up, by reason",
            metrics.dropped.clone(),
        );
        registry.register(
            format!("{own}_cut_lines"),
            "Lines of which only the beginning was kept, by reason",
            metrics.cut.clone(),
        );
        registry.register(
            "promtail_journal_target_lines",
            "Lines read from the journal",
            metrics.journal_lines.clone(),
        );
        registry.register(
            "promtail_journal_target_parsing_errors",
            "Journal entries without a line, by error",
            metrics.journal_errors.clone(),
        );
        registry.register("promtail_syslog_target_entries", "Syslog messages taken in", metrics.syslog_entries.clone());
        registry.register(
            "promtail_syslog_target_parsing_errors",
            "Syslog messages that could not be read",
            metrics.syslog_errors.clone(),
        );
        registry.register(
            "promtail_syslog_empty_messages",
            "Syslog messages without a text",
            metrics.syslog_empty.clone(),
        );
        registry.register(
            "promtail_docker_target_entries",
            "Lines read from containers",
            metrics.docker_entries.clone(),
        );
        registry.register(
            "promtail_docker_target_parsing_errors",
            "Messages of containers without a time",
            metrics.docker_errors.clone(),
        );
        metrics
    }

    /// The same counters, for the sources of this instance of logs.
    #[must_use]
    pub fn of_instance(&self, name: &str) -> Self {
        Self { instance: name.to_owned(), ..self.clone() }
    }

    /// The counters of one source.
    pub(crate) fn of(&self, kind: &'static str, job_name: &str) -> SourceCounts {
        let labels: SourceLabels =
            [("logs_config", self.instance.clone()), ("source", kind.to_owned()), ("job", job_name.to_owned())];
        SourceCounts {
            lines: self.lines.get_or_create(&labels).clone(),
            bytes: self.bytes.get_or_create(&labels).clone(),
            labels,
            kind,
            all: self.clone(),
        }
    }
}

/// One source's share of the metrics.
#[derive(Debug, Clone)]
pub(crate) struct SourceCounts {
    lines: Counter,
    bytes: Counter,
    labels: SourceLabels,
    kind: &'static str,
    all: ReceiveMetrics,
}

impl SourceCounts {
    pub(crate) fn taken(&self, lines: u64, bytes: u64) {
        self.lines.inc_by(lines);
        self.bytes.inc_by(bytes);
        match self.kind {
            "journal" => drop(self.all.journal_lines.inc_by(lines)),
            "syslog" => drop(self.all.syslog_entries.inc_by(lines)),
            "docker" => drop(self.all.docker_entries.inc_by(lines)),
            _ => {}
        }
    }

    fn with(&self, reason: &'static str) -> ReasonLabels {
        let [instance, source, job] = self.labels.clone();
        [instance, source, job, ("reason", reason.to_owned())]
    }

    /// `reason` is a word known at compile time, so that there are few.
    pub(crate) fn fault(&self, reason: &'static str) {
        self.all.faults.get_or_create(&self.with(reason)).inc();
    }

    /// The same where somebody sent what cannot be taken: the log names the sender and says why, once in a while.
    pub(crate) fn refused(&self, reason: &'static str, from: &dyn Display, why: &dyn Display) {
        self.fault(reason);
        let refusals = {
            let mut told = self.all.told.lock();
            let told = told.entry(self.with(reason)).or_default();
            told.since += 1;
            if told.at.is_some_and(|at| at.elapsed() < QUIET) {
                return;
            }
            told.at = Some(Instant::now());
            std::mem::take(&mut told.since)
        };
        let [(_, instance), (_, source), (_, job)] = &self.labels;
        tracing::warn!(logs_config = instance, source, job, %from, reason, refusals, "what a sender sent is not taken: {why}");
    }

    /// A line that was given up.
    pub(crate) fn dropped(&self, reason: &'static str) {
        self.dropped_many(reason, 1);
    }

    pub(crate) fn dropped_many(&self, reason: &'static str, lines: u64) {
        self.all.dropped.get_or_create(&self.with(reason)).inc_by(lines);
    }

    /// A line that was cut.
    pub(crate) fn cut(&self, reason: &'static str) {
        self.all.cut.get_or_create(&self.with(reason)).inc();
    }

    pub(crate) fn journal_error(&self, error: &'static str) {
        self.all.journal_errors.get_or_create(&[("error", error.to_owned())]).inc();
    }

    pub(crate) fn syslog_error(&self) {
        self.all.syslog_errors.inc();
    }

    pub(crate) fn docker_error(&self) {
        self.all.docker_errors.inc();
    }

    pub(crate) fn syslog_empty(&self) {
        self.all.syslog_empty.inc();
    }
}

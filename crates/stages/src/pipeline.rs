//! A checked pipeline at work.
//!
//! Entries move through the stages; nothing is copied that a stage does not change. Stages that hold lines back hand them
//! to the stages after them when they end, which is why a stage is always run together with its rest.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use prometheus_client::metrics::counter::Counter;

use crate::{
    Entry, PipelineConfig, StageError, StageMetrics, assembly,
    extracted::Seeds,
    metrics::Failures,
    report::{Fate, Snapshot, StepReport},
    selector::Selector,
    step::{Flow, LineStage, cri::Cri, multiline::Multiline},
};

/// The stages of one `scrape_config`, with what they remember of the lines they saw.
///
/// Time is a parameter everywhere: nanoseconds since the epoch. Nothing here sleeps or looks at a clock.
#[derive(Debug)]
pub struct Pipeline {
    job_name: Arc<str>,
    steps: Vec<Step>,
    seeds: Seeds,
    hold_until: Option<i64>,
}

/// One stage in its place.
#[derive(Debug)]
pub(crate) struct Step {
    /// As in errors: `pipeline_stages[1].match.stages[0].regex`.
    pub path: Arc<str>,
    pub action: Action,
    /// Counts what it drops.
    pub dropped: Option<Dropped>,
    /// Counts what it cannot read.
    pub failures: Failures,
}

#[derive(Debug, Clone)]
pub(crate) struct Dropped {
    pub reason: Arc<str>,
    pub count: Counter,
}

#[derive(Debug)]
pub(crate) enum Action {
    Line(Box<dyn LineStage>),
    Cri(Box<Cri>),
    Multiline(Multiline),
    /// Lines that match go through stages of their own.
    Keep(Arc<Selector>, Vec<Step>),
    /// Lines that match go.
    Discard(Arc<Selector>),
}

impl Step {
    fn twin(&self) -> Self {
        let action = match &self.action {
            Action::Line(stage) => Action::Line(stage.twin()),
            Action::Cri(cri) => Action::Cri(Box::new(cri.twin())),
            Action::Multiline(multiline) => Action::Multiline(multiline.twin()),
            Action::Keep(selector, nested) => {
                Action::Keep(Arc::clone(selector), nested.iter().map(Self::twin).collect())
            }
            Action::Discard(selector) => Action::Discard(Arc::clone(selector)),
        };
        Self { path: Arc::clone(&self.path), action, dropped: self.dropped.clone(), failures: self.failures.clone() }
    }

    fn count_drop(&self) {
        if let Some(dropped) = &self.dropped {
            dropped.count.inc();
        }
    }
}

/// What is common to one walk through the stages.
struct Walk<'a> {
    now_ns: i64,
    hold_until: Option<i64>,
    out: &'a mut dyn FnMut(Entry),
}

impl Walk<'_> {
    fn hold(&mut self, until: Option<i64>) {
        self.hold_until = self.hold_until.max(until);
    }
}

impl Pipeline {
    /// Checks everything: what this accepts cannot fail later. `metrics` is shared by all pipelines of the process.
    pub fn new(config: &PipelineConfig, job_name: &str, metrics: &StageMetrics) -> Result<Self, StageError> {
        Ok(Self {
            job_name: Arc::from(job_name),
            steps: assembly::assemble(config, metrics)?,
            seeds: Seeds::default(),
            hold_until: None,
        })
    }

    /// The same stages for another source of the job. Rates, metrics and whatever is costly are shared; lines that are held
    /// back, and times that were seen, are each source's own.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self {
            job_name: Arc::clone(&self.job_name),
            steps: self.steps.iter().map(Step::twin).collect(),
            seeds: Seeds::default(),
            hold_until: None,
        }
    }

    /// Calls `each` with every part of the source ([`Entry::parts`]) that is held back, in no order.
    pub fn held(&self, mut each: impl FnMut(&Range<u64>)) {
        held(&self.steps, &mut each);
    }

    /// No stages: lines need not go through here at all.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn job_name(&self) -> &str {
        &self.job_name
    }

    /// Takes a line; `out` gets what comes out at the end, which may be nothing now and more later.
    pub fn process(&mut self, mut entry: Entry, now_ns: i64, out: &mut dyn FnMut(Entry)) {
        if !self.steps.is_empty() {
            entry.extracted.start_from(self.seeds.of(&entry.labels));
        }
        let mut walk = Walk { now_ns, hold_until: None, out };
        run(&mut self.steps, entry, &mut walk);
        let hold = walk.hold_until;
        self.hold_until = self.hold_until.filter(|until| *until > now_ns).max(hold);
    }

    /// Until when the source should not bring lines, if a `limit` stage without `drop` says so.
    pub fn hold_until(&self) -> Option<i64> {
        self.hold_until
    }

    /// When [`Pipeline::flush`] should be called at the latest, if nothing else comes.
    pub fn deadline(&self) -> Option<i64> {
        deadline(&self.steps)
    }

    /// Lets go of what was held back long enough by `now_ns`.
    pub fn flush(&mut self, now_ns: i64, out: &mut dyn FnMut(Entry)) {
        self.release(now_ns, false, out);
    }

    /// Lets go of everything that is held back: the source ends.
    pub fn finish(&mut self, now_ns: i64, out: &mut dyn FnMut(Entry)) {
        self.release(now_ns, true, out);
    }

    fn release(&mut self, now_ns: i64, all: bool, out: &mut dyn FnMut(Entry)) {
        let mut walk = Walk { now_ns, hold_until: None, out };
        release(&mut self.steps, all, &mut walk);
        let hold = walk.hold_until;
        self.hold_until = self.hold_until.filter(|until| *until > now_ns).max(hold);
    }

    /// Runs a line and tells what each stage did to it. Stages remember and count as in [`Pipeline::process`], so that
    /// several lines may be explained one after the other; use a pipeline of its own for this.
    pub fn explain(&mut self, mut entry: Entry, now_ns: i64) -> Vec<StepReport> {
        entry.extracted.start_from(self.seeds.of(&entry.labels));
        let mut reports = Vec::new();
        explain(&mut self.steps, vec![entry], now_ns, &mut reports);
        reports
    }
}

fn run(steps: &mut [Step], mut entry: Entry, walk: &mut Walk<'_>) {
    let mut steps = steps;
    while let Some((step, rest)) = steps.split_first_mut() {
        match &mut step.action {
            Action::Line(stage) => match applied(stage.as_mut(), &mut entry, walk.now_ns) {
                Flow::Pass => {}
                Flow::Unread(reason) => step.failures.count(reason),
                Flow::Hold(until) => walk.hold(Some(until)),
                Flow::Drop => {
                    step.count_drop();
                    return;
                }
            },
            Action::Discard(selector) => {
                if selector.matches(&entry.labels, &entry.line) {
                    step.count_drop();
                    return;
                }
            }
            Action::Keep(selector, nested) => {
                if selector.matches(&entry.labels, &entry.line) {
                    entry.extracted.seed(&entry.labels);
                    within(nested, walk, rest, |nested, inner| run(nested, entry, inner));
                    return;
                }
            }
            Action::Cri(cri) => {
                let now_ns = walk.now_ns;
                if let Some(reason) = cri.push(entry, now_ns, &mut |entry| run(rest, entry, walk)) {
                    step.failures.count(reason);
                }
                return;
            }
            Action::Multiline(multiline) => {
                let now_ns = walk.now_ns;
                multiline.push(entry, now_ns, &mut |entry| run(rest, entry, walk));
                return;
            }
        }
        steps = rest;
    }
    (walk.out)(entry);
}

/// A panic in what a stage uses is a mistake for which no line and no source has to end: the line goes on as the stage left
/// it, which is as it came, because stages change it last.
fn applied(stage: &mut dyn LineStage, entry: &mut Entry, now_ns: i64) -> Flow {
    catch_unwind(AssertUnwindSafe(|| stage.apply(entry, now_ns))).unwrap_or(Flow::Unread("panic"))
}

/// Does something with nested stages, whose lines go on to the rest.
fn within(nested: &mut [Step], walk: &mut Walk<'_>, rest: &mut [Step], work: impl FnOnce(&mut [Step], &mut Walk<'_>)) {
    let now_ns = walk.now_ns;
    let hold = {
        let mut onward = |entry: Entry| run(rest, entry, walk);
        let mut inner = Walk { now_ns, hold_until: None, out: &mut onward };
        work(nested, &mut inner);
        inner.hold_until
    };
    walk.hold(hold);
}

fn release(steps: &mut [Step], all: bool, walk: &mut Walk<'_>) {
    let mut steps = steps;
    // First stages first: what they let go of may be held by a later one, whose turn comes after.
    while let Some((step, rest)) = steps.split_first_mut() {
        let now_ns = walk.now_ns;
        match &mut step.action {
            Action::Line(_) | Action::Discard(_) => {}
            Action::Cri(cri) if all => cri.flush(&mut |entry| run(rest, entry, walk)),
            Action::Cri(_) => {}
            Action::Multiline(multiline) if all => multiline.flush(&mut |entry| run(rest, entry, walk)),
            Action::Multiline(multiline) => multiline.flush_due(now_ns, &mut |entry| run(rest, entry, walk)),
            Action::Keep(_, nested) => within(nested, walk, rest, |nested, inner| release(nested, all, inner)),
        }
        steps = rest;
    }
}

fn held(steps: &[Step], each: &mut dyn FnMut(&Range<u64>)) {
    for step in steps {
        match &step.action {
            Action::Cri(cri) => cri.held(each),
            Action::Multiline(multiline) => multiline.held(each),
            Action::Keep(_, nested) => held(nested, each),
            Action::Line(_) | Action::Discard(_) => {}
        }
    }
}

fn deadline(steps: &[Step]) -> Option<i64> {
    let of = |step: &Step| match &step.action {
        Action::Multiline(multiline) => multiline.deadline(),
        Action::Keep(_, nested) => deadline(nested),
        _ => None,
    };
    steps.iter().filter_map(of).min()
}

/// Takes entries through the stages one stage at a time, and answers with what came out.
fn explain(steps: &mut [Step], mut entries: Vec<Entry>, now_ns: i64, reports: &mut Vec<StepReport>) -> Vec<Entry> {
    for step in steps {
        let mut next = Vec::new();
        for mut entry in entries {
            let before = Snapshot::of(&entry);
            let mut report = StepReport { path: step.path.to_string(), before, after: Vec::new(), fate: Fate::Passed };
            let dropped = |step: &Step| {
                step.count_drop();
                Fate::Dropped { reason: step.dropped.as_ref().map_or_else(String::new, |d| d.reason.to_string()) }
            };
            let mut out = Vec::new();
            match &mut step.action {
                Action::Line(stage) => match applied(stage.as_mut(), &mut entry, now_ns) {
                    Flow::Drop => report.fate = dropped(step),
                    Flow::Unread(reason) => {
                        step.failures.count(reason);
                        report.fate = Fate::Unread { reason };
                        out.push(entry);
                    }
                    Flow::Hold(until_ns) => {
                        report.fate = Fate::Waits { until_ns };
                        out.push(entry);
                    }
                    Flow::Pass => out.push(entry),
                },
                Action::Discard(selector) => {
                    if selector.matches(&entry.labels, &entry.line) {
                        report.fate = dropped(step);
                    } else {
                        report.fate = Fate::NotMatched;
                        out.push(entry);
                    }
                }
                Action::Keep(selector, nested) => {
                    if selector.matches(&entry.labels, &entry.line) {
                        entry.extracted.seed(&entry.labels);
                        report.fate = Fate::Entered;
                        report.after.push(Snapshot::of(&entry));
                        reports.push(report);
                        next.extend(explain(nested, vec![entry], now_ns, reports));
                        continue;
                    }
                    report.fate = Fate::NotMatched;
                    out.push(entry);
                }
                Action::Cri(cri) => {
                    if let Some(reason) = cri.push(entry, now_ns, &mut |entry| out.push(entry)) {
                        step.failures.count(reason);
                        report.fate = Fate::Unread { reason };
                    }
                }
                Action::Multiline(multiline) => multiline.push(entry, now_ns, &mut |entry| out.push(entry)),
            }
            if out.is_empty() && report.fate == Fate::Passed {
                report.fate = Fate::Held;
            }
            report.after = out.iter().map(Snapshot::of).collect();
            reports.push(report);
            next.append(&mut out);
        }
        entries = next;
    }
    entries
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    /// As a library would do it that has a mistake.
    #[derive(Debug, Clone)]
    struct Broken;

    impl LineStage for Broken {
        fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
            assert!(!entry.line.contains("poison"), "a mistake");
            entry.line.push_str(" seen");
            Flow::Pass
        }
    }

    #[test]
    fn a_line_at_which_a_stage_panics_passes_as_it_is_and_is_counted() {
        let mut registry = Registry::default();
        let metrics = StageMetrics::registered(&mut registry);
        let step = Step {
            path: "pipeline_stages[0].template".into(),
            action: Action::Line(Box::new(Broken)),
            dropped: None,
            failures: metrics.failures("template"),
        };
        let mut pipeline = Pipeline::new(&PipelineConfig::default(), "job", &metrics).unwrap();
        pipeline.steps.push(step);
        let mut twin = pipeline.twin();
        let mut lines = Vec::new();
        for text in ["one", "poison", "two", "poison"] {
            let entry = Entry::new(model::Labels::new(), 1, text);
            twin.process(entry, 1, &mut |entry| lines.push(entry.line));
        }
        assert_eq!(lines, ["one seen", "poison", "two seen", "poison"]);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = "sigpost_log_stage_failures_total{stage=\"template\",reason=\"panic\"} 2";
        assert!(text.contains(line), "{text}");
    }
}

//! A checked pipeline at work.
//!
//! Entries move through the stages; nothing is copied that a stage does not change. Stages that hold lines back hand them
//! to the stages after them when they end, which is why a stage is always run together with its rest.

use std::{ops::Range, sync::Arc};

use prometheus_client::metrics::counter::Counter;

use crate::{
    Entry, PipelineConfig, StageError, StageMetrics, assembly,
    extracted::Seeds,
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
        Self { path: Arc::clone(&self.path), action, dropped: self.dropped.clone() }
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
            Action::Line(stage) => match stage.apply(&mut entry, walk.now_ns) {
                Flow::Pass => {}
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
                cri.push(entry, now_ns, &mut |entry| run(rest, entry, walk));
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
                Action::Line(stage) => match stage.apply(&mut entry, now_ns) {
                    Flow::Drop => report.fate = dropped(step),
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
                Action::Cri(cri) => cri.push(entry, now_ns, &mut |entry| out.push(entry)),
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

//! `tail_sampling`: traces wait for their spans, then a policy says of each whether it is forwarded.
//!
//! Knows neither queue nor clock. It keeps true: a span waits encoded, and at most [`HELD_BYTES`] of them do; a trace for which there
//! is no room any more is decided early and not lost; spans that come after the decision follow it as long as it is remembered.

mod ottl;
mod policy;

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map},
    time::Instant,
};

use prost::Message;
use proto::otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};

use crate::{
    TailSamplingConfig, TracesError,
    chain::{Ended, FrameId, Output},
    metrics::TailCounts,
    parcel::spans_of,
};
use policy::{Decision, Policy, Trace};

/// Encoded spans that wait for decisions.
const HELD_BYTES: usize = 48 << 20;

type TraceId = [u8; 16];

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Sampler {
    config: TailSamplingConfig,
    policies: Vec<(String, Policy)>,
    traces: HashMap<TraceId, State>,
    /// Waiting traces by their time; the number tells an entry from a later one of the same trace.
    due: VecDeque<(Instant, TraceId, u64)>,
    /// All known traces, oldest first.
    known: VecDeque<(TraceId, u64)>,
    next: u64,
    bytes: usize,
    counts: TailCounts,
}

#[derive(Debug)]
struct State {
    number: u64,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Waiting { body: Vec<u8>, shares: Vec<(FrameId, u32)> },
    Decided { sampled: bool },
}

impl Sampler {
    pub(crate) fn new(config: &TailSamplingConfig, counts: TailCounts) -> Result<Self, TracesError> {
        if config.policies.is_empty() {
            return Err(TracesError::setting("policies", "there is none: name at least one"));
        }
        let compiled = config
            .policies
            .iter()
            .enumerate()
            .map(|(at, policy)| Ok((policy.name.clone(), Policy::new(&format!("policies[{at}]"), &policy.rule)?)));
        Ok(Self {
            config: config.clone(),
            policies: compiled.collect::<Result<_, TracesError>>()?,
            traces: HashMap::new(),
            due: VecDeque::new(),
            known: VecDeque::new(),
            next: 0,
            bytes: 0,
            counts,
        })
    }

    /// Takes the spans of one received request in. `second`: the wall clock's, for rates.
    pub(crate) fn take(
        &mut self,
        frame: FrameId,
        request: ExportTraceServiceRequest,
        now: Instant,
        second: u64,
        out: &mut Output,
    ) {
        for (id, part) in by_trace(request) {
            let spans = spans_of(&part);
            match self.traces.entry(id) {
                hash_map::Entry::Occupied(mut known) => match &mut known.get_mut().fate {
                    Fate::Waiting { body, shares } => {
                        self.bytes += hold(&part, body);
                        match shares.last_mut().filter(|(last, _)| *last == frame) {
                            Some((_, count)) => *count = count.saturating_add(spans),
                            None => shares.push((frame, spans)),
                        }
                    }
                    Fate::Decided { sampled } => {
                        let sampled = *sampled;
                        self.counts.late.inc_by(u64::from(spans));
                        self.ended(sampled, &[(frame, spans)], out);
                        if sampled {
                            out.forward.push(part);
                        }
                    }
                },
                hash_map::Entry::Vacant(place) => {
                    let mut body = Vec::new();
                    self.bytes += hold(&part, &mut body);
                    let number = self.next;
                    self.next += 1;
                    place.insert(State { number, fate: Fate::Waiting { body, shares: vec![(frame, spans)] } });
                    self.due.push_back((now + self.config.decision_wait, id, number));
                    self.known.push_back((id, number));
                    self.counts.new_traces.inc();
                }
            }
            self.make_room(second, out);
        }
        self.counts.on_memory.set(i64::try_from(self.due.len()).unwrap_or(i64::MAX));
    }

    /// Decides and forgets the oldest until there is room.
    fn make_room(&mut self, second: u64, out: &mut Output) {
        while self.known.len() > self.config.num_traces.max(1) {
            let Some((id, number)) = self.known.pop_front() else { break };
            let waits = self.traces.get(&id).is_some_and(|state| matches!(state.fate, Fate::Waiting { .. }));
            if waits {
                self.counts.too_early.inc();
                self.decide(id, number, second, out);
            }
            if self.traces.get(&id).is_some_and(|state| state.number == number) {
                self.traces.remove(&id);
            }
        }
        while self.bytes > HELD_BYTES {
            let Some((_, id, number)) = self.due.pop_front() else { break };
            if self.decide(id, number, second, out) {
                self.counts.too_early.inc();
            }
        }
    }

    /// When the next decision is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.front().map(|(at, _, _)| *at)
    }

    /// Decides what is due.
    pub(crate) fn tick(&mut self, now: Instant, second: u64, out: &mut Output) {
        while self.due.front().is_some_and(|(at, _, _)| *at <= now) {
            if let Some((_, id, number)) = self.due.pop_front() {
                self.decide(id, number, second, out);
            }
        }
        self.counts.on_memory.set(i64::try_from(self.due.len()).unwrap_or(i64::MAX));
    }

    /// Decides a quarter of what waits, the oldest, because what holds the received requests has no room.
    pub(crate) fn press(&mut self, second: u64, out: &mut Output) {
        for _ in 0..self.due.len().div_ceil(4) {
            let Some((_, id, number)) = self.due.pop_front() else { break };
            if self.decide(id, number, second, out) {
                self.counts.too_early.inc();
            }
        }
    }

    /// False: it was decided before, or is another trace of that id.
    fn decide(&mut self, id: TraceId, number: u64, second: u64, out: &mut Output) -> bool {
        let Some(state) = self.traces.get_mut(&id).filter(|state| state.number == number) else { return false };
        if !matches!(state.fate, Fate::Waiting { .. }) {
            return false;
        }
        let was = std::mem::replace(&mut state.fate, Fate::Decided { sampled: false });
        let Fate::Waiting { body, shares } = was else { return false };
        self.bytes = self.bytes.saturating_sub(body.len());
        // It was encoded here: what cannot be decoded cannot be.
        let Ok(request) = ExportTraceServiceRequest::decode(&*body) else {
            self.ended(false, &shares, out);
            return true;
        };
        let sampled = self.is_sampled(&id, &request, second);
        if let Some(state) = self.traces.get_mut(&id) {
            state.fate = Fate::Decided { sampled };
        }
        self.ended(sampled, &shares, out);
        if sampled {
            out.forward.push(request);
        }
        true
    }

    fn is_sampled(&mut self, id: &TraceId, request: &ExportTraceServiceRequest, second: u64) -> bool {
        let trace = Trace { id, request, spans: u64::from(spans_of(request)), second };
        let mut decisions = Vec::with_capacity(self.policies.len());
        // All are asked: those that limit rates count.
        for (name, policy) in &mut self.policies {
            let decision = policy.decide(&trace);
            self.counts.of_policy(name, decision.samples());
            decisions.push(decision);
        }
        let has = |wanted| decisions.contains(&wanted);
        let sampled = !has(Decision::InvertNotSampled)
            && (has(Decision::Sampled) || (has(Decision::InvertSampled) && !has(Decision::NotSampled)));
        self.counts.decided(sampled);
        sampled
    }

    fn ended(&self, sampled: bool, shares: &[(FrameId, u32)], out: &mut Output) {
        for (frame, spans) in shares {
            let (forwarded, dropped) = if sampled { (*spans, 0) } else { (0, *spans) };
            self.counts.not_sampled.inc_by(u64::from(dropped));
            out.ended.push(Ended { frame: *frame, forwarded, dropped });
        }
    }
}

/// Appends the spans to those that wait. Gives the bytes they take.
fn hold(part: &ExportTraceServiceRequest, body: &mut Vec<u8>) -> usize {
    let before = body.len();
    // Encoding into memory does not fail.
    let _ = part.encode(body);
    body.len() - before
}

fn id_of(span: &Span) -> TraceId {
    let mut id = TraceId::default();
    for (to, from) in id.iter_mut().zip(&span.trace_id) {
        *to = *from;
    }
    id
}

/// The request parted by trace. Resources and scopes are repeated.
pub(crate) fn by_trace(request: ExportTraceServiceRequest) -> BTreeMap<TraceId, ExportTraceServiceRequest> {
    let mut parts: BTreeMap<TraceId, ExportTraceServiceRequest> = BTreeMap::new();
    for group in request.resource_spans {
        let ResourceSpans { resource, scope_spans, schema_url } = group;
        // Which of a part's resources is this one.
        let mut of_group: BTreeMap<TraceId, usize> = BTreeMap::new();
        for scope in scope_spans {
            let ScopeSpans { scope, spans, schema_url: scope_url } = scope;
            let mut of_scope: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
            for span in spans {
                of_scope.entry(id_of(&span)).or_default().push(span);
            }
            for (id, spans) in of_scope {
                let part = parts.entry(id).or_default();
                let place = *of_group.entry(id).or_insert_with(|| {
                    part.resource_spans.push(ResourceSpans {
                        resource: resource.clone(),
                        scope_spans: Vec::new(),
                        schema_url: schema_url.clone(),
                    });
                    part.resource_spans.len() - 1
                });
                if let Some(group) = part.resource_spans.get_mut(place) {
                    group.scope_spans.push(ScopeSpans { scope: scope.clone(), spans, schema_url: scope_url.clone() });
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests;

//! The processors of one instance in their order, over decoded requests. No IO and no clock of its own.
//!
//! Keeps true: every span that is taken in comes to its end once, in the output of this call or of a later one.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use proto::otlp_traces::ExportTraceServiceRequest;

use crate::{
    AutomaticLoggingConfig, ProcessorMetrics, ProcessorsConfig, TracesError,
    attributes::Attributes,
    auto_log::{self, Line},
    balance::Ring,
    discovered::{Discovered, Hosts},
    parcel::spans_of,
    service_graph::ServiceGraph,
    span_metrics::{Column, SpanMetrics},
    tail::Sampler,
};

/// Compiled processors and what they hold.
#[derive(Debug)]
pub struct Chain {
    discovered: Option<Discovered>,
    attributes: Option<Attributes>,
    span_metrics: Option<Arc<Mutex<SpanMetrics>>>,
    service_graph: Option<ServiceGraph>,
    tail: Option<Sampler>,
    logging: Option<AutomaticLoggingConfig>,
    ring: Option<Ring>,
}

/// The series of `spanmetrics` as they are, to be served. Clones show the same.
#[derive(Debug, Clone)]
pub struct SpanMetricsPage(Arc<Mutex<SpanMetrics>>);

impl SpanMetricsPage {
    /// The Prometheus text format, version 0.0.4.
    pub fn text(&self) -> String {
        self.0.lock().text()
    }
}

/// Which received request spans belong to.
pub(crate) type FrameId = u64;

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// To be forwarded, in order.
    pub(crate) forward: Vec<ExportTraceServiceRequest>,
    /// Spans that came to their end.
    pub(crate) ended: Vec<Ended>,
    /// For the logs instance or standard output.
    pub(crate) lines: Vec<Line>,
    /// For the metrics instance.
    pub(crate) columns: Vec<Column>,
}

/// So many spans of one received request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) frame: FrameId,
    pub(crate) forwarded: u32,
    pub(crate) dropped: u32,
}

impl Chain {
    /// `instance`: the entry of `traces.configs`. Errors: a setting that cannot work.
    pub fn new(config: &ProcessorsConfig, instance: &str, metrics: &ProcessorMetrics) -> Result<Self, TracesError> {
        let ProcessorsConfig { attributes, span_metrics, service_graphs, tail_sampling, .. } = config;
        let (span_metrics, graphs) = (span_metrics.as_ref(), service_graphs.as_ref());
        Ok(Self {
            discovered: config.discovered.as_ref().map(Discovered::new),
            attributes: attributes.as_ref().map(Attributes::new).transpose()?,
            span_metrics: span_metrics.map(|config| Arc::new(Mutex::new(SpanMetrics::new(config)))),
            service_graph: graphs.map(|config| ServiceGraph::new(config, metrics.graph(instance))),
            tail: tail_sampling.as_ref().map(|config| Sampler::new(config, metrics.tail(instance))).transpose()?,
            logging: config.automatic_logging.clone(),
            ring: config.balance.as_ref().map(Ring::new),
        })
    }

    /// The series of `spanmetrics`, if there are such.
    pub fn page(&self) -> Option<SpanMetricsPage> {
        self.span_metrics.clone().map(SpanMetricsPage)
    }

    /// Where the labels of discovered targets are to be put, if they are asked for.
    pub fn hosts(&self) -> Option<Hosts> {
        self.discovered.as_ref().map(Discovered::hosts)
    }

    /// Which lane each part of a request goes to.
    pub(crate) fn parted(&self, request: ExportTraceServiceRequest) -> BTreeMap<usize, ExportTraceServiceRequest> {
        match &self.ring {
            Some(ring) => ring.parted(request),
            None => BTreeMap::from([(0, request)]),
        }
    }

    /// Whether spans go through as they are and need not be decoded.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { discovered, attributes, span_metrics, service_graph, tail, logging, ring } = self;
        discovered.is_none()
            && ring.is_none()
            && attributes.is_none()
            && span_metrics.is_none()
            && service_graph.is_none()
            && tail.is_none()
            && logging.is_none()
    }

    pub(crate) fn logging(&self) -> Option<&AutomaticLoggingConfig> {
        self.logging.as_ref()
    }

    /// `second`: the wall clock's.
    pub(crate) fn take(
        &mut self,
        frame: FrameId,
        mut request: ExportTraceServiceRequest,
        now: Instant,
        second: u64,
        out: &mut Output,
    ) {
        if let Some(discovered) = &self.discovered {
            discovered.apply(&mut request);
        }
        if let Some(attributes) = &self.attributes {
            attributes.apply(&mut request);
        }
        if let Some(metrics) = &self.span_metrics {
            metrics.lock().take(&request, now);
        }
        if let Some(graph) = &mut self.service_graph {
            graph.take(&request, now);
        }
        let passed = out.forward.len();
        match &mut self.tail {
            Some(tail) => tail.take(frame, request, now, second, out),
            None => {
                out.ended.push(Ended { frame, forwarded: spans_of(&request), dropped: 0 });
                out.forward.push(request);
            }
        }
        self.log(passed, out);
    }

    /// Lines of what is forwarded since `passed`.
    fn log(&self, passed: usize, out: &mut Output) {
        if let Some(config) = &self.logging {
            for request in out.forward.iter().skip(passed) {
                auto_log::lines(config, request, &mut out.lines);
            }
        }
    }

    /// Holds less: what waits for a decision gets it.
    pub(crate) fn press(&mut self, second: u64, out: &mut Output) {
        let passed = out.forward.len();
        if let Some(tail) = &mut self.tail {
            tail.press(second, out);
        }
        self.log(passed, out);
    }

    /// What was not told to a metrics instance yet.
    pub(crate) fn last(&mut self, now: Instant) -> Vec<Column> {
        self.span_metrics.as_ref().map(|metrics| metrics.lock().last(now)).unwrap_or_default()
    }

    /// What ends the series that are pushed to a metrics instance.
    pub(crate) fn ending(&mut self) -> Vec<Column> {
        self.span_metrics.as_ref().map(|metrics| metrics.lock().ending()).unwrap_or_default()
    }

    /// When something has to be done though nothing arrives.
    pub(crate) fn due(&self) -> Option<Instant> {
        let of_metrics = self.span_metrics.as_ref().and_then(|metrics| metrics.lock().due());
        let of_graph = self.service_graph.as_ref().and_then(ServiceGraph::due);
        let of_tail = self.tail.as_ref().and_then(Sampler::due);
        [of_metrics, of_graph, of_tail].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, second: u64, out: &mut Output) {
        if let Some(metrics) = &self.span_metrics {
            out.columns.extend(metrics.lock().flush(now));
        }
        if let Some(graph) = &mut self.service_graph {
            graph.expire(now);
        }
        let passed = out.forward.len();
        if let Some(tail) = &mut self.tail {
            tail.tick(now, second, out);
        }
        self.log(passed, out);
    }
}

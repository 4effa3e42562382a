//! `service_graphs`: pairs of a client's span and the server's span that it caused, counted by both services.
//!
//! Keeps true: at most `max_items` spans wait for their other side, each at most for `wait`; at most [`MAX_PAIRS`] pairs of services
//! have series.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map},
    time::{Duration, Instant},
};

use proto::otlp_traces::{ExportTraceServiceRequest, Span, SpanKind, StatusCode};

use crate::{
    ServiceGraphsConfig, Value,
    metrics::GraphCounts,
    value::{find, service},
};

/// Names of services come from outside: no more than this many pairs are told apart.
const MAX_PAIRS: usize = 4096;

/// Trace id and id of the client's span.
type Key = (Vec<u8>, Vec<u8>);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct ServiceGraph {
    config: ServiceGraphsConfig,
    edges: HashMap<Key, (u64, Edge)>,
    expiring: VecDeque<(Instant, Key, u64)>,
    pairs: HashSet<(String, String)>,
    next: u64,
    counts: GraphCounts,
}

#[derive(Debug, Default)]
struct Edge {
    client: Option<(String, Duration)>,
    server: Option<(String, Duration)>,
    failed: bool,
}

impl ServiceGraph {
    pub(crate) fn new(config: &ServiceGraphsConfig, counts: GraphCounts) -> Self {
        let (edges, expiring, pairs) = (HashMap::new(), VecDeque::new(), HashSet::new());
        Self { config: config.clone(), edges, expiring, pairs, next: 0, counts }
    }

    pub(crate) fn take(&mut self, request: &ExportTraceServiceRequest, now: Instant) {
        self.expire(now);
        for group in &request.resource_spans {
            let Some(service) = service(group.resource.as_ref()).filter(|service| !service.is_empty()) else {
                continue;
            };
            for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
                match SpanKind::try_from(span.kind) {
                    Ok(SpanKind::Client) => self.side(service, span, true, now),
                    Ok(SpanKind::Server) => self.side(service, span, false, now),
                    _ => {}
                }
            }
        }
    }

    fn side(&mut self, service: &str, span: &Span, is_client: bool, now: Instant) {
        let of = if is_client { &span.span_id } else { &span.parent_span_id };
        let key = (span.trace_id.clone(), of.clone());
        let room = self.edges.len() < self.config.max_items;
        let edge = match self.edges.entry(key.clone()) {
            hash_map::Entry::Occupied(held) => &mut held.into_mut().1,
            hash_map::Entry::Vacant(_) if !room => {
                let (client, server) = if is_client { (service, "") } else { ("", service) };
                let known = known(&mut self.pairs, client, server);
                return self.counts.dropped(if known { client } else { "" }, if known { server } else { "" });
            }
            hash_map::Entry::Vacant(place) => {
                let number = self.next;
                self.next += 1;
                self.expiring.push_back((now + self.config.wait, key.clone(), number));
                &mut place.insert((number, Edge::default())).1
            }
        };
        let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let side = Some((service.to_owned(), Duration::from_nanos(nanos)));
        *(if is_client { &mut edge.client } else { &mut edge.server }) = side;
        edge.failed |= failed(span, &self.config);
        if let (Some((client, of_client)), Some((server, of_server))) = (&edge.client, &edge.server) {
            if known(&mut self.pairs, client, server) {
                self.counts.request(client, server, edge.failed, *of_client, *of_server);
            } else {
                self.counts.dropped("", "");
            }
            self.edges.remove(&key);
        }
    }

    /// When the next waiting span is given up.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.expiring.front().map(|(at, _, _)| *at)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        while self.expiring.front().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, key, number)) = self.expiring.pop_front() else { break };
            if self.edges.get(&key).is_none_or(|(of, _)| *of != number) {
                continue;
            }
            if let Some((_, Edge { client, server, .. })) = self.edges.remove(&key) {
                let name = |side: Option<(String, Duration)>| side.map(|(service, _)| service).unwrap_or_default();
                let (client, server) = (name(client), name(server));
                let known = known(&mut self.pairs, &client, &server);
                self.counts.unpaired(if known { &client } else { "" }, if known { &server } else { "" });
            }
        }
    }
}

/// Whether the pair has series, or there is room for them.
fn known(pairs: &mut HashSet<(String, String)>, client: &str, server: &str) -> bool {
    let pair = (client.to_owned(), server.to_owned());
    pairs.contains(&pair) || (pairs.len() < MAX_PAIRS && pairs.insert(pair))
}

fn failed(span: &Span, config: &ServiceGraphsConfig) -> bool {
    let code = |key: &str| match find(&span.attributes, key)?.value {
        Some(Value::Int(code)) => Some(code),
        _ => None,
    };
    let http = code("http.status_code").is_some_and(|code| code / 100 != 2 && !config.success_http.contains(&code));
    let grpc = code("rpc.grpc.status_code").is_some_and(|code| code != 0 && !config.success_grpc.contains(&code));
    http || grpc || span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

#[cfg(test)]
mod tests {
    use proto::{
        otlp_common::Resource,
        otlp_traces::{ResourceSpans, ScopeSpans},
    };

    use super::*;

    fn graph(max_items: usize) -> ServiceGraph {
        let wait = Duration::from_secs(10);
        let config = ServiceGraphsConfig { wait, max_items, success_http: vec![404], success_grpc: vec![] };
        ServiceGraph::new(&config, GraphCounts::default())
    }

    fn request(service: &str, span: Span) -> ExportTraceServiceRequest {
        let resource = Some(Resource { attributes: vec![("service.name", service).into()], ..Resource::default() });
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![group] }
    }

    fn client(id: u8, code: i64) -> ExportTraceServiceRequest {
        let attributes = vec![("http.status_code", code).into()];
        let span = Span { trace_id: vec![1; 16], span_id: vec![id; 8], kind: 3, attributes, ..Span::default() };
        request("web", span)
    }

    fn server(parent: u8) -> ExportTraceServiceRequest {
        let ids =
            Span { trace_id: vec![1; 16], span_id: vec![99; 8], parent_span_id: vec![parent; 8], ..Span::default() };
        request("db", Span { kind: 2, ..ids })
    }

    #[test]
    fn a_pair_is_counted_once_whichever_side_comes_first() {
        let (mut graph, now) = (graph(10), Instant::now());
        for request in [client(1, 200), server(1), server(2), client(2, 500), client(3, 404), server(3)] {
            graph.take(&request, now);
        }
        assert_eq!((graph.counts.requests("web", "db"), graph.counts.failures("web", "db")), (3, 1));
        assert!(graph.edges.is_empty());
    }

    #[test]
    fn a_span_alone_is_given_up_after_its_time() {
        let (mut graph, now) = (graph(10), Instant::now());
        graph.take(&client(1, 200), now);
        assert_eq!(graph.due(), Some(now + Duration::from_secs(10)));
        graph.take(&server(1), now + Duration::from_secs(10));
        assert_eq!((graph.counts.requests("web", "db"), graph.counts.alone("web", "")), (0, 1));
        graph.expire(now + Duration::from_secs(20));
        assert_eq!(graph.counts.alone("", "db"), 1);
        assert!(graph.edges.is_empty() && graph.due().is_none());
    }

    #[test]
    fn beyond_max_items_spans_are_left_out_and_counted() {
        let (mut graph, now) = (graph(1), Instant::now());
        for id in 1..=3 {
            graph.take(&client(id, 200), now);
        }
        assert_eq!((graph.edges.len(), graph.counts.left_out("web", "")), (1, 2));
        graph.take(&server(1), now);
        assert_eq!(graph.counts.requests("web", "db"), 1);
    }
}

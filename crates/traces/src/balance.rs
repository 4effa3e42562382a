//! `load_balancing`: which backend spans belong to, by the Collector's ring, so that agents of both kinds agree.
//!
//! Sends nothing: each backend has a lane of its own. Keeps true: all spans of a trace (or of a service) have one backend; adding or
//! removing a backend moves only the spans of that one.

use std::collections::BTreeMap;

use proto::otlp_traces::ExportTraceServiceRequest;

use crate::{BalanceConfig, RoutingKey, tail::by_trace, value::service};

/// Places of the ring, and how many of them each backend takes.
const POSITIONS: u32 = 36_000;
const POINTS: u8 = 100;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Ring {
    key: RoutingKey,
    /// Position and number of the backend, sorted.
    items: Vec<(u32, usize)>,
}

impl Ring {
    pub(crate) fn new(config: &BalanceConfig) -> Self {
        let mut order: Vec<(&str, usize)> = config.backends.iter().map(String::as_str).zip(0..).collect();
        // Where two backends want one position, the first by name has it.
        order.sort_unstable();
        let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
        for (backend, number) in order {
            for point in 0..POINTS {
                let position = crc32(&[backend.as_bytes(), &[point]]) % POSITIONS;
                taken.entry(position).or_insert(number);
            }
        }
        Self { key: config.key, items: taken.into_iter().collect() }
    }

    /// The number of the backend of an identifier: the next on the ring.
    fn backend(&self, identifier: &[u8]) -> usize {
        let position = crc32(&[identifier]) % POSITIONS;
        let at = self.items.partition_point(|(of, _)| *of < position);
        let next = self.items.get(at).or(self.items.first());
        next.map_or(0, |(_, number)| *number)
    }

    /// The request parted by backend.
    pub(crate) fn parted(&self, request: ExportTraceServiceRequest) -> BTreeMap<usize, ExportTraceServiceRequest> {
        let mut parts: BTreeMap<usize, ExportTraceServiceRequest> = BTreeMap::new();
        match self.key {
            RoutingKey::TraceId => {
                for (id, part) in by_trace(request) {
                    parts.entry(self.backend(&id)).or_default().resource_spans.extend(part.resource_spans);
                }
            }
            RoutingKey::Service => {
                for group in request.resource_spans {
                    let backend = self.backend(service(group.resource.as_ref()).unwrap_or_default().as_bytes());
                    parts.entry(backend).or_default().resource_spans.push(group);
                }
            }
        }
        parts
    }
}

/// CRC-32 of IEEE 802.3.
fn crc32(parts: &[&[u8]]) -> u32 {
    let bit = |crc: u32, _: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), bit);
    !parts.iter().flat_map(|part| part.iter()).fold(u32::MAX, byte)
}

#[cfg(test)]
mod tests {
    use proto::{
        otlp_common::Resource,
        otlp_traces::{ResourceSpans, ScopeSpans, Span},
    };

    use super::*;
    use crate::parcel::spans_of;

    fn ring(backends: &[&str], key: RoutingKey) -> Ring {
        Ring::new(&BalanceConfig {
            key,
            resolver: "static",
            backends: backends.iter().map(|text| (*text).to_owned()).collect(),
        })
    }

    #[test]
    fn the_checksum_is_that_of_ieee() {
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926);
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn identifiers_stay_where_they_are_when_another_backend_comes() {
        let (two, three) = (
            ring(&["a:4317", "b:4317"], RoutingKey::TraceId),
            ring(&["a:4317", "b:4317", "c:4317"], RoutingKey::TraceId),
        );
        let mut counts = [0; 3];
        for number in 0..3000_u32 {
            let id = number.wrapping_mul(2_654_435_761).to_be_bytes();
            let (before, after) = (two.backend(&id), three.backend(&id));
            assert!(after == before || after == 2, "{number} moved between backends that stayed");
            counts[after] += 1;
        }
        assert!(counts.iter().all(|count| *count > 500), "{counts:?}");
    }

    #[test]
    fn spans_are_parted_by_trace_or_by_service() {
        let group = |service: &str, traces: &[u8]| {
            let resource = Some(Resource { attributes: vec![("service.name", service).into()], ..Resource::default() });
            let spans = traces.iter().map(|trace| Span { trace_id: vec![*trace; 16], ..Span::default() }).collect();
            ResourceSpans {
                resource,
                scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }
        };
        let all: Vec<u8> = (0..50).collect();
        let request = ExportTraceServiceRequest { resource_spans: vec![group("web", &all), group("db", &all)] };
        let by_trace = ring(&["a:1", "b:1"], RoutingKey::TraceId);
        let parts = by_trace.parted(request.clone());
        assert_eq!(parts.len(), 2);
        assert_eq!(parts.values().map(spans_of).sum::<u32>(), 100);
        for (number, part) in &parts {
            let spans = part.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| &scope.spans);
            assert!(spans.into_iter().all(|span| by_trace.backend(&span.trace_id) == *number));
        }
        let of_services = ring(&["a:1", "b:1", "c:1"], RoutingKey::Service).parted(request);
        assert!(of_services.values().all(|part| [50, 100].contains(&spans_of(part))));
    }
}

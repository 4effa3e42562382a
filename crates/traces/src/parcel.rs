//! Requests on their way back into the queue: counted, encoded, and cut where one record could not hold them.
//!
//! Keeps true: parts hold the request's spans, each once and in their order; a part is larger than the limit only if a single span is.

use prost::Message;
use proto::otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans};

/// An encoded request and its spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) body: Vec<u8>,
    pub(crate) spans: u32,
}

pub(crate) fn spans_of(request: &ExportTraceServiceRequest) -> u32 {
    let spans: usize = request.resource_spans.iter().map(spans_of_group).sum();
    u32::try_from(spans).unwrap_or(u32::MAX)
}

fn spans_of_group(group: &ResourceSpans) -> usize {
    group.scope_spans.iter().map(|scope| scope.spans.len()).sum()
}

/// Removes scopes and resources without a span.
pub(crate) fn tidy(request: &mut ExportTraceServiceRequest) {
    for group in &mut request.resource_spans {
        group.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    request.resource_spans.retain(|group| !group.scope_spans.is_empty());
}

/// The request as one record of at most `limit` bytes, or as several. Nothing, if it has no span.
pub(crate) fn parcels(request: ExportTraceServiceRequest, limit: usize) -> Vec<Parcel> {
    let mut done = Vec::new();
    let mut rest = vec![request];
    while let Some(request) = rest.pop() {
        let spans = spans_of(&request);
        if spans == 0 {
            continue;
        }
        if spans > 1 && request.encoded_len() > limit {
            let (first, second) = halves(request);
            rest.extend([second, first]);
            continue;
        }
        done.push(Parcel { body: request.encode_to_vec(), spans });
    }
    done
}

/// Cuts between resources, within the only resource between scopes, within the only scope between spans.
fn halves(mut request: ExportTraceServiceRequest) -> (ExportTraceServiceRequest, ExportTraceServiceRequest) {
    let whole = |resource_spans| ExportTraceServiceRequest { resource_spans };
    tidy(&mut request);
    let groups = request.resource_spans.len();
    if groups != 1 {
        let second = request.resource_spans.split_off(groups / 2);
        return (request, whole(second));
    }
    let Some(mut group) = request.resource_spans.pop() else { return (whole(Vec::new()), whole(Vec::new())) };
    let scopes = group.scope_spans.len();
    let other = |scope_spans| ResourceSpans {
        resource: group.resource.clone(),
        schema_url: group.schema_url.clone(),
        scope_spans,
    };
    let second = if scopes != 1 {
        let second = group.scope_spans.split_off(scopes / 2);
        other(second)
    } else {
        let Some(scope) = group.scope_spans.first_mut() else { return (whole(Vec::new()), whole(Vec::new())) };
        let spans = scope.spans.split_off(scope.spans.len() / 2);
        let scope = ScopeSpans { scope: scope.scope.clone(), schema_url: scope.schema_url.clone(), spans };
        other(vec![scope])
    };
    (whole(vec![group]), whole(vec![second]))
}

#[cfg(test)]
mod tests {
    use proto::otlp_traces::Span;

    use super::*;

    fn request(shape: &[&[usize]]) -> ExportTraceServiceRequest {
        let mut number = 0;
        let mut span = || {
            number += 1;
            Span { name: format!("span {number:03}"), ..Span::default() }
        };
        let mut scope =
            |spans: &usize| ScopeSpans { spans: (0..*spans).map(|_| span()).collect(), ..ScopeSpans::default() };
        let mut group = |scopes: &&[usize]| ResourceSpans {
            scope_spans: scopes.iter().map(&mut scope).collect(),
            schema_url: "of the resource".into(),
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest { resource_spans: shape.iter().map(&mut group).collect() }
    }

    #[test]
    fn a_request_is_cut_to_the_limit_in_order_and_without_loss() {
        for shape in [&[&[40usize][..]][..], &[&[1], &[30], &[]], &[&[2, 0, 9], &[14]], &[&[0]]] {
            for limit in [1, 60, 300, 100_000] {
                let whole = request(shape);
                let names = |request: &ExportTraceServiceRequest| -> Vec<String> {
                    let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
                    scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
                };
                let expected = names(&whole);
                let mut found = Vec::new();
                for parcel in parcels(whole, limit) {
                    assert!(parcel.body.len() <= limit || parcel.spans == 1);
                    let part = ExportTraceServiceRequest::decode(&*parcel.body).unwrap();
                    assert_eq!(spans_of(&part), parcel.spans);
                    assert!(part.resource_spans.iter().all(|group| group.schema_url == "of the resource"));
                    found.extend(names(&part));
                }
                assert_eq!(found, expected, "{shape:?} {limit}");
            }
        }
    }
}

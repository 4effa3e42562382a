//! Spans as X-Ray's documents, written straight into the body of their request.
//!
//! It sends nothing and books nothing. It keeps true: a request has at most [`DOCUMENTS`] documents, and both of a span that
//! has two; a body that is sent once more without some of them is copied, not made again.

use std::ops::Range;

use bytes::Bytes;
use xray::{Id, Made, Reading, Refusal};

/// Documents in a request at most ("Exceeding maximum segment count: 50").
pub(crate) const DOCUMENTS: usize = 50;

const HEAD: &[u8] = b"{\"TraceSegmentDocuments\":[";
const TAIL: &[u8] = b"]}";

/// A span that X-Ray is told of in one or two documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpanDocuments {
    pub(crate) lot: usize,
    id: Id,
    second: Option<Id>,
    /// Where it is in the body.
    place: Range<usize>,
}

impl SpanDocuments {
    /// Whether one of its documents is called so.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.id.is(id) || self.second.is_some_and(|second| second.is(id))
    }
}

/// The documents of one request.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    pub(crate) spans: Vec<SpanDocuments>,
    body: Bytes,
    /// Spans in the body.
    written: usize,
}

impl Documents {
    pub(crate) fn body(&self) -> Bytes {
        if self.spans.len() == self.written {
            return self.body.clone();
        }
        let mut body = Vec::with_capacity(self.body.len());
        body.extend_from_slice(HEAD);
        for (index, span) in self.spans.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(self.body.get(span.place.clone()).unwrap_or_default());
        }
        body.extend_from_slice(TAIL);
        body.into()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        Self { spans: self.spans.split_off(at), body: self.body.clone(), written: self.written }
    }
}

/// A request that is being written.
#[derive(Debug)]
pub(crate) struct Load {
    spans: Vec<SpanDocuments>,
    text: Vec<u8>,
    documents: usize,
}

impl Load {
    /// `like`: as large as this will be, about.
    pub(crate) fn new(like: usize) -> Self {
        let mut text = Vec::with_capacity(like.max(1024));
        text.extend_from_slice(HEAD);
        Self { spans: Vec::new(), text, documents: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Adds a lot's spans, and tells what became of each. Another load: this one is full, and there may be more spans.
    pub(crate) fn fill(
        &mut self,
        lot: usize,
        reading: &mut Reading<'_>,
        mut told: impl FnMut(Result<Made, Refusal>),
    ) -> Option<Self> {
        loop {
            if self.documents >= DOCUMENTS {
                return Some(self.next());
            }
            let before = self.text.len();
            if !self.spans.is_empty() {
                self.text.push(b',');
            }
            let start = self.text.len();
            let made = reading.next(&mut self.text);
            if let Some(made) = made {
                told(made);
            }
            let Some(Ok(Made { id, second, .. })) = made else {
                self.text.truncate(before);
                match made {
                    Some(_) => continue,
                    None => return None,
                }
            };
            let more = 1 + usize::from(second.is_some());
            let mut span = SpanDocuments { lot, id, second, place: start..self.text.len() };
            if self.documents + more <= DOCUMENTS {
                self.documents += more;
                self.spans.push(span);
                continue;
            }
            // Both documents of a span go together.
            let mut next = self.next();
            next.text.extend_from_slice(self.text.get(span.place).unwrap_or_default());
            span.place = HEAD.len()..next.text.len();
            next.spans.push(span);
            next.documents = more;
            self.text.truncate(before);
            return Some(next);
        }
    }

    fn next(&self) -> Self {
        Self::new(self.text.len() + self.text.len() / 16)
    }

    pub(crate) fn close(mut self) -> Documents {
        self.text.extend_from_slice(TAIL);
        Documents { written: self.spans.len(), spans: self.spans, body: self.text.into() }
    }
}

/// The texts of a request's documents as a list of JSON, for a fuzzer.
pub(crate) fn texts(request: &[u8], options: &xray::Options) -> Vec<String> {
    let (mut reading, mut load, mut found) = (Reading::of(request, options), Load::new(0), Vec::new());
    loop {
        let next = load.fill(0, &mut reading, |_| {});
        let body = load.close().body();
        let list = body.get(HEAD.len() - 1..body.len() - 1).unwrap_or_default();
        found.extend(serde_json::from_slice::<Vec<String>>(list).unwrap_or_default());
        match next {
            Some(next) => load = next,
            None => return found,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use prost::Message;
    use proto::{
        otlp_common::Resource,
        otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, SpanKind},
    };

    use super::*;

    /// A request of spans with these ids; those above 100 have two documents.
    pub(crate) fn request(ids: &[u64]) -> Vec<u8> {
        let span = |id: &u64| Span {
            trace_id: vec![1; 16],
            span_id: id.to_be_bytes().to_vec(),
            name: format!("span \"{id}\""),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: 1_800_000_000_000_000_000,
            attributes: if *id > 100 { vec![("aws.span.kind", "LOCAL_ROOT").into()] } else { Vec::new() },
            ..Span::default()
        };
        let scope = ScopeSpans { spans: ids.iter().map(span).collect(), ..ScopeSpans::default() };
        let group =
            ResourceSpans { resource: Some(Resource::default()), scope_spans: vec![scope], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
    }

    pub(crate) fn documents(request: &[u8]) -> Vec<Documents> {
        let options = xray::Options::default();
        let (mut reading, mut load, mut full) = (Reading::of(request, &options), Load::new(0), Vec::new());
        while let Some(next) = load.fill(0, &mut reading, |_| {}) {
            full.push(std::mem::replace(&mut load, next).close());
        }
        full.push(load.close());
        full
    }

    /// Their ids, as JSON.
    pub(crate) fn names(body: &[u8]) -> Vec<String> {
        let list: serde_json::Value = serde_json::from_slice(body).unwrap();
        let documents = list["TraceSegmentDocuments"].as_array().unwrap();
        let read = |document: &serde_json::Value| serde_json::from_str(document.as_str().unwrap()).unwrap();
        documents.iter().map(read).map(|one: serde_json::Value| one["id"].to_string()).collect()
    }

    #[test]
    fn a_request_is_full_with_fifty_documents_and_both_of_a_span_stay_together() {
        let mut ids: Vec<u64> = (1..50).collect();
        ids.extend([101, 50, 0, 102]);
        let full = documents(&request(&ids));
        let counts: Vec<_> = full.iter().map(|one| (one.spans.len(), names(&one.body()).len())).collect();
        assert_eq!(counts, [(49, 49), (3, 5)]);
        assert!(full[1].spans[0].has(&format!("{:016x}", 101)) && !full[1].spans[1].has(&format!("{:016x}", 101)));
        let whole: Vec<_> =
            documents(&request(&(1..101).collect::<Vec<_>>())).iter().map(|one| one.spans.len()).collect();
        assert_eq!(whole, [50, 50, 0]);
    }

    #[test]
    fn what_is_left_out_is_not_in_the_body_and_the_rest_is_as_it_was() {
        let mut some = documents(&request(&[1, 101, 3])).remove(0);
        let all = names(&some.body());
        assert_eq!(all.len(), 4);
        let rest = some.split_off(1);
        assert_eq!([names(&some.body()), names(&rest.body())].concat(), all);
        some.spans.clear();
        assert_eq!(&*some.body(), b"{\"TraceSegmentDocuments\":[]}");
    }
}

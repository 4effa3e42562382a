//! Spans of another protocol on their way to OTLP: gathered by resource and scope, cut into requests that the queue takes.
//!
//! Keeps true: spans are kept encoded, so that memory is a small multiple of what arrived, and it is taken from the room of
//! all receivers before it grows; a resource's spans keep their order.

use std::collections::HashMap;

use pipeline::OtlpBuffer;
use prost::Message;
use proto::{
    otlp_common::{InstrumentationScope, Resource},
    otlp_traces::Span,
};

use crate::{answer::put_varint, refusal::Refusal, room::Held};

/// A request is closed when it has so many bytes. Half of what the queue holds in one record.
const FULL: usize = 8 << 20;

/// Room is asked for in such steps.
const STEP: usize = 64 << 10;

/// What a group costs beside its bytes.
const GROUP: usize = 256;

/// What a span may have once it is encoded, with its resource.
pub(crate) const LARGEST_SPAN: usize = pipeline::MAX_OTLP_REQUEST - FULL;

/// Parts (tags, annotations, references, fields of logs) of one span at most: a span is built in memory before it is encoded.
pub(crate) const MOST_PARTS: usize = 32_768;

/// Spans so far.
#[derive(Debug)]
pub(crate) struct Sheaf<'h> {
    held: &'h mut Held,
    granted: usize,
    used: usize,
    groups: Vec<Group>,
    places: HashMap<Vec<u8>, usize>,
    /// Bytes and spans of the open request.
    bytes: usize,
    spans: u32,
    cuts: Vec<Cut>,
}

/// One OTLP request and how many spans it has.
#[derive(Debug)]
pub(crate) struct Cut {
    pub request: OtlpBuffer,
    pub spans: u32,
}

#[derive(Debug)]
struct Group {
    resource: Vec<u8>,
    /// Encoded scope, encoded `spans` fields.
    scopes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'h> Sheaf<'h> {
    pub(crate) fn new(held: &'h mut Held) -> Self {
        Self {
            held,
            granted: 0,
            used: 0,
            groups: Vec::new(),
            places: HashMap::new(),
            bytes: 0,
            spans: 0,
            cuts: Vec::new(),
        }
    }

    /// Takes a span in.
    pub(crate) fn add(
        &mut self,
        resource: &Resource,
        scope: &InstrumentationScope,
        span: &Span,
    ) -> Result<(), Refusal> {
        let len = span.encoded_len();
        if len + resource.encoded_len() + scope.encoded_len() + GROUP > LARGEST_SPAN {
            return Err(Refusal::TooLarge { limit: LARGEST_SPAN });
        }
        let (resource, scope) = (resource.encode_to_vec(), scope.encode_to_vec());
        let place = match self.places.get(&resource) {
            Some(place) => *place,
            None => {
                let place = self.groups.len();
                self.grow(2 * resource.len() + GROUP)?;
                self.places.insert(resource.clone(), place);
                self.groups.push(Group { resource, scopes: Vec::new() });
                place
            }
        };
        // The last scope of a resource is almost always the one.
        let group = self.groups.get(place).map(|group| &group.scopes);
        let known = group.and_then(|scopes| scopes.iter().rposition(|(known, _)| *known == scope));
        self.grow(len + 8 + if known.is_none() { scope.len() + GROUP } else { 0 })?;
        if let Some(group) = self.groups.get_mut(place) {
            let at = known.unwrap_or_else(|| {
                group.scopes.push((scope, Vec::new()));
                group.scopes.len() - 1
            });
            if let Some((_, spans)) = group.scopes.get_mut(at) {
                spans.push(2 << 3 | 2);
                put_varint(spans, len as u64);
                span.encode_raw(spans);
            }
        }
        self.spans += 1;
        if self.bytes >= FULL {
            self.close()?;
        }
        Ok(())
    }

    /// Everything, in requests that the queue takes. No request, if there was no span.
    pub(crate) fn finish(mut self) -> Result<Vec<Cut>, Refusal> {
        self.close()?;
        Ok(self.cuts)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        // Once in the group and once in the request.
        self.used += 2 * bytes;
        if self.used > self.granted {
            let wanted = (self.used - self.granted).max(STEP);
            self.held.more(wanted)?;
            self.granted += wanted;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refusal> {
        self.places.clear();
        let bytes = std::mem::take(&mut self.bytes);
        let (groups, spans) = (std::mem::take(&mut self.groups), std::mem::take(&mut self.spans));
        if spans == 0 {
            return Ok(());
        }
        // Lengths stand before what they are of: they are known, so that everything is copied once.
        let scope_len = |(scope, spans): &(Vec<u8>, Vec<u8>)| field_len(scope.len()) + spans.len();
        let group_len = |group: &Group| {
            let scopes: usize = group.scopes.iter().map(|scope| framed_len(scope_len(scope))).sum();
            field_len(group.resource.len()) + scopes
        };
        let mut request = OtlpBuffer::with_capacity(0);
        request.reserve(groups.iter().map(|group| framed_len(group_len(group))).sum());
        for group in groups {
            head(&mut request, 1, group_len(&group));
            field(&mut request, 1, &group.resource);
            for scope in group.scopes {
                head(&mut request, 2, scope_len(&scope));
                field(&mut request, 1, &scope.0);
                request.extend(&scope.1);
            }
        }
        // The groups are gone.
        self.used = self.used.saturating_sub(bytes);
        if request.len() > pipeline::MAX_OTLP_REQUEST {
            return Err(Refusal::TooLarge { limit: pipeline::MAX_OTLP_REQUEST });
        }
        self.cuts.push(Cut { request, spans });
        Ok(())
    }
}

/// The head of a field of so many bytes.
fn head(out: &mut OtlpBuffer, tag: u8, len: usize) {
    let mut head = Vec::with_capacity(12);
    head.push(tag << 3 | 2);
    put_varint(&mut head, len as u64);
    out.extend(&head);
}

/// A field of bytes; an empty one is left out, as protobuf does.
fn field(out: &mut OtlpBuffer, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        head(out, tag, bytes.len());
        out.extend(bytes);
    }
}

/// Bytes of a field of so many bytes, with its head.
fn framed_len(len: usize) -> usize {
    let bits = usize::BITS - (len | 1).leading_zeros();
    len + 1 + bits.div_ceil(7) as usize
}

/// The same for one that is left out if it is empty.
fn field_len(len: usize) -> usize {
    if len == 0 { 0 } else { framed_len(len) }
}

#[cfg(test)]
mod tests {
    use model::otlp::{Signal, check};
    use proto::otlp_traces::ExportTraceServiceRequest;

    use super::*;
    use crate::{attributes::text, room::BodyRoom};

    fn resource(name: &str) -> Resource {
        Resource { attributes: vec![text("service.name", name)], ..Resource::default() }
    }

    fn span(name: String) -> Span {
        Span { trace_id: vec![1; 16], span_id: vec![2; 8], name, ..Span::default() }
    }

    #[test]
    fn spans_are_grouped_by_resource_and_scope_in_their_order() {
        let room = BodyRoom::new(1 << 20);
        let mut held = room.hold();
        let mut sheaf = Sheaf::new(&mut held);
        let named = InstrumentationScope { name: "lib".to_owned(), ..InstrumentationScope::default() };
        let unnamed = InstrumentationScope::default();
        for number in 0..6 {
            let scope = if number < 4 { &named } else { &unnamed };
            sheaf.add(&resource(["a", "b"][number % 2]), scope, &span(format!("span {number}"))).unwrap();
        }
        let cuts = sheaf.finish().unwrap();
        assert_eq!((cuts.len(), cuts[0].spans), (1, 6));
        assert_eq!(check(Signal::Traces, cuts[0].request.body()).unwrap(), 6);
        let request = ExportTraceServiceRequest::decode(cuts[0].request.body()).unwrap();
        let found: Vec<Vec<Vec<&str>>> = request
            .resource_spans
            .iter()
            .map(|r| r.scope_spans.iter().map(|s| s.spans.iter().map(|s| s.name.as_str()).collect()).collect())
            .collect();
        assert_eq!(found, [[vec!["span 0", "span 2"], vec!["span 4"]], [vec!["span 1", "span 3"], vec!["span 5"]]]);
        assert_eq!(request.resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "lib");
        assert_eq!(room.left(), (1 << 20) - STEP);
        assert_eq!(cuts[0].request.capacity(), cuts[0].request.len() + 1, "nothing in reserve");
        drop(held);
        assert_eq!(room.left(), 1 << 20);
    }

    #[test]
    fn what_is_large_becomes_several_requests_and_room_is_asked_first() {
        let room = BodyRoom::new(128 << 20);
        let mut held = room.hold();
        let mut sheaf = Sheaf::new(&mut held);
        for _ in 0..20 {
            sheaf.add(&resource("a"), &Default::default(), &span("x".repeat(1 << 20))).unwrap();
        }
        let cuts = sheaf.finish().unwrap();
        assert_eq!(cuts.iter().map(|cut| cut.spans).collect::<Vec<_>>(), [8, 8, 4]);
        let told = Sheaf::new(&mut held).add(&resource("a"), &Default::default(), &span("x".repeat(8 << 20)));
        assert!(matches!(told, Err(Refusal::TooLarge { .. })));
        let small = BodyRoom::new(1 << 20);
        let mut held = small.hold();
        let told = Sheaf::new(&mut held).add(&resource("a"), &Default::default(), &span("x".repeat(1 << 20)));
        assert_eq!(told.unwrap_err(), Refusal::Heavy { limit: (1 << 20) / 4 * 3 });
        let crowded = BodyRoom::new(16 << 20);
        let mut others = crowded.hold();
        others.more(12 << 20).unwrap();
        let mut held = crowded.hold();
        let told = Sheaf::new(&mut held).add(&resource("a"), &Default::default(), &span("x".repeat(2 << 20)));
        assert_eq!(told.unwrap_err(), Refusal::Crowded);
    }

    #[test]
    fn nothing_is_no_request() {
        let room = BodyRoom::new(1 << 20);
        assert!(Sheaf::new(&mut room.hold()).finish().unwrap().is_empty());
    }
}

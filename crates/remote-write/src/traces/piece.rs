//! A received request or a part of one, and how it is cut.
//!
//! It keeps true: a piece is a request by itself, and pieces of one signal joined are one too; the pieces that one was cut
//! into hold its items, each once and in their order; what is not cut is byte for byte what was received.

use std::borrow::Cow;

use model::otlp::{self, Field, Signal};

use crate::wire::table::put_varint;

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Which lot of the group it is of.
    pub(crate) lot: usize,
    /// Spans, data points or log records.
    pub(crate) items: u32,
    pub(crate) body: Cow<'a, [u8]>,
}

/// The numbers of the fields from a request to its items: resources, scopes, and what is below.
fn path(signal: Signal) -> &'static [&'static [u32]] {
    match signal {
        Signal::Traces | Signal::Logs => &[&[1], &[2], &[2]],
        Signal::Metrics => &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]],
    }
}

impl<'a> Piece<'a> {
    /// Two pieces of about half the size. The error is a piece that cannot be cut: of one item.
    pub(crate) fn halve(self, signal: Signal) -> Result<(Self, Self), Self> {
        if self.items < 2 {
            return Err(self);
        }
        let Some((first, second)) = cut(&self.body, path(signal)) else { return Err(self) };
        let counts = (otlp::count(signal, &first), otlp::count(signal, &second));
        let (Ok(before), Ok(after)) = counts else { return Err(self) };
        // Between resources nothing has to be written anew.
        let between = first.len() + second.len() == self.body.len();
        let (first, second) = match self.body {
            Cow::Borrowed(whole) if between && whole.starts_with(&first) => {
                let (first, second) = whole.split_at(first.len());
                (Cow::Borrowed(first), Cow::Borrowed(second))
            }
            _ => (Cow::Owned(first), Cow::Owned(second)),
        };
        let piece = |items, body| Self { lot: self.lot, items, body };
        Ok((piece(before, first), piece(after, second)))
    }
}

/// The message cut in two: between the parts that `path` begins with, or within the only one.
fn cut(message: &[u8], path: &[&[u32]]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (tags, below) = path.split_first()?;
    // A request may have hundreds of thousands of parts: no list is made of them.
    let is_part = |field: &Field<'_>| tags.contains(&field.tag);
    let (mut head, mut only, mut number, mut bytes): (Vec<u8>, Option<Field<'_>>, _, _) =
        (Vec::new(), None, 0_usize, 0);
    for field in otlp::fields(message) {
        let field = field.ok()?;
        if is_part(&field) {
            (number, bytes) = (number + 1, bytes + field.raw.len());
            only = Some(field);
        } else {
            head.extend_from_slice(field.raw);
        }
    }
    if let Some(only) = only.filter(|_| number == 1) {
        let (first, second) = cut(only.bytes()?, below)?;
        let whole = |part: Vec<u8>| {
            let mut out = Vec::with_capacity(head.len() + part.len() + 6);
            out.extend_from_slice(&head);
            put_varint(u64::from(only.tag) << 3 | 2, &mut out);
            put_varint(part.len() as u64, &mut out);
            out.extend_from_slice(&part);
            out
        };
        return Some((whole(first), whole(second)));
    }
    let parts = || otlp::fields(message).filter_map(Result::ok).filter(is_part);
    let (mut middle, mut before) = (0, 0);
    for part in parts() {
        if middle > 0 && before + part.raw.len() > bytes / 2 {
            break;
        }
        (middle, before) = (middle + 1, before + part.raw.len());
    }
    if middle >= number {
        return None;
    }
    let whole = |bytes: usize, parts: &mut dyn Iterator<Item = Field<'_>>| {
        let mut out = Vec::with_capacity(head.len() + bytes);
        out.extend_from_slice(&head);
        parts.for_each(|part| out.extend_from_slice(part.raw));
        out
    };
    let first = whole(before, &mut parts().take(middle));
    Some((first, whole(bytes - before, &mut parts().skip(middle))))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn request(shape: &[&[usize]]) -> ExportTraceServiceRequest {
        let mut number = 0;
        let mut span = || {
            number += 1;
            Span { name: format!("span {number}"), ..Span::default() }
        };
        let mut scope = |spans: &usize| ScopeSpans {
            spans: (0..*spans).map(|_| span()).collect(),
            schema_url: "of the scope".into(),
            ..ScopeSpans::default()
        };
        let resource_spans = shape
            .iter()
            .map(|scopes| ResourceSpans {
                scope_spans: scopes.iter().map(&mut scope).collect(),
                schema_url: "of the resource".into(),
                ..ResourceSpans::default()
            })
            .collect();
        ExportTraceServiceRequest { resource_spans }
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        let request = ExportTraceServiceRequest::decode(bytes).unwrap();
        let mut names = Vec::new();
        for resource in &request.resource_spans {
            assert_eq!(resource.schema_url, "of the resource");
            for scope in &resource.scope_spans {
                assert_eq!(scope.schema_url, "of the scope");
                names.extend(scope.spans.iter().map(|span| span.name.clone()));
            }
        }
        names
    }

    #[test]
    fn a_request_is_cut_down_to_single_spans_in_order() {
        for shape in [&[&[7][..]][..], &[&[1], &[1], &[1]], &[&[2, 3, 1], &[4]], &[&[1, 1]]] {
            let bytes = request(shape).encode_to_vec();
            let all = names(&bytes);
            let whole = Piece { lot: 3, items: u32::try_from(all.len()).unwrap(), body: Cow::Borrowed(&bytes) };
            let mut stack = vec![whole];
            let mut found = Vec::new();
            while let Some(piece) = stack.pop() {
                match piece.halve(Signal::Traces) {
                    Ok((first, second)) => stack.extend([second, first]),
                    Err(single) => {
                        assert_eq!((single.lot, single.items), (3, 1));
                        found.extend(names(&single.body));
                    }
                }
            }
            assert_eq!(found, all);
        }
    }

    #[test]
    fn between_resources_nothing_is_copied() {
        let bytes = request(&[&[1], &[1], &[2]]).encode_to_vec();
        let whole = Piece { lot: 0, items: 4, body: Cow::Borrowed(&bytes) };
        let (first, second) = whole.halve(Signal::Traces).unwrap();
        assert!(matches!((&first.body, &second.body), (Cow::Borrowed(_), Cow::Borrowed(_))));
        assert_eq!([&*first.body, &*second.body].concat(), bytes);
        assert_eq!((first.items, second.items), (1, 3), "by bytes");
    }

    #[test]
    fn a_metric_is_cut_between_its_points() {
        fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
            let mut out = vec![tag << 3 | 2];
            put_varint(bytes.len() as u64, &mut out);
            out.extend_from_slice(bytes);
            out
        }
        let points: Vec<u8> = (0..5).flat_map(|n: u8| field(1, &[0x19, n, 0, 0, 0, 0, 0, 0, 0])).collect();
        // A sum with its temporality and monotony behind the points.
        let sum = [points, vec![0x10, 2, 0x18, 1]].concat();
        let metric = [field(1, b"name"), field(7, &sum)].concat();
        let bytes = field(1, &field(2, &field(2, &metric)));
        let whole = Piece { lot: 0, items: 5, body: Cow::Borrowed(&bytes) };
        let (first, second) = whole.halve(Signal::Metrics).unwrap();
        assert_eq!((first.items, second.items), (2, 3));
        for half in [&first.body, &second.body] {
            assert!(half.windows(6).any(|part| part == b"\x0a\x04name"), "the name goes with both");
            assert!(half.windows(4).any(|part| part == [0x10, 2, 0x18, 1]), "and the temporality");
        }
    }
}

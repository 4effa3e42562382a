//! Lists of spans in protobuf (`zipkin.proto3.ListOfSpans`), one span at a time.

use std::net::{Ipv4Addr, Ipv6Addr};

use model::otlp::fields;
use prost::Message;
use proto::{otlp_traces::SpanKind, zipkin as wire};

use super::{
    span::{Endpoint, ZipkinSpan},
    translate,
};
use crate::{
    refusal::Refusal,
    sheaf::{MOST_PARTS, Sheaf},
};

pub(crate) fn read_protobuf(list: &[u8], parse: bool, sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    let malformed = |why: String| Refusal::Malformed(format!("reading Zipkin spans: {why}"));
    for field in fields(list) {
        let field = field.map_err(|error| malformed(error.to_string()))?;
        let Some(bytes) = field.bytes().filter(|_| field.tag == 1) else { continue };
        if fields(bytes).count() > MOST_PARTS {
            return Err(malformed(format!("a span has more than {MOST_PARTS} fields")));
        }
        let span = wire::Span::decode(bytes).map_err(|error| malformed(error.to_string()))?;
        translate::add(into_span(span).map_err(|why| malformed(why.to_owned()))?, parse, sheaf)?;
    }
    Ok(())
}

fn into_span(span: wire::Span) -> Result<ZipkinSpan, &'static str> {
    let kind = match span.kind {
        1 => Some(SpanKind::Client),
        2 => Some(SpanKind::Server),
        3 => Some(SpanKind::Producer),
        4 => Some(SpanKind::Consumer),
        _ => None,
    };
    Ok(ZipkinSpan {
        trace_id: padded(&span.trace_id).ok_or("a span's trace_id is not 8 or 16 bytes, or zero")?,
        id: padded(&span.id).ok_or("a span's id is not 8 bytes, or zero")?,
        parent: if span.parent_id.iter().all(|byte| *byte == 0) {
            None
        } else {
            Some(padded(&span.parent_id).ok_or("a span's parent_id is not 8 bytes")?)
        },
        kind,
        name: span.name,
        timestamp: Some(span.timestamp).filter(|time| *time > 0),
        duration: span.duration,
        local: endpoint(span.local_endpoint),
        remote: endpoint(span.remote_endpoint),
        annotations: span.annotations.into_iter().map(|a| (a.timestamp, a.value)).collect(),
        tags: span.tags.into_iter().collect(),
        debug: span.debug,
        shared: span.shared,
    })
}

/// 8 bytes, or all `N`; not zero.
fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut id = [0; N];
    if bytes.len() != 8 && bytes.len() != N {
        return None;
    }
    id.get_mut(N.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    (id != [0; N]).then_some(id)
}

fn endpoint(end: Option<wire::Endpoint>) -> Endpoint {
    let end = end.unwrap_or_default();
    let four = <[u8; 4]>::try_from(end.ipv4.as_slice()).map(|ip| Ipv4Addr::from(ip).to_string());
    let six = <[u8; 16]>::try_from(end.ipv6.as_slice()).map(|ip| Ipv6Addr::from(ip).to_string());
    Endpoint {
        service: end.service_name,
        ipv4: four.unwrap_or_default(),
        ipv6: six.unwrap_or_default(),
        port: u16::try_from(end.port).unwrap_or(0),
    }
}

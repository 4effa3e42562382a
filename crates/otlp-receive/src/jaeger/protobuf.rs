//! `jaeger.api_v2.PostSpansRequest`, one span at a time.

use model::otlp::{Value as Wire, fields};
use prost::Message;
use proto::{
    jaeger as wire,
    otlp_common::{KeyValue, Value},
};

use super::{
    span::{JaegerSpan, Log, Process, Reference},
    translate::{self, Source},
};
use crate::{
    attributes::pair,
    refusal::Refusal,
    sheaf::{MOST_PARTS, Sheaf},
};

fn malformed(why: impl std::fmt::Display) -> Refusal {
    Refusal::Malformed(format!("reading a Jaeger batch: {why}"))
}

/// The request of `CollectorService.PostSpans`.
pub(crate) fn read_request(request: &[u8], sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    for field in fields(request) {
        let field = field.map_err(malformed)?;
        if let Some(batch) = field.bytes().filter(|_| field.tag == 1) {
            read_batch(batch, sheaf)?;
        }
    }
    Ok(())
}

fn read_batch(batch: &[u8], sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    let mut process = Process::default();
    for field in fields(batch) {
        let field = field.map_err(malformed)?;
        if let Some(bytes) = field.bytes().filter(|_| field.tag == 2) {
            bounded(bytes, 1)?;
            process = into_process(wire::Process::decode(bytes).map_err(malformed)?);
        }
    }
    let common = Source::new(process);
    for field in fields(batch) {
        let field = field.map_err(malformed)?;
        let Some(bytes) = field.bytes().filter(|_| field.tag == 1) else { continue };
        bounded(bytes, 2)?;
        let mut span = wire::Span::decode(bytes).map_err(malformed)?;
        let own = span.process.take().map(|process| Source::new(into_process(process)));
        translate::add(into_span(span)?, own.as_ref().unwrap_or(&common), sheaf)?;
    }
    Ok(())
}

/// Whether a message and those in it, so many levels down, have not too many fields for memory: what protobuf writes in two
/// bytes is built as a hundred.
fn bounded(message: &[u8], levels: u32) -> Result<(), Refusal> {
    fn count(message: &[u8], levels: u32, found: &mut usize) {
        for field in fields(message).map_while(Result::ok) {
            *found += 1;
            if let (Wire::Bytes(inner), true) = (field.value, levels > 0) {
                count(inner, levels - 1, found);
            }
        }
    }
    let mut found = 0;
    count(message, levels, &mut found);
    // A tag is a field, and up to three fields inside.
    if found > 8 * MOST_PARTS {
        return Err(malformed("a span or a process has too many tags, logs or references"));
    }
    Ok(())
}

fn into_span(span: wire::Span) -> Result<JaegerSpan, Refusal> {
    Ok(JaegerSpan {
        trace_id: id(&span.trace_id).ok_or_else(|| malformed("a span's trace id is not 16 bytes, or zero"))?,
        id: id(&span.span_id).ok_or_else(|| malformed("a span's id is not 8 bytes, or zero"))?,
        parent: [0; 8],
        name: span.operation_name,
        references: span.references.iter().filter_map(reference).collect(),
        start: nanos(span.start_time),
        duration: nanos(span.duration),
        tags: tags(span.tags),
        logs: span.logs.into_iter().map(|log| Log { time: nanos(log.timestamp), fields: tags(log.fields) }).collect(),
        warnings: span.warnings,
    })
}

fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok().filter(|id| *id != [0; N])
}

/// One whose ids are none cannot be linked to.
fn reference(from: &wire::SpanRef) -> Option<Reference> {
    Some(Reference { trace_id: id(&from.trace_id)?, id: id(&from.span_id)?, follows: from.ref_type == 1 })
}

fn nanos(moment: Option<wire::Moment>) -> u64 {
    let moment = moment.unwrap_or_default();
    let seconds = u64::try_from(moment.seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(moment.nanos).unwrap_or(0))
}

fn into_process(process: wire::Process) -> Process {
    Process { service: process.service_name, tags: tags(process.tags) }
}

fn tags(tags: Vec<wire::KeyValue>) -> Vec<KeyValue> {
    let tag = |tag: wire::KeyValue| {
        let value = match tag.v_type {
            0 => Value::String(tag.v_str),
            1 => Value::Bool(tag.v_bool),
            2 => Value::Int(tag.v_int64),
            3 => Value::Double(tag.v_float64),
            4 => Value::Bytes(tag.v_binary),
            other => Value::String(format!("<Unknown Jaeger TagType {other}>")),
        };
        pair(&tag.key, value)
    };
    tags.into_iter().map(tag).collect()
}

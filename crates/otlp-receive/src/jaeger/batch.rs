//! `jaeger.thrift`'s batch: over HTTP as a struct by itself, in datagrams as the argument of `Agent.emitBatch`.
//!
//! Keeps true: a batch is walked twice, first for the process, which may come behind the spans; one span is in memory at a
//! time, and has at most [`MOST_PARTS`] parts.

use proto::otlp_common::{KeyValue, Value};

use super::{
    span::{JaegerSpan, Log, Process, Reference},
    thrift::{Protocol, Thrift, Type, Wrong},
    translate::{self, Source},
};
use crate::{
    attributes::pair,
    refusal::Refusal,
    sheaf::{MOST_PARTS, Sheaf},
};

fn malformed(why: Wrong) -> Refusal {
    Refusal::Malformed(format!("reading a Jaeger batch: {why}"))
}

/// A batch in the binary protocol, without a message around it.
pub(crate) fn read_binary_batch(bytes: &[u8], sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    let process = process_of(&mut Thrift::new(bytes, Protocol::Binary)).map_err(malformed)?;
    spans_of(&mut Thrift::new(bytes, Protocol::Binary), &process, sheaf)
}

/// A call of `emitBatch`.
pub(crate) fn read_datagram(bytes: &[u8], protocol: Protocol, sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    let process = process_of(&mut argument(bytes, protocol)?).map_err(malformed)?;
    spans_of(&mut argument(bytes, protocol)?, &process, sheaf)
}

/// At the batch within a message.
fn argument(bytes: &[u8], protocol: Protocol) -> Result<Thrift<'_>, Refusal> {
    let mut thrift = Thrift::new(bytes, protocol);
    let name = thrift.message().map_err(malformed)?;
    if name != b"emitBatch" {
        let name: String = String::from_utf8_lossy(name).chars().take(40).collect();
        return Err(Refusal::Unknown(format!("the call {name:?} is not known here: emitBatch is")));
    }
    let mut place = thrift.enter().map_err(malformed)?;
    while let Some((number, of)) = thrift.field(&mut place).map_err(malformed)? {
        if (number, of) == (1, Type::Struct) {
            return Ok(thrift);
        }
        thrift.skip(of).map_err(malformed)?;
    }
    Err(malformed("the call has no batch"))
}

fn process_of(thrift: &mut Thrift<'_>) -> Result<Process, Wrong> {
    let (mut place, mut found) = (thrift.enter()?, Process::default());
    while let Some((number, of)) = thrift.field(&mut place)? {
        match (number, of) {
            (1, Type::Struct) => found = process(thrift)?,
            _ => thrift.skip(of)?,
        }
    }
    Ok(found)
}

fn spans_of(thrift: &mut Thrift<'_>, process: &Process, sheaf: &mut Sheaf<'_>) -> Result<(), Refusal> {
    let source = Source::new(process.clone());
    let mut place = thrift.enter().map_err(malformed)?;
    while let Some((number, of)) = thrift.field(&mut place).map_err(malformed)? {
        match (number, of) {
            (2, Type::List) => {
                let (len, of) = thrift.list().map_err(malformed)?;
                for _ in 0..len {
                    if of != Type::Struct {
                        return Err(malformed("the list of spans holds something else"));
                    }
                    let span = span(thrift).map_err(malformed)?;
                    if span.id == [0; 8] || span.trace_id == [0; 16] {
                        return Err(malformed("a span has no id, or no trace id"));
                    }
                    translate::add(span, &source, sheaf)?;
                }
            }
            _ => thrift.skip(of).map_err(malformed)?,
        }
    }
    Ok(())
}

/// How many more parts there may be.
struct Parts(usize);

impl Parts {
    fn take(&mut self, many: usize) -> Result<(), Wrong> {
        self.0 = self.0.checked_sub(many).ok_or("a span or a process has too many tags, logs or references")?;
        Ok(())
    }
}

fn process(thrift: &mut Thrift<'_>) -> Result<Process, Wrong> {
    let (mut place, mut found, mut parts) = (thrift.enter()?, Process::default(), Parts(MOST_PARTS));
    while let Some((number, of)) = thrift.field(&mut place)? {
        match (number, of) {
            (1, Type::Text) => found.service = thrift.text()?,
            (2, Type::List) => found.tags = tags(thrift, &mut parts)?,
            _ => thrift.skip(of)?,
        }
    }
    Ok(found)
}

fn span(thrift: &mut Thrift<'_>) -> Result<JaegerSpan, Wrong> {
    let (mut place, mut parts) = (thrift.enter()?, Parts(MOST_PARTS));
    let (mut span, mut low, mut high) = (JaegerSpan::default(), 0, 0);
    while let Some((number, of)) = thrift.field(&mut place)? {
        match (number, of) {
            (1, Type::I64) => low = thrift.i64()?,
            (2, Type::I64) => high = thrift.i64()?,
            (3, Type::I64) => span.id = thrift.i64()?.to_be_bytes(),
            (4, Type::I64) => span.parent = thrift.i64()?.to_be_bytes(),
            (5, Type::Text) => span.name = thrift.text()?,
            (6, Type::List) => span.references = structs(thrift, &mut parts, |thrift, _| reference(thrift))?,
            (8, Type::I64) => span.start = micros(thrift.i64()?),
            (9, Type::I64) => span.duration = micros(thrift.i64()?),
            (10, Type::List) => span.tags = tags(thrift, &mut parts)?,
            (11, Type::List) => span.logs = structs(thrift, &mut parts, log)?,
            _ => thrift.skip(of)?,
        }
    }
    span.trace_id = id(high, low);
    Ok(span)
}

/// Nanoseconds.
fn micros(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).saturating_mul(1000)
}

fn id(high: i64, low: i64) -> [u8; 16] {
    (u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned())).to_be_bytes()
}

fn structs<'a, T>(
    thrift: &mut Thrift<'a>,
    parts: &mut Parts,
    mut read: impl FnMut(&mut Thrift<'a>, &mut Parts) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let (len, of) = thrift.list()?;
    parts.take(len)?;
    if len > 0 && of != Type::Struct {
        return Err("a list holds something else than it should");
    }
    (0..len).map(|_| read(thrift, parts)).collect()
}

fn reference(thrift: &mut Thrift<'_>) -> Result<Reference, Wrong> {
    let (mut place, mut found, mut low, mut high) = (thrift.enter()?, Reference::default(), 0, 0);
    while let Some((number, of)) = thrift.field(&mut place)? {
        match (number, of) {
            (1, Type::I32) => found.follows = thrift.i32()? == 1,
            (2, Type::I64) => low = thrift.i64()?,
            (3, Type::I64) => high = thrift.i64()?,
            (4, Type::I64) => found.id = thrift.i64()?.to_be_bytes(),
            _ => thrift.skip(of)?,
        }
    }
    found.trace_id = id(high, low);
    Ok(found)
}

fn log(thrift: &mut Thrift<'_>, parts: &mut Parts) -> Result<Log, Wrong> {
    let (mut place, mut found) = (thrift.enter()?, Log::default());
    while let Some((number, of)) = thrift.field(&mut place)? {
        match (number, of) {
            (1, Type::I64) => found.time = micros(thrift.i64()?),
            (2, Type::List) => found.fields = tags(thrift, parts)?,
            _ => thrift.skip(of)?,
        }
    }
    Ok(found)
}

fn tags(thrift: &mut Thrift<'_>, parts: &mut Parts) -> Result<Vec<KeyValue>, Wrong> {
    structs(thrift, parts, |thrift, _| tag(thrift))
}

fn tag(thrift: &mut Thrift<'_>) -> Result<KeyValue, Wrong> {
    let (mut place, mut key, mut kind) = (thrift.enter()?, String::new(), 0);
    let (mut text, mut double, mut flag, mut long, mut binary) = (None, 0.0, false, 0, Vec::new());
    while let Some((number, of)) = thrift.field(&mut place)? {
        match (number, of) {
            (1, Type::Text) => key = thrift.text()?,
            (2, Type::I32) => kind = thrift.i32()?,
            (3, Type::Text) => text = Some(thrift.text()?),
            (4, Type::Double) => double = thrift.double()?,
            (5, Type::Bool(_)) => flag = thrift.flag(of)?,
            (6, Type::I64) => long = thrift.i64()?,
            (7, Type::Text) => binary = thrift.bytes()?.to_vec(),
            _ => thrift.skip(of)?,
        }
    }
    let value = match kind {
        0 => Value::String(text.unwrap_or_default()),
        1 => Value::Double(double),
        2 => Value::Bool(flag),
        3 => Value::Int(long),
        4 => Value::Bytes(binary),
        other => Value::String(format!("<Unknown Jaeger TagType {other}>")),
    };
    Ok(pair(&key, value))
}

//! A span as it stands in a request's bytes: nothing is copied, and the lists are used again for the next one.
//!
//! It judges form only. What is not UTF-8 where OTLP says text, or does not end where it should, is [`Broken`]. It keeps
//! true: a list or map that is inside a [`Value`] has been read to its end, so that reading it again cannot fail. Of an
//! attribute's value that is there twice the last counts, where protobuf would join two lists.

use std::ops::Range;

use proto::otlp_traces::SpanKind;

use crate::{
    attributes::Attributes,
    known::Key,
    wire::{Broken, Fields, Wire},
};

/// Lists within lists at most, as protobuf's own readers have it.
const MOST_DEPTH: usize = 100;

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) known: Option<Key>,
    pub(crate) name: &'a str,
    pub(crate) value: Value<'a>,
}

/// A value of any kind but "empty".
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    Array(List<'a>),
    Map(List<'a>),
}

/// A list's or map's message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a>(&'a [u8]);

impl<'a> List<'a> {
    fn items(self) -> impl Iterator<Item = &'a [u8]> {
        Fields::of(self.0).filter_map(|field| match field {
            Ok((1, Wire::Bytes(item))) => Some(item),
            _ => None,
        })
    }

    /// The values of a list; `None`: an empty one.
    pub(crate) fn values(self) -> impl Iterator<Item = Option<Value<'a>>> {
        self.items().map(|item| {
            let mut found = None;
            let _ = value(item, None, &mut found);
            found
        })
    }

    /// The pairs of a map.
    pub(crate) fn pairs(self) -> impl Iterator<Item = (&'a str, Option<Value<'a>>)> {
        self.items().map(|item| pair(item, None).unwrap_or_default())
    }
}

/// Something that happened during a span.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub(crate) time_unix_nano: u64,
    pub(crate) name: &'a str,
    attributes: Range<usize>,
}

/// A span that this one has to do with.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    attributes: Range<usize>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Span<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) parent_span_id: &'a [u8],
    pub(crate) name: &'a str,
    kind: u64,
    pub(crate) start_time_unix_nano: u64,
    pub(crate) end_time_unix_nano: u64,
    pub(crate) status: Status<'a>,
    pub(crate) events: Vec<Event<'a>>,
    pub(crate) links: Vec<Link<'a>>,
    /// Those of events and links.
    further: Vec<Pair<'a>>,
}

/// How an operation ended.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Status<'a> {
    pub(crate) message: &'a str,
    pub(crate) failed: bool,
}

impl<'a> Span<'a> {
    /// Reads the next one in place of this one; its own attributes go into `attributes`.
    pub(crate) fn read(&mut self, bytes: &'a [u8], attributes: &mut Attributes<'a>) -> Result<(), Broken> {
        attributes.clear();
        let Self { mut events, mut links, mut further, .. } = std::mem::take(self);
        events.clear();
        links.clear();
        further.clear();
        *self = Self { events, links, further, ..Self::default() };
        for field in Fields::of(bytes) {
            match field? {
                (1, Wire::Bytes(id)) => self.trace_id = id,
                (2, Wire::Bytes(id)) => self.span_id = id,
                // The trace's state.
                (3, Wire::Bytes(_)) => {}
                (4, Wire::Bytes(id)) => self.parent_span_id = id,
                (5, Wire::Bytes(name)) => self.name = text(name)?,
                (6, Wire::Varint(kind)) => self.kind = kind,
                (7, Wire::Fixed64(time)) => self.start_time_unix_nano = time,
                (8, Wire::Fixed64(time)) => self.end_time_unix_nano = time,
                (9, Wire::Bytes(bytes)) => attribute(bytes)?.into_iter().for_each(|pair| attributes.add(pair)),
                (11, Wire::Bytes(bytes)) => self.event(bytes)?,
                (13, Wire::Bytes(bytes)) => self.link(bytes)?,
                (15, Wire::Bytes(bytes)) => self.status.read(bytes)?,
                (1..=9 | 11 | 13 | 15, _) => return Err(Broken),
                _ => {}
            }
        }
        attributes.settle();
        Ok(())
    }

    fn event(&mut self, bytes: &'a [u8]) -> Result<(), Broken> {
        let start = self.further.len();
        let (mut time_unix_nano, mut name) = (0, "");
        for field in Fields::of(bytes) {
            match field? {
                (1, Wire::Fixed64(time)) => time_unix_nano = time,
                (2, Wire::Bytes(bytes)) => name = text(bytes)?,
                (3, Wire::Bytes(bytes)) => self.further.extend(attribute(bytes)?),
                (1..=3, _) => return Err(Broken),
                _ => {}
            }
        }
        self.events.push(Event { time_unix_nano, name, attributes: start..self.further.len() });
        Ok(())
    }

    fn link(&mut self, bytes: &'a [u8]) -> Result<(), Broken> {
        let start = self.further.len();
        let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
        for field in Fields::of(bytes) {
            match field? {
                (1, Wire::Bytes(id)) => trace_id = id,
                (2, Wire::Bytes(id)) => span_id = id,
                (4, Wire::Bytes(bytes)) => self.further.extend(attribute(bytes)?),
                (1..=4, Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32) => return Err(Broken),
                _ => {}
            }
        }
        self.links.push(Link { trace_id, span_id, attributes: start..self.further.len() });
        Ok(())
    }

    pub(crate) fn kind(&self) -> SpanKind {
        // As protobuf reads a number of 32 bits.
        match self.kind & 0xffff_ffff {
            1 => SpanKind::Internal,
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        }
    }

    pub(crate) fn of_event(&self, event: &Event<'a>) -> &[Pair<'a>] {
        self.further.get(event.attributes.clone()).unwrap_or_default()
    }

    pub(crate) fn of_link(&self, link: &Link<'a>) -> &[Pair<'a>] {
        self.further.get(link.attributes.clone()).unwrap_or_default()
    }
}

impl<'a> Status<'a> {
    fn read(&mut self, bytes: &'a [u8]) -> Result<(), Broken> {
        for field in Fields::of(bytes) {
            match field? {
                (2, Wire::Bytes(bytes)) => self.message = text(bytes)?,
                (3, Wire::Varint(code)) => self.failed = code & 0xffff_ffff == 2,
                (2 | 3, _) => return Err(Broken),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A resource's attributes; of a group that has it twice, both's.
pub(crate) fn resource(group: &[u8]) -> Result<Attributes<'_>, Broken> {
    let mut attributes = Attributes::default();
    for field in Fields::of(group) {
        match field? {
            (1, Wire::Bytes(resource)) => {
                for field in Fields::of(resource) {
                    match field? {
                        (1, Wire::Bytes(bytes)) => attribute(bytes)?.into_iter().for_each(|pair| attributes.add(pair)),
                        (1, _) => return Err(Broken),
                        _ => {}
                    }
                }
            }
            (1 | 2, Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32) => return Err(Broken),
            _ => {}
        }
    }
    attributes.settle();
    Ok(attributes)
}

/// `None`: it has no value.
#[inline]
fn attribute(bytes: &[u8]) -> Result<Option<Pair<'_>>, Broken> {
    if let Some((name, value)) = short(bytes) {
        let value = match value {
            Wire::Bytes(bytes) => Value::Text(text(bytes)?),
            Wire::Varint(number) => Value::Int(number.cast_signed()),
            Wire::Fixed64(_) | Wire::Fixed32 => return Err(Broken),
        };
        let known = Key::named(name);
        // What is known need not be looked at once more.
        let name = known.map_or_else(|| text(name), |key| Ok(key.name()))?;
        return Ok(Some(Pair { known, name, value }));
    }
    let (name, value) = pair(bytes, Some(MOST_DEPTH))?;
    Ok(value.map(|value| Pair { known: Key::named(name.as_bytes()), name, value }))
}

/// Most attributes are written so: the key, then a short text or a small number, and nothing else.
#[inline]
fn short(bytes: &[u8]) -> Option<(&[u8], Wire<'_>)> {
    /// The tags of a pair's key and value, and of a value's text and number.
    const KEY: u8 = 0x0a;
    const VALUE: u8 = 0x12;
    const TEXT: u8 = 0x0a;
    const INT: u8 = 0x18;
    let [KEY, len @ ..=0x7f, rest @ ..] = bytes else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*len))?;
    let [VALUE, len @ ..=0x7f, value @ ..] = rest else { return None };
    if value.len() != usize::from(*len) {
        return None;
    }
    match value {
        [TEXT, len @ ..=0x7f, text @ ..] if text.len() == usize::from(*len) => Some((key, Wire::Bytes(text))),
        [INT, number @ ..=0x7f] => Some((key, Wire::Varint(u64::from(*number)))),
        [INT, low @ 0x80..=0xff, high @ ..=0x7f] => {
            Some((key, Wire::Varint(u64::from(low & 0x7f) | u64::from(*high) << 7)))
        }
        _ => None,
    }
}

/// `depth`: how many lists may still be within it; `None`: its lists were read before.
#[inline]
fn pair(bytes: &[u8], depth: Option<usize>) -> Result<(&str, Option<Value<'_>>), Broken> {
    let (mut key, mut found) = ("", None);
    for field in Fields::of(bytes) {
        match field? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, Wire::Bytes(bytes)) => value(bytes, depth, &mut found)?,
            (1 | 2, _) => return Err(Broken),
            _ => {}
        }
    }
    Ok((key, found))
}

#[inline]
fn value<'a>(bytes: &'a [u8], depth: Option<usize>, found: &mut Option<Value<'a>>) -> Result<(), Broken> {
    for field in Fields::of(bytes) {
        *found = Some(match field? {
            (1, Wire::Bytes(bytes)) => Value::Text(text(bytes)?),
            (2, Wire::Varint(number)) => Value::Bool(number != 0),
            (3, Wire::Varint(number)) => Value::Int(number.cast_signed()),
            (4, Wire::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
            (5, Wire::Bytes(bytes)) => {
                whole(bytes, depth, false)?;
                Value::Array(List(bytes))
            }
            (6, Wire::Bytes(bytes)) => {
                whole(bytes, depth, true)?;
                Value::Map(List(bytes))
            }
            (7, Wire::Bytes(bytes)) => Value::Bytes(bytes),
            (1..=7, _) => return Err(Broken),
            _ => continue,
        });
    }
    Ok(())
}

/// Reads a list or map to its end.
fn whole(bytes: &[u8], depth: Option<usize>, is_map: bool) -> Result<(), Broken> {
    let Some(depth) = depth else { return Ok(()) };
    let depth = Some(depth.checked_sub(1).ok_or(Broken)?);
    for field in Fields::of(bytes) {
        match field? {
            (1, Wire::Bytes(item)) if is_map => drop(pair(item, depth)?),
            (1, Wire::Bytes(item)) => value(item, depth, &mut None)?,
            (1, _) => return Err(Broken),
            _ => {}
        }
    }
    Ok(())
}

#[inline]
fn text(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_| Broken)
}

//! A message's fields one by one, and the items under a request's groups.
//!
//! Looks no deeper than it must: a count steps over spans by their lengths. What is inside them is [`check`](super::check)'s.

use super::Signal;
use crate::{ModelError, wire::Cursor};

const PART: &str = "an OTLP message";

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub tag: u32,
    /// What it holds.
    pub value: Value<'a>,
    /// The field as it stands in the message: key, length and value. Copied out, it is the same field of another message.
    pub raw: &'a [u8],
}

/// The four wire types; groups, which OTLP has not, are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// What a field of wire type 2 holds.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The fields of a message, in order. After an error there is nothing more.
#[derive(Clone)]
pub struct Fields<'a> {
    cursor: Cursor<'a>,
}

/// Reads a message's own fields, not those of messages within.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { cursor: Cursor::new(message, PART) }
}

impl<'a> Fields<'a> {
    /// Most fields: of a number below 16, with text, bytes or a message of less than 128 bytes.
    #[inline(always)]
    fn short(&mut self) -> Option<Field<'a>> {
        let before = self.cursor.rest();
        let [key @ 0x08..=0x7f, len @ 0..=0x7f, rest @ ..] = before else { return None };
        if key & 7 != 2 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(usize::from(*len))?;
        self.cursor = Cursor::new(rest, PART);
        let (raw, _) = before.split_at_checked(bytes.len() + 2)?;
        Some(Field { tag: u32::from(key >> 3), value: Value::Bytes(bytes), raw })
    }

    fn read(&mut self) -> Result<Field<'a>, ModelError> {
        let before = self.cursor.rest();
        let key = self.cursor.varint()?;
        let tag = u32::try_from(key >> 3).ok().filter(|tag| (1..1 << 29).contains(tag));
        let tag = tag.ok_or_else(|| self.cursor.corrupt("a field has no valid number"))?;
        let value = match key & 7 {
            0 => Value::Varint(self.cursor.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.cursor.array()?)),
            2 => {
                let len = self.cursor.varint()?;
                let len = usize::try_from(len).map_err(|_| self.cursor.truncated())?;
                Value::Bytes(self.cursor.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.cursor.array()?)),
            _ => return Err(self.cursor.corrupt("a field has a wire type that OTLP does not use")),
        };
        let used = before.len() - self.cursor.rest().len();
        Ok(Field { tag, value, raw: before.get(..used).unwrap_or_default() })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ModelError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        if let Some(field) = self.short() {
            return Some(Ok(field));
        }
        let field = self.read();
        if field.is_err() {
            self.cursor = Cursor::new(&[], PART);
        }
        Some(field)
    }
}

/// One group of a request: everything of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceGroup<'a> {
    /// The group's message: `ResourceSpans`, `ResourceMetrics` or `ResourceLogs`.
    pub message: &'a [u8],
    /// The same with key and length: a request by itself, and a part that can be joined to others.
    pub raw: &'a [u8],
    /// Spans, points or records in it.
    pub items: u32,
}

/// The groups of a request, in order. After an error there is nothing more.
#[derive(Clone)]
pub struct Groups<'a> {
    signal: Signal,
    fields: Fields<'a>,
}

/// Cuts a request at the borders of its groups; fields that are no groups are left out.
pub fn resource_groups(signal: Signal, request: &[u8]) -> Groups<'_> {
    Groups { signal, fields: fields(request) }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Result<ResourceGroup<'a>, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let field = match self.fields.next()? {
                Ok(field) => field,
                Err(error) => return Some(Err(error)),
            };
            if field.tag != 1 {
                continue;
            }
            let group = message(&field, "a resource group").and_then(|message| {
                let items = narrow(items(message, below_group(self.signal))?)?;
                Ok(ResourceGroup { message, raw: field.raw, items })
            });
            if group.is_err() {
                self.fields = fields(&[]);
            }
            return Some(group);
        }
    }
}

/// Spans, points or records in a request, found without looking into them.
pub fn count(signal: Signal, request: &[u8]) -> Result<u32, ModelError> {
    let mut sum = 0u64;
    for field in fields(request) {
        let field = field?;
        if field.tag == 1 {
            sum += items(message(&field, "a resource group")?, below_group(signal))?;
        }
    }
    narrow(sum)
}

/// The numbers of the fields that lead from a group to what is counted. Metrics' last step has several.
fn below_group(signal: Signal) -> &'static [&'static [u32]] {
    match signal {
        // scope_spans, spans; scope_logs, log_records.
        Signal::Traces | Signal::Logs => &[&[2], &[2]],
        // scope_metrics, metrics, the five kinds of data, data_points.
        Signal::Metrics => &[&[2], &[2], &[5, 7, 9, 10, 11], &[1]],
    }
}

/// At most as deep as the path is long.
fn items(bytes: &[u8], path: &[&[u32]]) -> Result<u64, ModelError> {
    let Some((tags, rest)) = path.split_first() else {
        return Ok(1);
    };
    let mut sum = 0;
    for field in fields(bytes) {
        let field = field?;
        if tags.contains(&field.tag) {
            sum += items(message(&field, "a part of a resource group")?, rest)?;
        }
    }
    Ok(sum)
}

fn message<'a>(field: &Field<'a>, part: &'static str) -> Result<&'a [u8], ModelError> {
    field.bytes().ok_or(ModelError::Corrupt { part, reason: "a number stands where a message belongs" })
}

fn narrow(items: u64) -> Result<u32, ModelError> {
    u32::try_from(items).map_err(|_| ModelError::TooLarge {
        part: "an OTLP request",
        found: items,
        limit: u64::from(u32::MAX),
    })
}

//! One entry as Loki's push API spells it (`logproto.EntryAdapter`): timestamp 1 {seconds 1, nanos 2}, line 2, structured
//! metadata 3 {name 1, value 2}.
//!
//! The reader takes what other writers of that message may have written too: fields in any order, unknown ones skipped.

use crate::{
    ModelError,
    wire::{Cursor, put_varint},
};

const PART: &str = "a log entry";
const SECOND: i64 = 1_000_000_000;

/// A line with its time. Borrows the unpacked stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    pub line: &'a str,
    /// The entry as it lies there, without tag and length; [`metadata`](Self::metadata) reads from it.
    bytes: &'a [u8],
}

impl<'a> LogEntry<'a> {
    /// The same with another text: its time and its metadata.
    #[must_use]
    pub fn with_line(self, line: &'a str) -> Self {
        Self { line, ..self }
    }

    /// Structured metadata: name and value, in the order of writing. Broken pairs end the walk.
    pub fn metadata(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut fields = Fields(Cursor::new(self.bytes, PART));
        std::iter::from_fn(move || {
            loop {
                let (number, field) = fields.next()?.ok()?;
                if let (3, Field::Bytes(bytes)) = (number, field) {
                    return pair(bytes).ok();
                }
            }
        })
    }
}

/// Appends field 2 of a `StreamAdapter`: tag, length, entry.
pub(super) fn put(out: &mut Vec<u8>, timestamp_ns: i64, line: &str, metadata: &[(&str, &str)]) {
    let seconds = timestamp_ns.div_euclid(SECOND);
    let nanos = timestamp_ns.rem_euclid(SECOND);
    // protobuf writes negative numbers as ten bytes.
    let (seconds, nanos) = (seconds.cast_unsigned(), nanos.cast_unsigned());
    let time = 1 + varint_len(seconds) + if nanos == 0 { 0 } else { 1 + varint_len(nanos) };
    let mut length = 1 + varint_len(time as u64) + time;
    length += text_len(line);
    for (name, value) in metadata {
        let pair = text_len(name) + text_len(value);
        length += 1 + varint_len(pair as u64) + pair;
    }
    out.reserve(length + 8);
    out.push(0x12);
    put_varint(out, length as u64);
    out.push(0x0a);
    put_varint(out, time as u64);
    out.push(0x08);
    put_varint(out, seconds);
    if nanos != 0 {
        out.push(0x10);
        put_varint(out, nanos);
    }
    put_text(out, 0x12, line);
    for (name, value) in metadata {
        out.push(0x1a);
        put_varint(out, (text_len(name) + text_len(value)) as u64);
        put_text(out, 0x0a, name);
        put_text(out, 0x12, value);
    }
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn text_len(text: &str) -> usize {
    1 + varint_len(text.len() as u64) + text.len()
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Walks the entries of an unpacked stream ([`LogStream::unpack`](super::LogStream::unpack)). An error ends it.
#[derive(Debug, Clone)]
pub struct LogEntries<'a>(Option<Fields<'a>>);

impl<'a> LogEntries<'a> {
    /// Over the bytes of a stream's entries.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Some(Fields(Cursor::new(bytes, PART))))
    }
}

impl<'a> Iterator for LogEntries<'a> {
    type Item = Result<LogEntry<'a>, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        let fields = self.0.as_mut()?;
        let entry = match fields.next()? {
            Ok((2, Field::Bytes(bytes))) => read(bytes),
            Ok(_) => Err(fields.0.corrupt("something else than an entry in a stream")),
            Err(error) => Err(error),
        };
        if entry.is_err() {
            self.0 = None;
        }
        Some(entry)
    }
}

fn read(bytes: &[u8]) -> Result<LogEntry<'_>, ModelError> {
    let mut fields = Fields(Cursor::new(bytes, PART));
    let (mut seconds, mut nanos, mut line) = (0, 0, "");
    while let Some(field) = fields.next() {
        match field? {
            (1, Field::Bytes(time)) => {
                let mut inner = Fields(Cursor::new(time, PART));
                while let Some(field) = inner.next() {
                    match field? {
                        (1, Field::Number(n)) => seconds = n.cast_signed(),
                        (2, Field::Number(n)) => nanos = n.cast_signed(),
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(text)) => line = utf8(text)?,
            _ => {}
        }
    }
    // The second that holds the earliest time begins before it, so the sum is taken where it cannot overflow.
    let exact = i128::from(seconds) * i128::from(SECOND) + i128::from(nanos);
    let timestamp_ns = i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX });
    Ok(LogEntry { timestamp_ns, line, bytes })
}

fn pair(bytes: &[u8]) -> Result<(&str, &str), ModelError> {
    let mut fields = Fields(Cursor::new(bytes, PART));
    let (mut name, mut value) = ("", "");
    while let Some(field) = fields.next() {
        match field? {
            (1, Field::Bytes(text)) => name = utf8(text)?,
            (2, Field::Bytes(text)) => value = utf8(text)?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn utf8(bytes: &[u8]) -> Result<&str, ModelError> {
    str::from_utf8(bytes).map_err(|_| ModelError::Corrupt { part: PART, reason: "text that is not UTF-8" })
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a protobuf message.
#[derive(Clone)]
struct Fields<'a>(Cursor<'a>);

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fields({} bytes)", self.0.rest().len())
    }
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<Result<(u64, Field<'a>), ModelError>> {
        if self.0.is_empty() { None } else { Some(self.field()) }
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), ModelError> {
        let tag = self.0.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.0.varint()?),
            1 => self.0.take(8).map(|_| Field::Fixed)?,
            2 => {
                let len = self.0.count_of_rest()?;
                Field::Bytes(self.0.take(len)?)
            }
            5 => self.0.take(4).map(|_| Field::Fixed)?,
            _ => return Err(self.0.corrupt("an unknown wire type")),
        };
        Ok((tag >> 3, field))
    }
}

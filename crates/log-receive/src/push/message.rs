//! A push request as it is in the protobuf message: `logproto.PushRequest` {streams 1 {labels 1, entries 2, hash 3}}.
//!
//! Borrows from the body. Keeps true: memory does not depend on what lengths claim; an error anywhere refuses the whole
//! request, so nothing is taken of one that cannot be read to its end.

use model::{Labels, LogEntries, LogEntry};

use super::{json::JsonEntry, labels};

/// Streams of one request at most.
pub(super) const MAX_STREAMS: usize = 65_536;

/// A stream of a request.
#[derive(Debug)]
pub(super) struct PushStream<'a> {
    pub labels: Labels,
    pub entries: PushEntries<'a>,
}

/// The entries of a stream, checked.
#[derive(Debug)]
pub(super) enum PushEntries<'a> {
    /// The bytes of a `StreamAdapter`.
    Message(&'a [u8]),
    Json(Vec<JsonEntry<'a>>),
}

/// An entry that was checked before.
pub(super) struct PushEntry<'a> {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    pub line: &'a str,
    pub metadata: Vec<(&'a str, &'a str)>,
}

impl PushEntries<'_> {
    /// Walks the entries in order.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = PushEntry<'_>> + Send + '_> {
        match self {
            Self::Message(bytes) => Box::new(entries(bytes).filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().collect();
                Some(PushEntry { timestamp_ns: entry.timestamp_ns, line: entry.line, metadata })
            })),
            Self::Json(values) => Box::new(values.iter().map(|value| PushEntry {
                timestamp_ns: value.timestamp_ns,
                line: &value.line,
                metadata: value.metadata.iter().map(|(name, value)| (&**name, &**value)).collect(),
            })),
        }
    }
}

/// Reads a request.
pub(super) fn parse(body: &[u8]) -> Result<Vec<PushStream<'_>>, String> {
    let mut streams = Vec::new();
    for field in Fields(body) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let bytes = field.bytes.ok_or("streams is not a message")?;
        if streams.len() >= MAX_STREAMS {
            return Err(format!("more than {MAX_STREAMS} streams in one request"));
        }
        streams.push(stream(bytes)?);
    }
    Ok(streams)
}

fn stream(bytes: &[u8]) -> Result<PushStream<'_>, String> {
    let mut text = "";
    for field in Fields(bytes) {
        let field = field?;
        if field.number == 1 {
            let bytes = field.bytes.ok_or("stream labels are not a string")?;
            text = str::from_utf8(bytes).map_err(|_| "stream labels are not UTF-8")?;
        }
    }
    for entry in entries(bytes) {
        entry?;
    }
    Ok(PushStream { labels: labels::parse(text)?, entries: PushEntries::Message(bytes) })
}

fn entries(stream: &[u8]) -> impl Iterator<Item = Result<LogEntry<'_>, String>> + Send {
    Fields(stream).filter_map(|field| {
        let field = match field {
            Ok(field) if field.number == 2 => field,
            Ok(_) => return None,
            Err(why) => return Some(Err(why)),
        };
        // The model reads entries with their tag before them.
        LogEntries::new(field.whole).next().map(|entry| entry.map_err(|error| error.to_string()))
    })
}

pub(super) struct Field<'a> {
    pub number: u64,
    /// Of a length-delimited field.
    pub bytes: Option<&'a [u8]>,
    /// With its tag and length.
    pub whole: &'a [u8],
}

/// The fields of a message. An error ends it.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "not a protobuf push request: a field is broken or runs past the end".to_owned()))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<Field<'a>> {
        let start = self.0;
        let (tag, rest) = varint(start)?;
        let (bytes, rest) = match tag & 7 {
            0 => (None, varint(rest)?.1),
            1 => (None, rest.get(8..)?),
            2 => {
                let (len, rest) = varint(rest)?;
                let (bytes, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                (Some(bytes), rest)
            }
            5 => (None, rest.get(4..)?),
            _ => return None,
        };
        self.0 = rest;
        let whole = start.get(..start.len() - rest.len())?;
        Some(Field { number: tag >> 3, bytes, whole })
    }
}

/// Appends a length-delimited field.
pub(super) fn put(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = u32::try_from(place).ok()? * 7;
        if place == 9 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A request with one stream; each line at its second.
    pub(in crate::push) fn request(labels: &str, lines: &[(u8, &str)]) -> Vec<u8> {
        let mut stream = Vec::new();
        put(&mut stream, 1, labels.as_bytes());
        for (second, line) in lines {
            let mut entry = Vec::new();
            put(&mut entry, 1, &[0x08, *second]);
            put(&mut entry, 2, line.as_bytes());
            let mut pair = Vec::new();
            put(&mut pair, 1, b"trace");
            put(&mut pair, 2, b"7");
            put(&mut entry, 3, &pair);
            put(&mut stream, 2, &entry);
        }
        stream.extend_from_slice(&[0x18, 9]);
        let mut body = Vec::new();
        put(&mut body, 1, &stream);
        body
    }

    #[test]
    fn streams_entries_times_and_metadata_are_read() {
        let body = request("{a=\"b\"}", &[(1, "one"), (2, "two")]);
        let streams = parse(&body).unwrap();
        assert_eq!(streams.len(), 1);
        assert_eq!(streams[0].labels.get("a"), Some("b"));
        let read: Vec<_> = streams[0].entries.iter().map(|e| (e.timestamp_ns, e.line, e.metadata)).collect();
        assert_eq!(read, [(1_000_000_000, "one", vec![("trace", "7")]), (2_000_000_000, "two", vec![("trace", "7")])]);
    }

    #[test]
    fn a_request_cut_anywhere_is_refused_or_a_shorter_request() {
        let body = request("{a=\"b\"}", &[(1, "one"), (2, "two")]);
        for end in 1..body.len() {
            assert!(parse(&body[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(streams) = parse(&bytes) {
                for stream in streams {
                    stream.entries.iter().count();
                }
            }
        }
    }
}

//! A push request as JSON: `{"streams": [{"stream": {..}, "values": [["<ns>", "<line>", {..}]]}]}`.
//!
//! Source: Loki's HTTP API, "Ingest logs". Keeps true: what is held in memory is a small multiple of the body.

use std::{borrow::Cow, collections::BTreeMap};

use model::{Labels, MAX_LOG_LABELS};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{MAX_STREAMS, PushEntries, PushStream};

/// One entry of `values`.
#[derive(Debug)]
pub(super) struct JsonEntry<'a> {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    pub line: Cow<'a, str>,
    /// Names and values.
    pub metadata: Vec<(Text<'a>, Text<'a>)>,
}

/// A string of the body, borrowed where it has no escapes.
pub(super) type Text<'a> = Cow<'a, str>;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    streams: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Stream<'a> {
    #[serde(borrow)]
    stream: BTreeMap<Borrowed<'a>, Borrowed<'a>>,
    #[serde(borrow, default)]
    values: Vec<&'a RawValue>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Metadata<'a> {
    #[serde(borrow)]
    Pairs(BTreeMap<Borrowed<'a>, Borrowed<'a>>),
}

/// Reads a request.
pub(super) fn parse(body: &[u8]) -> Result<Vec<PushStream<'_>>, String> {
    let request: Request<'_> = serde_json::from_slice(body).map_err(|e| format!("not a JSON push request: {e}"))?;
    if request.streams.len() > MAX_STREAMS {
        return Err(format!("more than {MAX_STREAMS} streams in one request"));
    }
    request
        .streams
        .iter()
        .enumerate()
        .map(|(at, raw)| stream(raw).map_err(|why| format!("streams[{at}]: {why}")))
        .collect()
}

fn stream(raw: &RawValue) -> Result<PushStream<'_>, String> {
    let stream: Stream<'_> = serde_json::from_str(raw.get()).map_err(|e| e.to_string())?;
    if stream.stream.is_empty() {
        return Err("a stream without labels".to_owned());
    }
    if stream.stream.len() > MAX_LOG_LABELS {
        return Err(format!("more than {MAX_LOG_LABELS} labels"));
    }
    if let Some((name, _)) = stream.stream.iter().find(|(name, _)| !is_name(&name.0)) {
        return Err(format!("{:?} is no label name: letters, digits, _ and :, no digit first", name.0));
    }
    let labels: Labels = stream
        .stream
        .iter()
        .filter(|(_, value)| !value.0.is_empty())
        .map(|(name, value)| (&*name.0, &*value.0))
        .collect();
    let mut entries = Vec::new();
    for (at, value) in stream.values.iter().enumerate() {
        entries.push(entry(value).map_err(|why| format!("values[{at}]: {why}"))?);
    }
    Ok(PushStream { labels, entries: PushEntries::Json(entries) })
}

/// As Loki has it, which refuses the stream.
fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

fn entry(raw: &RawValue) -> Result<JsonEntry<'_>, String> {
    let parts: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|e| e.to_string())?;
    let (time, line, metadata) = match parts.as_slice() {
        [time, line] => (time, line, None),
        [time, line, metadata] => (time, line, Some(metadata)),
        _ => return Err("an entry is [\"<unix nanoseconds>\", \"<line>\"] or has a third part of metadata".to_owned()),
    };
    let time: Borrowed<'_> = serde_json::from_str(time.get()).map_err(|_| "the time is not a string".to_owned())?;
    let timestamp_ns = time.0.parse().map_err(|_| "the time is not a number of nanoseconds".to_owned())?;
    let line: Borrowed<'_> = serde_json::from_str(line.get()).map_err(|e| format!("the line: {e}"))?;
    let metadata = match metadata {
        None => Vec::new(),
        Some(raw) => {
            let Metadata::Pairs(pairs) =
                serde_json::from_str(raw.get()).map_err(|_| "metadata is not a map of strings".to_owned())?;
            pairs.into_iter().map(|(name, value)| (name.0, value.0)).collect()
        }
    };
    Ok(JsonEntry { timestamp_ns, line: line.0, metadata })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_with_and_without_metadata_are_read() {
        let body = br#"{"streams":[{"stream":{"a":"b","empty":""},"values":[["7","x\ty"],["8","z",{"k":"v"}]]}]}"#;
        let streams = parse(body).unwrap();
        assert_eq!(streams[0].labels, [("a", "b")].into_iter().collect());
        let read: Vec<_> = streams[0].entries.iter().map(|e| (e.timestamp_ns, e.line, e.metadata)).collect();
        assert_eq!(read, [(7, "x\ty", vec![]), (8, "z", vec![("k", "v")])]);
    }

    #[test]
    fn a_fault_is_told_with_its_place() {
        for (body, part) in [
            ("", "not a JSON push request"),
            ("{}", "streams"),
            (r#"{"streams":[{"stream":{},"values":[]}]}"#, "streams[0]: a stream without labels"),
            (r#"{"streams":[{"stream":{"1bad":"x"},"values":[]}]}"#, "streams[0]: \"1bad\" is no label name"),
            (r#"{"streams":[{"stream":{"a-b":"x"},"values":[]}]}"#, "streams[0]: \"a-b\" is no label name"),
            (
                r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"],[1,"x"]]}]}"#,
                "values[1]: the time is not a string",
            ),
            (r#"{"streams":[{"stream":{"a":"b"},"values":[["x","x"]]}]}"#, "nanoseconds"),
            (r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#, "an entry is"),
            (r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"k":1}]]}]}"#, "metadata"),
            (r#"{"streams":[{"stream":{"a":1},"values":[]}]}"#, "streams[0]"),
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in "[\\[\\]{}\":,a-z0-9\\\\]*") {
            let _ = parse(text.as_bytes());
        }
    }
}

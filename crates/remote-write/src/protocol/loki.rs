//! Loki's push API: POST of a snappy block of `logproto.PushRequest`.
//!
//! `PushRequest.streams` (1) is `StreamAdapter { labels 1, entries 2 }`. The queue holds a stream's `entries` fields as the
//! elements of a snappy block, so a body is, for each stream, a literal element with the message's head and the labels, and
//! then those elements as they are: copies within them only look back within the same stream. Nothing is unpacked.
//!
//! Keeps true: lines of a label set stay in order; the tenant comes from `__tenant_id__` before the configuration.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use model::Labels;
use url::Url;

use super::message::{put_len_field, put_varint, varint_len};
use crate::{
    logs::{
        LokiConfig,
        head::Address,
        sheaf::{Piece, Row},
        shortened,
        wire::{Letter, Limits, LogVerdict},
    },
    verdict::{Loss, Verdict, described, judge_common, message_of},
};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Loki {
    address: Url,
    tenant: String,
    limits: Limits,
    retry_on_429: bool,
}

/// The label that names a stream's tenant.
const TENANT: &str = "__tenant_id__";
/// Far more than any receiver takes, and less than makes a header too large.
const TENANT_BYTES: usize = 1024;

impl Loki {
    pub(crate) fn new(address: Url, config: LokiConfig, limits: Limits, retry_on_429: bool) -> Self {
        Self { address, tenant: config.tenant_id.unwrap_or_default(), limits, retry_on_429 }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn address(&self, labels: &Labels) -> Address {
        let tenant = labels.get(TENANT).map_or_else(|| self.tenant.clone(), tenant_name);
        Address { first: tenant, second: String::new() }
    }

    /// Rows anew, where packed streams will not do: those of a stream that follow each other become one.
    pub(crate) fn encode(&self, rows: &[Row<'_>]) -> Letter {
        let (mut message, mut entries) = (Vec::new(), Vec::new());
        let mut lines = 0;
        for run in rows.chunk_by(|a, b| std::ptr::eq(a.head, b.head)) {
            entries.clear();
            let mut full = false;
            for row in run {
                let before = entries.len();
                put_entry(&mut entries, row);
                full = lines > 0 && (lines >= self.limits.lines || message.len() + entries.len() > self.limits.bytes);
                if full {
                    entries.truncate(before);
                    break;
                }
                lines += 1;
            }
            if let Some(row) = run.first()
                && !entries.is_empty()
            {
                put_stream_head(&mut message, &row.head.labels, entries.len());
                message.extend_from_slice(&entries);
            }
            if full {
                break;
            }
        }
        // snap refuses only inputs beyond 4 GiB, and bodies are bounded far below.
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default();
        Letter { body: body.into(), lines }
    }

    pub(crate) fn request(&self, address: &Address, letter: &Letter) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::post(self.address.as_str()).header(header::CONTENT_TYPE, "application/x-protobuf");
        if !address.first.is_empty() {
            request = request.header("x-scope-orgid", &address.first);
        }
        request.body(letter.body.clone())
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], lines: usize) -> LogVerdict {
        if let Some(verdict) = judge_common(status, headers, body, self.retry_on_429) {
            return verdict.into();
        }
        let what = status.as_u16().to_string();
        let message = described(&what, body);
        let text = message_of(body).to_lowercase();
        if text.contains("too large") || text.contains("larger than max") {
            return Verdict::TooLarge { message }.into();
        }
        let loss = spoken(&text);
        // `user 'x', total ignored: 3 out of 10 for stream: {...}`: the others are stored. It speaks of one stream, so it is
        // exact where it counts the whole request.
        let whole = String::from_utf8_lossy(body.get(..1 << 16).unwrap_or(body));
        if let Some((ignored, of)) = ignored(&whole)
            && of == lines as u64
            && ignored <= of
        {
            let (written, loss) = (Some(of - ignored), loss.unwrap_or(Loss::BadRequest));
            return Verdict::Partial { written, loss, message }.into();
        }
        // Loki stores the lines that it does not complain of, and says of the others only the last. Halving finds them all:
        // what is sent once more with the same time and text is known to Loki and stored once.
        Verdict::Refused { loss: loss.unwrap_or(Loss::BadRequest), message, isolate: true }.into()
    }
}

/// What a header can hold; the receiver says which of that is a tenant (Loki: at most 150 of `A-Za-z0-9!-_.*'()`, and 400 to
/// others).
fn tenant_name(text: &str) -> String {
    let keep = |c: char| if c.is_ascii() && !c.is_ascii_control() { c } else { '_' };
    let name: String = text.chars().map(keep).collect();
    shortened(name.trim().to_owned(), TENANT_BYTES, char::len_utf8)
}

/// What Loki's words say is wrong with a line (`pkg/validation`, `pkg/ingester` of grafana/loki).
fn spoken(text: &str) -> Option<Loss> {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["timestamp too old", "too far behind", "greater_than_max_sample_age"]) {
        Some(Loss::TooOld)
    } else if has(&["timestamp too new", "too far in the future"]) {
        Some(Loss::TooNew)
    } else if has(&["out of order", "out-of-order"]) {
        Some(Loss::OutOfOrder)
    } else if has(&["max entry size", "line too long", "line_too_long"]) {
        Some(Loss::LineTooLong)
    } else if has(&["rate limit"]) {
        Some(Loss::RateLimited)
    } else if has(&["active stream limit", "stream_limit"]) {
        Some(Loss::StreamLimit)
    } else if has(&["label names", "label name too long", "label value too long", "label pair"]) {
        Some(Loss::SeriesLimit)
    } else {
        None
    }
}

/// `total ignored: A out of B`.
fn ignored(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.split_once("total ignored: ")?;
    let (ignored, rest) = rest.split_once(" out of ")?;
    let of = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((ignored.parse().ok()?, of.parse().ok()?))
}

/// `{a="b", c="d"}`, as Prometheus writes label sets and Loki reads them.
pub(crate) fn label_text(labels: &Labels) -> String {
    let mut out = String::from("{");
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('}');
    out
}

/// Tag and length of a `StreamAdapter` with `entries` bytes of entries, and its labels.
fn put_stream_head(out: &mut Vec<u8>, labels: &[u8], entries: usize) {
    let length = 1 + varint_len(labels.len() as u64) + labels.len() + entries;
    out.push(0x0a);
    put_varint(length as u64, out);
    put_len_field(out, 0x0a, labels);
}

/// `EntryAdapter { timestamp 1 { seconds 1, nanos 2 }, line 2, structuredMetadata 3 { name 1, value 2 } }` as field 2.
fn put_entry(out: &mut Vec<u8>, row: &Row<'_>) {
    const SECOND: i64 = 1_000_000_000;
    let field = |bytes: usize| 1 + varint_len(bytes as u64) + bytes;
    let at = row.entry.timestamp_ns;
    let (seconds, nanos) = (at.div_euclid(SECOND).cast_unsigned(), at.rem_euclid(SECOND).cast_unsigned());
    let time = 1 + varint_len(seconds) + if nanos == 0 { 0 } else { 1 + varint_len(nanos) };
    let pair = |(name, value): (&str, &str)| field(name.len()) + field(value.len());
    let metadata: usize = row.entry.metadata().map(|both| field(pair(both))).sum();
    out.push(0x12);
    put_varint((field(time) + field(row.entry.line.len()) + metadata) as u64, out);
    out.push(0x0a);
    put_varint(time as u64, out);
    out.push(0x08);
    put_varint(seconds, out);
    if nanos != 0 {
        out.push(0x10);
        put_varint(nanos, out);
    }
    put_len_field(out, 0x12, row.entry.line.as_bytes());
    for (name, value) in row.entry.metadata() {
        out.push(0x1a);
        put_varint(pair((name, value)) as u64, out);
        put_len_field(out, 0x0a, name.as_bytes());
        put_len_field(out, 0x12, value.as_bytes());
    }
}

/// A body of packed streams.
pub(crate) fn splice(pieces: &[Piece]) -> Bytes {
    let heads = |piece: &Piece| piece.head.labels.len() + 32;
    let mut out = Vec::with_capacity(16 + pieces.iter().map(|p| p.elements.len() + heads(p)).sum::<usize>());
    let mut raw = 0;
    // The block's length comes first, and is known last: heads are short, so they are made twice.
    let mut head = Vec::new();
    for piece in pieces {
        head.clear();
        put_stream_head(&mut head, &piece.head.labels, piece.raw_len);
        raw += head.len() + piece.raw_len;
    }
    put_varint(raw as u64, &mut out);
    for piece in pieces {
        head.clear();
        put_stream_head(&mut head, &piece.head.labels, piece.raw_len);
        put_literal(&mut out, &head);
        out.extend_from_slice(&piece.elements);
    }
    out.into()
}

/// A snappy literal element (google/snappy `format_description.txt` 2.1).
fn put_literal(out: &mut Vec<u8>, bytes: &[u8]) {
    let Some(length) = bytes.len().checked_sub(1).and_then(|n| u32::try_from(n).ok()) else { return };
    let [a, b, c, d] = length.to_le_bytes();
    match length {
        0..60 => out.push(a << 2),
        60..0x100 => out.extend_from_slice(&[60 << 2, a]),
        0x100..0x1_0000 => out.extend_from_slice(&[61 << 2, a, b]),
        0x1_0000..0x100_0000 => out.extend_from_slice(&[62 << 2, a, b, c]),
        _ => out.extend_from_slice(&[63 << 2, a, b, c, d]),
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use proto::loki::PushRequest;

    use super::*;
    use crate::logs::{
        fixture::{pieces, with_rows},
        wire::Wire,
    };

    fn loki(bytes: usize) -> Wire {
        let limits = Limits { lines: usize::MAX, bytes };
        let config = LokiConfig { tenant_id: Some("t".into()) };
        Wire::Loki(Loki::new(Url::parse("http://h/loki/api/v1/push").unwrap(), config, limits, true))
    }

    fn decode(body: &[u8]) -> PushRequest {
        let raw = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        PushRequest::decode(&*raw).unwrap()
    }

    #[test]
    fn a_tenant_from_a_line_is_one_that_a_header_can_hold() {
        let limits = Limits { lines: usize::MAX, bytes: usize::MAX };
        let wire = Loki::new(Url::parse("http://h/").unwrap(), LokiConfig::default(), limits, true);
        let tenant = |text: &str| {
            let labels: Labels = [(TENANT, text)].into_iter().collect();
            let request = wire.request(&wire.address(&labels), &Letter::default()).unwrap();
            request.headers().get("x-scope-orgid").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(tenant("team-a|b").as_deref(), Some("team-a|b"));
        assert_eq!(tenant(" a\r\nX-Evil: é\u{0} ").as_deref(), Some("a__X-Evil: __"));
        assert_eq!(tenant(" "), None);
        assert_eq!(tenant(&"x".repeat(1 << 20)).map(|tenant| tenant.len()), Some(1024));
    }

    #[test]
    fn packed_streams_and_rows_make_the_same_message() {
        let long = "a long line that repeats itself, repeats itself, repeats itself, ".repeat(3000);
        let big = "v".repeat(70_000);
        let lines = [
            (&[("a", "1")][..], 1_000_000_001, "one", &[][..]),
            (&[("b", big.as_str())][..], 2, "two", &[("trace", "x")][..]),
            (&[("a", "1")][..], -5, &long, &[][..]),
            (&[][..], 0, "", &[][..]),
        ];
        let wire = loki(usize::MAX);
        let packed = pieces(&wire, Labels::new(), &lines);
        let spliced = decode(&splice(&packed));
        let letter = with_rows(&wire, &lines, |rows| wire.encode(rows));
        assert_eq!(letter.lines, 4);
        assert_eq!(spliced, decode(&letter.body));
        assert_eq!(spliced.streams.len(), 3);
        assert_eq!(spliced.streams[0].labels, "{a=\"1\"}");
        assert_eq!(spliced.streams[0].entries[1].line, long);
        assert_eq!(spliced.streams[0].entries[1].timestamp.unwrap().seconds, -1);
        assert_eq!(spliced.streams[1].entries[0].structured_metadata[0].value, "x");
        assert_eq!(decode(&splice(&[])), PushRequest::default());
    }

    proptest! {
        #[test]
        fn any_lines_are_the_same_spliced_and_written_anew(
            lines in prop::collection::vec((0u8..4, any::<i64>(), ".{0,200}", prop::option::of(".{0,8}")), 0..60),
            external in "[a-z]{0,90}",
        ) {
            let labels = [[("a", "0")], [("a", "1")], [("b", "2")], [("c", "é")]];
            let metadata: Vec<Vec<(&str, &str)>> =
                lines.iter().map(|(.., value)| value.iter().map(|value| ("k", value.as_str())).collect()).collect();
            let lines: Vec<_> = lines
                .iter()
                .zip(&metadata)
                .map(|((stream, at, text, _), metadata)| (&labels[usize::from(*stream)][..], *at, text.as_str(), &metadata[..]))
                .collect();
            let wire = loki(usize::MAX);
            let spliced = decode(&splice(&pieces(&wire, Labels::new(), &lines)));
            let anew = with_rows(&wire, &lines, |rows| wire.encode(rows));
            prop_assert_eq!(&spliced, &decode(&anew.body));
            let external: Labels = [("zone", external)].into_iter().collect();
            let outer = decode(&splice(&pieces(&wire, external, &lines)));
            prop_assert_eq!(outer.streams.len(), spliced.streams.len());
            for (outer, inner) in outer.streams.iter().zip(&spliced.streams) {
                prop_assert_eq!(&outer.entries, &inner.entries);
            }
        }
    }

    #[test]
    fn literals_of_every_length_class_unpack() {
        for length in [1, 59, 60, 61, 255, 256, 257, 65_535, 65_536, 65_537, 100_000] {
            let bytes = vec![7u8; length];
            let mut block = Vec::new();
            put_varint(length as u64, &mut block);
            put_literal(&mut block, &bytes);
            assert_eq!(snap::raw::Decoder::new().decompress_vec(&block).unwrap(), bytes, "{length}");
        }
    }

    #[test]
    fn rows_are_cut_at_the_limit_and_never_at_none() {
        let lines: Vec<_> = (0..10).map(|n| (&[("a", "1")][..], n, "0123456789", &[][..])).collect();
        // An entry is 18 bytes, and 20 where its time has nanoseconds.
        for (bytes, expected) in [(1, 1), (57, 2), (58, 3), (usize::MAX, 10)] {
            let wire = loki(bytes);
            assert_eq!(with_rows(&wire, &lines, |rows| wire.encode(rows)).lines, expected, "{bytes}");
        }
    }

    #[test]
    fn label_texts_read_back_as_go_quotes_them() {
        let labels: Labels = [("a", "q\"b\\s\n\t\r\u{1}é"), ("b", "x")].into_iter().collect();
        assert_eq!(label_text(&labels), "{a=\"q\\\"b\\\\s\\n\\t\\r\\x01é\", b=\"x\"}");
        assert_eq!(label_text(&Labels::new()), "{}");
    }

    #[test]
    fn loki_s_words_decide() {
        let wire = loki(1);
        let judge = |status: u16, body: &str, lines| {
            wire.judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), lines)
        };
        let refused = |body: &str| match judge(400, body, 5) {
            LogVerdict::Whole(Verdict::Refused { loss, isolate: true, .. }) => loss,
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(judge(204, "", 5), Verdict::Accepted.into());
        assert_eq!(judge(200, "", 5), Verdict::Accepted.into());
        for (body, loss) in [
            ("entry for stream '{a=\"b\"}' has timestamp too old: 2020-01-01T00:00:00Z", Loss::TooOld),
            ("entry for stream '{a=\"b\"}' has timestamp too new: 2120-01-01T00:00:00Z", Loss::TooNew),
            ("Max entry size '262144' bytes exceeded for stream '{}' while adding an entry", Loss::LineTooLong),
            ("entry for stream '{}' has 20 label names; limit 15", Loss::SeriesLimit),
            ("error at least one label pair is required per stream", Loss::SeriesLimit),
            ("entry out of order", Loss::OutOfOrder),
            ("error parsing labels", Loss::BadRequest),
        ] {
            assert_eq!(refused(body), loss, "{body}");
        }
        assert!(matches!(judge(429, "", 5), LogVerdict::Whole(Verdict::Retry { pressure: true, .. })));
        assert!(matches!(judge(500, "", 5), LogVerdict::Whole(Verdict::Retry { .. })));
        assert!(matches!(judge(401, "", 5), LogVerdict::Whole(Verdict::Hold { .. })));
        assert!(matches!(judge(413, "", 5), LogVerdict::Whole(Verdict::TooLarge { .. })));
        let counted = "entry with timestamp x ignored, reason: 'entry too far behind', user 'f', total ignored: 2 out of 5 for stream: {}";
        assert!(matches!(
            judge(400, counted, 5),
            LogVerdict::Whole(Verdict::Partial { written: Some(3), loss: Loss::TooOld, .. })
        ));
        assert_eq!(refused(&counted.replace("of 5", "of 4")), Loss::TooOld, "it speaks of a part of the request");
    }

    #[test]
    fn a_tenant_is_a_header_and_comes_from_the_label_first() {
        let wire = loki(1);
        let own: Labels = [("__tenant_id__", "own")].into_iter().collect();
        let letter = Letter { body: Bytes::from_static(b"x"), lines: 1 };
        for (labels, tenant) in [(own, "own"), (Labels::new(), "t")] {
            let request = wire.request(&wire.address(&labels, 0), &letter, None).unwrap();
            assert_eq!(request.headers()["x-scope-orgid"], tenant);
            assert_eq!(request.uri(), "http://h/loki/api/v1/push");
        }
    }
}

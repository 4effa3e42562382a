//! OTLP in a bucket: one PUT for each signal of a group of frames, as OTLP's JSON (one received request a line) or protobuf.
//!
//! Keeps true: an object's name is a function of its frames' place in the queue and of their bytes, as with metrics
//! ([`super::s3`]), so what is sent again after a crash is found stored.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request, StatusCode, header};
use model::otlp::Signal;
use url::Url;

use super::{Extent, otlp_line, s3};
use crate::{
    logs::wire::LogVerdict,
    traces::{OtlpCompression, OtlpFormat, OtlpObjectsConfig, Piece},
    verdict::Verdict,
};

/// Objects are kept and read for long: a little more care than on a connection.
const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct OtlpObjects {
    bucket: s3::S3,
    config: OtlpObjectsConfig,
}

impl OtlpObjects {
    pub(crate) fn new(address: Url, config: OtlpObjectsConfig) -> Self {
        let headers = [
            ("x-amz-storage-class", config.storage_class.clone()),
            ("x-amz-expected-bucket-owner", config.expected_bucket_owner.clone()),
            ("x-amz-server-side-encryption", config.sse.clone()),
            ("x-amz-server-side-encryption-aws-kms-key-id", config.sse_kms_key_id.clone()),
        ];
        Self { bucket: s3::S3::new(address, headers), config }
    }

    /// All of the pieces: where an object ends was decided before.
    pub(crate) fn encode(&self, signal: Signal, pieces: &[Piece<'_>]) -> Bytes {
        // What is written is compressed at once: of plain JSON there is never more than this.
        const PART: usize = 32 << 10;
        // Writing into memory and compressing it do not fail.
        let done = match self.config.compression {
            OtlpCompression::None => {
                let mut out = Vec::new();
                self.write(signal, pieces, &mut out);
                Ok(out)
            }
            OtlpCompression::Gzip => {
                let mut out = BufWriter::with_capacity(PART, GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)));
                self.write(signal, pieces, &mut out);
                out.into_inner().map_err(io::Error::from).and_then(GzEncoder::finish)
            }
            OtlpCompression::Zstd => zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).and_then(|packer| {
                let mut out = BufWriter::with_capacity(PART, packer);
                self.write(signal, pieces, &mut out);
                out.into_inner().map_err(io::Error::from).and_then(zstd::Encoder::finish)
            }),
        };
        done.unwrap_or_default().into()
    }

    fn write(&self, signal: Signal, pieces: &[Piece<'_>], out: &mut impl Write) {
        for piece in pieces {
            match self.config.format {
                OtlpFormat::Protobuf => drop(out.write_all(&piece.body)),
                OtlpFormat::JsonLines => {
                    let _ = otlp_line::write(signal, &piece.body, out);
                    let _ = out.write_all(b"\n");
                }
            }
        }
    }

    pub(crate) fn request(
        &self,
        signal: Signal,
        body: &Bytes,
        items: u64,
        extent: Option<&Extent>,
    ) -> Result<Request<Bytes>, http::Error> {
        let plain = match self.config.format {
            OtlpFormat::JsonLines => ("jsonl", "application/x-ndjson"),
            OtlpFormat::Protobuf => ("binpb", "application/x-protobuf"),
        };
        // No `Content-Encoding`: readers go by the name, and some unpack twice when both are there.
        let (ending, kind) = match self.config.compression {
            OtlpCompression::None => (format!("{signal}.{}", plain.0), plain.1),
            OtlpCompression::Gzip => (format!("{signal}.{}.gz", plain.0), "application/gzip"),
            OtlpCompression::Zstd => (format!("{signal}.{}.zst", plain.0), "application/zstd"),
        };
        let name = extent.map(|extent| s3::object_name_with(extent, &ending)).unwrap_or_default();
        self.bucket.put(&name).header(header::CONTENT_TYPE, kind).header("x-amz-meta-items", items).body(body.clone())
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> LogVerdict {
        match self.bucket.judge(status, headers, body) {
            // Halves would have the same name. Objects of this size are far below what S3 takes.
            Verdict::TooLarge { message } => {
                Verdict::Hold { why: format!("{message}; make batch.max_bytes smaller") }.into()
            }
            verdict => verdict.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use pipeline::LaneId;
    use prost::Message;
    use proto::otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn wire(format: OtlpFormat, compression: OtlpCompression) -> OtlpObjects {
        let config =
            OtlpObjectsConfig { format, compression, sse: Some("aws:kms".into()), ..OtlpObjectsConfig::default() };
        OtlpObjects::new(Url::parse("https://b.s3.eu-west-1.amazonaws.com/traces/").unwrap(), config)
    }

    fn body(name: &str) -> Vec<u8> {
        let span = Span { name: name.into(), trace_id: vec![1; 16], ..Span::default() };
        let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let group = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
    }

    fn pieces(bodies: &[Vec<u8>]) -> Vec<Piece<'_>> {
        bodies.iter().map(|body| Piece { lot: 0, items: 1, body: Cow::Borrowed(body) }).collect()
    }

    #[test]
    fn an_object_is_named_by_place_and_signal_and_must_not_exist() {
        let lane = LaneId::new("traces-default").unwrap();
        let extent = Extent { lane, first_item: 5, last_item: 9, ingest_ms: 1_700_000_000_000, digest: [1; 8] };
        let wire = wire(OtlpFormat::JsonLines, OtlpCompression::Gzip);
        let request = wire.request(Signal::Traces, &Bytes::from_static(b"x"), 5, Some(&extent)).unwrap();
        assert_eq!(
            request.uri().path(),
            "/traces/traces-default/2023/11/14/22/\
             00000000000000000005-00000000000000000009-0101010101010101.traces.jsonl.gz"
        );
        assert_eq!(request.headers()["if-none-match"], "*");
        assert_eq!(request.headers()["x-amz-server-side-encryption"], "aws:kms");
        assert_eq!(request.headers()["x-amz-meta-items"], "5");
    }

    #[test]
    fn lines_are_requests_and_protobuf_is_one() {
        let bodies = [body("one"), body("two")];
        let lines = wire(OtlpFormat::JsonLines, OtlpCompression::None).encode(Signal::Traces, &pieces(&bodies));
        let lines: Vec<ExportTraceServiceRequest> = lines
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines.iter().map(|line| line.encode_to_vec()).collect::<Vec<_>>(), bodies);
        let packed = wire(OtlpFormat::Protobuf, OtlpCompression::Zstd).encode(Signal::Traces, &pieces(&bodies));
        let all = ExportTraceServiceRequest::decode(&*zstd::decode_all(&*packed).unwrap()).unwrap();
        assert_eq!(all.resource_spans.len(), 2);
    }

    #[test]
    fn an_object_that_is_there_counts_as_stored() {
        let wire = wire(OtlpFormat::Protobuf, OtlpCompression::None);
        let judge = |status: u16| wire.judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), b"");
        assert_eq!(judge(412), Verdict::Accepted.into());
        assert!(matches!(judge(413), LogVerdict::Whole(Verdict::Hold { .. })));
    }
}

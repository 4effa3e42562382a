//! Lines in a bucket: one PUT for each address (prefix) of a group of frames.
//!
//! Keeps true: an object's name is a function of its frames' place in the queue and of their bytes, as with metrics
//! ([`super::s3`]), so what is sent again after a crash is found stored. Lines of several streams are in the order in which
//! they came.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use model::Labels;
use url::Url;

use super::{Extent, cloudwatch::gzip, s3};
use crate::{
    logs::{
        LogCompression, LogFormat, LogObjectsConfig,
        head::Address,
        sheaf::Row,
        shortened,
        text::LineWriter,
        wire::{Letter, LogVerdict},
    },
    verdict::Verdict,
};

/// Objects are kept and read for long: a little more care than on a connection.
const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// What S3 takes for a key, as UTF-8.
const KEY_BYTES: usize = 1024;
/// A lane's name of 128 bytes, the hour, two item numbers, the digest and the ending.
const NAME_BYTES: usize = 128 + 15 + 58 + 9;
/// Of a key between slashes.
const PART_BYTES: usize = 255;
/// Of a prefix, so much is kept whatever stands before it.
const SHORTEST: usize = 64;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct LogObjects {
    bucket: s3::S3,
    config: LogObjectsConfig,
    /// Bytes of a prefix.
    longest: usize,
}

impl LogObjects {
    pub(crate) fn new(address: Url, config: LogObjectsConfig) -> Self {
        let headers = [
            ("x-amz-storage-class", config.storage_class.clone()),
            ("x-amz-expected-bucket-owner", config.expected_bucket_owner.clone()),
            ("x-amz-server-side-encryption", config.sse.clone()),
            ("x-amz-server-side-encryption-aws-kms-key-id", config.sse_kms_key_id.clone()),
        ];
        // The bucket counts where it is in the path: that is a little less than fits, and the same everywhere.
        let longest = KEY_BYTES.saturating_sub(address.path().len() + 1 + NAME_BYTES).max(SHORTEST);
        Self { bucket: s3::S3::new(address, headers), config, longest }
    }

    pub(crate) fn is_dated(&self) -> bool {
        self.config.prefix.as_ref().is_some_and(crate::logs::Template::is_dated)
    }

    pub(crate) fn address(&self, labels: &Labels, at_ms: i64) -> Address {
        let prefix = self.config.prefix.as_ref().map(|prefix| prefix.fill(labels, at_ms, clean)).unwrap_or_default();
        let prefix = shortened(parts(prefix.trim_matches('/')), self.longest, char::len_utf8);
        // Where it was cut there may be a slash.
        Address { first: prefix.trim_matches('/').to_owned(), second: String::new() }
    }

    /// All of the rows: where an object ends was decided before.
    pub(crate) fn encode(&self, rows: &[Row<'_>]) -> Letter {
        let mut writer = LineWriter::new(self.config.format);
        let each = |row: &Row<'_>| row.entry.line.len() + 1 + 80 + row.head.labels.len();
        let mut out = Vec::with_capacity(rows.iter().map(each).sum());
        for row in rows {
            writer.put(&mut out, row);
        }
        let body = match self.config.compression {
            LogCompression::None => out,
            LogCompression::Gzip => gzip(&out, GZIP_LEVEL),
            // Compressing memory does not fail.
            LogCompression::Zstd => zstd::bulk::compress(&out, ZSTD_LEVEL).unwrap_or_default(),
        };
        Letter { body: body.into(), lines: rows.len() }
    }

    pub(crate) fn request(
        &self,
        address: &Address,
        letter: &Letter,
        extent: Option<&Extent>,
    ) -> Result<Request<Bytes>, http::Error> {
        let plain = match self.config.format {
            LogFormat::Json => ("json", "application/x-ndjson"),
            LogFormat::Text => ("log", "text/plain; charset=utf-8"),
        };
        // No `Content-Encoding`: readers go by the name, and some unpack twice when both are there.
        let (extension, kind) = match self.config.compression {
            LogCompression::None => (plain.0.to_owned(), plain.1),
            LogCompression::Gzip => (format!("{}.gz", plain.0), "application/gzip"),
            LogCompression::Zstd => (format!("{}.zst", plain.0), "application/zstd"),
        };
        let name = extent.map(|extent| s3::object_name_with(extent, &extension)).unwrap_or_default();
        let name = if address.first.is_empty() { name } else { format!("{}/{name}", address.first) };
        self.bucket
            .put(&name)
            .header(header::CONTENT_TYPE, kind)
            .header("x-amz-meta-lines", letter.lines)
            .body(letter.body.clone())
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

/// A label's value within a key: what no tool stumbles over.
fn clean(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "!-_.*'()=/".contains(c) { c } else { '_' };
    text.chars().map(keep).collect()
}

/// No part between slashes is all dots: URLs have a meaning for such, whoever wrote the dots. None is longer than file systems
/// take, on which some stores keep their objects.
fn parts(text: &str) -> String {
    let part = |part: &str| match part.chars().all(|c| c == '.') {
        true => "_".repeat(part.len()),
        false => shortened(part.to_owned(), PART_BYTES, char::len_utf8),
    };
    text.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use pipeline::LaneId;

    use super::*;
    use crate::logs::{Template, fixture::with_rows, wire::Wire};

    fn wire(format: LogFormat, compression: LogCompression) -> Wire {
        let config = LogObjectsConfig {
            prefix: Some(Template::parse("by/{job}/{year}", "h").unwrap()),
            format,
            compression,
            storage_class: Some("STANDARD_IA".into()),
            expected_bucket_owner: None,
            sse: None,
            sse_kms_key_id: None,
        };
        Wire::Objects(LogObjects::new(Url::parse("https://b.s3.eu-west-1.amazonaws.com/logs/").unwrap(), config))
    }

    fn extent() -> Extent {
        let lane = LaneId::new("logs-default").unwrap();
        Extent { lane, first_item: 5, last_item: 9, ingest_ms: 1_700_000_000_000, digest: [1; 8] }
    }

    #[test]
    fn an_object_is_named_by_prefix_and_place_and_must_not_exist() {
        let wire = wire(LogFormat::Json, LogCompression::Gzip);
        let labels: Labels = [("job", "a b/../c")].into_iter().collect();
        let letter = Letter { body: Bytes::from_static(b"x"), lines: 3 };
        let request = wire.request(&wire.address(&labels, 1_700_000_000_000), &letter, Some(&extent())).unwrap();
        assert_eq!(request.method(), "PUT");
        assert_eq!(
            request.uri().path(),
            "/logs/by/a_b/__/c/2023/logs-default/2023/11/14/22/\
             00000000000000000005-00000000000000000009-0101010101010101.json.gz"
        );
        assert_eq!(request.headers()["if-none-match"], "*");
        assert_eq!(request.headers()["content-type"], "application/gzip");
        assert_eq!(request.headers()["x-amz-storage-class"], "STANDARD_IA");
        assert_eq!(request.headers()["x-amz-meta-lines"], "3");
        assert!(!request.headers().contains_key("content-encoding"));
    }

    #[test]
    fn whatever_a_label_brings_is_a_key_that_s3_takes_and_the_name_stays_whole() {
        let lane = LaneId::new(&"l".repeat(128)).unwrap();
        let extent = Extent { lane, ..extent() };
        let config = |prefix: &str| LogObjectsConfig {
            prefix: Some(Template::parse(prefix, "h").unwrap()),
            format: LogFormat::Json,
            compression: LogCompression::Zstd,
            storage_class: None,
            expected_bucket_owner: None,
            sse: None,
            sse_kms_key_id: None,
        };
        let key = |url: &str, prefix: &str, u: &str| {
            let wire = Wire::Objects(LogObjects::new(Url::parse(url).unwrap(), config(prefix)));
            let labels: Labels = [("u", u), ("dot", ".")].into_iter().collect();
            let request = wire.request(&wire.address(&labels, 0), &Letter::default(), Some(&extent)).unwrap();
            request.uri().path().trim_start_matches('/').to_owned()
        };
        let url = "https://b.s3.eu-west-1.amazonaws.com/logs/";
        let name = s3::object_name_with(&extent, "json.zst");
        for u in ["x", "../../..", ".", "//", "a/\u{0}\n\u{7f}%2e?#é", &"x".repeat(2000), &"../é".repeat(900)] {
            let key = key(url, "{u}", u);
            assert!(key.len() <= 1024 && key.starts_with("logs/") && key.ends_with(&name), "{key}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()=/".contains(c);
            assert!(key.chars().all(plain) && key.split('/').all(|part| part != "." && part != ".."), "{key}");
        }
        let long = |end: &str| key(url, "{u}", &format!("{}{end}", "x".repeat(2000)));
        assert!(long("a") == long("a") && long("a") != long("b"), "two prefixes stay two");
        assert!(long("a").len() < 600 && long("a").split('/').all(|part| part.len() <= 255));
        assert!(key(url, "{u}", &"xy/".repeat(700)).len() > 900, "no shorter than need be");
        assert_eq!(key(url, "{dot}{dot}/a", ""), format!("logs/__/a/{name}"), "two labels make no way up either");
        let deep = format!("https://s3.eu-west-1.amazonaws.com/bucket/{}", "d/".repeat(300));
        assert!(key(&deep, "{u}", &"x".repeat(2000)).len() <= 1024 + "bucket/".len());
    }

    #[test]
    fn each_compression_unpacks_to_the_same_lines() {
        let lines = [
            (&[("job", "a")][..], 1_000_000_000, "one", &[][..]),
            (&[("job", "a")][..], 2_000_000_000, "two", &[][..]),
        ];
        let body = |format, compression| {
            let wire = wire(format, compression);
            with_rows(&wire, &lines, |rows| wire.encode(rows)).body
        };
        assert_eq!(&*body(LogFormat::Text, LogCompression::None), b"one\ntwo\n");
        assert_eq!(zstd::decode_all(&*body(LogFormat::Text, LogCompression::Zstd)).unwrap(), b"one\ntwo\n");
        let plain = body(LogFormat::Json, LogCompression::None);
        let mut unpacked = Vec::new();
        let packed = body(LogFormat::Json, LogCompression::Gzip);
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed), &mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        let first: serde_json::Value = serde_json::from_slice(plain.split(|b| *b == b'\n').next().unwrap()).unwrap();
        assert_eq!(first["timestamp"], "1970-01-01T00:00:01.000000000Z");
        assert_eq!((&first["line"], &first["labels"]["job"]), (&"one".into(), &"a".into()));
    }

    #[test]
    fn an_object_that_is_there_counts_as_stored_and_nothing_is_refused_for_its_lines() {
        let wire = wire(LogFormat::Json, LogCompression::Gzip);
        let judge = |status: u16| wire.judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), b"", 1);
        for status in [200, 412] {
            assert_eq!(judge(status), Verdict::Accepted.into());
        }
        for status in [301, 400, 403, 404, 413] {
            assert!(matches!(judge(status), LogVerdict::Whole(Verdict::Hold { .. })), "{status}");
        }
        for status in [409, 500, 503] {
            assert!(matches!(judge(status), LogVerdict::Whole(Verdict::Retry { .. })), "{status}");
        }
    }
}

//! Kinesis Data Streams: `PutRecords`, JSON 1.1 (API reference `Kinesis_20131202`).
//!
//! Keeps true: at most 500 records and 5 MiB in a request and 1 MiB in a record, keys included: what every stream takes.
//! (Streams can be set to take records and requests of 10 MiB.) Records that the service did not take are sent again alone;
//! it keeps no order between the records of a request itself.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use model::Labels;
use url::Url;

use super::records::judge_records;
use crate::logs::{
    KinesisConfig,
    apart::Room,
    sheaf::Row,
    shortened,
    text::{LineWriter, put_json_string},
    wire::{Letter, Limits, LogVerdict},
};

const RECORDS: usize = 500;
const RECORD_BYTES: usize = 1 << 20;
const REQUEST_BYTES: usize = 5 << 20;
const KEY_CHARS: usize = 256;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Kinesis {
    address: Url,
    config: KinesisConfig,
    limits: Limits,
}

impl Kinesis {
    pub(crate) fn new(address: Url, config: KinesisConfig, limits: Limits) -> Self {
        Self { address, config, limits }
    }

    pub(crate) fn is_dated(&self) -> bool {
        self.config.partition_key.as_ref().is_some_and(crate::logs::Template::is_dated)
    }

    /// 1 to 256 characters of any kind; those outside the basic plane count as two.
    pub(crate) fn key(&self, labels: &Labels, at_ms: i64) -> String {
        let filled = self.config.partition_key.as_ref().map(|key| key.fill(labels, at_ms, str::to_owned));
        let key = shortened(filled.unwrap_or_default(), KEY_CHARS, char::len_utf16);
        if key.is_empty() { format!("{:016x}", labels.prometheus_hash()) } else { key }
    }

    /// What a record leaves for the text of this line.
    pub(crate) fn room(&self, row: &Row<'_>) -> Room {
        Room::beside(&mut LineWriter::new(self.config.format), row, RECORD_BYTES.saturating_sub(row.head.key.len()))
    }

    pub(crate) fn encode(&self, rows: &[Row<'_>]) -> Letter {
        let most = REQUEST_BYTES.min(self.limits.bytes);
        let mut writer = LineWriter::new(self.config.format);
        let mut out = b"{\"StreamName\":".to_vec();
        put_json_string(&mut out, &self.config.stream_name);
        out.extend_from_slice(b",\"Records\":[");
        let (mut scratch, mut text) = (Vec::new(), String::new());
        let (mut lines, mut bytes) = (0, 0);
        for row in rows.iter().take(RECORDS.min(self.limits.lines)) {
            let key = row.head.key.as_str();
            scratch.clear();
            writer.put(&mut scratch, row);
            let weight = scratch.len() + key.len();
            if lines > 0 && bytes + weight > most {
                break;
            }
            bytes += weight;
            out.extend_from_slice(if lines == 0 { b"{\"Data\":\"" } else { b",{\"Data\":\"" });
            text.clear();
            STANDARD.encode_string(&scratch, &mut text);
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\",\"PartitionKey\":");
            put_json_string(&mut out, key);
            out.push(b'}');
            lines += 1;
        }
        out.extend_from_slice(b"]}");
        Letter { body: out.into(), lines }
    }

    pub(crate) fn request(&self, letter: &Letter) -> Result<Request<Bytes>, http::Error> {
        Request::post(self.address.as_str())
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", "Kinesis_20131202.PutRecords")
            .body(letter.body.clone())
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], lines: usize) -> LogVerdict {
        judge_records(status, headers, body, lines, ("FailedRecordCount", "Records"))
    }
}

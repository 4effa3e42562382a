//! Firehose: `PutRecordBatch`, JSON 1.1 (API reference `Firehose_20150804`).
//!
//! Keeps true: at most 500 records and 4 MiB in a request, counted as base64; at most 1,024,000 bytes in a record, counted
//! before it. Records that the service did not take are sent again alone; it keeps no order itself.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use url::Url;

use super::records::judge_records;
use crate::logs::{
    FirehoseConfig,
    apart::Room,
    sheaf::Row,
    text::{LineWriter, put_json_string},
    wire::{Letter, Limits, LogVerdict},
};

const RECORDS: usize = 500;
const RECORD_BYTES: usize = 1_024_000;
/// With base64, which is a third more, below 4 MiB.
const REQUEST_BYTES: usize = 3_000_000;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Firehose {
    address: Url,
    config: FirehoseConfig,
    limits: Limits,
}

impl Firehose {
    pub(crate) fn new(address: Url, config: FirehoseConfig, limits: Limits) -> Self {
        Self { address, config, limits }
    }

    /// What a record leaves for the text of this line.
    pub(crate) fn room(&self, row: &Row<'_>) -> Room {
        Room::beside(&mut LineWriter::new(self.config.format), row, RECORD_BYTES)
    }

    pub(crate) fn encode(&self, rows: &[Row<'_>]) -> Letter {
        let most = REQUEST_BYTES.min(self.limits.bytes);
        let mut writer = LineWriter::new(self.config.format);
        let mut head = b"{\"DeliveryStreamName\":".to_vec();
        put_json_string(&mut head, &self.config.delivery_stream);
        // The head is valid UTF-8: a JSON string of one.
        let mut out = String::from_utf8(head).unwrap_or_default();
        out.push_str(",\"Records\":[");
        let mut scratch = Vec::new();
        let (mut lines, mut bytes) = (0, 0);
        for row in rows.iter().take(RECORDS.min(self.limits.lines)) {
            scratch.clear();
            writer.put(&mut scratch, row);
            if lines > 0 && bytes + scratch.len() > most {
                break;
            }
            bytes += scratch.len();
            out.push_str(if lines == 0 { "{\"Data\":\"" } else { ",{\"Data\":\"" });
            STANDARD.encode_string(&scratch, &mut out);
            out.push_str("\"}");
            lines += 1;
        }
        out.push_str("]}");
        Letter { body: out.into(), lines }
    }

    pub(crate) fn request(&self, letter: &Letter) -> Result<Request<Bytes>, http::Error> {
        Request::post(self.address.as_str())
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", "Firehose_20150804.PutRecordBatch")
            .body(letter.body.clone())
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], lines: usize) -> LogVerdict {
        judge_records(status, headers, body, lines, ("FailedPutCount", "RequestResponses"))
    }
}

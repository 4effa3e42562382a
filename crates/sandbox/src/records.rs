//! Log lines, spans and other records that arrived: counts and a digest per destination and caller, and, when recording,
//! the records themselves.
//!
//! Keeps true: memory stays within [`crate::Limits`]; the digest does not depend on the order of arrival; what is not
//! kept is counted as not kept.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::config::Limits;

/// Most (destination, caller) rows.
const MOST_ROWS: usize = 10_000;

/// Most records of one request, whatever the service allows; tiny ones would take many times their bytes.
pub(crate) const MOST_AT_ONCE: usize = 200_000;
/// Most bytes of one request's JSON, which takes many times its bytes when read.
pub(crate) const LARGEST_JSON: usize = 20 * 1024 * 1024;

/// What one caller delivered to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordState {
    /// `logs:GROUP:STREAM`, `firehose:STREAM`, `kinesis:STREAM`, `xray:`, `loki:PATH`, `otlp:PATH`; `otlp-request:PATH` has
    /// the decompressed bodies of whole requests.
    pub destination: String,
    /// The verified caller; empty when unsigned.
    pub caller_arn: String,
    /// Records stored.
    pub records: u64,
    /// Their bytes, before any encoding for the wire.
    pub bytes: u64,
    /// The sum of the first eight bytes of each record's SHA-256, wrapping: the same for the same records in any order.
    pub digest: u64,
    /// Records the service took and threw away, as it said in its answer (too old, too new).
    pub rejected: u64,
    /// The newest timestamp, milliseconds since the Unix epoch; 0: none has one.
    pub last_timestamp_ms: i64,
    /// When the last one arrived.
    pub arrived_ms: i64,
}

/// One record kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptRecord {
    /// See [`RecordState::destination`].
    pub destination: String,
    /// See [`RecordState::caller_arn`].
    pub caller_arn: String,
    /// Milliseconds since the Unix epoch; 0: it has none.
    pub timestamp_ms: i64,
    /// Its text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// One record as a service hands it in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'r> {
    pub(crate) timestamp_ms: i64,
    pub(crate) bytes: &'r [u8],
}

/// All records of all destinations.
#[derive(Debug)]
pub(crate) struct Records {
    rows: BTreeMap<(String, String), RecordState>,
    kept: Vec<KeptRecord>,
    kept_bytes: usize,
    total: u64,
    not_kept: u64,
    is_kept: bool,
    limits: Limits,
}

impl Records {
    pub(crate) fn new(limits: Limits, is_kept: bool) -> Self {
        Self { rows: BTreeMap::new(), kept: Vec::new(), kept_bytes: 0, total: 0, not_kept: 0, is_kept, limits }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limits.clone(), self.is_kept);
    }

    /// Takes in one request's records; `rejected` more were taken and thrown away.
    pub(crate) fn add(
        &mut self,
        destination: &str,
        caller_arn: &str,
        now_ms: i64,
        records: &[Record<'_>],
        rejected: u64,
    ) {
        self.total += records.len() as u64;
        for record in records {
            self.keep(destination, caller_arn, record);
        }
        let place = (destination.to_owned(), caller_arn.to_owned());
        if self.rows.len() >= MOST_ROWS && !self.rows.contains_key(&place) {
            return;
        }
        let row = self.rows.entry(place).or_insert_with(|| RecordState {
            destination: destination.to_owned(),
            caller_arn: caller_arn.to_owned(),
            records: 0,
            bytes: 0,
            digest: 0,
            rejected: 0,
            last_timestamp_ms: 0,
            arrived_ms: 0,
        });
        row.records += records.len() as u64;
        row.rejected += rejected;
        row.arrived_ms = now_ms;
        for record in records {
            row.bytes += record.bytes.len() as u64;
            row.digest = row.digest.wrapping_add(digest_of(record.bytes));
            row.last_timestamp_ms = row.last_timestamp_ms.max(record.timestamp_ms);
        }
    }

    /// Takes note of a request as a whole, which its records were counted of already.
    pub(crate) fn add_request(&mut self, destination: &str, caller_arn: &str, now_ms: i64, body: &[u8]) {
        let (total, is_kept) = (self.total, std::mem::replace(&mut self.is_kept, false));
        self.add(destination, caller_arn, now_ms, &[Record { timestamp_ms: 0, bytes: body }], 0);
        (self.total, self.is_kept) = (total, is_kept);
    }

    fn keep(&mut self, destination: &str, caller_arn: &str, record: &Record<'_>) {
        if !self.is_kept {
            return;
        }
        let bytes =
            self.kept_bytes.saturating_add(record.bytes.len()).saturating_add(destination.len() + caller_arn.len());
        if self.kept.len() >= self.limits.recorded_samples || bytes > self.limits.record_bytes {
            self.not_kept += 1;
            return;
        }
        self.kept_bytes = bytes;
        self.kept.push(KeptRecord {
            destination: destination.to_owned(),
            caller_arn: caller_arn.to_owned(),
            timestamp_ms: record.timestamp_ms,
            text: String::from_utf8_lossy(record.bytes).into_owned(),
        });
    }

    /// All rows, sorted by destination and caller.
    pub(crate) fn rows(&self) -> Vec<RecordState> {
        self.rows.values().cloned().collect()
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn not_kept(&self) -> u64 {
        self.not_kept
    }

    /// The records kept, in the order of arrival.
    pub(crate) fn dump(&self, destination: Option<&str>, caller: Option<&str>) -> Vec<KeptRecord> {
        let is_wanted = |record: &&KeptRecord| {
            destination.is_none_or(|wanted| wanted == record.destination)
                && caller.is_none_or(|wanted| wanted == record.caller_arn)
        };
        self.kept.iter().filter(is_wanted).cloned().collect()
    }
}

/// The first eight bytes of a record's SHA-256, as a big-endian number.
pub(crate) fn digest_of(bytes: &[u8]) -> u64 {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    hash.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Record<'_> {
        Record { timestamp_ms: 1, bytes: text.as_bytes() }
    }

    #[test]
    fn the_digest_is_that_of_the_records_in_any_order() {
        let mut records = Records::new(Limits::default(), true);
        records.add("a", "x", 1, &[of("one"), of("two")], 0);
        records.add("b", "x", 1, &[of("two")], 0);
        records.add("b", "x", 1, &[of("one")], 3);
        let rows = records.rows();
        assert_eq!((rows[0].digest, rows[0].records, rows[0].bytes), (rows[1].digest, 2, 6));
        assert_eq!(rows[1].rejected, 3);
        assert_eq!(records.dump(Some("b"), Some("x")).len(), 2);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_counted() {
        let mut records = Records::new(Limits { record_bytes: 10, ..Limits::default() }, true);
        records.add("d", "", 1, &[of("12345"), of("123456")], 0);
        assert_eq!((records.dump(None, None).len(), records.not_kept(), records.total()), (1, 1, 2));
    }
}

//! A remote-write 1.0 body: a `prometheus.WriteRequest` written by hand into one reused buffer, then a snappy block.
//!
//! It knows nothing of requests and answers. It keeps true: lengths are exact before a byte is written; the buffers only
//! grow, and in the steady state nothing is allocated but the compressed bytes that leave.

use bytes::Bytes;

use super::table::{BLOCK, Fate, WireTable, put_varint, varint_len};

/// Protobuf bytes of a metric family's description, for metadata requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyText<'a> {
    /// Family name (`metric_family_name`).
    pub name: &'a str,
    /// `MetricMetadata.MetricType`.
    pub kind: u8,
    pub help: &'a str,
    pub unit: &'a str,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Body {
    /// Always fully initialised; only `..len` counts.
    bytes: Vec<u8>,
    len: usize,
}

/// A sample's timestamp, already encoded as field 2 of `Sample` (empty for 0).
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    bytes: [u8; 11],
    len: u8,
}

impl Stamp {
    /// Encodes a timestamp in milliseconds.
    pub fn new(milliseconds: i64) -> Self {
        let mut stamp = Self { bytes: [0; 11], len: 0 };
        if milliseconds == 0 {
            return stamp;
        }
        let mut put = |byte: u8| {
            stamp.bytes[usize::from(stamp.len)] = byte;
            stamp.len += 1;
        };
        put(0x10);
        let mut rest = milliseconds as u64;
        while rest >= 0x80 {
            put(rest as u8 | 0x80);
            rest >>= 7;
        }
        put(rest as u8);
        stamp
    }
}

/// Longest `Sample` with tag and length, and the tag and length of its series.
const AROUND: usize = 1 + 5 + 2 + 9 + 11;

impl Body {
    /// Forgets the content, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The message so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets what was written after `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes that a sample of a series with `labels` bytes of labels takes.
    #[inline]
    pub fn sample_len(labels: u32, value: f64, stamp: &Stamp) -> usize {
        let (sample, entry) = lengths(labels, value, stamp);
        let _ = sample;
        1 + varint_len(entry as u64) + entry
    }

    /// Appends `timeseries { labels, samples { value, timestamp } }`. Says what the table makes of the series; nothing is
    /// written unless it is kept.
    #[inline]
    pub fn put_sample(&mut self, table: &WireTable, series: u32, value: f64, stamp: &Stamp) -> Fate {
        let fate = table.fate(series);
        let Fate::Kept(labels) = fate else {
            return fate;
        };
        let (sample, entry) = lengths(labels, value, stamp);
        self.reserve(AROUND + labels as usize + BLOCK);
        let out = self.bytes.as_mut_slice();
        let mut at = self.len;
        out[at] = 0x0a;
        at = write_varint(entry as u64, out, at + 1);
        at = table.copy_labels(series, out, at);
        out[at] = 0x12;
        out[at + 1] = sample as u8;
        at += 2;
        let bits = value.to_bits();
        if bits != 0 {
            out[at] = 0x09;
            out[at + 1..at + 9].copy_from_slice(&bits.to_le_bytes());
            at += 9;
        }
        out[at..at + 11].copy_from_slice(&stamp.bytes);
        self.len = at + usize::from(stamp.len);
        fate
    }

    /// Bytes that a native histogram of a series with `labels` bytes of labels takes.
    pub fn histogram_len(labels: u32, histogram: &[u8], stamp: &Stamp) -> usize {
        let (_, entry) = histogram_lengths(labels, histogram, stamp);
        1 + varint_len(entry as u64) + entry
    }

    /// Appends `timeseries { labels, histograms { histogram, timestamp } }`. As [`put_sample`](Self::put_sample).
    pub fn put_histogram(&mut self, table: &WireTable, series: u32, histogram: &[u8], stamp: &Stamp) -> Fate {
        let fate = table.fate(series);
        let Fate::Kept(labels) = fate else {
            return fate;
        };
        let (message, entry) = histogram_lengths(labels, histogram, stamp);
        self.reserve(AROUND + labels as usize + BLOCK + histogram.len());
        let out = self.bytes.as_mut_slice();
        let mut at = self.len;
        out[at] = 0x0a;
        at = write_varint(entry as u64, out, at + 1);
        at = table.copy_labels(series, out, at);
        out[at] = 0x22;
        at = write_varint(message as u64, out, at + 1);
        out[at..at + histogram.len()].copy_from_slice(histogram);
        at += histogram.len();
        let stamp_len = usize::from(stamp.len);
        out[at..at + stamp_len].copy_from_slice(&stamp.bytes[..stamp_len]);
        if stamp_len > 0 {
            // Field 15 here, 2 in a sample.
            out[at] = 0x78;
        }
        self.len = at + stamp_len;
        fate
    }

    /// Appends `metadata { type, metric_family_name, help, unit }`.
    pub fn put_metadata(&mut self, family: &FamilyText<'_>) {
        let mut message = Vec::with_capacity(16 + family.name.len() + family.help.len() + family.unit.len());
        if family.kind != 0 {
            message.extend_from_slice(&[0x08, family.kind]);
        }
        for (tag, text) in [(0x12, family.name), (0x22, family.help), (0x2a, family.unit)] {
            if !text.is_empty() {
                message.push(tag);
                put_varint(text.len() as u64, &mut message);
                message.extend_from_slice(text.as_bytes());
            }
        }
        let mut head = vec![0x1a];
        put_varint(message.len() as u64, &mut head);
        self.reserve(head.len() + message.len());
        for part in [head, message] {
            self.bytes[self.len..self.len + part.len()].copy_from_slice(&part);
            self.len += part.len();
        }
    }

    #[inline]
    fn reserve(&mut self, more: usize) {
        let needed = self.len + more;
        if self.bytes.len() < needed {
            let size = needed.next_power_of_two().max(64 * 1024);
            self.bytes.resize(size, 0);
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Length of the `Histogram` message and of the `TimeSeries` message.
fn histogram_lengths(labels: u32, histogram: &[u8], stamp: &Stamp) -> (usize, usize) {
    let message = histogram.len() + usize::from(stamp.len);
    (message, labels as usize + 1 + varint_len(message as u64) + message)
}

/// Length of the `Sample` message and of the `TimeSeries` message.
#[inline]
fn lengths(labels: u32, value: f64, stamp: &Stamp) -> (usize, usize) {
    // +0.0 is proto3's default and left out, as every receiver expects; -0.0 and every NaN payload are written.
    let value_len = if value.to_bits() == 0 { 0 } else { 9 };
    let sample = value_len + usize::from(stamp.len);
    (sample, labels as usize + 2 + sample)
}

#[inline]
fn write_varint(mut value: u64, out: &mut [u8], mut at: usize) -> usize {
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// The snappy block encoder and its scratch memory.
pub struct Snappy {
    encoder: snap::raw::Encoder,
    scratch: Vec<u8>,
}

impl Default for Snappy {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new(), scratch: Vec::new() }
    }
}

impl Snappy {
    /// Compresses `body` into bytes of exactly the right size.
    pub fn compress(&mut self, body: &[u8]) -> Result<Bytes, snap::Error> {
        let most = snap::raw::max_compress_len(body.len());
        if self.scratch.len() < most {
            self.scratch.resize(most, 0);
        }
        let length = self.encoder.compress(body, &mut self.scratch)?;
        Ok(Bytes::copy_from_slice(&self.scratch[..length]))
    }
}

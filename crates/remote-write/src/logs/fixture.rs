//! Rows and pieces for tests of encoders: a batch goes through its durable form, as it would on disk.

use std::sync::Arc;

use bytes::Bytes;
use model::{Labels, LogBatch, LogBatchView, LogEntries};

use super::{
    apart::apart,
    head::{Head, Heads},
    sheaf::{Piece, Row},
    wire::Wire,
};

/// Labels, time in ns, text, structured metadata.
pub(crate) type Line<'a> = (&'a [(&'a str, &'a str)], i64, &'a str, &'a [(&'a str, &'a str)]);

fn encoded(lines: &[Line<'_>]) -> Bytes {
    let mut batch = LogBatch::new();
    for (labels, at, text, metadata) in lines {
        let labels: Labels = labels.iter().copied().collect();
        let stream = batch.stream(&labels).unwrap();
        batch.push(stream, *at, text.as_bytes(), metadata).unwrap();
    }
    let mut out = Vec::new();
    batch.encode(&mut out).unwrap();
    out.into()
}

/// Runs `work` with the rows of the lines, stream by stream.
pub(crate) fn with_rows<T>(wire: &Wire, lines: &[Line<'_>], work: impl FnOnce(&[Row<'_>]) -> T) -> T {
    let payload = encoded(lines);
    let view = LogBatchView::decode(&payload).unwrap();
    let heads = Heads::new(Labels::new(), Vec::new());
    let mut raws: Vec<(Arc<Head>, Vec<u8>)> = Vec::new();
    for stream in &view.streams {
        let mut raw = Vec::new();
        stream.unpack(&mut raw).unwrap();
        raws.push((heads.of(wire, &stream.labels, 0), raw));
    }
    let mut rows = Vec::new();
    for (head, raw) in &raws {
        rows.extend(LogEntries::new(raw).map(|entry| Row { lot: 0, head, entry: entry.unwrap(), items: 1 }));
    }
    work(&apart(rows, wire))
}

/// The same as packed streams.
pub(crate) fn pieces(wire: &Wire, external: Labels, lines: &[Line<'_>]) -> Vec<Piece> {
    let payload = encoded(lines);
    let view = LogBatchView::decode(&payload).unwrap();
    let heads = Heads::new(external, Vec::new());
    let piece = |(stream, packed): (usize, &model::LogStream<'_>)| Piece {
        lot: 0,
        stream,
        head: heads.of(wire, &packed.labels, 0),
        lines: packed.count,
        first_ns: packed.first_ns,
        last_ns: packed.last_ns,
        raw_len: packed.raw_len,
        elements: payload.slice_ref(packed.elements),
    };
    view.streams.iter().enumerate().map(piece).collect()
}

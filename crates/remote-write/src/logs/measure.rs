//! The way from a frame's payload to bodies, without a queue and a far end: for benchmarks and the count of allocations.
//!
//! Not an interface. It runs the same encoders as a line does.

use bytes::Bytes;
use model::{Labels, LogBatchView};

use super::{
    apart::apart,
    head::Heads,
    sheaf::{Piece, Unpacked, rows},
    wire::{Order, Wire},
};
use crate::{DestinationConfig, ProtocolConfig};

/// The encoder of a destination.
#[derive(Debug)]
pub struct Encoder {
    wire: Wire,
    heads: Heads,
}

impl Encoder {
    /// `None` for a destination of metrics.
    pub fn new(config: &DestinationConfig) -> Option<Self> {
        let ProtocolConfig::Logs(protocol) = &config.protocol else { return None };
        Some(Self { wire: Wire::new(config, protocol), heads: Heads::new(Labels::new(), Vec::new()) })
    }

    /// Makes the bodies of one payload whose streams all go to one address, and hands each out with its lines.
    pub fn bodies(&self, payload: &Bytes, mut body: impl FnMut(Bytes, usize)) {
        let Ok(batch) = LogBatchView::decode(payload) else { return };
        let streams = batch.streams.iter().enumerate();
        let pieces: Vec<Piece> = streams
            .map(|(stream, packed)| Piece {
                lot: 0,
                stream,
                head: self.heads.of(&self.wire, &packed.labels, 0),
                lines: packed.count,
                first_ns: packed.first_ns,
                last_ns: packed.last_ns,
                raw_len: packed.raw_len,
                elements: payload.slice_ref(packed.elements),
            })
            .collect();
        if self.wire.packs() {
            let lines = pieces.iter().map(|piece| piece.lines as usize).sum();
            return body(self.wire.splice(&pieces), lines);
        }
        let order = self.wire.order();
        let merge = order == Order::Arrival && pieces.len() > 1;
        let unpacked: Vec<_> = batch.streams.iter().map(|stream| Unpacked::new(stream, merge)).collect();
        let rows = apart(rows(&pieces, &unpacked, order, |_| {}), &self.wire);
        let mut left = rows.as_slice();
        while !left.is_empty() {
            let letter = self.wire.encode(left);
            left = left.get(letter.lines.max(1)..).unwrap_or_default();
            body(letter.body, letter.lines);
        }
    }
}

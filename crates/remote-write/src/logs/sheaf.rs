//! Lines that are on their way out, by address: as packed streams while nothing has to be looked at, as rows otherwise.
//!
//! Pure. It keeps true: every line of every lot is in exactly one sheaf or in the book; within a stream, lines keep their
//! order; rows borrow the unpacked bytes, so a line is not copied until it is in a body.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use hashbrown::HashMap;
use model::{LogEntries, LogEntry, LogStream};

use super::{
    book::Book,
    head::{Address, Head, Heads},
    lot::LogLot,
    wire::{Order, Wire},
};
use crate::verdict::Loss;

/// One stream of one frame.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Which lot of the group.
    pub(crate) lot: usize,
    /// Which stream of the lot's batch.
    pub(crate) stream: usize,
    pub(crate) head: Arc<Head>,
    pub(crate) lines: u32,
    pub(crate) first_ns: i64,
    pub(crate) last_ns: i64,
    /// Bytes of the entries unpacked.
    pub(crate) raw_len: usize,
    /// Elements of the snappy block: shared with the claim.
    pub(crate) elements: Bytes,
}

/// The streams of a group of lots that go to one address.
#[derive(Debug)]
pub(crate) struct Sheaf {
    pub(crate) address: Arc<Address>,
    /// In the order of the lots.
    pub(crate) pieces: Vec<Piece>,
}

/// A line among the rows of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) lot: usize,
    pub(crate) head: &'a Head,
    /// A line, or a part of one.
    pub(crate) entry: LogEntry<'a>,
    /// Lines that it stands for in the books: one; none for the parts of a line before its last.
    pub(crate) items: u32,
}

/// What one request carries.
#[derive(Debug)]
pub(crate) enum Cargo<'a> {
    Packed(Vec<Piece>),
    Rows(Cow<'a, [Row<'a>]>),
}

/// Sorts the streams of all lots by where they go. What relabelling drops, and what cannot be read, is booked.
pub(crate) fn sort(lots: &[LogLot], heads: &Heads, wire: &Wire, book: &Book) -> Vec<Sheaf> {
    let mut sheaves: Vec<Sheaf> = Vec::new();
    let mut known: HashMap<Arc<Address>, usize> = HashMap::new();
    for (index, lot) in lots.iter().enumerate() {
        // The outlet has decoded it before; a claim does not change.
        let Ok(batch) = lot.claim.batch() else {
            book.lost(index, lot.items(), Loss::Undecodable, "the batch cannot be read");
            continue;
        };
        for (stream, packed) in batch.streams.iter().enumerate() {
            let head = heads.of(wire, &packed.labels, lot.claim.frame().ingest_ms);
            if !head.kept {
                book.filtered(index, packed.count);
                continue;
            }
            let elements = lot.claim.payload().slice_ref(packed.elements);
            let at = *known.entry(Arc::clone(&head.address)).or_insert_with(|| {
                sheaves.push(Sheaf { address: Arc::clone(&head.address), pieces: Vec::new() });
                sheaves.len() - 1
            });
            sheaves[at].pieces.push(Piece {
                lot: index,
                stream,
                head,
                lines: packed.count,
                first_ns: packed.first_ns,
                last_ns: packed.last_ns,
                raw_len: packed.raw_len,
                elements,
            });
        }
    }
    sheaves
}

/// Whether some lines of these lots go to an address that is none of `these`.
pub(crate) fn has_other(lots: &[LogLot], heads: &Heads, wire: &Wire, these: impl Fn(&Address) -> bool) -> bool {
    lots.iter().any(|lot| {
        let batch = lot.claim.batch().ok();
        let streams = batch.iter().flat_map(|batch| &batch.streams);
        streams.map(|stream| heads.of(wire, &stream.labels, lot.claim.frame().ingest_ms)).any(|head| {
            // What is dropped goes nowhere, and that at once.
            !head.kept || !these(&head.address)
        })
    })
}

/// A piece's unpacked entries, and the places of its lines among those of its batch.
#[derive(Debug)]
pub(crate) struct Unpacked {
    raw: Vec<u8>,
    places: Option<Vec<u64>>,
}

impl Unpacked {
    /// `None`: it does not unpack. `merge`: it is one of several that are sent as they came.
    pub(crate) fn new(stream: &LogStream<'_>, merge: bool) -> Option<Self> {
        let mut raw = Vec::new();
        stream.unpack(&mut raw).ok()?;
        let places = if merge { stream.places().map(Iterator::collect) } else { None };
        Some(Self { raw, places })
    }
}

/// Unpacks each piece; `None` where that fails, which is booked.
pub(crate) fn unpack(lots: &[LogLot], pieces: &[Piece], order: Order, book: &Book) -> Vec<Option<Unpacked>> {
    let mut all = Vec::with_capacity(pieces.len());
    for of_lot in pieces.chunk_by(|a, b| a.lot == b.lot) {
        let batch = of_lot.first().and_then(|piece| lots.get(piece.lot)).and_then(|lot| lot.claim.batch().ok());
        for piece in of_lot {
            let merge = order == Order::Arrival && of_lot.len() > 1;
            let stream = batch.as_ref().and_then(|batch| batch.streams.get(piece.stream));
            let unpacked = stream.and_then(|stream| Unpacked::new(stream, merge));
            if unpacked.is_none() {
                book.lost(piece.lot, piece.lines, Loss::Undecodable, "a queued stream of lines does not unpack");
            }
            all.push(unpacked);
        }
    }
    all
}

/// The lines of unpacked pieces in the order in which they are sent. A piece whose entries cannot be read, or are not as many
/// as its head says, gives none and is told to `broken`.
pub(crate) fn rows<'a>(
    pieces: &'a [Piece],
    unpacked: &'a [Option<Unpacked>],
    order: Order,
    mut broken: impl FnMut(&Piece),
) -> Vec<Row<'a>> {
    let lines = pieces.iter().map(|piece| piece.lines as usize).sum();
    let mut rows: Vec<Row<'a>> = Vec::with_capacity(lines);
    let mut places: Vec<(u64, Row<'a>)> = Vec::new();
    let mut at = 0;
    for of_lot in pieces.chunk_by(|a, b| a.lot == b.lot) {
        let unpacked = unpacked.get(at..).unwrap_or_default().iter().take(of_lot.len());
        at += of_lot.len();
        places.clear();
        for (piece, unpacked) in of_lot.iter().zip(unpacked) {
            let Some(unpacked) = unpacked else { continue };
            let mut sound = true;
            let found = LogEntries::new(&unpacked.raw).map_while(|entry| {
                sound &= entry.is_ok();
                Some(Row { lot: piece.lot, head: &piece.head, entry: entry.ok()?, items: 1 })
            });
            let lines = piece.lines as usize;
            match &unpacked.places {
                Some(order) => {
                    let before = places.len();
                    let place = order.iter().copied().chain(std::iter::repeat(u64::MAX));
                    // Once more than there should be, so that too many are seen.
                    places.extend(found.take(lines + 1).zip(place).map(|(row, place)| (place, row)));
                    if !sound || places.len() - before != lines {
                        places.truncate(before);
                        broken(piece);
                    }
                }
                None => {
                    let before = rows.len();
                    rows.extend(found.take(lines + 1));
                    if !sound || rows.len() - before != lines {
                        rows.truncate(before);
                        broken(piece);
                    }
                }
            }
        }
        places.sort_by_key(|(place, _)| *place);
        rows.extend(places.iter().map(|(_, row)| *row));
    }
    if order == Order::Time && !rows.is_sorted_by_key(|row| row.entry.timestamp_ns) {
        rows.sort_by_key(|row| row.entry.timestamp_ns);
    }
    rows
}

impl Cargo<'_> {
    pub(crate) fn lines(&self) -> u64 {
        match self {
            Self::Packed(pieces) => pieces.iter().map(|piece| u64::from(piece.lines)).sum(),
            Self::Rows(rows) => rows.iter().map(|row| u64::from(row.items)).sum(),
        }
    }

    /// What a request of it has: lines, and parts of lines.
    pub(crate) fn records(&self) -> u64 {
        match self {
            Self::Packed(_) => self.lines(),
            Self::Rows(rows) => rows.len() as u64,
        }
    }

    /// Bytes of lines, roughly, for counters.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Packed(pieces) => pieces.iter().map(|piece| piece.raw_len as u64).sum(),
            Self::Rows(rows) => rows.iter().map(|row| row.entry.line.len() as u64).sum(),
        }
    }

    /// In two parts; `None` if there is nothing to part.
    pub(crate) fn halve(self) -> Result<(Self, Self), Self> {
        match self {
            Self::Packed(mut pieces) if pieces.len() > 1 => {
                let rest = pieces.split_off(pieces.len() / 2);
                Ok((Self::Packed(pieces), Self::Packed(rest)))
            }
            Self::Rows(rows) if rows.len() > 1 => {
                let middle = rows.len() / 2;
                Ok(match rows {
                    Cow::Borrowed(rows) => {
                        let (first, rest) = rows.split_at(middle);
                        (Self::Rows(Cow::Borrowed(first)), Self::Rows(Cow::Borrowed(rest)))
                    }
                    Cow::Owned(mut rows) => {
                        let rest = rows.split_off(middle);
                        (Self::Rows(Cow::Owned(rows)), Self::Rows(Cow::Owned(rest)))
                    }
                })
            }
            whole => Err(whole),
        }
    }

    /// Lets go of lines whose lots the queue gave up, and books lines older than `cutoff_ns` as expired. `None`: it did not
    /// change. `Some(false)`: packed streams have to be looked at line by line now.
    pub(crate) fn trim(&mut self, lots: &[LogLot], cutoff_ns: Option<i64>, book: &Book) -> Option<bool> {
        let gone = |lot: usize| lots.get(lot).is_none_or(|lot| lot.claim.evicted());
        let old = |at: i64| cutoff_ns.is_some_and(|cutoff| at < cutoff);
        match self {
            Self::Packed(pieces) => {
                if pieces.iter().any(|piece| old(piece.first_ns)) {
                    return Some(false);
                }
                let before = pieces.len();
                pieces.retain(|piece| !gone(piece.lot));
                (pieces.len() < before).then_some(true)
            }
            Self::Rows(rows) => {
                let (mut last, mut last_gone) = (usize::MAX, false);
                let mut leaves = |row: &Row<'_>| {
                    if row.lot != last {
                        (last, last_gone) = (row.lot, gone(row.lot));
                    }
                    last_gone || old(row.entry.timestamp_ns)
                };
                if !rows.iter().any(&mut leaves) {
                    return None;
                }
                rows.to_mut().retain(|row| {
                    let leaves = leaves(row);
                    if leaves && !gone(row.lot) {
                        book.expired(row.lot, row.items);
                    }
                    !leaves
                });
                Some(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{Labels, LogBatch, LogBatchView};

    use super::*;
    use crate::logs::fixture::{pieces, with_rows};

    fn wire() -> Wire {
        let config = crate::logs::FirehoseConfig { delivery_stream: "d".into(), format: crate::logs::LogFormat::Text };
        let limits = crate::logs::wire::Limits { lines: usize::MAX, bytes: usize::MAX };
        let url = url::Url::parse("http://h/").unwrap();
        Wire::Firehose(crate::protocol::firehose::Firehose::new(url, config, limits))
    }

    #[test]
    fn lines_of_several_streams_are_in_the_order_asked_for() {
        let mut batch = LogBatch::new();
        for (n, (stream, at)) in [("a", 5), ("b", 3), ("a", 1), ("b", 3), ("c", 9)].into_iter().enumerate() {
            let labels: Labels = [("s", stream)].into_iter().collect();
            let stream = batch.stream(&labels).unwrap();
            batch.push(stream, at, n.to_string().as_bytes(), &[]).unwrap();
        }
        let mut out = Vec::new();
        batch.encode(&mut out).unwrap();
        let payload = Bytes::from(out);
        let view = LogBatchView::decode(&payload).unwrap();
        let lines = [(5, "a"), (3, "b"), (1, "a"), (3, "b"), (9, "c")].map(|(at, s)| ([("s", s)], at));
        let lines: Vec<_> = lines.iter().map(|(labels, at)| (&labels[..], *at, "", &[][..])).collect();
        let pieces = pieces(&wire(), Labels::new(), &lines);
        for (order, expected) in [(Order::Stream, "02134"), (Order::Arrival, "01234"), (Order::Time, "21304")] {
            let merge = order == Order::Arrival;
            let unpacked: Vec<_> = view.streams.iter().map(|stream| Unpacked::new(stream, merge)).collect();
            let rows = rows(&pieces, &unpacked, order, |piece| panic!("{piece:?}"));
            assert_eq!(rows.iter().map(|row| row.entry.line).collect::<String>(), expected, "{order:?}");
        }
    }

    #[test]
    fn a_stream_that_is_not_what_its_head_says_gives_no_line() {
        let lines = [(&[("s", "a")][..], 1, "one", &[][..]), (&[("s", "b")][..], 2, "two", &[][..])];
        let mut pieces = pieces(&wire(), Labels::new(), &lines);
        let raw = |bytes: &[u8]| Some(Unpacked { raw: bytes.to_vec(), places: None });
        let entry = [0x12, 0x02, 0x12, 0x00];
        pieces[0].lines = 2;
        for bad in [&entry[..], &[entry, entry, entry].concat(), &[entry, entry].concat()[..7]] {
            let mut broken = Vec::new();
            let unpacked = [raw(bad), raw(&entry)];
            let rows = rows(&pieces, &unpacked, Order::Stream, |piece| broken.push(piece.stream));
            assert_eq!((rows.len(), broken), (1, vec![0]), "{bad:?}");
        }
    }

    #[test]
    fn cargo_is_halved_down_to_one_line() {
        let lines: Vec<_> = (0..5).map(|n| (&[("s", "a")][..], n, "x", &[][..])).collect();
        with_rows(&wire(), &lines, |rows| {
            let mut stack = vec![Cargo::Rows(Cow::Borrowed(rows))];
            let mut single = 0;
            while let Some(cargo) = stack.pop() {
                match cargo.halve() {
                    Ok((first, rest)) => stack.extend([rest, first]),
                    Err(one) => {
                        assert_eq!(one.lines(), 1);
                        single += 1;
                    }
                }
            }
            assert_eq!(single, 5);
        });
    }
}

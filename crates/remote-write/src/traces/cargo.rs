//! What is in one request: pieces of OTLP, or spans as X-Ray's documents.
//!
//! It keeps true: every item of a request is in it once, so that what an answer says can be booked.

use std::borrow::Cow;

use model::otlp::Signal;

use super::{
    Piece,
    documents::{Documents, SpanDocuments},
};

/// See the file's head.
#[derive(Debug, Clone)]
pub(crate) enum Cargo<'a> {
    Pieces(Vec<Piece<'a>>),
    Spans(Documents),
}

/// What one request holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) items: usize,
    /// Uncompressed.
    pub(crate) bytes: usize,
}

impl Cargo<'_> {
    pub(crate) fn items(&self) -> u64 {
        match self {
            Self::Pieces(pieces) => pieces.iter().map(|piece| u64::from(piece.items)).sum(),
            Self::Spans(documents) => documents.spans.len() as u64,
        }
    }

    /// Before compression, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Pieces(pieces) => pieces.iter().map(|piece| piece.body.len()).sum(),
            Self::Spans(documents) => documents.bytes(),
        }
    }

    /// Each lot in it, with its items; one whose items do not follow each other is there more than once.
    pub(crate) fn shares(&self) -> Vec<(usize, u32)> {
        fn of_lot(spans: &[SpanDocuments]) -> Option<(usize, u32)> {
            Some((spans.first()?.lot, u32::try_from(spans.len()).ok()?))
        }
        match self {
            Self::Pieces(pieces) => pieces.iter().map(|piece| (piece.lot, piece.items)).collect(),
            Self::Spans(documents) => documents.spans.chunk_by(|a, b| a.lot == b.lot).filter_map(of_lot).collect(),
        }
    }

    /// The lot whose frame the queue gives up first.
    pub(crate) fn oldest(&self) -> Option<usize> {
        self.shares().into_iter().map(|(lot, _)| lot).min()
    }

    /// Leaves out what is of lots that are gone. True if something was.
    pub(crate) fn leave_out(&mut self, gone: impl Fn(usize) -> bool) -> bool {
        fn keep<T>(list: &mut Vec<T>, keep: impl FnMut(&T) -> bool) -> bool {
            let before = list.len();
            list.retain(keep);
            list.len() < before
        }
        match self {
            Self::Pieces(pieces) => keep(pieces, |piece| !gone(piece.lot)),
            Self::Spans(documents) => keep(&mut documents.spans, |span| !gone(span.lot)),
        }
    }

    /// Two of about half the items. The error is one that cannot be halved.
    pub(crate) fn halve(self, signal: Signal) -> Result<(Self, Self), Self> {
        match self {
            Self::Spans(mut documents) if documents.spans.len() > 1 => {
                let rest = documents.split_off(documents.spans.len() / 2);
                Ok((Self::Spans(documents), Self::Spans(rest)))
            }
            Self::Pieces(mut pieces) if pieces.len() > 1 => {
                let rest = pieces.split_off(pieces.len() / 2);
                Ok((Self::Pieces(pieces), Self::Pieces(rest)))
            }
            Self::Pieces(mut pieces) => match pieces.pop().map(|piece| piece.halve(signal)) {
                Some(Ok((first, second))) => Ok((Self::Pieces(vec![first]), Self::Pieces(vec![second]))),
                Some(Err(piece)) => Err(Self::Pieces(vec![piece])),
                None => Err(Self::Pieces(Vec::new())),
            },
            Self::Spans(_) => Err(self),
        }
    }
}

/// The bodies joined; one alone stays as it is.
pub(crate) fn joined<'b>(pieces: &'b [Piece<'_>]) -> Cow<'b, [u8]> {
    match pieces {
        [one] => Cow::Borrowed(&one.body),
        _ => Cow::Owned(pieces.iter().map(|piece| &*piece.body).collect::<Vec<_>>().concat()),
    }
}

/// Pieces in requests as full as the limits allow; what is larger than a request is cut. One item that is larger by itself
/// goes alone: who receives it says whether it is too large.
pub(crate) fn pack<'a>(pieces: Vec<Piece<'a>>, signal: Signal, limits: Limits) -> impl Iterator<Item = Cargo<'a>> {
    let (mut load, mut items, mut bytes): (Vec<Piece<'a>>, usize, usize) = (Vec::new(), 0, 0);
    let mut stack = pieces;
    stack.reverse();
    // Each is made when it is asked for: the cuts of a large request are not in memory all at once.
    std::iter::from_fn(move || {
        while let Some(piece) = stack.pop() {
            let (more, size) = (piece.items as usize, piece.body.len());
            let piece = if more > limits.items || size > limits.bytes {
                match piece.halve(signal) {
                    Ok((first, second)) => {
                        stack.extend([second, first]);
                        continue;
                    }
                    Err(single) => single,
                }
            } else {
                piece
            };
            if !load.is_empty() && (items + more > limits.items || bytes + size > limits.bytes) {
                stack.push(piece);
                (items, bytes) = (0, 0);
                return Some(Cargo::Pieces(std::mem::take(&mut load)));
            }
            items += more;
            bytes += size;
            load.push(piece);
        }
        (!load.is_empty()).then(|| Cargo::Pieces(std::mem::take(&mut load)))
    })
}

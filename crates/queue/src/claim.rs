//! A claim: one frame in somebody's hands, and the duty to say what became of it.
//!
//! Keeps true: a claim ends once - settled, or given back by being dropped - and only settling moves the cursor.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::cursor::Settled;
use crate::destination::Destination;
use crate::error::QueueError;
use crate::frame::{self, FrameHeader, KIND_CONTEXT};
use crate::lane::{Lane, Pair};
use crate::reader::fetch::Fetched;
use crate::record::{ContextKey, FrameMeta, Outcome};
use crate::walk::{Step, Walk};

/// Where claims of one destination and lane are handed out and taken back.
pub(crate) struct Desk {
    pub lane: Arc<Lane>,
    pub destination: Arc<Destination>,
    pub turn: Arc<Notify>,
    pub given_up: watch::Receiver<u64>,
    pub incarnation: u64,
}

impl Desk {
    /// Works on the cursor, unless the destination was removed.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Pair) -> T) -> Option<T> {
        let mut board = self.lane.board.lock();
        let pair = board.pairs.get_mut(&self.destination.name)?;
        (pair.cursor.incarnation == self.incarnation).then(|| work(pair))
    }
}

/// One frame, to be settled. Dropping it unsettled returns it to the front of its reader.
pub struct Claim {
    desk: Arc<Desk>,
    fetched: Option<Box<Fetched>>,
    meta: FrameMeta,
}

impl Claim {
    pub(crate) fn new(desk: Arc<Desk>, fetched: Box<Fetched>) -> Claim {
        let meta = fetched.meta.clone();
        Claim { desk, fetched: Some(fetched), meta }
    }

    /// What the queue knows of the frame.
    pub fn frame(&self) -> &FrameMeta {
        &self.meta
    }

    /// The payload, decompressed.
    pub fn payload(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.fetched.as_ref().map_or(&NONE, |fetched| &fetched.payload)
    }

    /// Keys of the contexts the payload needs, in the order the record named them.
    pub fn contexts(&self) -> &[ContextKey] {
        self.fetched.as_ref().map_or(&[], |fetched| &fetched.keys)
    }

    /// The bytes of a context, as they were appended. One blocking read: call it off the reactor, and keep the
    /// result by its key. If the copy is damaged, another one in the same segment will do; if there is none, settle the
    /// claim as [`Outcome::Damaged`]. [`QueueError::Evicted`]: see [`Claim::evicted`]; drop or settle the claim.
    pub fn context(&self, key: &ContextKey) -> Result<Bytes, QueueError> {
        let unknown = || QueueError::UnknownContext { offset: self.meta.offset, key: *key };
        let fetched = self.fetched.as_ref().ok_or_else(unknown)?;
        let index = fetched.keys.iter().position(|held| held == key).ok_or_else(unknown)?;
        let offset = *fetched.offsets.get(index).ok_or_else(unknown)?;
        self.named_copy(fetched, offset, key).or_else(|| any_copy(fetched, key)).ok_or_else(|| {
            if fetched.segment.is_closed() {
                QueueError::Evicted { offset: self.meta.offset }
            } else {
                QueueError::ContextDamaged { offset, path: fetched.path.to_path_buf() }
            }
        })
    }

    /// The copy that the record names.
    fn named_copy(&self, fetched: &Fetched, offset: u64, key: &ContextKey) -> Option<Bytes> {
        let segment = &fetched.segment;
        if offset < segment.base || offset >= self.meta.offset {
            return None;
        }
        let head = segment.read(offset, frame::HEADER_LEN);
        let header = FrameHeader::decode(&head, segment.nonce, offset)?;
        if header.kind != KIND_CONTEXT || offset + header.span() > fetched.limit {
            return None;
        }
        let body =
            segment.read(offset + frame::HEADER_LEN as u64, usize::try_from(header.stored_len).unwrap_or_default());
        let named = body.get(..16).is_some_and(|name| name == key.0);
        if !named || crc32c::crc32c(&body) != header.stored_crc {
            if segment.is_closed() {
                return None;
            }
            self.desk.lane.quarantine.keep(&self.desk.lane.id, offset, &body);
            return None;
        }
        Some(Bytes::from(body).slice(16..))
    }

    /// True once the frame was taken from this destination: evicted from a full lane, or the destination was removed. Its
    /// items are in the book already. To go on sending is allowed ([`LedgerRow::late_delivered`](crate::LedgerRow)
    /// counts what arrives), but contexts that were not read yet are gone.
    pub fn evicted(&self) -> bool {
        *self.desk.given_up.borrow() > self.meta.offset
    }

    /// Resolves when [`Claim::evicted`] becomes true; never, if it does not. It borrows nothing, so a sender can wait for
    /// it beside the request that carries the frame, and give the request up.
    pub fn evicted_wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut given_up = self.desk.given_up.clone();
        let offset = self.meta.offset;
        async move {
            // The sending half lives as long as the destination; its last word is that everything was given up.
            let _ = given_up.wait_for(|to| *to > offset).await;
        }
    }

    /// Says what became of the frame's items. The cursor moves when all older claims are settled too.
    pub fn settle(mut self, outcome: Outcome) {
        if self.fetched.take().is_none() {
            return;
        }
        let moved = self.desk.with(|pair| pair.cursor.settle(self.meta.offset, self.meta.items, outcome));
        if moved == Some(Settled::Moved) {
            self.desk.destination.mark_dirty();
            self.desk.turn.notify_one();
        }
    }
}

/// A key is a function of its bytes, and long segments hold several copies: any of them is as good. Reads the segment.
fn any_copy(fetched: &Fetched, key: &ContextKey) -> Option<Bytes> {
    let mut walk = Walk::new(Arc::clone(&fetched.segment), fetched.segment.base, fetched.limit);
    loop {
        match walk.step() {
            Step::Frame { header, body, .. }
                if header.kind == KIND_CONTEXT && body.get(..16).is_some_and(|name| name == key.0) =>
            {
                // Not a part of the block it was read in: whoever asked keeps it for long.
                return body.get(16..).map(Bytes::copy_from_slice);
            }
            Step::Frame { .. } | Step::BadBody { .. } | Step::Gap { .. } => {}
            Step::End => return None,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(fetched) = self.fetched.take() {
            // What is left over was evicted or removed; it is dropped outside the lock.
            let _left = self.desk.with(|pair| pair.cursor.give_back(fetched));
            self.desk.turn.notify_one();
        }
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("frame", &self.meta).finish_non_exhaustive()
    }
}

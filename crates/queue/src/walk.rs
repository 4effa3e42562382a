//! Walks the frames of one segment file, 256 KiB at a time, past damage. Used by readers and by recovery.
//!
//! It counts no items and knows no destinations. Keeps true: each step moves forward by at least 8 bytes, bytes
//! beyond the given end are never returned, and unreadable pages read as zeros (so they are damage, not errors).

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;

use crate::disk::{DiskFile, read_full};
use crate::frame::{self, FrameHeader, SYNC};

const BLOCK: u64 = 256 << 10;
const PAGE: usize = 4096;
/// A body of this many bytes takes at least half of the block it is in.
pub(crate) const BLOCK_PART: usize = 128 << 10;

/// A segment file opened for reading. It can be closed under its readers: an unlinked file keeps its space for as long
/// as somebody has it open, and the space of what was evicted is needed at once.
pub(crate) struct SegmentFile {
    file: RwLock<Option<Arc<dyn DiskFile>>>,
    pub base: u64,
    pub nonce: u64,
    pub header_len: u64,
}

impl SegmentFile {
    pub(crate) fn new(file: Arc<dyn DiskFile>, base: u64, nonce: u64, header_len: u64) -> SegmentFile {
        SegmentFile { file: RwLock::new(Some(file)), base, nonce, header_len }
    }

    /// Gives the file back; what is read from here on is zeros.
    pub(crate) fn close(&self) {
        *self.file.write() = None;
    }

    /// The file was given back: zeros say nothing of what it held.
    pub(crate) fn is_closed(&self) -> bool {
        self.file.read().is_none()
    }

    /// The file, for one call.
    pub(crate) fn file(&self) -> Option<Arc<dyn DiskFile>> {
        self.file.read().clone()
    }

    /// Position in the file of a lane offset, which must not be below `base`.
    pub(crate) fn position(&self, offset: u64) -> u64 {
        offset.saturating_sub(self.base).saturating_add(self.header_len)
    }

    /// `len` bytes at a lane offset; what cannot be read after three tries, or is closed, is zeros.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        self.read_into(&mut buf, offset);
        buf
    }

    /// Fills the whole of `buf`, as [`SegmentFile::read`].
    fn read_into(&self, buf: &mut [u8], offset: u64) {
        let pos = self.position(offset);
        for _ in 0..3 {
            let Some(file) = self.file() else {
                return buf.fill(0);
            };
            match read_full(file.as_ref(), buf, pos) {
                Ok(count) => return buf.get_mut(count..).unwrap_or_default().fill(0),
                Err(_) => continue,
            }
        }
        let mut at = pos;
        for page in buf.chunks_mut(PAGE) {
            let result: Option<io::Result<usize>> = self.file().map(|file| read_full(file.as_ref(), page, at));
            let count = result.and_then(Result::ok).unwrap_or(0);
            page.get_mut(count..).unwrap_or_default().fill(0);
            at = at.saturating_add(PAGE as u64);
        }
    }
}

/// What lies at the walk's place.
pub(crate) enum Step {
    /// A frame whose body has the right checksum.
    Frame { offset: u64, header: FrameHeader, body: Bytes },
    /// A frame whose header is good and whose body is not.
    BadBody { offset: u64, header: FrameHeader },
    /// No valid header between these lane offsets; `to` is the next frame or the end.
    Gap { from: u64, to: u64 },
    /// The end given.
    End,
}

/// A place in a segment.
pub(crate) struct Walk {
    pub segment: Arc<SegmentFile>,
    pub end: u64,
    pub at: u64,
    block: Bytes,
    block_start: u64,
}

impl Walk {
    pub(crate) fn new(segment: Arc<SegmentFile>, at: u64, end: u64) -> Walk {
        let at = at.max(segment.base);
        Walk { segment, end, at, block: Bytes::new(), block_start: at }
    }

    /// Bytes already read beyond an earlier end may be stale: they were written since.
    pub(crate) fn extend(&mut self, end: u64) {
        if end != self.end {
            self.end = end;
            self.block = Bytes::new();
        }
    }

    /// `len` bytes at `from`, which the caller has checked to lie before the end.
    fn bytes(&mut self, from: u64, len: usize) -> Bytes {
        if let Some(found) = self.in_block(from, len) {
            return found;
        }
        let wanted = (len as u64).max(BLOCK).min(self.end.saturating_sub(from));
        let wanted = usize::try_from(wanted).unwrap_or(len);
        let mut block = self.room(wanted);
        self.segment.read_into(&mut block, from);
        self.block = block.freeze();
        self.block_start = from;
        self.in_block(from, len).unwrap_or_default()
    }

    /// A block of `len` bytes: the memory of the last one, where nobody holds a part of that any more.
    fn room(&mut self, len: usize) -> BytesMut {
        let mut block = std::mem::take(&mut self.block).try_into_mut().unwrap_or_default();
        if block.capacity() < len {
            return BytesMut::zeroed(len);
        }
        block.resize(len, 0);
        block
    }

    fn in_block(&self, from: u64, len: usize) -> Option<Bytes> {
        let start = usize::try_from(from.checked_sub(self.block_start)?).ok()?;
        let stop = start.checked_add(len)?;
        (stop <= self.block.len()).then(|| self.block.slice(start..stop))
    }

    fn header_at(&mut self, offset: u64) -> Option<FrameHeader> {
        if offset.checked_add(frame::HEADER_LEN as u64)? > self.end {
            return None;
        }
        let bytes = self.bytes(offset, frame::HEADER_LEN);
        let header = FrameHeader::decode(&bytes, self.segment.nonce, offset)?;
        (offset + header.span() <= self.end).then_some(header)
    }

    /// The next thing, moving past it.
    pub(crate) fn step(&mut self) -> Step {
        let offset = self.at;
        if offset >= self.end {
            return Step::End;
        }
        if let Some(header) = self.header_at(offset) {
            self.at = offset + header.span();
            let len = usize::try_from(header.stored_len).unwrap_or_default();
            let body = self.bytes(offset + frame::HEADER_LEN as u64, len);
            if body.len() == len && crc32c::crc32c(&body) == header.stored_crc {
                return Step::Frame { offset, header, body };
            }
            return Step::BadBody { offset, header };
        }
        let to = self.find(offset + 8);
        self.at = to;
        Step::Gap { from: offset, to }
    }

    /// The next frame, its body good or not, past everything else; or the end.
    pub(crate) fn step_to_frame(&mut self) -> Step {
        loop {
            match self.step() {
                Step::Gap { .. } => {}
                other => return other,
            }
        }
    }

    /// Reads on from here, up to the end and at most `limit` bytes, if that takes no waiting for a device.
    pub(crate) fn load_cached(&mut self, limit: u64) -> bool {
        let wanted = usize::try_from(self.end.saturating_sub(self.at).min(limit)).unwrap_or_default();
        let Some(file) = self.segment.file().filter(|_| wanted > 0) else {
            return false;
        };
        let mut block = self.room(wanted);
        let whole = file.read_cached(&mut block, self.segment.position(self.at)) == Some(wanted);
        if whole {
            self.block = block.freeze();
            self.block_start = self.at;
        }
        whole
    }

    /// The frame here, moving past it, if it is wholly in the block, sound, and at most `room` bytes when decompressed.
    /// Reads nothing; in every other case it stays where it is.
    pub(crate) fn step_in_block(&mut self, room: usize) -> Option<(u64, FrameHeader, Bytes)> {
        let offset = self.at;
        let header = FrameHeader::decode(&self.in_block(offset, frame::HEADER_LEN)?, self.segment.nonce, offset)?;
        let end = offset.checked_add(header.span()).filter(|end| *end <= self.end)?;
        if usize::try_from(header.raw_len).ok()? > room {
            return None;
        }
        let body = self.in_block(offset + frame::HEADER_LEN as u64, usize::try_from(header.stored_len).ok()?)?;
        (crc32c::crc32c(&body) == header.stored_crc).then(|| {
            self.at = end;
            (offset, header, body)
        })
    }

    /// The next valid header at or after `from`, or the end.
    fn find(&mut self, from: u64) -> u64 {
        let mut at = from;
        while at < self.end {
            // What is left of the block first: a sync word in every word must not cost a read each.
            let held = (self.block_start + self.block.len() as u64).checked_sub(at).filter(|rest| *rest >= 8);
            let len = held.filter(|_| at >= self.block_start).unwrap_or(BLOCK).min(self.end - at);
            let len = usize::try_from(len).unwrap_or_default();
            let block = self.bytes(at, len);
            let mut candidate = None;
            for (index, word) in block.chunks_exact(8).enumerate() {
                if word.starts_with(&SYNC) {
                    candidate = Some(at + index as u64 * 8);
                    break;
                }
            }
            match candidate {
                Some(offset) if self.header_at(offset).is_some() => return offset,
                Some(offset) => at = offset + 8,
                None => at += ((len as u64) & !7).max(8),
            }
        }
        self.end
    }
}

//! A segment whose own header is damaged and that no later header names: its frames say how to read them.
//!
//! Changes nothing. Keeps true: what it gives reads at least one frame whose neighbour or body agrees, and whatever the file
//! holds it reads no more than a bounded number of bytes (invariant 16).

use std::sync::Arc;

use crate::disk::{DiskFile, read_full};
use crate::frame::{self, FrameHeader, SYNC};
use crate::segment;
use crate::walk::{SegmentFile, Step, Walk};

const BLOCK: u64 = 256 << 10;
/// Bytes read to test places that look like frames. A file of one sync word after the other must not cost hours.
const PROOF_LIMIT: u64 = 256 << 20;

/// A nonce under which the frames between `base` and `end` validate.
pub(super) fn nonce(file: &Arc<dyn DiskFile>, base: u64, end: u64) -> Option<u64> {
    let view = |nonce| Arc::new(SegmentFile::new(Arc::clone(file), base, nonce, segment::HEADER_SIZE));
    // Most damage leaves these eight bytes as they were.
    let mut stated = [0; 8];
    read_full(file.as_ref(), &mut stated, segment::NONCE_AT).ok()?;
    let stated = u64::from_le_bytes(stated);
    if !matches!(Walk::new(view(stated), base, end).step_to_frame(), Step::End) {
        return Some(stated);
    }
    let view = view(0);
    let mut left = PROOF_LIMIT;
    let mut at = base;
    while at < end {
        let len = (end - at).min(BLOCK);
        let block = view.read(at, usize::try_from(len).ok()?);
        for (index, word) in block.chunks_exact(8).enumerate() {
            if word.starts_with(&SYNC) {
                let found = proven(&view, at + index as u64 * 8, end, &mut left);
                if found.is_some() || left == 0 {
                    return found;
                }
            }
        }
        at += len;
    }
    None
}

/// The nonce of the frame at this offset, if it is one: any 64 bytes behind a sync word have a nonce that fits, so the frame
/// behind it has to fit too, or the body its own checksum.
fn proven(view: &SegmentFile, at: u64, end: u64, left: &mut u64) -> Option<u64> {
    const HEADER: u64 = frame::HEADER_LEN as u64;
    let bytes = view.read(at, frame::HEADER_LEN);
    let nonce = frame::nonce_for(&bytes, at)?;
    let header = FrameHeader::decode(&bytes, nonce, at)?;
    let behind = at + header.span();
    *left = left.saturating_sub(HEADER);
    if behind > end || header.durable_before > at {
        return None;
    }
    if behind + HEADER <= end {
        let next = view.read(behind, frame::HEADER_LEN);
        if FrameHeader::decode(&next, nonce, behind).is_some() {
            return Some(nonce);
        }
    }
    let len = u64::from(header.stored_len);
    if len == 0 || len > *left {
        return None;
    }
    *left -= len;
    let body = view.read(at + HEADER, usize::try_from(len).ok()?);
    (crc32c::crc32c(&body) == header.stored_crc).then_some(nonce)
}

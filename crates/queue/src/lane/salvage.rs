//! A segment whose own header is damaged and that no later header names: its frames say how to read them.
//!
//! Changes nothing. Keeps true: what it gives reads at least one frame that something beside it confirms (the frame behind it, or
//! the segment's own header but for its nonce), and whatever the file holds it reads no more than a bounded number of bytes
//! (invariant 16).

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
    let mut head = [0; segment::HEADER_LEN];
    read_full(file.as_ref(), &mut head, 0).ok()?;
    // Most damage leaves the nonce as it was.
    let stated = segment::nonce_of(&head);
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
                let found = proven(&view, &head, at + index as u64 * 8, end, &mut left);
                if found.is_some() || left == 0 {
                    return found;
                }
            }
        }
        at += len;
    }
    None
}

/// The nonce of the frame at this offset, if it is one. For any 64 bytes behind a sync word there is a nonce that fits, also for
/// a frame's header that is damaged: so the frame behind it has to fit too, or the segment's header has to be whole with it. That
/// a body agrees would prove nothing of the numbers beside its length.
fn proven(view: &SegmentFile, head: &[u8; segment::HEADER_LEN], at: u64, end: u64, left: &mut u64) -> Option<u64> {
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
    segment::is_whole_with(head, nonce).then_some(nonce)
}

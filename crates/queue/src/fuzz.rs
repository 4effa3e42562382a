//! Doors for the fuzz targets: what is read from disk, taken from bytes and written again. Nobody else's interface.

use crate::claim::Claim;
use crate::config::LaneId;
use crate::cursor::slot;
use crate::frame::FrameHeader;
use crate::reader::Reader;
use crate::segment::SegmentHeader;

/// A frame header that is taken for one, as it would be written.
pub fn frame_header(bytes: &[u8], nonce: u64, offset: u64) -> Option<[u8; 64]> {
    FrameHeader::decode(bytes, nonce, offset).map(|header| header.encode(nonce, offset))
}

/// Whether a segment header is taken for one, and whether what is written for it reads as the same.
pub fn segment_header(bytes: &[u8]) -> Option<bool> {
    let header = SegmentHeader::decode(bytes).ok()?;
    let lane = LaneId::new("any").ok()?;
    Some(SegmentHeader::decode(&header.encode(&lane)) == Ok(header))
}

/// Whether a cursor slot is taken for one, and whether what is written for it reads as the same.
pub fn cursor_slot(bytes: &[u8]) -> Option<bool> {
    let _ = slot::stated_size(bytes);
    let (generation, read) = slot::open(bytes).ok()?;
    let content = read.content();
    let sealed = slot::seal(&content, generation, slot::slot_size(content.len()))?;
    Some(slot::open(&sealed) == Ok((generation, read)))
}

/// The next frame, read on this thread, from whatever files there are; `None` at the durable end.
pub fn next_claim(reader: &mut Reader) -> Option<Claim> {
    reader.next_at(0)
}

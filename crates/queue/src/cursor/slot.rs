//! One slot of a cursor file: encoding and decoding. No IO.
//!
//! Layout, little-endian: magic 8, major u16, minor u16, slot size u32, generation u64, content length u32, CRC32C u32
//! over the 28 bytes before it and the content; then the content: destination name, lanes.

use crate::cursor::{Counts, MAX_REASONS, Position};
use crate::fields::Fields;
use crate::frame::NUMBER_LIMIT;
use crate::record::Reason;

pub(crate) const MAGIC: [u8; 8] = *b"SIGQCUR\n";
pub(crate) const FORMAT_MAJOR: u16 = 1;
/// 1: the claimed offsets at the end.
pub(crate) const FORMAT_MINOR: u16 = 1;
/// Bytes before the content.
pub(crate) const HEAD: usize = 32;
/// Slots are multiples of this.
pub(crate) const SLOT_STEP: usize = 4096;
const MAX_SLOT: u32 = 1 << 20;

/// The lanes of one destination, as they are on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    pub destination: String,
    pub lanes: Vec<LaneCursor>,
}

/// One lane's part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LaneCursor {
    pub lane: String,
    pub start_item: u64,
    pub settled: Position,
    pub counts: Counts,
    /// Durable end of the lane when the slot was written: a witness for the next start.
    pub lane_end: Position,
    /// Lane offset behind the newest frame that was handed out; what is settled, where it is not known.
    pub claimed: u64,
}

/// Why bytes are not a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotFault {
    Newer { major: u16 },
    Damaged,
}

impl Slot {
    /// The content, to be put into a slot by [`seal`].
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        put_text(&mut out, &self.destination);
        put_u16(&mut out, self.lanes.len());
        for lane in self.lanes.iter().take(usize::from(u16::MAX)) {
            put_text(&mut out, &lane.lane);
            let counts = &lane.counts;
            for number in [
                lane.start_item,
                lane.settled.offset,
                lane.settled.item,
                lane.lane_end.offset,
                lane.lane_end.item,
                counts.delivered,
                counts.filtered,
                counts.rejected,
                counts.evicted,
                counts.expired,
                counts.damaged,
            ] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            // Settled ranges beyond the prefix: none in version 1.
            out.push(0);
            put_u16(&mut out, counts.reasons.len());
            for (reason, items) in counts.reasons.iter().take(usize::from(u16::MAX)) {
                put_text(&mut out, reason.as_str());
                out.extend_from_slice(&items.to_le_bytes());
            }
        }
        // Behind everything that version 1.0 reads.
        for lane in self.lanes.iter().take(usize::from(u16::MAX)) {
            out.extend_from_slice(&lane.claimed.to_le_bytes());
        }
        out
    }

    fn parse(content: &[u8]) -> Option<Slot> {
        let mut fields = Fields::new(content);
        let destination = text(&mut fields)?;
        let count = fields.u16();
        let mut lanes = Vec::new();
        for _ in 0..count {
            let lane = text(&mut fields)?;
            let start_item = fields.u64();
            let settled = Position { offset: fields.u64(), item: fields.u64() };
            let lane_end = Position { offset: fields.u64(), item: fields.u64() };
            let mut counts = Counts {
                delivered: fields.u64(),
                filtered: fields.u64(),
                rejected: fields.u64(),
                evicted: fields.u64(),
                expired: fields.u64(),
                damaged: fields.u64(),
                ..Counts::default()
            };
            for _ in 0..fields.u8() {
                fields.bytes(32);
            }
            for _ in 0..fields.u16() {
                let reason = text(&mut fields)?;
                let items = fields.u64();
                if counts.reasons.len() <= MAX_REASONS {
                    counts.reasons.insert(Reason::restored(reason), items);
                }
            }
            if fields.ran_short() {
                return None;
            }
            lanes.push(LaneCursor { lane, start_item, settled, counts, lane_end, claimed: settled.offset });
        }
        for lane in &mut lanes {
            // Zero where the file is of version 1.0.
            let claimed = fields.u64();
            lane.claimed = if claimed < NUMBER_LIMIT { claimed.max(lane.claimed) } else { lane.claimed };
        }
        lanes.retain(|lane| {
            let numbers = [lane.settled.offset, lane.settled.item, lane.lane_end.offset, lane.lane_end.item];
            numbers.iter().all(|number| *number < NUMBER_LIMIT)
        });
        Some(Slot { destination, lanes: lanes.into_iter().map(balanced).collect() })
    }
}

/// A slot with a good checksum whose numbers do not add up (written by hand, or by a bug) starts a new book.
fn balanced(mut lane: LaneCursor) -> LaneCursor {
    let adds_up = lane.start_item.checked_add(lane.counts.sum()) == Some(lane.settled.item)
        && lane.counts.reasons.values().try_fold(0u64, |sum, items| sum.checked_add(*items)).is_some();
    if !adds_up {
        lane.start_item = lane.settled.item;
        lane.counts = Counts::default();
    }
    lane
}

/// Slot size that holds this content with room to grow.
pub(crate) fn slot_size(content: usize) -> usize {
    (HEAD + content + 1024).next_multiple_of(SLOT_STEP)
}

/// Head and content as one slot of `size` bytes; `None` if it does not fit.
pub(crate) fn seal(content: &[u8], generation: u64, size: usize) -> Option<Vec<u8>> {
    if HEAD + content.len() > size {
        return None;
    }
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
    out.extend_from_slice(&FORMAT_MINOR.to_le_bytes());
    out.extend_from_slice(&u32::try_from(size).ok()?.to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&u32::try_from(content.len()).ok()?.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), content);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(content);
    out.resize(size, 0);
    Some(out)
}

/// Slot size and generation a slot's head states, if it looks like one.
pub(crate) fn stated_size(bytes: &[u8]) -> Option<usize> {
    let mut fields = Fields::new(bytes);
    if fields.bytes(8) != MAGIC {
        return None;
    }
    fields.u32();
    let size = fields.u32();
    let sane = !fields.ran_short() && (4096..=MAX_SLOT).contains(&size) && size.is_multiple_of(4096);
    sane.then(|| usize::try_from(size).ok()).flatten()
}

/// The generation and content of a slot.
pub(crate) fn open(bytes: &[u8]) -> Result<(u64, Slot), SlotFault> {
    let mut fields = Fields::new(bytes);
    let magic = fields.bytes(8);
    let major = fields.u16();
    let _minor = fields.u16();
    let _size = fields.u32();
    let generation = fields.u64();
    let len = fields.u32();
    let crc = fields.u32();
    let content = fields.bytes(usize::try_from(len).unwrap_or(usize::MAX));
    if fields.ran_short() || magic != MAGIC {
        return Err(SlotFault::Damaged);
    }
    let head = bytes.get(..28).unwrap_or_default();
    if crc32c::crc32c_append(crc32c::crc32c(head), content) != crc {
        return Err(SlotFault::Damaged);
    }
    if major > FORMAT_MAJOR {
        return Err(SlotFault::Newer { major });
    }
    Slot::parse(content).map(|slot| (generation, slot)).ok_or(SlotFault::Damaged)
}

fn put_u16(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..bytes.len().min(usize::from(u16::MAX))).unwrap_or_default();
    put_u16(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn text(fields: &mut Fields<'_>) -> Option<String> {
    let len = fields.u16();
    let bytes = fields.bytes(usize::from(len));
    if fields.ran_short() {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot() -> Slot {
        let counts = Counts {
            delivered: 10,
            rejected: 5,
            damaged: 1,
            reasons: [(Reason::new("too_old"), 5)].into(),
            ..Counts::default()
        };
        let settled = Position { offset: 4096, item: 20 };
        Slot {
            destination: "amp".into(),
            lanes: vec![LaneCursor {
                lane: "metrics".into(),
                start_item: 4,
                settled,
                counts,
                lane_end: settled,
                claimed: settled.offset + 80,
            }],
        }
    }

    #[test]
    fn a_slot_reads_back_as_written() {
        let bytes = seal(&slot().content(), 7, 4096).expect("fits");
        assert_eq!(open(&bytes), Ok((7, slot())));
        assert_eq!(stated_size(&bytes), Some(4096));
    }

    #[test]
    fn numbers_that_do_not_add_up_start_a_new_book_at_the_same_place() {
        let mut wrong = slot();
        wrong.lanes[0].counts.delivered = 11;
        let bytes = seal(&wrong.content(), 7, 4096).expect("fits");
        let (_, read) = open(&bytes).expect("valid");
        assert_eq!(read.lanes[0].settled, slot().lanes[0].settled);
        assert_eq!(read.lanes[0].start_item, 20);
        assert_eq!(read.lanes[0].counts.sum(), 0);
    }

    proptest! {
        /// Invariant 16 and 19: no bytes panic, no flipped bit in the covered part passes.
        #[test]
        fn any_flipped_bit_invalidates_a_slot(bit in 0usize..4096 * 8, noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = open(&noise);
            let content = slot().content();
            let mut bytes = seal(&content, 7, 4096).expect("fits");
            bytes[bit / 8] ^= 1 << (bit % 8);
            let result = open(&bytes);
            if bit / 8 < HEAD + content.len() {
                prop_assert_eq!(result, Err(SlotFault::Damaged));
            } else {
                prop_assert_eq!(result, Ok((7, slot())));
            }
        }

        #[test]
        fn noise_with_a_right_checksum_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = seal(&noise, 1, 4096).expect("fits");
            let _ = open(&bytes);
        }
    }
}

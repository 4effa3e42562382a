//! The 64-byte frame header and the parts of a stored body: encoding, decoding, checksums. No IO.
//!
//! Keeps true: a header only validates with the nonce of the segment it was written to and at the lane offset it was
//! written at, so a stale or misplaced block never passes for data.

use std::sync::LazyLock;

use crate::fields::Fields;
use crate::record::ContextKey;

/// Length of a frame header, bytes.
pub(crate) const HEADER_LEN: usize = 64;
/// Length of one context reference in a body, bytes: key and lane offset.
pub(crate) const REF_LEN: usize = 24;
/// First four bytes of each frame.
pub(crate) const SYNC: [u8; 4] = [0xf7, b'S', b'Q', 0x1b];
/// Largest stored body, bytes.
pub(crate) const MAX_STORED: u32 = 16 << 20;
/// Largest payload after decompression, bytes.
pub(crate) const MAX_RAW: u32 = 64 << 20;
/// Kind of a frame that holds a context.
pub(crate) const KIND_CONTEXT: u8 = 0;
/// Offsets and item numbers from here on are taken as damage: no lane grows that far, and sums cannot overflow.
pub(crate) const NUMBER_LIMIT: u64 = 1 << 62;

const HEADER_SIZE_U64: u64 = 64;

/// The fields of a frame header, checksum of the header aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub stored_len: u32,
    pub stored_crc: u32,
    pub raw_len: u32,
    pub items: u32,
    pub first_item: u64,
    pub stream: u64,
    pub ingest_ms: i64,
    pub durable_before: u64,
    pub kind: u8,
    pub codec: u8,
    pub contexts: u16,
    pub flags: u32,
}

impl FrameHeader {
    /// The 64 bytes for this segment and place.
    pub(crate) fn encode(&self, nonce: u64, offset: u64) -> [u8; HEADER_LEN] {
        let mut rest = [0u8; 56];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(slot) = rest.get_mut(at..at + bytes.len()) {
                slot.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&self.stored_len.to_le_bytes());
        put(&self.stored_crc.to_le_bytes());
        put(&self.raw_len.to_le_bytes());
        put(&self.items.to_le_bytes());
        put(&self.first_item.to_le_bytes());
        put(&self.stream.to_le_bytes());
        put(&self.ingest_ms.to_le_bytes());
        put(&self.durable_before.to_le_bytes());
        put(&[self.kind, self.codec]);
        put(&self.contexts.to_le_bytes());
        put(&self.flags.to_le_bytes());
        let crc = header_crc(&rest, nonce, offset);
        let mut out = [0u8; HEADER_LEN];
        let (sync, tail) = out.split_at_mut(4);
        sync.copy_from_slice(&SYNC);
        let (sum, fields) = tail.split_at_mut(4);
        sum.copy_from_slice(&crc.to_le_bytes());
        fields.copy_from_slice(&rest);
        out
    }

    /// The header at the start of `bytes`, if it was written for this segment and place and its lengths are sane.
    pub(crate) fn decode(bytes: &[u8], nonce: u64, offset: u64) -> Option<FrameHeader> {
        let (header, _) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let (sync, tail) = header.split_first_chunk::<4>()?;
        if *sync != SYNC {
            return None;
        }
        let (crc, rest) = tail.split_first_chunk::<4>()?;
        let rest: &[u8; 56] = rest.try_into().ok()?;
        if u32::from_le_bytes(*crc) != header_crc(rest, nonce, offset) {
            return None;
        }
        let mut fields = Fields::new(rest);
        let header = FrameHeader {
            stored_len: fields.u32(),
            stored_crc: fields.u32(),
            raw_len: fields.u32(),
            items: fields.u32(),
            first_item: fields.u64(),
            stream: fields.u64(),
            ingest_ms: fields.i64(),
            durable_before: fields.u64(),
            kind: fields.u8(),
            codec: fields.u8(),
            contexts: fields.u16(),
            flags: fields.u32(),
        };
        let refs = u64::from(header.contexts) * 24;
        let sane = header.stored_len <= MAX_STORED
            && refs <= u64::from(header.stored_len)
            && header.first_item < NUMBER_LIMIT
            && header.durable_before < NUMBER_LIMIT;
        sane.then_some(header)
    }

    /// Bytes from this frame's offset to the next frame's.
    pub(crate) fn span(&self) -> u64 {
        span(u64::from(self.stored_len))
    }
}

/// Bytes a frame with a body of this length takes: header, body, padding to 8.
pub(crate) fn span(stored_len: u64) -> u64 {
    HEADER_SIZE_U64 + stored_len.next_multiple_of(8)
}

fn header_crc(rest: &[u8; 56], nonce: u64, offset: u64) -> u32 {
    let mut bound = [0u8; 72];
    let (fields, tail) = bound.split_at_mut(56);
    fields.copy_from_slice(rest);
    let (first, second) = tail.split_at_mut(8);
    first.copy_from_slice(&nonce.to_le_bytes());
    second.copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c(&bound)
}

/// A nonce under which the header at the start of `bytes` validates at this offset; `None` without a sync word. The checksum
/// is linear, so whatever nonce fits one frame of a segment fits them all, and 32 of its bits say everything.
pub(crate) fn nonce_for(bytes: &[u8], offset: u64) -> Option<u64> {
    let (header, _) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let (sync, tail) = header.split_first_chunk::<4>()?;
    let (crc, rest) = tail.split_first_chunk::<4>()?;
    if *sync != SYNC {
        return None;
    }
    let mut missing = u32::from_le_bytes(*crc) ^ header_crc(rest.try_into().ok()?, 0, offset);
    let mut nonce = 0;
    for (share, of) in NONCE_SHARES.iter() {
        if missing ^ share < missing {
            missing ^= share;
            nonce ^= of;
        }
    }
    (missing == 0).then_some(nonce)
}

/// What nonces add to a header's checksum: no two with the same highest bit, the highest first; and the nonce of each.
static NONCE_SHARES: LazyLock<Vec<(u32, u64)>> = LazyLock::new(|| {
    let none = header_crc(&[0; 56], 0, 0);
    let mut shares: Vec<(u32, u64)> = Vec::with_capacity(32);
    for bit in 0..32 {
        let mut of = 1 << bit;
        let mut share = header_crc(&[0; 56], of, 0) ^ none;
        for (held, held_of) in &shares {
            if share ^ held < share {
                share ^= held;
                of ^= held_of;
            }
        }
        if share != 0 {
            shares.push((share, of));
            shares.sort_by(|a, b| b.cmp(a));
        }
    }
    shares
});

/// The references at the start of a body: key and lane offset of each context.
pub(crate) fn decode_refs(body: &[u8], count: u16) -> (Vec<ContextKey>, Vec<u64>) {
    let mut fields = Fields::new(body);
    let mut keys = Vec::with_capacity(usize::from(count));
    let mut offsets = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        keys.push(ContextKey(fields.key()));
        offsets.push(fields.u64());
    }
    (keys, offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> FrameHeader {
        FrameHeader {
            stored_len: 100,
            stored_crc: 7,
            raw_len: 300,
            items: 12,
            first_item: 99,
            stream: 5,
            ingest_ms: -3,
            durable_before: 4096,
            kind: 1,
            codec: 1,
            contexts: 2,
            flags: 0,
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        let bytes = header().encode(42, 1024);
        assert_eq!(FrameHeader::decode(&bytes, 42, 1024), Some(header()));
        assert_eq!(header().span(), 64 + 104);
    }

    #[test]
    fn a_header_of_another_segment_or_place_does_not_validate() {
        let bytes = header().encode(42, 1024);
        assert_eq!(FrameHeader::decode(&bytes, 43, 1024), None);
        assert_eq!(FrameHeader::decode(&bytes, 42, 1032), None);
    }

    /// Invariant 16: a header with the right checksum is still damage if a number in it is beyond what the format allows.
    /// Without these limits a crafted or mangled file decides how much memory a reader takes.
    #[test]
    fn a_header_with_a_right_checksum_and_a_number_beyond_the_limits_is_damage() {
        let decode = |header: FrameHeader| FrameHeader::decode(&header.encode(42, 1024), 42, 1024);
        let at_the_limits = FrameHeader {
            stored_len: MAX_STORED,
            contexts: u16::MAX,
            first_item: NUMBER_LIMIT - 1,
            durable_before: NUMBER_LIMIT - 1,
            ..header()
        };
        assert_eq!(decode(at_the_limits), Some(at_the_limits));
        let all_references = FrameHeader { stored_len: 48, contexts: 2, ..header() };
        assert_eq!(decode(all_references), Some(all_references));
        for beyond in [
            FrameHeader { stored_len: MAX_STORED + 1, ..header() },
            FrameHeader { stored_len: u32::MAX, ..header() },
            FrameHeader { stored_len: 47, contexts: 2, ..header() },
            FrameHeader { first_item: NUMBER_LIMIT, ..header() },
            FrameHeader { durable_before: NUMBER_LIMIT, ..header() },
        ] {
            assert_eq!(decode(beyond), None, "{beyond:?}");
        }
    }

    proptest! {
        /// One intact frame is enough to read all others of its segment, whatever became of the segment's header.
        #[test]
        fn the_nonce_of_one_frame_fits_every_frame_of_its_segment(nonce in any::<u64>(), at in 0u64..1 << 40, other in 0u64..1 << 40, wrong in any::<u64>()) {
            let found = nonce_for(&header().encode(nonce, at), at).expect("a frame");
            let second = FrameHeader { stored_len: 8, contexts: 0, first_item: 7, ..header() };
            prop_assert_eq!(FrameHeader::decode(&second.encode(nonce, other), found, other), Some(second));
            // And it is no key to everything.
            let foreign = FrameHeader::decode(&second.encode(wrong, other), found, other);
            prop_assert!(foreign.is_none() || nonce_for(&second.encode(wrong, other), other) == Some(found));
        }

        /// Invariant 16: no bytes make the header decoder panic; invariant 14: no single bit flip passes.
        #[test]
        fn any_flipped_bit_invalidates_a_header(bit in 0usize..512, noise in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = header().encode(1, 2);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(FrameHeader::decode(&bytes, 1, 2), None);
            let _ = FrameHeader::decode(&noise, 1, 2);
        }
    }
}

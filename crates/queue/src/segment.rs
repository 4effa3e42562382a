//! The 128-byte segment header, segment file names, and what the lane remembers of each segment. No IO.
//!
//! Keeps true: a header names its predecessor's base, valid end and nonce, so a sealed segment needs no scan at start
//! and can be read even when its own header is damaged.

use std::path::{Path, PathBuf};

use crate::config::LaneId;
use crate::fields::{Fields, fnv64};
use crate::frame::NUMBER_LIMIT;

/// Length of a segment header, bytes; the first frame starts here.
pub(crate) const HEADER_LEN: usize = 128;
/// The same as a file position.
pub(crate) const HEADER_SIZE: u64 = 128;
/// Where the nonce is in it.
pub(crate) const NONCE_AT: usize = 16;
/// First eight bytes of each segment file.
pub(crate) const MAGIC: [u8; 8] = *b"SIGQSEG\n";
/// Major format version written and read.
pub(crate) const FORMAT_MAJOR: u16 = 1;
/// Minor format version written.
pub(crate) const FORMAT_MINOR: u16 = 0;
/// New segments start at multiples of this when they do not continue their predecessor.
pub(crate) const BASE_STEP: u64 = 4096;

const NO_PREVIOUS: u64 = u64::MAX;

/// What a segment's header says of the segment before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Previous {
    pub base: u64,
    pub end: u64,
    pub nonce: u64,
}

/// The fields of a segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub header_len: u32,
    pub nonce: u64,
    pub base: u64,
    pub first_item: u64,
    pub previous: Option<Previous>,
    pub created_ms: i64,
    pub lane_hash: u64,
}

/// Why 128 bytes are not a usable header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Intact, but written by a newer major version.
    Newer { major: u16 },
    /// Anything else.
    Damaged,
}

impl SegmentHeader {
    /// The 128 bytes; `lane` is cut to 32 bytes for people who look into the file.
    pub(crate) fn encode(&self, lane: &LaneId) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
        out.extend_from_slice(&FORMAT_MINOR.to_le_bytes());
        out.extend_from_slice(&self.header_len.to_le_bytes());
        let none = Previous { base: NO_PREVIOUS, end: NO_PREVIOUS, nonce: 0 };
        let previous = self.previous.unwrap_or(none);
        for number in [self.nonce, self.base, self.first_item, previous.base, previous.end, previous.nonce] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        out.extend_from_slice(&self.lane_hash.to_le_bytes());
        out.extend(lane.as_str().bytes().take(32));
        out.resize(HEADER_LEN - 4, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.try_into().unwrap_or([0; HEADER_LEN])
    }

    /// The header in `bytes`. Its checksum is checked before its version, so damage never reads as "newer".
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let (header, _) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(HeaderFault::Damaged)?;
        let (covered, crc) = header.split_last_chunk::<4>().ok_or(HeaderFault::Damaged)?;
        let mut fields = Fields::new(covered);
        if fields.bytes(8) != MAGIC || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return Err(HeaderFault::Damaged);
        }
        let major = fields.u16();
        let _minor = fields.u16();
        if major > FORMAT_MAJOR {
            return Err(HeaderFault::Newer { major });
        }
        let header_len = fields.u32();
        let nonce = fields.u64();
        let base = fields.u64();
        let first_item = fields.u64();
        let previous = Previous { base: fields.u64(), end: fields.u64(), nonce: fields.u64() };
        let created_ms = fields.i64();
        let lane_hash = fields.u64();
        if base >= NUMBER_LIMIT
            || first_item >= NUMBER_LIMIT
            || !(128..=4096).contains(&header_len)
            || !header_len.is_multiple_of(8)
        {
            return Err(HeaderFault::Damaged);
        }
        let linked = previous.base < base && previous.end <= base && previous.base <= previous.end;
        Ok(SegmentHeader {
            header_len,
            nonce,
            base,
            first_item,
            previous: linked.then_some(previous),
            created_ms,
            lane_hash,
        })
    }
}

/// The nonce that a header states, whole or not.
pub(crate) fn nonce_of(header: &[u8; HEADER_LEN]) -> u64 {
    let at = NONCE_AT;
    header.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Whether a header was whole before something happened to its nonce, which was this one.
pub(crate) fn is_whole_with(header: &[u8; HEADER_LEN], nonce: u64) -> bool {
    let mut header = *header;
    if let Some(place) = header.get_mut(NONCE_AT..NONCE_AT + 8) {
        place.copy_from_slice(&nonce.to_le_bytes());
    }
    SegmentHeader::decode(&header).is_ok()
}

/// The short form of a lane's name in headers.
pub(crate) fn lane_hash(lane: &LaneId) -> u64 {
    fnv64(lane.as_str().as_bytes())
}

/// `0000000000001000.seg`
pub(crate) fn file_name(base: u64) -> String {
    format!("{base:016x}.seg")
}

/// The base offset in a segment's file name, if it is one.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().filter(|base| *base < NUMBER_LIMIT)
}

/// What the lane remembers of one segment file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub base: u64,
    /// Lane offset behind the last frame that may be read.
    pub end: u64,
    pub first_item: u64,
    pub nonce: u64,
    pub header_len: u64,
    pub created_ms: i64,
    /// Size of the file, bytes.
    pub size: u64,
    pub sealed: bool,
}

impl Segment {
    pub(crate) fn previous(&self) -> Previous {
        Previous { base: self.base, end: self.end, nonce: self.nonce }
    }

    /// Bytes of header and frames, reserved space not counted.
    pub(crate) fn file_len(&self) -> u64 {
        self.end.saturating_sub(self.base).saturating_add(self.header_len)
    }

    /// Bytes of frames behind a lane offset, holes between segments not counted.
    pub(crate) fn bytes_after<'a>(segments: impl IntoIterator<Item = &'a Segment>, offset: u64) -> u64 {
        segments.into_iter().map(|segment| segment.end.saturating_sub(segment.base.max(offset))).sum()
    }

    pub(crate) fn path_in(dir: &Path, base: u64) -> PathBuf {
        dir.join(file_name(base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane() -> LaneId {
        LaneId::new("metrics-default").expect("a good name")
    }

    fn header() -> SegmentHeader {
        SegmentHeader {
            header_len: 128,
            nonce: 1,
            base: 4096,
            first_item: 3,
            previous: Some(Previous { base: 0, end: 4000, nonce: 9 }),
            created_ms: 5,
            lane_hash: lane_hash(&lane()),
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        assert_eq!(SegmentHeader::decode(&header().encode(&lane())), Ok(header()));
    }

    #[test]
    fn a_newer_major_version_is_told_from_damage() {
        let mut bytes = header().encode(&lane());
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Damaged));
        let crc = crc32c::crc32c(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Newer { major: 2 }));
    }

    #[test]
    fn names_go_round_and_foreign_names_are_left_alone() {
        assert_eq!(parse_name(&file_name(0x1000)), Some(0x1000));
        for foreign in
            ["x.seg", "000000000000100.seg", "000000000000100G.seg", "0000000000001000.seg.tmp", "ffffffffffffffff.seg"]
        {
            assert_eq!(parse_name(foreign), None, "{foreign}");
        }
    }

    proptest! {
        /// Invariant 16.
        #[test]
        fn no_bytes_make_the_header_decoder_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), bit in 0usize..1024) {
            let _ = SegmentHeader::decode(&noise);
            let mut bytes = header().encode(&lane());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Damaged));
        }
    }
}

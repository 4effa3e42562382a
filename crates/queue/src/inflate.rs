//! Stored payloads back to what they were: one reusable decompressor. No IO.
//!
//! Keeps true: never more memory than the header says, and never more than the format allows.

use bytes::Bytes;

use crate::frame::{FrameHeader, MAX_RAW};
use crate::record::Codec;

/// Made when it is first needed.
#[derive(Default)]
pub(crate) struct Inflater(Option<zstd::bulk::Decompressor<'static>>);

impl Inflater {
    /// The payload, or `None` if the codec is not known or the bytes are not what the header says.
    pub(crate) fn payload(&mut self, header: &FrameHeader, stored: Bytes) -> Option<Bytes> {
        match Codec::from_u8(header.codec)? {
            Codec::None => Some(stored),
            Codec::Zstd => {
                if header.raw_len > MAX_RAW {
                    return None;
                }
                let len = usize::try_from(header.raw_len).ok()?;
                if self.0.is_none() {
                    self.0 = zstd::bulk::Decompressor::new().ok();
                }
                let raw = self.0.as_mut()?.decompress(&stored, len).ok()?;
                (raw.len() == len).then(|| Bytes::from(raw))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(codec: u8, raw_len: u32) -> FrameHeader {
        FrameHeader {
            stored_len: 0,
            stored_crc: 0,
            raw_len,
            items: 1,
            first_item: 0,
            stream: 0,
            ingest_ms: 0,
            durable_before: 0,
            kind: 1,
            codec,
            contexts: 0,
            flags: 0,
        }
    }

    /// Invariant 16: the header's word is believed up to the format's limit and not beyond, and never when it is wrong.
    #[test]
    fn a_payload_of_another_length_than_stated_or_allowed_is_refused() {
        let compressed = |len: u32| {
            let raw = vec![0; usize::try_from(len).expect("small")];
            Bytes::from(zstd::bulk::compress(&raw, 1).expect("zstd"))
        };
        let mut inflater = Inflater::default();
        let largest = inflater.payload(&header(1, MAX_RAW), compressed(MAX_RAW));
        assert_eq!(largest.map(|payload| payload.len()), Some(64 << 20));
        assert_eq!(inflater.payload(&header(1, MAX_RAW + 1), compressed(MAX_RAW + 1)), None);
        for stated in [0, 99, 101, MAX_RAW] {
            assert_eq!(inflater.payload(&header(1, stated), compressed(100)), None, "{stated}");
        }
        assert!(inflater.payload(&header(1, 100), compressed(100)).is_some());
        assert_eq!(inflater.payload(&header(1, 100), Bytes::from_static(b"no zstd frame")), None);
        assert_eq!(inflater.payload(&header(2, 100), compressed(100)), None, "a codec that nobody knows");
    }
}

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

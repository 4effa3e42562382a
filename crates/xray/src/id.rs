//! Ids of traces and spans, and ids for what has none.
//!
//! It keeps true: an id that is made up follows from the span's own ids, so the same span has the same ones each time.

use std::fmt;

use crate::sheet::hexadecimal;

/// A span's id: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id([u8; 8]);

impl Id {
    /// `None`: not eight bytes, or all zero, which OTLP calls invalid.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let id: [u8; 8] = bytes.try_into().ok()?;
        (id != [0; 8]).then_some(Self(id))
    }

    /// Whether it is written so.
    pub fn is(&self, text: &str) -> bool {
        self.to_string() == text
    }

    pub(crate) fn bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The `number`th id that is made up for a span.
    pub(crate) fn made(trace_id: &[u8], span_id: &[u8], number: u64) -> Self {
        // FNV-1a, then the finalizer of SplitMix64: not secret, only spread.
        let bytes = trace_id.iter().chain(span_id).copied().chain(number.to_le_bytes());
        let mut hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        Self(hash.max(1).to_be_bytes())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Vec::with_capacity(16);
        hexadecimal(&self.0, &mut digits);
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `None`: not sixteen bytes, or all zero.
pub(crate) fn trace_id(bytes: &[u8]) -> Option<&[u8; 16]> {
    <&[u8; 16]>::try_from(bytes).ok().filter(|id| **id != [0; 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_has_sixteen_bytes_that_are_not_all_zero() {
        assert_eq!(trace_id(&[1; 16]), Some(&[1; 16]));
        for wrong in [&[][..], &[1; 15], &[1; 17], &[0; 16], &[1; 3]] {
            assert_eq!(trace_id(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn made_up_ids_are_stable_and_differ() {
        let made = |number| Id::made(&[1; 16], &[2; 8], number);
        assert_eq!(made(0), made(0));
        assert_ne!(made(0), made(1));
        assert_ne!(made(0), Id::made(&[1; 16], &[3; 8], 0));
        assert_eq!(made(0).to_string().len(), 16);
        assert_eq!(Id::of(&[0; 8]), None);
        assert_eq!(Id::of(&[1; 7]), None);
    }
}

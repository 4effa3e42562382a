//! Ids: X-Ray's form of trace and span ids, and ids for what has none.
//!
//! It keeps true: an id that is made up follows from the span's own ids, so the same span has the same ones each time.

use std::fmt;

use serde::{Serialize, Serializer};

/// A span's id: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id([u8; 8]);

impl Id {
    /// `None`: not eight bytes, or all zero, which OTLP calls invalid.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let id: [u8; 8] = bytes.try_into().ok()?;
        (id != [0; 8]).then_some(Self(id))
    }

    fn digits(self) -> [u8; 16] {
        let mut digits = [0; 16];
        // Twice as many digits as bytes.
        let _ = hex::encode_to_slice(self.0, &mut digits);
        digits
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
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// `1-<8 digits>-<24 digits>`. `None`: not sixteen bytes, or all zero.
pub(crate) fn trace_id(bytes: &[u8]) -> Option<String> {
    if bytes.len() != 16 || bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let mut digits = [0; 32];
    let _ = hex::encode_to_slice(bytes, &mut digits);
    let (first, rest) = std::str::from_utf8(&digits).ok()?.split_at(8);
    Some(["1-", first, "-", rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_cut_after_its_first_four_bytes() {
        let bytes = hex::decode("58406520a006649127e371903a2de979").unwrap();
        assert_eq!(trace_id(&bytes).unwrap(), "1-58406520-a006649127e371903a2de979");
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

//! Varints and a reader that cannot run past its end. Little-endian, LEB128, zigzag for signed numbers.

use crate::ModelError;

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)] // below 0x80
    out.push(number as u8);
}

pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, len as u64);
}

pub(crate) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg()
}

/// Reads `part` from the front of a slice.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    part: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], part: &'static str) -> Self {
        Self { rest: bytes, part }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn truncated(&self) -> ModelError {
        ModelError::Truncated { part: self.part }
    }

    pub(crate) fn corrupt(&self, reason: &'static str) -> ModelError {
        ModelError::Corrupt { part: self.part, reason }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, ModelError> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ModelError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, ModelError> {
        let mut number = 0u64;
        let mut shift = 0u32;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.corrupt("a number does not fit 64 bits"));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                return Err(self.corrupt("a number does not fit 64 bits"));
            }
        }
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, ModelError> {
        self.varint().map(unzigzag)
    }

    /// As [`signed`](Self::signed), without an error to carry: for runs of numbers that are mostly one or two bytes.
    #[inline]
    pub(crate) fn quick_signed(&mut self) -> Option<i64> {
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Some(unzigzag(u64::from(a)))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Some(unzigzag(u64::from(a & 0x7f) | u64::from(b) << 7))
            }
            _ => self.varint().ok().map(unzigzag),
        }
    }

    pub(crate) fn broken_number(&self) -> ModelError {
        self.corrupt("a number of a column is cut off or does not fit 64 bits")
    }

    /// A count or length of at most `limit`.
    pub(crate) fn count(&mut self, limit: usize) -> Result<usize, ModelError> {
        let found = self.varint()?;
        usize::try_from(found).ok().filter(|n| *n <= limit).ok_or(ModelError::TooLarge {
            part: self.part,
            found,
            limit: limit as u64,
        })
    }

    /// A number of things that take at least one of the remaining bytes each.
    pub(crate) fn count_of_rest(&mut self) -> Result<usize, ModelError> {
        let limit = self.rest.len();
        self.count(limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(unsigned: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, unsigned);
            put_varint(&mut out, zigzag(signed));
            let mut cursor = Cursor::new(&out, "test");
            prop_assert_eq!(cursor.varint().expect("varint"), unsigned);
            prop_assert_eq!(cursor.signed().expect("signed"), signed);
            prop_assert!(cursor.is_empty());
            let mut cursor = Cursor::new(&out, "test");
            prop_assert_eq!(cursor.quick_signed(), Some(unzigzag(unsigned)));
            prop_assert_eq!(cursor.quick_signed(), Some(signed));
            prop_assert!(cursor.quick_signed().is_none());
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        for bytes in [&[0xff; 10][..], &[0x80; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]] {
            assert!(Cursor::new(bytes, "test").varint().is_err(), "{bytes:x?}");
        }
    }
}

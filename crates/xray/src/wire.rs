//! A protobuf message's fields one by one, borrowed from its bytes.
//!
//! It knows no message: [`read`](crate::read) does. It keeps true: no field reaches beyond its message; after an error there
//! is nothing more.

/// The bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// What a field holds: the four wire types; groups, which OTLP has not, are refused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of a message, by their numbers, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Broken> {
        match self.0.split_first() {
            Some((first, rest)) if *first < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*first))
            }
            Some(_) => self.long_varint(),
            None => Err(Broken),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Broken> {
        let (mut number, mut shift) = (0, 0);
        for (at, byte) in self.0.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) {
                break;
            }
            number |= bits << shift;
            if *byte < 0x80 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(number);
            }
            shift += 7;
        }
        Err(Broken)
    }

    #[inline(always)]
    fn read(&mut self) -> Result<(u64, Wire<'a>), Broken> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk().ok_or(Broken)?;
                self.0 = rest;
                Wire::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Broken)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(Broken)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            5 => {
                let (_, rest) = self.0.split_first_chunk::<4>().ok_or(Broken)?;
                self.0 = rest;
                Wire::Fixed32
            }
            _ => return Err(Broken),
        };
        if key >> 3 == 0 { Err(Broken) } else { Ok((key >> 3, value)) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), Broken>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<u64>, Broken> {
        Fields::of(bytes).map(|field| field.map(|(number, _)| number)).collect()
    }

    #[test]
    fn fields_come_in_order_and_end_with_the_first_that_is_wrong() {
        assert_eq!(
            numbers(&[0x08, 0x96, 0x01, 0x12, 1, b'a', 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0]),
            Ok(vec![1, 2, 3, 4])
        );
        let most = [&[0x08][..], &[0xff; 9], &[1]].concat();
        assert!(matches!(Fields::of(&most).next(), Some(Ok((1, Wire::Varint(u64::MAX))))));
        for wrong in [
            &[0x08][..],
            &[0x12, 2, b'a'],
            &[0x13, 0x14],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 0],
            &[0x00, 1],
            &[0x0d, 1, 2, 3],
            &[0x09, 1, 2, 3, 4, 5, 6, 7],
        ] {
            assert_eq!(numbers(wrong), Err(Broken), "{wrong:?}");
            assert_eq!(Fields::of(wrong).count(), 1, "{wrong:?}");
        }
    }
}

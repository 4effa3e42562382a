//! The little of DER (X.690) that certificates need beyond path validation: elements, key usage, names, serial numbers.
//!
//! Keeps true: any bytes are read in bounded time; what is not there is `None`.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// `id-ce-keyUsage`, 2.5.29.15.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// The context tag of a certificate's extensions.
const EXTENSIONS: u8 = 0xa3;

/// One element: tag, content, what follows.
pub(crate) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0usize, |n, digit| (n << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// An element of a certain tag: its content and what follows.
pub(crate) fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

/// All elements in a row.
fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = element(bytes)?;
        bytes = rest;
        Some((tag, content))
    })
}

/// Whether a certificate may sign (the first bit of its key usage). `None`: it has no key usage.
pub(crate) fn may_sign(certificate: &[u8]) -> Option<bool> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (to_be_signed, _) = expect(certificate, SEQUENCE)?;
    let (_, wrapped) = elements(to_be_signed).find(|(tag, _)| *tag == EXTENSIONS)?;
    let (extensions, _) = expect(wrapped, SEQUENCE)?;
    elements(extensions).find_map(|(_, extension)| {
        let (id, rest) = expect(extension, OBJECT_ID)?;
        let rest = expect(rest, BOOLEAN).map_or(rest, |(_, rest)| rest);
        let (value, _) = expect(rest, OCTET_STRING)?;
        let (bits, _) = expect(value, BIT_STRING)?;
        (id == KEY_USAGE).then(|| bits.get(1).is_some_and(|byte| byte & 0x80 != 0))
    })
}

/// The common name in the content of a `Name`.
pub(crate) fn common_name(name: &[u8]) -> Option<String> {
    elements(name).filter(|(tag, _)| *tag == SET).flat_map(|(_, set)| elements(set)).find_map(|(_, attribute)| {
        let (id, rest) = expect(attribute, OBJECT_ID)?;
        let (_, text, _) = element(rest)?;
        (id == COMMON_NAME).then(|| String::from_utf8_lossy(text).into_owned())
    })
}

/// A big-endian number in decimal; at most 64 octets.
pub(crate) fn decimal(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() || bytes.len() > 64 {
        return None;
    }
    // Decimal digits, the lowest first; each octet is multiplied in by hand.
    let mut digits: Vec<u8> = vec![0];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let sum = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(sum % 10).unwrap_or(0);
            carry = sum / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or(0));
            carry /= 10;
        }
    }
    Some(digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for (bytes, want) in [
            (&[0u8][..], "0"),
            (&[0, 255], "255"),
            (&[1, 0], "256"),
            (&[0xff; 8], "18446744073709551615"),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], "18446744073709551616"),
        ] {
            assert_eq!(decimal(bytes).as_deref(), Some(want));
        }
        assert_eq!(decimal(&[]), None);
        assert_eq!(decimal(&[1; 65]), None);
    }

    #[test]
    fn lengths_that_lie_are_nothing() {
        for bytes in [&[0x30u8, 0x82, 0xff][..], &[0x30, 5, 1], &[0x30, 0x80, 0, 0], &[0x30], &[]] {
            assert_eq!(element(bytes), None, "{bytes:x?}");
            assert_eq!(may_sign(bytes), None);
        }
    }
}

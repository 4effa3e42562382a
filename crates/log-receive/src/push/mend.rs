//! A push request whose lines or metadata are not UTF-8, with U+FFFD in the place of what is none.
//!
//! Loki's own receiver takes any bytes, and who pushes drops all of a request that is answered with 400: one line of
//! Latin-1 must not cost the others. Made only when a request could not be read. Keeps true: only text is changed; memory is
//! at most a few times the body.

use std::borrow::Cow;

use super::{
    body::Format,
    message::{Field, Fields, put},
};

/// `None`: it is text all through, or not such a request.
pub(super) fn mend(body: &[u8], format: Format) -> Option<Vec<u8>> {
    match format {
        Format::Json => match String::from_utf8_lossy(body) {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text.into_bytes()),
        },
        // Requests, streams, entries, metadata: the path of fields to what may be mended.
        Format::Message => message(body, &[1, 2]).filter(|mended| mended != body),
    }
}

/// A message with its text mended below the fields of `path`; below the last of them is an entry.
fn message(bytes: &[u8], path: &[u64]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    for field in Fields(bytes) {
        let field = field.ok()?;
        match (path.split_first(), field.bytes) {
            (Some((number, below)), Some(inner)) if *number == field.number => {
                put(&mut out, field.number, &message(inner, below)?);
            }
            (None, Some(inner)) => entry(&mut out, &field, inner)?,
            _ => out.extend_from_slice(field.whole),
        }
    }
    Some(out)
}

/// A field of an entry: time 1, line 2, metadata 3 {name 1, value 2}.
fn entry(out: &mut Vec<u8>, field: &Field<'_>, inner: &[u8]) -> Option<()> {
    match field.number {
        2 => put(out, 2, String::from_utf8_lossy(inner).as_bytes()),
        3 => {
            let mut pair = Vec::with_capacity(inner.len());
            for part in Fields(inner) {
                let part = part.ok()?;
                match part.bytes {
                    Some(text) => put(&mut pair, part.number, String::from_utf8_lossy(text).as_bytes()),
                    None => pair.extend_from_slice(part.whole),
                }
            }
            put(out, 3, &pair);
        }
        _ => out.extend_from_slice(field.whole),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::push::message::{parse, tests::request};

    #[test]
    fn lines_around_one_that_is_no_text_stay_as_they_are() {
        let mut body = request("{a=\"b\"}", &[(1, "first"), (2, "caf# au lait"), (3, "é")]);
        let at = body.windows(4).position(|part| part == b"caf#").unwrap() + 3;
        assert_eq!(mend(&body, Format::Message), None);
        body[at] = 0xe9;
        assert!(parse(&body).is_err());
        let mended = mend(&body, Format::Message).unwrap();
        let streams = parse(&mended).unwrap();
        let read: Vec<_> = streams[0].entries.iter().map(|e| (e.timestamp_ns / 1_000_000_000, e.line)).collect();
        assert_eq!(read, [(1, "first"), (2, "caf\u{fffd} au lait"), (3, "é")]);
        assert_eq!(streams[0].entries.iter().next().unwrap().metadata, [("trace", "7")]);

        let json = b"{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"1\",\"caf\xe9\"],[\"2\",\"good\"]]}]}";
        let mended = mend(json, Format::Json).unwrap();
        assert_eq!(crate::push::json::parse(&mended).unwrap()[0].entries.iter().count(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_mended_or_left(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for format in [Format::Message, Format::Json] {
                if let Some(mended) = mend(&bytes, format) {
                    prop_assert!(mended.len() <= bytes.len() * 3 + 64);
                    prop_assert_eq!(mend(&mended, format), None);
                }
            }
        }
    }
}

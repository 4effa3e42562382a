//! Takes a `WriteRequest` apart into its series without decoding them, and puts ranges of them together again.
//!
//! Untrusted bytes: never panics, never allocates beyond the stated limits. A range of a protobuf message's repeated
//! top-level fields is itself such a message.

/// The most an object may hold after decompression.
const MAX_RAW: usize = 1 << 30;

/// The `timeseries` fields of a request, in order; other fields (metadata) are left out.
#[derive(Debug)]
pub(super) struct Entries {
    raw: Vec<u8>,
    /// Where each entry, tag included, begins in `raw`; one more for the end.
    starts: Vec<usize>,
}

impl Entries {
    /// Decompresses and cuts. The error says what is wrong with the object.
    pub(super) fn read(object: &[u8]) -> Result<Self, String> {
        let length = snap::raw::decompress_len(object).map_err(|e| e.to_string())?;
        // Snappy copies at most 64 bytes for each 3 of its own.
        if length > MAX_RAW || length > object.len().saturating_mul(22).saturating_add(64) {
            return Err(format!("it claims {length} bytes after decompression"));
        }
        let raw = snap::raw::Decoder::new().decompress_vec(object).map_err(|e| e.to_string())?;
        Self::cut(raw)
    }

    fn cut(mut raw: Vec<u8>) -> Result<Self, String> {
        let mut starts = vec![0];
        let (mut from, mut kept) = (0, 0);
        while from < raw.len() {
            let (tag, after_tag) = varint(&raw, from).ok_or("it ends inside a field's tag")?;
            if tag & 7 != 2 {
                return Err(format!("field tag {tag} is not part of a write request"));
            }
            let (length, body) = varint(&raw, after_tag).ok_or("it ends inside a field's length")?;
            let end = usize::try_from(length).ok().and_then(|length| body.checked_add(length));
            let end = end.filter(|end| *end <= raw.len()).ok_or("it ends inside a field")?;
            if tag == 0x0a {
                raw.copy_within(from..end, kept);
                kept += end - from;
                starts.push(kept);
            }
            from = end;
        }
        raw.truncate(kept);
        Ok(Self { raw, starts })
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Entries `begin..end` as a message.
    pub(super) fn bytes(&self, begin: usize, end: usize) -> &[u8] {
        &self.raw[self.starts[begin]..self.starts[end]]
    }

    /// The end of a range from `begin` on within the limits, of at least one entry.
    pub(super) fn fit(&self, begin: usize, entries: usize, bytes: usize) -> usize {
        let most = begin.saturating_add(entries).min(self.len());
        let limit = self.starts[begin].saturating_add(bytes);
        let fitting = self.starts[begin + 1..=most].partition_point(|end| *end <= limit);
        begin + fitting.max(1)
    }
}

fn varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut raw = Vec::new();
        for entry in entries {
            raw.push(0x0a);
            crate::wire::table::put_varint(entry.len() as u64, &mut raw);
            raw.extend_from_slice(entry);
        }
        raw.extend_from_slice(&[0x1a, 2, 8, 1]);
        snap::raw::Encoder::new().compress_vec(&raw).unwrap()
    }

    proptest! {
        #[test]
        fn ranges_cover_every_entry_once_within_the_limits(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..50),
            count in 1usize..20,
            bytes in 1usize..2000,
        ) {
            let read = Entries::read(&object(&entries)).unwrap();
            prop_assert_eq!(read.len(), entries.len());
            let (mut begin, mut whole) = (0, Vec::new());
            while begin < read.len() {
                let end = read.fit(begin, count, bytes);
                prop_assert!(end > begin && end - begin <= count);
                prop_assert!(end - begin == 1 || read.bytes(begin, end).len() <= bytes);
                whole.extend_from_slice(read.bytes(begin, end));
                begin = end;
            }
            prop_assert_eq!(whole, read.bytes(0, read.len()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entries::read(&bytes);
            let _ = Entries::cut(bytes);
        }
    }

    #[test]
    fn an_object_that_claims_to_be_huge_is_refused_before_anything_is_allocated() {
        let mut claim = Vec::new();
        crate::wire::table::put_varint(u64::from(u32::MAX), &mut claim);
        assert!(Entries::read(&claim).is_err());
    }
}

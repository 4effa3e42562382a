//! Takes a `WriteRequest` apart into its series without decoding them, and puts ranges of them together again.
//!
//! Untrusted bytes: never panics, never allocates beyond the stated limits. A range of a protobuf message's repeated
//! top-level fields is itself such a message.

/// The most an object may hold after decompression.
const MAX_RAW: usize = 1 << 30;

/// The `timeseries` fields of a request, in order; other fields (metadata) are left out.
#[derive(Debug)]
pub(crate) struct Entries {
    raw: Vec<u8>,
    /// Where each entry, tag included, begins in `raw`; one more for the end.
    starts: Vec<usize>,
    /// Samples before each entry; one more for all of them. An entry without samples counts as one.
    counts: Vec<u64>,
}

impl Entries {
    /// Decompresses and cuts. The error says what is wrong with the object.
    pub(crate) fn read(object: &[u8]) -> Result<Self, String> {
        let length = snap::raw::decompress_len(object).map_err(|e| e.to_string())?;
        // Snappy copies at most 64 bytes for each 3 of its own.
        if length > MAX_RAW || length > object.len().saturating_mul(22).saturating_add(64) {
            return Err(format!("it claims {length} bytes after decompression"));
        }
        let raw = snap::raw::Decoder::new().decompress_vec(object).map_err(|e| e.to_string())?;
        Self::cut(raw)
    }

    fn cut(mut raw: Vec<u8>) -> Result<Self, String> {
        let (mut starts, mut counts) = (vec![0], vec![0]);
        let (mut from, mut kept, mut samples) = (0, 0, 0u64);
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
                samples += samples_of(&raw, kept - (end - body), kept);
                counts.push(samples);
            }
            from = end;
        }
        raw.truncate(kept);
        Ok(Self { raw, starts, counts })
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Entries `begin..end` as a message.
    pub(crate) fn bytes(&self, begin: usize, end: usize) -> &[u8] {
        &self.raw[self.starts[begin]..self.starts[end]]
    }

    /// Samples in entries `begin..end`; at least one for each entry.
    pub(crate) fn samples(&self, begin: usize, end: usize) -> u64 {
        self.counts[end] - self.counts[begin]
    }

    /// The end of a range from `begin` on within the limits, of at least one entry.
    pub(crate) fn fit(&self, begin: usize, samples: usize, bytes: usize) -> usize {
        let most = self.counts[begin].saturating_add(samples as u64);
        let limit = self.starts[begin].saturating_add(bytes);
        let by_samples = self.counts[begin + 1..].partition_point(|count| *count <= most);
        let by_bytes = self.starts[begin + 1..].partition_point(|end| *end <= limit);
        begin + by_samples.min(by_bytes).max(1)
    }
}

/// How many samples and histograms (fields 2 and 4) the series at `from..end` has; at least one. What is no message counts
/// as far as it can be read.
fn samples_of(raw: &[u8], mut from: usize, end: usize) -> u64 {
    let series = raw.get(..end).unwrap_or_default();
    let mut count = 0;
    while let Some((tag, after)) = varint(series, from) {
        let next = match tag & 7 {
            0 => varint(series, after).map(|(_, next)| next),
            1 => after.checked_add(8),
            2 => varint(series, after)
                .and_then(|(length, body)| usize::try_from(length).ok().and_then(|length| body.checked_add(length))),
            5 => after.checked_add(4),
            _ => None,
        };
        let Some(next) = next.filter(|next| *next <= end) else { break };
        count += u64::from(matches!(tag, 0x12 | 0x22));
        from = next;
    }
    count.max(1)
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

    #[test]
    fn the_samples_of_a_series_are_counted_whatever_else_is_in_it() {
        // A label, two samples, an unknown number, a histogram.
        let series = vec![0x0a, 2, 0x0a, 0, 0x12, 1, 0, 0x12, 0, 0x48, 0x96, 0x01, 0x22, 0];
        let read = Entries::read(&object(&[series.clone(), Vec::new(), series])).unwrap();
        assert_eq!((read.samples(0, 1), read.samples(1, 2), read.samples(0, 3)), (3, 1, 7));
        // Limits are in samples: one series alone may exceed them, two together may not.
        assert_eq!(
            (read.fit(0, 2, 1000), read.fit(0, 4, 1000), read.fit(0, 6, 1000), read.fit(0, 7, 1000)),
            (1, 2, 2, 3)
        );
    }
}

//! Writes a body and compresses it on the way, a fragment at a time: what is not compressed never takes more than one
//! fragment, however large the body.
//!
//! It knows nothing of requests and limits. It keeps true: what leaves is one snappy block of the whole message, as
//! [`super::body::Snappy`] would make it. (A snappy block is its length and then fragments that do not refer to each other:
//! google/snappy `format_description.txt`; encoders end them at 64 KiB.)

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    body::{Body, Stamp},
    table::{WireTable, put_varint, varint_len},
};

const FRAGMENT: usize = 64 << 10;
/// The longest length of a snappy block.
const HEAD: usize = 5;

/// See the file's head.
pub struct Press {
    fragment: Body,
    encoder: snap::raw::Encoder,
    /// Room for the head, then compressed fragments. Always fully initialised; only `..len` counts.
    out: Vec<u8>,
    len: usize,
    /// Bytes of the message that are in `out`.
    pressed: usize,
    failed: Option<snap::Error>,
}

impl Default for Press {
    fn default() -> Self {
        Self {
            fragment: Body::default(),
            encoder: snap::raw::Encoder::new(),
            out: vec![0; HEAD],
            len: HEAD,
            pressed: 0,
            failed: None,
        }
    }
}

impl Press {
    /// Appends a sample of a kept series; `length` is its [`Body::sample_len`].
    #[inline]
    pub fn put_sample(&mut self, table: &WireTable, series: u32, value: f64, stamp: &Stamp, length: usize) {
        if self.fragment.len() + length > FRAGMENT {
            self.squeeze();
        }
        self.fragment.put_sample(table, series, value, stamp);
    }

    /// The same for a native histogram; `length` is its [`Body::histogram_len`].
    pub fn put_histogram(&mut self, table: &WireTable, series: u32, histogram: &[u8], stamp: &Stamp, length: usize) {
        if self.fragment.len() + length > FRAGMENT {
            self.squeeze();
        }
        self.fragment.put_histogram(table, series, histogram, stamp);
    }

    /// The snappy block of all that was put, in bytes of exactly the right size. The press is empty afterwards.
    pub fn finish(&mut self) -> Result<Bytes, snap::Error> {
        self.squeeze();
        let mut head = Vec::with_capacity(HEAD);
        put_varint(self.pressed as u64, &mut head);
        let block = match (self.failed.take(), HEAD.checked_sub(head.len())) {
            (Some(error), _) => Err(error),
            (None, None) => Err(snap::Error::TooBig { given: self.pressed as u64, max: u64::from(u32::MAX) }),
            (None, Some(at)) => {
                self.out[at..HEAD].copy_from_slice(&head);
                Ok(Bytes::copy_from_slice(&self.out[at..self.len]))
            }
        };
        self.clear();
        block
    }

    /// Forgets what was put, keeps the memory.
    pub fn clear(&mut self) {
        self.fragment.clear();
        self.len = HEAD;
        self.pressed = 0;
        self.failed = None;
    }

    fn squeeze(&mut self) {
        let raw = self.fragment.bytes();
        if raw.is_empty() {
            return;
        }
        let begin = self.len;
        let most = begin + snap::raw::max_compress_len(raw.len());
        if self.out.len() < most {
            // By half more at once: what is new has to be filled with zeros.
            self.out.resize(most + begin / 2, 0);
        }
        match self.encoder.compress(raw, &mut self.out[begin..most]) {
            Ok(written) => {
                // The encoder puts the fragment's own length first.
                let skip = varint_len(raw.len() as u64);
                self.out.copy_within(begin + skip..begin + written, begin);
                self.len = begin + written - skip;
            }
            Err(error) => self.failed = Some(error),
        }
        self.pressed += raw.len();
        self.fragment.clear();
    }

    fn memory(&self) -> usize {
        self.fragment.memory() + self.out.capacity()
    }
}

impl std::fmt::Debug for Press {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Press({} bytes)", self.pressed + self.fragment.len())
    }
}

/// The presses of one destination. A body is made in one go, so there are as many in use as threads that make one, not as
/// many as there are lines.
#[derive(Debug, Default)]
pub(crate) struct Presses(Mutex<Vec<Press>>);

/// A press that has grown larger than this is not kept.
const KEEP_BYTES: usize = 2 << 20;
const KEEP: usize = 2;

impl Presses {
    /// Lends an empty press.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Press) -> T) -> T {
        let mut press = self.0.lock().pop().unwrap_or_default();
        let result = work(&mut press);
        press.clear();
        let mut kept = self.0.lock();
        if kept.len() < KEEP && press.memory() <= KEEP_BYTES {
            kept.push(press);
        }
        result
    }

    /// Gives the memory back.
    pub(crate) fn shrink(&self) {
        *self.0.lock() = Vec::new();
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.0.lock().iter().map(Press::memory).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::table::WireTableBuilder;

    fn table(series: u32, padding: usize) -> WireTable {
        let mut builder = WireTableBuilder::new();
        for index in 0..series {
            let pairs = [
                builder.intern("__name__", &format!("m{index}")),
                builder.intern("pad", &"abcdefg ".repeat(padding)),
                builder.intern("zone", &(index % 7).to_string()),
            ];
            builder.add_series(Some(pairs));
        }
        builder.build()
    }

    fn put(press: &mut Press, body: &mut Body, table: &WireTable, series: u32, value: f64) {
        let stamp = Stamp::new(1_700_000_000_000);
        let before = body.len();
        body.put_sample(table, series, value, &stamp);
        press.put_sample(table, series, value, &stamp, body.len() - before);
    }

    #[test]
    fn what_leaves_is_one_snappy_block_of_the_body() {
        let mut press = Press::default();
        // Nothing, less than a fragment, many fragments, samples larger than a fragment.
        for (series, padding) in [(0, 1), (1, 1), (50, 1), (20_000, 5), (3, 20_000)] {
            let table = table(series, padding);
            let mut body = Body::default();
            for index in 0..series {
                put(&mut press, &mut body, &table, index, f64::from(index));
            }
            let block = press.finish().unwrap();
            assert_eq!(snap::raw::decompress_len(&block).unwrap(), body.len());
            assert_eq!(snap::raw::Decoder::new().decompress_vec(&block).unwrap(), body.bytes());
        }
    }

    #[test]
    fn a_press_that_was_cleared_is_as_new() {
        let (table, mut press) = (table(1000, 20), Press::default());
        let make = |press: &mut Press, from: u32| {
            let mut body = Body::default();
            (from..1000).for_each(|index| put(press, &mut body, &table, index, 1.0));
        };
        make(&mut press, 0);
        press.clear();
        make(&mut press, 500);
        let (again, mut new) = (press.finish().unwrap(), Press::default());
        make(&mut new, 500);
        assert_eq!(again, new.finish().unwrap());
    }

    #[test]
    fn presses_are_few_and_small_and_go_when_they_rest() {
        let (table, presses) = (table(40_000, 5), Presses::default());
        let body = |press: &mut Press| {
            let mut body = Body::default();
            (0..40_000).for_each(|index| put(press, &mut body, &table, index, f64::from(index)));
            assert!(body.len() > 2 << 20);
            press.finish().unwrap()
        };
        presses.with(|one| presses.with(|two| presses.with(|three| [body(one), body(two), body(three)])));
        assert!(presses.memory() > 0 && presses.memory() <= KEEP * KEEP_BYTES);
        presses.shrink();
        assert_eq!(presses.memory(), 0);
    }
}

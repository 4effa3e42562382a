//! A series table as one destination sends it: its external labels merged in, its relabel rules decided, its label
//! pairs already protobuf.
//!
//! It holds no value and no timestamp, and knows no file and no socket. It keeps true: a series' label bytes are the
//! concatenation of its runs, in label-name order; a dropped series has no bytes and no runs.
//!
//! Label pairs that always follow each other in a table (`instance` after `env`, all external labels) are glued into one
//! *run*, so that a typical series is copied as three or four runs instead of ten pairs, and costs 8 bytes of ids.

use hashbrown::HashMap;

/// Bytes past the last run, so that runs can be copied in blocks of this size without a length-dependent copy.
pub(crate) const BLOCK: usize = 32;

/// What a series became after this destination's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is sent; its labels take this many bytes.
    Kept(u32),
    /// The destination's `write_relabel_configs` drop it.
    Dropped,
    /// The table has no such series.
    Missing,
}

/// See the file's head. Built by [`WireTableBuilder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireTable {
    /// All runs, each a sequence of encoded `labels` fields, then `BLOCK` zero bytes.
    blobs: Vec<u8>,
    /// Where each run starts; one more for the end of the last.
    starts: Vec<u32>,
    runs: Runs,
    /// Where each series' runs start in `runs`; one more for the end of the last.
    series: Vec<u32>,
    /// Length of each series' labels in bytes; `u32::MAX` marks a dropped series.
    lengths: Vec<u32>,
}

/// Run ids of all series. Two bytes each in every table of a sane size.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Runs {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

const DROPPED: u32 = u32::MAX;

impl WireTable {
    /// Number of series, dropped ones included.
    pub fn series(&self) -> usize {
        self.lengths.len()
    }

    /// What happens to series `index`.
    #[inline]
    pub fn fate(&self, index: u32) -> Fate {
        match self.lengths.get(index as usize) {
            None => Fate::Missing,
            Some(&DROPPED) => Fate::Dropped,
            Some(&length) => Fate::Kept(length),
        }
    }

    /// Bytes of memory this table takes.
    pub fn memory(&self) -> usize {
        let runs = match &self.runs {
            Runs::Narrow(ids) => ids.len() * 2,
            Runs::Wide(ids) => ids.len() * 4,
        };
        std::mem::size_of::<Self>()
            + self.blobs.len()
            + runs
            + 4 * (self.starts.len() + self.series.len() + self.lengths.len())
    }

    /// Copies the labels of series `index` to `out[at..]` and returns where they end. `out` has room for them and
    /// `BLOCK` bytes more (the caller has asked `fate` for the length).
    #[inline]
    pub(crate) fn copy_labels(&self, index: u32, out: &mut [u8], at: usize) -> usize {
        let index = index as usize;
        let range = self.series[index] as usize..self.series[index + 1] as usize;
        match &self.runs {
            Runs::Narrow(ids) => self.copy_runs(ids[range].iter().map(|&id| usize::from(id)), out, at),
            Runs::Wide(ids) => self.copy_runs(ids[range].iter().map(|&id| id as usize), out, at),
        }
    }

    #[inline]
    fn copy_runs(&self, ids: impl Iterator<Item = usize>, out: &mut [u8], mut at: usize) -> usize {
        for id in ids {
            let (from, to) = (self.starts[id] as usize, self.starts[id + 1] as usize);
            // Whole blocks: a constant length compiles to two moves; what is copied too much is written over by the
            // next run or by the sample. A call to memcpy for each short run cost more than the rest of the encoder.
            let (mut source, mut target) = (&self.blobs[from..], &mut out[at..]);
            for _ in 0..(to - from).div_ceil(BLOCK) {
                let (Some((block, source_rest)), Some((place, target_rest))) =
                    (source.split_first_chunk::<BLOCK>(), target.split_first_chunk_mut::<BLOCK>())
                else {
                    break; // Not met: blobs end with a block of zeros, and the caller has made room.
                };
                *place = *block;
                (source, target) = (source_rest, target_rest);
            }
            at += to - from;
        }
        at
    }
}

/// Collects series, then glues and encodes.
#[derive(Debug, Default)]
pub struct WireTableBuilder {
    /// Encoded pairs, back to back.
    encoded: Vec<u8>,
    /// Where each encoded pair starts; one more for the end of the last.
    starts: Vec<u32>,
    by_text: HashMap<(Box<str>, Box<str>), u32>,
    ids: Vec<u32>,
    series: Vec<u32>,
    kept: Vec<bool>,
}

impl WireTableBuilder {
    /// An empty table.
    pub fn new() -> Self {
        Self { starts: vec![0], series: vec![0], ..Self::default() }
    }

    /// Adds a pair known to be new and returns its id.
    pub fn add_pair(&mut self, name: &str, value: &str) -> u32 {
        let id = self.starts.len() as u32 - 1;
        encode_pair(name, value, &mut self.encoded);
        self.starts.push(self.encoded.len() as u32);
        id
    }

    /// Finds or adds a pair.
    pub fn intern(&mut self, name: &str, value: &str) -> u32 {
        if let Some(&id) = self.by_text.get(&(name, value) as &dyn TextPair) {
            return id;
        }
        let id = self.add_pair(name, value);
        self.by_text.insert((name.into(), value.into()), id);
        id
    }

    /// Adds a series: its pair ids in label-name order, or `None` when it is dropped.
    pub fn add_series(&mut self, pairs: Option<impl IntoIterator<Item = u32>>) {
        self.kept.push(pairs.is_some());
        if let Some(pairs) = pairs {
            self.ids.extend(pairs);
        }
        self.series.push(self.ids.len() as u32);
    }

    /// Glues pairs into runs and gives the table.
    pub fn build(self) -> WireTable {
        let pairs = self.starts.len() - 1;
        let follows = self.glue(pairs);
        // A run starts at every used pair that is not glued to the one before it.
        let mut glued = vec![false; pairs];
        for &next in &follows {
            if let Some(slot) = glued.get_mut(next as usize) {
                *slot = true;
            }
        }
        let mut used = vec![false; pairs];
        for &id in &self.ids {
            used[id as usize] = true;
        }
        let mut run_of = vec![NONE; pairs];
        let mut blobs = Vec::with_capacity(self.encoded.len() + BLOCK);
        let mut starts = vec![0u32];
        for head in 0..pairs {
            if !used[head] || glued[head] {
                continue;
            }
            run_of[head] = starts.len() as u32 - 1;
            let mut pair = head;
            loop {
                blobs.extend_from_slice(&self.encoded[self.starts[pair] as usize..self.starts[pair + 1] as usize]);
                match follows[pair] {
                    NONE => break,
                    next => pair = next as usize,
                }
            }
            starts.push(blobs.len() as u32);
        }
        let mut runs = Vec::with_capacity(self.ids.len() / 2);
        let mut series = Vec::with_capacity(self.series.len());
        series.push(0u32);
        let mut lengths = Vec::with_capacity(self.kept.len());
        for (index, &kept) in self.kept.iter().enumerate() {
            let mut length = 0;
            for &id in &self.ids[self.series[index] as usize..self.series[index + 1] as usize] {
                let run = run_of[id as usize];
                if run != NONE {
                    runs.push(run);
                    length += starts[run as usize + 1] - starts[run as usize];
                }
            }
            series.push(runs.len() as u32);
            lengths.push(if kept { length } else { DROPPED });
        }
        blobs.resize(blobs.len() + BLOCK, 0);
        blobs.shrink_to_fit();
        let runs = if starts.len() <= usize::from(u16::MAX) {
            Runs::Narrow(runs.into_iter().map(|run| run as u16).collect())
        } else {
            runs.shrink_to_fit();
            Runs::Wide(runs)
        };
        starts.shrink_to_fit();
        WireTable { blobs, starts, runs, series, lengths }
    }

    /// For each pair, the pair that it is glued to: the one that follows it wherever either of the two occurs.
    fn glue(&self, pairs: usize) -> Vec<u32> {
        let (mut next, mut previous) = (vec![NONE; pairs], vec![NONE; pairs]);
        let note = |slot: &mut u32, seen: u32| {
            *slot = match *slot {
                NONE => seen,
                same if same == seen => seen,
                _ => SEVERAL,
            }
        };
        for bounds in self.series.windows(2) {
            let ids = &self.ids[bounds[0] as usize..bounds[1] as usize];
            for (place, &id) in ids.iter().enumerate() {
                note(&mut next[id as usize], ids.get(place + 1).copied().unwrap_or(SEVERAL));
                note(&mut previous[id as usize], if place == 0 { SEVERAL } else { ids[place - 1] });
            }
        }
        let follows = |id: usize| {
            let after = next[id];
            let mutual = after < SEVERAL && previous[after as usize] == id as u32;
            if mutual { after } else { NONE }
        };
        (0..pairs).map(follows).collect()
    }
}

const NONE: u32 = u32::MAX;
const SEVERAL: u32 = u32::MAX - 1;

/// Lets the map be asked with borrowed texts.
trait TextPair {
    fn pair(&self) -> (&str, &str);
}
impl TextPair for (&str, &str) {
    fn pair(&self) -> (&str, &str) {
        *self
    }
}
impl std::hash::Hash for dyn TextPair + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.pair().hash(state);
    }
}
impl hashbrown::Equivalent<(Box<str>, Box<str>)> for dyn TextPair + '_ {
    fn equivalent(&self, key: &(Box<str>, Box<str>)) -> bool {
        self.pair() == (&*key.0, &*key.1)
    }
}

/// `TimeSeries.labels`: field 1, a `Label { name = 1, value = 2 }` message.
fn encode_pair(name: &str, value: &str, out: &mut Vec<u8>) {
    let field = |text: &str| {
        if text.is_empty() { 0 } else { 1 + varint_len(text.len() as u64) + text.len() }
    };
    out.push(0x0a);
    put_varint((field(name) + field(value)) as u64, out);
    for (tag, text) in [(0x0a, name), (0x12, value)] {
        if !text.is_empty() {
            out.push(tag);
            put_varint(text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Bytes of a base-128 varint.
#[inline]
pub(crate) fn varint_len(value: u64) -> usize {
    ((63 - (value | 1).leading_zeros()) as usize * 9 + 73) / 64
}

/// Appends a base-128 varint.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_lengths_agree_with_the_bytes_written() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, (1u64 << shift) + 1] {
                let mut out = Vec::new();
                put_varint(value, &mut out);
                assert_eq!(out.len(), varint_len(value), "{value}");
            }
        }
    }

    #[test]
    fn pairs_that_always_follow_each_other_become_one_run() {
        let mut builder = WireTableBuilder::new();
        let names: Vec<u32> = (0..10).map(|i| builder.intern("__name__", &format!("m{i}"))).collect();
        let shared = [builder.intern("env", "prod"), builder.intern("instance", "a:1"), builder.intern("job", "x")];
        for &name in &names {
            builder.add_series(Some([name].into_iter().chain(shared)));
        }
        let table = builder.build();
        assert_eq!(table.starts.len() - 1, 11, "ten names and one run for the three shared pairs");
        assert_eq!(table.runs, Runs::Narrow((0..10).flat_map(|i| [i, 10]).collect()));
    }

    #[test]
    fn a_dropped_series_has_no_bytes_and_a_series_past_the_end_is_missing() {
        let mut builder = WireTableBuilder::new();
        let pair = builder.intern("a", "b");
        builder.add_series(Some([pair]));
        builder.add_series(None::<[u32; 0]>);
        let table = builder.build();
        assert_eq!(table.fate(0), Fate::Kept(8));
        assert_eq!(table.fate(1), Fate::Dropped);
        assert_eq!(table.fate(2), Fate::Missing);
    }
}

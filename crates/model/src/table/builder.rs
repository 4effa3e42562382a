//! Making a table: the slow path of a source, once per set of series.

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher;

use super::SERIES_PER_TABLE;
use crate::{
    ContextKey, Labels, MetricType, ModelError, envelope,
    wire::{put_len, put_varint},
};

/// Pair numbers are u16 in memory.
const MAX_PAIRS: usize = 1 << 16;
/// Text and pair references of one table; keeps the body below what a reader unpacks.
const MAX_TEXT: usize = 2 << 20;
const MAX_REFERENCES: usize = 1 << 20;
/// Text of one family: one with more is not told.
const MAX_FAMILY: usize = 64 << 10;

/// Collects series; distinct names, values, pairs and families are kept once.
#[derive(Debug, Default)]
pub struct SeriesTableBuilder {
    text: Vec<u8>,
    /// End of each symbol in `text`.
    ends: Vec<u32>,
    symbols: HashTable<u32>,
    pairs: Vec<(u32, u32)>,
    pair_numbers: HashMap<(u32, u32), u32, FixedState>,
    families: Vec<[u32; 4]>,
    series: Vec<u8>,
    /// Pair numbers of the series before: most of them come again, at the same place.
    previous: Vec<u32>,
    len: u32,
    references: usize,
}

impl SeriesTableBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a family, added if it is not known. Help and unit may be empty; so may the name, which means that
    /// the series' family is unknown; and so is one with more text than a table has place for.
    pub fn family(&mut self, name: &str, kind: MetricType, help: &str, unit: &str) -> u32 {
        let bytes = name.len().saturating_add(help.len()).saturating_add(unit.len());
        if bytes > MAX_FAMILY {
            return self.family("", MetricType::Unknown, "", "");
        }
        let family = [self.symbol(name), u32::from(kind.number()), self.symbol(help), self.symbol(unit)];
        // From the back: series of one family come together.
        let at = self.families.iter().rposition(|known| *known == family).unwrap_or_else(|| {
            self.families.push(family);
            self.families.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Adds a series and returns its index.
    ///
    /// Errors: [`ModelError::TableFull`] when another builder must be started (nothing was added),
    /// [`ModelError::SeriesTooLarge`] when no table can hold it, [`ModelError::UnknownFamily`].
    pub fn push(&mut self, family: u32, labels: &Labels) -> Result<u32, ModelError> {
        self.push_pairs(family, labels.iter())
    }

    /// As [`push`](Self::push), for pairs that are already sorted by name, without repeats and empty values.
    pub fn push_pairs<'a>(
        &mut self,
        family: u32,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<u32, ModelError> {
        if family as usize >= self.families.len() {
            return Err(ModelError::UnknownFamily(family));
        }
        let (mut count, mut bytes) = (0usize, 0usize);
        for (name, value) in labels.clone() {
            count += 1;
            bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        }
        if count > MAX_PAIRS || bytes > MAX_TEXT {
            return Err(ModelError::SeriesTooLarge { labels: count, bytes });
        }
        if self.len as usize >= SERIES_PER_TABLE
            || self.pairs.len() + count > MAX_PAIRS
            || self.references + count > MAX_REFERENCES && self.len > 0
            || self.text.len() + bytes > MAX_TEXT && self.len > 0
        {
            return Err(ModelError::TableFull);
        }
        put_varint(&mut self.series, u64::from(family));
        put_len(&mut self.series, count);
        for (at, (name, value)) in labels.enumerate() {
            let number = self.pair(at, name, value);
            put_varint(&mut self.series, u64::from(number));
            match self.previous.get_mut(at) {
                Some(place) => *place = number,
                None => self.previous.push(number),
            }
        }
        self.references += count;
        let index = self.len;
        self.len += 1;
        Ok(index)
    }

    /// Series so far.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn build(self) -> EncodedTable {
        let mut body = Vec::with_capacity(self.text.len() + self.series.len() + self.pairs.len() * 3 + 64);
        put_len(&mut body, self.ends.len());
        let mut start = 0;
        for end in &self.ends {
            put_varint(&mut body, u64::from(end - start));
            start = *end;
        }
        body.extend_from_slice(&self.text);
        put_len(&mut body, self.pairs.len());
        for (name, value) in &self.pairs {
            put_varint(&mut body, u64::from(*name));
            put_varint(&mut body, u64::from(*value));
        }
        put_len(&mut body, self.families.len());
        for numbers in &self.families {
            for number in numbers {
                put_varint(&mut body, u64::from(*number));
            }
        }
        put_varint(&mut body, u64::from(self.len));
        body.extend_from_slice(&self.series);
        let bytes = envelope::seal(&body);
        EncodedTable { key: ContextKey::of(&bytes), bytes, series: self.len }
    }

    /// The number of a pair at place `at` of its series, added if it is not known.
    fn pair(&mut self, at: usize, name: &str, value: &str) -> u32 {
        let before = self.previous.get(at).and_then(|number| Some((*number, *self.pairs.get(*number as usize)?)));
        let mut known_name = None;
        if let Some((number, (name_before, value_before))) = before
            && text_of(&self.text, &self.ends, name_before) == name.as_bytes()
        {
            if text_of(&self.text, &self.ends, value_before) == value.as_bytes() {
                return number;
            }
            known_name = Some(name_before);
        }
        let pair = (known_name.unwrap_or_else(|| self.symbol(name)), self.symbol(value));
        let next = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        *self.pair_numbers.entry(pair).or_insert_with(|| {
            self.pairs.push(pair);
            next
        })
    }

    fn symbol(&mut self, text: &str) -> u32 {
        let hash = |bytes: &[u8]| FixedState::default().hash_one(bytes);
        let (all, ends) = (&self.text, &self.ends);
        let lookup = |number: u32| text_of(all, ends, number);
        let wanted = hash(text.as_bytes());
        if let Some(number) = self.symbols.find(wanted, |number| lookup(*number) == text.as_bytes()) {
            return *number;
        }
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.symbols.insert_unique(wanted, number, |number| hash(lookup(*number)));
        self.text.extend_from_slice(text.as_bytes());
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        number
    }
}

fn text_of<'a>(text: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).and_then(|i| ends.get(i)).copied().unwrap_or(0);
    let end = ends.get(number).copied().unwrap_or(start);
    text.get(start as usize..end as usize).unwrap_or_default()
}

/// A finished table: the bytes of its context and their name. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct EncodedTable {
    key: ContextKey,
    bytes: Bytes,
    series: u32,
}

impl EncodedTable {
    pub fn key(&self) -> ContextKey {
        self.key
    }

    /// Self-contained; [`SeriesTable::decode`](super::SeriesTable::decode) reads them.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn series(&self) -> u32 {
        self.series
    }
}

//! A table read back: strings once, pairs once, series as lists of pair numbers.

use super::PART;
use crate::{FamilyView, Labels, MetricType, ModelError, envelope, wire::Cursor};

/// More than any builder makes; later writers may go up to it.
const MAX_SERIES: usize = 4096;
const MAX_PAIRS: usize = 1 << 16;

/// Decoded view of an [`EncodedTable`](crate::EncodedTable). Every number in it was checked, so lookups of indexes it
/// handed out always answer; other indexes answer with empty things.
#[derive(Debug, Clone)]
pub struct SeriesTable {
    text: Box<str>,
    /// End of each symbol in `text`.
    ends: Box<[u32]>,
    pairs: Box<[(u32, u32)]>,
    families: Box<[(u32, MetricType, u32, u32)]>,
    /// Per series: family number, end of its run in `references`.
    series: Box<[(u32, u32)]>,
    references: Box<[u16]>,
}

impl SeriesTable {
    /// Errors: any bytes that no builder makes, among them pairs out of name order, empty names and repeated names.
    pub fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let mut scratch = Vec::new();
        let mut cursor = Cursor::new(envelope::open(bytes, PART, &mut scratch)?, PART);
        let mut table = Self {
            text: Box::default(),
            ends: Box::default(),
            pairs: Box::default(),
            families: Box::default(),
            series: Box::default(),
            references: Box::default(),
        };
        table.read_symbols(&mut cursor)?;
        table.read_pairs(&mut cursor)?;
        table.read_families(&mut cursor)?;
        table.read_series(&mut cursor)?;
        if !cursor.is_empty() {
            return Err(cursor.corrupt("bytes follow the last series"));
        }
        Ok(table)
    }

    fn read_symbols(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ModelError> {
        let count = cursor.count_of_rest()?;
        let mut ends = Vec::with_capacity(count);
        let mut end = 0u32;
        for _ in 0..count {
            let len = cursor.count(envelope::MAX_BODY)?;
            end = u32::try_from(len)
                .ok()
                .and_then(|len| end.checked_add(len))
                .ok_or_else(|| cursor.corrupt("the symbols are longer than the table"))?;
            ends.push(end);
        }
        let text = cursor.take(end as usize)?;
        let text = std::str::from_utf8(text).map_err(|_| cursor.corrupt("a symbol is not UTF-8"))?;
        if ends.iter().any(|end| !text.is_char_boundary(*end as usize)) {
            return Err(cursor.corrupt("a symbol ends inside a character"));
        }
        self.text = text.into();
        self.ends = ends.into();
        Ok(())
    }

    fn read_symbol(&self, cursor: &mut Cursor<'_>) -> Result<u32, ModelError> {
        let number = cursor.varint()?;
        u32::try_from(number)
            .ok()
            .filter(|number| (*number as usize) < self.ends.len())
            .ok_or_else(|| cursor.corrupt("a symbol number is out of range"))
    }

    fn read_pairs(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ModelError> {
        let count = cursor.count_of_rest()?;
        if count > MAX_PAIRS {
            return Err(ModelError::TooLarge { part: PART, found: count as u64, limit: MAX_PAIRS as u64 });
        }
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let name = self.read_symbol(cursor)?;
            let value = self.read_symbol(cursor)?;
            if self.symbol(name).is_empty() || self.symbol(value).is_empty() {
                return Err(cursor.corrupt("a label name or value is empty"));
            }
            pairs.push((name, value));
        }
        self.pairs = pairs.into();
        Ok(())
    }

    fn read_families(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ModelError> {
        let count = cursor.count_of_rest()?;
        let mut families = Vec::with_capacity(count.min(MAX_SERIES));
        for _ in 0..count {
            let name = self.read_symbol(cursor)?;
            let kind = MetricType::from_number(cursor.byte()?).ok_or_else(|| cursor.corrupt("unknown metric type"))?;
            let help = self.read_symbol(cursor)?;
            let unit = self.read_symbol(cursor)?;
            families.push((name, kind, help, unit));
        }
        self.families = families.into();
        Ok(())
    }

    fn read_series(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ModelError> {
        let count = cursor.count(MAX_SERIES)?;
        let mut series = Vec::with_capacity(count.min(cursor.rest().len()));
        let mut references: Vec<u16> = Vec::with_capacity(cursor.rest().len().min(MAX_SERIES * 8));
        // Names of the series before. Where a series begins with the same names, their order is known to be right.
        let mut names: Vec<u32> = Vec::new();
        for _ in 0..count {
            let family = u32::try_from(cursor.varint()?)
                .ok()
                .filter(|family| (*family as usize) < self.families.len())
                .ok_or_else(|| cursor.corrupt("a family number is out of range"))?;
            let labels = cursor.count_of_rest()?;
            let mut alike = true;
            for at in 0..labels {
                let number = cursor.varint()?;
                let (number, name) = u16::try_from(number)
                    .ok()
                    .and_then(|number| Some((number, self.pairs.get(usize::from(number))?.0)))
                    .ok_or_else(|| cursor.corrupt("a label number is out of range"))?;
                references.push(number);
                alike = alike && names.get(at) == Some(&name);
                if alike {
                    continue;
                }
                names.truncate(at);
                if names.last().is_some_and(|before| self.symbol(name) <= self.symbol(*before)) {
                    return Err(cursor.corrupt("the labels of a series are not in name order"));
                }
                names.push(name);
            }
            let end = u32::try_from(references.len()).map_err(|_| cursor.corrupt("too many labels"))?;
            series.push((family, end));
        }
        self.series = series.into();
        self.references = references.into();
        Ok(())
    }

    /// Number of series; their indexes are `0..series()`.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Number of distinct label pairs; their numbers are `0..pairs()`.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Name and value of a pair.
    pub fn pair(&self, number: u16) -> (&str, &str) {
        let (name, value) = self.pairs.get(usize::from(number)).copied().unwrap_or((u32::MAX, u32::MAX));
        (self.symbol(name), self.symbol(value))
    }

    /// Pair numbers of a series, in label-name order.
    pub fn series_pairs(&self, index: usize) -> &[u16] {
        let start = index.checked_sub(1).and_then(|i| self.series.get(i)).map_or(0, |(_, end)| *end);
        let end = self.series.get(index).map_or(start, |(_, end)| *end);
        self.references.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Labels of a series, in name order.
    pub fn labels(&self, index: usize) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.series_pairs(index).iter().map(|number| self.pair(*number))
    }

    /// Labels of a series as a set of their own.
    pub fn label_set(&self, index: usize) -> Labels {
        self.labels(index).collect()
    }

    /// Number of families; their numbers are `0..families()`.
    pub fn families(&self) -> usize {
        self.families.len()
    }

    /// A family by its number.
    pub fn family_at(&self, number: u32) -> FamilyView<'_> {
        self.families.get(number as usize).map_or_else(FamilyView::default, |(name, kind, help, unit)| FamilyView {
            name: self.symbol(*name),
            kind: *kind,
            help: self.symbol(*help),
            unit: self.symbol(*unit),
        })
    }

    /// Number of a series' family.
    pub fn family_number(&self, index: usize) -> u32 {
        self.series.get(index).map_or(u32::MAX, |(family, _)| *family)
    }

    /// The family of a series.
    pub fn family(&self, index: usize) -> FamilyView<'_> {
        self.family_at(self.family_number(index))
    }

    /// Bytes of heap held, for memory accounting.
    pub fn heap_bytes(&self) -> usize {
        self.text.len()
            + size_of_val(&*self.ends)
            + size_of_val(&*self.pairs)
            + size_of_val(&*self.families)
            + size_of_val(&*self.series)
            + size_of_val(&*self.references)
    }

    fn symbol(&self, number: u32) -> &str {
        let number = number as usize;
        let start = number.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
        let end = self.ends.get(number).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }
}

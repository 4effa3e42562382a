//! What a body says of its families, and which family a sample belongs to: by name, wherever either stands.
//!
//! Made only where something has to be described anew; a body like the one before is told by its [`Digest`], which the
//! walk computes from the marks of the comments it passes. Does not read bodies.

use std::collections::HashMap;

use model::MetricType;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::lines::MAX_TARGET;
use crate::parser::comment::{Fact, FamilyText, Statement};

/// Stands for all that a body says of its families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digest {
    /// The same in any order of the comments: exporters that shuffle their families describe them no differently.
    sum: u64,
    /// Depends on the order, which matters where the body contradicts itself: the last word counts.
    ordered: u64,
}

impl Digest {
    /// `strict`: escapes in comments mean other things in OpenMetrics.
    pub(super) fn new(strict: bool) -> Self {
        Self { sum: u64::from(strict), ordered: 0 }
    }

    /// Another run of comments is there; see [`Mark`].
    #[inline]
    pub(super) fn add(&mut self, mark: u32) {
        let mark = xxh3_64(&mark.to_le_bytes());
        self.sum = self.sum.wrapping_add(mark);
        self.ordered = (self.ordered.rotate_left(7) ^ mark).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Whether a body of this digest describes everything as one of `other` did.
    pub(super) fn tells_the_same(&self, other: &Self, contradictory: bool) -> bool {
        self.sum == other.sum && (!contradictory || self.ordered == other.ordered)
    }
}

/// 30 bits that stand for what a run of comments says, 0 for nothing. Two that share them by chance would only keep a
/// changed description from being noticed.
#[derive(Default)]
pub(super) struct Mark(Option<Box<Xxh3>>);

impl Mark {
    pub(super) fn hear(&mut self, statement: Statement<'_>) {
        let hash = self.0.get_or_insert_with(|| Box::new(Xxh3::new()));
        let (kind, text) = match statement.fact {
            Fact::Help(help) => (0xfe, help),
            Fact::Kind(kind) => (kind.number(), ""),
            Fact::Unit(unit) => (0xfd, unit),
        };
        hash.update(statement.name.as_bytes());
        hash.update(&[0xff, kind]);
        hash.update(text.as_bytes());
        hash.update(&[0xff]);
    }

    pub(super) fn bits(&self) -> u32 {
        let Some(hash) = &self.0 else {
            return 0;
        };
        u32::try_from(hash.digest() & u64::from(MAX_TARGET)).unwrap_or(0).max(1)
    }
}

/// The families of a body by name.
#[derive(Debug, Default)]
pub(super) struct Families {
    all: Vec<FamilyText>,
    numbers: HashMap<String, usize>,
    /// Something was said twice, differently.
    pub(super) contradictory: bool,
}

impl Families {
    /// Of what is said twice, the last word counts.
    pub(super) fn hear(&mut self, statement: Statement<'_>) {
        let number = match self.numbers.get(statement.name) {
            Some(number) => *number,
            None => {
                self.all.push(FamilyText { name: statement.name.to_owned(), ..FamilyText::default() });
                self.numbers.insert(statement.name.to_owned(), self.all.len() - 1);
                self.all.len() - 1
            }
        };
        let Some(family) = self.all.get_mut(number) else {
            return;
        };
        self.contradictory |= match statement.fact {
            Fact::Help(help) => !family.help.is_empty() && family.help != help,
            Fact::Kind(kind) => family.kind != MetricType::Unknown && family.kind != kind,
            Fact::Unit(unit) => !family.unit.is_empty() && family.unit != unit,
        };
        family.learn(statement.fact);
    }

    pub(super) fn get(&self, number: usize) -> Option<&FamilyText> {
        self.all.get(number)
    }

    /// The family of a sample: the one of its own name, else one whose type gives its members such a suffix.
    pub(super) fn of(&self, sample: &str) -> Option<usize> {
        if let Some(number) = self.numbers.get(sample) {
            return Some(*number);
        }
        let (stem, suffix) = sample.split_at_checked(sample.rfind('_')?)?;
        let owner = |name: &str| {
            let number = *self.numbers.get(name)?;
            self.all.get(number)?.owns(sample).then_some(number)
        };
        // The text format calls a counter by its sample's name.
        owner(stem).or_else(|| (suffix == "_created").then(|| owner(&format!("{stem}_total"))).flatten())
    }
}

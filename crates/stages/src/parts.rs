//! Which part of its source a line is: where its bytes lie there.
//!
//! Stages that put lines together put their parts together too, so that a source can tell which of its lines are still held
//! back. Keeps true: parts are in the order in which they came; parts that touch are one.

use std::ops::Range;

/// Bytes of a source, `start..end` each. Sources that have no positions leave it empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    last: Option<Range<u64>>,
    /// Those before the last: rare, so most lines cost no memory for this.
    before: Vec<Range<u64>>,
}

impl Parts {
    /// One stretch of the source.
    pub fn of(range: Range<u64>) -> Self {
        Self { last: Some(range), before: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// How many stretches.
    pub fn len(&self) -> usize {
        self.before.len() + usize::from(self.last.is_some())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.before.iter().chain(&self.last)
    }

    /// What came later joins.
    pub(crate) fn append(&mut self, later: Self) {
        if self.last.is_none() {
            *self = later;
            return;
        }
        for range in later.before.into_iter().chain(later.last) {
            match &mut self.last {
                Some(last) if last.end == range.start => last.end = range.end,
                slot => self.before.extend(slot.replace(range)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Parts;

    #[test]
    fn parts_that_touch_are_one() {
        let mut parts = Parts::default();
        for range in [0..5, 5..9, 20..30, 30..31, 2..3] {
            parts.append(Parts::of(range));
        }
        assert_eq!(parts.iter().cloned().collect::<Vec<_>>(), [0..9, 20..31, 2..3]);
        assert_eq!(parts.len(), 3);
        let mut other = Parts::of(40..41);
        other.append(parts);
        assert_eq!(other.iter().cloned().collect::<Vec<_>>(), [40..41, 0..9, 20..31, 2..3]);
    }
}

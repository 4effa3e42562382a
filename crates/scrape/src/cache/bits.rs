//! A growing row of marks, one bit a slot.

#[derive(Debug, Default, Clone)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Makes room for `len` marks; new ones are unset, those past `len` are gone.
    pub(super) fn resize(&mut self, len: usize) {
        self.0.resize(len.div_ceil(64), 0);
        if !len.is_multiple_of(64)
            && let Some(last) = self.0.last_mut()
        {
            *last &= !(u64::MAX << (len % 64));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    /// False for what is out of range.
    #[inline]
    pub(super) fn get(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Marks `at` and says whether it was marked before. Out of range is nothing.
    #[inline]
    pub(super) fn set(&mut self, at: usize) -> bool {
        let Some(word) = self.0.get_mut(at / 64) else {
            return false;
        };
        let bit = 1 << (at % 64);
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    /// Takes the mark of `at` away and says whether there was one.
    pub(super) fn unset(&mut self, at: usize) -> bool {
        let Some(word) = self.0.get_mut(at / 64) else {
            return false;
        };
        let bit = 1 << (at % 64);
        let before = *word & bit != 0;
        *word &= !bit;
        before
    }

    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|word| *word != 0)
    }

    /// Marks what `other` has marked; both are of one length.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Marks what `other` has marked and nothing else, in place.
    pub(super) fn copy(&mut self, other: &Self) {
        self.0.clone_from(&other.0);
    }

    /// Whether there are marks that `other` does not have.
    pub(super) fn exceeds(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(mine, theirs)| mine & !theirs != 0)
    }

    /// Those that `other` does not have.
    pub(super) fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine & !theirs).collect())
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }

    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Marks in `start..start + len`; `start` is a multiple of 64, and so is the next chunk's, so that the words of a
    /// chunk are its own.
    pub(super) fn count_in(&self, start: usize, len: usize) -> usize {
        self.range(start, len).iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The words of `start..start + len`, `start` a multiple of 64.
    pub(super) fn range(&self, start: usize, len: usize) -> &[u64] {
        let first = start / 64;
        self.0.get(first..first + len.div_ceil(64)).unwrap_or_default()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * 8
    }
}

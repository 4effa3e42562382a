//! After a body that was good: gives every series the family that the body says it has.
//!
//! Keeps true: what a table says of a series with the mark `described` is what a body of the cache's digest says. Costs
//! nothing while no comment and no series is new; tables are made anew only where a description differs.

use super::{bits::Bits, families::Families, lines::Target, walk::Walk};
use crate::parser::{
    comment::{self, FamilyText},
    sample,
};

/// A slot whose family is to be changed, and to which one.
pub(super) type Change = (u32, Option<usize>);

impl Walk<'_> {
    /// The body is good: closes the chunk of newcomers and gives every series the family that the body says it has.
    ///
    /// Families go by name over the whole body, so a comment that changed may concern any series; as long as none did,
    /// only series that are new, or were away when one did, are looked at.
    pub(super) fn describe(&mut self) {
        let cache = &mut *self.cache;
        cache.newcomers.seal(&mut cache.chunks, &cache.slots);
        // An empty answer says nothing, as for the series themselves.
        if self.body.is_empty() {
            return;
        }
        let contradictory = cache.contradictory;
        let same = cache.digest.is_some_and(|digest| digest.tells_the_same(&self.digest, contradictory));
        if !same {
            cache.slots.described.clear();
        }
        if same && !cache.slots.now.exceeds(&cache.slots.described) {
            return;
        }
        let wanted = cache.slots.now.without(&cache.slots.described);
        let families = self.families();
        let changes = self.changes(wanted, &families);
        let cache = &mut *self.cache;
        cache.change_families(&families, &changes);
        cache.slots.described.add(&cache.slots.now);
        cache.digest = Some(self.digest);
        cache.contradictory = families.contradictory;
    }

    /// Everything that the body says of its families.
    fn families(&self) -> Families {
        let mut families = Families::default();
        for at in &self.comments {
            // Read once already, without a fault.
            let _ = comment::read(self.body, *at, self.format, &mut |statement| families.hear(statement));
        }
        families
    }

    /// Which of the series in `wanted` need another family than their tables may have. Where those are only new ones,
    /// what they were given tells; else the body is gone through once more.
    fn changes(&mut self, mut wanted: Bits, families: &Families) -> Vec<Change> {
        let mut changes = Vec::new();
        let resolved: Vec<Option<Option<usize>>> = self
            .given
            .iter()
            .map(|given| {
                let number = families.of(&given.name);
                let found = number.and_then(|number| families.get(number)).map(FamilyText::view).unwrap_or_default();
                (self.given_families.get(given.family).map(FamilyText::view) != Some(found)).then_some(number)
            })
            .collect();
        for (slot, given) in &self.fresh {
            if wanted.unset(*slot as usize)
                && let Some(Some(number)) = resolved.get(*given)
            {
                changes.push((*slot, *number));
            }
        }
        if wanted.any() {
            self.look_again(&mut wanted, families, &mut changes);
        }
        changes.sort_unstable_by_key(|(slot, _)| *slot);
        changes
    }

    /// Goes through a body that was read without a fault for the names that the series in `wanted` are exposed under.
    #[cold]
    fn look_again(&mut self, wanted: &mut Bits, families: &Families, changes: &mut Vec<Change>) {
        let mut at = 0;
        let (mut name, mut family) = (String::new(), None);
        while at < self.body.len() {
            if comment::starts(self.body, at, self.format) {
                if self.format.is_open_metrics() && comment::end_mark(self.body, at).is_some() {
                    return;
                }
                let rest = self.body.get(at..).unwrap_or_default();
                at = memchr::memchr(b'\n', rest).map_or(self.body.len(), |len| at + len + 1);
                continue;
            }
            let Ok(end) = self.exposed.read(self.body, at, self.format) else {
                return;
            };
            let Ok(sample) = sample::read(self.body, end, self.format, &mut self.exemplar) else {
                return;
            };
            if let Some(slot) = self.slot_of(at, end)
                && wanted.unset(slot as usize)
            {
                if name != self.exposed.name() {
                    self.exposed.name().clone_into(&mut name);
                    family = families.of(&name);
                }
                changes.push((slot, family));
            }
            at = sample.next;
        }
    }

    /// The slot of the line at `at..end`, which `exposed` holds.
    fn slot_of(&mut self, at: usize, end: usize) -> Option<u32> {
        let cache = &mut *self.cache;
        if cache.by_position {
            let fingerprint = cache.lines.fingerprint(self.body.get(at..end).unwrap_or_default());
            let line = cache.lines.find(fingerprint)?;
            return match cache.lines.get(line)?.target() {
                Target::Slot(slot) => Some(slot),
                _ => None,
            };
        }
        let labels = cache.admission.admit(&self.exposed).ok()??;
        let hash = cache.newcomers.hash(labels.iter());
        cache.newcomers.find(hash, &cache.chunks)
    }
}

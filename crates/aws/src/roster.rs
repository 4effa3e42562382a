//! Which destinations share something, so that a log line can name them all.
//!
//! Owns no destination: a name counts for as long as its identity lives. Keeps true: each name once, in order.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

/// The names of the destinations that are alive.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<Vec<Weak<str>>>);

impl Roster {
    /// Adds a destination for as long as `name` lives. False when one of that name was there (as after a reload).
    pub(crate) fn join(&self, name: &Arc<str>) -> bool {
        let mut names = self.0.lock();
        names.retain(|held| held.strong_count() > 0);
        let is_new = !names.iter().filter_map(Weak::upgrade).any(|held| held == *name);
        names.push(Arc::downgrade(name));
        is_new
    }

    /// `a, b, c`.
    pub(crate) fn names(&self) -> String {
        let held: Vec<Arc<str>> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let names: BTreeSet<&str> = held.iter().map(AsRef::as_ref).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_living_once_and_in_order() {
        let roster = Roster::default();
        let (b, a, again): (Arc<str>, Arc<str>, Arc<str>) = ("b".into(), "a".into(), "a".into());
        assert_eq!(roster.names(), "");
        assert!(roster.join(&b) && roster.join(&a));
        assert!(!roster.join(&again));
        assert_eq!(roster.names(), "a, b");
        drop((a, b));
        assert_eq!(roster.names(), "a");
        drop(again);
        assert_eq!(roster.names(), "");
    }
}

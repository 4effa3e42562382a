//! A map that forgets: two generations, and the older one goes when the newer is full.
//!
//! Keeps true: at most twice `limit` keys; a key that is asked for at least once in a generation is not forgotten.

use std::{borrow::Borrow, hash::Hash};

use hashbrown::HashMap;

/// Bounded memory of values by key, with a cheap approximation of "least recently used".
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V, foldhash::fast::RandomState>,
    old: HashMap<K, V, foldhash::fast::RandomState>,
    limit: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    pub fn new(limit: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), limit: limit.max(1) }
    }

    /// The value of `key`, which becomes young again; made by `make` when there is none. The flag says that the older
    /// generation was forgotten just now.
    pub fn get_or_insert<'a, Q>(
        &'a mut self,
        key: &Q,
        own: impl FnOnce() -> K,
        make: impl FnOnce() -> V,
    ) -> (&'a mut V, bool)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut turned = false;
        if !self.young.contains_key(key) {
            if self.young.len() >= self.limit {
                self.old = std::mem::take(&mut self.young);
                turned = true;
            }
            let value = self.old.remove(key).unwrap_or_else(make);
            return (self.young.entry(own()).or_insert(value), turned);
        }
        (self.young.entry(own()).or_insert_with(make), turned)
    }

    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        match self.young.get_mut(key) {
            Some(value) => Some(value),
            None => self.old.get_mut(key),
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let mut map = Generations::<u32, u32>::new(10);
        *map.get_or_insert(&1, || 1, || 0).0 = 77;
        for key in 2..1000 {
            map.get_or_insert(&key, || key, || 0);
            assert_eq!(*map.get_or_insert(&1, || 1, || 0).0, 77);
            assert!(map.len() <= 20);
        }
        assert!(map.get_mut(&2).is_none());
    }
}

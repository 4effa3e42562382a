//! A set of labels, sorted by name, without empty values.

/// Sorted, unique names; no empty value is stored (in Prometheus an empty label and an absent one are the same).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

impl Labels {
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`, if set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).ok().and_then(|i| self.0.get(i)).map(|(_, v)| &**v)
    }

    /// Sets `name`, or removes it when `value` is empty.
    pub fn set(&mut self, name: &str, value: &str) {
        match (self.position(name), value.is_empty()) {
            (Ok(i), true) => drop(self.0.remove(i)),
            (Ok(i), false) => {
                if let Some(slot) = self.0.get_mut(i) {
                    slot.1 = value.into();
                }
            }
            (Err(_), true) => {}
            (Err(i), false) => self.0.insert(i, (name.into(), value.into())),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.set(name, "");
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(n, v)| keep(n, v));
    }

    /// Pairs in name order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hash of the set as Prometheus computes it (`labels.Labels.Hash` of its plain label slices): XXH64 over each
    /// name and value followed by the byte 0xff.
    pub fn prometheus_hash(&self) -> u64 {
        let mut hash = xxhash_rust::xxh64::Xxh64::new(0);
        for (name, value) in self.iter() {
            for part in [name, value] {
                hash.update(part.as_bytes());
                hash.update(&[0xff]);
            }
        }
        hash.digest()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name))
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    /// Later pairs win over earlier ones of the same name.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let own = |(name, value): (N, V)| (Box::from(name.as_ref()), Box::from(value.as_ref()));
        let mut all: Vec<(Box<str>, Box<str>)> = pairs.into_iter().map(own).collect();
        // One sort, and not a search and a move for each: a hostile series has tens of thousands.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.reverse();
        all.dedup_by(|earlier, later| earlier.0 == later.0);
        all.reverse();
        all.retain(|(_, value)| !value.is_empty());
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_is_an_absent_label() {
        let mut labels: Labels = [("b", "2"), ("a", "1"), ("c", "")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        labels.set("a", "");
        assert_eq!(labels.get("a"), None);
        assert_eq!(labels.len(), 1);
    }

    #[test]
    fn the_hash_is_xxh64_over_names_and_values_each_closed_by_ff() {
        let labels: Labels = [("__name__", "up"), ("job", "node")].into_iter().collect();
        let expected = xxhash_rust::xxh64::xxh64(b"__name__\xffup\xffjob\xffnode\xff", 0);
        assert_eq!(labels.prometheus_hash(), expected);
        // The reference value of the empty set is XXH64 of nothing.
        assert_eq!(Labels::new().prometheus_hash(), 0xef46_db37_51d8_e999);
    }
}

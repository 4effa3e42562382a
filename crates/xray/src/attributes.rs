//! A span's or resource's attributes, looked up by name and taken when they have found their place.
//!
//! It keeps true: of a repeated key the last counts; what nobody took is left for metadata.

use std::borrow::Cow;

use crate::{
    known::{COUNT, Key, Keys},
    metadata::order,
    read::{Pair, Value},
};

/// See the file's head. Dozens of names are looked for in each span, few of which it has: each is a bit.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    /// Each once.
    slots: Vec<Pair<'a>>,
    /// Slots that have no [`Key`].
    others: usize,
    present: Keys,
    taken: Keys,
    /// Where the slots of those are that are present.
    places: [u32; COUNT],
}

/// So many names are compared with each other faster than sorted.
const FEW: usize = 12;

impl Default for Attributes<'_> {
    fn default() -> Self {
        Self { slots: Vec::new(), others: 0, present: Keys::default(), taken: Keys::default(), places: [0; COUNT] }
    }
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(list: &[Pair<'a>]) -> Self {
        let mut attributes = Self::default();
        attributes.fill(list);
        attributes
    }

    /// Puts these in place of those that are here.
    pub(crate) fn fill(&mut self, list: &[Pair<'a>]) {
        self.clear();
        list.iter().for_each(|pair| self.add(*pair));
        self.settle();
    }

    /// One more. [`Attributes::settle`] has to follow the last.
    #[inline]
    pub(crate) fn add(&mut self, pair: Pair<'a>) {
        match pair.known {
            Some(key) => {
                if let Some(slot) = self.slot_mut(key) {
                    slot.value = pair.value;
                    return;
                }
                self.present.add(key);
                if let Some(place) = self.places.get_mut(key.place()) {
                    // More do not fit into a request.
                    *place = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                }
            }
            None => self.others += 1,
        }
        self.slots.push(pair);
    }

    /// Of repeated names that are not known only the last stay.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.others > FEW {
            self.settle_many();
            return;
        }
        let mut at = self.slots.len();
        while let Some((last, before)) = self.slots.get(..at).and_then(|slots| slots.split_last()) {
            at -= 1;
            if last.known.is_none() && before.iter().any(|slot| slot.name == last.name) {
                return self.settle_many();
            }
        }
    }

    #[cold]
    fn settle_many(&mut self) {
        let is_other = |slot: &Pair<'a>| slot.known.is_none();
        let mut others: Vec<_> =
            self.slots.iter().filter(|slot| is_other(slot)).map(|slot| (slot.name, *slot)).collect();
        order(&mut others);
        self.slots.retain(|slot| !is_other(slot));
        for (at, slot) in self.slots.iter().enumerate() {
            if let Some(place) = slot.known.and_then(|key| self.places.get_mut(key.place())) {
                *place = u32::try_from(at).unwrap_or(u32::MAX);
            }
        }
        self.slots.extend(others.into_iter().map(|(_, slot)| slot));
    }

    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.others = 0;
        (self.present, self.taken) = (Keys::default(), Keys::default());
    }

    #[inline]
    fn slot(&self, key: Key) -> Option<&Pair<'a>> {
        if !self.present.has(key) {
            return None;
        }
        self.slots.get(usize::try_from(*self.places.get(key.place())?).ok()?)
    }

    #[inline]
    fn slot_mut(&mut self, key: Key) -> Option<&mut Pair<'a>> {
        if !self.present.has(key) {
            return None;
        }
        self.slots.get_mut(usize::try_from(*self.places.get(key.place())?).ok()?)
    }

    /// One that nobody took.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<Value<'a>> {
        if self.taken.has(key) { None } else { self.slot(key).map(|slot| slot.value) }
    }

    /// One of any name, that somebody may have taken.
    pub(crate) fn taken_or_not(&self, name: &str) -> Option<Value<'a>> {
        match Key::named(name.as_bytes()) {
            Some(key) => self.slot(key).map(|slot| slot.value),
            None => self.slots.iter().find(|slot| slot.name == name).map(|slot| slot.value),
        }
    }

    /// Whether nobody took one of these.
    #[inline]
    pub(crate) fn has_any(&self, keys: Keys) -> bool {
        self.present.without(self.taken).has_any(keys)
    }

    #[inline]
    pub(crate) fn remove_all(&mut self, keys: Keys) {
        self.taken.add_all(keys);
    }

    /// A text that is not empty.
    #[inline]
    pub(crate) fn text(&self, key: Key) -> Option<&'a str> {
        text(self.get(key)?)
    }

    /// A whole number, or one as text.
    #[inline]
    pub(crate) fn number(&self, key: Key) -> Option<i64> {
        number(self.get(key)?)
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: Key) {
        self.taken.add(key);
    }

    #[inline]
    pub(crate) fn take(&mut self, key: Key) -> Option<Value<'a>> {
        let found = self.get(key);
        self.taken.add(key);
        found
    }

    #[inline]
    pub(crate) fn take_text(&mut self, key: Key) -> Option<&'a str> {
        text(self.take(key)?)
    }

    /// Leaves these out as if they had never been here, and forgets what was taken.
    pub(crate) fn anew(&mut self, without: Keys) {
        self.present = self.present.without(without);
        // They are there, and nobody finds them.
        self.taken = without;
    }

    /// Whether nothing was ever here.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// What is left, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + '_ {
        let is_left = |slot: &&Pair<'a>| slot.known.is_none_or(|key| !self.taken.has(key));
        self.slots.iter().filter(is_left).map(|slot| (slot.name, slot.value))
    }

    /// What is left, by name.
    pub(crate) fn in_order(&self) -> Vec<(&'a str, Value<'a>)> {
        let mut list = self.iter().collect();
        order(&mut list);
        list
    }
}

/// A text that is not empty.
#[inline]
pub(crate) fn text(value: Value<'_>) -> Option<&str> {
    if let Value::Text(text) = value { Some(text).filter(|text| !text.is_empty()) } else { None }
}

pub(crate) fn number(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A text or number as text.
pub(crate) fn shown(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)).filter(|text| !text.is_empty()),
        Value::Int(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// The texts of a list; a text alone is taken apart at `&`, as resource attributes from the environment are written.
pub(crate) fn texts(value: Value<'_>) -> Vec<&str> {
    match value {
        Value::Text(text) => text.split('&').filter(|part| !part.is_empty()).collect(),
        Value::Array(list) => list.values().filter_map(|value| text(value?)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KNOWN: [&str; 5] = ["db.name", "url.full", "http.url", "aws.span.kind", "host.id"];

    fn names() -> impl Strategy<Value = Vec<String>> {
        let name = prop_oneof![prop::sample::select(KNOWN.to_vec()).prop_map(str::to_owned), "[a-c]{0,3}"];
        prop::collection::vec(name, 0..40)
    }

    fn pair(name: &str, number: usize) -> Pair<'_> {
        Pair { known: Key::named(name.as_bytes()), name, value: Value::Int(number as i64) }
    }

    proptest! {
        #[test]
        fn they_are_a_map_of_the_last_of_each_name(names in names(), asked in names()) {
            const TAKEN: Keys = Keys::of(["db.name", "host.id"]);
            const GONE: Keys = Keys::of(["http.url"]);
            let list: Vec<_> = names.iter().enumerate().map(|(at, name)| pair(name, at)).collect();
            let mut map: BTreeMap<&str, i64> = names.iter().enumerate().map(|(at, name)| (name.as_str(), at as i64)).collect();
            let whole = map.clone();
            let shown = |attributes: &Attributes<'_>| -> Vec<(String, i64)> {
                let pair = |(name, value): (&str, _)| Some((name.to_owned(), number(value)?));
                attributes.in_order().into_iter().filter_map(pair).collect()
            };
            let told = |map: &BTreeMap<&str, i64>| -> Vec<_> { map.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect() };
            let mut attributes = Attributes::of(&list);
            prop_assert_eq!(shown(&attributes), told(&map));
            for name in &asked {
                prop_assert_eq!(attributes.taken_or_not(name).and_then(number), whole.get(name.as_str()).copied());
                let Some(key) = Key::named(name.as_bytes()) else { continue };
                prop_assert_eq!(attributes.number(key), map.get(name.as_str()).copied());
                prop_assert_eq!(attributes.take(key).and_then(number), map.remove(name.as_str()));
            }
            prop_assert_eq!(attributes.has_any(TAKEN), map.contains_key("db.name") || map.contains_key("host.id"));
            attributes.remove_all(TAKEN);
            map.retain(|name, _| !["db.name", "host.id"].contains(name));
            prop_assert_eq!(shown(&attributes), told(&map));
            attributes.anew(GONE);
            let mut again = whole.clone();
            again.remove("http.url");
            prop_assert_eq!(shown(&attributes), told(&again));
            prop_assert_eq!(attributes.len(), again.len());
            prop_assert_eq!(attributes.taken_or_not("http.url").map(|_| ()), None);
        }
    }
}

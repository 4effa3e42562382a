//! Annotations and metadata of one document: lists that are put in order when they are complete, and used again for the next.
//!
//! They know no rule. They keep true: of a repeated key the last counts.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeMap, btree_map::Entry},
};

use crate::read::Value;

/// What stands before an attribute that is its resource's.
pub(crate) const OF_RESOURCE: &str = "otel.resource.";

/// A name among metadata.
#[derive(Debug, Clone)]
pub(crate) enum Name<'a> {
    Own(&'a str),
    /// With [`OF_RESOURCE`] in front.
    Resource(&'a str),
    Made(String),
}

impl Name<'_> {
    /// What stands before, and the rest.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Own(key) => ("", key),
            Self::Resource(key) => (OF_RESOURCE, key),
            Self::Made(key) => ("", key),
        }
    }

    pub(crate) fn is_of_resource(&self) -> bool {
        let (before, key) = self.parts();
        !before.is_empty() || key.starts_with(OF_RESOURCE)
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        let (before, key) = self.parts();
        name.strip_prefix(before) == Some(key)
    }
}

impl Ord for Name<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        match (a.0.is_empty(), b.0.is_empty()) {
            (true, false) => a.1.strip_prefix(b.0).map_or_else(|| a.1.cmp(b.0), |rest| rest.cmp(b.1)),
            (false, true) => other.cmp(self).reverse(),
            _ => a.1.cmp(b.1),
        }
    }
}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Name<'_> {}

/// A value of metadata.
#[derive(Debug)]
pub(crate) enum Meta<'a> {
    Value(Value<'a>),
    Text(Cow<'a, str>),
    Json(serde_json::Value),
}

/// An annotation's value: X-Ray indexes texts, numbers and booleans.
#[derive(Debug)]
pub(crate) enum Note<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Double(f64),
    Bool(bool),
}

/// What X-Ray indexes.
pub(crate) type Annotations<'a> = Vec<(Cow<'a, str>, Note<'a>)>;

/// Values by their names.
pub(crate) type Values<'a> = Vec<(Name<'a>, Meta<'a>)>;

/// What X-Ray only keeps.
#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    /// Of the namespace `default`.
    pub(crate) default: Values<'a>,
    /// Of the others; `default` among them once a document is too large.
    pub(crate) others: BTreeMap<Cow<'a, str>, Values<'a>>,
}

/// By key, of each the last.
pub(crate) fn order<K: Ord, V>(list: &mut Vec<(K, V)>) {
    // The sort is stable: of a repeated key the last comes first.
    list.reverse();
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list.dedup_by(|next, first| next.0 == first.0);
}

impl<'a> Metadata<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.default.is_empty() && self.others.is_empty()
    }

    pub(crate) fn order(&mut self) {
        order(&mut self.default);
        self.others.values_mut().for_each(order);
    }

    /// Puts the namespace `default` among the others.
    pub(crate) fn gather(&mut self) {
        if self.default.is_empty() {
            return;
        }
        let default = std::mem::take(&mut self.default);
        match self.others.entry(Cow::Borrowed("default")) {
            Entry::Vacant(none) => drop(none.insert(default)),
            Entry::Occupied(mut some) => {
                some.get_mut().extend(default);
                order(some.get_mut());
            }
        }
    }

    /// Leaves only what the resource says.
    pub(crate) fn keep_resource(&mut self) {
        self.default.retain(|(key, _)| key.is_of_resource());
        self.others.retain(|_, values| {
            values.retain(|(key, _)| key.is_of_resource());
            !values.is_empty()
        });
    }

    pub(crate) fn values(&self) -> usize {
        self.default.len() + self.others.values().map(Vec::len).sum::<usize>()
    }

    pub(crate) fn clear(&mut self) {
        self.default.clear();
        self.others.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_texts(keys in proptest::collection::vec(("(otel[.]resource[.]|otel[.]r|p)?[a-z.]{0,2}", any::<bool>()), 2)) {
            let whole = |(key, resource): &(String, bool)| if *resource { format!("{OF_RESOURCE}{key}") } else { key.clone() };
            fn made((key, resource): &(String, bool)) -> Name<'_> {
                if *resource { Name::Resource(key) } else { Name::Own(key) }
            }
            let (a, b) = (&keys[0], &keys[1]);
            prop_assert_eq!(made(a).cmp(&made(b)), whole(a).cmp(&whole(b)));
            prop_assert_eq!(Name::Made(whole(a)).cmp(&made(b)), whole(a).cmp(&whole(b)));
            prop_assert_eq!(made(a).is_of_resource(), whole(a).starts_with(OF_RESOURCE));
            prop_assert!(made(a).is(&whole(a)));
        }
    }
}

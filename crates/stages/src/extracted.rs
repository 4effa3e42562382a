//! The extracted map: what stages found in a line, by name.
//!
//! Keeps true: names are unique; at most [`MAX_EXTRACTED`] are added to a line; the labels it starts from are shared
//! between lines that have the same labels, not copied.

use std::{borrow::Cow, sync::Arc};

use model::Labels;

/// A name, shared by the stage that knows it and the lines that carry it.
pub type Name = Arc<str>;

/// Most names stages may add to one line. Only `eventlogmessage` takes names from lines; all others from configuration.
pub const MAX_EXTRACTED: usize = 512;

/// Something found in a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// JSON's `null`, or a path that is not there. It exists, but has no text.
    Null,
    Bool(bool),
    /// Kept whole where Promtail rounds to 53 bits.
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(Arc<str>),
}

impl Value {
    pub fn text(text: &str) -> Self {
        Self::Text(Arc::from(text))
    }

    /// As Promtail prints it (`strconv.FormatFloat(f, 'f', -1, 64)` for floats); `None` for null.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Integer(n) => Cow::Owned(n.to_string()),
            Self::Unsigned(n) => Cow::Owned(n.to_string()),
            Self::Float(f) => Cow::Owned(f.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        })
    }

    /// The text, sharing it where it is one already.
    pub fn to_shared(&self) -> Option<Arc<str>> {
        match self {
            Self::Text(text) => Some(Arc::clone(text)),
            other => other.as_text().map(|t| Arc::from(&*t)),
        }
    }
}

/// What lines of the same labels start from.
pub(crate) type Base = Arc<[(Name, Value)]>;

/// Names to values; the order is that of first setting, after those of the labels.
#[derive(Debug, Clone, Default)]
pub struct Extracted {
    /// The labels the line came with.
    base: Option<Base>,
    /// What stages set; `None` takes a name of `base` away.
    own: Vec<(Name, Option<Value>)>,
}

impl Extracted {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        match self.own.iter().find(|(n, _)| **n == *name) {
            Some((_, value)) => value.as_ref(),
            None => self.in_base(name),
        }
    }

    /// The text of `name`; `None` when there is no such name or it is null.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name)?.as_text()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets `name`. Beyond [`MAX_EXTRACTED`] names, new ones are ignored.
    pub fn set(&mut self, name: &Name, value: Value) {
        let known = self.own.iter_mut().find(|(n, _)| Arc::ptr_eq(n, name) || **n == **name);
        if let Some((_, slot)) = known {
            *slot = Some(value);
        } else if self.own.len() < MAX_EXTRACTED {
            self.own.push((Arc::clone(name), Some(value)));
        }
    }

    pub fn remove(&mut self, name: &Name) {
        let in_base = self.in_base(name).is_some();
        match self.own.iter_mut().position(|(n, _)| **n == **name) {
            Some(at) if in_base => {
                if let Some((_, slot)) = self.own.get_mut(at) {
                    *slot = None;
                }
            }
            Some(at) => drop(self.own.remove(at)),
            None if in_base => self.own.push((Arc::clone(name), None)),
            None => {}
        }
    }

    /// All names with their values, each once.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Value)> {
        let hidden = |name: &str| self.own.iter().any(|(n, _)| **n == *name);
        let base = self.base.iter().flat_map(|base| base.iter()).filter(move |(n, _)| !hidden(n)).map(|(n, v)| (n, v));
        base.chain(self.own.iter().filter_map(|(n, v)| Some((n, v.as_ref()?))))
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Copies labels in, as each nested pipeline does at its start.
    pub(crate) fn seed(&mut self, labels: &Labels) {
        for (name, value) in labels.iter() {
            if !matches!(self.get(name), Some(Value::Text(text)) if **text == *value) {
                self.set(&Name::from(name), Value::text(value));
            }
        }
    }

    pub(crate) fn start_from(&mut self, base: Base) {
        self.base = Some(base);
    }

    fn in_base(&self, name: &str) -> Option<&Value> {
        self.base.as_ref()?.iter().find(|(n, _)| **n == *name).map(|(_, v)| v)
    }
}

/// Makes the shared start of extracted maps; lines of one file mostly have the same labels.
#[derive(Debug, Default)]
pub(crate) struct Seeds {
    last: Option<(Labels, Base)>,
}

impl Seeds {
    pub fn of(&mut self, labels: &Labels) -> Base {
        if let Some((last, base)) = &self.last
            && last == labels
        {
            return Arc::clone(base);
        }
        let base: Base = labels.iter().map(|(n, v)| (Name::from(n), Value::text(v))).collect();
        self.last = Some((labels.clone(), Arc::clone(&base)));
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from(text)
    }

    #[test]
    fn numbers_print_as_go_prints_them() {
        let print = |f: f64| Value::Float(f).as_text().unwrap().into_owned();
        assert_eq!(print(3.0), "3");
        assert_eq!(print(0.25), "0.25");
        assert_eq!(print(1e21), "1000000000000000000000");
        assert_eq!(print(1e-7), "0.0000001");
        assert_eq!(print(-0.0), "-0");
        assert_eq!(Value::Integer(1_562_708_916_919_123_456).as_text().unwrap(), "1562708916919123456");
        assert_eq!(Value::Null.as_text(), None);
    }

    #[test]
    fn a_removed_label_stays_away_and_can_come_back() {
        let labels: Labels = [("a", "1"), ("b", "2")].into_iter().collect();
        let mut map = Extracted::new();
        map.start_from(Seeds::default().of(&labels));
        assert_eq!(map.len(), 2);
        map.remove(&name("a"));
        assert!(!map.contains("a"));
        assert_eq!(map.len(), 1);
        map.set(&name("a"), Value::text("3"));
        assert_eq!(map.text("a").unwrap(), "3");
        map.remove(&name("c"));
        assert_eq!(map.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn names_are_bounded() {
        let mut map = Extracted::new();
        for i in 0..2 * MAX_EXTRACTED {
            map.set(&name(&i.to_string()), Value::Null);
        }
        assert_eq!(map.len(), MAX_EXTRACTED);
    }

    #[test]
    fn equal_labels_share_their_start() {
        let labels: Labels = [("a", "1")].into_iter().collect();
        let mut seeds = Seeds::default();
        assert!(Arc::ptr_eq(&seeds.of(&labels), &seeds.of(&labels)));
    }
}

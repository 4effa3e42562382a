//! Reading a few plain paths out of JSON text without building a tree of it.
//!
//! Keeps true: the answers are those JMESPath gives on the parsed text; the last of equal keys wins, as in Go.

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::{Value, json_text};

/// Paths as a tree of keys; node 0 is the object itself.
#[derive(Debug)]
pub(crate) struct Paths {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: Vec<(Box<str>, usize)>,
    /// Which results are this node's value.
    targets: Vec<usize>,
}

impl Paths {
    /// Nothing if one of the expressions is more than a plain path.
    pub fn new<'a>(expressions: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut paths = Self { nodes: vec![Node::default()] };
        for (target, expression) in expressions.enumerate() {
            let mut at = 0;
            for key in keys(expression)? {
                at = paths.child(at, &key);
            }
            paths.nodes.get_mut(at)?.targets.push(target);
        }
        Some(paths)
    }

    fn child(&mut self, at: usize, key: &str) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return 0 };
        if let Some((_, child)) = node.children.iter().find(|(k, _)| **k == *key) {
            return *child;
        }
        node.children.push((key.into(), next));
        self.nodes.push(Node::default());
        next
    }

    /// Whether `text` is a JSON object or null; sets what was found.
    pub fn search(&self, text: &str, found: &mut [Option<Value>]) -> bool {
        let mut json = serde_json::Deserializer::from_str(text);
        let root = Seed { paths: self, node: 0, found };
        matches!(root.deserialize(&mut json), Ok(true)) && json.end().is_ok()
    }

    /// Everything under `node` becomes null: its key was found again.
    fn clear(&self, node: usize, found: &mut [Option<Value>]) {
        let Some(node) = self.nodes.get(node) else { return };
        for target in &node.targets {
            if let Some(slot) = found.get_mut(*target) {
                *slot = Some(Value::Null);
            }
        }
        for (_, child) in &node.children {
            self.clear(*child, found);
        }
    }

    fn take(&self, node: usize, json: &Json, found: &mut [Option<Value>]) {
        let Some(node) = self.nodes.get(node) else { return };
        for target in &node.targets {
            if let Some(slot) = found.get_mut(*target) {
                *slot = Some(json_text::to_value(json));
            }
        }
        for (key, child) in &node.children {
            if let Some(json) = json.get(&**key) {
                self.take(*child, json, found);
            }
        }
    }
}

/// The keys of `a.b."c d"`.
fn keys(expression: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = expression.trim();
    loop {
        let key;
        if let Some(quoted) = rest.strip_prefix('"') {
            let (inner, after) = quoted.split_once('"')?;
            if inner.is_empty() || inner.contains('\\') {
                return None;
            }
            (key, rest) = (inner, after);
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            (key, rest) = rest.split_at_checked(end)?;
            if key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
        }
        keys.push(key.to_owned());
        if rest.is_empty() {
            return Some(keys);
        }
        rest = rest.strip_prefix('.')?;
    }
}

/// Reads one value, knowing which node of the paths it is. Answers whether it was an object or null.
struct Seed<'p, 'f> {
    paths: &'p Paths,
    node: usize,
    found: &'f mut [Option<Value>],
}

impl Seed<'_, '_> {
    fn scalar(self, value: Value) {
        let Some(node) = self.paths.nodes.get(self.node) else { return };
        for target in &node.targets {
            if let Some(slot) = self.found.get_mut(*target) {
                *slot = Some(value.clone());
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.paths.nodes.get(self.node).is_some_and(|n| !n.targets.is_empty())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        self.scalar(Value::Null);
        Ok(true)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<bool, E> {
        self.scalar(Value::Bool(value));
        Ok(false)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<bool, E> {
        self.scalar(Value::Integer(value));
        Ok(false)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<bool, E> {
        self.scalar(i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer));
        Ok(false)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<bool, E> {
        self.scalar(Value::Float(value));
        Ok(false)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<bool, E> {
        if self.is_wanted() {
            self.scalar(Value::text(value));
        }
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        if self.is_wanted() {
            let json = Json::deserialize(de::value::SeqAccessDeserializer::new(items))?;
            self.paths.take(self.node, &json, self.found);
        } else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<bool, A::Error> {
        if self.is_wanted() {
            let json = Json::deserialize(de::value::MapAccessDeserializer::new(fields))?;
            self.paths.take(self.node, &json, self.found);
            return Ok(true);
        }
        let Some(node) = self.paths.nodes.get(self.node) else { return Ok(true) };
        while let Some(child) = fields.next_key_seed(Key(&node.children))? {
            match child {
                Some(node) => {
                    self.paths.clear(node, self.found);
                    fields.next_value_seed(Seed { paths: self.paths, node, found: &mut *self.found })?;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(true)
    }
}

/// Finds a key among a node's children without copying it.
struct Key<'p>(&'p [(Box<str>, usize)]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(k, _)| **k == *key).map(|(_, node)| *node))
    }
}

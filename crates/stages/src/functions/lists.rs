//! Lists and dictionaries.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::Value;

use super::{Args, MAX_ITEMS, Outcome, Table, list, text, texts, to_text};

pub(super) fn fill(table: &mut Table) {
    making(table);
    picking(table);
    dictionaries(table);
}

/// What a list argument holds; a single value is a list of one where sprig's `strslice` makes it one.
fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::List(items) => items.to_vec(),
        Value::Nil => Vec::new(),
        other => vec![other.clone()],
    }
}

fn making(table: &mut Table) {
    table.at_least("list", 0, |a| list(a.all().to_vec()));
    table.alias("tuple", "list");
    table.add("join", 2, |a| {
        let joined: Vec<String> = items(a.value(1)).iter().filter(|v| !matches!(v, Value::Nil)).map(to_text).collect();
        text(joined.join(a.text(0)?))
    });
    table.add("splitList", 2, |a| texts(split(a.text(1)?, a.text(0)?, usize::MAX)));
    table.add("split", 2, |a| numbered(split(a.text(1)?, a.text(0)?, usize::MAX)));
    table.add("splitn", 3, |a| numbered(split(a.text(2)?, a.text(0)?, a.size(1)?)));
    table.add("toStrings", 1, |a| texts(items(a.value(0)).iter().map(to_text)));
    table.add("sortAlpha", 1, |a| {
        let mut sorted: Vec<String> = items(a.value(0)).iter().map(to_text).collect();
        sorted.sort();
        texts(sorted.iter())
    });
    table.at_least("concat", 1, |a| {
        let mut all = Vec::new();
        for at in 0..a.all().len() {
            all.extend_from_slice(a.list(at)?);
        }
        list(all)
    });
    table.add("append", 2, |a| list([a.list(0)?, a.from(1)].concat()));
    table.alias("push", "append");
    table.add("prepend", 2, |a| list([a.from(1), a.list(0)?].concat()));
}

/// Go's `strings.Split`: an empty separator splits between characters.
fn split<'a>(whole: &'a str, separator: &str, most: usize) -> std::vec::IntoIter<&'a str> {
    let parts: Vec<&str> = match separator {
        "" => whole.split("").filter(|part| !part.is_empty()).take(MAX_ITEMS + 1).collect(),
        separator => whole.splitn(most.clamp(1, MAX_ITEMS + 2), separator).collect(),
    };
    parts.into_iter()
}

/// sprig's `split` answers with a dictionary: `_0`, `_1`, ...
fn numbered<'a>(parts: impl Iterator<Item = &'a str>) -> Outcome {
    let map =
        parts.take(MAX_ITEMS).enumerate().map(|(i, part)| (Arc::from(format!("_{i}")), Value::String(Arc::from(part))));
    Ok(Value::Map(Arc::new(map.collect())))
}

fn picking(table: &mut Table) {
    table.add("first", 1, |a| Ok(a.list(0)?.first().cloned().unwrap_or(Value::Nil)));
    table.add("last", 1, |a| Ok(a.list(0)?.last().cloned().unwrap_or(Value::Nil)));
    table.add("rest", 1, |a| list(a.list(0)?.get(1..).unwrap_or_default().to_vec()));
    table.add("initial", 1, |a| list(a.list(0)?.split_last().map(|(_, all)| all.to_vec()).unwrap_or_default()));
    table.add("reverse", 1, |a| list(a.list(0)?.iter().rev().cloned().collect()));
    table.add("compact", 1, |a| list(a.list(0)?.iter().filter(|v| v.is_truthy()).cloned().collect()));
    table.add("uniq", 1, |a| {
        let mut kept: Vec<Value> = Vec::new();
        for item in a.list(0)?.iter().take(MAX_ITEMS) {
            if !kept.contains(item) {
                kept.push(item.clone());
            }
        }
        list(kept)
    });
    table.at_least("without", 1, |a| {
        list(a.list(0)?.iter().filter(|item| !a.from(1).contains(item)).cloned().collect())
    });
    table.add("has", 2, |a| Ok(Value::Bool(items(a.value(1)).contains(a.value(0)))));
}

fn dictionaries(table: &mut Table) {
    table.at_least("dict", 0, |a| {
        let pairs = a.all().chunks(2).map(|pair| {
            (
                Arc::from(pair.first().map(to_text).unwrap_or_default()),
                pair.get(1).cloned().unwrap_or(Value::String("".into())),
            )
        });
        Ok(Value::Map(Arc::new(pairs.collect())))
    });
    table.add("get", 2, |a| Ok(map(&a)?.get(a.text(1)?).cloned().unwrap_or(Value::String("".into()))));
    table.add("hasKey", 2, |a| Ok(Value::Bool(map(&a)?.contains_key(a.text(1)?))));
    table.add("keys", 1, |a| texts(map(&a)?.keys()));
    table.add("values", 1, |a| list(map(&a)?.values().cloned().collect()));
}

fn map<'a>(args: &Args<'a>) -> Result<&'a BTreeMap<Arc<str>, Value>, gotmpl::TemplateError> {
    match args.value(0) {
        Value::Map(map) => Ok(map),
        other => args.fail(&format!("a dictionary is expected, not {}", other.type_name())),
    }
}

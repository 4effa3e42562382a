//! `relabel_config` lists.

use relabel::{Action, Rule, RuleSource};

use crate::block::{Block, Field, Reader, Shape};

pub(super) const RELABEL: Shape = Shape {
    name: "relabel_config",
    keys: &[&["source_labels", "separator", "target_label", "regex", "modulus", "replacement", "action"]],
};

const ACTIONS: &[(&str, Action)] = &[
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

/// The rules under `key` of `block`.
pub(super) fn rules(block: &Block<'_>, key: &str) -> Vec<Rule> {
    block.items(key).iter().filter_map(|item| rule(block.reader, item)).collect()
}

fn rule<'a>(reader: &'a Reader<'a>, field: &Field<'a>) -> Option<Rule> {
    if field.is_null() {
        reader.error(field, "this relabel rule is empty", Some("remove the lone `-`"));
        return None;
    }
    let block = Block::open(reader, RELABEL, field)?;
    // A key with nothing after it sets the empty text here, as in Prometheus; only an absent key has its default.
    let text = |key: &str, default: &str| match block.raw(key) {
        Some(field) => reader.text(&field).unwrap_or_default(),
        None => default.to_owned(),
    };
    let defaults = RuleSource::default();
    let source = RuleSource {
        source_labels: block.texts("source_labels"),
        separator: text("separator", &defaults.separator),
        target_label: text("target_label", ""),
        regex: text("regex", &defaults.regex),
        modulus: block.whole("modulus").unwrap_or(0),
        replacement: text("replacement", &defaults.replacement),
        action: match block.get("action") {
            Some(_) => block.choice("action", ACTIONS)?,
            None => defaults.action,
        },
    };
    let action = source.action;
    match Rule::new(source) {
        Ok(rule) => Some(rule),
        Err(error) if is_unwanted(action, error.field) => {
            let (key, message) = (error.field, format!("`{}`: {}", error.field, error.message));
            block.error_at_key(key, message, Some(&format!("remove `{key}`")));
            None
        }
        Err(error) => {
            let help = (error.field == "regex").then_some("the syntax is RE2, as in Go and Prometheus");
            let first_line =
                error.message.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
            match RELABEL.all_keys().find(|key| *key == error.field) {
                Some(key) => block.error_at(key, format!("`{key}`: {first_line}"), help),
                None => block.error(format!("{}: {first_line}", error.field), help),
            }
            None
        }
    }
}

/// Is `field` one that `action` does not take at all, so that what is wrong with it is that it is there?
fn is_unwanted(action: Action, field: &str) -> bool {
    match action {
        Action::Lowercase | Action::Uppercase => field == "replacement",
        Action::KeepEqual | Action::DropEqual => !matches!(field, "source_labels" | "target_label"),
        Action::LabelDrop | Action::LabelKeep => field != "regex",
        Action::Replace | Action::Keep | Action::Drop | Action::HashMod | Action::LabelMap => false,
    }
}

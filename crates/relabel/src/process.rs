//! Running rules over labels.
//!
//! Keeps true: rules run in order, the first drop ends it; labels stay sorted and unique because only `Labels::set` and
//! `retain` change them. Does not validate: a `Rule` is valid by construction.

use std::borrow::Cow;

use md5::{Digest, Md5};
use model::Labels;

use crate::{
    Action, Rule, case,
    rule::{is_label_name, refers_to_groups},
};

/// Applies `rules` in order. `false`: a rule dropped the target or series, and `labels` are as they were at that point.
pub fn process(labels: &mut Labels, rules: &[Rule]) -> bool {
    rules.iter().all(|rule| apply(rule, labels))
}

fn apply(rule: &Rule, labels: &mut Labels) -> bool {
    let source = rule.source();
    match source.action {
        Action::Drop => return !rule.pattern().regex().is_match(&joined(rule, labels)),
        Action::Keep => return rule.pattern().regex().is_match(&joined(rule, labels)),
        Action::DropEqual => {
            return labels.get(&source.target_label).unwrap_or("") != &*joined(rule, labels);
        }
        Action::KeepEqual => {
            return labels.get(&source.target_label).unwrap_or("") == &*joined(rule, labels);
        }
        Action::Replace => replace(rule, labels),
        Action::Lowercase => {
            let value = case::lower(&joined(rule, labels));
            labels.set(&source.target_label, &value);
        }
        Action::Uppercase => {
            let value = case::upper(&joined(rule, labels));
            labels.set(&source.target_label, &value);
        }
        Action::HashMod => {
            if let Some(value) = hash_mod(&joined(rule, labels), source.modulus) {
                labels.set(&source.target_label, &value.to_string());
            }
        }
        Action::LabelMap => label_map(rule, labels),
        Action::LabelDrop => labels.retain(|name, _| !rule.pattern().regex().is_match(name)),
        Action::LabelKeep => labels.retain(|name, _| rule.pattern().regex().is_match(name)),
    }
    true
}

/// The values of the source labels joined by the separator; an absent label counts as empty.
fn joined<'a>(rule: &Rule, labels: &'a Labels) -> Cow<'a, str> {
    let source = rule.source();
    match source.source_labels.as_slice() {
        [] => Cow::Borrowed(""),
        [only] => Cow::Borrowed(labels.get(only).unwrap_or("")),
        [first, others @ ..] => {
            let mut value = labels.get(first).unwrap_or("").to_owned();
            for name in others {
                value.push_str(&source.separator);
                value.push_str(labels.get(name).unwrap_or(""));
            }
            Cow::Owned(value)
        }
    }
}

fn replace(rule: &Rule, labels: &mut Labels) {
    let source = rule.source();
    let value = joined(rule, labels);
    if value.is_empty() && rule.has_default_pattern() && !rule.has_templates() {
        // Nothing to match and nothing to expand: the common "add this label" rule.
        drop(value);
        labels.set(&source.target_label, &source.replacement);
        return;
    }
    let Some(captures) = rule.pattern().regex().captures(&value) else {
        return;
    };
    let target = if refers_to_groups(&source.target_label) {
        let target = rule.target().expand(&captures);
        if !is_label_name(&target) {
            return;
        }
        Cow::Owned(target)
    } else {
        Cow::Borrowed(source.target_label.as_str())
    };
    let replacement = rule.replacement().expand(&captures);
    drop(value);
    labels.set(&target, &replacement);
}

/// The last eight bytes of the MD5, big endian, modulo `modulus`: which shard a target belongs to.
fn hash_mod(value: &str, modulus: u64) -> Option<u64> {
    let digest = Md5::digest(value.as_bytes());
    let tail = digest.last_chunk::<8>()?;
    u64::from_be_bytes(*tail).checked_rem(modulus)
}

/// Copies every label whose name matches to the name the replacement makes of it. The set of names is the one before
/// the rule, so a copy is not copied again.
fn label_map(rule: &Rule, labels: &mut Labels) {
    let copies: Vec<(String, String)> = labels
        .iter()
        .filter_map(|(name, value)| {
            let captures = rule.pattern().regex().captures(name)?;
            let to = rule.replacement().expand(&captures);
            // A series or target cannot carry a label without a name.
            if to.is_empty() { None } else { Some((to, value.to_owned())) }
        })
        .collect();
    for (name, value) in copies {
        labels.set(&name, &value);
    }
}

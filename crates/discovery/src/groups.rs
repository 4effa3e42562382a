//! Reads a list of target groups: `[{targets: [...], labels: {...}}]` in JSON or YAML.
//!
//! Strict, as Prometheus is: an unknown key, a null group or an invalid label name refuses the whole list, so that a
//! source with a typo keeps its last good groups instead of quietly losing some.

use std::collections::BTreeMap;

use model::Labels;
use serde::Deserialize;

use crate::TargetGroup;

/// Longest file or answer that is read, in bytes.
pub const LIMIT: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, Text>>,
}

/// A label value; YAML writers leave numbers and booleans unquoted.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    String(String),
    Bool(bool),
    Integer(i64),
    Float(f64),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::String(text) => text,
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
        }
    }
}

/// Parses JSON. `place` becomes the groups' source, `meta` is added to their labels.
pub(crate) fn from_json(bytes: &[u8], place: &str, meta: (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    let written: Option<Vec<Option<Written>>> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    finish(written, place, meta)
}

/// Parses YAML.
pub(crate) fn from_yaml(bytes: &[u8], place: &str, meta: (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8: {e}"))?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let written: Option<Vec<Option<Written>>> = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
    finish(written, place, meta)
}

fn finish(
    written: Option<Vec<Option<Written>>>,
    place: &str,
    (meta, meta_value): (&str, &str),
) -> Result<Vec<TargetGroup>, String> {
    let mut groups = Vec::new();
    for (i, group) in written.unwrap_or_default().into_iter().enumerate() {
        let Some(group) = group else {
            return Err(format!("group {i} is null"));
        };
        let mut labels = Labels::new();
        for (name, value) in group.labels.unwrap_or_default() {
            if !is_label_name(&name) {
                return Err(format!("group {i} has label {name:?}, which is not a label name"));
            }
            labels.set(&name, &value.into_string());
        }
        labels.set(meta, meta_value);
        let targets = group.targets.unwrap_or_default();
        let targets = targets.iter().map(|address| [("__address__", address)].into_iter().collect()).collect();
        groups.push(TargetGroup { source: format!("{place}:{i}"), targets, labels });
    }
    Ok(groups)
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: (&str, &str) = ("__meta_filepath", "f");

    #[test]
    fn both_formats_say_the_same() {
        let json = br#"[{"targets":["a:1","b:2"],"labels":{"env":"x","n":"1"}},{"targets":[]}]"#;
        let yaml = b"- targets: ['a:1', b:2]\n  labels: {env: x, n: 1}\n- targets: []\n";
        let parsed = from_json(json, "f", META).unwrap();
        assert_eq!(parsed, from_yaml(yaml, "f", META).unwrap());
        assert_eq!(parsed[0].targets[1].get("__address__"), Some("b:2"));
        assert_eq!(parsed[0].labels.get("n"), Some("1"));
        assert_eq!(parsed[0].labels.get("__meta_filepath"), Some("f"));
        assert_eq!(parsed[1].source, "f:1");
    }

    #[test]
    fn a_list_with_any_mistake_is_refused_whole() {
        for json in [
            r#"[{"target":["a:1"]}]"#,
            r#"[null]"#,
            r#"{"targets":["a:1"]}"#,
            r#"[{"targets":[1]}]"#,
            r#"[{"targets":["a:1"],"labels":{"a-b":"x"}}]"#,
            r#"[{"targets":["a:1"]}"#,
            "",
        ] {
            assert!(from_json(json.as_bytes(), "f", META).is_err(), "{json}");
        }
        for yaml in
            ["- target: [a:1]", "- null", "targets: [a]", "- targets: [a\n", "- targets: ['a']\n  labels: {a b: c}"]
        {
            assert!(from_yaml(yaml.as_bytes(), "f", META).is_err(), "{yaml}");
        }
        assert!(from_yaml(b"\xff", "f", META).is_err());
    }

    #[test]
    fn an_empty_file_and_a_null_list_have_no_groups() {
        assert_eq!(from_yaml(b"\n", "f", META), Ok(vec![]));
        assert_eq!(from_json(b"null", "f", META), Ok(vec![]));
        assert_eq!(from_json(b"[]", "f", META), Ok(vec![]));
    }
}

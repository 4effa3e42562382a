//! What one read of a store gives, and the members that references pick from it.
//!
//! Keeps true: a value is in no message; what is empty is no secret.

use net::Secret;
use serde_json::Value;

/// The whole of one stored secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    text: Secret,
    /// A Vault secret is always an object of keys; elsewhere the text itself may be meant.
    is_object: bool,
}

impl Document {
    pub(super) fn of_text(text: Secret) -> Self {
        Self { text, is_object: false }
    }

    pub(super) fn of_object(object: &Value) -> Self {
        Self { text: Secret::new(object.to_string()), is_object: true }
    }

    /// The secret under `key`, or the only one.
    pub(super) fn pick(&self, key: Option<&str>) -> Result<Secret, String> {
        let picked = match key {
            None if !self.is_object => self.text.clone(),
            None => match self.parsed("")?.as_object().map(|o| o.iter().collect::<Vec<_>>()).as_deref() {
                Some([(only, value)]) => of_value(value, only)?,
                _ => return Err("it has several keys; write which one, as in vault://mount/path#key".to_owned()),
            },
            Some(key) => {
                let object = self.parsed(key)?;
                of_value(object.get(key).ok_or_else(|| format!("it has no key {key:?}"))?, key)?
            }
        };
        // Consoles and pipelines leave a newline behind, as editors do in files.
        match picked.expose().trim() {
            "" => Err("it is empty".to_owned()),
            text if text.len() == picked.expose().len() => Ok(picked),
            text => Ok(Secret::new(text)),
        }
    }

    fn parsed(&self, key: &str) -> Result<Value, String> {
        serde_json::from_str(self.text.expose())
            .map_err(|_| format!("it is not JSON, so it has no key {key:?}; remove `#{key}` from the reference"))
    }
}

fn of_value(value: &Value, key: &str) -> Result<Secret, String> {
    match value {
        Value::String(text) => Ok(Secret::new(text.as_str())),
        Value::Number(_) | Value::Bool(_) => Ok(Secret::new(value.to_string())),
        _ => Err(format!("its key {key:?} is neither text nor a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_picked_and_errors_show_no_value() {
        let text = |t: &str| Document::of_text(Secret::new(t));
        assert_eq!(text(" v\n").pick(None).unwrap().expose(), "v");
        assert_eq!(text(r#"{"a":"x","n":7}"#).pick(Some("n")).unwrap().expose(), "7");
        assert_eq!(Document::of_object(&serde_json::json!({"only": "x"})).pick(None).unwrap().expose(), "x");
        for (document, key, words) in [
            (text("hunter2"), Some("a"), "not JSON"),
            (text(r#"{"b":"hunter2"}"#), Some("a"), "no key \"a\""),
            (text(r#"{"a":["hunter2"]}"#), Some("a"), "neither text"),
            (text(" \n"), None, "empty"),
            (text("[\"hunter2\"]"), Some("a"), "no key"),
            (Document::of_object(&serde_json::json!({"a": "hunter2", "b": "x"})), None, "several keys"),
        ] {
            let error = document.pick(key).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}

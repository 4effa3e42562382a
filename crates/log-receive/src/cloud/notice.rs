//! What a queue's message says about new objects: an S3 event, alone, in an SNS envelope, or from EventBridge.
//!
//! Source: Amazon S3 User Guide, "Event message structure" and "Using EventBridge". Keys of S3 events are form-encoded, those
//! of EventBridge are not.

use serde_json::Value;

use super::{listing::decoded, object::ObjectName};

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// New objects and the region of each, if it was said.
    Objects(Vec<(ObjectName, Option<String>)>),
    /// Nothing is in it for us: a test event, a deletion.
    Nothing,
    /// It is none of the known forms.
    Unknown(&'static str),
}

/// Objects of one message at most.
const MOST: usize = 1000;

/// Reads a message.
pub(super) fn parse(body: &str) -> Notice {
    let Ok(value) = serde_json::from_str::<Value>(body) else { return Notice::Unknown("it is not JSON") };
    // SNS puts the event into a string.
    match (value.get("Type").and_then(Value::as_str), value.get("Message").and_then(Value::as_str)) {
        (Some("Notification"), Some(message)) => match serde_json::from_str(message) {
            Ok(inner) => event(&inner),
            Err(_) => Notice::Unknown("its SNS message is not JSON"),
        },
        _ => event(&value),
    }
}

fn event(value: &Value) -> Notice {
    let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    if value.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Notice::Nothing;
    }
    if let Some(records) = value.get("Records").and_then(Value::as_array) {
        let mut objects = Vec::new();
        for record in records.iter().take(MOST) {
            let name = text(record, "/eventName").unwrap_or_default();
            if !name.trim_start_matches("s3:").starts_with("ObjectCreated") {
                continue;
            }
            let (Some(bucket), Some(key)) = (text(record, "/s3/bucket/name"), text(record, "/s3/object/key")) else {
                return Notice::Unknown("a record names no bucket or no key");
            };
            objects.push((ObjectName { bucket, key: decoded(&key) }, text(record, "/awsRegion")));
        }
        return if objects.is_empty() { Notice::Nothing } else { Notice::Objects(objects) };
    }
    if value.get("source").and_then(Value::as_str) == Some("aws.s3") {
        if value.get("detail-type").and_then(Value::as_str) != Some("Object Created") {
            return Notice::Nothing;
        }
        let (Some(bucket), Some(key)) = (text(value, "/detail/bucket/name"), text(value, "/detail/object/key")) else {
            return Notice::Unknown("it names no bucket or no key");
        };
        return Notice::Objects(vec![(ObjectName { bucket, key }, text(value, "/region"))]);
    }
    Notice::Unknown("it is neither an S3 event nor one of EventBridge")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(keys: &[&str], region: &str) -> Notice {
        let name = |key: &&str| ObjectName { bucket: "b".into(), key: (*key).to_owned() };
        Notice::Objects(keys.iter().map(|key| (name(key), Some(region.to_owned()))).collect())
    }

    #[test]
    fn the_three_forms_are_read_and_keys_decoded_where_they_are_encoded() {
        let record = |name: &str, key: &str| {
            format!(
                r#"{{"eventName":"{name}","awsRegion":"r1","s3":{{"bucket":{{"name":"b"}},"object":{{"key":"{key}"}}}}}}"#
            )
        };
        let plain = format!(
            r#"{{"Records":[{},{},{}]}}"#,
            record("ObjectCreated:Put", "a+b%2Fc.gz"),
            record("ObjectRemoved:Delete", "x"),
            record("s3:ObjectCreated:Copy", "d")
        );
        assert_eq!(parse(&plain), objects(&["a b/c.gz", "d"], "r1"));
        let sns = serde_json::json!({"Type": "Notification", "Message": plain}).to_string();
        assert_eq!(parse(&sns), objects(&["a b/c.gz", "d"], "r1"));
        let bridge = r#"{"source":"aws.s3","detail-type":"Object Created","region":"r2",
            "detail":{"bucket":{"name":"b"},"object":{"key":"a+b%2F"}}}"#;
        assert_eq!(parse(bridge), objects(&["a+b%2F"], "r2"));
    }

    #[test]
    fn tests_and_deletions_are_nothing_and_the_rest_is_unknown() {
        assert_eq!(parse(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#), Notice::Nothing);
        assert_eq!(parse(r#"{"source":"aws.s3","detail-type":"Object Deleted"}"#), Notice::Nothing);
        assert_eq!(parse(r#"{"Records":[]}"#), Notice::Nothing);
        for text in [
            "",
            "7",
            "{}",
            r#"{"Type":"Notification","Message":"x"}"#,
            r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#,
        ] {
            assert!(matches!(parse(text), Notice::Unknown(_)), "{text}");
        }
    }
}

//! Credentials in the JSON shapes of `credential_process` and of the container endpoint.
//!
//! Keeps true: no value reaches a message.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use serde_json::Value;

/// A member of an object, whatever the case of its name.
pub(crate) fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Reads `AccessKeyId`, `SecretAccessKey`, `token_field` and `Expiration`. The error completes the sentence "the JSON ...".
pub(crate) fn credentials(object: &Value, token_field: &str, provider: &'static str) -> Result<Credentials, String> {
    let text = |name: &str| match field(object, name) {
        Some(Value::String(s)) if !s.trim().is_empty() => Ok(Some(s.trim().to_owned())),
        None | Some(Value::Null | Value::String(_)) => Ok(None),
        Some(_) => Err(format!("has a {name} that is not a string")),
    };
    let key = text("AccessKeyId")?.ok_or("has no AccessKeyId")?;
    let secret = text("SecretAccessKey")?.ok_or("has no SecretAccessKey")?;
    let expiry = match text("Expiration")? {
        Some(date) => Some(parse_time(&date).ok_or("has an Expiration that is not an ISO 8601 time with a zone")?),
        None => None,
    };
    Ok(Credentials::new(key, secret, text(token_field)?, expiry, provider))
}

/// ISO 8601 as AWS writes it.
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    text.trim().parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

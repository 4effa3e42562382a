//! The parameters of a query-protocol request, and the rules that STS has for them.

use std::collections::BTreeMap;

use super::bad;
use crate::{answer::ServiceError, refusal::shown, sigv4::decode_query, target::Target};

/// Most session tags.
const MOST_TAGS: usize = 50;
/// The shortest session of real STS, in seconds.
const SHORTEST_S: u32 = 900;
/// The longest session of real STS, in seconds.
const LONGEST_S: u32 = 43_200;

/// Parameters by name, decoded; the first one counts.
#[derive(Debug)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// From the body, or from the query when there is no body.
    pub(super) fn read(target: &Target, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        let text = if body.is_empty() { target.query.as_str() } else { body.as_ref() };
        let mut all = BTreeMap::new();
        for (name, value) in decode_query(text) {
            let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            all.entry(lossy(name)).or_insert_with(|| lossy(value));
        }
        Self(all)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, ServiceError> {
        self.get(name).ok_or_else(|| {
            let lower = lower_first(name);
            invalid(&format!("Value null at '{lower}' failed to satisfy constraint: Member must not be null"))
        })
    }

    /// 2 to 64 of `[\w+=,.@-]`.
    pub(super) fn session_name(&self) -> Result<&str, ServiceError> {
        let name = self.required("RoleSessionName")?;
        let constraint = if name.len() < 2 {
            "Member must have length greater than or equal to 2"
        } else if name.len() > 64 {
            "Member must have length less than or equal to 64"
        } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)) {
            "Member must satisfy regular expression pattern: [\\w+=,.@-]*"
        } else {
            return Ok(name);
        };
        Err(invalid(&format!(
            "Value '{}' at 'roleSessionName' failed to satisfy constraint: {constraint}",
            shown(name)
        )))
    }

    /// 2 to 1224 of `[\w+=,.@:/-]`.
    pub(super) fn external_id(&self) -> Result<Option<&str>, ServiceError> {
        match self.0.get("ExternalId").map(String::as_str) {
            None => Ok(None),
            Some(id)
                if (2..=1224).contains(&id.len())
                    && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b)) =>
            {
                Ok(Some(id))
            }
            Some(id) => Err(invalid(&format!(
                "Value '{}' at 'externalId' failed to satisfy constraint: Member must satisfy regular expression \
                 pattern: [\\w+=,.@:\\/-]*",
                shown(id)
            ))),
        }
    }

    /// Seconds; an hour when none are asked for (or the role's maximum, when that is less).
    pub(super) fn duration_s(&self, role_maximum_s: u32) -> Result<u32, ServiceError> {
        let Some(text) = self.get("DurationSeconds") else {
            return Ok(role_maximum_s.min(3600));
        };
        let at = |constraint: &str| {
            invalid(&format!("Value '{}' at 'durationSeconds' failed to satisfy constraint: {constraint}", shown(text)))
        };
        let seconds: u32 = text.parse().map_err(|_| bad("MalformedInput", "durationSeconds is not a number"))?;
        if seconds < SHORTEST_S {
            return Err(at("Member must have value greater than or equal to 900"));
        }
        if seconds > LONGEST_S {
            return Err(at("Member must have value less than or equal to 43200"));
        }
        if seconds > role_maximum_s {
            return Err(bad(
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        Ok(seconds)
    }

    /// `Tags.member.N.Key` and `.Value`.
    pub(super) fn tags(&self) -> Result<BTreeMap<String, String>, ServiceError> {
        let mut tags = BTreeMap::new();
        for number in 1..=MOST_TAGS + 1 {
            let Some(key) = self.get(&format!("Tags.member.{number}.Key")) else {
                return Ok(tags);
            };
            let value = self.0.get(&format!("Tags.member.{number}.Value")).map(String::as_str).unwrap_or_default();
            if key.chars().count() > 128 || value.chars().count() > 256 {
                return Err(invalid(&format!(
                    "Value at 'tags.{number}.member' failed to satisfy constraint: a key has 1 to 128 and a value 0 to \
                     256 characters"
                )));
            }
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(bad(
                    "InvalidParameterValue",
                    "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
                ));
            }
        }
        Err(invalid("Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50"))
    }

    /// Refuses what would change what a session may do, since the sandbox would not honour it.
    pub(super) fn refuse_unplayed(&self) -> Result<(), ServiceError> {
        let unplayed = ["Policy", "PolicyArns.", "SerialNumber", "TokenCode", "SourceIdentity", "ProvidedContexts."];
        match self.0.keys().find(|name| unplayed.iter().any(|start| name.starts_with(start))) {
            None => Ok(()),
            Some(name) => Err(invalid(&format!("the sandbox does not play the parameter {}", shown(name)))),
        }
    }
}

/// `1 validation error detected: ...`, as AWS counts them.
fn invalid(what: &str) -> ServiceError {
    bad("ValidationError", format!("1 validation error detected: {what}"))
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

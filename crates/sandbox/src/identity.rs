//! Who may call the sandbox: an access key and what stands behind it.
//!
//! Keeps true: secrets and tokens are compared in constant time and never appear in `Debug`.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use net::Secret;

/// One access key, the way STS or IAM would have made it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `AKID...`, as it appears in requests.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Secret,
    /// Set for temporary credentials: requests must carry exactly this token.
    pub session_token: Option<Secret>,
    /// From this moment on requests are refused as expired.
    pub expires_at: Option<SystemTime>,
    /// Twelve digits.
    pub account_id: String,
    /// The caller's ARN, as `GetCallerIdentity` reports it.
    pub arn: String,
    /// `AIDA...` for a user, `AROA...:session` for a role.
    pub user_id: String,
    /// Allowed actions such as `aps:RemoteWrite`, `s3:*` or `*`. A `*` stands for any run of characters.
    pub allow: Vec<String>,
}

impl Identity {
    /// The key id of [`Identity::example`].
    pub const EXAMPLE_KEY_ID: &'static str = "AKIDSANDBOXEXAMPLE";
    /// The secret of [`Identity::example`]; worth nothing outside the sandbox.
    pub const EXAMPLE_SECRET: &'static str = "sandboxSecretKeyForLocalUseOnlyEXAMPLE";

    /// A user of account 000000000000 that may do everything.
    pub fn user(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: Secret::new(secret_access_key),
            session_token: None,
            expires_at: None,
            account_id: "000000000000".to_owned(),
            arn: "arn:aws:iam::000000000000:user/sandbox".to_owned(),
            user_id: "AIDASANDBOXEXAMPLE".to_owned(),
            allow: vec!["*".to_owned()],
        }
    }

    /// The key that exists unless others are configured. Its secret is public on purpose.
    pub fn example() -> Self {
        Self::user(Self::EXAMPLE_KEY_ID, Self::EXAMPLE_SECRET)
    }

    /// The same with a session token.
    pub fn with_session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(Secret::new(token));
        self
    }

    /// The same with an end.
    pub fn expiring_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// The same, allowed only these actions.
    pub fn allowing<S: Into<String>>(mut self, actions: impl IntoIterator<Item = S>) -> Self {
        self.allow = actions.into_iter().map(Into::into).collect();
        self
    }

    /// True when one of the allowed patterns matches `action`, letter case aside, as IAM does.
    pub fn allows(&self, action: &str) -> bool {
        self.allow.iter().any(|pattern| matches_pattern(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase()))
    }

    /// The moment of expiry in milliseconds since the Unix epoch.
    pub(crate) fn expires_at_ms(&self) -> Option<i64> {
        let at = self.expires_at?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The identities that exist, by access key id.
#[derive(Debug, Default)]
pub(crate) struct Identities(HashMap<String, Identity>);

impl Identities {
    pub(crate) fn new(list: impl IntoIterator<Item = Identity>) -> Self {
        Self(list.into_iter().map(|identity| (identity.access_key_id.clone(), identity)).collect())
    }

    pub(crate) fn get(&self, access_key_id: &str) -> Option<&Identity> {
        self.0.get(access_key_id)
    }

    pub(crate) fn put(&mut self, identity: Identity) {
        self.0.insert(identity.access_key_id.clone(), identity);
    }

    pub(crate) fn remove(&mut self, access_key_id: &str) -> bool {
        self.0.remove(access_key_id).is_some()
    }

    /// Ends the validity of a key at `at`; false when there is no such key.
    pub(crate) fn expire(&mut self, access_key_id: &str, at: SystemTime) -> bool {
        match self.0.get_mut(access_key_id) {
            Some(identity) => {
                identity.expires_at = Some(at);
                true
            }
            None => false,
        }
    }

    /// Key ids with their ARNs, sorted by key id.
    pub(crate) fn list(&self) -> Vec<&Identity> {
        let mut all: Vec<&Identity> = self.0.values().collect();
        all.sort_unstable_by(|a, b| a.access_key_id.cmp(&b.access_key_id));
        all
    }
}

/// Glob matching with `*` only, linear in the text for each star.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last_part = None;
    for part in parts {
        if let Some(middle) = last_part.replace(part) {
            let Some((_, after)) = rest.split_once::<&str>(middle) else {
                return false;
            };
            rest = after;
        }
    }
    match last_part {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

/// Equality whose duration depends on the lengths only.
pub(crate) fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0u8, |acc, (a, b)| acc | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, want) in [
            ("*", "aps:remotewrite", true),
            ("aps:*", "aps:remotewrite", true),
            ("aps:*", "s3:putobject", false),
            ("s3:*object", "s3:putobject", true),
            ("s3:*o*t", "s3:putobject", true),
            ("s3:putobject", "s3:putobject", true),
            ("s3:putobject", "s3:putobjectacl", false),
            ("", "s3:putobject", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), want, "{pattern} against {text}");
        }
    }

    #[test]
    fn actions_are_matched_without_regard_to_case() {
        assert!(Identity::example().allowing(["APS:remotewrite"]).allows("aps:RemoteWrite"));
        assert!(!Identity::example().allowing(["aps:QueryMetrics"]).allows("aps:RemoteWrite"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", Identity::user("AKID", "hush").with_session_token("hush-token"));
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn comparison_sees_every_byte() {
        assert!(equal_in_constant_time(b"abc", b"abc"));
        assert!(!equal_in_constant_time(b"abc", b"abd"));
        assert!(!equal_in_constant_time(b"abc", b"ab"));
    }
}

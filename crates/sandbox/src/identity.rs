//! Who may call the sandbox: an access key and what stands behind it.
//!
//! Keeps true: secrets and tokens are compared in constant time and never appear in `Debug`.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use net::Secret;

use crate::arn::Arn;

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
    /// Denied actions; they win over `allow`.
    pub deny: Vec<String>,
    /// False: the key is deactivated, and refused as if it did not exist.
    pub is_active: bool,
    /// Before this moment the key does not exist yet (a key that is being rotated in).
    pub valid_from: Option<SystemTime>,
    /// From this moment on it no longer exists (a key that is being rotated out); unlike `expires_at` for lasting keys.
    pub valid_until: Option<SystemTime>,
    /// For sessions: the role, whose permissions hold instead of `allow` and `deny`.
    pub role_arn: Option<String>,
    /// For sessions: their tags.
    pub tags: BTreeMap<String, String>,
}

/// What policies say about an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    Granted,
    /// Nothing allows it.
    Missing,
    /// Something denies it.
    Denied,
}

/// What lists of allowed and denied actions say; letter case aside, as in IAM.
pub(crate) fn permission(allow: &[String], deny: &[String], action: &str) -> Permission {
    let action = action.to_ascii_lowercase();
    let matches = |list: &[String]| list.iter().any(|pattern| matches_pattern(&pattern.to_ascii_lowercase(), &action));
    match (matches(deny), matches(allow)) {
        (true, _) => Permission::Denied,
        (false, true) => Permission::Granted,
        (false, false) => Permission::Missing,
    }
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
            deny: Vec::new(),
            is_active: true,
            valid_from: None,
            valid_until: None,
            role_arn: None,
            tags: BTreeMap::new(),
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

    /// The same under another name: its ARN, and the account in it.
    pub fn named(mut self, arn: impl Into<String>) -> Self {
        self.arn = arn.into();
        if let Some(arn) = Arn::read(&self.arn) {
            self.account_id = arn.account.to_owned();
        }
        self
    }

    /// The same, refused these actions whatever is allowed.
    pub fn denying<S: Into<String>>(mut self, actions: impl IntoIterator<Item = S>) -> Self {
        self.deny = actions.into_iter().map(Into::into).collect();
        self
    }

    /// True when an allowed pattern matches `action` and no denied one does. Says nothing about sessions, whose role
    /// decides.
    pub fn allows(&self, action: &str) -> bool {
        permission(&self.allow, &self.deny, action) == Permission::Granted
    }

    /// Whether the key exists at this moment, expiry aside.
    pub(crate) fn is_valid_at(&self, now_ms: i64) -> bool {
        self.is_active
            && self.valid_from.is_none_or(|from| since_epoch_ms(from) <= now_ms)
            && self.valid_until.is_none_or(|until| since_epoch_ms(until) > now_ms)
    }

    /// The moment of expiry in milliseconds since the Unix epoch.
    pub(crate) fn expires_at_ms(&self) -> Option<i64> {
        self.expires_at.map(since_epoch_ms)
    }
}

fn since_epoch_ms(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// A moment from milliseconds since the Unix epoch; earlier ones are the epoch.
pub(crate) fn moment(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0).min(MOST_MS))
}

/// The end of the year 9999, beyond which times are not written.
const MOST_MS: u64 = 253_402_300_799_000;
/// Most sessions kept; those that ended first make room.
const MOST_SESSIONS: usize = 10_000;

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

    /// Adds a session's key; false when there is no room, because too many sessions are still valid.
    pub(crate) fn put_session(&mut self, identity: Identity, now_ms: i64) -> bool {
        if self.0.len() >= MOST_SESSIONS {
            self.0.retain(|_, known| known.role_arn.is_none() || known.expires_at_ms().is_none_or(|at| at > now_ms));
        }
        let is_room = self.0.len() < MOST_SESSIONS;
        if is_room {
            self.put(identity);
        }
        is_room
    }

    /// Ends the sessions of a role (`None`: of all) at `now_ms`; how many were still valid.
    pub(crate) fn expire_sessions(&mut self, role_arn: Option<&str>, now_ms: i64) -> usize {
        let mut ended = 0;
        for identity in self.0.values_mut() {
            let is_meant = identity.role_arn.as_deref().is_some_and(|arn| role_arn.is_none_or(|wanted| wanted == arn));
            if is_meant && identity.expires_at_ms().is_none_or(|at| at > now_ms) {
                identity.expires_at = Some(moment(now_ms));
                ended += 1;
            }
        }
        ended
    }

    /// Key ids with their ARNs, sorted by key id.
    pub(crate) fn list(&self) -> Vec<&Identity> {
        let mut all: Vec<&Identity> = self.0.values().collect();
        all.sort_unstable_by(|a, b| a.access_key_id.cmp(&b.access_key_id));
        all
    }
}

/// Glob matching with `*` only, linear in the text for each star.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
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

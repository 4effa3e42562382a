//! Refuses an identity block that can never work, with what to write instead.
//!
//! Reads no file and asks nobody: what only time can tell is left to the first signature.

use std::time::Duration;

use net::SecretSource;

use crate::{AwsError, CredentialSource, IdentityConfig, RoleStep, region};

/// The secret's place holds an access key id, and the id's place none.
pub(crate) fn is_swapped(id: &str, secret: &str) -> bool {
    let is_id = |t: &str| t.len() == 20 && (t.starts_with("AKIA") || t.starts_with("ASIA"));
    !is_id(id) && is_id(secret)
}

/// The id of a temporary key that is written without its token.
pub(crate) fn lacks_token(config: &IdentityConfig) -> Option<&str> {
    match &config.source {
        CredentialSource::Static { access_key: SecretSource::Inline(key), session_token: None, .. } => {
            Some(key.expose().trim()).filter(|key| key.starts_with("ASIA"))
        }
        _ => None,
    }
}

/// The first fault of a block: what no file, no service and no time will mend. [`build`](crate::build) refuses the same; this is
/// for those who check a configuration without starting anything.
pub fn check(config: &IdentityConfig) -> Result<(), AwsError> {
    let invalid = |key, why: &str| Err(AwsError::Invalid { key, why: why.to_owned() });
    match &config.source {
        CredentialSource::Static { access_key, secret_key, .. } => {
            for (key, source) in [("access_key", access_key), ("secret_key", secret_key)] {
                if let SecretSource::Inline(text) = source
                    && text.expose().trim().is_empty()
                {
                    return invalid(key, "is empty; is the variable it comes from set?");
                }
            }
            if let (SecretSource::Inline(key), SecretSource::Inline(secret)) = (access_key, secret_key)
                && is_swapped(key.expose().trim(), secret.expose().trim())
            {
                return invalid("secret_key", "holds an access key id; access_key and secret_key are swapped");
            }
        }
        CredentialSource::RolesAnywhere(anywhere) => {
            check_role("roles_anywhere.role_arn", &anywhere.role_arn)?;
            check_session("roles_anywhere.session_name", anywhere.session_name.as_deref())?;
            for (key, arn, kind) in [
                ("roles_anywhere.trust_anchor_arn", &anywhere.trust_anchor_arn, "trust-anchor/"),
                ("roles_anywhere.profile_arn", &anywhere.profile_arn, "profile/"),
            ] {
                if !arn.contains(":rolesanywhere:") || !arn.contains(kind) || region::arn_region(arn).is_none() {
                    let why = format!(
                        "{arn:?} is not such an ARN; it looks like arn:aws:rolesanywhere:<region>:<account>:{kind}<id>"
                    );
                    return Err(AwsError::Invalid { key, why });
                }
            }
            if anywhere
                .session_duration
                .is_some_and(|d| d < Duration::from_secs(900) || d > Duration::from_secs(12 * 3600))
            {
                return invalid(
                    "roles_anywhere.session_duration",
                    "must be between 15m and 12h, and at most the profile's maximum",
                );
            }
        }
        CredentialSource::WebIdentity { role_arn, session_name, .. } => {
            check_role("web_identity.role_arn", role_arn)?;
            check_session("web_identity.session_name", session_name.as_deref())?;
        }
        CredentialSource::StandardChain
        | CredentialSource::Profile { .. }
        | CredentialSource::Process { .. }
        | CredentialSource::Container { .. }
        | CredentialSource::InstanceMetadata { .. } => {}
    }
    for (at, role) in config.roles.iter().enumerate() {
        check_role("role_arn", &role.role_arn)?;
        check_session("session_name", role.session_name.as_deref())?;
        if role.external_id.as_ref().is_some_and(|id| !(2..=1224).contains(&id.len())) {
            return invalid("external_id", "must have 2 to 1224 characters");
        }
        let hours = |h: u64| Duration::from_secs(h * 3600);
        if role.session_duration.is_some_and(|d| d < Duration::from_secs(900) || d > hours(12)) {
            return invalid("session_duration", "must be between 15m and 12h, and at most the role's maximum");
        }
        if at > 0 && role.session_duration.is_some_and(|d| d > hours(1)) {
            return invalid("session_duration", "a role assumed from a role lasts at most 1h");
        }
        check_tags(role)?;
    }
    if let Some(region) = &config.sts.region {
        region::check("sts_region", region)?;
    }
    if config.sts.endpoint.is_some() && (config.sts.use_fips || config.sts.use_dualstack) {
        return invalid(
            "sts_endpoint",
            "cannot be combined with use_fips_sts_endpoint (use_fips) or use_dualstack: the endpoint's own name decides that; keep \
             sts_endpoint alone (with the name of a FIPS or dual-stack endpoint), or remove it",
        );
    }
    Ok(())
}

/// As STS takes them: <https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html>.
fn check_tags(role: &RoleStep) -> Result<(), AwsError> {
    let invalid = |why: String| Err(AwsError::Invalid { key: "session_tags", why });
    if role.session_tags.len() > 50 {
        return invalid("at most 50 tags".to_owned());
    }
    for (name, value) in &role.session_tags {
        if name.to_ascii_lowercase().starts_with("aws:") {
            return invalid(format!(
                "{name:?} begins with aws:, which AWS keeps for its own tags; name it differently"
            ));
        }
        if !(1..=128).contains(&name.chars().count()) || value.chars().count() > 256 {
            return invalid(format!("the name of {name:?} must have 1 to 128 characters and its value at most 256"));
        }
    }
    Ok(())
}

fn check_role(key: &'static str, arn: &str) -> Result<(), AwsError> {
    let parts: Vec<&str> = arn.trim().splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, role]
            if partition.starts_with("aws") && account.len() == 12 && role.starts_with("role/") =>
        {
            Ok(())
        }
        _ => Err(AwsError::Invalid {
            key,
            why: format!("{arn:?} is not a role's ARN; write arn:aws:iam::123456789012:role/name"),
        }),
    }
}

fn check_session(key: &'static str, name: Option<&str>) -> Result<(), AwsError> {
    let Some(name) = name else { return Ok(()) };
    let fine =
        (2..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if fine {
        Ok(())
    } else {
        Err(AwsError::Invalid { key, why: "must be 2 to 64 letters, digits or _+=,.@-".to_owned() })
    }
}

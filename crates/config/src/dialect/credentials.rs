//! Where an identity's base credentials come from: the part of the identity block that names a source.
//!
//! Reads no credentials. Keeps true: one source; static keys come in pairs.

use aws::{CredentialSource, RolesAnywhereConfig};
use net::{Pem, SecretSource};

use super::identity::{arn, needed, refuse_empty, region, session_duration, session_name};
use crate::block::{Block, Shape};

pub(super) const WEB_IDENTITY: Shape =
    Shape { name: "web_identity", keys: &[&["role_arn", "token_file", "session_name"]] };

pub(super) const CONTAINER: Shape = Shape { name: "container", keys: &[&["endpoint", "token_file"]] };

pub(super) const INSTANCE_METADATA: Shape = Shape { name: "instance_metadata", keys: &[&["endpoint"]] };

pub(super) const ROLES_ANYWHERE: Shape = Shape {
    name: "roles_anywhere",
    keys: &[&[
        "trust_anchor_arn",
        "profile_arn",
        "role_arn",
        "certificate",
        "private_key",
        "certificate_chain",
        "intermediates",
        "session_duration",
        "session_name",
        "region",
        "endpoint",
    ]],
};

pub(super) fn source(block: &Block<'_>) -> CredentialSource {
    let access = key_or_file(block, &["access_key", "access_key_id"], "access_key_file", true);
    let secret = key_or_file(block, &["secret_key", "secret_access_key"], "secret_key_file", true);
    // Long-lived keys have no token, so a variable for it is often unset.
    let token = key_or_file(block, &["session_token"], "session_token_file", false);
    let written = |keys: &[&str]| keys.iter().any(|key| block.raw(key).is_some());
    let access_written = written(&["access_key", "access_key_id", "access_key_file"]);
    let secret_written = written(&["secret_key", "secret_access_key", "secret_key_file"]);
    match (access_written, secret_written) {
        (true, false) => block.error(
            "there is an access key but no secret key",
            Some("add secret_key (or secret_access_key, or secret_key_file)"),
        ),
        (false, true) => block.error(
            "there is a secret key but no access key",
            Some("add access_key (or access_key_id, or access_key_file)"),
        ),
        (false, false) if token.is_some() => {
            block.error("there is a session token but no access key and secret key", None)
        }
        _ => {}
    }
    let profile_keys = ["profile", "shared_config_file", "shared_credentials_file"];
    let given: Vec<&str> = [
        access_written.then_some("static keys"),
        profile_keys.iter().any(|key| block.get(key).is_some()).then_some("`profile`"),
        block.get("credential_process").map(|_| "`credential_process`"),
        block.get("web_identity").map(|_| "`web_identity`"),
        block.get("container").map(|_| "`container`"),
        block.get("instance_metadata").map(|_| "`instance_metadata`"),
        block.get("roles_anywhere").map(|_| "`roles_anywhere`"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match given[..] {
        // The Agent takes such files and uses the keys.
        ["static keys", "`profile`"] => {
            block.warn("static keys and `profile` are both given; the keys are used", Some("keep one of them"))
        }
        [first, second, ..] => block.error(
            format!("{first} and {second} are both given; an identity has one source of credentials"),
            Some("keep one of them"),
        ),
        _ => {}
    }
    let static_keys = match (access, secret) {
        (Some(access_key), Some(secret_key)) => {
            Some(CredentialSource::Static { access_key, secret_key, session_token: token })
        }
        _ => None,
    };
    let path = |key: &str| block.identity_text(&[key], true).map(Into::into);
    let (name, config_file, credentials_file) =
        (block.identity_text(&["profile"], true), path("shared_config_file"), path("shared_credentials_file"));
    let profile = (name.is_some() || config_file.is_some() || credentials_file.is_some())
        .then_some(CredentialSource::Profile { name, config_file, credentials_file });
    let process = block.secret(&["credential_process"], true).map(|command| CredentialSource::Process { command });
    let web_identity = block.block("web_identity", WEB_IDENTITY).and_then(|b| web_identity(&b));
    let container = block.block("container", CONTAINER).map(|b| {
        refuse_empty(&b, None);
        CredentialSource::Container {
            endpoint: b.url("endpoint"),
            token_file: b.identity_text(&["token_file"], true).map(Into::into),
        }
    });
    let metadata = block.block("instance_metadata", INSTANCE_METADATA).map(|b| {
        refuse_empty(&b, None);
        CredentialSource::InstanceMetadata { endpoint: b.url("endpoint") }
    });
    let anywhere = block.block("roles_anywhere", ROLES_ANYWHERE).and_then(|b| roles_anywhere(&b));
    static_keys.or(profile).or(process).or(web_identity).or(container).or(metadata).or(anywhere).unwrap_or_default()
}

fn key_or_file(block: &Block<'_>, keys: &[&str], file_key: &str, needed: bool) -> Option<SecretSource> {
    let inline = block.secret(keys, needed);
    let file = block.identity_text(&[file_key], needed);
    if inline.is_some() && file.is_some() {
        block.error_at(file_key, format!("the key itself and `{file_key}` are both given; give one of them"), None);
    }
    inline.or_else(|| file.map(|path| SecretSource::File(path.into())))
}

fn web_identity(block: &Block<'_>) -> Option<CredentialSource> {
    refuse_empty(block, None);
    let (role, token_file) = (arn(block, "role_arn", true), needed(block, "token_file"));
    let session_name = session_name(block);
    Some(CredentialSource::WebIdentity { role_arn: role?, token_file: token_file?.into(), session_name })
}

fn roles_anywhere(block: &Block<'_>) -> Option<CredentialSource> {
    refuse_empty(block, None);
    let (anchor, profile, role) =
        (arn(block, "trust_anchor_arn", true), arn(block, "profile_arn", true), arn(block, "role_arn", true));
    let certificate = pem(block, &["certificate"]);
    let private_key = pem(block, &["private_key"]);
    for (key, value) in [("certificate", &certificate), ("private_key", &private_key)] {
        if value.is_none() && block.raw(key).is_none() {
            block.error(format!("`{key}` is missing in `roles_anywhere`"), Some(&format!("{key}: /path/to/file.pem")));
        }
    }
    let (certificate_chain, session_duration) =
        (pem(block, &["certificate_chain", "intermediates"]), session_duration(block));
    let (session_name, region, endpoint) = (session_name(block), region(block, "region"), block.url("endpoint"));
    Some(CredentialSource::RolesAnywhere(Box::new(RolesAnywhereConfig {
        trust_anchor_arn: anchor?,
        profile_arn: profile?,
        role_arn: role?,
        certificate: certificate?,
        private_key: private_key?,
        certificate_chain,
        session_duration,
        session_name,
        region,
        endpoint,
    })))
}

/// A path to a PEM file, or the PEM text itself.
fn pem(block: &Block<'_>, keys: &[&str]) -> Option<Pem> {
    block.secret(keys, true).map(|source| match source {
        SecretSource::Inline(text) if text.expose().contains("-----BEGIN") => Pem::Inline(text),
        SecretSource::Inline(path) => Pem::File(path.expose().into()),
        SecretSource::File(path) => Pem::File(path),
        SecretSource::Stored(stored) => Pem::Stored(stored),
    })
}

//! The identity block: `sigv4:` or `aws:`, which mean the same.
//!
//! Reads and checks form; finds no credentials. Where the region is to come from a profile, the environment or instance
//! metadata, the signer finds it later: only a block that can never have a region is refused here.

use std::{collections::BTreeMap, time::Duration};

use aws::{AwsHost, CredentialSource, IdentityConfig, RoleStep, StsConfig};
use url::Url;

use super::credentials;
use crate::{
    block::{Block, Shape},
    dialect,
};

const ROLE_KEYS: &[&str] = &["role_arn", "external_id", "session_name", "session_duration", "session_tags"];

pub(super) const IDENTITY: Shape = Shape {
    name: "sigv4",
    keys: &[
        &[
            "region",
            "service_name",
            "service",
            "access_key",
            "access_key_id",
            "secret_key",
            "secret_access_key",
            "session_token",
            "access_key_file",
            "secret_key_file",
            "session_token_file",
            "profile",
            "shared_config_file",
            "shared_credentials_file",
            "credential_process",
            "web_identity",
            "container",
            "instance_metadata",
            "roles_anywhere",
            "assume_roles",
            "sts_region",
            "sts_endpoint",
            "use_fips_sts_endpoint",
            "use_fips",
            "use_dualstack",
        ],
        ROLE_KEYS,
    ],
};

pub(super) const ASSUME_ROLE: Shape = Shape { name: "assume_roles[]", keys: &[ROLE_KEYS] };

/// The identity of the destination `block`, if it has an identity block.
pub(super) fn read(destination: &Block<'_>, url: Option<&Url>, host: Option<&AwsHost>) -> Option<IdentityConfig> {
    let (sigv4, aws) = (destination.get("sigv4"), destination.get("aws"));
    if let (Some(_), Some(aws)) = (&sigv4, &aws) {
        destination.reader.error(aws, "`sigv4` and `aws` mean the same; give one of them", None);
    }
    let errors = destination.reader.errors();
    let block = Block::open(destination.reader, IDENTITY, &sigv4.or(aws)?)?;
    refuse_empty(&block, host.and_then(|h| h.region.as_deref()));
    let source = credentials::source(&block);
    let identity = IdentityConfig {
        region: region(&block, "region"),
        service: block.identity_text(&["service_name", "service"], true),
        roles: roles(&block, &source),
        sts: sts(&block),
        source,
    };
    check_region(&block, &identity, url, host);
    // What the signer would refuse is an error of the file, and told here once: nothing of it may wait for a start.
    if destination.reader.errors() == errors
        && let Err(error) = aws::check(&identity)
    {
        refused(&block, &error);
    }
    Some(identity)
}

/// At the key that the signer names, or at the block where it is none of the block's own.
fn refused(block: &Block<'_>, error: &aws::AwsError) {
    let key = match error {
        aws::AwsError::Invalid { key, .. } => key.rsplit('.').next().unwrap_or(key),
        _ => "",
    };
    if block.keys().any(|known| known == key) && block.raw(key).is_some() {
        block.error_at(key, error.to_string(), None);
    } else {
        block.error(error.to_string(), None);
    }
}

/// Reports each key of an identity block with nothing after it: it would pass for an absent one and another identity sign.
/// What a variable left empty is told by whoever reads the key.
pub(super) fn refuse_empty(block: &Block<'_>, region_of_host: Option<&str>) {
    // Templates leave lists and mappings of nothing, which say the same as their absence.
    let may_be_empty = |key: &str| matches!(key, "assume_roles" | "session_tags");
    for key in block.keys().filter(|key| !may_be_empty(key)) {
        let Some(field) = block.raw(key).filter(|f| f.is_empty() && block.reader.empty_variable(f).is_none()) else {
            continue;
        };
        let message = if key == "region" { "no region: `region` is empty".into() } else { format!("`{key}` is empty") };
        let help = match (key, region_of_host) {
            ("region", Some(region)) => format!("write `region: {region}`, or remove the key: the URL's host names it"),
            ("region", None) => "write `region: us-east-1` (the region of the workspace)".into(),
            ("sts_region", _) => "write a region, such as `sts_region: us-east-1`, or remove the key".into(),
            ("service_name" | "service", _) => {
                format!("write `{key}: aps` (objects: `{key}: s3`), or remove the key: `aps` and `s3` are the defaults")
            }
            ("profile", _) => "write a profile's name, such as `profile: default`, or remove the key".into(),
            ("use_fips_sts_endpoint" | "use_fips" | "use_dualstack", _) => {
                format!("write `{key}: true`, or remove the key")
            }
            ("session_duration", _) => "write `session_duration: 1h`, or remove the key".into(),
            ("container" | "instance_metadata", _) => {
                format!("write `{key}: {{}}` for what the platform says, or remove the key")
            }
            ("web_identity" | "roles_anywhere", _) => "write its keys under it, or remove the key".into(),
            _ if key.ends_with("_arn") => {
                format!("write `{key}: arn:aws:...`, or remove the key")
            }
            _ if key.ends_with("endpoint") => format!("write `{key}: https://host`, or remove the key"),
            _ if key.ends_with("_file") => format!("write `{key}: /path/to/file`, or remove the key"),
            _ if dialect::is_secret(key) && key != "external_id" => {
                format!("write the value, `{key}: env://NAME` or `{key}: file:///path`, or remove the key")
            }
            _ => format!("write `{key}: value`, or remove the key"),
        };
        // Keys that last have no token, and Grafana Agent takes `profile:` and `role_arn:` with nothing after them for absent:
        // templates that write them all are right. A region is then the host's.
        let harmless = matches!(key, "session_token" | "session_token_file" | "profile" | "role_arn" | "external_id")
            || (key == "region" && region_of_host.is_some());
        if harmless {
            block.reader.warn(&field, message, Some(&help));
        } else {
            block.reader.error(&field, message, Some(&help));
        }
    }
}

pub(super) fn region(block: &Block<'_>, key: &str) -> Option<String> {
    let region = block.identity_text(&[key], true)?;
    let region = region.trim().to_owned();
    if !looks_like_region(&region) {
        block.error_at(key, format!("`{key}`: this is not the name of an AWS region"), Some("such as us-east-1"));
    }
    Some(region)
}

fn looks_like_region(text: &str) -> bool {
    text.contains('-')
        && text.len() <= 32
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn check_region(block: &Block<'_>, identity: &IdentityConfig, url: Option<&Url>, host: Option<&AwsHost>) {
    match (&identity.region, host.and_then(|h| h.region.as_ref())) {
        (Some(written), Some(of_host)) if written != of_host && looks_like_region(written) => {
            let message = format!(
                "the region here is {written}, but the URL's host is in {of_host}; AWS refuses signatures for another region"
            );
            match block.get("region") {
                Some(field) => block.reader.warn(&field, message, Some("remove `region` to take it from the host")),
                None => block.warn(message, None),
            }
        }
        (None, None) if url.is_some() && block.raw("region").is_none() => {
            let environment = |name: &str| (block.reader.environment)(name).is_some_and(|v| !v.is_empty());
            let from_environment = environment("AWS_REGION") || environment("AWS_DEFAULT_REGION");
            if matches!(identity.source, CredentialSource::Static { .. })
                && block.get("profile").is_none()
                && !from_environment
            {
                let help = Some("add `region: us-east-1` (the region of the workspace) to this block");
                let without =
                    "no region: the URL's host names none, and neither a profile nor AWS_REGION could give one";
                let off = (block.reader.environment)("AWS_EC2_METADATA_DISABLED");
                if off.is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
                    block.error(without, help);
                } else {
                    let asked = "instance metadata is asked when the agent runs, and outside EC2 this destination waits with an error";
                    block.warn(format!("{without}; {asked}"), help);
                }
            }
        }
        _ => {}
    }
}

pub(super) fn needed(block: &Block<'_>, key: &str) -> Option<String> {
    let text = block.identity_text(&[key], true);
    if text.is_none() && block.raw(key).is_none() {
        block.error(format!("`{key}` is missing"), None);
    }
    text
}

pub(super) fn arn(block: &Block<'_>, key: &str, is_needed: bool) -> Option<String> {
    // What a variable left empty is an error of either: without that role another identity would sign.
    let arn = if is_needed { needed(block, key) } else { block.identity_text(&[key], true) }?;
    if !arn.starts_with("arn:") || arn.split(':').count() < 6 {
        block.error_at(
            key,
            format!("`{key}`: this is not an ARN"),
            Some("such as arn:aws:iam::123456789012:role/name"),
        );
    }
    Some(arn)
}

fn roles(block: &Block<'_>, source: &CredentialSource) -> Vec<RoleStep> {
    let mut roles = Vec::new();
    match arn(block, "role_arn", false) {
        Some(role_arn) => roles.push(role_step(block, role_arn)),
        None if block.raw("role_arn").is_none() => {
            let lonely = ["external_id", "session_duration", "session_tags", "session_name"]
                .into_iter()
                .find(|key| block.get(key).is_some());
            if let Some(key) = lonely.filter(|_| {
                !matches!(source, CredentialSource::WebIdentity { .. } | CredentialSource::RolesAnywhere(_))
            }) {
                block.error_at(
                    key,
                    format!("`{key}` is given without `role_arn`"),
                    Some("add the role to assume, or remove the key"),
                );
            }
        }
        None => {}
    }
    for item in block.items("assume_roles") {
        let Some(step) = Block::open(block.reader, ASSUME_ROLE, &item) else {
            continue;
        };
        refuse_empty(&step, None);
        if let Some(role_arn) = arn(&step, "role_arn", true) {
            roles.push(role_step(&step, role_arn));
        }
    }
    roles
}

fn role_step(block: &Block<'_>, role_arn: String) -> RoleStep {
    let tags: BTreeMap<String, String> = block
        .entries("session_tags")
        .into_iter()
        .filter_map(|(key, field)| Some((key.to_owned(), block.reader.secret_text(&field)?)))
        .collect();
    RoleStep {
        role_arn,
        external_id: block.identity_text(&["external_id"], true),
        session_name: session_name(block),
        session_duration: session_duration(block),
        session_tags: tags,
    }
}

pub(super) fn session_name(block: &Block<'_>) -> Option<String> {
    let name = block.identity_text(&["session_name"], false)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&name.len()) || !name.chars().all(allowed) {
        block.error_at("session_name", "`session_name` is 2 to 64 letters, digits and characters of _+=,.@-", None);
    }
    Some(name)
}

pub(super) fn session_duration(block: &Block<'_>) -> Option<Duration> {
    let duration = block.duration("session_duration")?;
    if !(Duration::from_secs(900)..=Duration::from_secs(12 * 3600)).contains(&duration) {
        block.error_at(
            "session_duration",
            "`session_duration` is from 15m to 12h",
            Some("session_duration: 1h is the default"),
        );
    }
    Some(duration)
}

fn sts(block: &Block<'_>) -> StsConfig {
    let fips = block.either(&["use_fips_sts_endpoint", "use_fips"]).is_some();
    let use_fips = fips && block.flag("use_fips_sts_endpoint").or_else(|| block.flag("use_fips")).unwrap_or(false);
    let (endpoint, use_dualstack) = (block.url("sts_endpoint"), block.flag("use_dualstack").unwrap_or(false));
    let written = ["use_fips_sts_endpoint", "use_fips"].into_iter().find(|key| block.get(key).is_some());
    let contradicts = written.filter(|_| use_fips).or_else(|| use_dualstack.then_some("use_dualstack"));
    if let Some(key) = contradicts.filter(|_| endpoint.is_some()) {
        block.error_at(
            "sts_endpoint",
            format!(
                "`sts_endpoint` and `{key}: true` contradict each other: the endpoint's own name decides what it is"
            ),
            Some(&format!("remove `{key}`, or remove `sts_endpoint`: then the region's endpoint of that kind is used")),
        );
    }
    StsConfig { region: region(block, "sts_region"), endpoint, use_fips, use_dualstack }
}

//! The identity block: `sigv4:` or `aws:`, which mean the same.
//!
//! Reads and checks form; finds no credentials. Where the region is to come from a profile, the environment or instance
//! metadata, the signer finds it later: only a block that can never have a region is refused here.

use std::{collections::BTreeMap, time::Duration};

use aws::{CredentialSource, IdentityConfig, RoleStep, RolesAnywhereConfig, StsConfig};
use net::{Pem, SecretSource};
use url::Url;

use crate::block::{Block, Shape};

const ROLE_KEYS: &[&str] = &[
    "role_arn",
    "external_id",
    "session_name",
    "session_duration",
    "session_tags",
];

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

pub(super) const WEB_IDENTITY: Shape = Shape {
    name: "web_identity",
    keys: &[&["role_arn", "token_file", "session_name"]],
};

pub(super) const CONTAINER: Shape = Shape {
    name: "container",
    keys: &[&["endpoint", "token_file"]],
};

pub(super) const INSTANCE_METADATA: Shape = Shape {
    name: "instance_metadata",
    keys: &[&["endpoint"]],
};

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

pub(super) const ASSUME_ROLE: Shape = Shape {
    name: "assume_roles[]",
    keys: &[ROLE_KEYS],
};

/// What a host name says about AWS.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AwsHost {
    pub service: Option<&'static str>,
    pub region: Option<String>,
}

/// First labels of hosts (or their part before a dash or `-fips`) and the signing names that go with them.
const HOST_SERVICES: &[(&str, &str)] = &[
    ("aps-workspaces", "aps"),
    ("logs", "logs"),
    ("firehose", "firehose"),
    ("kinesis", "kinesis"),
    ("s3", "s3"),
    ("xray", "xray"),
    ("monitoring", "monitoring"),
    ("execute-api", "execute-api"),
];

impl AwsHost {
    pub fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let Some(name) = [
            ".amazonaws.com",
            ".amazonaws.com.cn",
            ".api.aws",
            ".api.amazonwebservices.com.cn",
            ".on.aws",
        ]
        .iter()
        .find_map(|end| host.strip_suffix(end)) else {
            return Self::default();
        };
        let mut known = Self::default();
        // From the right, since a bucket's name to the left may look like anything.
        for label in name.rsplit('.') {
            let region = label
                .strip_prefix("s3-")
                .filter(|r| is_region(r))
                .unwrap_or(label);
            if known.region.is_none() && known.service.is_none() && is_region(region) {
                known.region = Some(region.to_owned());
            }
            let plain = label.strip_suffix("-fips").unwrap_or(label);
            let dashed = label.starts_with("s3-").then_some("s3");
            let service = HOST_SERVICES
                .iter()
                .find(|(start, _)| *start == plain)
                .map(|(_, service)| *service)
                .or(dashed);
            known.service = known.service.or(service);
        }
        if known.service == Some("s3") && known.region.is_none() && name.ends_with("s3") {
            // The old global endpoint.
            known.region = Some("us-east-1".into());
        }
        known
    }
}

/// `us-east-1`, `us-gov-west-1`, `eusc-de-east-1`.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let word = |p: &&str| !p.is_empty() && p.chars().all(|c| c.is_ascii_lowercase());
    match parts.split_last() {
        Some((last, words)) => {
            last.len() <= 2
                && !last.is_empty()
                && last.chars().all(|c| c.is_ascii_digit())
                && words.len() >= 2
                && words.iter().all(|w| word(&w))
        }
        None => false,
    }
}

/// The identity of the destination `block`, if it has an identity block.
pub(super) fn read(
    destination: &Block<'_>,
    url: Option<&Url>,
    host: &AwsHost,
) -> Option<IdentityConfig> {
    let (sigv4, aws) = (destination.get("sigv4"), destination.get("aws"));
    if let (Some(_), Some(aws)) = (&sigv4, &aws) {
        destination.reader.error(
            aws,
            "`sigv4` and `aws` mean the same; give one of them",
            None,
        );
    }
    let block = Block::open(destination.reader, IDENTITY, &sigv4.or(aws)?)?;
    let source = source(&block);
    let identity = IdentityConfig {
        region: region(&block, "region"),
        service: block.identity_text(&["service_name", "service"], true),
        roles: roles(&block, &source),
        sts: sts(&block),
        source,
    };
    check_region(&block, &identity, url, host);
    Some(identity)
}

fn region(block: &Block<'_>, key: &str) -> Option<String> {
    let region = block.identity_text(&[key], true)?;
    let region = region.trim().to_owned();
    if !region
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        || !region.contains('-')
    {
        block.error_at(
            key,
            format!("`{key}`: this is not the name of an AWS region"),
            Some("such as us-east-1"),
        );
    }
    Some(region)
}

fn check_region(block: &Block<'_>, identity: &IdentityConfig, url: Option<&Url>, host: &AwsHost) {
    match (&identity.region, &host.region) {
        (Some(written), Some(of_host)) if written != of_host && is_region(written) => {
            let message = format!(
                "the region here is {written}, but the URL's host is in {of_host}; AWS refuses signatures for another region"
            );
            match block.get("region") {
                Some(field) => block.reader.warn(
                    &field,
                    message,
                    Some("remove `region` to take it from the host"),
                ),
                None => block.warn(message, None),
            }
        }
        (None, None) if url.is_some() && block.raw("region").is_none() => {
            let environment =
                |name: &str| (block.reader.environment)(name).is_some_and(|v| !v.is_empty());
            let from_environment = environment("AWS_REGION") || environment("AWS_DEFAULT_REGION");
            if matches!(identity.source, CredentialSource::Static { .. })
                && block.get("profile").is_none()
                && !from_environment
            {
                let message = "no region: the URL's host names none, and neither a profile nor AWS_REGION could give one";
                block.error(
                    message,
                    Some("add `region: us-east-1` (the region of the workspace) to this block"),
                );
            }
        }
        _ => {}
    }
}

fn source(block: &Block<'_>) -> CredentialSource {
    let access = key_or_file(
        block,
        &["access_key", "access_key_id"],
        "access_key_file",
        true,
    );
    let secret = key_or_file(
        block,
        &["secret_key", "secret_access_key"],
        "secret_key_file",
        true,
    );
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
        (false, false) if token.is_some() => block.error(
            "there is a session token but no access key and secret key",
            None,
        ),
        _ => {}
    }
    let profile_keys = ["profile", "shared_config_file", "shared_credentials_file"];
    let given: Vec<&str> = [
        access_written.then_some("static keys"),
        profile_keys
            .iter()
            .any(|key| block.get(key).is_some())
            .then_some("`profile`"),
        block
            .get("credential_process")
            .map(|_| "`credential_process`"),
        block.get("web_identity").map(|_| "`web_identity`"),
        block.get("container").map(|_| "`container`"),
        block
            .get("instance_metadata")
            .map(|_| "`instance_metadata`"),
        block.get("roles_anywhere").map(|_| "`roles_anywhere`"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match given[..] {
        // The Agent takes such files and uses the keys.
        ["static keys", "`profile`"] => block.warn(
            "static keys and `profile` are both given; the keys are used",
            Some("keep one of them"),
        ),
        [first, second, ..] => block.error(
            format!(
                "{first} and {second} are both given; an identity has one source of credentials"
            ),
            Some("keep one of them"),
        ),
        _ => {}
    }
    let static_keys = match (access, secret) {
        (Some(access_key), Some(secret_key)) => Some(CredentialSource::Static {
            access_key,
            secret_key,
            session_token: token,
        }),
        _ => None,
    };
    let path = |key: &str| block.identity_text(&[key], true).map(Into::into);
    let (name, config_file, credentials_file) = (
        block.identity_text(&["profile"], true),
        path("shared_config_file"),
        path("shared_credentials_file"),
    );
    let profile = (name.is_some() || config_file.is_some() || credentials_file.is_some())
        .then_some(CredentialSource::Profile {
            name,
            config_file,
            credentials_file,
        });
    let process = block
        .secret(&["credential_process"], true)
        .map(|command| CredentialSource::Process { command });
    let web_identity = block
        .block("web_identity", WEB_IDENTITY)
        .and_then(|b| web_identity(&b));
    let container = block
        .block("container", CONTAINER)
        .map(|b| CredentialSource::Container {
            endpoint: b.url("endpoint"),
            token_file: b.identity_text(&["token_file"], true).map(Into::into),
        });
    let metadata = block
        .block("instance_metadata", INSTANCE_METADATA)
        .map(|b| CredentialSource::InstanceMetadata {
            endpoint: b.url("endpoint"),
        });
    let anywhere = block
        .block("roles_anywhere", ROLES_ANYWHERE)
        .and_then(|b| roles_anywhere(&b));
    static_keys
        .or(profile)
        .or(process)
        .or(web_identity)
        .or(container)
        .or(metadata)
        .or(anywhere)
        .unwrap_or_default()
}

fn key_or_file(
    block: &Block<'_>,
    keys: &[&str],
    file_key: &str,
    needed: bool,
) -> Option<SecretSource> {
    let inline = block.secret(keys, needed);
    let file = block.identity_text(&[file_key], needed);
    if inline.is_some() && file.is_some() {
        block.error_at(
            file_key,
            format!("the key itself and `{file_key}` are both given; give one of them"),
            None,
        );
    }
    inline.or_else(|| file.map(|path| SecretSource::File(path.into())))
}

fn web_identity(block: &Block<'_>) -> Option<CredentialSource> {
    let (role, token_file) = (arn(block, "role_arn", true), needed(block, "token_file"));
    let session_name = session_name(block);
    Some(CredentialSource::WebIdentity {
        role_arn: role?,
        token_file: token_file?.into(),
        session_name,
    })
}

fn roles_anywhere(block: &Block<'_>) -> Option<CredentialSource> {
    let (anchor, profile, role) = (
        arn(block, "trust_anchor_arn", true),
        arn(block, "profile_arn", true),
        arn(block, "role_arn", true),
    );
    let certificate = pem(block, &["certificate"]);
    let private_key = pem(block, &["private_key"]);
    for (key, value) in [("certificate", &certificate), ("private_key", &private_key)] {
        if value.is_none() && block.raw(key).is_none() {
            block.error(
                format!("`{key}` is missing in `roles_anywhere`"),
                Some(&format!("{key}: /path/to/file.pem")),
            );
        }
    }
    let (certificate_chain, session_duration) = (
        pem(block, &["certificate_chain", "intermediates"]),
        session_duration(block),
    );
    let (session_name, region, endpoint) = (
        session_name(block),
        region(block, "region"),
        block.url("endpoint"),
    );
    Some(CredentialSource::RolesAnywhere(Box::new(
        RolesAnywhereConfig {
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
        },
    )))
}

/// A path to a PEM file, or the PEM text itself.
fn pem(block: &Block<'_>, keys: &[&str]) -> Option<Pem> {
    block.secret(keys, true).map(|source| match source {
        SecretSource::Inline(text) if text.expose().contains("-----BEGIN") => Pem::Inline(text),
        SecretSource::Inline(path) => Pem::File(path.expose().into()),
        SecretSource::File(path) => Pem::File(path),
    })
}

fn needed(block: &Block<'_>, key: &str) -> Option<String> {
    let text = block.identity_text(&[key], true);
    if text.is_none() && block.raw(key).is_none() {
        block.error(format!("`{key}` is missing"), None);
    }
    text
}

fn arn(block: &Block<'_>, key: &str, is_needed: bool) -> Option<String> {
    let arn = if is_needed {
        needed(block, key)
    } else {
        block.identity_text(&[key], false)
    }?;
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
            let lonely = [
                "external_id",
                "session_duration",
                "session_tags",
                "session_name",
            ]
            .into_iter()
            .find(|key| block.get(key).is_some());
            if let Some(key) = lonely.filter(|_| {
                !matches!(
                    source,
                    CredentialSource::WebIdentity { .. } | CredentialSource::RolesAnywhere(_)
                )
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

fn session_name(block: &Block<'_>) -> Option<String> {
    let name = block.identity_text(&["session_name"], false)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&name.len()) || !name.chars().all(allowed) {
        block.error_at(
            "session_name",
            "`session_name` is 2 to 64 letters, digits and characters of _+=,.@-",
            None,
        );
    }
    Some(name)
}

fn session_duration(block: &Block<'_>) -> Option<Duration> {
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
    let fips = block
        .either(&["use_fips_sts_endpoint", "use_fips"])
        .is_some();
    let use_fips = fips
        && block
            .flag("use_fips_sts_endpoint")
            .or_else(|| block.flag("use_fips"))
            .unwrap_or(false);
    StsConfig {
        region: region(block, "sts_region"),
        endpoint: block.url("sts_endpoint"),
        use_fips,
        use_dualstack: block.flag("use_dualstack").unwrap_or(false),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn host(url: &str) -> (Option<&'static str>, Option<String>) {
        let known = AwsHost::of(&Url::parse(url).unwrap());
        (known.service, known.region)
    }

    #[test]
    fn hosts_tell_service_and_region() {
        for (url, service, region) in [
            (
                "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write",
                Some("aps"),
                Some("us-east-1"),
            ),
            (
                "https://aps-workspaces-fips.us-gov-west-1.amazonaws.com/",
                Some("aps"),
                Some("us-gov-west-1"),
            ),
            (
                "https://aps-workspaces.eu-central-1.api.aws/",
                Some("aps"),
                Some("eu-central-1"),
            ),
            (
                "https://vpce-1-2.aps-workspaces.eu-west-1.vpce.amazonaws.com/",
                Some("aps"),
                Some("eu-west-1"),
            ),
            (
                "https://my-bucket.s3.ap-south-1.amazonaws.com/p",
                Some("s3"),
                Some("ap-south-1"),
            ),
            (
                "https://s3.dualstack.us-west-2.amazonaws.com/b/p",
                Some("s3"),
                Some("us-west-2"),
            ),
            (
                "https://s3-eu-west-1.amazonaws.com/b",
                Some("s3"),
                Some("eu-west-1"),
            ),
            (
                "https://b.s3.amazonaws.com/p",
                Some("s3"),
                Some("us-east-1"),
            ),
            (
                "https://b.s3.cn-north-1.amazonaws.com.cn/p",
                Some("s3"),
                Some("cn-north-1"),
            ),
            (
                "https://us-west-2.s3.eu-west-1.amazonaws.com/p",
                Some("s3"),
                Some("eu-west-1"),
            ),
            (
                "https://logs.us-east-1.amazonaws.com/",
                Some("logs"),
                Some("us-east-1"),
            ),
            ("https://prometheus.example.com/", None, None),
            ("http://127.0.0.1:9009/", None, None),
        ] {
            assert_eq!(host(url), (service, region.map(Into::into)), "{url}");
        }
    }
}

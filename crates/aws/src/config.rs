//! The identity block (`sigv4:` / `aws:`), already read and checked for shape.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use net::{Pem, SecretSource};
use url::Url;

/// One destination's identity block. Equal values are the same identity and may share a credential cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdentityConfig {
    /// Signing region; `None`: from the endpoint's host name, then profile, environment, instance metadata.
    pub region: Option<String>,
    /// Signing name; `None`: from the host, else the place's default.
    pub service: Option<String>,
    pub source: CredentialSource,
    /// Roles assumed one on top of the other.
    pub roles: Vec<RoleStep>,
    pub sts: StsConfig,
}

/// Where the base credentials come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CredentialSource {
    /// Environment, shared files, web identity, container, instance metadata, in that order.
    #[default]
    StandardChain,
    Static {
        access_key: SecretSource,
        secret_key: SecretSource,
        session_token: Option<SecretSource>,
    },
    /// That profile alone: environment keys never win over it.
    Profile {
        name: Option<String>,
        config_file: Option<PathBuf>,
        credentials_file: Option<PathBuf>,
    },
    /// A command that prints the standard JSON.
    Process {
        command: SecretSource,
    },
    WebIdentity {
        role_arn: String,
        token_file: PathBuf,
        session_name: Option<String>,
    },
    Container {
        endpoint: Option<Url>,
        token_file: Option<PathBuf>,
    },
    InstanceMetadata {
        endpoint: Option<Url>,
    },
    RolesAnywhere(Box<RolesAnywhereConfig>),
}

/// `roles_anywhere:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolesAnywhereConfig {
    pub trust_anchor_arn: String,
    pub profile_arn: String,
    pub role_arn: String,
    pub certificate: Pem,
    pub private_key: Pem,
    pub certificate_chain: Option<Pem>,
    pub session_duration: Option<Duration>,
    pub session_name: Option<String>,
    pub region: Option<String>,
    pub endpoint: Option<Url>,
}

/// One AssumeRole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleStep {
    pub role_arn: String,
    pub external_id: Option<String>,
    pub session_name: Option<String>,
    /// 900 s to 12 h; STS default 1 h.
    pub session_duration: Option<Duration>,
    pub session_tags: BTreeMap<String, String>,
}

/// Where roles are assumed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StsConfig {
    /// Default: the signing region.
    pub region: Option<String>,
    pub endpoint: Option<Url>,
    pub use_fips: bool,
    pub use_dualstack: bool,
}

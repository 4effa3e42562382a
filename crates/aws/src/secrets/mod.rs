//! Secrets in stores: AWS Secrets Manager, SSM parameters, HashiCorp Vault. Read in the background, kept in
//! [`net::StoredSecret`]s.
//!
//! Writes nothing to any store. Keeps true: nobody ever waits for a store; one read at a time for each secret, whose keys are then
//! all new together; a store
//! that fails leaves the last value in use; answers are bounded; no value is in a message.

mod cloud;
mod document;
mod keeper;
mod lease;
mod reference;
mod vault;

use std::{path::PathBuf, time::Duration};

use net::{SecretSource, TlsConfig};
use url::Url;

pub use keeper::{SecretKeeper, SecretStatus};
pub use lease::VaultTokenStatus;
pub use reference::SecretReference;

use crate::IdentityConfig;

/// Where stores are and who asks them: the `secrets:` and `vault:` blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretStoresConfig {
    /// Who signs the calls to Secrets Manager and SSM, and Vault's AWS login. Its region is the secrets' where a reference
    /// names none.
    pub identity: IdentityConfig,
    /// Read again after this (spread by a tenth).
    pub refresh: Duration,
    /// Instead of the region's public endpoint.
    pub secretsmanager_endpoint: Option<Url>,
    pub ssm_endpoint: Option<Url>,
    pub vault: Option<VaultConfig>,
}

impl Default for SecretStoresConfig {
    fn default() -> Self {
        Self {
            identity: IdentityConfig::default(),
            refresh: Duration::from_secs(300),
            secretsmanager_endpoint: None,
            ssm_endpoint: None,
            vault: None,
        }
    }
}

/// `vault:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultConfig {
    /// Such as `https://vault.example:8200`.
    pub address: Url,
    /// Vault Enterprise and HCP.
    pub namespace: Option<String>,
    pub login: VaultLogin,
    pub tls: TlsConfig,
}

/// How Vault learns who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultLogin {
    /// A token as it is; it is renewed while Vault allows, and a file is read again at each call.
    Token(SecretSource),
    /// `auth/<mount>/login` with `role_id` and `secret_id`.
    AppRole { mount: String, role_id: SecretSource, secret_id: Option<SecretSource> },
    /// With the service account's token, read again at each login.
    Kubernetes { mount: String, role: String, token_file: PathBuf },
    /// With a signed `GetCallerIdentity` of the identity for secrets.
    Aws { mount: String, role: String, server_id: Option<String> },
}

//! The blocks `secrets:` and `vault:`: where secret stores are, and who asks them.
//!
//! Reads no secret. Keeps true: nothing that is needed to read a store is kept in that store.

use std::time::Duration;

use aws::{SecretStoresConfig, VaultConfig, VaultLogin};

use super::{client, identity};
use crate::{
    block::{Block, Shape},
    reader::StoresRefused,
};

pub(super) const SECRETS: Shape = Shape {
    name: "secrets",
    keys: &[&["aws", "sigv4", "refresh_interval", "secretsmanager_endpoint", "ssm_endpoint"]],
};

pub(super) const VAULT: Shape = Shape {
    name: "vault",
    keys: &[&["address", "namespace", "token", "token_file", "approle", "kubernetes", "aws", "tls_config"]],
};

pub(super) const VAULT_APPROLE: Shape =
    Shape { name: "vault.approle", keys: &[&["role_id", "role_id_file", "secret_id", "secret_id_file", "mount"]] };

pub(super) const VAULT_KUBERNETES: Shape =
    Shape { name: "vault.kubernetes", keys: &[&["role", "token_file", "mount"]] };

pub(super) const VAULT_AWS: Shape = Shape { name: "vault.aws", keys: &[&["role", "server_id", "mount"]] };

/// Where Kubernetes puts a pod's token.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Below this every agent of a fleet would be a load on the store.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// Reads both blocks of the file's `root`.
pub(super) fn read(root: &Block<'_>) -> SecretStoresConfig {
    let mut config = SecretStoresConfig::default();
    root.reader.stores_refused.set(StoresRefused::All);
    if let Some(block) = root.block("secrets", SECRETS) {
        config.identity = identity::read(&block, None, None).unwrap_or_default();
        if let Some(refresh) = block.duration("refresh_interval") {
            if refresh < SHORTEST_REFRESH {
                block.error_at(
                    "refresh_interval",
                    "`refresh_interval` is at least 1s",
                    Some("refresh_interval: 5m is the default"),
                );
            }
            config.refresh = refresh;
        }
        config.secretsmanager_endpoint = block.url("secretsmanager_endpoint");
        config.ssm_endpoint = block.url("ssm_endpoint");
    }
    root.reader.stores_refused.set(StoresRefused::Vault);
    config.vault = root.block("vault", VAULT).and_then(|block| vault(&block));
    root.reader.stores_refused.set(StoresRefused::None);
    config
}

fn vault(block: &Block<'_>) -> Option<VaultConfig> {
    let address = block.required("address", "address: https://vault.example:8200").and(block.url("address"));
    let tls = block.block("tls_config", client::TLS).map(|b| client::tls(&b)).unwrap_or_default();
    let namespace = block.identity_text(&["namespace"], true);
    let token = block.secret_or_file("token", "token_file").map(VaultLogin::Token);
    let given: Vec<&str> = ["token", "token_file", "approle", "kubernetes", "aws"]
        .into_iter()
        .filter(|key| block.raw(key).is_some() && *key != "token_file")
        .chain(block.raw("token_file").filter(|_| block.raw("token").is_none()).map(|_| "token_file"))
        .collect();
    match given[..] {
        [] => block.error(
            "`vault` says not how to log in",
            Some("add token_file: /path, or approle:, kubernetes: or aws: with its keys"),
        ),
        [first, second, ..] => {
            block.error_at(
                second,
                format!("`{first}` and `{second}` are both given; there is one way to log in"),
                None,
            );
        }
        [_] => {}
    }
    let approle = || block.block("approle", VAULT_APPROLE).and_then(|b| approle(&b));
    let kubernetes = || block.block("kubernetes", VAULT_KUBERNETES).and_then(|b| kubernetes(&b));
    let aws = || block.block("aws", VAULT_AWS).and_then(|b| aws_login(&b));
    let login = token.or_else(approle).or_else(kubernetes).or_else(aws);
    Some(VaultConfig { address: address?, namespace, login: login?, tls })
}

fn approle(block: &Block<'_>) -> Option<VaultLogin> {
    let role_id = block.secret_or_file("role_id", "role_id_file");
    if role_id.is_none() {
        block.error("`role_id` is missing in `vault.approle`", Some("role_id_file: /path"));
    }
    let secret_id = block.secret_or_file("secret_id", "secret_id_file");
    Some(VaultLogin::AppRole { mount: mount(block, "approle"), role_id: role_id?, secret_id })
}

fn kubernetes(block: &Block<'_>) -> Option<VaultLogin> {
    let role = block.required("role", "role: the role of Vault's kubernetes login")?;
    let token_file = block.identity_text(&["token_file"], true).unwrap_or_else(|| SERVICE_ACCOUNT_TOKEN.to_owned());
    Some(VaultLogin::Kubernetes { mount: mount(block, "kubernetes"), role, token_file: token_file.into() })
}

fn aws_login(block: &Block<'_>) -> Option<VaultLogin> {
    let role = block.required("role", "role: the role of Vault's AWS login")?;
    let server_id = block.identity_text(&["server_id"], true);
    Some(VaultLogin::Aws { mount: mount(block, "aws"), role, server_id })
}

/// Where the login is mounted, as a path below `auth/`.
fn mount(block: &Block<'_>, default: &str) -> String {
    let Some(mount) = block.text("mount") else { return default.to_owned() };
    let mount = mount.trim_matches('/').to_owned();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if mount.is_empty() || !mount.chars().all(is_plain) || mount.contains("..") {
        block.error_at(
            "mount",
            "`mount` is the path of the login below auth/",
            Some("such as `mount: kubernetes-prod`"),
        );
    }
    mount
}

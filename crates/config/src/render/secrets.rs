//! The blocks `secrets:` and `vault:`, rendered.

use aws::{SecretStoresConfig, VaultConfig, VaultLogin};

use super::{
    client::{masked_url, secret, tls},
    identity::identity,
};
use crate::{
    scalar::show_duration,
    yaml_out::{Map, Out},
};

pub(super) fn stores(root: &mut Map, config: &SecretStoresConfig) {
    let mut map = Map::default();
    map.always("aws", identity(&config.identity)).text("refresh_interval", show_duration(config.refresh));
    for (key, url) in
        [("secretsmanager_endpoint", &config.secretsmanager_endpoint), ("ssm_endpoint", &config.ssm_endpoint)]
    {
        if let Some(url) = url {
            map.text(key, masked_url(url));
        }
    }
    root.put("secrets", Out::Map(map));
    if let Some(config) = &config.vault {
        root.put("vault", Out::Map(vault(config)));
    }
}

fn vault(config: &VaultConfig) -> Map {
    let mut map = Map::default();
    map.text("address", masked_url(&config.address));
    if let Some(namespace) = &config.namespace {
        map.text("namespace", namespace);
    }
    let mut login = Map::default();
    match &config.login {
        VaultLogin::Token(token) => secret(&mut map, "token", token),
        VaultLogin::AppRole { mount, role_id, secret_id } => {
            login.text("mount", mount);
            secret(&mut login, "role_id", role_id);
            if let Some(secret_id) = secret_id {
                secret(&mut login, "secret_id", secret_id);
            }
            map.put("approle", Out::Map(login));
        }
        VaultLogin::Kubernetes { mount, role, token_file } => {
            login.text("mount", mount).text("role", role).text("token_file", token_file.to_string_lossy());
            map.put("kubernetes", Out::Map(login));
        }
        VaultLogin::Aws { mount, role, server_id } => {
            login.text("mount", mount).text("role", role);
            if let Some(id) = server_id {
                login.text("server_id", id);
            }
            map.put("aws", Out::Map(login));
        }
    }
    map.put("tls_config", Out::Map(tls(&config.tls)));
    map
}

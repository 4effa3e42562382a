//! The identity block, rendered.

use aws::{CredentialSource, IdentityConfig};

use super::{
    SECRET,
    client::{masked_url, pem, secret},
};
use crate::{
    scalar::show_duration,
    yaml_out::{Map, Out},
};

pub(super) fn identity(config: &IdentityConfig) -> Map {
    let mut map = Map::default();
    let put = |map: &mut Map, key: &str, value: Option<String>| {
        if let Some(value) = value {
            map.text(key, value);
        }
    };
    put(&mut map, "region", config.region.clone());
    put(&mut map, "service_name", config.service.clone());
    match &config.source {
        CredentialSource::StandardChain => {}
        CredentialSource::Static { access_key, secret_key, session_token } => {
            secret(&mut map, "access_key", access_key);
            secret(&mut map, "secret_key", secret_key);
            if let Some(token) = session_token {
                secret(&mut map, "session_token", token);
            }
        }
        CredentialSource::Profile { name, config_file, credentials_file } => {
            put(&mut map, "profile", name.clone());
            put(&mut map, "shared_config_file", config_file.as_ref().map(|p| p.to_string_lossy().into_owned()));
            put(
                &mut map,
                "shared_credentials_file",
                credentials_file.as_ref().map(|p| p.to_string_lossy().into_owned()),
            );
        }
        CredentialSource::Process { command } => secret(&mut map, "credential_process", command),
        CredentialSource::WebIdentity { role_arn, token_file, session_name } => {
            let mut block = Map::default();
            block.text("role_arn", role_arn).text("token_file", token_file.to_string_lossy());
            put(&mut block, "session_name", session_name.clone());
            map.always("web_identity", block);
        }
        CredentialSource::Container { endpoint, token_file } => {
            let mut block = Map::default();
            put(&mut block, "endpoint", endpoint.as_ref().map(masked_url));
            put(&mut block, "token_file", token_file.as_ref().map(|p| p.to_string_lossy().into_owned()));
            map.always("container", block);
        }
        CredentialSource::InstanceMetadata { endpoint } => {
            let mut block = Map::default();
            put(&mut block, "endpoint", endpoint.as_ref().map(masked_url));
            map.always("instance_metadata", block);
        }
        CredentialSource::RolesAnywhere(anywhere) => {
            let mut block = Map::default();
            block
                .text("trust_anchor_arn", &anywhere.trust_anchor_arn)
                .text("profile_arn", &anywhere.profile_arn)
                .text("role_arn", &anywhere.role_arn);
            block.text("certificate", pem(&anywhere.certificate)).text("private_key", pem(&anywhere.private_key));
            put(&mut block, "certificate_chain", anywhere.certificate_chain.as_ref().map(pem));
            put(&mut block, "session_duration", anywhere.session_duration.map(show_duration));
            put(&mut block, "session_name", anywhere.session_name.clone());
            put(&mut block, "region", anywhere.region.clone());
            put(&mut block, "endpoint", anywhere.endpoint.as_ref().map(masked_url));
            map.put("roles_anywhere", Out::Map(block));
        }
    }
    let roles = config.roles.iter().map(|role| {
        let mut block = Map::default();
        block.text("role_arn", &role.role_arn);
        put(&mut block, "external_id", role.external_id.as_ref().map(|_| SECRET.into()));
        put(&mut block, "session_name", role.session_name.clone());
        put(&mut block, "session_duration", role.session_duration.map(show_duration));
        let mut tags = Map::default();
        for key in role.session_tags.keys() {
            tags.text(key, SECRET);
        }
        block.put("session_tags", Out::Map(tags));
        Out::Map(block)
    });
    let roles = roles.collect();
    map.put("assume_roles", Out::List(roles));
    if let Some(region) = &config.sts.region {
        map.text("sts_region", region);
    }
    if let Some(endpoint) = &config.sts.endpoint {
        map.text("sts_endpoint", masked_url(endpoint));
    }
    for (key, on) in [("use_fips_sts_endpoint", config.sts.use_fips), ("use_dualstack", config.sts.use_dualstack)] {
        if on {
            map.word(key, true);
        }
    }
    map
}

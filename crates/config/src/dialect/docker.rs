//! `docker_sd_configs[]`: containers of an engine.

use std::time::Duration;

use discovery::{DockerDiscovery, DockerHost};
use net::ProxyConfig;

use super::client;
use crate::block::{Block, Shape};

pub(super) const KEY: &str = "docker_sd_configs";

pub(super) const DOCKER: Shape = Shape {
    name: "docker_sd_configs[]",
    keys: &[
        &["host", "port", "host_networking_host", "match_first_network", "filters", "refresh_interval"],
        client::KEYS,
    ],
};

pub(super) const FILTER: Shape = Shape { name: "filters[]", keys: &[&["name", "values"]] };

/// All entries of a job.
pub(super) fn all(job: &Block<'_>) -> Vec<DockerDiscovery> {
    let items = job.items(KEY);
    items.iter().filter_map(|item| read(&Block::open(job.reader, DOCKER, item)?)).collect()
}

fn read(block: &Block<'_>) -> Option<DockerDiscovery> {
    let host = block.required("host", "host: unix:///var/run/docker.sock");
    let client = client::read(block, ProxyConfig::None);
    let secure = block.get("tls_config").is_some();
    let host = match DockerHost::parse(&host?, secure) {
        Ok(host) => Some(host),
        Err(why) => {
            let message = format!("`host` cannot be used: {why}");
            block.error_at("host", message, Some("host: unix:///var/run/docker.sock"));
            None
        }
    };
    let given = client::auth_keys_given(block, client::KEYS);
    if let (Some(DockerHost::Socket(_)), Some(key)) = (&host, given.first()) {
        block.error_at_key(key, format!("`{key}` has no effect on a socket"), Some("remove it"));
    }
    let mut config = DockerDiscovery { client, ..DockerDiscovery::new(host?) };
    if let Some(port) = block.whole("port") {
        match u16::try_from(port) {
            Ok(port) => config.port = port,
            Err(_) => block.error_at("port", "`port` is at most 65535", None),
        }
    }
    if let Some(host) = block.text("host_networking_host") {
        config.host_networking_host = host;
    }
    config.match_first_network = block.flag("match_first_network").unwrap_or(true);
    for item in block.items("filters") {
        let Some(filter) = Block::open(block.reader, FILTER, &item) else { continue };
        let Some(name) = filter.required("name", "name: label") else { continue };
        config.filters.push((name, filter.texts("values")));
    }
    config.refresh_interval = block.duration("refresh_interval").unwrap_or(Duration::from_secs(60));
    if config.refresh_interval.is_zero() {
        block.error_at("refresh_interval", "`refresh_interval` must be longer than 0", None);
    }
    Some(config)
}

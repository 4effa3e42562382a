//! What Prometheus calls the things that an engine says of containers and networks.

use std::collections::{BTreeMap, HashMap};

use model::Labels;
use serde::{Deserialize, Deserializer};

use super::{DockerContainer, DockerDiscovery};

/// An entry of `/containers/json`.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Container {
    id: String,
    #[serde(deserialize_with = "or_default")]
    names: Vec<String>,
    state: String,
    created: i64,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Port>,
    host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "IPAddress")]
    ip: String,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    #[serde(rename = "PrivatePort")]
    private: u16,
    #[serde(rename = "PublicPort")]
    public: u16,
    #[serde(rename = "Type")]
    kind: String,
}

/// An entry of `/networks`.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

/// The engine writes null where it has nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// A label's name of any text.
fn sanitized(prefix: &str, key: &str) -> String {
    let mut name = prefix.to_owned();
    name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
    name
}

/// Longest chain of containers that use one another's network.
const CHAIN: usize = 64;

/// What each container becomes.
pub(super) fn targets(
    config: &DockerDiscovery,
    containers: &[Container],
    networks: &[Network],
) -> Vec<DockerContainer> {
    let by_id: HashMap<&str, &Container> = containers.iter().map(|c| (c.id.as_str(), c)).collect();
    let networks: HashMap<&str, &Network> = networks.iter().map(|n| (n.id.as_str(), n)).collect();
    let named = containers.iter().filter_map(|c| Some((c, c.names.first()?)));
    named.map(|(container, name)| target(config, container, name, &by_id, &networks)).collect()
}

fn target(
    config: &DockerDiscovery,
    container: &Container,
    name: &str,
    by_id: &HashMap<&str, &Container>,
    networks: &HashMap<&str, &Network>,
) -> DockerContainer {
    let mut shared = Labels::new();
    shared.set("__meta_docker_container_id", &container.id);
    shared.set("__meta_docker_container_name", name);
    shared.set("__meta_docker_container_network_mode", &container.host_config.network_mode);
    for (key, value) in &container.labels {
        shared.set(&sanitized("__meta_docker_container_label_", key), value);
    }
    // One that lives in another's network has that one's.
    let mut owner = container;
    for _ in 0..CHAIN {
        let other = owner.host_config.network_mode.strip_prefix("container:").and_then(|id| by_id.get(id));
        match other {
            Some(other) if owner.network_settings.networks.is_empty() => owner = other,
            _ => break,
        }
    }
    let first = if config.match_first_network { 1 } else { usize::MAX };
    let mut targets = Vec::new();
    for endpoint in owner.network_settings.networks.values().flatten().take(first) {
        let mut common = shared.clone();
        common.set("__meta_docker_network_ip", &endpoint.ip);
        if let Some(network) = networks.get(endpoint.network_id.as_str()) {
            common.set("__meta_docker_network_id", &network.id);
            common.set("__meta_docker_network_name", &network.name);
            common.set("__meta_docker_network_scope", &network.scope);
            common.set("__meta_docker_network_internal", &network.internal.to_string());
            common.set("__meta_docker_network_ingress", &network.ingress.to_string());
            for (key, value) in &network.labels {
                common.set(&sanitized("__meta_docker_network_label_", key), value);
            }
        }
        let host = if endpoint.ip.contains(':') { format!("[{}]", endpoint.ip) } else { endpoint.ip.clone() };
        let before = targets.len();
        for port in container.ports.iter().filter(|port| port.kind == "tcp") {
            let mut labels = common.clone();
            labels.set("__meta_docker_port_private", &port.private.to_string());
            if port.public > 0 {
                labels.set("__meta_docker_port_public", &port.public.to_string());
                labels.set("__meta_docker_port_public_ip", &port.ip);
            }
            labels.set("__address__", &format!("{host}:{}", port.private));
            targets.push(labels);
        }
        if targets.len() == before {
            let in_host = container.host_config.network_mode == "host";
            let address = format!("{host}:{}", config.port);
            common.set("__address__", if in_host { &config.host_networking_host } else { &address });
            targets.push(common);
        }
    }
    let running = matches!(container.state.as_str(), "running" | "paused" | "restarting" | "");
    if targets.is_empty() {
        // Without a network nothing can be scraped, but its output can be read.
        targets.push(shared);
    }
    DockerContainer { id: container.id.clone(), running, created: container.created, targets }
}

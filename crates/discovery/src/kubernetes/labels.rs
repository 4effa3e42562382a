//! Objects become target groups, with the labels that Prometheus gives them.
//!
//! Source: Prometheus, `kubernetes_sd_config`. Opens nothing.

use std::net::Ipv6Addr;

use model::Labels;

use super::objects::{Container, Meta, Node, Pod, Service};
use crate::TargetGroup;

pub(super) const META: &str = "__meta_kubernetes_";

/// A label under [`META`].
pub(super) fn put(labels: &mut Labels, name: &str, value: &str) {
    labels.set(&format!("{META}{name}"), value);
}

/// `_`, where a label's name cannot have the character.
fn name_of(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// The object's name, labels and annotations. `role` as in `pod_label_app`.
pub(super) fn put_meta(labels: &mut Labels, role: &str, meta: &Meta) {
    put(labels, &format!("{role}_name"), &meta.name);
    for (kind, pairs) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
        for (name, value) in pairs.iter().flatten() {
            let name = name_of(name);
            put(labels, &format!("{role}_{kind}_{name}"), value);
            put(labels, &format!("{role}_{kind}present_{name}"), "true");
        }
    }
}

/// `host:port`, with brackets where the host has colons.
pub(super) fn address(host: &str, port: impl std::fmt::Display) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Labels of a pod as a whole.
pub(super) fn put_pod(labels: &mut Labels, pod: &Pod) {
    put_meta(labels, "pod", &pod.metadata);
    let ready = pod.status.conditions.iter().flatten().find(|condition| condition.kind == "Ready");
    let ready = ready.map_or("unknown".to_owned(), |condition| condition.status.to_lowercase());
    for (name, value) in [
        ("pod_ip", &pod.status.pod_ip),
        ("pod_ready", &ready),
        ("pod_phase", &pod.status.phase),
        ("pod_node_name", &pod.spec.node_name),
        ("pod_host_ip", &pod.status.host_ip),
        ("pod_uid", &pod.metadata.uid),
    ] {
        put(labels, name, value);
    }
    let owners = pod.metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
        put(labels, "pod_controller_kind", &owner.kind);
        put(labels, "pod_controller_name", &owner.name);
    }
}

/// Labels of one container, and of its port if there is one.
pub(super) fn put_container(labels: &mut Labels, pod: &Pod, container: &Container, is_init: bool, port: Option<usize>) {
    let statuses = if is_init { &pod.status.init_container_statuses } else { &pod.status.container_statuses };
    let status = statuses.iter().flatten().find(|status| status.name == container.name);
    put(labels, "pod_container_name", &container.name);
    put(labels, "pod_container_id", status.map_or("", |status| status.container_id.as_str()));
    put(labels, "pod_container_image", &container.image);
    if let Some(port) = port.and_then(|number| container.ports.as_ref()?.get(number)) {
        put(labels, "pod_container_port_number", &port.container_port.to_string());
        put(labels, "pod_container_port_name", &port.name);
        put(labels, "pod_container_port_protocol", protocol(&port.protocol));
    }
}

/// TCP, where nothing is said.
pub(super) fn protocol(text: &str) -> &str {
    if text.is_empty() { "TCP" } else { text }
}

/// All containers of a pod, those that run first at its start last.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let own = pod.spec.containers.iter().flatten().map(|container| (container, false));
    own.chain(pod.spec.init_containers.iter().flatten().map(|container| (container, true)))
}

/// A target for each port of each container; a pod without an address has none.
pub(super) fn pod(pod: &Pod, node: Option<&Node>) -> TargetGroup {
    let mut labels = Labels::new();
    put(&mut labels, "namespace", &pod.metadata.namespace);
    put_pod(&mut labels, pod);
    if let Some(node) = node {
        put_meta(&mut labels, "node", &node.metadata);
    }
    let ip = &pod.status.pod_ip;
    let mut targets = Vec::new();
    for (container, is_init) in containers(pod).filter(|_| !ip.is_empty()) {
        let count = container.ports.as_ref().map_or(0, Vec::len);
        let ports: Vec<Option<usize>> = if count == 0 { vec![None] } else { (0..count).map(Some).collect() };
        for port in ports {
            let mut target = Labels::new();
            let number = port.and_then(|at| container.ports.as_ref()?.get(at)).map(|port| port.container_port);
            target.set("__address__", &number.map_or_else(|| bare(ip), |number| address(ip, number)));
            put_container(&mut target, pod, container, is_init, port);
            put(&mut target, "pod_container_init", if is_init { "true" } else { "false" });
            targets.push(target);
        }
    }
    let source = format!("pod/{}/{}", pod.metadata.namespace, pod.metadata.name);
    TargetGroup { source, targets, labels }
}

/// An address without a port.
fn bare(ip: &str) -> String {
    if ip.parse::<Ipv6Addr>().is_ok() { format!("[{ip}]") } else { ip.to_owned() }
}

/// One target: the kubelet.
pub(super) fn node(node: &Node) -> TargetGroup {
    let (mut labels, mut target) = (Labels::new(), Labels::new());
    put_meta(&mut labels, "node", &node.metadata);
    put(&mut labels, "node_provider_id", &node.spec.provider_id);
    let addresses = || node.status.addresses.iter().flatten();
    for known in addresses() {
        let name = format!("node_address_{}", name_of(&known.kind));
        if target.get(&format!("{META}{name}")).is_none() {
            put(&mut target, &name, &known.address);
        }
    }
    let order = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];
    let best = order.iter().find_map(|kind| addresses().find(|address| address.kind == *kind));
    let mut targets = Vec::new();
    if let Some(best) = best {
        let port = node.status.daemon_endpoints.kubelet_endpoint.port;
        target.set("__address__", &address(&best.address, port));
        target.set("instance", &node.metadata.name);
        targets.push(target);
    }
    TargetGroup { source: format!("node/{}", node.metadata.name), targets, labels }
}

/// A target for each port, at the service's name in the cluster.
pub(super) fn service(service: &Service) -> TargetGroup {
    let mut labels = Labels::new();
    let (meta, spec) = (&service.metadata, &service.spec);
    put(&mut labels, "namespace", &meta.namespace);
    put_meta(&mut labels, "service", meta);
    let target = |port: &super::objects::ServicePort| {
        let mut target = Labels::new();
        target.set("__address__", &address(&format!("{}.{}.svc", meta.name, meta.namespace), port.port));
        put(&mut target, "service_port_name", &port.name);
        put(&mut target, "service_port_number", &port.port.to_string());
        put(&mut target, "service_port_protocol", protocol(&port.protocol));
        put(&mut target, "service_type", &spec.kind);
        match spec.kind.as_str() {
            "ExternalName" => put(&mut target, "service_external_name", &spec.external_name),
            _ => put(&mut target, "service_cluster_ip", &spec.cluster_ip),
        }
        if spec.kind == "LoadBalancer" {
            put(&mut target, "service_loadbalancer_ip", &spec.load_balancer_ip);
        }
        target
    };
    let targets = spec.ports.iter().flatten().map(target).collect();
    TargetGroup { source: format!("svc/{}/{}", meta.namespace, meta.name), targets, labels }
}

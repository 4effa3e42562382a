//! Endpoints and endpoint slices: an address of a service, with what is known of the pod behind it.
//!
//! Source: Prometheus, `kubernetes_sd_config`, roles `endpoints` and `endpointslice`.

use std::collections::{BTreeMap, BTreeSet};

use model::Labels;

use super::{
    labels::{address, containers, protocol, put, put_container, put_meta, put_pod},
    objects::{EndpointSlice, Endpoints, Pod, Service, TargetRef},
};
use crate::TargetGroup;

/// Where else to look.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub pods: &'a BTreeMap<String, Pod>,
    pub services: &'a BTreeMap<String, Service>,
}

/// Pods behind a group, and which of their ports were named.
#[derive(Default)]
struct Seen<'a>(BTreeMap<String, (&'a Pod, Ports)>);

/// By container and number.
type Ports = BTreeSet<(String, usize)>;

pub(super) fn endpoints(own: &Endpoints, around: Around<'_>) -> TargetGroup {
    let meta = &own.metadata;
    let mut labels = Labels::new();
    put(&mut labels, "namespace", &meta.namespace);
    put_meta(&mut labels, "endpoints", meta);
    if let Some(service) = around.services.get(&format!("{}/{}", meta.namespace, meta.name)) {
        put_meta(&mut labels, "service", &service.metadata);
    }
    let (mut targets, mut seen) = (Vec::new(), Seen::default());
    for subset in own.subsets.iter().flatten() {
        for port in subset.ports.iter().flatten() {
            let ready = subset.addresses.iter().flatten().map(|found| (found, "true"));
            let others = subset.not_ready_addresses.iter().flatten().map(|found| (found, "false"));
            for (found, is_ready) in ready.chain(others) {
                let mut target = Labels::new();
                target.set("__address__", &address(&found.ip, port.port));
                put(&mut target, "endpoint_port_name", &port.name);
                put(&mut target, "endpoint_port_protocol", protocol(&port.protocol));
                put(&mut target, "endpoint_ready", is_ready);
                for (name, text) in [("endpoint_node_name", &found.node_name), ("endpoint_hostname", &found.hostname)] {
                    if !text.is_empty() {
                        put(&mut target, name, text);
                    }
                }
                if let Some(reference) = &found.target_ref {
                    put(&mut target, "endpoint_address_target_kind", &reference.kind);
                    put(&mut target, "endpoint_address_target_name", &reference.name);
                    seen.pod(&mut target, reference, &meta.namespace, port.port, around);
                }
                targets.push(target);
            }
        }
    }
    targets.extend(seen.others());
    TargetGroup { source: format!("endpoints/{}/{}", meta.namespace, meta.name), targets, labels }
}

pub(super) fn slice(own: &EndpointSlice, around: Around<'_>) -> TargetGroup {
    let meta = &own.metadata;
    let mut labels = Labels::new();
    put(&mut labels, "namespace", &meta.namespace);
    put_meta(&mut labels, "endpointslice", meta);
    put(&mut labels, "endpointslice_address_type", &own.address_type);
    let service = meta.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
    if let Some(service) = service.and_then(|name| around.services.get(&format!("{}/{name}", meta.namespace))) {
        put_meta(&mut labels, "service", &service.metadata);
    }
    let (mut targets, mut seen) = (Vec::new(), Seen::default());
    for port in own.ports.iter().flatten() {
        for found in own.endpoints.iter().flatten() {
            for ip in found.addresses.iter().flatten() {
                let mut target = Labels::new();
                let number = port.port.unwrap_or_default();
                target.set("__address__", &port.port.map_or_else(|| ip.clone(), |port| address(ip, port)));
                put(&mut target, "endpointslice_port_name", port.name.as_deref().unwrap_or_default());
                put(&mut target, "endpointslice_port_protocol", port.protocol.as_deref().unwrap_or("TCP"));
                if port.port.is_some() {
                    put(&mut target, "endpointslice_port", &number.to_string());
                }
                let flag = |value: Option<bool>| value.map(|value| value.to_string());
                let conditions = &found.conditions;
                for (name, text) in [
                    ("endpointslice_port_app_protocol", port.app_protocol.clone()),
                    ("endpointslice_endpoint_conditions_ready", flag(conditions.ready)),
                    ("endpointslice_endpoint_conditions_serving", flag(conditions.serving)),
                    ("endpointslice_endpoint_conditions_terminating", flag(conditions.terminating)),
                    ("endpointslice_endpoint_hostname", found.hostname.clone()),
                    ("endpointslice_endpoint_node_name", found.node_name.clone()),
                    ("endpointslice_endpoint_zone", found.zone.clone()),
                ] {
                    if let Some(text) = text {
                        put(&mut target, name, &text);
                    }
                }
                if let Some(reference) = &found.target_ref {
                    put(&mut target, "endpointslice_address_target_kind", &reference.kind);
                    put(&mut target, "endpointslice_address_target_name", &reference.name);
                    seen.pod(&mut target, reference, &meta.namespace, number, around);
                }
                targets.push(target);
            }
        }
    }
    targets.extend(seen.others());
    TargetGroup { source: format!("endpointslice/{}/{}", meta.namespace, meta.name), targets, labels }
}

impl<'a> Seen<'a> {
    /// Adds what is known of the pod that a target is, and of its container with that port.
    fn pod(&mut self, target: &mut Labels, to: &TargetRef, namespace: &str, port: i64, around: Around<'a>) {
        let namespace = if to.namespace.is_empty() { namespace } else { &to.namespace };
        let key = format!("{namespace}/{}", to.name);
        let Some(pod) = around.pods.get(&key).filter(|_| to.kind == "Pod") else { return };
        put_pod(target, pod);
        let (_, named) = self.0.entry(key).or_insert_with(|| (pod, BTreeSet::new()));
        for (container, is_init) in containers(pod) {
            let ports = container.ports.iter().flatten().enumerate();
            if let Some((at, _)) = ports.into_iter().find(|(_, own)| own.container_port == port) {
                put_container(target, pod, container, is_init, Some(at));
                named.insert((container.name.clone(), at));
                return;
            }
        }
    }

    /// The ports of those pods that no endpoint named: targets too, without what an endpoint says.
    fn others(self) -> impl Iterator<Item = Labels> {
        self.0.into_values().filter(|(pod, _)| !pod.status.pod_ip.is_empty()).flat_map(|(pod, named)| {
            let mut targets = Vec::new();
            for (container, is_init) in containers(pod) {
                for (at, port) in container.ports.iter().flatten().enumerate() {
                    if named.contains(&(container.name.clone(), at)) {
                        continue;
                    }
                    let mut target = Labels::new();
                    target.set("__address__", &address(&pod.status.pod_ip, port.container_port));
                    put_pod(&mut target, pod);
                    put_container(&mut target, pod, container, is_init, Some(at));
                    targets.push(target);
                }
            }
            targets
        })
    }
}

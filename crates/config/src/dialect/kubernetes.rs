//! `kubernetes_sd_configs[]`: targets from a cluster.

use discovery::{KubernetesDiscovery, KubernetesRole, KubernetesSelector};
use net::ProxyConfig;

use super::client;
use crate::block::{Block, Shape};

pub(super) const KUBERNETES: Shape = Shape {
    name: "kubernetes_sd_configs[]",
    keys: &[&["role", "api_server", "kubeconfig_file", "namespaces", "selectors", "attach_metadata"], client::KEYS],
};

pub(super) const NAMESPACES: Shape = Shape { name: "namespaces", keys: &[&["own_namespace", "names"]] };

pub(super) const SELECTOR: Shape = Shape { name: "selectors[]", keys: &[&["role", "label", "field"]] };

pub(super) const ATTACH: Shape = Shape { name: "attach_metadata", keys: &[&["node"]] };

const ROLES: &[(&str, Option<KubernetesRole>)] = &[
    ("node", Some(KubernetesRole::Node)),
    ("pod", Some(KubernetesRole::Pod)),
    ("service", Some(KubernetesRole::Service)),
    ("endpoints", Some(KubernetesRole::Endpoints)),
    ("endpointslice", Some(KubernetesRole::EndpointSlice)),
    ("ingress", None),
];

/// `node`: the machine to whose pods a job of log files is kept, as Promtail does it.
pub(super) fn read(block: &Block<'_>, node: Option<&str>) -> Option<KubernetesDiscovery> {
    let role = role(block, "role: pod");
    let api_server = block.url("api_server");
    let kubeconfig_file = block.path("kubeconfig_file");
    let given = client::auth_keys_given(block, client::KEYS);
    if let (Some(_), Some(_)) = (&api_server, &kubeconfig_file) {
        block.error_at("kubeconfig_file", "`api_server` and `kubeconfig_file` are both given; give one of them", None);
    }
    if let (None, Some(key)) = (&api_server, given.first())
        && block.get("api_server").is_none()
    {
        let message = format!("`{key}` is for `api_server`, which is not given: a pod uses its service account");
        block.error_at_key(key, message, Some("add api_server: https://host:6443"));
    }
    let (own_namespace, namespaces) = match block.block("namespaces", NAMESPACES) {
        Some(b) => (b.flag("own_namespace").unwrap_or(false), b.texts("names")),
        None => (false, Vec::new()),
    };
    let mut selectors = Vec::new();
    for item in block.items("selectors") {
        let Some(b) = Block::open(block.reader, SELECTOR, &item) else { continue };
        let (label, field) = (b.text("label").unwrap_or_default(), b.text("field").unwrap_or_default());
        if label.is_empty() && field.is_empty() {
            b.error("a selector needs `label` or `field`", Some("such as field: spec.nodeName=${NODE_NAME}"));
        }
        if let Some(role) = self::role(&b, "role: pod") {
            if selectors.iter().any(|other: &KubernetesSelector| other.role == role) {
                b.error_at("role", format!("two selectors are for the role `{}`", role.name()), None);
            }
            selectors.push(KubernetesSelector { role, label, field });
        }
    }
    let attach_node = block.block("attach_metadata", ATTACH).and_then(|b| b.flag("node")).unwrap_or(false);
    if attach_node && role.is_some_and(|role| role != KubernetesRole::Pod) {
        block.error_at("attach_metadata", "`attach_metadata` works with `role: pod`", None);
    }
    let client = client::read(block, ProxyConfig::None);
    let role = role?;
    if let Some(node) = node.filter(|_| role == KubernetesRole::Pod) {
        at_node(&mut selectors, node);
    }
    Some(KubernetesDiscovery {
        role,
        api_server,
        kubeconfig_file,
        namespaces,
        own_namespace,
        selectors,
        attach_node,
        client,
    })
}

fn role(block: &Block<'_>, example: &str) -> Option<KubernetesRole> {
    block.required("role", example)?;
    let role = block.choice("role", ROLES)?;
    if role.is_none() {
        let help = "role: service finds what is behind an ingress";
        block.error_at("role", "`role: ingress` is not supported by sigpost", Some(help));
    }
    role
}

/// The files of pods lie at their own node: others are not asked for, unless the selector says itself which node.
fn at_node(selectors: &mut Vec<KubernetesSelector>, node: &str) {
    let own = format!("spec.nodeName={node}");
    match selectors.iter_mut().find(|selector| selector.role == KubernetesRole::Pod) {
        Some(selector) if selector.field.contains("spec.nodeName") => {}
        Some(selector) if selector.field.is_empty() => selector.field = own,
        Some(selector) => selector.field = format!("{},{own}", selector.field),
        None => selectors.push(KubernetesSelector { role: KubernetesRole::Pod, label: String::new(), field: own }),
    }
}

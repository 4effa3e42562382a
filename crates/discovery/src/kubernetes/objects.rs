//! What is read of the API's objects: the fields that labels are made of, and no more.
//!
//! Source: Kubernetes API reference, core/v1 and discovery.k8s.io/v1. Keeps true: a field that is missing or unknown is no
//! error; of an object only these fields are kept in memory.

use std::collections::BTreeMap;

use serde::Deserialize;

macro_rules! objects {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $kind:ty),* $(,)? })+) => {
        $(
            #[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            pub(super) struct $name { $($(#[$meta])* pub $field: $kind),* }
        )+
    };
}

type Texts = BTreeMap<String, String>;

objects! {
    Meta {
        name: String,
        namespace: String,
        uid: String,
        resource_version: String,
        labels: Option<Texts>,
        annotations: Option<Texts>,
        owner_references: Option<Vec<Owner>>,
    }
    Owner { kind: String, name: String, controller: Option<bool> }
    Pod { metadata: Meta, spec: PodSpec, status: PodStatus }
    PodSpec { node_name: String, containers: Option<Vec<Container>>, init_containers: Option<Vec<Container>> }
    Container { name: String, image: String, ports: Option<Vec<ContainerPort>> }
    ContainerPort { name: String, container_port: i64, protocol: String }
    PodStatus {
        phase: String,
        #[serde(rename = "podIP")]
        pod_ip: String,
        #[serde(rename = "hostIP")]
        host_ip: String,
        conditions: Option<Vec<Condition>>,
        container_statuses: Option<Vec<ContainerStatus>>,
        init_container_statuses: Option<Vec<ContainerStatus>>,
    }
    Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
    }
    ContainerStatus {
        name: String,
        #[serde(rename = "containerID")]
        container_id: String,
    }
    Node { metadata: Meta, spec: NodeSpec, status: NodeStatus }
    NodeSpec {
        #[serde(rename = "providerID")]
        provider_id: String,
    }
    NodeStatus { addresses: Option<Vec<NodeAddress>>, daemon_endpoints: DaemonEndpoints }
    NodeAddress {
        #[serde(rename = "type")]
        kind: String,
        address: String,
    }
    DaemonEndpoints { kubelet_endpoint: DaemonEndpoint }
    DaemonEndpoint {
        #[serde(rename = "Port")]
        port: i64,
    }
    Service { metadata: Meta, spec: ServiceSpec }
    ServiceSpec {
        #[serde(rename = "type")]
        kind: String,
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        external_name: String,
        #[serde(rename = "loadBalancerIP")]
        load_balancer_ip: String,
        ports: Option<Vec<ServicePort>>,
    }
    ServicePort { name: String, port: i64, protocol: String }
    Endpoints { metadata: Meta, subsets: Option<Vec<Subset>> }
    Subset {
        addresses: Option<Vec<EndpointAddress>>,
        not_ready_addresses: Option<Vec<EndpointAddress>>,
        ports: Option<Vec<ServicePort>>,
    }
    EndpointAddress { ip: String, hostname: String, node_name: String, target_ref: Option<TargetRef> }
    TargetRef { kind: String, name: String, namespace: String }
    EndpointSlice {
        metadata: Meta,
        address_type: String,
        endpoints: Option<Vec<SliceEndpoint>>,
        ports: Option<Vec<SlicePort>>,
    }
    SliceEndpoint {
        addresses: Option<Vec<String>>,
        conditions: SliceConditions,
        hostname: Option<String>,
        node_name: Option<String>,
        zone: Option<String>,
        target_ref: Option<TargetRef>,
    }
    SliceConditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool> }
    SlicePort { name: Option<String>, port: Option<i64>, protocol: Option<String>, app_protocol: Option<String> }
}

/// What every object has.
pub(super) trait Object {
    fn metadata(&self) -> &Meta;

    /// Names it among those of its kind.
    fn key(&self) -> String {
        let meta = self.metadata();
        format!("{}/{}", meta.namespace, meta.name)
    }
}

macro_rules! object {
    ($($name:ident),+) => {
        $(impl Object for $name {
            fn metadata(&self) -> &Meta {
                &self.metadata
            }
        })+
    };
}

object!(Pod, Node, Service, Endpoints, EndpointSlice);

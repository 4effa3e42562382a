//! `scrape_configs` of a traces instance: labels of discovered targets become attributes of the resources that run there.
//!
//! Does not discover: whoever does fills [`Hosts`]. Keeps true: a resource whose host is not known stays as it is; a job's labels are
//! replaced as a whole.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::RwLock;
use proto::{
    otlp_common::{KeyValue, Resource},
    otlp_traces::ExportTraceServiceRequest,
};

use crate::{
    Association, DiscoveredConfig, Operation,
    value::{find, put, text},
};

/// The labels of each host that a job found.
type Found = HashMap<String, Vec<(String, String)>>;

/// Labels by host, of each job. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Arc<RwLock<BTreeMap<String, Found>>>);

impl Hosts {
    /// What one job found, in place of what it found before. `targets`: labels as relabelling left them; the host is that of
    /// `__address__`, and labels that begin with `__` are not kept.
    pub fn replace<'l, L>(&self, job: &str, targets: impl Iterator<Item = L>)
    where
        L: Iterator<Item = (&'l str, &'l str)> + Clone,
    {
        let mut hosts = Found::new();
        for labels in targets {
            let Some((_, address)) = labels.clone().find(|(name, _)| *name == "__address__") else { continue };
            let shown = labels.filter(|(name, _)| !name.starts_with("__"));
            let shown = shown.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            hosts.insert(host(address).to_owned(), shown);
        }
        self.0.write().insert(job.to_owned(), hosts);
    }
}

/// Without port and brackets.
fn host(address: &str) -> &str {
    if let Some(rest) = address.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match address.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        _ => address,
    }
}

/// A [`DiscoveredConfig`] and what is known.
#[derive(Debug)]
pub(crate) struct Discovered {
    config: DiscoveredConfig,
    hosts: Hosts,
}

impl Discovered {
    pub(crate) fn new(config: &DiscoveredConfig) -> Self {
        Self { config: config.clone(), hosts: Hosts::default() }
    }

    pub(crate) fn hosts(&self) -> Hosts {
        self.hosts.clone()
    }

    pub(crate) fn apply(&self, request: &mut ExportTraceServiceRequest) {
        let jobs = self.hosts.0.read();
        for group in &mut request.resource_spans {
            let Some(resource) = &mut group.resource else { continue };
            let Some(host) = self.host_of(resource) else { continue };
            let Some(labels) = jobs.values().rev().find_map(|hosts| hosts.get(&host)) else { continue };
            labels.iter().for_each(|(name, value)| self.put(&mut resource.attributes, name, value));
        }
    }

    fn host_of(&self, resource: &Resource) -> Option<String> {
        let named = |key: &str| find(&resource.attributes, key).and_then(text).filter(|text| !text.is_empty());
        self.config.associations.iter().find_map(|association| match association {
            Association::Ip => named("ip").map(str::to_owned),
            Association::NetHostIp => named("net.host.ip").map(str::to_owned),
            Association::PodIp => named("k8s.pod.ip").map(str::to_owned),
            Association::Hostname => {
                named("host.name").filter(|name| name.parse::<IpAddr>().is_ok()).map(str::to_owned)
            }
        })
    }

    fn put(&self, attributes: &mut Vec<KeyValue>, name: &str, value: &str) {
        let known = find(attributes, name).is_some();
        let wanted = match self.config.operation {
            Operation::Upsert => true,
            Operation::Insert => !known,
            Operation::Update => known,
        };
        if wanted {
            put(attributes, name, value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::otlp_traces::ResourceSpans;

    use super::*;

    fn after(operation: Operation, attributes: Vec<KeyValue>) -> Vec<KeyValue> {
        let associations = vec![Association::Ip, Association::NetHostIp, Association::PodIp, Association::Hostname];
        let discovered = Discovered::new(&DiscoveredConfig { operation, associations });
        let targets = [
            vec![("__address__", "10.0.0.1:80"), ("__meta_x", "m"), ("pod", "shop-1"), ("zone", "new")],
            vec![("__address__", "[::1]:80"), ("pod", "shop-6")],
            vec![("pod", "nowhere")],
        ];
        discovered.hosts().replace("job", targets.iter().map(|labels| labels.iter().copied()));
        let resource = Some(Resource { attributes, ..Resource::default() });
        let mut request =
            ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, ..ResourceSpans::default() }] };
        discovered.apply(&mut request);
        request.resource_spans.remove(0).resource.unwrap().attributes
    }

    #[test]
    fn a_resource_gets_the_labels_of_its_host_by_the_first_association_that_names_one() {
        let given: Vec<KeyValue> = vec![("host.name", "10.0.0.9").into(), ("k8s.pod.ip", "10.0.0.1").into()];
        let mut expected = given.clone();
        expected.extend([("pod", "shop-1").into(), ("zone", "new").into()]);
        assert_eq!(after(Operation::Upsert, given), expected);
        let six: Vec<KeyValue> = vec![("host.name", "::1").into()];
        assert_eq!(after(Operation::Upsert, six)[1], ("pod", "shop-6").into());
        for stays in [vec![("host.name", "shop").into()], vec![("ip", "10.0.0.7").into()], vec![]] {
            assert_eq!(after(Operation::Upsert, stays.clone()), stays);
        }
    }

    #[test]
    fn what_is_there_already_is_left_or_changed_as_configured() {
        let given = || vec![("ip", "10.0.0.1").into(), ("zone", "old").into()];
        let of = |operation| {
            let after = after(operation, given());
            let value = |key| find(&after, key).and_then(text).map(str::to_owned);
            (value("zone"), value("pod"))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(Operation::Upsert), (some("new"), some("shop-1")));
        assert_eq!(of(Operation::Insert), (some("old"), some("shop-1")));
        assert_eq!(of(Operation::Update), (some("new"), None));
    }

    #[test]
    fn hosts_are_addresses_without_ports() {
        for (address, expected) in
            [("a:1", "a"), ("a", "a"), ("[::1]:80", "::1"), ("::1", "::1"), ("10.0.0.1:80", "10.0.0.1")]
        {
            assert_eq!(host(address), expected);
        }
    }
}

//! `scrape_configs` of a traces instance, with `prom_sd_operation_type` and `prom_sd_pod_associations`: labels of targets on spans.

use ::discovery::DiscoveryConfig;
use ::scrape::JobConfig;
use traces::{Association, DiscoveredConfig, Operation};

use crate::{block::Block, dialect::scrape};

/// Jobs of which only what they discover matters.
pub(in crate::dialect::traces) type Jobs = Vec<(JobConfig, Vec<DiscoveryConfig>)>;

pub(super) fn read(instance: &Block<'_>) -> (Option<DiscoveredConfig>, Jobs) {
    let operations = [("upsert", Operation::Upsert), ("insert", Operation::Insert), ("update", Operation::Update)];
    let operation = instance.choice("prom_sd_operation_type", &operations).unwrap_or_default();
    let mut associations = Vec::new();
    for item in instance.items("prom_sd_pod_associations") {
        match instance.reader.text(&item).as_deref() {
            Some("ip") => associations.push(Association::Ip),
            Some("net.host.ip") => associations.push(Association::NetHostIp),
            Some("k8s.pod.ip") => associations.push(Association::PodIp),
            Some("hostname") => associations.push(Association::Hostname),
            Some("connection") => {
                let message =
                    "`connection` finds nothing in this version: who sent a request is not kept with its spans";
                instance.reader.warn(&item, message, Some("let the SDK set k8s.pod.ip or net.host.ip"));
            }
            _ => {
                let help = "ip, net.host.ip, k8s.pod.ip, hostname or connection";
                instance.reader.error(&item, "this is no way to find a span's host", Some(help));
            }
        }
    }
    if instance.items("prom_sd_pod_associations").is_empty() {
        associations = vec![Association::Ip, Association::NetHostIp, Association::PodIp, Association::Hostname];
    }
    if instance.get("scrape_configs").is_none() {
        return (None, Jobs::new());
    }
    let jobs = scrape::jobs(instance, &scrape::Defaults::new(false));
    (Some(DiscoveredConfig { operation, associations }), jobs)
}

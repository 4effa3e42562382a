//! Where a job's targets come from: `static_configs` and the kinds of `*_sd_configs` that there are.

use std::time::Duration;

use discovery::{DiscoveryConfig, FileDiscovery, HttpDiscovery, TargetGroup};
use log_tail::{Pattern, TailError};
use model::Labels;
use net::ProxyConfig;

use super::{client, docker, kubernetes, metrics};
use crate::block::{Block, Shape};

pub(super) const STATIC: Shape = Shape { name: "static_configs[]", keys: &[&["targets", "labels"]] };

pub(super) const FILE: Shape = Shape { name: "file_sd_configs[]", keys: &[&["files", "refresh_interval"]] };

pub(super) const HTTP: Shape = Shape { name: "http_sd_configs[]", keys: &[&["url", "refresh_interval"], client::KEYS] };

/// Those that this version has.
pub(super) const KEYS: &[&str] =
    &["static_configs", "file_sd_configs", "http_sd_configs", "kubernetes_sd_configs", docker::KEY];

/// The kinds that the dialect has and this version has not.
pub(super) const NOT_YET: &[&str] = &[
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "consulagent_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

const FILE_ENDINGS: &[&str] = &[".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];

/// What the targets of a job are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Targets<'h> {
    /// Addresses to scrape; relabelled, anything may become one.
    Addresses { relabelled: bool },
    /// Labels, among them `__path__`; their addresses mean nothing. The files lie on this machine.
    Paths { hostname: &'h str },
    /// Labels alone: the lines come from standard input.
    Labels,
}

/// All of a job's discovery. `relabelled`: the job has `relabel_configs`, which may turn anything into an address.
pub(super) fn read(job: &Block<'_>, relabelled: bool) -> Vec<DiscoveryConfig> {
    read_all(job, Targets::Addresses { relabelled })
}

/// That of a job which reads files.
pub(super) fn read_for_files(job: &Block<'_>, hostname: &str) -> Vec<DiscoveryConfig> {
    read_all(job, Targets::Paths { hostname })
}

/// That of a job which gives its labels to the lines of standard input.
pub(super) fn read_for_stdin(job: &Block<'_>) -> Vec<DiscoveryConfig> {
    read_all(job, Targets::Labels)
}

fn read_all(job: &Block<'_>, targets: Targets<'_>) -> Vec<DiscoveryConfig> {
    let mut all = Vec::new();
    for key in NOT_YET {
        if let Some(field) = job.get(key) {
            let message = format!("`{key}` is not supported in this version of sigpost");
            job.reader.error(
                &field,
                message,
                Some("static_configs, file_sd_configs, http_sd_configs, kubernetes_sd_configs and docker_sd_configs work"),
            );
        }
    }
    let groups = static_groups(job, targets);
    if !groups.is_empty() {
        all.push(DiscoveryConfig::Static(groups));
    }
    all.extend(
        job.items("file_sd_configs")
            .iter()
            .filter_map(|f| file(&Block::open(job.reader, FILE, f)?))
            .map(DiscoveryConfig::File),
    );
    all.extend(
        job.items("http_sd_configs")
            .iter()
            .filter_map(|f| http(&Block::open(job.reader, HTTP, f)?))
            .map(Box::new)
            .map(DiscoveryConfig::Http),
    );
    let node = match targets {
        Targets::Paths { hostname } => Some(hostname),
        Targets::Addresses { .. } | Targets::Labels => None,
    };
    all.extend(
        job.items("kubernetes_sd_configs")
            .iter()
            .filter_map(|f| kubernetes::read(&Block::open(job.reader, kubernetes::KUBERNETES, f)?, node))
            .map(Box::new)
            .map(DiscoveryConfig::Kubernetes),
    );
    // In a job of logs they are a source of their own: the output is read from the engine and not from files.
    if matches!(targets, Targets::Addresses { .. }) {
        all.extend(docker::all(job).into_iter().map(Box::new).map(DiscoveryConfig::Docker));
    }
    all
}

fn static_groups(job: &Block<'_>, wanted: Targets<'_>) -> Vec<TargetGroup> {
    let mut groups = Vec::new();
    for (index, field) in job.items("static_configs").iter().enumerate() {
        let Some(block) = Block::open(job.reader, STATIC, field) else {
            continue;
        };
        let mut targets = Vec::new();
        for item in block.items("targets") {
            let Some(address) = block.reader.text(&item) else {
                continue;
            };
            if address.is_empty() {
                block.reader.error(&item, "a target is empty", Some("a target is host:port, such as localhost:9100"));
            } else if address.contains('/') && wanted == (Targets::Addresses { relabelled: false }) {
                let message = "a target is host:port without scheme or path";
                block.reader.error(&item, message, Some("put the scheme in `scheme:` and the path in `metrics_path:`"));
            }
            targets.push(Labels::from_iter([("__address__", address)]));
        }
        let labels = metrics::labels(&block, "labels");
        if !matches!(wanted, Targets::Addresses { .. }) {
            // Promtail's way: a group without targets is one target.
            if targets.is_empty() {
                targets.push(Labels::from_iter([("__address__", "localhost")]));
            }
            // A rule may still make something of it.
            let ready = matches!(wanted, Targets::Paths { .. }) && job.get("relabel_configs").is_none();
            for name in ["__path__", "__path_exclude__"].into_iter().filter(|_| ready) {
                let Some(text) = labels.get(name).filter(|text| !text.is_empty()) else { continue };
                if let Err(error) = Pattern::new(text).map_err(without_value) {
                    let error = format!("`{name}`: this is no usable pattern: {error}");
                    let entries = block.entries("labels");
                    let field = entries.iter().find(|(key, _)| *key == name).map(|(_, field)| field);
                    match field {
                        Some(field) => block.reader.error(field, error, None),
                        None => block.error_at("labels", error, None),
                    }
                }
            }
            let no_path = labels.get("__path__").is_none_or(str::is_empty);
            if matches!(wanted, Targets::Paths { .. }) && no_path && job.get("relabel_configs").is_none() {
                let help = "add to its labels: __path__: /var/log/*.log";
                block.warn("these targets have no label `__path__`: no file is read for them", Some(help));
            }
        }
        groups.push(TargetGroup { source: format!("static/{index}"), targets, labels });
    }
    groups
}

/// What is wrong with a pattern, without its text.
fn without_value(error: TailError) -> String {
    match error {
        TailError::Pattern { why, .. } => why.rsplit("': ").next().unwrap_or_default().to_owned(),
        _ => "it cannot be read".to_owned(),
    }
}

fn file(block: &Block<'_>) -> Option<FileDiscovery> {
    let fields = block.items("files");
    if fields.is_empty() {
        block.error(
            "`file_sd_configs` needs at least one entry in `files`",
            Some("files: ['/etc/sigpost/targets/*.json']"),
        );
    }
    let mut files = Vec::new();
    for field in fields {
        let Some(pattern) = block.reader.text(&field) else {
            continue;
        };
        let (folder, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
        if folder.contains('*') || !FILE_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            let message = "a path here ends in .json, .yml or .yaml and has `*` only in its last part";
            block.reader.error(&field, message, Some("such as /etc/sigpost/targets/*.yaml"));
        }
        files.push(pattern);
    }
    Some(FileDiscovery { files, refresh_interval: refresh(block, 300) })
}

fn http(block: &Block<'_>) -> Option<HttpDiscovery> {
    let refresh_interval = refresh(block, 60);
    let client = client::read(block, ProxyConfig::None);
    let url = block.required("url", "url: http://host/targets").and(block.url("url"));
    Some(HttpDiscovery { url: url?, refresh_interval, client })
}

fn refresh(block: &Block<'_>, default_seconds: u64) -> Duration {
    let interval = block.duration("refresh_interval").unwrap_or(Duration::from_secs(default_seconds));
    if interval.is_zero() {
        block.error_at("refresh_interval", "`refresh_interval` must be longer than 0", None);
    }
    interval
}

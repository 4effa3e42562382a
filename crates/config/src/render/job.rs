//! Jobs, discovery and relabel rules, rendered.

use discovery::{DiscoveryConfig, DockerDiscovery, DockerHost, KubernetesDiscovery, KubernetesSelector};
use net::ProxyConfig;
use relabel::{Action, Rule, RuleSource};
use scrape::{JobConfig, ScrapeProtocol};

use super::{
    SECRET,
    client::{client, masked_url},
    labels,
};
use crate::{
    scalar::{show_duration, show_size},
    yaml_out::{Map, Out},
};

pub(super) fn job(job: &JobConfig, found: &[DiscoveryConfig]) -> Map {
    let mut map = Map::default();
    map.text("job_name", &job.job_name);
    map.word("scrape_interval", show_duration(job.interval)).word("scrape_timeout", show_duration(job.timeout));
    map.text("metrics_path", &job.metrics_path).text("scheme", format!("{:?}", job.scheme).to_ascii_lowercase());
    let mut params = Map::default();
    for (name, values) in &job.params {
        let hidden = may_authenticate(name);
        params.texts(name, values.iter().map(|v| if hidden { SECRET } else { v.as_str() }));
    }
    map.put("params", Out::Map(params));
    map.word("honor_labels", job.honor_labels).word("honor_timestamps", job.honor_timestamps);
    map.word("track_timestamps_staleness", job.track_timestamps_staleness);
    map.texts("scrape_protocols", job.protocols.iter().map(|p| protocol(*p)));
    map.text("fallback_scrape_protocol", protocol(job.fallback_protocol));
    map.word("enable_compression", job.enable_compression);
    if job.extra_metrics {
        map.word("extra_scrape_metrics", true);
    }
    let limits = &job.limits;
    for (key, limit) in [
        ("body_size_limit", limits.body_size),
        ("sample_limit", limits.samples),
        ("target_limit", limits.targets),
        ("label_limit", limits.labels),
        ("label_name_length_limit", limits.label_name_length),
        ("label_value_length_limit", limits.label_value_length),
        ("keep_dropped_targets", limits.keep_dropped_targets),
    ] {
        if limit != 0 {
            map.word(key, if key == "body_size_limit" { show_size(limit) } else { limit.to_string() });
        }
    }
    client(&mut map, &job.client, &ProxyConfig::None);
    map.put("relabel_configs", rules(&job.relabel)).put("metric_relabel_configs", rules(&job.metric_relabel));
    discovery(&mut map, found);
    map
}

pub(super) fn discovery(map: &mut Map, found: &[DiscoveryConfig]) {
    let (mut groups, mut files, mut urls, mut clusters) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut engines = Vec::new();
    for config in found {
        let mut entry = Map::default();
        match config {
            DiscoveryConfig::Static(all) => {
                for group in all {
                    let mut entry = Map::default();
                    let addresses: Vec<&str> = group.targets.iter().filter_map(|t| t.get("__address__")).collect();
                    entry.texts("targets", addresses).put("labels", labels(Some(&group.labels)));
                    groups.push(Out::Map(entry));
                }
            }
            DiscoveryConfig::File(file) => {
                entry.texts("files", file.files.iter()).word("refresh_interval", show_duration(file.refresh_interval));
                files.push(Out::Map(entry));
            }
            DiscoveryConfig::Http(http) => {
                entry.text("url", masked_url(&http.url)).word("refresh_interval", show_duration(http.refresh_interval));
                client(&mut entry, &http.client, &ProxyConfig::None);
                urls.push(Out::Map(entry));
            }
            DiscoveryConfig::Kubernetes(config) => clusters.push(Out::Map(kubernetes(config))),
            DiscoveryConfig::Docker(config) => engines.push(Out::Map(docker(config))),
        }
    }
    map.put("static_configs", Out::List(groups))
        .put("file_sd_configs", Out::List(files))
        .put("http_sd_configs", Out::List(urls))
        .put("kubernetes_sd_configs", Out::List(clusters))
        .put("docker_sd_configs", Out::List(engines));
}

pub(super) fn docker(config: &DockerDiscovery) -> Map {
    let mut map = Map::default();
    map.text("host", config.host.to_string()).word("port", config.port);
    map.text("host_networking_host", &config.host_networking_host);
    map.word("match_first_network", config.match_first_network);
    map.word("refresh_interval", show_duration(config.refresh_interval));
    let filter = |(name, values): &(String, Vec<String>)| {
        let mut map = Map::default();
        map.text("name", name).texts("values", values.iter());
        Out::Map(map)
    };
    map.put("filters", Out::List(config.filters.iter().map(filter).collect()));
    if matches!(config.host, DockerHost::Url(_)) {
        client(&mut map, &config.client, &ProxyConfig::None);
    }
    map
}

fn kubernetes(config: &KubernetesDiscovery) -> Map {
    let mut map = Map::default();
    map.text("role", config.role.name());
    if let Some(url) = &config.api_server {
        map.text("api_server", masked_url(url));
        client(&mut map, &config.client, &ProxyConfig::None);
    }
    if let Some(file) = &config.kubeconfig_file {
        map.text("kubeconfig_file", file.to_string_lossy());
    }
    let mut namespaces = Map::default();
    if config.own_namespace {
        namespaces.word("own_namespace", true);
    }
    namespaces.texts("names", config.namespaces.iter());
    map.put("namespaces", Out::Map(namespaces));
    let selector = |selector: &KubernetesSelector| {
        let mut map = Map::default();
        map.text("role", selector.role.name());
        for (key, text) in [("label", &selector.label), ("field", &selector.field)] {
            if !text.is_empty() {
                map.text(key, text);
            }
        }
        Out::Map(map)
    };
    map.put("selectors", Out::List(config.selectors.iter().map(selector).collect()));
    if config.attach_node {
        let mut attach = Map::default();
        attach.word("node", true);
        map.put("attach_metadata", Out::Map(attach));
    }
    map
}

pub(super) fn rules(rules: &[Rule]) -> Out {
    let one = |rule: &Rule| {
        let (source, default) = (rule.source(), RuleSource::default());
        let mut map = Map::default();
        map.texts("source_labels", source.source_labels.iter());
        for (key, value, default) in [
            ("separator", &source.separator, &default.separator),
            ("regex", &source.regex, &default.regex),
            ("target_label", &source.target_label, &default.target_label),
            ("replacement", &source.replacement, &default.replacement),
        ] {
            if value != default {
                map.text(key, value);
            }
        }
        if source.modulus != 0 {
            map.word("modulus", source.modulus);
        }
        map.text(
            "action",
            match source.action {
                Action::Replace => "replace",
                Action::Keep => "keep",
                Action::Drop => "drop",
                Action::KeepEqual => "keepequal",
                Action::DropEqual => "dropequal",
                Action::HashMod => "hashmod",
                Action::LabelMap => "labelmap",
                Action::LabelDrop => "labeldrop",
                Action::LabelKeep => "labelkeep",
                Action::Lowercase => "lowercase",
                Action::Uppercase => "uppercase",
            },
        );
        Out::Map(map)
    };
    Out::List(rules.iter().map(one).collect())
}

/// Does a query parameter's name sound like a credential's?
fn may_authenticate(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "key", "secret", "pass", "auth", "credential", "signature", "sig"].iter().any(|word| name.contains(word))
}

fn protocol(protocol: ScrapeProtocol) -> &'static str {
    match protocol {
        ScrapeProtocol::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        ScrapeProtocol::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
        ScrapeProtocol::PrometheusText0_0_4 => "PrometheusText0.0.4",
        ScrapeProtocol::PrometheusText1_0_0 => "PrometheusText1.0.0",
    }
}

//! The plan as text in the file's own dialect: what `sigpost check` prints.
//!
//! Keeps true: every default that is in force is written out; every secret is `<secret>`; what is printed loads again.

use aws::{CredentialSource, IdentityConfig};
use discovery::DiscoveryConfig;
use model::Labels;
use net::{HttpAuth, HttpClientConfig, Pem, ProxyConfig, SecretSource, TlsConfig, TlsVersion};
use relabel::{Action, Rule, RuleSource};
use remote_write::ProtocolConfig;
use scrape::{JobConfig, ScrapeProtocol};
use url::Url;

use crate::{
    DestinationPlan, LogFormat, LogLevel, MetricsRoute, MinFree, OnFull, Plan, ServerTls,
    scalar::{show_duration, show_size},
    yaml_out::{Map, Out},
};

const SECRET: &str = "<secret>";

impl Plan {
    /// The effective configuration as YAML, without any secret. Custom headers and everything in a URL that may
    /// authenticate are hidden too.
    pub fn render_masked(&self) -> String {
        let mut root = Map::default();
        let mut server = Map::default();
        server.text(
            "log_level",
            match self.server.log_level {
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                LogLevel::Warn => "warn",
                LogLevel::Error => "error",
            },
        );
        server.text(
            "log_format",
            if self.server.log_format == LogFormat::Json {
                "json"
            } else {
                "logfmt"
            },
        );
        for (key, tls) in [
            ("http_tls_config", &self.server.http_tls),
            ("grpc_tls_config", &self.server.grpc_tls),
        ] {
            server.put(
                key,
                Out::Map(tls.as_ref().map(server_tls).unwrap_or_default()),
            );
        }
        let mut metrics = Map::default();
        metrics.text("wal_directory", self.data_directory.to_string_lossy());
        if self
            .metrics
            .iter()
            .flat_map(|r| &r.jobs)
            .any(|(job, _)| job.client.disable_keepalives)
        {
            metrics.word("http_disable_keepalives", true);
        }
        let mut global = Map::default();
        // The same for every route: the dialect has them under `global` only.
        global.put(
            "external_labels",
            labels(self.metrics.first().map(|r| &r.external_labels)),
        );
        metrics.put("global", Out::Map(global));
        metrics.put(
            "configs",
            Out::List(self.metrics.iter().map(|r| Out::Map(route(r))).collect()),
        );
        root.put("server", Out::Map(server))
            .put("queue", Out::Map(queue(self)))
            .put("metrics", Out::Map(metrics));
        root.document()
    }
}

fn server_tls(tls: &ServerTls) -> Map {
    let mut map = Map::default();
    map.text("cert_file", tls.cert_file.to_string_lossy())
        .text("key_file", tls.key_file.to_string_lossy());
    if let Some(ca) = &tls.client_ca_file {
        map.text("client_ca_file", ca.to_string_lossy());
    }
    map.text("client_auth_type", format!("{:?}", tls.client_auth));
    versions(&mut map, tls.min_version, tls.max_version);
    map
}

fn queue(plan: &Plan) -> Map {
    let mut shares = Map::default();
    let s = &plan.queue.shares;
    shares
        .word("metrics", s.metrics)
        .word("logs", s.logs)
        .word("traces", s.traces);
    let mut map = Map::default();
    map.text("directory", plan.queue.directory.to_string_lossy());
    map.word("max_bytes", show_size(plan.queue.max_bytes));
    map.word(
        "min_free",
        match plan.queue.min_free {
            MinFree::Percent(percent) => format!("{percent}%"),
            MinFree::Bytes(bytes) => show_size(bytes),
        },
    );
    map.put("shares", Out::Map(shares))
        .word("commit_interval", show_duration(plan.queue.commit_interval));
    map
}

fn route(route: &MetricsRoute) -> Map {
    let mut map = Map::default();
    map.text("name", &route.name);
    if route.host_filter {
        map.word("host_filter", true).put(
            "host_filter_relabel_configs",
            rules(&route.host_filter_relabel),
        );
    }
    map.word("write_stale_on_shutdown", route.write_stale_on_shutdown)
        .word(
            "remote_flush_deadline",
            show_duration(route.remote_flush_deadline),
        );
    map.put(
        "remote_write",
        Out::List(
            route
                .destinations
                .iter()
                .map(|d| Out::Map(destination(d)))
                .collect(),
        ),
    );
    map.put(
        "scrape_configs",
        Out::List(
            route
                .jobs
                .iter()
                .map(|(job, found)| Out::Map(self::job(job, found)))
                .collect(),
        ),
    );
    map
}

fn labels(labels: Option<&Labels>) -> Out {
    let mut map = Map::default();
    for (name, value) in labels.iter().flat_map(|l| l.iter()) {
        map.text(name, value);
    }
    Out::Map(map)
}

fn destination(plan: &DestinationPlan) -> Map {
    let config = &plan.config;
    let mut map = Map::default();
    map.text("name", &config.name)
        .text("url", masked_url(&config.url));
    if let Some(url) = &config.endpoint_url {
        map.text("endpoint_url", masked_url(url));
    }
    if !plan.enabled {
        map.word("enabled", false);
    }
    map.word("remote_timeout", show_duration(config.timeout));
    match &config.protocol {
        ProtocolConfig::Prometheus { metadata } => {
            let mut block = Map::default();
            block
                .word("send", metadata.send)
                .word("send_interval", show_duration(metadata.send_interval));
            block.word("max_samples_per_send", metadata.max_samples_per_send);
            map.text("protocol", "prometheus")
                .put("metadata_config", Out::Map(block));
        }
        ProtocolConfig::S3 {
            storage_class,
            expected_bucket_owner,
            sse,
            sse_kms_key_id,
        } => {
            map.text("protocol", "s3");
            let mut batch = Map::default();
            batch
                .word("max_bytes", config.batching.max_bytes)
                .word("max_age", show_duration(config.batching.max_age));
            map.put("batch", Out::Map(batch));
            let mut encryption = Map::default();
            for (block, key, value) in [
                (0, "storage_class", storage_class),
                (0, "expected_bucket_owner", expected_bucket_owner),
                (1, "type", sse),
                (1, "kms_key_id", sse_kms_key_id),
            ] {
                if let Some(value) = value {
                    let into = if block == 0 {
                        &mut map
                    } else {
                        &mut encryption
                    };
                    into.text(key, value);
                }
            }
            map.put("sse", Out::Map(encryption));
        }
    }
    if let Some(config) = &plan.identity {
        map.always("sigv4", identity(config));
    }
    client(&mut map, &config.client, &ProxyConfig::Environment);
    map.put("write_relabel_configs", rules(&config.write_relabel));
    let mut sending = Map::default();
    sending.word("max_samples_per_send", config.batching.max_samples);
    sending
        .word("min_backoff", show_duration(config.backoff.min))
        .word("max_backoff", show_duration(config.backoff.max));
    sending.word("retry_on_http_429", config.backoff.retry_on_http_429);
    let mut queue = Map::default();
    queue.text(
        "on_full",
        if plan.on_full == OnFull::Hold {
            "hold"
        } else {
            "evict"
        },
    );
    if let Some(age) = config.max_age {
        queue.word("max_age", show_duration(age));
    }
    queue
        .word("shards", config.shards)
        .word("max_in_flight_bytes", show_size(config.max_in_flight_bytes));
    map.put("queue_config", Out::Map(sending))
        .put("queue", Out::Map(queue));
    map
}

/// The URL without user, password and query.
fn masked_url(url: &Url) -> String {
    let mut shown = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // Neither can fail for a URL with a host.
        let _ = shown.set_username("hidden");
        let _ = shown.set_password(None);
    }
    if url.query().is_some() {
        shown.set_query(Some("hidden"));
    }
    shown.to_string()
}

/// `key: <secret>`, or `key_file: path`.
fn secret(map: &mut Map, key: &str, source: &SecretSource) {
    match source {
        SecretSource::Inline(_) => map.text(key, SECRET),
        SecretSource::File(path) => map.text(&format!("{key}_file"), path.to_string_lossy()),
    };
}

fn identity(config: &IdentityConfig) -> Map {
    let mut map = Map::default();
    let put = |map: &mut Map, key: &str, value: Option<String>| {
        if let Some(value) = value {
            map.text(key, value);
        }
    };
    put(&mut map, "region", config.region.clone());
    put(&mut map, "service_name", config.service.clone());
    match &config.source {
        CredentialSource::StandardChain => {}
        CredentialSource::Static {
            access_key,
            secret_key,
            session_token,
        } => {
            secret(&mut map, "access_key", access_key);
            secret(&mut map, "secret_key", secret_key);
            if let Some(token) = session_token {
                secret(&mut map, "session_token", token);
            }
        }
        CredentialSource::Profile {
            name,
            config_file,
            credentials_file,
        } => {
            put(&mut map, "profile", name.clone());
            put(
                &mut map,
                "shared_config_file",
                config_file
                    .as_ref()
                    .map(|p| p.to_string_lossy().into_owned()),
            );
            put(
                &mut map,
                "shared_credentials_file",
                credentials_file
                    .as_ref()
                    .map(|p| p.to_string_lossy().into_owned()),
            );
        }
        CredentialSource::Process { .. } => {
            put(&mut map, "credential_process", Some(SECRET.into()))
        }
        CredentialSource::WebIdentity {
            role_arn,
            token_file,
            session_name,
        } => {
            let mut block = Map::default();
            block
                .text("role_arn", role_arn)
                .text("token_file", token_file.to_string_lossy());
            put(&mut block, "session_name", session_name.clone());
            map.always("web_identity", block);
        }
        CredentialSource::Container {
            endpoint,
            token_file,
        } => {
            let mut block = Map::default();
            put(&mut block, "endpoint", endpoint.as_ref().map(masked_url));
            put(
                &mut block,
                "token_file",
                token_file
                    .as_ref()
                    .map(|p| p.to_string_lossy().into_owned()),
            );
            map.always("container", block);
        }
        CredentialSource::InstanceMetadata { endpoint } => {
            let mut block = Map::default();
            put(&mut block, "endpoint", endpoint.as_ref().map(masked_url));
            map.always("instance_metadata", block);
        }
        CredentialSource::RolesAnywhere(anywhere) => {
            let mut block = Map::default();
            block
                .text("trust_anchor_arn", &anywhere.trust_anchor_arn)
                .text("profile_arn", &anywhere.profile_arn)
                .text("role_arn", &anywhere.role_arn);
            block
                .text("certificate", pem(&anywhere.certificate))
                .text("private_key", pem(&anywhere.private_key));
            put(
                &mut block,
                "certificate_chain",
                anywhere.certificate_chain.as_ref().map(pem),
            );
            put(
                &mut block,
                "session_duration",
                anywhere.session_duration.map(show_duration),
            );
            put(&mut block, "session_name", anywhere.session_name.clone());
            put(&mut block, "region", anywhere.region.clone());
            put(
                &mut block,
                "endpoint",
                anywhere.endpoint.as_ref().map(masked_url),
            );
            map.put("roles_anywhere", Out::Map(block));
        }
    }
    let roles = config.roles.iter().map(|role| {
        let mut block = Map::default();
        block.text("role_arn", &role.role_arn);
        put(
            &mut block,
            "external_id",
            role.external_id.as_ref().map(|_| SECRET.into()),
        );
        put(&mut block, "session_name", role.session_name.clone());
        put(
            &mut block,
            "session_duration",
            role.session_duration.map(show_duration),
        );
        let mut tags = Map::default();
        for key in role.session_tags.keys() {
            tags.text(key, SECRET);
        }
        block.put("session_tags", Out::Map(tags));
        Out::Map(block)
    });
    let roles = roles.collect();
    map.put("assume_roles", Out::List(roles));
    if let Some(region) = &config.sts.region {
        map.text("sts_region", region);
    }
    if let Some(endpoint) = &config.sts.endpoint {
        map.text("sts_endpoint", masked_url(endpoint));
    }
    for (key, on) in [
        ("use_fips_sts_endpoint", config.sts.use_fips),
        ("use_dualstack", config.sts.use_dualstack),
    ] {
        if on {
            map.word(key, true);
        }
    }
    map
}

fn pem(pem: &Pem) -> String {
    match pem {
        Pem::Inline(_) => SECRET.into(),
        Pem::File(path) => path.to_string_lossy().into_owned(),
    }
}

/// The client keys among those of the block they belong to; `default` is the proxy setting that goes without saying.
fn client(map: &mut Map, client: &HttpClientConfig, default: &ProxyConfig) {
    match &client.auth {
        None => {}
        Some(HttpAuth::Basic { username, password }) => {
            let mut block = Map::default();
            secret(&mut block, "username", username);
            if let Some(password) = password {
                secret(&mut block, "password", password);
            }
            map.put("basic_auth", Out::Map(block));
        }
        Some(HttpAuth::Header { kind, credentials }) => {
            let mut block = Map::default();
            block.text("type", kind);
            secret(&mut block, "credentials", credentials);
            map.put("authorization", Out::Map(block));
        }
        Some(HttpAuth::OAuth2(oauth2)) => {
            let mut block = Map::default();
            block.text("client_id", SECRET);
            secret(&mut block, "client_secret", &oauth2.client_secret);
            block
                .texts("scopes", oauth2.scopes.iter())
                .text("token_url", masked_url(&oauth2.token_url));
            let mut params = Map::default();
            for name in oauth2.endpoint_params.keys() {
                params.text(name, SECRET);
            }
            block
                .put("endpoint_params", Out::Map(params))
                .put("tls_config", Out::Map(tls(&oauth2.tls)));
            proxy(&mut block, &oauth2.proxy, &ProxyConfig::None);
            map.put("oauth2", Out::Map(block));
        }
    }
    map.put("tls_config", Out::Map(tls(&client.tls)));
    proxy(map, &client.proxy, default);
    for (key, on) in [
        ("follow_redirects", client.follow_redirects),
        ("enable_http2", client.enable_http2),
    ] {
        if !on {
            map.word(key, false);
        }
    }
    let mut headers: Vec<(&str, Map)> = Vec::new();
    for (name, _) in &client.headers {
        if !headers.iter().any(|(n, _)| n == name) {
            let of_name = || {
                client
                    .headers
                    .iter()
                    .filter(|(n, _)| n == name)
                    .map(|(_, s)| s)
            };
            let mut block = Map::default();
            block.texts(
                "secrets",
                of_name()
                    .filter(|s| matches!(s, SecretSource::Inline(_)))
                    .map(|_| SECRET),
            );
            block.texts(
                "files",
                of_name().filter_map(|s| {
                    if let SecretSource::File(path) = s {
                        Some(path.to_string_lossy())
                    } else {
                        None
                    }
                }),
            );
            headers.push((name, block));
        }
    }
    let mut block = Map::default();
    for (name, header) in headers {
        block.put(name, Out::Map(header));
    }
    map.put("http_headers", Out::Map(block));
}

fn tls(tls: &TlsConfig) -> Map {
    let mut map = Map::default();
    for (key, value) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
        match value {
            Some(Pem::Inline(_)) => map.text(key, SECRET),
            Some(Pem::File(path)) => map.text(&format!("{key}_file"), path.to_string_lossy()),
            None => &mut map,
        };
    }
    if let Some(name) = &tls.server_name {
        map.text("server_name", name);
    }
    if tls.insecure_skip_verify {
        map.word("insecure_skip_verify", true);
    }
    versions(&mut map, tls.min_version, tls.max_version);
    map
}

fn versions(map: &mut Map, min: Option<TlsVersion>, max: Option<TlsVersion>) {
    for (key, version) in [("min_version", min), ("max_version", max)] {
        if let Some(version) = version {
            map.text(
                key,
                if version == TlsVersion::Tls13 {
                    "TLS13"
                } else {
                    "TLS12"
                },
            );
        }
    }
}

fn proxy(map: &mut Map, proxy: &ProxyConfig, default: &ProxyConfig) {
    match proxy {
        same if same == default => {}
        ProxyConfig::None => drop(map.word("proxy_from_environment", false)),
        ProxyConfig::Environment => drop(map.word("proxy_from_environment", true)),
        ProxyConfig::Url {
            url,
            no_proxy,
            connect_headers,
        } => {
            map.text("proxy_url", masked_url(url));
            if !no_proxy.is_empty() {
                map.text("no_proxy", no_proxy);
            }
            let mut headers = Map::default();
            for (name, _) in connect_headers {
                headers.texts(name, [SECRET]);
            }
            map.put("proxy_connect_header", Out::Map(headers));
        }
    }
}

fn rules(rules: &[Rule]) -> Out {
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

fn job(job: &JobConfig, found: &[DiscoveryConfig]) -> Map {
    let mut map = Map::default();
    map.text("job_name", &job.job_name);
    map.word("scrape_interval", show_duration(job.interval))
        .word("scrape_timeout", show_duration(job.timeout));
    map.text("metrics_path", &job.metrics_path)
        .text("scheme", format!("{:?}", job.scheme).to_ascii_lowercase());
    let mut params = Map::default();
    for (name, values) in &job.params {
        let hidden = may_authenticate(name);
        params.texts(
            name,
            values
                .iter()
                .map(|v| if hidden { SECRET } else { v.as_str() }),
        );
    }
    map.put("params", Out::Map(params));
    map.word("honor_labels", job.honor_labels)
        .word("honor_timestamps", job.honor_timestamps);
    map.word("track_timestamps_staleness", job.track_timestamps_staleness);
    map.texts(
        "scrape_protocols",
        job.protocols.iter().map(|p| protocol(*p)),
    );
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
            map.word(
                key,
                if key == "body_size_limit" {
                    show_size(limit)
                } else {
                    limit.to_string()
                },
            );
        }
    }
    client(&mut map, &job.client, &ProxyConfig::None);
    map.put("relabel_configs", rules(&job.relabel))
        .put("metric_relabel_configs", rules(&job.metric_relabel));
    discovery(&mut map, found);
    map
}

fn discovery(map: &mut Map, found: &[DiscoveryConfig]) {
    let (mut groups, mut files, mut urls) = (Vec::new(), Vec::new(), Vec::new());
    for config in found {
        let mut entry = Map::default();
        match config {
            DiscoveryConfig::Static(all) => {
                for group in all {
                    let mut entry = Map::default();
                    let addresses: Vec<&str> = group
                        .targets
                        .iter()
                        .filter_map(|t| t.get("__address__"))
                        .collect();
                    entry
                        .texts("targets", addresses)
                        .put("labels", labels(Some(&group.labels)));
                    groups.push(Out::Map(entry));
                }
            }
            DiscoveryConfig::File(file) => {
                entry
                    .texts("files", file.files.iter())
                    .word("refresh_interval", show_duration(file.refresh_interval));
                files.push(Out::Map(entry));
            }
            DiscoveryConfig::Http(http) => {
                entry
                    .text("url", masked_url(&http.url))
                    .word("refresh_interval", show_duration(http.refresh_interval));
                client(&mut entry, &http.client, &ProxyConfig::None);
                urls.push(Out::Map(entry));
            }
        }
    }
    map.put("static_configs", Out::List(groups))
        .put("file_sd_configs", Out::List(files))
        .put("http_sd_configs", Out::List(urls));
}

/// Does a query parameter's name sound like a credential's?
fn may_authenticate(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "token",
        "key",
        "secret",
        "pass",
        "auth",
        "credential",
        "signature",
        "sig",
    ]
    .iter()
    .any(|word| name.contains(word))
}

fn protocol(protocol: ScrapeProtocol) -> &'static str {
    match protocol {
        ScrapeProtocol::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        ScrapeProtocol::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
        ScrapeProtocol::PrometheusText0_0_4 => "PrometheusText0.0.4",
        ScrapeProtocol::PrometheusText1_0_0 => "PrometheusText1.0.0",
    }
}

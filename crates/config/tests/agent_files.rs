//! Files that people run today, through the public face.

use std::time::Duration;

use aws::CredentialSource;
use config::{LoadOptions, Plan, Problems, load};
use net::{ProxyConfig, Secret, SecretSource};
use remote_write::ProtocolConfig;

const GUIDE: &str = r#"
server:
  log_level: info
metrics:
  configs:
    - name: default
      remote_write:
        - url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-EXAMPLE/api/v1/remote_write
          remote_timeout: 30s
          sigv4:
            region: us-east-1
            access_key_id: ${AWS_ACCESS_KEY_ID}
            secret_access_key: ${AWS_SECRET_ACCESS_KEY}
            service_name: aps
      scrape_configs:
        - job_name: node
          scrape_interval: 15s
          static_configs:
            - targets: ['localhost:9100']
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".into()),
        "AWS_SECRET_ACCESS_KEY" => Some("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
        _ => None,
    }
}

fn read(text: &str, expand_env: bool) -> Result<Plan, Problems> {
    load(text, LoadOptions { expand_env, ..LoadOptions::new("agent.yaml", &environment) })
}

fn plan(text: &str) -> Plan {
    read(text, true).unwrap_or_else(|e| panic!("{e}"))
}

fn one_job(keys: &str) -> scrape::JobConfig {
    let text = format!(
        "metrics: {{configs: [{{name: a, remote_write: [{{url: 'http://h/w'}}], scrape_configs: [{{job_name: j, {keys}}}]}}]}}"
    );
    plan(&text).metrics.remove(0).jobs.remove(0).0
}

fn one_destination(keys: &str) -> config::DestinationPlan {
    let text = format!("metrics: {{configs: [{{name: a, remote_write: [{{{keys}}}]}}]}}");
    plan(&text).metrics.remove(0).destinations.remove(0)
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

#[test]
fn the_guides_file_runs_as_it_is_written() {
    let plan = plan(GUIDE);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert_eq!(plan.data_directory.to_str(), Some("data-agent/"));
    assert_eq!(plan.queue.directory.to_str(), Some("data-agent/queue"));
    let route = &plan.metrics[0];
    assert_eq!(route.name, "default");
    let destination = &route.destinations[0];
    assert_eq!(destination.config.timeout, Duration::from_secs(30));
    assert_eq!(destination.config.max_age, Some(Duration::from_secs(3600)), "AMP refuses older samples");
    assert_eq!(destination.config.shards, 4);
    assert!(matches!(destination.config.protocol, ProtocolConfig::Prometheus { .. }));
    assert_eq!(destination.config.client.proxy, ProxyConfig::Environment);
    assert_eq!(destination.default_service, "aps");
    assert!(destination.enabled);
    let identity = destination.identity.as_ref().unwrap();
    assert_eq!(identity.region.as_deref(), Some("us-east-1"));
    assert_eq!(identity.service.as_deref(), Some("aps"));
    let CredentialSource::Static { access_key, secret_key, session_token: None } = &identity.source else { panic!() };
    assert_eq!(*access_key, inline("AKIDEXAMPLE"));
    assert_eq!(*secret_key, inline("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
    let (job, discovery) = &route.jobs[0];
    assert_eq!(
        (job.job_name.as_str(), job.interval, job.timeout),
        ("node", Duration::from_secs(15), Duration::from_secs(10))
    );
    assert_eq!(job.client.proxy, ProxyConfig::None);
    let [discovery::DiscoveryConfig::Static(groups)] = &discovery[..] else { panic!() };
    assert_eq!(groups[0].targets[0].get("__address__"), Some("localhost:9100"));
}

#[test]
fn both_spellings_give_the_same_plan() {
    let standard = GUIDE.replace("access_key_id:", "access_key:").replace("secret_access_key:", "secret_key:");
    assert_eq!(plan(GUIDE), plan(&standard));
    assert_eq!(plan(GUIDE), plan(&GUIDE.replace("sigv4:", "aws:").replace("service_name:", "service:")));
}

#[test]
fn keys_are_read_from_the_environment_without_the_flag_and_one_warning_names_it() {
    let without = read(GUIDE, false).unwrap();
    assert_eq!(without.metrics, plan(GUIDE).metrics);
    assert_eq!(without.warnings.len(), 1);
    let warning = without.warnings[0].to_string();
    assert!(warning.contains("-config.expand-env") && warning.contains("agent.yaml:12:28"), "{warning}");
}

#[test]
fn the_old_names_of_the_blocks_still_load() {
    let plan = plan(&GUIDE.replace("metrics:", "prometheus:"));
    assert_eq!(plan.metrics.len(), 1);
    assert!(plan.warnings[0].message.contains("old name"));
}

#[test]
fn instances_inherit_from_global() {
    let plan = plan(
        "
metrics:
  wal_directory: /var/lib/agent
  http_disable_keepalives: yes
  global:
    scrape_interval: 1m
    scrape_timeout: 30s
    external_labels: {cluster: c1, zone: 1.20}
    sample_limit: 100
    remote_write:
      - url: https://one.example/write
      - url: https://two.example/write
        name: two
  configs:
    - name: first
      scrape_configs:
        - job_name: slow
          static_configs: [{targets: [a:1]}]
        - job_name: fast
          scrape_interval: 5s
          sample_limit: 0
          static_configs: [{targets: [a:1]}]
    - name: second
    - name: third
      remote_write:
        - url: https://three.example/write
",
    );
    let names: Vec<Vec<&str>> =
        plan.metrics.iter().map(|r| r.destinations.iter().map(|d| d.config.name.as_str()).collect()).collect();
    assert_eq!(
        names,
        [["first-1cd740", "first-two"].to_vec(), ["second-1cd740", "second-two"].to_vec(), ["third-29ec6c"].to_vec()]
    );
    let jobs = &plan.metrics[0].jobs;
    assert_eq!((jobs[0].0.interval, jobs[0].0.timeout), (Duration::from_secs(60), Duration::from_secs(30)));
    assert_eq!(
        (jobs[1].0.interval, jobs[1].0.timeout),
        (Duration::from_secs(5), Duration::from_secs(5)),
        "never longer than the interval"
    );
    assert_eq!((jobs[0].0.limits.samples, jobs[1].0.limits.samples), (100, 0));
    assert!(jobs[0].0.client.disable_keepalives);
    let labels = &plan.metrics[2].destinations[0].config.external_labels;
    assert_eq!((labels.get("cluster"), labels.get("zone")), (Some("c1"), Some("1.20")));
    assert_eq!(plan.queue.directory.to_str(), Some("/var/lib/agent/queue"));
}

#[test]
fn a_generated_name_does_not_change_with_the_credentials() {
    let name = |keys: &str| one_destination(keys).config.name;
    let bare = name("url: 'https://h.example/w'");
    assert_eq!(bare, name("url: 'https://user:pass@h.example/w'"));
    assert_eq!(bare, name("url: 'https://h.example/w', basic_auth: {username: a, password: b}"));
    assert_ne!(bare, name("url: 'https://h.example/other'"));
}

#[test]
fn two_destinations_at_one_url_are_told_apart() {
    let plan = plan(
        "metrics: {configs: [{name: a, remote_write: [{url: 'http://h/w', headers: {X-Scope-OrgID: one}}, {url: 'http://h/w', headers: {X-Scope-OrgID: two}}]}]}",
    );
    let names: Vec<_> = plan.metrics[0].destinations.iter().map(|d| d.config.name.clone()).collect();
    assert_eq!(names[1], format!("{}-2", names[0]));
}

#[test]
fn a_job_has_the_dialects_defaults() {
    let job = one_job("");
    assert_eq!((job.interval, job.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
    assert_eq!(job.metrics_path, "/metrics");
    assert!(!job.honor_labels && job.honor_timestamps && !job.track_timestamps_staleness && job.enable_compression);
    assert_eq!(job.protocols.len(), 3);
    assert_eq!(job.limits, scrape::Limits::default());
}

#[test]
fn every_key_of_a_job_is_read() {
    let job = one_job(
        "scrape_interval: 1m30s, scrape_timeout: 1m, metrics_path: federate, scheme: HTTPS, params: {'match[]': ['{a=\"b\"}', up]}, honor_labels: on, \
         honor_timestamps: no, track_timestamps_staleness: true, scrape_protocols: [PrometheusProto, PrometheusText0.0.4], enable_compression: false, \
         body_size_limit: 10MB, sample_limit: 0755, target_limit: 2, label_limit: 3, label_name_length_limit: 4, label_value_length_limit: 5, \
         keep_dropped_targets: 6, extra_scrape_metrics: true, tls_config: {insecure_skip_verify: true, min_version: TLS12, ca_file: /ca}, \
         authorization: {credentials: abc}, proxy_url: 'http://p:3128', no_proxy: 'x', follow_redirects: false, enable_http2: false, \
         relabel_configs: [{source_labels: [__address__], regex: '(.*):\\d+', target_label: host}, {action: LabelDrop, regex: tmp}], \
         metric_relabel_configs: [{action: drop, source_labels: [__name__], regex: }]",
    );
    assert_eq!((job.interval, job.timeout), (Duration::from_secs(90), Duration::from_secs(60)));
    assert_eq!((job.metrics_path.as_str(), job.scheme), ("/federate", scrape::Scheme::Https));
    assert_eq!(job.params["match[]"], ["{a=\"b\"}", "up"]);
    assert!(
        job.honor_labels
            && !job.honor_timestamps
            && job.track_timestamps_staleness
            && !job.enable_compression
            && job.extra_metrics
    );
    assert_eq!(job.protocols, [scrape::ScrapeProtocol::PrometheusText0_0_4]);
    let limits = scrape::Limits {
        body_size: 10 << 20,
        samples: 493,
        targets: 2,
        labels: 3,
        label_name_length: 4,
        label_value_length: 5,
        keep_dropped_targets: 6,
    };
    assert_eq!(job.limits, limits);
    assert!(job.client.tls.insecure_skip_verify && !job.client.follow_redirects && !job.client.enable_http2);
    assert_eq!(job.client.auth, Some(net::HttpAuth::Header { kind: "Bearer".into(), credentials: inline("abc") }));
    assert_eq!(job.relabel[1].source().action, relabel::Action::LabelDrop);
    assert_eq!(job.metric_relabel[0].source().regex, "", "`regex:` with nothing after it is the empty pattern");
}

#[test]
fn s3_urls_make_objects() {
    let bucket = "url: 'https://bkt.s3.us-east-1.amazonaws.com/prometheus/remote-write/'";
    for keys in [
        format!("{bucket}, sigv4: {{}}"),
        format!("{bucket}, sigv4: {{service_name: s3, region: us-east-1}}"),
        "url: 'http://minio:9000/bkt/p', sigv4: {service: s3, region: us-east-1}".into(),
        "url: 'http://minio:9000/bkt/p', protocol: s3, sigv4: {region: us-east-1}".into(),
    ] {
        let destination = one_destination(&keys);
        assert!(matches!(destination.config.protocol, ProtocolConfig::S3 { .. }), "{keys}");
        assert_eq!(
            (destination.default_service, destination.config.shards, destination.config.max_age),
            ("s3", 1, None),
            "{keys}"
        );
    }
    let destination = one_destination(&format!(
        "{bucket}, sigv4: {{}}, batch: {{max_bytes: 1MB, max_age: 1m}}, storage_class: STANDARD_IA, sse: {{type: 'aws:kms', kms_key_id: k}}, expected_bucket_owner: 012345678901"
    ));
    assert_eq!(
        (destination.config.batching.max_bytes, destination.config.batching.max_age),
        (1 << 20, Duration::from_secs(60))
    );
    let expected = ProtocolConfig::S3 {
        storage_class: Some("STANDARD_IA".into()),
        expected_bucket_owner: Some("012345678901".into()),
        sse: Some("aws:kms".into()),
        sse_kms_key_id: Some("k".into()),
    };
    assert_eq!(destination.config.protocol, expected);
}

#[test]
fn every_source_of_credentials_is_read() {
    let source = |keys: &str| {
        let keys = format!("url: 'https://aps-workspaces.us-east-1.amazonaws.com/w', sigv4: {{{keys}}}");
        one_destination(&keys).identity.unwrap()
    };
    assert_eq!(source("").source, CredentialSource::StandardChain);
    let files = source("access_key_file: /a, secret_key_file: /s, session_token_file: /t").source;
    assert_eq!(
        files,
        CredentialSource::Static {
            access_key: SecretSource::File("/a".into()),
            secret_key: SecretSource::File("/s".into()),
            session_token: Some(SecretSource::File("/t".into()))
        }
    );
    assert!(matches!(
        source("profile: p, shared_config_file: /c").source,
        CredentialSource::Profile { name: Some(_), config_file: Some(_), credentials_file: None }
    ));
    assert!(matches!(source("credential_process: '/bin/x --y'").source, CredentialSource::Process { .. }));
    assert!(matches!(
        source("web_identity: {role_arn: 'arn:aws:iam::123456789012:role/r', token_file: /t}").source,
        CredentialSource::WebIdentity { session_name: None, .. }
    ));
    assert!(matches!(source("container: {}").source, CredentialSource::Container { endpoint: None, token_file: None }));
    assert!(matches!(
        source("instance_metadata: {endpoint: 'http://169.254.169.254'}").source,
        CredentialSource::InstanceMetadata { endpoint: Some(_) }
    ));
    let anywhere = source(
        "roles_anywhere: {trust_anchor_arn: 'arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a', profile_arn: 'arn:aws:rolesanywhere:us-east-1:123456789012:profile/a', \
         role_arn: 'arn:aws:iam::123456789012:role/r', certificate: /c.pem, private_key: /k.pem, intermediates: /i.pem, session_duration: 1h}",
    );
    let CredentialSource::RolesAnywhere(anywhere) = anywhere.source else { panic!() };
    assert_eq!(anywhere.private_key, net::Pem::File("/k.pem".into()));
    let roles = source(
        "role_arn: 'arn:aws:iam::123456789012:role/a', external_id: ee, session_duration: 30m, session_tags: {t: v}, \
         assume_roles: [{role_arn: 'arn:aws:iam::123456789012:role/b'}], sts_region: eu-west-1, use_fips: true, use_dualstack: true",
    );
    assert_eq!(
        roles.roles.iter().map(|r| r.role_arn.as_str()).collect::<Vec<_>>(),
        ["arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:role/b"]
    );
    assert_eq!(roles.roles[0].external_id.as_deref(), Some("ee"));
    assert!(roles.sts.use_fips && roles.sts.use_dualstack && roles.sts.region.as_deref() == Some("eu-west-1"));
}

#[test]
fn secrets_may_be_references() {
    let destination = one_destination("url: 'http://h/w', basic_auth: {username: u, password: 'file:///run/secret'}");
    let Some(net::HttpAuth::Basic { password: Some(password), .. }) = destination.config.client.auth else { panic!() };
    assert_eq!(password, SecretSource::File("/run/secret".into()));
    let destination = one_destination("url: 'http://h/w', authorization: {credentials: 'env://AWS_ACCESS_KEY_ID'}");
    assert_eq!(
        destination.config.client.auth,
        Some(net::HttpAuth::Header { kind: "Bearer".into(), credentials: inline("AKIDEXAMPLE") })
    );
}

#[test]
fn every_secret_field_takes_references_to_stores() {
    let reference = |n: usize| format!("vault://kv/agent#{n}");
    let fields = [
        "basic_auth: {username: u, password: 'REF'}",
        "basic_auth: {username: 'REF', password: p}",
        "authorization: {credentials: 'REF'}",
        "bearer_token: 'REF'",
        "oauth2: {client_id: c, client_secret: 'REF', token_url: 'http://h/t'}",
        "tls_config: {ca: 'REF'}",
        "tls_config: {cert_file: /c, key: 'REF'}",
        "tls_config: {cert: 'REF', key_file: /k}",
        "headers: {X-Key: 'REF'}",
        "http_headers: {X-Key: {secrets: ['REF']}}",
        "sigv4: {region: us-east-1, access_key: 'REF', secret_key: s}",
        "sigv4: {region: us-east-1, access_key: a, secret_key: 'REF'}",
        "sigv4: {region: us-east-1, access_key: a, secret_key: s, session_token: 'REF'}",
        "sigv4: {region: us-east-1, credential_process: 'REF'}",
        "sigv4: {roles_anywhere: {trust_anchor_arn: 'arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a', \
         profile_arn: 'arn:aws:rolesanywhere:us-east-1:123456789012:profile/p', role_arn: 'arn:aws:iam::123456789012:role/r', \
         certificate: /c, private_key: 'REF'}}",
    ];
    let entries: Vec<String> = (fields.iter().enumerate())
        .map(|(n, field)| format!("{{name: d{n}, url: 'http://h/w', {}}}", field.replace("REF", &reference(n))))
        .collect();
    let text = format!(
        "vault: {{address: 'http://v:8200', token: t}}\nmetrics: {{configs: [{{name: a, remote_write: [{}]}}]}}",
        entries.join(", ")
    );
    let plan = load(&text, LoadOptions::new("f", &|_| None)).unwrap_or_else(|e| panic!("{e}"));
    let found: std::collections::BTreeSet<String> =
        plan.stored_secrets.iter().map(|s| s.reference().to_owned()).collect();
    assert_eq!(found, (0..fields.len()).map(reference).collect());
    for destination in &plan.metrics[0].destinations {
        assert!(format!("{destination:?}").contains("StoredSecret"), "{destination:?}");
    }
    let again = plan.render_masked();
    let plan = load(&again, LoadOptions::new("f", &|_| None)).unwrap_or_else(|e| panic!("{e}\n{again}"));
    assert_eq!(plan.stored_secrets.len(), fields.len(), "{again}");
}

#[test]
fn a_secret_that_would_need_itself_is_refused() {
    let refused = |blocks: &str, words: &str| {
        let text = format!("{blocks}\nmetrics: {{configs: [{{name: a}}]}}");
        let error = load(&text, LoadOptions::new("f", &|_| None)).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    refused("secrets: {aws: {region: us-east-1, access_key: 'vault://kv/a#id', secret_key: s}}", "would need itself");
    refused("secrets: {aws: {region: us-east-1, access_key: a, secret_key: 'aws-ssm:///s'}}", "would need itself");
    refused("vault: {address: 'http://v', token: 'vault://kv/a#t'}", "would need itself");
    refused("vault: {address: 'http://v'}", "how to log in");
    refused("vault: {address: 'http://v', token: t, kubernetes: {role: r}}", "one way to log in");
    refused("vault: {address: 'http://v', token: 'aws-ssm://'}", "aws-ssm:///path");
    let text = "vault: {address: 'http://v', token: 'aws-ssm:///vault/token'}\nmetrics: {configs: [{name: a}]}";
    assert_eq!(load(text, LoadOptions::new("f", &|_| None)).unwrap().stored_secrets.len(), 1);
    let text = "metrics: {configs: [{name: a, remote_write: [{url: 'http://h/w', bearer_token: 'vault://kv/a#t'}]}]}";
    let error = load(text, LoadOptions::new("f", &|_| None)).unwrap_err().to_string();
    assert!(error.contains("needs a top-level `vault` block"), "{error}");
}

#[test]
fn queue_keys_bound_shards_and_age() {
    let queue = |keys: &str| one_destination(&format!("url: 'http://h/w', {keys}")).config;
    assert_eq!(queue("queue_config: {max_shards: 2}").shards, 2);
    assert_eq!(queue("queue_config: {max_shards: 200}").shards, 4);
    assert_eq!(queue("queue_config: {min_shards: 10}").shards, 10);
    assert_eq!(queue("queue: {shards: 7}, queue_config: {max_shards: 2}").shards, 7);
    assert_eq!(queue("queue_config: {sample_age_limit: 5m}").max_age, Some(Duration::from_secs(300)));
    assert_eq!(queue("queue_config: {sample_age_limit: 0s}").max_age, None);
    assert_eq!(queue("queue: {max_age: 1d}").max_age, Some(Duration::from_secs(86400)));
    let tuned = queue(
        "queue_config: {max_samples_per_send: 500, min_backoff: 1s, max_backoff: 1m, retry_on_http_429: false, capacity: 5, batch_send_deadline: 1s}",
    );
    assert_eq!(
        (tuned.batching.max_samples, tuned.backoff.min, tuned.backoff.max, tuned.backoff.retry_on_http_429),
        (500, Duration::from_secs(1), Duration::from_secs(60), false)
    );
}

#[test]
fn requests_are_large_but_for_amp_and_as_the_file_says() {
    let samples = |keys: &str| one_destination(keys).config.batching.max_samples;
    assert_eq!(samples("url: 'http://h/w'"), 10_000);
    assert_eq!(samples("url: 'http://h/w', queue_config: {max_shards: 9}"), 10_000);
    assert_eq!(samples("url: 'https://bkt.s3.eu-west-1.amazonaws.com/p', sigv4: {}"), 10_000);
    let amp = "url: 'https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write', sigv4: {}";
    assert_eq!(samples(amp), 2000);
    assert_eq!(
        samples("url: 'https://vpce.example/api/v1/remote_write', sigv4: {region: eu-west-1, service: aps}"),
        2000
    );
    assert_eq!(samples("url: 'http://h/w', queue_config: {max_samples_per_send: 2000}"), 2000);
    assert_eq!(samples(&format!("{amp}, queue_config: {{max_samples_per_send: 10000}}")), 10_000);
    assert_eq!(one_destination("url: 'http://h/w'").config.batching.max_bytes, 4 << 20);
}

#[test]
fn the_queue_block_is_read() {
    let queue =
        plan("queue: {directory: /q, max_bytes: 1GiB, min_free: 2GiB, shares: {metrics: 60}, commit_interval: 1s}")
            .queue;
    assert_eq!(
        (queue.directory.to_str(), queue.max_bytes, queue.commit_interval),
        (Some("/q"), 1 << 30, Duration::from_secs(1))
    );
    assert_eq!(queue.min_free, config::MinFree::Bytes(2 << 30));
    assert_eq!(queue.shares, config::Shares { metrics: 60, logs: 40, traces: 20 });
    let min_free = |text: &str| plan(text).queue.min_free;
    assert_eq!(min_free("queue: {max_bytes: 1GiB}"), config::MinFree::Auto);
    assert_eq!(min_free("queue: {min_free: auto}"), config::MinFree::Auto);
    assert_eq!(min_free("queue: {min_free: 5%}"), config::MinFree::Percent(5.0));
}

#[test]
fn blocks_of_later_versions_are_said_and_not_run() {
    let text = format!(
        "{GUIDE}
integrations: {{agent: {{enabled: true}}}}
agent_management: {{polling_interval: 1m}}
"
    );
    let plan = plan(&text);
    let said: Vec<&str> = plan.warnings.iter().map(|w| w.message.split(':').next().unwrap()).collect();
    assert_eq!(said, ["integrations", "agent_management"]);
    assert_eq!(plan.metrics.len(), 1);
}

#[test]
fn helm_leftovers_are_nothing() {
    let plan = plan(
        "server:\nmetrics:\n  global:\n    external_labels:\n    remote_write:\n  configs:\n    - name: a\n      scrape_configs:\n      remote_write:\nlogs:\nintegrations:\n",
    );
    assert!(plan.metrics[0].jobs.is_empty() && plan.metrics[0].destinations.is_empty());
    assert!(load("", LoadOptions::new("x", &environment)).unwrap().metrics.is_empty());
}

#[test]
fn anchors_and_merge_keys_work() {
    let plan = plan(
        "
metrics:
  configs:
    - name: a
      remote_write: &everywhere
        - url: http://h/w
      scrape_configs:
        - &base
          job_name: one
          scrape_interval: 5s
          static_configs: [{targets: [a:1]}]
        - <<: *base
          job_name: two
    - name: b
      remote_write: *everywhere
",
    );
    assert_eq!(plan.metrics[0].jobs[1].0.job_name, "two");
    assert_eq!(plan.metrics[0].jobs[1].0.interval, Duration::from_secs(5));
    assert_eq!(plan.metrics[1].destinations.len(), 1);
}

#[test]
fn flags_win_over_the_file() {
    let options =
        LoadOptions { wal_directory: Some("/flag"), extra_scrape_metrics: true, ..LoadOptions::new("x", &environment) };
    let plan = load(&GUIDE.replace("metrics:\n", "metrics:\n  wal_directory: /file\n"), options).unwrap();
    assert_eq!(plan.data_directory.to_str(), Some("/flag"));
    assert!(plan.metrics[0].jobs[0].0.extra_metrics);
}

#[test]
fn files_that_run_but_not_as_meant_get_a_warning() {
    let workspace = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";
    for (keys, needle) in [
        (format!("url: '{workspace}', sigv4: {{}}, headers: {{x-scope-orgid: t}}"), "X-Scope-OrgID"),
        (format!("url: '{workspace}'"), "refuses unsigned requests"),
        (format!("url: '{workspace}', sigv4: {{region: eu-west-1}}"), "the URL's host is in us-east-1"),
        (format!("url: '{workspace}/', sigv4: {{}}"), "ends in /api/v1/remote_write"),
        (format!("url: '{workspace}', sigv4: {{profile: p, access_key: a, secret_key: b}}"), "the keys are used"),
        ("url: 'http://h/w', authorization: {}".into(), "neither `credentials`"),
    ] {
        let text = format!("metrics: {{configs: [{{name: a, remote_write: [{{{keys}}}]}}]}}");
        let warnings = plan(&text).warnings;
        assert!(warnings.len() == 1 && warnings[0].message.contains(needle), "{keys}: {warnings:?}");
    }
    let job = |keys: &str| {
        plan(&format!("metrics: {{configs: [{{name: a, scrape_configs: [{{job_name: j, {keys}}}]}}]}}")).warnings
    };
    let said: Vec<String> = job("scrape_protocols: [PrometheusProto]").into_iter().map(|w| w.message).collect();
    assert!(
        said.iter().any(|m| m.contains("no targets"))
            && said.iter().any(|m| m.contains("goes nowhere"))
            && said.iter().any(|m| m.contains("protobuf")),
        "{said:?}"
    );
}

/// A region is the signer's affair, who may ask instance metadata; of keys that were written by hand it is warned.
#[test]
fn a_region_may_come_from_the_environment_or_a_profile() {
    let text = |identity: &str| {
        format!(
            "metrics: {{configs: [{{name: a, remote_write: [{{url: 'https://h.internal/w', sigv4: {{{identity}}}}}]}}]}}"
        )
    };
    let keys = "access_key: a, secret_key: b";
    let region = |name: &str| (name == "AWS_REGION").then(|| "us-east-1".to_owned());
    let none = |_: &str| None;
    let warned = |environment| {
        let plan = load(&text(keys), LoadOptions::new("f", environment)).unwrap();
        plan.warnings.iter().any(|warning| warning.message.contains("no region"))
    };
    assert!(warned(&none));
    assert!(!warned(&region));
    let off = |name: &str| (name == "AWS_EC2_METADATA_DISABLED").then(|| "true".to_owned());
    assert!(load(&text(keys), LoadOptions::new("f", &off)).unwrap_err().errors[0].message.contains("no region"));
    assert!(load(&text(""), LoadOptions::new("f", &none)).is_ok(), "instance metadata may give one");
    assert!(load(&text("profile: p"), LoadOptions::new("f", &none)).is_ok());
}

/// Typical files, each of which Grafana Agent takes.
#[test]
fn the_corpus_of_agent_files_loads() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accepted");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = read(&text, text.contains("# flags: -config.expand-env"));
        let plan = loaded.unwrap_or_else(|e| panic!("{e}"));
        assert!(!plan.metrics.is_empty(), "{}", path.display());
        // Line ends and byte order marks of other systems change nothing.
        let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let again = read(&windows, text.contains("# flags: -config.expand-env")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((&plan.metrics, &plan.queue), (&again.metrics, &again.queue), "{}", path.display());
        let places =
            |plan: &Plan| plan.warnings.iter().map(|w| (w.line, w.column, w.snippet.clone())).collect::<Vec<_>>();
        assert_eq!(places(&plan), places(&again), "{}", path.display());
        files += 1;
    }
    assert!(files >= 3);
}

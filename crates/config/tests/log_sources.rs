//! Sources of lines that are no files, and clusters, as a file writes them.

use std::{path::Path, time::Duration};

use config::{LoadOptions, LogSource, Plan, Problems, load};
use discovery::{DiscoveryConfig, DockerHost, KubernetesRole};
use log_receive::{LogGroups, NewObjects, ObjectCompression, SyslogFormat};
use net::Transport;

fn try_with(jobs: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Plan, Problems> {
    let text = format!(
        "logs:\n  configs:\n    - name: default\n      clients: [{{url: 'http://h/loki/api/v1/push'}}]\n      scrape_configs:\n{jobs}"
    );
    load(&text, LoadOptions { hostname: Some("node-1"), ..LoadOptions::new("agent.yaml", environment) })
}

fn try_plan(jobs: &str) -> Result<Plan, Problems> {
    try_with(jobs, &|_| None)
}

fn job(source: &str) -> String {
    format!("        - job_name: j\n          {source}\n")
}

fn source(text: &str) -> LogSource {
    let mut plan = try_plan(&job(text)).unwrap_or_else(|e| panic!("{e}"));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    plan.logs.remove(0).jobs.remove(0).source
}

#[test]
fn a_source_with_nothing_but_what_it_needs_has_promtails_defaults() {
    let LogSource::Journal(journal) = source("journal: {}") else { panic!() };
    assert_eq!((journal.max_age, journal.json, journal.path), (Duration::from_secs(7 * 3600), false, None));
    let LogSource::Syslog(syslog) = source("syslog: {listen_address: ':514'}") else { panic!() };
    assert_eq!((syslog.transport, syslog.format), (Transport::Tcp, SyslogFormat::Either));
    assert_eq!((syslog.max_message_length, syslog.idle_timeout), (8192, Duration::from_secs(120)));
    assert!(syslog.tls.is_none() && !syslog.use_incoming_timestamp && !syslog.label_structured_data);
    let LogSource::Push(push) = source("loki_push_api: {server: {http_listen_port: 3500}}") else { panic!() };
    assert_eq!((push.listen.as_str(), push.use_incoming_timestamp), (":3500", false));
    let text = "cloudwatch_logs: {log_groups: [g], aws: {region: eu-west-1}}";
    let LogSource::CloudWatch(cloud) = source(text) else { panic!() };
    assert_eq!(cloud.config.endpoint.as_str(), "https://logs.eu-west-1.amazonaws.com/");
    assert_eq!(cloud.config.groups, LogGroups::Names(vec!["g".into()]));
    assert!(cloud.config.use_incoming_timestamp);
    let LogSource::Objects(objects) = source("s3: {bucket: bkt, aws: {region: eu-west-1}}") else { panic!() };
    assert_eq!((objects.config.bucket.as_str(), objects.config.region.as_str()), ("bkt", "eu-west-1"));
    assert_eq!(objects.config.compression, ObjectCompression::Auto);
    assert!(matches!(objects.config.objects, NewObjects::List { start_back: None, sorted_keys: false, .. }));
}

#[test]
fn every_key_is_taken_over() {
    let text = "journal: {path: /var/log/journal, max_age: 1h, json: true, labels: {a: b}, matches: '_TRANSPORT=kernel PRIORITY=3'}";
    let LogSource::Journal(journal) = source(text) else { panic!() };
    assert_eq!(journal.path.as_deref(), Some(Path::new("/var/log/journal")));
    assert_eq!(journal.matches, ["_TRANSPORT=kernel", "PRIORITY=3"]);
    assert!(journal.json && journal.labels.get("a") == Some("b"));
    let text = "syslog: {listen_address: '127.0.0.1:1514', listen_protocol: tcp, idle_timeout: 1s, label_structured_data: true, use_incoming_timestamp: true, use_rfc5424_message: true, syslog_format: rfc3164, max_message_length: 1KiB, tls_config: {cert_file: /c, key_file: /k, ca_file: /a}}";
    let LogSource::Syslog(syslog) = source(text) else { panic!() };
    assert!(syslog.label_structured_data && syslog.use_incoming_timestamp && syslog.use_whole_message);
    assert_eq!((syslog.format, syslog.max_message_length), (SyslogFormat::Rfc3164, 1024));
    assert!(syslog.tls.is_some_and(|tls| tls.require_client_cert && tls.client_ca.is_some()));
    let text = "loki_push_api: {use_incoming_timestamp: true, server: {http_listen_address: '::1', http_listen_port: 1, http_listen_conn_limit: 7, http_server_read_timeout: 2s, graceful_shutdown_timeout: 3s, http_tls_config: {cert_file: /c, key_file: /k, client_ca_file: /a, client_auth_type: RequireAndVerifyClientCert}}}";
    let LogSource::Push(push) = source(text) else { panic!() };
    assert_eq!((push.listen.as_str(), push.server.connection_limit), ("[::1]:1", 7));
    assert_eq!((push.limits.read, push.server.drain_timeout), (Duration::from_secs(2), Duration::from_secs(3)));
    assert!(push.server.tls.is_some_and(|tls| tls.require_client_cert));
    let text = "cloudwatch_logs: {log_group_prefix: /aws/, log_stream_prefix: s, filter_pattern: ERROR, start: 2h, poll_interval: 5s, overlap: 1m, use_incoming_timestamp: false, endpoint_url: 'http://h:1/', aws: {region: eu-west-1}}";
    let LogSource::CloudWatch(cloud) = source(text) else { panic!() };
    assert_eq!(cloud.config.groups, LogGroups::Prefix("/aws/".into()));
    assert_eq!(cloud.config.endpoint.as_str(), "http://h:1/");
    assert_eq!(cloud.signed_for.as_str(), "https://logs.eu-west-1.amazonaws.com/");
    assert_eq!((cloud.config.start_back, cloud.config.overlap), (Duration::from_secs(7200), Duration::from_secs(60)));
    let text = "s3: {sqs_queue_url: 'https://sqs.eu-west-1.amazonaws.com/123456789012/q', visibility_timeout: 1m, max_receives: 3, compression: gzip, aws: {}}";
    let LogSource::Objects(objects) = source(text) else { panic!() };
    // The region is that of the queue.
    assert_eq!((objects.config.region.as_str(), objects.config.compression), ("eu-west-1", ObjectCompression::Gzip));
    let NewObjects::Queue(queue) = &objects.config.objects else { panic!() };
    assert_eq!((queue.visibility, queue.max_receives), (Duration::from_secs(60), 3));
    let text = "s3: {bucket: bkt, sorted_keys: true, start_after: k, start: 1h, overlap: 2h, poll_interval: 1s, expected_bucket_owner: '1', aws: {region: eu-west-1}}";
    let LogSource::Objects(objects) = source(text) else { panic!() };
    assert!(
        matches!(&objects.config.objects, NewObjects::List { sorted_keys: true, start_after, .. } if start_after == "k")
    );
}

#[test]
fn a_rendered_source_is_the_same_source() {
    let jobs = "        - {job_name: a, journal: {path: /j, labels: {a: b}, matches: 'PRIORITY=3'}}
        - {job_name: b, syslog: {listen_address: '127.0.0.1:1514', listen_protocol: udp, syslog_format: rfc5424}}
        - {job_name: c, syslog: {listen_address: '127.0.0.1:1515', tls_config: {cert_file: /c, key_file: /k, ca_file: /a}}}
        - {job_name: d, loki_push_api: {server: {http_listen_port: 3500, http_tls_config: {cert_file: /c, key_file: /k}}}}
        - {job_name: e, cloudwatch_logs: {log_groups: [g], endpoint_url: 'http://h:1/', aws: {region: eu-west-1}}}
        - {job_name: f, s3: {bucket: bkt, prefix: p/, start: 1h, aws: {region: eu-west-1}}}
        - {job_name: g, s3: {sqs_queue_url: 'https://sqs.eu-west-1.amazonaws.com/1/q', sqs_endpoint_url: 'http://h:2/', aws: {}}}
        - {job_name: h, kubernetes_sd_configs: [{role: pod, namespaces: {names: [a], own_namespace: true}, attach_metadata: {node: true}}], relabel_configs: []}
        - {job_name: i, docker_sd_configs: [{host: 'unix:///d.sock', filters: [{name: label, values: [a=b]}]}, {host: 'tcp://h:2376', refresh_interval: 5s, tls_config: {ca_file: /a}}]}
";
    let before = try_plan(jobs).unwrap_or_else(|e| panic!("{e}"));
    let rendered = before.render_masked();
    let options = LoadOptions { hostname: Some("node-1"), ..LoadOptions::new("rendered", &|_| None) };
    let after = load(&rendered, options).unwrap_or_else(|e| panic!("{e}\n{rendered}"));
    assert_eq!(before.logs, after.logs, "{rendered}");
}

#[test]
fn the_first_of_several_sources_counts_and_the_others_are_told() {
    let text = job("syslog: {listen_address: ':514'}\n          loki_push_api: {server: {http_listen_port: 1}}");
    let plan = try_plan(&text).unwrap();
    assert!(matches!(plan.logs[0].jobs[0].source, LogSource::Syslog(_)));
    assert!(plan.warnings.iter().any(|w| w.message.contains("`loki_push_api` is not read")), "{:?}", plan.warnings);
    let text = job("journal: {}\n          static_configs: [{labels: {__path__: /l}}]");
    let plan = try_plan(&text).unwrap();
    assert!(matches!(plan.logs[0].jobs[0].source, LogSource::Files(_)));
    assert!(
        plan.warnings.iter().any(|w| w.message.contains("has files and `journal`: `journal` is not read")),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_name_that_no_bucket_can_have_is_an_error_at_aws_and_a_warning_elsewhere() {
    for (name, why) in [("b1", "too short"), ("AB_C", "capital"), ("a_bc", "underscore")] {
        let error =
            try_plan(&job(&format!("s3: {{bucket: {name}, aws: {{region: eu-west-1}}}}"))).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("`bucket`"), "{error}");
        let elsewhere =
            job(&format!("s3: {{bucket: {name}, endpoint_url: 'http://h:9000', aws: {{region: eu-west-1}}}}"));
        let plan = try_plan(&elsewhere).unwrap_or_else(|e| panic!("{e}"));
        assert!(plan.warnings.iter().any(|w| w.message.contains(why)), "{:?}", plan.warnings);
    }
}

#[test]
fn a_region_may_come_from_the_environment() {
    let environment = |name: &str| (name == "AWS_REGION").then(|| "ap-south-1".to_owned());
    let plan = try_with(&job("s3: {bucket: bkt}"), &environment).unwrap_or_else(|e| panic!("{e}"));
    let LogSource::Objects(objects) = &plan.logs[0].jobs[0].source else { panic!() };
    assert_eq!(objects.config.region, "ap-south-1");
    let error = try_plan(&job("s3: {bucket: bkt}")).unwrap_err().to_string();
    assert!(error.contains("no region") && error.contains("aws: {region: us-east-1}"), "{error}");
}

#[test]
fn the_standard_input_needs_no_path() {
    let text = "logs:\n  configs:\n    - name: default\n      clients: [{url: 'http://h/p'}]\n      target_config: {stdin: true}\n      scrape_configs: [{job_name: j, static_configs: [{labels: {a: b}}]}]\n";
    let plan = load(text, LoadOptions::new("agent.yaml", &|_| None)).unwrap_or_else(|e| panic!("{e}"));
    assert!(plan.logs[0].stdin && plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn pods_whose_files_are_read_are_those_of_this_node() {
    let field = |text: &str| {
        let LogSource::Files(found) =
            source(&format!("kubernetes_sd_configs: [{text}]\n          relabel_configs: []"))
        else {
            panic!()
        };
        let DiscoveryConfig::Kubernetes(config) = &found[0] else { panic!("{found:?}") };
        config.selectors.iter().find(|s| s.role == KubernetesRole::Pod).map(|s| s.field.clone())
    };
    assert_eq!(field("{role: pod}").as_deref(), Some("spec.nodeName=node-1"));
    let running = "{role: pod, selectors: [{role: pod, field: status.phase=Running}]}";
    assert_eq!(field(running).as_deref(), Some("status.phase=Running,spec.nodeName=node-1"));
    let other = "{role: pod, selectors: [{role: pod, field: spec.nodeName=other}]}";
    assert_eq!(field(other).as_deref(), Some("spec.nodeName=other"));
    assert_eq!(field("{role: node}"), None);
}

#[test]
fn scrapes_look_at_the_whole_cluster() {
    let text = "metrics:\n  configs:\n    - name: default\n      remote_write: [{url: 'http://h/w'}]\n      scrape_configs: [{job_name: j, kubernetes_sd_configs: [{role: endpoints, api_server: 'https://h:6443', bearer_token_file: /t}]}]\n";
    let plan = load(text, LoadOptions::new("agent.yaml", &|_| None)).unwrap_or_else(|e| panic!("{e}"));
    let (_, found) = &plan.metrics[0].jobs[0];
    let DiscoveryConfig::Kubernetes(config) = &found[0] else { panic!("{found:?}") };
    assert_eq!(config.role, KubernetesRole::Endpoints);
    assert!(config.selectors.is_empty() && config.client.auth.is_some());
}

#[test]
fn containers_are_read_from_the_engines_that_a_job_names() {
    let LogSource::Docker(docker) = source("docker_sd_configs: [{host: 'unix:///var/run/docker.sock'}]") else {
        panic!()
    };
    let engine = &docker.engines[0];
    assert_eq!(engine.host, DockerHost::Socket("/var/run/docker.sock".into()));
    assert_eq!(
        (engine.port, engine.host_networking_host.as_str(), engine.match_first_network),
        (80, "localhost", true)
    );
    assert_eq!(engine.refresh_interval, Duration::from_secs(60));
    let text = "docker_sd_configs: [{host: 'tcp://h:2375', port: 81, filters: [{name: name, values: [a, b]}]}]";
    let LogSource::Docker(docker) = source(text) else { panic!() };
    assert_eq!(docker.engines[0].host.to_string(), "http://h:2375/");
    assert_eq!(docker.engines[0].filters, [("name".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    for (wrong, why) in [
        ("docker_sd_configs: [{}]", "`host` is missing"),
        ("docker_sd_configs: [{host: 'npipe:////x'}]", "`host` cannot be used"),
        ("docker_sd_configs: [{host: 'unix://d.sock'}]", "`host` cannot be used"),
        ("docker_sd_configs: [{host: 'unix:///d', bearer_token: x}]", "has no effect on a socket"),
        ("docker_sd_configs: [{host: 'unix:///d', port: 70000}]", "at most 65535"),
        ("docker_sd_configs: [{host: 'unix:///d', refresh_interval: 0s}]", "longer than 0"),
    ] {
        let problems = try_plan(&job(wrong)).expect_err(wrong).to_string();
        assert!(problems.contains(why), "{wrong}: {problems}");
    }
}

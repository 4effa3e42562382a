//! `logs:` as Grafana Agent's files and our own examples write it.

use std::time::Duration;

use config::{LineLimits, LoadOptions, LogSource, LogsRoute, Plan, Problems, load};
use remote_write::{
    ProtocolConfig,
    logs::{LogFormat, LogProtocol},
};
use stages::StageConfig;

fn environment(name: &str) -> Option<String> {
    name.starts_with("AWS_").then(|| "EXAMPLE".to_owned())
}

fn try_plan(text: &str) -> Result<Plan, Problems> {
    load(text, LoadOptions { hostname: Some("web-1"), ..LoadOptions::new("agent.yaml", &environment) })
}

fn plan(text: &str) -> Plan {
    try_plan(text).unwrap_or_else(|e| panic!("{e}"))
}

/// An instance whose only client is this, in flow style.
fn client(text: &str) -> String {
    format!(
        "logs:\n  configs:\n    - name: default\n      clients: [{text}]\n      scrape_configs: [{{job_name: j, static_configs: [{{labels: {{__path__: /l}}}}]}}]\n"
    )
}

fn protocol(text: &str) -> LogProtocol {
    match plan(&client(text)).logs.remove(0).destinations.remove(0).config.protocol {
        ProtocolConfig::Logs(protocol) => protocol,
        other => panic!("{other:?}"),
    }
}

/// An instance with these stages, in block style.
fn stages(text: &str) -> Result<Vec<StageConfig>, Problems> {
    let mut file = client("{url: 'http://h/loki/api/v1/push'}")
        .replace("scrape_configs: [{job_name: j, static_configs: [{labels: {__path__: /l}}]}]\n", "");
    file += "scrape_configs:\n        - job_name: j\n          static_configs: [{labels: {__path__: /l}}]\n          pipeline_stages:\n";
    for line in text.lines() {
        file += &format!("            {line}\n");
    }
    Ok(try_plan(&file)?.logs.remove(0).jobs.remove(0).stages.stages)
}

fn messages(error: &Problems) -> String {
    error.to_string()
}

const GUIDE: &str = "
logs:
  configs:
    - name: default
      clients:
        - url: https://logs.us-east-1.amazonaws.com/
          aws:
            region: us-east-1
            access_key_id: ${AWS_ACCESS_KEY_ID}
            secret_access_key: ${AWS_SECRET_ACCESS_KEY}
      positions:
        filename: /tmp/positions.yaml
      scrape_configs:
        - job_name: system
          static_configs:
            - targets: [localhost]
              labels: {job: varlogs, __path__: /var/log/*log}
server:
  log_level: info
";

#[test]
fn the_guides_file_runs_as_written() {
    let plan = plan(GUIDE);
    let route: &LogsRoute = &plan.logs[0];
    assert_eq!((route.name.as_str(), route.positions.file.to_str()), ("default", Some("/tmp/positions.yaml")));
    let destination = &route.destinations[0];
    assert_eq!(destination.default_service, "logs");
    assert!(destination.identity.is_some() && destination.enabled);
    assert_eq!(destination.config.batching.max_age, Duration::from_secs(1));
    assert_eq!((destination.config.batching.max_bytes, destination.config.timeout), (1 << 20, Duration::from_secs(10)));
    match &destination.config.protocol {
        ProtocolConfig::Logs(LogProtocol::CloudWatch(c)) => {
            assert_eq!((c.log_group.text(), c.log_stream.text()), ("/sigpost/{job}", "{hostname}{filename}"));
            assert!(c.create && c.gzip && c.retention_days.is_none());
        }
        other => panic!("{other:?}"),
    }
    let LogSource::Files(found) = &route.jobs[0].source else { panic!("{:?}", route.jobs[0].source) };
    assert!(format!("{found:?}").contains("/var/log/*log"), "{found:?}");
    // Said of the flag alone.
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].message.contains("-config.expand-env"));
}

#[test]
fn the_protocol_follows_from_the_host() {
    for (text, word) in [
        ("{url: 'https://logs.eu-west-1.amazonaws.com/', aws: {}}", "cloudwatch_logs"),
        ("{url: 'https://logs.eu-west-1.amazonaws.com/v1/logs', aws: {}}", "otlp"),
        ("{url: 'https://firehose.us-east-1.amazonaws.com/', delivery_stream: s, aws: {}}", "firehose"),
        ("{url: 'https://kinesis.us-east-1.amazonaws.com/', stream_name: s, aws: {}}", "kinesis"),
        ("{url: 'https://bkt.s3.us-east-1.amazonaws.com/p', aws: {}}", "s3"),
        ("{url: 'https://s3.us-east-1.amazonaws.com/bkt', aws: {}}", "s3"),
        ("{url: 'https://a.execute-api.us-east-1.amazonaws.com/x/loki/api/v1/push', aws: {}}", "loki"),
        ("{url: 'http://loki:3100/loki/api/v1/push'}", "loki"),
        ("{url: 'http://collector:4318/v1/logs'}", "otlp"),
        ("{url: 'http://h/x', protocol: cloudwatch_logs}", "cloudwatch_logs"),
        ("{url: 'http://minio:9000/b', sigv4: {service_name: s3, region: us-east-1}}", "s3"),
    ] {
        assert_eq!(protocol(text).name(), word, "{text}");
    }
}

#[test]
fn each_protocol_has_its_keys_and_defaults() {
    let text = "{url: 'https://firehose.us-east-1.amazonaws.com/', delivery_stream: s, aws: {}}";
    assert!(matches!(protocol(text), LogProtocol::Firehose(f) if f.format == LogFormat::Text));
    let text =
        "{url: 'https://bkt.s3.us-east-1.amazonaws.com/', aws: {}, format: text, compression: zstd, prefix: 'x/{day}'}";
    assert!(matches!(protocol(text), LogProtocol::Objects(o) if o.format == LogFormat::Text && o.prefix.is_some()));
    let text = "{url: 'http://h/loki/api/v1/push', tenant_id: t, drop_rate_limited_batches: true, batchwait: 2s, batchsize: 10KB, backoff_config: {min_period: 1s, max_period: 2s}, external_labels: {a: b}, headers: {X-A: b}}";
    let destination = plan(&client(text)).logs.remove(0).destinations.remove(0).config;
    assert!(!destination.backoff.retry_on_http_429);
    assert_eq!(destination.backoff.min, Duration::from_secs(1));
    assert_eq!((destination.batching.max_bytes, destination.batching.max_age), (10 << 10, Duration::from_secs(2)));
    assert_eq!(destination.external_labels.get("a"), Some("b"));
    assert_eq!(destination.client.headers.len(), 1);
    let aws = "{url: 'https://logs.us-east-1.amazonaws.com/v1/logs', aws: {}}";
    assert!(matches!(protocol(aws), LogProtocol::Otlp(o) if o.log_group.is_some()));
    assert!(matches!(protocol("{url: 'http://h/v1/logs'}"), LogProtocol::Otlp(o) if o.log_group.is_none()));
}

#[test]
fn a_client_may_take_a_part_of_the_lines() {
    let rules = "[{source_labels: [__tenant_id__], regex: loud, action: keep}]";
    let found = plan(&client(&format!("{{url: 'http://h/loki/api/v1/push', write_relabel_configs: {rules}}}")));
    let rule = &found.logs[0].destinations[0].config.write_relabel[0];
    assert_eq!((rule.source().source_labels[0].as_str(), rule.source().regex.as_str()), ("__tenant_id__", "loud"));
    assert!(found.render_masked().contains("__tenant_id__"));
    let bad = "{url: 'http://h/', write_relabel_configs: [{source_labels: [a], regex: '(', action: keep}]}";
    assert!(messages(&try_plan(&client(bad)).unwrap_err()).contains("regex"));
}

#[test]
fn what_is_wrong_with_a_client_is_said_with_what_to_write() {
    for (text, wanted) in [
        (
            "{url: 'https://firehose.us-east-1.amazonaws.com/', aws: {}}",
            "beside `url: https://firehose.us-east-1.amazonaws.com/`: delivery_stream: NAME",
        ),
        ("{url: 'https://kinesis.us-east-1.amazonaws.com/', aws: {}}", "stream_name: NAME"),
        (
            "{url: 'http://h/loki/api/v1/push', log_group: g}",
            "`log_group` is a key of the protocol `cloudwatch_logs` or `otlp`; this client speaks `loki`",
        ),
        (
            "{url: 'https://logs.us-east-1.amazonaws.com/', aws: {}, log_group: '/x/{job'}",
            "a brace without its other half",
        ),
        ("{url: 'https://logs.us-east-1.amazonaws.com/', aws: {}, retention_days: 2}", "one of 1, 3, 5, 7, 14"),
        ("{url: 'http://h/p', sigv4: {region: us-east-1}, basic_auth: {username: u}}", "one kind of authentication"),
        ("{url: 'http://h/p', batch_wait: 1s}", "did you mean `batchwait`?"),
        ("{url: 'http://h/p'}, {url: 'http://h/p'}", "everything would be sent twice"),
        ("{name: a, url: 'http://h/p'}, {name: a, url: 'http://h/q'}", "two clients of `default` have the name `a`"),
        ("{name: a}", "`url` is missing in `clients[]`"),
    ] {
        let error = try_plan(&client(text)).expect_err(text);
        assert!(messages(&error).contains(wanted), "{text}:\n{}", messages(&error));
    }
}

#[test]
fn a_secret_of_a_client_is_never_shown() {
    let text = client(
        "{url: 'https://user:s3cr3tMARKER@h/p', headers: {X-Key: s3cr3tMARKER}, oauth2: {client_id: agent, client_secret: s3cr3tMARKER, token_url: 'http://h/t'}, stream_name: x}",
    );
    let error = try_plan(&text).unwrap_err();
    assert!(!format!("{error}{error:?}").contains("s3cr3tMARKER"), "{error}");
    let plan = plan(&text.replace(", stream_name: x", ""));
    let shown = format!("{plan:?}\n{}", plan.render_masked());
    assert!(!shown.contains("s3cr3tMARKER"), "{shown}");
}

#[test]
fn names_of_clients_are_their_own_even_where_the_agent_took_them_twice() {
    let text = "
metrics:
  configs:
    - {name: m, remote_write: [{name: prod, url: 'http://h/w'}]}
logs:
  global:
    clients: [{name: shared, url: 'http://h/g'}, {url: 'http://h/x'}]
  configs:
    - {name: a, clients: [{name: prod, url: 'http://h/a'}]}
    - {name: b, clients: [{name: prod, url: 'http://h/b'}, {url: 'http://h/b2'}]}
    - {name: c}
";
    let plan = plan(text);
    let names: Vec<&str> = plan.logs.iter().flat_map(|r| &r.destinations).map(|d| d.config.name.as_str()).collect();
    assert_eq!(names[..3], ["logs-a-prod", "logs-b-prod", names[2]]);
    assert!(names[2].starts_with("logs-b-") && names[3] == "c-shared" && names[4].starts_with("logs-c-"), "{names:?}");
    assert!(plan.warnings.iter().any(|w| w.message.contains("another destination has the name `prod`")));
}

#[test]
fn positions_are_where_the_agent_had_them() {
    let file = |text: &str| plan(text).logs.remove(0).positions.file.display().to_string();
    let clients = "clients: [{url: 'http://h/p'}]";
    assert_eq!(file(&format!("logs: {{configs: [{{name: a, {clients}}}]}}")), "data-agent/positions/a.yml");
    assert_eq!(file(&format!("logs: {{positions_directory: /p, configs: [{{name: a, {clients}}}]}}")), "/p/a.yml");
    let two = format!(
        "logs: {{configs: [{{name: a, {clients}, positions: {{filename: /p}}}}, {{name: b, {clients}, positions: {{filename: /p}}}}]}}"
    );
    assert!(messages(&try_plan(&two).unwrap_err()).contains("`a` and `b` share a positions file"));
}

#[test]
fn limits_that_the_agent_never_filled_in_stop_nothing() {
    let text = "logs: {configs: [{name: a, clients: [{url: 'http://h/p'}], limits_config: {readline_rate_enabled: true, max_line_size: 256kb, max_line_size_truncate: true}}]}";
    let limits: LineLimits = plan(text).logs[0].limits;
    assert_eq!(limits.rate.map(|r| (r.per_second, r.burst, r.drop)), Some((10_000.0, 10_000, false)));
    assert_eq!((limits.max_line_size, limits.max_line_size_truncate), (256 << 10, true));
}

#[test]
fn every_stage_is_read() {
    let all = "
- docker: {}
- cri: {max_partial_lines: 5, max_partial_line_size: 10kb, max_partial_line_size_truncate: true}
- json: {expressions: {level: , msg: message}, source: body, drop_malformed: true}
- logfmt: {mapping: {level: }, source: x}
- regex: {expression: '^(?P<a>.)', source: x}
- replace: {expression: '(secret)', replace: '***', source: x}
- template: {source: a, template: '{{ ToLower .Value }}'}
- labels: {level: , app: application}
- static_labels: {env: prod}
- labeldrop: [filename]
- labelallow: [app, env]
- structured_metadata: {trace: trace_id}
- non_indexed_labels: {span: }
- timestamp: {source: t, format: RFC3339, fallback_formats: [Unix], location: Europe/Berlin, action_on_failure: skip}
- output: {source: msg}
- tenant: {value: a}
- match:
    selector: '{app=\"x\"} |= \"y\"'
    pipeline_name: p
    stages:
      - static_labels: {b: c}
- match: {selector: '{app=\"z\"}', action: drop, drop_counter_reason: r}
- drop: {source: [a, b], separator: '-', value: x-y}
- drop: {older_than: 24h, longer_than: 8kb, drop_counter_reason: old}
- limit: {rate: 10.5, burst: 20, drop: true, by_label_name: app, max_distinct_labels: 20000}
- sampling: {rate: 0.5}
- multiline: {firstline: '^a', max_wait_time: 1s, max_lines: 5}
- pack: {labels: [app], ingest_timestamp: false}
- metrics:
    lines_total: {type: Counter, description: d, source: a, prefix: p_, max_idle_duration: 1h, config: {action: inc, match_all: true}}
    sizes: {type: histogram, config: {buckets: [1, 2.5]}}
- eventlogmessage: {source: m, drop_invalid_labels: true, overwrite_existing: true}
- decolorize:
";
    let read = stages(all.trim()).unwrap_or_else(|e| panic!("{e}"));
    let keys: Vec<&str> = read.iter().map(StageConfig::key).collect();
    assert_eq!(keys.len(), 27);
    assert_eq!(keys[..4], ["docker", "cri", "json", "logfmt"]);
    assert!(
        matches!(&read[2], StageConfig::Json(c) if c.expressions == [("level".into(), None), ("msg".into(), Some("message".into()))])
    );
    assert!(matches!(&read[16], StageConfig::Match(c) if c.stages.len() == 1));
    assert!(matches!(&read[18], StageConfig::Drop(c) if c.source == Some(vec!["a".into(), "b".into()])));
    assert!(matches!(&read[24], StageConfig::Metrics(c) if c.len() == 2 && c[1].1.config.buckets == [1.0, 2.5]));
}

#[test]
fn a_fault_in_a_stage_is_told_at_its_key() {
    for (text, path, wanted) in [
        ("- docker\n", "pipeline_stages[0]", "write `- docker: {}`"),
        ("- json: {expressions: {a: b}}\n  labels: {a: }\n", "pipeline_stages[0].labels", "put `- ` before it"),
        ("- jsn: {}\n", "pipeline_stages[0].jsn", "did you mean `json`?"),
        ("- docker: {}\n- timestamp: {source: t}\n", "pipeline_stages[1].timestamp", "`format` is missing"),
        ("- match: {selector: '{a=\"b\"}'}\n", "pipeline_stages[0].match", "add `stages`"),
        ("- tenant: {}\n", "pipeline_stages[0].tenant", "one of `label`, `source`, `value`"),
        ("- json: {expressions: }\n", "pipeline_stages[0].json.expressions", "missing or empty"),
        ("- limit: {rate: x, burst: 1}\n", "pipeline_stages[0].limit.rate", "a number is wanted"),
    ] {
        let error = stages(text).expect_err(text);
        let said = messages(&error);
        assert!(said.contains(path) && said.contains(wanted), "{text}:\n{said}");
    }
}

#[test]
fn an_endpoint_with_the_path_of_its_url_is_told() {
    let warned = |endpoint: &str| {
        let file = client(&format!("{{url: 'http://h/v1/logs', endpoint_url: '{endpoint}'}}"));
        plan(&file).warnings.iter().any(|w| w.to_string().contains("requests go to /v1/logs/v1/logs"))
    };
    assert!(warned("http://127.0.0.1:4318/v1/logs"));
    assert!(!warned("http://127.0.0.1:4318") && !warned("http://127.0.0.1:4318/base"));
}

#[test]
fn a_mistake_in_a_stage_is_told_once() {
    for text in ["- json: {}\n", "- match: {selector: '{a=\"b\"}'}\n", "- tenant: {}\n", "- multiline: {}\n"] {
        let said = messages(&stages(text).expect_err(text));
        assert_eq!(said.matches("pipeline_stages[0]").count(), 1, "{said}");
    }
}

#[test]
fn a_misspelt_key_of_a_stage_is_told_once() {
    for text in
        ["- regex: {expresion: 'a'}\n", "- replace: {expresion: 'a'}\n", "- timestamp: {sorce: a, format: Unix}\n"]
    {
        let error = stages(text).expect_err(text);
        let said = messages(&error);
        assert_eq!(said.matches("pipeline_stages[0]").count(), said.matches("did you mean").count(), "{said}");
        assert_eq!(said.matches("did you mean").count(), 1, "{said}");
    }
}

#[test]
fn sources_that_are_not_ours_say_what_to_use() {
    let job =
        |source: &str| client("{url: 'http://h/p'}").replace("static_configs: [{labels: {__path__: /l}}]", source);
    let error = try_plan(&job("kafka: {brokers: [s3cr3tMARKER], topics: [t]}")).unwrap_err();
    let said = messages(&error);
    assert!(said.contains("`kafka` is not supported by sigpost") && said.contains("have a Kafka consumer"), "{said}");
    assert!(!said.contains("s3cr3tMARKER"));
    let error = try_plan(&job("relabel_configs: []")).unwrap_err();
    assert!(messages(&error).contains("has no source of lines"));
}

#[test]
fn a_share_of_nothing_is_refused_where_it_is_needed() {
    let text = format!("{GUIDE}queue: {{shares: {{metrics: 100, logs: 0, traces: 0}}}}\n");
    assert!(messages(&try_plan(&text).unwrap_err()).contains("leaves no room for logs"));
}

#[test]
fn an_instance_that_collects_nothing_is_told_of_unless_traces_send_to_it() {
    let logs = "logs: {configs: [{name: made, clients: [{url: 'http://h/loki/api/v1/push'}]}]}\n";
    let traces = |rest: &str| {
        format!(
            "{logs}traces: {{configs: [{{name: t, remote_write: [{{endpoint: 'http://h', protocol: http}}], {rest}}}]}}\n"
        )
    };
    let logging = |name: &str| format!("automatic_logging: {{backend: {name}, roots: true}}");
    let receivers = "receivers: {otlp: {protocols: {http: }";
    for (file, idle) in [
        (logs.to_owned(), true),
        // Its own destination takes log records as well.
        (traces(&format!("{receivers}}}}}")), true),
        (traces(&logging("stdout")), true),
        (traces(&logging("logs_instance, logs_instance_name: made")), false),
        (traces(&format!("{receivers}, logs_instance: made}}}}")), false),
    ] {
        let warnings: Vec<String> = plan(&file).warnings.iter().map(|warning| warning.to_string()).collect();
        let told =
            warnings.iter().any(|warning| warning.contains("`made` has no `scrape_configs`: it collects nothing"));
        assert_eq!(told, idle, "{file}\n{warnings:#?}");
    }
}

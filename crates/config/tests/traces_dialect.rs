//! `traces:` as Grafana Agent writes it, and what became of it.

use std::time::Duration;

use config::{LoadOptions, Plan, load};
use otlp_receive::{Signals, Speech};
use remote_write::{
    ProtocolConfig,
    traces::{OtlpCompression, OtlpFormat, OtlpProtocol},
};

fn read(text: &str) -> Result<Plan, config::Problems> {
    load(text, LoadOptions::new("agent.yaml", &|_| None))
}

fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refusal(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// An instance of this `remote_write` list, on the default ports.
fn to(remote_write: &str) -> String {
    format!(
        "traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{grpc: , http: }}}}}}
      remote_write: {remote_write}
"
    )
}

#[test]
fn an_agents_block_is_read_with_its_defaults() {
    let plan = plan(
        "
traces:
  configs:
    - name: default
      receivers:
        otlp:
          protocols:
            grpc:
            http:
              endpoint: 127.0.0.1:5318
              include_metadata: true
              cors: {allowed_origins: ['https://*.example.com'], max_age: 600}
              max_request_body_size: 1MiB
        otlp/second:
          protocols: {grpc: {endpoint: ':6317', max_recv_msg_size_mib: 8, tls: {cert_file: c.pem, key_file: k.pem, client_ca_file: ca.pem}}}
      batch: {timeout: 5s, send_batch_size: 100, send_batch_max_size: 500}
      remote_write:
        - endpoint: tempo.example:443
          basic_auth: {username: u, password: p}
          retry_on_failure: {initial_interval: 1s, max_elapsed_time: 120s}
          sending_queue: {num_consumers: 20, queue_size: 5000}
        - endpoint: tempo:4317
          insecure: true
          compression: none
          headers: {authorization: Bearer x, X-Scope-OrgID: t}
",
    );
    let [route] = &plan.traces[..] else { panic!("{:?}", plan.traces) };
    let [grpc, http, second] = &route.receivers[..] else { panic!("{:?}", route.receivers) };
    assert_eq!((grpc.name.as_str(), grpc.listen.as_str(), grpc.max_request), ("otlp", "0.0.0.0:4317", 4 << 20));
    assert_eq!((http.listen.as_str(), http.max_request), ("127.0.0.1:5318", 1 << 20));
    let Speech::Http { cors: Some(cors), paths } = &http.speech else { panic!("{:?}", http.speech) };
    assert_eq!((cors.allowed_origins[0].as_str(), cors.max_age), ("https://*.example.com", Duration::from_secs(600)));
    assert_eq!(paths.traces, "/v1/traces");
    assert_eq!((second.name.as_str(), second.listen.as_str(), second.max_request), ("otlp/second", ":6317", 8 << 20));
    assert!(second.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()));
    assert_eq!(route.accepts, Signals::ALL);
    let [one, two] = &route.destinations[..] else { panic!("{:?}", route.destinations) };
    assert_eq!(one.config.url.as_str(), "https://tempo.example/");
    assert!(one.config.name.starts_with("traces-default-"), "{}", one.config.name);
    assert_eq!(one.config.batching.max_age, Duration::from_secs(5));
    assert_eq!((one.config.batching.max_samples, one.config.shards), (500, 20));
    assert_eq!((one.config.backoff.min, one.config.backoff.max), (Duration::from_secs(1), Duration::from_secs(30)));
    assert_eq!(two.config.url.as_str(), "http://tempo:4317/");
    let ProtocolConfig::Otlp(OtlpProtocol::Grpc(grpc)) = &two.config.protocol else { panic!("{:?}", two.config) };
    assert_eq!(grpc.compression, OtlpCompression::None);
    assert_eq!(two.config.client.headers.len(), 2);
    assert_eq!(plan.warnings, []);
}

#[test]
fn the_protocol_follows_from_the_entry() {
    for (entry, word, traces_alone) in [
        ("{endpoint: 'tempo:4317'}", "grpc", false),
        ("{endpoint: 'http://tempo:4318', protocol: http}", "http", false),
        ("{endpoint: 'http://tempo:4318/v1/traces'}", "http", true),
        ("{endpoint: 'https://xray.eu-west-1.amazonaws.com/v1/traces', sigv4: {}}", "http", true),
        ("{endpoint: 'https://xray.eu-west-1.amazonaws.com', sigv4: {}, annotations: [http.route]}", "xray", true),
        ("{endpoint: 'https://xray.eu-west-1.amazonaws.com', protocol: http, aws: {}}", "xray", true),
        ("{endpoint: 'https://proxy.example', protocol: http, format: xray, aws: {region: us-east-1}}", "xray", true),
        ("{endpoint: 'https://bucket.s3.eu-west-1.amazonaws.com/spans', sigv4: {}}", "s3", false),
        ("{endpoint: 'https://api.example', sigv4: {region: us-east-1, service: execute-api}}", "http", false),
    ] {
        let plan = plan(&to(&format!("[{entry}]")));
        let route = &plan.traces[0];
        assert_eq!(route.destinations[0].config.protocol.name(), word, "{entry}");
        let taken = if traces_alone { Signals { traces: true, ..Signals::default() } } else { Signals::ALL };
        assert_eq!(route.accepts, taken, "{entry}");
    }
    let objects = plan(&to(
        "[{endpoint: 'https://bucket.s3.eu-west-1.amazonaws.com/', sigv4: {}, format: protobuf, batch: {max_age: 1m}}]",
    ));
    let config = &objects.traces[0].destinations[0].config;
    assert!(
        matches!(&config.protocol, ProtocolConfig::Otlp(OtlpProtocol::Objects(o)) if o.format == OtlpFormat::Protobuf)
    );
    assert_eq!(config.batching.max_age, Duration::from_secs(60));
}

#[test]
fn processors_are_read_with_the_agents_defaults() {
    let entry = "[{endpoint: 'tempo:4317'}]\n      ";
    let whole = |processors: &str| {
        let others = "metrics: {configs: [{name: m}]}\nlogs: {configs: [{name: l}]}\n";
        plan(&format!("{others}{}", to(&format!("{entry}{processors}"))))
    };
    let of = |processors: &str| whole(processors).traces.remove(0).processors;
    assert!(of("batch: {}").is_empty());
    let tail = of(
        "tail_sampling: {policies: [{type: always_sample}, {type: and, and: {and_sub_policy: [{type: latency, latency: {threshold_ms: 5}}]}}]}",
    );
    let tail = tail.tail_sampling.unwrap();
    assert_eq!((tail.decision_wait, tail.num_traces), (Duration::from_secs(5), 50_000));
    assert_eq!(tail.policies[0].name, "always_sample/0");
    let ottl = of(
        "tail_sampling: {policies: [{type: ottl_condition, ottl_condition: {error_mode: ignore, span: ['attributes[\"a\"] == 1', 'status.code == STATUS_CODE_ERROR'], spanevent: ['name == \"x\"']}}]}",
    );
    let rule = ottl.tail_sampling.unwrap().policies.remove(0).rule;
    let traces::PolicyRule::Ottl { spans, events, ignore_errors: true } = rule else { panic!("{rule:?}") };
    assert_eq!((spans.len(), spans[0].as_str(), events.len()), (2, "attributes[\"a\"] == 1", 1));
    let attributes =
        of("attributes: {actions: [{key: a, action: UPSERT, value: '1'}, {key: b, action: insert, value: 1.5}]}");
    let literal = |value: traces::AnyValue| traces::ValueSource::Literal(value);
    let actions = attributes.attributes.unwrap().actions;
    assert_eq!(actions[0].action, traces::Action::Upsert(literal("1".into())));
    assert_eq!(actions[1].action, traces::Action::Insert(literal(1.5.into())));
    let metrics = of("spanmetrics: {metrics_instance: m}").span_metrics.unwrap();
    assert_eq!((metrics.dimensions_cache_size, metrics.flush_interval), (1000, Duration::from_secs(15)));
    assert_eq!((metrics.buckets.len(), metrics.delta), (16, false));
    let graphs = of("service_graphs: {enabled: true}").service_graphs.unwrap();
    assert_eq!((graphs.wait, graphs.max_items), (Duration::from_secs(10), 10_000));
    assert_eq!(of("service_graphs: {enabled: false}").service_graphs, None);
    let logging = of("automatic_logging: {backend: logs_instance, logs_instance_name: l, roots: true}");
    let logging = logging.automatic_logging.unwrap();
    assert_eq!((logging.timeout, logging.overrides), (Duration::from_millis(1), traces::LogKeys::default()));
    let composite = of(
        "tail_sampling: {policies: [{type: composite, composite: {max_total_spans_per_second: 1000, policy_order: [rest, few], composite_sub_policy: [{name: few, type: always_sample}, {name: rest, type: always_sample}], rate_allocation: [{policy: few, percent: 30}]}}]}",
    );
    let traces::PolicyRule::Composite { parts, .. } = &composite.tail_sampling.unwrap().policies[0].rule else {
        panic!()
    };
    let parts: Vec<(&str, u64)> = parts.iter().map(|part| (part.policy.name.as_str(), part.spans_per_second)).collect();
    assert_eq!(parts, [("rest", 700), ("few", 300)]);
}

#[test]
fn load_balancing_makes_several_routes_of_an_instance() {
    let entry = "[{endpoint: 'tempo:4317'}]\n      ";
    let processors = "load_balancing: {receiver_port: 9999, exporter: {insecure: true, basic_auth: {username: u, password: hidden}}, resolver: {static: {hostnames: [a, 'b:4318']}}, routing_key: service}
      attributes: {actions: [{key: a, action: delete}]}
      tail_sampling: {policies: [{type: always_sample}]}";
    let plan = plan(&to(&format!("{entry}{processors}")));
    let [whole, balancer, one, two] = &plan.traces[..] else { panic!("{:?}", plan.traces) };
    assert_eq!(
        (whole.name.as_str(), whole.receivers[0].listen.as_str(), whole.destinations.len()),
        ("default", "0.0.0.0:9999", 1)
    );
    assert!(whole.processors.tail_sampling.is_some() && whole.processors.attributes.is_none());
    assert!(plan.traces.iter().all(|route| route.instance() == "default"));
    assert_eq!((balancer.receivers.len(), balancer.destinations.len()), (2, 0));
    assert!(balancer.processors.attributes.is_some() && balancer.processors.tail_sampling.is_none());
    assert_eq!(balancer.processors.balance.as_ref().unwrap().backends, ["a:4317", "b:4318"]);
    assert_eq!(balancer.backends, [one.name.clone(), two.name.clone()]);
    assert_eq!(two.destinations[0].config.url.as_str(), "http://b:4318/");
    let printed = plan.render_masked();
    assert!(
        !printed.contains("hidden") && printed.contains("receiver_port: 9999") && printed.contains("0.0.0.0:4317"),
        "{printed}"
    );
    assert_eq!(self::plan(&printed).render_masked(), printed);
}

#[test]
fn backends_that_are_found_later_have_a_template() {
    let resolved = |resolver: &str| {
        let entry = "[{endpoint: 'tempo:4317'}]\n      load_balancing: {receiver_port: 4320, exporter: {insecure: true}, resolver: ";
        self::plan(&to(&format!("{entry}{resolver}}}")))
    };
    let dns = resolved("{dns: {hostname: agents.example, interval: 3s}}");
    let [_, balancer] = &dns.traces[..] else { panic!("{:?}", dns.traces) };
    assert_eq!(
        balancer.balancing.as_ref().unwrap().resolver,
        config::BackendResolver::Dns {
            hostname: "agents.example".to_owned(),
            port: 4317,
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(1),
        }
    );
    let mut routes = dns.traces.clone();
    for found in [&["10.0.0.1:4317", "[fd00::1]:4317"][..], &["10.0.0.2:4317"], &[]] {
        let found: Vec<String> = found.iter().map(|backend| (*backend).to_owned()).collect();
        config::set_backends(&mut routes, "default", &found);
        let balancer = &routes[1];
        assert_eq!(balancer.processors.balance.as_ref().unwrap().backends, found);
        let named: Vec<&str> = routes[2..].iter().map(|route| route.name.as_str()).collect();
        assert_eq!(balancer.backends, named);
        let urls: Vec<String> = routes[2..].iter().map(|route| route.destinations[0].config.url.to_string()).collect();
        assert_eq!(urls, found.iter().map(|backend| format!("http://{backend}/")).collect::<Vec<_>>());
    }
    assert_eq!(routes, dns.traces);
    let service = resolved("{kubernetes: {service: agents.monitoring, ports: [4317, 4318]}}");
    let config::BackendResolver::Kubernetes { endpoints, ports } =
        &service.traces[1].balancing.as_ref().unwrap().resolver
    else {
        panic!()
    };
    assert_eq!(ports, &[4317, 4318]);
    let discovery::DiscoveryConfig::Kubernetes(endpoints) = &**endpoints else { panic!() };
    assert_eq!(
        (endpoints.namespaces[0].as_str(), endpoints.selectors[0].field.as_str()),
        ("monitoring", "metadata.name=agents")
    );
}

#[test]
fn mistakes_in_processors_are_told_with_what_to_write() {
    for (processors, words) in [
        ("attributes: {actions: []}", "has no `actions`"),
        ("attributes: {actions: [{key: a, action: insert}]}", "needs `value` or `from_attribute`"),
        ("attributes: {actions: [{key: a, action: delete, value: 1}]}", "does not use `value`"),
        (
            "attributes: {actions: [{key: a, action: upsert, from_context: metadata.x}]}",
            "`from_context` is not in this version",
        ),
        ("attributes: {actions: [{key: a, action: extract, pattern: '(x)'}]}", "every group needs a name"),
        ("attributes: {actions: [{key: a, action: delete}], include: {services: [a]}}", "`match_type` is missing"),
        ("attributes: {actions: [{key: a, action: delete}], include: {match_type: strict}}", "names nothing to match"),
        (
            "attributes: {actions: [{key: a, action: delete}], include: {match_type: regexp, services: ['(']}}",
            "pattern is not valid",
        ),
        ("tail_sampling: {policies: []}", "has no `policies`"),
        ("tail_sampling: {policies: [{type: latenzy}]}", "is no policy"),
        ("tail_sampling: {policies: [{type: latency}]}", "needs a block `latency`"),
        (
            "tail_sampling: {policies: [{type: ottl_condition, ottl_condition: {span: []}}]}",
            "has neither `span` nor `spanevent`",
        ),
        (
            "tail_sampling: {policies: [{type: ottl_condition, ottl_condition: {span: ['attributes[\"a\"] = 1']}}]}",
            "'=' at character 16 is no part of the language",
        ),
        (
            "tail_sampling: {policies: [{type: ottl_condition, ottl_condition: {spanevent: ['SHA256(name) == nil']}}]}",
            "the function `SHA256` is not in this version",
        ),
        ("spanmetrics: {}", "exactly one of"),
        (
            "spanmetrics: {handler_endpoint: 'h:1', dimensions: [{name: a.b}, {name: a_b}]}",
            "`a_b` and `a.b` would be the same label",
        ),
        ("spanmetrics: {handler_endpoint: 'h:1', dimensions: [{name: operation}]}", "the same label"),
        ("spanmetrics: {handler_endpoint: 'h:1', dimensions: [{name: x}], const_labels: {x: y}}", "the same label"),
        (
            "tail_sampling: {policies: [{name: a, type: always_sample}, {name: a, type: always_sample}]}",
            "two policies of `policies` have the name `a`",
        ),
        ("spanmetrics: {metrics_instance: nobody}", "`nobody` is no entry of `metrics.configs`"),
        ("spanmetrics: {handler_endpoint: 'h:1', exemplars: {enabled: true}}", "exemplars are not in this version"),
        ("spanmetrics: {handler_endpoint: 'h:1', latency_histogram_buckets: [2s, 1s]}", "are rising"),
        (
            "automatic_logging: {spans: true, backend: logs_instance, logs_instance_name: x}",
            "`x` is no entry of `logs.configs`",
        ),
        ("automatic_logging: {}", "logs nothing"),
        ("load_balancing: {}", "`resolver` is missing"),
        ("load_balancing: {resolver: {static: {}}}", "names no backend"),
        ("load_balancing: {resolver: {dns: {hostname: 'h:4317'}}}", "without a port"),
        ("load_balancing: {resolver: {dns: {hostname: h, port: 0}}}", "a port is a number"),
        ("load_balancing: {resolver: {dns: {hostname: h}, static: {hostnames: [a]}}}", "several ways"),
        ("load_balancing: {resolver: {kubernetes: {}}}", "`service` is missing"),
        ("prom_sd_pod_associations: [pod]", "no way to find a span's host"),
    ] {
        let told = refusal(&to(&format!("[{{endpoint: 'h:1'}}]\n      {processors}")));
        assert!(told.contains(words), "{processors}\n{told}");
    }
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let instance = |receivers: &str| {
        format!("traces: {{configs: [{{name: a, remote_write: [{{endpoint: 'h:1'}}], receivers: {receivers}}}]}}")
    };
    for (text, words) in [
        (instance("{jaeger: {protocols: {}}}"), "`protocols` of a jaeger receiver names at least one"),
        (instance("{opencensus: }"), "the receiver `opencensus` is not in this version"),
        (instance("{otpl: {protocols: {grpc: }}}"), "`otpl` is no receiver"),
        (instance("{otlp: {protocols: {}}}"), "names at least one"),
        (instance("{otlp: {protocols: {grpc: {endpoint: localhost}}}}"), "an address and a port"),
        (instance("{otlp: {protocols: {grpc: {endpoint: 'http://localhost:4317'}}}}"), "an address and a port"),
        (instance("{otlp: {protocols: {grpc: {tls: {cert_file: x}}}}}"), "needs a certificate and its key"),
        (instance("{otlp: {protocols: {grpc: {auth: {authenticator: x}}}}}"), "`auth` names an extension"),
        (
            instance("{otlp: {protocols: {grpc: , http: {endpoint: '0.0.0.0:4317'}}}}"),
            "two receivers listen on 0.0.0.0:4317",
        ),
        (to("[{}]"), "`endpoint` is missing"),
        (to("[{endpoint: 'ftp://h:1'}]"), "neither with http:// nor with https://"),
        (to("[{endpoint: 'h:1', protocol: grpc, sigv4: {region: us-east-1}}]"), "requests over gRPC are not signed"),
        (
            to("[{endpoint: 'https://xray.eu-west-1.amazonaws.com/v1/traces', sigv4: {}, compression: zstd}]"),
            "AWS takes gzip or nothing packed",
        ),
        (
            to("[{endpoint: 'http://proxy/v1/logs', sigv4: {region: us-east-1, service: logs}, compression: zstd}]"),
            "AWS takes gzip or nothing packed",
        ),
        (
            to(
                "[{endpoint: 'https://logs.eu-west-1.amazonaws.com/v1/logs', sigv4: {}, headers: {x-aws-log-group: g}}]",
            ),
            "refuses log records without x-aws-log-stream",
        ),
        (
            to(
                "[{endpoint: 'h:1', oauth2: {client_id: a, client_secret: b, token_url: 'http://h', tls: {cert_file: c}}}]",
            ),
            "go together",
        ),
        (to("[{endpoint: 'h:1', format: jaeger}]"), "`format: jaeger` has no exporter"),
        (to("[{endpoint: 'h:1', annotations: [a]}]"), "`annotations` is a key of the protocol `xray`"),
        (
            to("[{endpoint: 'h:1', name: a}, {endpoint: 'h:2', name: a}]"),
            "two destinations of `default` have the name `a`",
        ),
        (
            to(
                "[{endpoint: 'h:1', basic_auth: {username: a}, oauth2: {client_id: a, client_secret: b, token_url: 'http://h'}}]",
            ),
            "both given",
        ),
    ] {
        let told = refusal(&text);
        assert!(told.contains(words), "{text}\n{told}");
    }
}

#[test]
fn oauth2_of_traces_is_what_the_collector_takes() {
    let text = to(
        "[{endpoint: 'h:1', name: a, oauth2: {client_id: i, client_secret: s, token_url: 'http://t/', timeout: 3s, scopes: [x], endpoint_params: {audience: [one, two], resource: three}, tls: {ca_file: /ca, server_name_override: n, min_version: '1.3', insecure_skip_verify: true}}}]",
    );
    let destination = &plan(&text).traces[0].destinations[0];
    let Some(net::HttpAuth::OAuth2(oauth2)) = &destination.config.client.auth else { panic!("{destination:?}") };
    assert_eq!(oauth2.timeout, Some(Duration::from_secs(3)));
    assert_eq!(
        (oauth2.endpoint_params["audience"].len(), &*oauth2.endpoint_params["resource"]),
        (2, &["three".to_owned()][..])
    );
    assert_eq!((oauth2.tls.server_name.as_deref(), oauth2.tls.insecure_skip_verify), (Some("n"), true));
    assert_eq!(oauth2.tls.min_version, Some(net::TlsVersion::Tls13));
    let printed = plan(&text).render_masked();
    assert_eq!(plan(&printed).render_masked(), printed);
}

#[test]
fn receivers_take_versions_as_the_collector_writes_them() {
    let of = |tls: &str| {
        let receivers = format!("{{otlp: {{protocols: {{grpc: {{tls: {{cert_file: c, key_file: k, {tls}}}}}}}}}}}");
        plan(&format!(
            "traces: {{configs: [{{name: a, remote_write: [{{endpoint: 'h:1'}}], receivers: {receivers}}}]}}"
        ))
    };
    let versions = |tls: &str| {
        let (read, printed) = (of(tls), plan(&of(tls).render_masked()));
        assert_eq!((read.warnings.len(), &printed.traces[0].receivers), (0, &read.traces[0].receivers), "{tls}");
        let tls = read.traces[0].receivers[0].tls.as_ref().unwrap();
        (tls.versions.min, tls.versions.max)
    };
    let (old, new) = (Some(net::TlsVersion::Tls12), Some(net::TlsVersion::Tls13));
    assert_eq!(versions("min_version: '1.2'"), (old, None));
    assert_eq!(versions("min_version: 1.2, max_version: 1.3"), (old, new));
    assert_eq!(versions("min_version: '1.0'"), (old, None));
    assert_eq!((versions("min_version: '1.3'"), versions("max_version: TLS12")), ((new, None), (None, old)));
}

#[test]
fn an_instance_without_destinations_says_what_goes_nowhere() {
    let told = |others: &str| {
        let text =
            format!("{others}traces: {{configs: [{{name: a, receivers: {{otlp: {{protocols: {{grpc: }}}}}}}}]}}");
        plan(&text)
            .warnings
            .into_iter()
            .map(|warning| warning.message)
            .filter(|m| m.contains("`a`"))
            .collect::<String>()
    };
    assert_eq!(told(""), "`a` has no `remote_write`: what it receives goes nowhere");
    let metrics = "metrics: {configs: [{name: m, remote_write: [{url: 'http://h/w'}]}]}\n";
    assert_eq!(told(metrics), "`a` has no `remote_write`: the spans that it receives go nowhere");
}

#[test]
fn what_is_printed_loads_again_and_shows_no_secret() {
    let text = to(
        "[{endpoint: 'h:1', name: a, headers: {X-Key: hidden-one}, basic_auth: {username: u, password: hidden-two}}, {endpoint: 'https://xray.eu-west-1.amazonaws.com', sigv4: {}, annotations: ['*', a], log_groups: [g]}]\n      attributes: {actions: [{key: a, action: upsert, value: 'yes'}, {key: b, action: upsert, value: yes}, {key: c, action: upsert, value: [1, x]}]}\n      batch: {timeout: 1s}",
    );
    let printed = plan(&text).render_masked();
    assert!(!printed.contains("hidden-"), "{printed}");
    assert_eq!(plan(&printed).render_masked(), printed);
    assert_eq!(plan(&printed).traces[0].processors, plan(&text).traces[0].processors);
}

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
        ("{endpoint: 'https://b.s3.eu-west-1.amazonaws.com/spans', sigv4: {}}", "s3", false),
        ("{endpoint: 'https://api.example', sigv4: {region: us-east-1, service: execute-api}}", "http", false),
    ] {
        let plan = plan(&to(&format!("[{entry}]")));
        let route = &plan.traces[0];
        assert_eq!(route.destinations[0].config.protocol.name(), word, "{entry}");
        let taken = if traces_alone { Signals { traces: true, ..Signals::default() } } else { Signals::ALL };
        assert_eq!(route.accepts, taken, "{entry}");
    }
    let objects = plan(&to(
        "[{endpoint: 'https://b.s3.eu-west-1.amazonaws.com/', sigv4: {}, format: protobuf, batch: {max_age: 1m}}]",
    ));
    let config = &objects.traces[0].destinations[0].config;
    assert!(
        matches!(&config.protocol, ProtocolConfig::Otlp(OtlpProtocol::Objects(o)) if o.format == OtlpFormat::Protobuf)
    );
    assert_eq!(config.batching.max_age, Duration::from_secs(60));
}

#[test]
fn processors_that_would_change_spans_keep_the_instance_from_receiving() {
    let entry = "[{endpoint: 'tempo:4317'}]\n      ";
    for (processor, held) in [
        ("tail_sampling: {policies: [{type: always_sample}]}", true),
        ("attributes: {actions: [{key: a, action: delete}]}", true),
        ("load_balancing: {resolver: {static: {hostnames: [a]}}}", true),
        ("spanmetrics: {metrics_instance: default}", false),
        ("service_graphs: {enabled: true}", false),
    ] {
        let plan = plan(&to(&format!("{entry}{processor}")));
        let key = processor.split(':').next().unwrap();
        assert_eq!(plan.traces[0].held_by, if held { vec![key.to_owned()] } else { Vec::new() }, "{processor}");
        let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
        assert!(warning.message.contains(key) && warning.message.contains("does not run"), "{warning}");
        assert_eq!(warning.message.contains("receives nothing"), held, "{warning}");
    }
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let instance = |receivers: &str| {
        format!("traces: {{configs: [{{name: a, remote_write: [{{endpoint: 'h:1'}}], receivers: {receivers}}}]}}")
    };
    for (text, words) in [
        (instance("{jaeger: {protocols: {grpc: }}}"), "the receiver `jaeger` is not in this version"),
        (instance("{zipkin: }"), "the receiver `zipkin` is not in this version"),
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
fn what_is_printed_loads_again_and_shows_no_secret() {
    let text = to(
        "[{endpoint: 'h:1', name: a, headers: {X-Key: hidden-one}, basic_auth: {username: u, password: hidden-two}}, {endpoint: 'https://xray.eu-west-1.amazonaws.com', sigv4: {}, annotations: ['*', a], log_groups: [g]}]\n      attributes: {actions: []}\n      batch: {timeout: 1s}",
    );
    let printed = plan(&text).render_masked();
    assert!(!printed.contains("hidden-"), "{printed}");
    assert_eq!(plan(&printed).render_masked(), printed);
    assert_eq!(plan(&printed).traces[0].held_by, ["attributes"]);
}

//! `receivers:` of Jaeger and Zipkin as Grafana Agent writes them, and where metrics and logs of OTLP go.

use std::time::Duration;

use config::{LoadOptions, Plan, load};
use otlp_receive::{ExponentialForm, ReceiverConfig, Speech, ThriftForm};

fn read(text: &str) -> Result<Plan, config::Problems> {
    load(text, LoadOptions::new("agent.yaml", &|_| None))
}

fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// An instance with these receivers, which forwards spans alone.
fn spans(receivers: &str, others: &str) -> String {
    format!(
        "{others}
traces:
  configs:
    - name: default
      receivers: {receivers}
      remote_write: [{{endpoint: 'http://h/v1/traces', protocol: http}}]
"
    )
}

fn receivers(text: &str) -> Vec<ReceiverConfig> {
    plan(text).traces.remove(0).receivers
}

#[test]
fn jaeger_and_zipkin_listen_where_the_agent_does() {
    let all = receivers(&spans(
        "{jaeger: {protocols: {grpc: , thrift_http: , thrift_compact: , thrift_binary: {endpoint: '127.0.0.1:6831', max_packet_size: 9}}}, zipkin: }",
        "",
    ));
    let found: Vec<(&str, &str, &str)> =
        all.iter().map(|r| (r.name.as_str(), r.speech.word(), r.listen.as_str())).collect();
    assert_eq!(
        found,
        [
            ("jaeger", "grpc", "0.0.0.0:14250"),
            ("jaeger", "thrift_http", "0.0.0.0:14268"),
            ("jaeger", "thrift_compact", "0.0.0.0:6831"),
            ("jaeger", "thrift_binary", "127.0.0.1:6831"),
            ("zipkin", "http", "0.0.0.0:9411"),
        ]
    );
    assert_eq!(all[3].speech, Speech::JaegerUdp { form: ThriftForm::Binary, max_packet: 9 });
    let zipkin = receivers(&spans(
        "{zipkin/second: {endpoint: ':1', parse_string_tags: true, cors: {allowed_origins: ['*']}, max_request_body_size: 1MiB}}",
        "",
    ));
    assert_eq!((zipkin[0].name.as_str(), zipkin[0].max_request), ("zipkin/second", 1 << 20));
    assert!(matches!(&zipkin[0].speech, Speech::Zipkin { parse: true, cors: Some(_) }));
}

#[test]
fn grpc_takes_what_http_2_offers() {
    let grpc = "{otlp: {protocols: {grpc: {max_concurrent_streams: 16, keepalive: {server_parameters: {time: 1m, timeout: 5s, max_connection_age: 1h}, enforcement_policy: {min_time: 1s}}}}}}";
    let read = plan(&spans(grpc, ""));
    let http2 = read.traces[0].receivers[0].http2;
    assert_eq!((http2.max_concurrent_streams, http2.keep_alive_interval), (16, Duration::from_secs(60)));
    assert_eq!(http2.keep_alive_timeout, Duration::from_secs(5));
    let told = read.warnings.iter().map(|warning| warning.to_string()).collect::<Vec<_>>().join("\n");
    assert!(told.contains("`max_connection_age` has no effect") && told.contains("`enforcement_policy`"), "{told}");
}

#[test]
fn points_and_records_go_to_the_first_instance_of_their_kind_or_the_one_that_is_named() {
    let others = "
metrics: {configs: [{name: a}, {name: b}]}
logs: {configs: [{name: l}]}";
    let of = |keys: &str, others: &str| {
        let otlp = format!("{{otlp: {{{keys} protocols: {{http: }}}}, zipkin: }}");
        let all = receivers(&spans(&otlp, others));
        assert_eq!((&all[1].metrics_instance, &all[1].logs_instance), (&None, &None), "Zipkin brings spans alone");
        (all[0].metrics_instance.clone(), all[0].logs_instance.clone())
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(of("", others), (some("a"), some("l")));
    assert_eq!(of("metrics_instance: b,", others), (some("b"), some("l")));
    assert_eq!(of("", ""), (None, None));
    let all = "
traces: {configs: [{name: t, receivers: {otlp: {protocols: {grpc: }}}, remote_write: [{endpoint: 'http://h', protocol: http}]}]}";
    let own = &receivers(&format!("{others}{all}"))[0];
    assert_eq!((&own.metrics_instance, &own.logs_instance), (&None, &None), "its own destination takes them");
    let form = |written: &str| {
        let others = format!("\nmetrics: {{configs: [{{name: a}}, {{name: b, remote_write: [{written}]}}]}}");
        let spans = spans("{otlp: {metrics_instance: b, protocols: {http: }}}", &others);
        let rendered = plan(&plan(&spans).render_masked());
        assert_eq!(rendered.traces[0].receivers, plan(&spans).traces[0].receivers, "{written}");
        receivers(&spans)[0].exponential
    };
    let (native, not) =
        ("{url: 'http://h/1', send_native_histograms: true}", "{url: 'http://h/2', send_native_histograms: false}");
    assert_eq!((form(""), form(not)), (ExponentialForm::Bounds, ExponentialForm::Bounds));
    assert_eq!((form(native), form(&format!("{native}, {not}"))), (ExponentialForm::Native, ExponentialForm::Both));
    let told = read(&spans("{otlp: {logs_instance: x, protocols: {grpc: , http: }}}", others)).unwrap_err().to_string();
    assert!(told.contains("`logs_instance` names `x`, and no entry of `logs.configs` has that name"), "{told}");
    assert_eq!(told.matches("names `x`").count(), 1, "{told}");
}

#[test]
fn the_largest_request_is_shown_as_it_is_documented() {
    let text = spans("{otlp: {protocols: {http: {}}}, zipkin: }", "");
    let shown = plan(&text).render_masked();
    assert_eq!(shown.matches("max_request_body_size: 16MiB").count(), 2, "{shown}");
}

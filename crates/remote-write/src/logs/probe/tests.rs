//! What each log protocol's probe is made of.

use std::{io::Read, time::Duration};

use super::*;
use crate::{
    Backoff, Batching, ProtocolConfig,
    logs::{FirehoseConfig, KinesisConfig, LogFormat, LokiConfig, OtlpLogsConfig},
};

fn config(url: &str, protocol: LogProtocol) -> DestinationConfig {
    DestinationConfig {
        name: "d".into(),
        url: Url::parse(url).unwrap(),
        endpoint_url: None,
        protocol: ProtocolConfig::Logs(protocol),
        timeout: Duration::from_secs(1),
        client: net::HttpClientConfig::default(),
        external_labels: [("app", "shop")].into_iter().collect(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::ZERO, max: Duration::ZERO, retry_on_http_429: true },
        batching: Batching { max_samples: usize::MAX, max_bytes: 1 << 20, max_age: Duration::ZERO },
        shards: 1,
        max_in_flight_bytes: 1,
        max_age: None,
    }
}

fn cloudwatch(group: &str, create: bool) -> LogProtocol {
    let template = |text| Template::parse(text, "host-1").unwrap();
    LogProtocol::CloudWatch(CloudWatchConfig {
        log_group: template(group),
        log_stream: template("{hostname}"),
        create,
        retention_days: None,
        gzip: true,
    })
}

fn kinesis() -> LogProtocol {
    LogProtocol::Kinesis(KinesisConfig { stream_name: "lines".into(), partition_key: None, format: LogFormat::Text })
}

fn made(url: &str, protocol: LogProtocol, write: bool) -> Probe {
    crate::probe(&config(url, protocol), 1_700_000_000_000, write).unwrap()
}

fn json(probe: &Probe) -> serde_json::Value {
    let body = probe.request.body();
    let mut plain = Vec::new();
    match probe.request.headers().get("content-encoding") {
        Some(_) => drop(flate2::read::GzDecoder::new(&**body).read_to_end(&mut plain).unwrap()),
        None => plain.extend_from_slice(body),
    }
    serde_json::from_slice(&plain).unwrap()
}

const LOGS: &str = "https://logs.eu-west-1.amazonaws.com/";

#[test]
fn cloudwatch_is_sent_a_line_that_it_cannot_keep_where_lines_would_go() {
    let probe = made(LOGS, cloudwatch("/sigpost/{app}", true), false);
    let body = json(&probe);
    assert_eq!((&body["logGroupName"], &body["logStreamName"]), (&"/sigpost/shop".into(), &"host-1".into()));
    assert_eq!(body["logEvents"][0]["timestamp"], 86_400_000);
    assert_eq!(body["logEvents"].as_array().unwrap().len(), 1);
    let exact = LogPlace { creates: true, is_exact: true, group_is_exact: true, group_pattern: None };
    assert_eq!(probe.kind, ProbeKind::OldLine(exact.clone()));
    let next = probe.next.unwrap();
    assert_eq!(next.kind, ProbeKind::Stream(exact));
    assert_eq!(next.request.headers()["x-amz-target"], "Logs_20140328.CreateLogStream");

    let probe = made(LOGS, cloudwatch("/sigpost/{job}/{app}", false), false);
    assert_eq!(json(&probe)["logGroupName"], "/sigpost/sigpost_doctor_probe/shop");
    let pattern = Some("/sigpost/*/*".to_owned());
    let open = LogPlace { creates: false, is_exact: false, group_is_exact: false, group_pattern: pattern };
    assert_eq!((probe.kind, probe.next.is_none()), (ProbeKind::OldLine(open), true));
}

#[test]
fn kinesis_runs_dry_at_aws_and_is_sent_nothing_where_somebody_plays_it() {
    let probe = made("https://kinesis.eu-west-1.amazonaws.com/", kinesis(), false);
    let body = json(&probe);
    assert_eq!((&body["DryRun"], body["Records"].as_array().unwrap().len()), (&true.into(), 1));
    assert_eq!(probe.kind, ProbeKind::DryRun);
    let played = made("http://127.0.0.1:4566/", kinesis(), false);
    assert_eq!((json(&played)["Records"].as_array().unwrap().len(), played.kind), (0, ProbeKind::EmptyBatch));
    let mut elsewhere = config("https://kinesis.eu-west-1.amazonaws.com/", kinesis());
    elsewhere.endpoint_url = Some(Url::parse("http://127.0.0.1:4566").unwrap());
    assert_eq!(crate::probe(&elsewhere, 0, false).unwrap().kind, ProbeKind::EmptyBatch);
    let written = made("https://kinesis.eu-west-1.amazonaws.com/", kinesis(), true);
    assert!(json(&written).get("DryRun").is_none(), "a write is no dry run");
}

#[test]
fn firehose_is_sent_nothing_and_asked_about_the_stream() {
    let firehose =
        LogProtocol::Firehose(FirehoseConfig { delivery_stream: "to\"s3".into(), format: LogFormat::default() });
    let probe = made("https://firehose.eu-west-1.amazonaws.com/", firehose, false);
    assert_eq!(json(&probe)["Records"], serde_json::json!([]));
    let next = probe.next.unwrap();
    assert_eq!(next.request.headers()["x-amz-target"], "Firehose_20150804.DescribeDeliveryStream");
    assert_eq!(json(&next), serde_json::json!({ "DeliveryStreamName": "to\"s3" }));
}

#[test]
fn loki_and_otlp_are_sent_nothing_with_their_headers() {
    let loki = LogProtocol::Loki(LokiConfig { tenant_id: Some("t".into()) });
    let probe = made("https://loki.example/loki/api/v1/push", loki, false);
    assert_eq!((&probe.request.headers()["x-scope-orgid"], probe.kind), (&"t".parse().unwrap(), ProbeKind::EmptyPush));
    let template = |text| Some(Template::parse(text, "host-1").unwrap());
    let otlp = OtlpLogsConfig {
        log_group: template("/sigpost/{job}"),
        log_stream: template("{hostname}"),
        create: true,
        retention_days: None,
        gzip: false,
    };
    let probe = made("https://logs.eu-west-1.amazonaws.com/v1/logs", LogProtocol::Otlp(otlp), false);
    assert!(probe.request.body().is_empty());
    assert_eq!(probe.request.headers()["x-aws-log-group"], "/sigpost/sigpost_doctor_probe");
    let next = probe.next.unwrap();
    assert_eq!(next.request.uri(), "https://logs.eu-west-1.amazonaws.com/");
    assert_eq!(json(&next)["logGroupName"], "/sigpost/sigpost_doctor_probe");
    assert_eq!(next.next.unwrap().request.uri(), "https://logs.eu-west-1.amazonaws.com/");
}

#[test]
fn a_write_is_one_line_of_now() {
    let probe = made(LOGS, cloudwatch("/sigpost/{job}", true), true);
    let body = json(&probe);
    assert_eq!(body["logEvents"], serde_json::json!([{ "timestamp": 1_700_000_000_000_i64, "message": LINE }]));
    // What follows is asked only where group or stream are missing; see the next test.
    assert!(matches!(probe.kind, ProbeKind::Line(LogPlace { creates: true, .. })));
}

#[test]
fn a_write_to_cloudwatch_is_followed_by_what_makes_its_place() {
    let probe = made(LOGS, cloudwatch("/g", true), true);
    let mut steps = vec![probe.what.clone()];
    let mut next = probe.next.as_deref();
    while let Some(step) = next {
        let target = step.request.headers()["x-amz-target"].to_str().unwrap();
        steps.push(target.rsplit('.').next().unwrap().to_owned());
        next = step.next.as_deref();
    }
    assert_eq!(steps[1..], ["CreateLogGroup", "CreateLogStream", "PutLogEvents"]);
    assert!(made(LOGS, cloudwatch("/g", false), true).next.is_none());
}

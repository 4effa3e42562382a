//! Documents stay within their limit and are valid JSON, whatever the span.

mod fixture;

use fixture::{all_with, documents, exception, pair, span};
use proptest::prelude::*;
use proto::{
    otlp_common::{AnyValue, ArrayValue, KeyValue, KeyValueList, Value as Any},
    otlp_traces::{Event, Link, Span, SpanKind, Status},
};
use serde_json::Value;
use xray::Options;

const SMALL: usize = 4096;

fn shed_of(span: &Span, resource: Vec<KeyValue>, max_bytes: usize) -> (Value, xray::Shed) {
    let options = Options { max_bytes, ..Options::default() };
    let documents = all_with(span, resource, &options);
    let json = &documents[0].json;
    assert!(json.len() <= max_bytes, "{} bytes", json.len());
    (serde_json::from_str(json).unwrap(), documents[0].shed)
}

#[test]
fn what_fits_loses_nothing() {
    let span = span(SpanKind::Client, true, vec![pair("a", "x".repeat(60_000).as_str())]);
    let (document, shed) = shed_of(&span, vec![], 64_000);
    assert_eq!(shed.total(), 0);
    assert_eq!(document["metadata"]["default"]["a"].as_str().unwrap().len(), 60_000);
}

#[test]
fn frames_go_before_metadata_and_the_largest_metadata_before_the_small() {
    let mut span = span(SpanKind::Client, true, vec![pair("small", "s"), pair("large", "l".repeat(3000).as_str())]);
    let stack = format!("E: m\n{}", "\tat com.example.Class.method(Class.java:12)\n".repeat(200));
    span.events.push(exception("E", "m", &stack));
    let java = vec![pair("telemetry.sdk.language", "java")];
    let (document, shed) = shed_of(&span, java.clone(), 8192);
    assert_eq!((shed.frames, shed.metadata), (168, 0));
    let cause = &document["cause"]["exceptions"][0];
    assert_eq!((cause["stack"].as_array().unwrap().len(), &cause["truncated"]), (32, &Value::from(168)));
    let (document, shed) = shed_of(&span, java, 5000);
    assert_eq!((shed.frames, shed.metadata, shed.total()), (168, 1, 169));
    assert_eq!(document["metadata"]["default"]["small"], "s");
    assert!(document["metadata"]["default"]["large"].as_str().unwrap().ends_with("l..."));
}

#[test]
fn long_queries_and_many_annotations_are_cut_and_counted() {
    let mut attributes = vec![pair("db.system", "mysql"), pair("db.statement", "q".repeat(100_000).as_str())];
    let (document, shed) = shed_of(&span(SpanKind::Client, true, attributes.clone()), vec![], 64_000);
    assert_eq!((document["sql"]["sanitized_query"].as_str().unwrap().len(), shed.texts), (2048, 1));
    attributes.extend((0..500).map(|n| pair(&format!("key{n:03}"), "v".repeat(500).as_str())));
    let options = Options { annotate_all: true, max_bytes: SMALL, ..Options::default() };
    let documents = all_with(&span(SpanKind::Client, true, attributes), vec![], &options);
    assert!(documents[0].json.len() <= SMALL && documents[0].shed.annotations > 0);
}

#[test]
fn of_what_is_too_large_no_more_goes_than_has_to() {
    for piece in ["plain text ", "\"\\", "\u{1}", "ü\"\n"] {
        let long =
            |times: usize| (0..40).map(move |n| pair(&format!("key{n:02}"), piece.repeat(times).as_str())).collect();
        for times in [300, 1000, 20_000] {
            let attributes: Vec<KeyValue> = long(times);
            let before: usize = attributes.len() * serde_json::to_string(&piece.repeat(times)).unwrap().len();
            let (document, shed) = shed_of(&span(SpanKind::Client, true, attributes), vec![], 64_000);
            let len = document.to_string().len();
            assert!(len > 63_000 || before < 64_000, "{len} bytes are left of {before}, {shed:?}");
            assert_eq!(document["metadata"]["default"].as_object().unwrap().len(), 40);
        }
    }
    // One that is longer than all others loses most.
    let attributes = vec![pair("short", "s".repeat(2000).as_str()), pair("long", "l".repeat(100_000).as_str())];
    let (document, shed) = shed_of(&span(SpanKind::Client, true, attributes), vec![], 64_000);
    assert_eq!((shed.metadata, shed.total()), (1, 1));
    assert_eq!(document["metadata"]["default"]["short"].as_str().unwrap().len(), 2000);
    assert!(document["metadata"]["default"]["long"].as_str().unwrap().len() > 61_000);
}

#[test]
fn as_many_links_stay_as_fit() {
    let link = |number: u32| Link {
        trace_id: [[5, 0, 0, 0].as_slice(), &[7; 8], &number.to_be_bytes()].concat(),
        span_id: u64::from(number + 1).to_be_bytes().to_vec(),
        attributes: vec![pair("a", "b")],
        ..Link::default()
    };
    let linked = |links: u32| {
        let mut span = span(SpanKind::Server, true, vec![]);
        span.links = (0..links).map(link).collect();
        shed_of(&span, vec![], 64_000)
    };
    let count = |document: &Value| document["links"].as_array().map_or(0, Vec::len);
    let (document, shed) = linked(400);
    assert_eq!((count(&document), shed.total()), (400, 0));
    // Their attributes go first, then as many of the last as it takes.
    let (document, shed) = linked(700);
    assert_eq!((count(&document), shed.links, shed.metadata), (700, 0, 700));
    let (document, shed) = linked(1000);
    assert_eq!(count(&document) + shed.links, 1000);
    assert!(document.to_string().len() > 63_800, "{} bytes are used", document.to_string().len());
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let text = prop_oneof![
        any::<String>(),
        ".{0,40}".prop_map(|text| text.repeat(100)),
        Just("\u{0}\"\\\u{7f}\u{202e}".repeat(300)),
        Just("arn:aws:logs".to_owned()),
    ];
    let leaf = prop_oneof![
        text.prop_map(|text| AnyValue::from(Any::String(text))),
        any::<i64>().prop_map(AnyValue::from),
        any::<f64>().prop_map(AnyValue::from),
        any::<bool>().prop_map(AnyValue::from),
        any::<Vec<u8>>().prop_map(|bytes| AnyValue::from(Any::Bytes(bytes))),
        Just(AnyValue::default()),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|values| AnyValue::from(Any::Array(ArrayValue { values }))),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| (key.as_str(), value).into()).collect();
                AnyValue::from(Any::Map(KeyValueList { values }))
            }),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "http.method",
        "http.url",
        "http.status_code",
        "http.response.status_code",
        "http.host",
        "net.peer.ip",
        "server.port",
        "url.query",
        "client.address",
        "rpc.system",
        "rpc.method",
        "aws.service",
        "aws.span.kind",
        "aws.local.service",
        "aws.remote.service",
        "aws.xray.annotations",
        "aws.xray.metadata.x",
        "aws.dynamodb.table_names",
        "db.system",
        "db.statement",
        "db.connection_string",
        "enduser.id",
        "cloud.provider",
        "cloud.platform",
        "host.id",
        "aws.log.group.arns",
        "service.instance.id",
        "telemetry.sdk.language",
        "exception.type",
        "exception.stacktrace",
        "http.status_text",
        "aws.xray.inprogress",
        "peer.service",
    ]);
    prop_oneof![3 => known.prop_map(str::to_owned), 1 => any::<String>()]
}

fn any_pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    let value = prop_oneof![
        3 => any_value(),
        1 => prop::sample::select(vec!["aws-api", "LOCAL_ROOT", "mysql", "java", "python", "go", "nodejs", "dotnet", "aws", "aws_ecs"])
            .prop_map(AnyValue::from),
        1 => "(E: m\n)?(\tat [a-z.]{0,9}\\(?[a-z:0-9]{0,9}\\)?\n|Caused by: [a-z: ]{0,9}\n|  File \"[a-z\",]{0,9}, line [0-9]{0,3}, in x\n|\
             During handling of the above exception, another exception occurred:\n|    at [a-z(:0-9)]{0,9}\n|[a-z]{0,5}\n){0,12}"
            .prop_map(|text: String| AnyValue::from(text.as_str())),
    ];
    prop::collection::vec((any_key(), value).prop_map(|(key, value)| (key.as_str(), value).into()), 0..12)
}

fn any_event() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(vec!["exception", "HTTP request failure", "message", ""]);
    (name, any_pairs(), any::<u64>()).prop_map(|(name, attributes, time_unix_nano)| Event {
        name: name.into(),
        attributes,
        time_unix_nano,
        ..Event::default()
    })
}

prop_compose! {
    fn any_span()(
        trace_id in prop_oneof![9 => prop::collection::vec(1..=255u8, 16), 1 => any::<Vec<u8>>()],
        span_id in prop_oneof![9 => prop::collection::vec(1..=255u8, 8), 1 => any::<Vec<u8>>()],
        parent_span_id in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 8), any::<Vec<u8>>()],
        name in any::<String>(),
        kind in -1..8i32,
        start_time_unix_nano in any::<u64>(),
        end_time_unix_nano in any::<u64>(),
        attributes in any_pairs(),
        events in prop::collection::vec(any_event(), 0..5),
        links in prop::collection::vec((prop::collection::vec(any::<u8>(), 16), prop::collection::vec(any::<u8>(), 8), any_pairs()), 0..40),
        status in prop::option::of((any::<String>(), -1..4i32)),
    ) -> Span {
        let links = links
            .into_iter()
            .map(|(trace_id, span_id, attributes)| Link { trace_id, span_id, attributes, ..Link::default() })
            .collect();
        let status = status.map(|(message, code)| Status { message, code });
        Span { trace_id, span_id, parent_span_id, name, kind, start_time_unix_nano, end_time_unix_nano, attributes, events, links, status, ..Span::default() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_span_is_a_valid_document_or_refused(
        span in any_span(),
        resource in any_pairs(),
        annotate_all in any::<bool>(),
        max_bytes in prop_oneof![Just(64_000usize), 2048..20_000usize],
    ) {
        let options = Options { annotate_all, max_bytes, annotations: vec!["http.url".into()], log_groups: vec!["g".into()] };
        if let Ok(documents) = documents(&span, resource, &options) {
            prop_assert!((1..=2).contains(&documents.len()));
            for document in documents {
                prop_assert!(document.json.len() <= max_bytes, "{} bytes", document.json.len());
                let json: Value = serde_json::from_str(&document.json).unwrap();
                prop_assert_eq!(json["id"].as_str().unwrap(), &document.id);
                prop_assert_eq!(json["trace_id"].as_str().unwrap().len(), 35);
                let name = json["name"].as_str().unwrap();
                prop_assert!(!name.is_empty() && name.len() <= 200);
                let (start, end) = (json["start_time"].as_f64().unwrap(), json["end_time"].as_f64());
                prop_assert!(end.map_or(json["in_progress"] == true, |end| end >= start));
            }
        }
    }
}

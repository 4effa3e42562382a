//! Spans as Zipkin's documents write them, and what the Collector makes of them.

use prost::Message;
use proto::{
    otlp_common::{KeyValue, Value},
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, Span},
};

use super::*;
use crate::{refusal::Refusal, room::BodyRoom, sheaf::Sheaf};

type Read = fn(&[u8], bool, &mut Sheaf<'_>) -> Result<(), Refusal>;

fn translated(read: Read, bytes: &[u8], parse: bool) -> Result<Vec<ResourceSpans>, Refusal> {
    let room = BodyRoom::default();
    let mut held = room.hold();
    let mut sheaf = Sheaf::new(&mut held);
    read(bytes, parse, &mut sheaf)?;
    let cuts = sheaf.finish()?;
    let decoded = |body: &[u8]| ExportTraceServiceRequest::decode(body).unwrap().resource_spans;
    let checked =
        |cut: &crate::sheaf::Cut| model::otlp::check(model::otlp::Signal::Traces, cut.request.body()).unwrap();
    assert_eq!(cuts.iter().map(checked).sum::<u32>(), cuts.iter().map(|cut| cut.spans).sum::<u32>());
    Ok(cuts.iter().flat_map(|cut| decoded(cut.request.body())).collect())
}

fn shown(attributes: &[KeyValue]) -> Vec<String> {
    let value = |value: &Value| match value {
        Value::String(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => format!("{number:?}"),
        Value::Bool(flag) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let one = |a: &KeyValue| format!("{}={}", a.key, value(a.value.as_ref().unwrap().value.as_ref().unwrap()));
    attributes.iter().map(one).collect()
}

fn resource(group: &ResourceSpans) -> Vec<String> {
    shown(&group.resource.as_ref().unwrap_or(&Default::default()).attributes)
}

fn only(groups: &[ResourceSpans]) -> &Span {
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].scope_spans[0].spans.len(), 1);
    &groups[0].scope_spans[0].spans[0]
}

/// The example of zipkin-api.yaml.
const SERVER: &str = r#"[{"id":"352bff9a74ca9ad2","traceId":"5af7183fb1d4cf5f","parentId":"6b221d5bc9e6496c","name":"get /api",
  "timestamp":1556604172355737,"duration":1431,"kind":"SERVER",
  "localEndpoint":{"serviceName":"backend","ipv4":"192.168.99.1","port":3306},
  "remoteEndpoint":{"serviceName":"web","ipv4":"172.19.0.2","ipv6":"::1","port":58648},
  "annotations":[{"timestamp":1556604172355999,"value":"cache.miss"},
    {"timestamp":1556604172356000,"value":"retry|{\"n\":2,\"why\":\"a|b\",\"x\":1.5,\"y\":true}|3"}],
  "tags":{"http.method":"GET","http.path":"/api","n":"12","f":"-1.5","b":"true","host.name":"h","otel.library.name":"lib",
    "otel.library.version":"2","w3c.tracestate":"a=b","otlp.link.0":"5af7183fb1d4cf5f5af7183fb1d4cf5f|352bff9a74ca9ad3|s=t|{\"k\":\"v\"}|1"},
  "debug":true,"shared":true}]"#;

#[test]
fn a_span_of_version_2_keeps_everything() {
    let groups = translated(read_v2, SERVER.as_bytes(), false).unwrap();
    assert_eq!(resource(&groups[0]), [r#"host.name="h""#, r#"service.name="backend""#]);
    let scope = groups[0].scope_spans[0].scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("lib", "2"));
    let span = only(&groups);
    assert_eq!(hex::encode(&span.trace_id), "00000000000000005af7183fb1d4cf5f");
    assert_eq!(hex::encode(&span.span_id), "352bff9a74ca9ad2");
    assert_eq!(hex::encode(&span.parent_span_id), "6b221d5bc9e6496c");
    assert_eq!((span.name.as_str(), span.kind, span.trace_state.as_str()), ("get /api", 2, "a=b"));
    assert_eq!(span.start_time_unix_nano, 1_556_604_172_355_737_000);
    assert_eq!(span.end_time_unix_nano, 1_556_604_172_357_168_000);
    assert_eq!(
        shown(&span.attributes),
        [
            r#"http.method="GET""#,
            r#"http.path="/api""#,
            r#"n="12""#,
            r#"f="-1.5""#,
            r#"b="true""#,
            r#"net.host.ip="192.168.99.1""#,
            "net.host.port=3306",
            r#"peer.service="web""#,
            r#"net.peer.ip="172.19.0.2""#,
            "net.peer.port=58648",
            "zipkin.shared=true",
            "zipkin.debug=true",
        ]
    );
    assert_eq!(span.status, None);
    let [miss, retry] = span.events.as_slice() else { panic!("{:?}", span.events) };
    assert_eq!(
        (miss.name.as_str(), miss.time_unix_nano, miss.attributes.len()),
        ("cache.miss", 1_556_604_172_355_999_000, 0)
    );
    assert_eq!((retry.name.as_str(), retry.dropped_attributes_count), ("retry", 3));
    assert_eq!(shown(&retry.attributes), ["n=2", r#"why="a|b""#, "x=1.5", "y=true"]);
    let [link] = span.links.as_slice() else { panic!("{:?}", span.links) };
    assert_eq!((hex::encode(&link.span_id).as_str(), link.trace_state.as_str()), ("352bff9a74ca9ad3", "s=t"));
    assert_eq!((shown(&link.attributes), link.dropped_attributes_count), (vec![r#"k="v""#.to_owned()], 1));
}

#[test]
fn tags_become_numbers_where_that_is_asked_for() {
    let groups = translated(read_v2, SERVER.as_bytes(), true).unwrap();
    let all = shown(&only(&groups).attributes);
    for wanted in ["n=12", "f=-1.5", "b=true", r#"http.path="/api""#] {
        assert!(all.iter().any(|found| found == wanted), "{all:?}");
    }
}

fn with(rest: &str) -> Result<Vec<ResourceSpans>, Refusal> {
    translated(read_v2, format!(r#"[{{"traceId":"1","id":"a"{rest}}}]"#).as_bytes(), false)
}

#[test]
fn kinds_and_statuses_are_those_of_the_collector() {
    for (rest, kind) in [
        (r#","kind":"CLIENT""#, 3),
        (r#","kind":"PRODUCER""#, 4),
        (r#","kind":"CONSUMER""#, 5),
        (r#","kind":null,"tags":{"span.kind":"internal"}"#, 1),
        (r#","kind":"OTHER""#, 0),
    ] {
        assert_eq!(only(&with(rest).unwrap()).kind, kind, "{rest}");
    }
    for (tags, status, left) in [
        (r#"{"error":"true"}"#, Some((2, "")), vec![]),
        (r#"{"error":"it broke"}"#, Some((2, "it broke")), vec![r#"error="it broke""#]),
        (r#"{"error":""}"#, Some((2, "")), vec![r#"error="""#]),
        (r#"{"error":"false"}"#, None, vec![r#"error="false""#]),
        (r#"{"otel.status_code":"OK"}"#, Some((1, "")), vec![]),
        (r#"{"otel.status_code":"STATUS_CODE_ERROR","otel.status_description":"d"}"#, Some((2, "d")), vec![]),
        (r#"{"otel.status_code":"UNSET"}"#, None, vec![]),
    ] {
        let groups = with(&format!(r#","timestamp":5,"tags":{tags}"#)).unwrap();
        let span = only(&groups);
        assert_eq!(span.status.as_ref().map(|s| (s.code, s.message.as_str())), status, "{tags}");
        assert_eq!(shown(&span.attributes), left, "{tags}");
    }
}

#[test]
fn a_span_without_times_is_marked_and_lies_where_its_annotations_do() {
    let groups = with("").unwrap();
    assert_eq!(shown(&only(&groups).attributes), ["otel.zipkin.absentField.startTime=true"]);
    assert!(resource(&groups[0]).is_empty());
    let groups =
        with(r#","annotations":[{"timestamp":7,"value":"a"},{"timestamp":5,"value":"b"}],"duration":1"#).unwrap();
    let span = only(&groups);
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (5000, 7000));
    assert_eq!(only(&with(r#","timestamp":1.5e15"#).unwrap()).start_time_unix_nano, 1_500_000_000_000_000_000);
}

#[test]
fn spans_are_grouped_by_their_own_resource() {
    let span = |id: u8, service: &str, host: &str| {
        format!(
            r#"{{"traceId":"1","id":"{id}","localEndpoint":{{"serviceName":"{service}"}},"tags":{{"host.name":"{host}"}}}}"#
        )
    };
    let json = format!("[{},{},{}]", span(1, "a", "x"), span(2, "a", "y"), span(3, "a", "x"));
    let groups = translated(read_v2, json.as_bytes(), false).unwrap();
    let found: Vec<_> =
        groups.iter().map(|group| (resource(group).join(","), group.scope_spans[0].spans.len())).collect();
    assert_eq!(
        found,
        [(r#"host.name="x",service.name="a""#.to_owned(), 2), (r#"host.name="y",service.name="a""#.to_owned(), 1)]
    );
    let named =
        with(r#","localEndpoint":{"serviceName":"a"},"tags":{"otlp.service.name.source":"faas.name"}"#).unwrap();
    assert_eq!(resource(&named[0]), [r#"faas.name="a""#]);
}

/// As Zipkin's own documents have a span of version 1.
const V1: &str = r#"[{"traceId":"bd7a977555f6b982bd7a977555f6b982","name":"get","id":"ebf33e1a81dc6f71","parentId":"bd7a977555f6b982",
  "annotations":[{"timestamp":1457596859492000,"value":"cs","endpoint":{"serviceName":"front","ipv4":"10.0.0.1","port":80}},
   {"timestamp":1457596859500000,"value":"wrote"},{"timestamp":1457596859510000,"value":"cr","endpoint":{"serviceName":"front"}}],
  "binaryAnnotations":[{"key":"http.path","value":"/x","endpoint":{"serviceName":"front"}},{"key":"error","value":true},
   {"key":"sa","value":true,"endpoint":{"serviceName":"mysql","ipv4":"10.0.0.2","port":3306}}]}]"#;

#[test]
fn a_span_of_version_1_says_kind_times_and_ends_by_annotations() {
    let groups = translated(read_v1, V1.as_bytes(), false).unwrap();
    assert_eq!(resource(&groups[0]), [r#"service.name="front""#]);
    let span = only(&groups);
    assert_eq!((span.kind, span.events.len(), span.events[0].name.as_str()), (3, 1, "wrote"));
    assert_eq!(
        (span.start_time_unix_nano, span.end_time_unix_nano),
        (1_457_596_859_492_000_000, 1_457_596_859_510_000_000)
    );
    assert_eq!(
        shown(&span.attributes),
        [
            r#"http.path="/x""#,
            r#"net.host.ip="10.0.0.1""#,
            "net.host.port=80",
            r#"peer.service="mysql""#,
            r#"net.peer.ip="10.0.0.2""#,
            "net.peer.port=3306",
        ]
    );
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    let local = r#"[{"traceId":"1","id":"2","parentId":"0000000000000000","timestamp":3,"binaryAnnotations":[{"key":"lc","value":"job"}]}]"#;
    let groups = translated(read_v1, local.as_bytes(), false).unwrap();
    assert_eq!(
        (resource(&groups[0]), only(&groups).parent_span_id.len()),
        (vec![r#"service.name="job""#.to_owned()], 0)
    );
}

#[test]
fn protobuf_says_the_same_as_json() {
    let end = |name: &str, ip: [u8; 4], port| proto::zipkin::Endpoint {
        service_name: name.to_owned(),
        ipv4: ip.to_vec(),
        ipv6: Vec::new(),
        port,
    };
    let span = proto::zipkin::Span {
        trace_id: hex::decode("5af7183fb1d4cf5f").unwrap(),
        id: hex::decode("352bff9a74ca9ad2").unwrap(),
        kind: 2,
        name: "n".to_owned(),
        timestamp: 10,
        duration: 5,
        local_endpoint: Some(end("backend", [192, 168, 99, 1], 3306)),
        remote_endpoint: Some(end("web", [172, 19, 0, 2], 0)),
        annotations: vec![proto::zipkin::Annotation { timestamp: 11, value: "a".to_owned() }],
        tags: [("k".to_owned(), "v".to_owned())].into(),
        shared: true,
        ..Default::default()
    };
    let list = proto::zipkin::ListOfSpans { spans: vec![span.clone(), span] }.encode_to_vec();
    let json = r#"{"traceId":"5af7183fb1d4cf5f","id":"352bff9a74ca9ad2","kind":"SERVER","name":"n","timestamp":10,"duration":5,
        "localEndpoint":{"serviceName":"backend","ipv4":"192.168.99.1","port":3306},"shared":true,
        "remoteEndpoint":{"serviceName":"web","ipv4":"172.19.0.2"},"annotations":[{"timestamp":11,"value":"a"}],"tags":{"k":"v"}}"#;
    let json = format!("[{json},{json}]");
    assert_eq!(translated(read_protobuf, &list, false).unwrap(), translated(read_v2, json.as_bytes(), false).unwrap());
}

#[test]
fn what_is_no_span_is_refused_with_the_reason() {
    let told = |json: &str| match translated(read_v2, json.as_bytes(), false) {
        Err(Refusal::Malformed(why)) => why,
        other => panic!("{json}: {other:?}"),
    };
    for (json, why) in [
        ("", "EOF"),
        ("{}", "a list of spans"),
        ("[{}]", "missing field `traceId`"),
        (r#"[{"traceId":"0","id":"1"}]"#, "traceId"),
        (r#"[{"traceId":"1","id":"00000000000000001"}]"#, "16 hex digits"),
        (r#"[{"traceId":"xyz","id":"1"}]"#, "traceId"),
        (r#"[{"traceId":"1","id":"1","timestamp":-1}]"#, "microseconds"),
        (r#"[{"traceId":"1","id":"1","tags":{"a":{}}}]"#, "a text"),
        (r#"[{"traceId":"1","id":"1"}] x"#, "trailing"),
    ] {
        assert!(told(json).contains(why), "{json}: {}", told(json));
    }
    let many: String = (0..40_000).map(|n| format!(r#""{n}":"","#)).collect();
    let json = format!(r#"[{{"traceId":"1","id":"1","tags":{{{many}"x":""}}}}]"#);
    assert!(told(&json).contains("more than 32768"), "{}", told(&json));
    let room = BodyRoom::new(1 << 20);
    let mut held = room.hold();
    let spans = vec![r#"{"traceId":"1","id":"1"}"#; 40_000].join(",");
    let refused = read_v2(format!("[{spans}]").as_bytes(), false, &mut Sheaf::new(&mut held));
    let limit = (1 << 20) / 4 * 3;
    assert_eq!(refused, Err(Refusal::Heavy { limit }), "it would fit at no time");
    assert!(translated(read_protobuf, &[0x0a, 2, 0x08, 1], false).is_err());
    assert!(translated(read_v2, b"[]", false).unwrap().is_empty());
}

#[test]
fn what_clients_of_version_2_post_to_the_path_of_version_1_is_what_it_is() {
    let v2 = br#"[{"traceId":"1","id":"2","kind":"SERVER","name":"get","timestamp":5,"duration":7,
        "localEndpoint":{"serviceName":"shop"},"tags":{"a":"b"}}]"#;
    assert_eq!(translated(read_v1, v2, false), translated(read_v2, v2, false));
    let both = br#"[{"traceId":"1","id":"2","kind":"SERVER","binaryAnnotations":[]}]"#;
    let told = translated(read_v1, both, false).unwrap_err();
    assert!(matches!(&told, Refusal::Malformed(why) if why.contains("version 1")), "{told}");
}

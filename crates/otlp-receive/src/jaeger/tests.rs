//! Batches written by a small writer of both of Thrift's protocols, and what the Collector makes of them.

use prost::Message;
use proto::{
    jaeger as wire,
    otlp_common::{KeyValue, Value},
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, Span},
};

use super::{thrift::Protocol, *};
use crate::{refusal::Refusal, room::BodyRoom, sheaf::Sheaf};

fn translated(read: impl FnOnce(&mut Sheaf<'_>) -> Result<(), Refusal>) -> Result<Vec<ResourceSpans>, Refusal> {
    let room = BodyRoom::default();
    let mut held = room.hold();
    let mut sheaf = Sheaf::new(&mut held);
    read(&mut sheaf)?;
    let decoded = |body: &[u8]| {
        model::otlp::check(model::otlp::Signal::Traces, body).unwrap();
        ExportTraceServiceRequest::decode(body).unwrap().resource_spans
    };
    Ok(sheaf.finish()?.iter().flat_map(|cut| decoded(cut.request.body())).collect())
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

/// What a test writes: a struct's fields.
enum Put {
    Text(&'static str),
    Bytes(&'static [u8]),
    I32(i32),
    I64(i64),
    Double(f64),
    Flag(bool),
    List(Vec<Vec<(i16, Put)>>),
    Struct(Vec<(i16, Put)>),
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn zigzag(out: &mut Vec<u8>, number: i64) {
    varint(out, (number << 1 ^ number >> 63) as u64);
}

fn binary(out: &mut Vec<u8>, fields: &[(i16, Put)]) {
    for (number, put) in fields {
        let code = match put {
            Put::Flag(_) => 2,
            Put::Double(_) => 4,
            Put::I32(_) => 8,
            Put::I64(_) => 10,
            Put::Text(_) | Put::Bytes(_) => 11,
            Put::Struct(_) => 12,
            Put::List(_) => 15,
        };
        out.push(code);
        out.extend(number.to_be_bytes());
        match put {
            Put::Flag(flag) => out.push(u8::from(*flag)),
            Put::Double(number) => out.extend(number.to_be_bytes()),
            Put::I32(number) => out.extend(number.to_be_bytes()),
            Put::I64(number) => out.extend(number.to_be_bytes()),
            Put::Text(text) => {
                out.extend((text.len() as i32).to_be_bytes());
                out.extend(text.as_bytes());
            }
            Put::Bytes(bytes) => {
                out.extend((bytes.len() as i32).to_be_bytes());
                out.extend(*bytes);
            }
            Put::Struct(fields) => binary(out, fields),
            Put::List(list) => {
                out.push(12);
                out.extend((list.len() as i32).to_be_bytes());
                list.iter().for_each(|fields| binary(out, fields));
            }
        }
    }
    out.push(0);
}

fn compact(out: &mut Vec<u8>, fields: &[(i16, Put)]) {
    let mut last = 0;
    for (number, put) in fields {
        let code = match put {
            Put::Flag(true) => 1,
            Put::Flag(false) => 2,
            Put::Double(_) => 7,
            Put::I32(_) => 5,
            Put::I64(_) => 6,
            Put::Text(_) | Put::Bytes(_) => 8,
            Put::Struct(_) => 12,
            Put::List(_) => 9,
        };
        let step = number - last;
        if (1..16).contains(&step) {
            out.push((step as u8) << 4 | code);
        } else {
            out.push(code);
            zigzag(out, i64::from(*number));
        }
        last = *number;
        match put {
            Put::Flag(_) => {}
            Put::Double(number) => out.extend(number.to_le_bytes()),
            Put::I32(number) => zigzag(out, i64::from(*number)),
            Put::I64(number) => zigzag(out, *number),
            Put::Text(text) => {
                varint(out, text.len() as u64);
                out.extend(text.as_bytes());
            }
            Put::Bytes(bytes) => {
                varint(out, bytes.len() as u64);
                out.extend(*bytes);
            }
            Put::Struct(fields) => compact(out, fields),
            Put::List(list) => {
                if list.len() < 15 {
                    out.push((list.len() as u8) << 4 | 12);
                } else {
                    out.push(0xfc);
                    varint(out, list.len() as u64);
                }
                list.iter().for_each(|fields| compact(out, fields));
            }
        }
    }
    out.push(0);
}

fn written(protocol: Protocol, fields: &[(i16, Put)]) -> Vec<u8> {
    let mut out = Vec::new();
    match protocol {
        Protocol::Binary => binary(&mut out, fields),
        Protocol::Compact => compact(&mut out, fields),
    }
    out
}

/// A call of the agent.
fn call(protocol: Protocol, name: &str, batch: Vec<(i16, Put)>) -> Vec<u8> {
    let mut out = Vec::new();
    match protocol {
        Protocol::Binary => {
            out.extend([0x80, 1, 0, 4]);
            out.extend((name.len() as i32).to_be_bytes());
            out.extend(name.as_bytes());
            out.extend([0, 0, 0, 9]);
        }
        Protocol::Compact => {
            out.extend([0x82, 0x81, 9]);
            varint(&mut out, name.len() as u64);
            out.extend(name.as_bytes());
        }
    }
    out.extend(written(protocol, &[(1, Put::Struct(batch))]));
    out
}

fn tag(key: &'static str, kind: i32, value: (i16, Put)) -> Vec<(i16, Put)> {
    vec![(1, Put::Text(key)), (2, Put::I32(kind)), value]
}

fn text(key: &'static str, value: &'static str) -> Vec<(i16, Put)> {
    tag(key, 0, (3, Put::Text(value)))
}

fn reference(kind: i32, trace: i64, span: i64) -> Vec<(i16, Put)> {
    vec![(1, Put::I32(kind)), (2, Put::I64(trace)), (3, Put::I64(0)), (4, Put::I64(span))]
}

fn batch(parent: i64) -> Vec<(i16, Put)> {
    let span = vec![
        (1, Put::I64(2)),
        (2, Put::I64(-1)),
        (3, Put::I64(3)),
        (4, Put::I64(parent)),
        (5, Put::Text("op")),
        (6, Put::List(vec![reference(0, 2, 4), reference(1, 9, 8)])),
        (7, Put::I32(1)),
        (8, Put::I64(1_000_000)),
        (9, Put::I64(5)),
        (
            10,
            Put::List(vec![
                text("span.kind", "client"),
                text("http.url", "u"),
                tag("d", 1, (4, Put::Double(1.5))),
                tag("error", 2, (5, Put::Flag(true))),
                tag("n", 3, (6, Put::I64(-7))),
                tag("raw", 4, (7, Put::Bytes(b"\xff\0"))),
                tag("odd", 9, (3, Put::Text("x"))),
                text("http.status_message", "gone"),
                text("otel.library.name", "lib"),
                text("w3c.tracestate", "a=b"),
            ]),
        ),
        (
            11,
            Put::List(vec![vec![
                (1, Put::I64(1_000_001)),
                (2, Put::List(vec![text("event", "e"), text("message", "m")])),
            ]]),
        ),
        (99, Put::Struct(vec![(1, Put::List(vec![])), (2, Put::Flag(false))])),
    ];
    let process = vec![
        (1, Put::Text("svc")),
        (2, Put::List(vec![text("hostname", "h"), text("jaeger.version", "Go-2"), text("ip", "1.2.3.4")])),
    ];
    vec![(1, Put::Struct(process)), (2, Put::List(vec![span]))]
}

fn expect(groups: &[ResourceSpans], parent: &str) {
    let resource = groups[0].resource.as_ref().unwrap();
    assert_eq!(
        shown(&resource.attributes),
        [r#"service.name="svc""#, r#"host.name="h""#, r#"ip="1.2.3.4""#, r#"opencensus.exporterversion="Jaeger-Go-2""#]
    );
    let scope = &groups[0].scope_spans[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "lib");
    let span: &Span = &scope.spans[0];
    assert_eq!(hex::encode(&span.trace_id), "ffffffffffffffff0000000000000002");
    assert_eq!(hex::encode(&span.span_id), "0000000000000003");
    assert_eq!(hex::encode(&span.parent_span_id), parent);
    assert_eq!((span.name.as_str(), span.kind, span.trace_state.as_str()), ("op", 3, "a=b"));
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_000_000_000, 1_000_005_000));
    assert_eq!(
        shown(&span.attributes),
        [
            r#"http.url="u""#,
            "d=1.5",
            "n=-7",
            "raw=Bytes([255, 0])",
            r#"odd="<Unknown Jaeger TagType 9>""#,
            r#"http.status_message="gone""#
        ]
    );
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "gone"));
    let event = &span.events[0];
    assert_eq!((event.name.as_str(), event.time_unix_nano), ("e", 1_000_001_000));
    assert_eq!(shown(&event.attributes), [r#"message="m""#]);
    let follows = span.links.last().unwrap();
    assert_eq!(hex::encode(&follows.span_id), "0000000000000008");
    assert_eq!(shown(&follows.attributes), [r#"opentracing.ref_type="follows_from""#]);
}

#[test]
fn a_batch_is_the_same_in_both_protocols_with_and_without_a_call() {
    let plain = written(Protocol::Binary, &batch(4));
    expect(&translated(|sheaf| read_binary_batch(&plain, sheaf)).unwrap(), "0000000000000004");
    for protocol in [Protocol::Binary, Protocol::Compact] {
        let datagram = call(protocol, "emitBatch", batch(4));
        let groups = translated(|sheaf| read_datagram(&datagram, protocol, sheaf)).unwrap();
        expect(&groups, "0000000000000004");
        assert_eq!(groups[0].scope_spans[0].spans[0].links.len(), 1, "the parent is no link");
        // The references are of another trace: a root.
        let datagram = call(protocol, "emitBatch", batch(0));
        let groups = translated(|sheaf| read_datagram(&datagram, protocol, sheaf)).unwrap();
        expect(&groups, "");
        assert_eq!(groups[0].scope_spans[0].spans[0].links.len(), 2);
    }
    // The older head of the binary protocol.
    let mut old = [&[0, 0, 0, 9][..], b"emitBatch", &[4, 0, 0, 0, 1]].concat();
    old.extend(written(Protocol::Binary, &[(1, Put::Struct(batch(4)))]));
    expect(&translated(|sheaf| read_datagram(&old, Protocol::Binary, sheaf)).unwrap(), "0000000000000004");
}

#[test]
fn every_cut_of_a_datagram_is_refused_and_none_panics() {
    for protocol in [Protocol::Binary, Protocol::Compact] {
        let whole = call(protocol, "emitBatch", batch(4));
        for len in 0..whole.len() - 2 {
            let told = translated(|sheaf| read_datagram(&whole[..len], protocol, sheaf));
            assert!(matches!(told, Err(Refusal::Malformed(_))), "{protocol:?} {len}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let _ = translated(|sheaf| read_datagram(&changed, protocol, sheaf));
            }
        }
        let other = call(protocol, "emitZipkinBatch", batch(4));
        let told = translated(|sheaf| read_datagram(&other, protocol, sheaf)).unwrap_err();
        assert!(told.to_string().contains("emitZipkinBatch"), "{told}");
    }
}

#[test]
fn announced_lengths_and_depths_are_bounded() {
    // A list of two thousand million spans in a few bytes.
    let bomb = [&[15, 0, 2, 12][..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    assert!(translated(|sheaf| read_binary_batch(&bomb, sheaf)).is_err());
    let deep = [12, 0, 9].repeat(100_000);
    let told = translated(|sheaf| read_binary_batch(&deep, sheaf)).unwrap_err();
    assert!(told.to_string().contains("too deeply"), "{told}");
    let empty = |n| {
        vec![(
            2,
            Put::List(vec![vec![
                (3, Put::I64(1)),
                (1, Put::I64(1)),
                (10, Put::List((0..n).map(|_| vec![]).collect())),
            ]]),
        )]
    };
    let many = written(Protocol::Binary, &empty(40_000));
    let told = translated(|sheaf| read_binary_batch(&many, sheaf)).unwrap_err();
    assert!(told.to_string().contains("too many tags"), "{told}");
}

fn pair(key: &str, v_type: i32, set: impl FnOnce(&mut wire::KeyValue)) -> wire::KeyValue {
    let mut pair = wire::KeyValue { key: key.to_owned(), v_type, ..Default::default() };
    set(&mut pair);
    pair
}

#[test]
fn the_protobuf_form_says_the_same_and_a_spans_own_process_goes_first() {
    let words = |key: &str, value: &str| pair(key, 0, |p| value.clone_into(&mut p.v_str));
    let trace = hex::decode("ffffffffffffffff0000000000000002").unwrap();
    let id = |last: u8| vec![0, 0, 0, 0, 0, 0, 0, last];
    let span = wire::Span {
        trace_id: trace.clone(),
        span_id: id(3),
        operation_name: "op".to_owned(),
        references: vec![
            wire::SpanRef { trace_id: trace, span_id: id(4), ref_type: 0 },
            wire::SpanRef { trace_id: vec![9; 16], span_id: id(8), ref_type: 1 },
        ],
        start_time: Some(wire::Moment { seconds: 1, nanos: 0 }),
        duration: Some(wire::Moment { seconds: 0, nanos: 5000 }),
        tags: vec![
            words("span.kind", "client"),
            words("http.url", "u"),
            pair("d", 3, |p| p.v_float64 = 1.5),
            pair("error", 1, |p| p.v_bool = true),
            pair("n", 2, |p| p.v_int64 = -7),
            pair("raw", 4, |p| p.v_binary = vec![255, 0]),
            words("odd", "<Unknown Jaeger TagType 9>"),
            words("http.status_message", "gone"),
            words("otel.scope.name", "lib"),
            words("w3c.tracestate", "a=b"),
        ],
        logs: vec![wire::Log {
            timestamp: Some(wire::Moment { seconds: 1, nanos: 1000 }),
            fields: vec![words("event", "e"), words("message", "m")],
        }],
        ..Default::default()
    };
    let tags = vec![words("hostname", "h"), words("jaeger.version", "Go-2"), words("ip", "1.2.3.4")];
    let process = wire::Process { service_name: "svc".to_owned(), tags };
    let other = wire::Process { service_name: "other".to_owned(), tags: Vec::new() };
    let own = wire::Span { process: Some(other), ..span.clone() };
    let batch = wire::Batch { spans: vec![span, own], process: Some(process) };
    let request = wire::PostSpansRequest { batch: Some(batch) }.encode_to_vec();
    let groups = translated(|sheaf| read_request(&request, sheaf)).unwrap();
    expect(&groups, "0000000000000004");
    assert_eq!(shown(&groups[1].resource.as_ref().unwrap().attributes), [r#"service.name="other""#]);
    for len in 0..request.len() {
        let _ = translated(|sheaf| read_request(&request[..len], sheaf));
    }
}

#[test]
fn statuses_follow_error_then_code_then_http() {
    let of = |tags: Vec<wire::KeyValue>| {
        let span = wire::Span { trace_id: vec![1; 16], span_id: vec![1; 8], tags, ..Default::default() };
        let batch = wire::Batch { spans: vec![span], process: None };
        let request = wire::PostSpansRequest { batch: Some(batch) }.encode_to_vec();
        let groups = translated(|sheaf| read_request(&request, sheaf)).unwrap();
        groups[0].scope_spans[0].spans[0].status.as_ref().map(|s| (s.code, s.message.clone()))
    };
    let words = |key: &str, value: &str| pair(key, 0, |p| value.clone_into(&mut p.v_str));
    let code = |code: i64| pair("http.status_code", 2, |p| p.v_int64 = code);
    let error = |on: bool| pair("error", 1, |p| p.v_bool = on);
    assert_eq!(of(vec![words("otel.status_code", "ok")]), Some((1, String::new())));
    let described = words("otel.status_description", "d");
    assert_eq!(of(vec![error(true), words("otel.status_code", "OK"), described]), Some((2, "d".to_owned())));
    assert_eq!(of(vec![error(false)]), None);
    assert_eq!(of(vec![words("error", "true")]), None, "a text is none");
    assert_eq!(of(vec![code(200)]), None);
    assert_eq!(of(vec![code(404), words("span.kind", "server")]), None);
    assert_eq!(of(vec![code(404), words("span.kind", "client")]), Some((2, String::new())));
    assert_eq!(of(vec![words("http.status_code", "503")]), Some((2, String::new())));
}

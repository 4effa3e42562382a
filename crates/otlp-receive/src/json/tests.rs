//! The examples of the OTLP specification, and what people get wrong.

use model::otlp::{Signal, Value, check, fields};

use super::translate;

/// The path of field numbers down to a value; the first field of each number.
fn at<'m>(message: &'m [u8], path: &[u32]) -> Option<Value<'m>> {
    let (tag, rest) = path.split_first()?;
    let found = fields(message).map(Result::unwrap).find(|field| field.tag == *tag)?;
    if rest.is_empty() { Some(found.value) } else { at(found.bytes()?, rest) }
}

const TRACES: &str = r#"{"resourceSpans":[{
  "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
  "scopeSpans":[{
    "scope":{"name":"my.library","version":"1.0.0","attributes":[{"key":"my.scope.attribute","value":{"stringValue":"x"}}]},
    "spans":[
      {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173",
       "name":"I'm a server span","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
       "kind":2,"attributes":[
          {"key":"n","value":{"intValue":"-7"}},{"key":"d","value":{"doubleValue":1.5}},{"key":"b","value":{"boolValue":false}},
          {"key":"y","value":{"bytesValue":"AQID"}},{"key":"a","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":5}]}}}],
       "somethingNew":{"deep":[1,2,{"x":null}]},"status":{"code":"STATUS_CODE_ERROR","message":"no"},"links":null},
      {"trace_id":"5b8efff798038103d269b633813fc60c","span_id":"eee19b7ec3c1b175","name":"old names","kind":"SPAN_KIND_CLIENT"}]}]}]}"#;

#[test]
fn spans_come_out_as_protobuf() {
    let message = translate(Signal::Traces, TRACES.as_bytes()).unwrap();
    assert_eq!(check(Signal::Traces, &message).unwrap(), 2);
    let span: Vec<u32> = vec![1, 2, 2];
    let value = |path: &[u32]| at(&message, &[&span, path].concat());
    let id = hex::decode("5B8EFFF798038103D269B633813FC60C").unwrap();
    assert_eq!(value(&[1]), Some(Value::Bytes(&id)));
    assert_eq!(value(&[6]), Some(Value::Varint(2)));
    assert_eq!(value(&[7]), Some(Value::Fixed64(1_544_712_660_000_000_000)));
    assert_eq!(value(&[8]), Some(Value::Fixed64(1_544_712_661_000_000_000)));
    assert_eq!(value(&[15, 3]), Some(Value::Varint(2)));
    assert_eq!(value(&[9, 2, 3]), Some(Value::Varint((-7i64).cast_unsigned())));
    assert_eq!(at(&message, &[1, 1, 1, 1]), Some(Value::Bytes(b"service.name")));
}

#[test]
fn histograms_come_out_with_packed_counts() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
      {"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[
        {"count":"3","sum":2.5,"bucketCounts":["1",2],"explicitBounds":[1],"timeUnixNano":"5","max":"Infinity"}]}},
      {"name":"e","exponentialHistogram":{"dataPoints":[{"scale":-1,"positive":{"offset":3,"bucketCounts":[1,"300"]}}]}},
      {"name":"s","sum":{"isMonotonic":true,"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE",
        "dataPoints":[{"asInt":"-5"},{"asDouble":1e3}]}}]}]}]}"#;
    let message = translate(Signal::Metrics, json.as_bytes()).unwrap();
    assert_eq!(check(Signal::Metrics, &message).unwrap(), 4);
    let point = [1, 2, 2, 9, 1];
    let counts = [1u64, 2].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    assert_eq!(at(&message, &[&point[..], &[6]].concat()), Some(Value::Bytes(&counts)));
    assert_eq!(at(&message, &[&point[..], &[12]].concat()), Some(Value::Fixed64(f64::INFINITY.to_bits())));
}

#[test]
fn log_records_come_out_with_any_body() {
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
      {"timeUnixNano":"1","severityNumber":"SEVERITY_NUMBER_INFO","body":{"kvlistValue":{"values":[{"key":"k","value":{}}]}}},
      {"body":null,"traceId":""}]}]}]}"#;
    let message = translate(Signal::Logs, json.as_bytes()).unwrap();
    assert_eq!(check(Signal::Logs, &message).unwrap(), 2);
    assert_eq!(at(&message, &[1, 2, 2, 2]), Some(Value::Varint(9)));
}

#[test]
fn whole_numbers_may_have_an_exponent() {
    for (json, number) in [
        ("1.54471266e+18", 1_544_712_660_000_000_000),
        ("1.54471266E18", 1_544_712_660_000_000_000),
        (r#""1.54471266e+18""#, 1_544_712_660_000_000_000),
        ("1e3", 1000),
        ("1e0", 1),
    ] {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"startTimeUnixNano":{json}}}]}}]}}]}}"#);
        let message = translate(Signal::Traces, json.as_bytes()).unwrap();
        let start = at(&message, &[1, 2, 2, 7]);
        assert_eq!(start, Some(Value::Fixed64(number)), "{json}");
    }
    for json in ["1e20", "-1e18", "1.5e0", "1e-3", r#""1e20""#, r#""nan""#] {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"startTimeUnixNano":{json}}}]}}]}}]}}"#);
        assert!(translate(Signal::Traces, json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let told = |json: &str| translate(Signal::Traces, json.as_bytes()).unwrap_err();
    let span = |span: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    for (json, part) in [
        (span(r#"{"traceId":"xyz"}"#), "traceId is not hexadecimal at line 1 column"),
        (span(r#"{"startTimeUnixNano":-1}"#), "this number is no startTimeUnixNano"),
        (span(r#"{"startTimeUnixNano":1.5}"#), "this number is no startTimeUnixNano"),
        (span(r#"{"startTimeUnixNano":true}"#), "a boolean is no startTimeUnixNano"),
        (span(r#"{"kind":"SPAN_KIND_ODD"}"#), "this text is no kind"),
        (span(r#"{"attributes":{"a":1}}"#), "an object stands where attributes wants a list"),
        (span(r#"{"name":["a"]}"#), "a list is no name"),
        (span(r#"{"status":5}"#), "this number is no status"),
        (span("7"), "expected a span, as an object"),
        ("[]".to_owned(), "expected a traces request, as an object"),
        ("{}{}".to_owned(), "trailing characters"),
        (r#"{"resourceSpans":["#.to_owned(), "EOF while parsing"),
    ] {
        let told = told(&json);
        assert!(told.starts_with("reading traces as JSON: ") && told.contains(part), "{json}: {told}");
    }
    let deep = |levels: usize| {
        let value = (0..levels)
            .fold(r#"{"intValue":1}"#.to_owned(), |inner, _| format!(r#"{{"arrayValue":{{"values":[{inner}]}}}}"#));
        span(&format!(r#"{{"attributes":[{{"key":"k","value":{value}}}]}}"#))
    };
    assert_eq!(check(Signal::Traces, &translate(Signal::Traces, deep(30).as_bytes()).unwrap()).unwrap(), 1);
    assert!(told(&deep(10_000)).contains("recursion limit"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_request_or_a_refusal(json in r#"\{("(resourceSpans|scopeSpans|spans|name|kind)":[\[\]{}0-9a-z",:.]{0,20},?){0,4}\}"#) {
        if let Ok(message) = translate(Signal::Traces, json.as_bytes()) {
            proptest::prop_assert!(check(Signal::Traces, &message).is_ok());
        }
    }
}

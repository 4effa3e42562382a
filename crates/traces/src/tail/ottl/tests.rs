//! Conditions as the Collector's documentation writes them, and what is wrong with others.

use proptest::prelude::*;
use proto::{
    otlp_common::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, Value},
    otlp_traces::{Event, Span, Status},
};

use super::*;

fn span() -> Span {
    let map = Value::Map(KeyValueList { values: vec![("deep", "down").into()] });
    let list = Value::Array(ArrayValue { values: vec![1.into(), "two".into()] });
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        name: "GET /orders/17".into(),
        kind: 2,
        trace_state: "vendor=a, other=b".into(),
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 3_500_000_000,
        attributes: vec![
            ("http.method", "GET").into(),
            ("http.status_code", 503).into(),
            ("share", 0.25).into(),
            ("number", "42").into(),
            ("ok", false).into(),
            KeyValue { key: "map".into(), value: Some(AnyValue { value: Some(map) }) },
            KeyValue { key: "list".into(), value: Some(AnyValue { value: Some(list) }) },
        ],
        events: vec![
            Event { name: "retry".into(), time_unix_nano: 7, ..Event::default() },
            Event {
                name: "exception".into(),
                attributes: vec![("exception.type", "Timeout").into()],
                ..Event::default()
            },
        ],
        status: Some(Status { code: 2, message: "it broke".into() }),
        ..Span::default()
    }
}

fn ask(text: &str) -> Result<bool, NoAnswer> {
    let (span, resource) =
        (span(), Resource { attributes: vec![("service.name", "shop").into()], ..Resource::default() });
    let scope = InstrumentationScope { name: "lib".into(), version: "1.2".into(), ..InstrumentationScope::default() };
    let here = Here { resource: Some(&resource), scope: Some(&scope), span: &span, event: None };
    Condition::new("p", text, Context::Span).unwrap_or_else(|error| panic!("{error}")).holds(&here)
}

#[test]
fn conditions_of_the_collectors_documentation_hold_or_do_not() {
    for (text, wanted) in [
        (r#"attributes["http.method"] == "GET""#, true),
        (r#"attributes["http.method"] != "GET""#, false),
        (r#"attributes["gone"] == nil"#, true),
        (r#"attributes["gone"] != "x""#, true),
        (r#"attributes["gone"] < 5"#, false),
        (r#"resource.attributes["service.name"] == "shop" and kind == SPAN_KIND_SERVER"#, true),
        (r#"status.code == STATUS_CODE_ERROR and attributes["http.status_code"] >= 500"#, true),
        (r#"attributes["http.status_code"] == 503.0"#, true),
        (r#"attributes["http.status_code"] == "503""#, false),
        (r#"attributes["share"] > 0.2 and attributes["share"] < 1"#, true),
        (r#"IsMatch(name, "^GET /orders/\d+$")"#, true),
        (r#"IsMatch(attributes["http.status_code"], "^5..$")"#, true),
        (r#"IsMatch(attributes["gone"], ".*")"#, false),
        (r#"not IsMatch(name, "POST")"#, true),
        ("end_time_unix_nano - start_time_unix_nano > 2 * 1000 * 1000 * 1000", true),
        ("(end_time_unix_nano - start_time_unix_nano) / 1000000 == 2500", true),
        ("name == \"a\" or name == \"b\" or status.message == \"it broke\"", true),
        // `and` binds more than `or`.
        ("true or true and false", true),
        ("(true or true) and false", false),
        ("not false and not false", true),
        (r#"attributes["map"]["deep"] == "down" and attributes["list"][1] == "two""#, true),
        (r#"attributes["map"]["deep"]["er"] == nil and attributes["list"][9] == nil"#, true),
        (r#"IsMap(attributes["map"]) and IsList(attributes["list"]) and not IsList(attributes["map"])"#, true),
        (r#"Len(attributes["list"]) == 2 and Len(name) > 3"#, true),
        (r#"Int(attributes["number"]) == 42 and Int(name) == nil and Double("0.5") == 0.5"#, true),
        (r#"IsBool(attributes["ok"]) and attributes["ok"] == false and attributes["ok"] < true"#, true),
        (r#"ConvertCase(attributes["http.method"], "lower") == "get" and Substring(name, 0, 3) == "GET""#, true),
        ("trace_id == TraceID(0xabababababababababababababababab)", true),
        (r#"span_id.string == "0101010101010101" and parent_span_id == SpanID(0x0000000000000000)"#, true),
        (r#"IsRootSpan() and trace_state["other"] == "b" and trace_state["none"] == """#, true),
        (r#"instrumentation_scope.name == "lib" and instrumentation_scope.version >= "1.1""#, true),
        (r#"span.name == "GET /orders/17" and kind.string == "Server""#, true),
        (r#"String(attributes["share"]) == "0.25" and attributes["share"] == -0.25 + 0.5"#, true),
        ("dropped_attributes_count == 0 and 1e3 == 1000", true),
    ] {
        assert_eq!(ask(text), Ok(wanted), "{text}");
    }
}

#[test]
fn events_are_asked_one_by_one() {
    let span = span();
    let found = |text: &str| {
        let condition = Condition::new("p", text, Context::Event).unwrap();
        let each = span.events.iter().map(|event| {
            condition.holds(&Here { resource: None, scope: None, span: &span, event: Some(event) }).unwrap()
        });
        each.collect::<Vec<_>>()
    };
    assert_eq!(found(r#"name == "exception" and attributes["exception.type"] == "Timeout""#), [false, true]);
    assert_eq!(found(r#"time_unix_nano == 7 and span.kind == SPAN_KIND_SERVER"#), [true, false]);
    assert_eq!(found(r#"resource.attributes["a"] == nil and spanevent.name != """#), [true, true]);
}

#[test]
fn what_cannot_be_worked_out_has_no_answer() {
    for text in ["name + 1 > 0", "1 / (1 - 1) == 1", "Len(5) == 1", r#"Substring(name, 5, 500) == "x""#, "Int(\"1\")"] {
        assert!(ask(text).is_err(), "{text}");
    }
    // What is not asked does no harm.
    assert_eq!(ask("true or name + 1 > 0"), Ok(true));
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    for (text, words) in [
        ("", "it ends where a value should be"),
        ("name ==", "it ends where a value should be"),
        ("name = \"a\"", "'=' at character 5"),
        ("name == \"a", "begins at character 8 does not end"),
        ("name == \"a\" name", "at character 12 should be the end"),
        ("attributes[\"a\"]", "compare it"),
        ("attributes == nil", "`attributes` is a map"),
        ("atributes[\"a\"] == 1", "`atributes` is no path here: one of trace_id"),
        ("name[\"a\"] == 1", "has nothing in it"),
        ("status_code == STATUS_ERROR", "no path here"),
        ("status.code == STATUS_ERROR", "STATUS_CODE_ERROR"),
        ("SHA256(name) == \"x\"", "`SHA256` is not in this version; there are IsMatch"),
        ("IsMatch(name, name)", "a text in double quotes"),
        ("IsMatch(name)", "takes 2 arguments and gets 1"),
        ("IsMatch(name, \"(\")", "pattern is not valid"),
        ("not name", "compare it"),
        ("(name == \"a\"", "where `)` should be"),
        ("1 == 99999999999999999999", "cannot be read"),
        ("trace_id == 0xabc", "no whole ones"),
    ] {
        let told = Condition::new("p", text, Context::Span).unwrap_err().to_string();
        assert!(told.contains(words), "{text}: {told}");
    }
    let deep = format!("{}true{}", "(".repeat(1000), ")".repeat(1000));
    assert!(Condition::new("p", &deep, Context::Span).unwrap_err().to_string().contains("nested"));
    let long = format!("name == \"{}\"", "x".repeat(5000));
    assert!(Condition::new("p", &long, Context::Span).unwrap_err().to_string().contains("at most"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"([a-zA-Z_."\[\]()0-9<>=!+*/ -]|attributes\["a"\]| and | or |not |IsMatch\(|nil|0x|é){0,60}"#) {
        if let Ok(condition) = Condition::new("p", &text, Context::Span) {
            let span = span();
            let _ = condition.holds(&Here { resource: None, scope: None, span: &span, event: None });
        }
    }
}

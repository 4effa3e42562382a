//! Instructions per span of the translation, counted by valgrind's callgrind: the same on a busy machine as on an idle one.
//!
//! Without arguments it runs itself under valgrind, twice for each kind of request, and prints the difference per span, and
//! the bytes of a document as it is sent; with a kind and a number of rounds it does just that.

use std::{hint::black_box, process::Command};

use prost::Message;
use proto::{
    otlp_common::{KeyValue, Resource},
    otlp_traces::{Event, ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, SpanKind, Status},
};
use xray::{Options, Reading};

const SPANS: u64 = 100;
const KINDS: [&str; 3] = ["web service", "database and failures", "everything indexed"];
const FEW: usize = 20;
const MANY: usize = 120;

fn random(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn span(at: u64, name: String, kind: SpanKind, attributes: Vec<KeyValue>) -> Span {
    let this = random(at);
    let start = 1_800_000_000_000_000_000 + this % 1_000_000_000;
    Span {
        trace_id: [random(at / 10).to_be_bytes(), [7; 8]].concat(),
        span_id: this.to_be_bytes().to_vec(),
        parent_span_id: if at.is_multiple_of(10) { Vec::new() } else { random(at - 1).to_be_bytes().to_vec() },
        name,
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start + this % 50_000_000,
        attributes,
        ..Span::default()
    }
}

/// As the benchmark of the whole agent sends them.
fn of_web_service(at: u64) -> Span {
    let this = random(at);
    let url = format!("https://shop.example.com/api/v1/orders/{}?page={}", this % 100_000, this % 17);
    let peer = format!("10.{}.{}.{}", this % 250, this / 250 % 250, this / 7 % 250);
    let attributes = vec![
        ("http.request.method", "GET").into(),
        ("http.response.status_code", if this.is_multiple_of(31) { 404 } else { 200 }).into(),
        ("url.full", url.as_str()).into(),
        ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0").into(),
        ("server.address", "orders.shop.svc.cluster.local").into(),
        ("network.peer.address", peer.as_str()).into(),
        ("thread.id", i64::try_from(this % 64).unwrap_or_default()).into(),
    ];
    let kind = if at.is_multiple_of(2) { SpanKind::Server } else { SpanKind::Client };
    span(at, format!("GET /api/v1/orders/{{id}}/{}", this % 20), kind, attributes)
}

fn of_database(at: u64) -> Span {
    let attributes = vec![
        ("db.system", "postgresql").into(),
        ("db.name", "orders").into(),
        ("db.statement", "SELECT \"id\", total FROM orders\nWHERE customer = ? AND status = 'open'").into(),
        ("db.user", "shop").into(),
        ("net.peer.name", "db-1.shop.svc.cluster.local").into(),
        ("net.peer.port", 5432).into(),
        ("thread.name", "pool-3-thread-7").into(),
    ];
    let mut span = span(at, "SELECT orders".into(), SpanKind::Client, attributes);
    if at.is_multiple_of(4) {
        let stack = format!(
            "java.sql.SQLException: no\n{}",
            "\tat org.postgresql.core.v3.QueryExecutorImpl.execute(QueryExecutorImpl.java:368)\n".repeat(20)
        );
        let attributes = vec![
            ("exception.type", "java.sql.SQLException").into(),
            ("exception.message", "no").into(),
            ("exception.stacktrace", stack.as_str()).into(),
        ];
        span.events = vec![Event { name: "exception".into(), attributes, ..Event::default() }];
        span.status = Some(Status { message: "no".into(), code: 2 });
    }
    span
}

fn request(kind: &str) -> Vec<u8> {
    let span = if kind == "database and failures" { of_database } else { of_web_service };
    let scope = ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() };
    let attributes = vec![
        ("service.name", "orders").into(),
        ("telemetry.sdk.language", "java").into(),
        ("k8s.pod.name", "orders-6d4cf56db6-x2x7k").into(),
    ];
    let group = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// Gives the bytes that were written.
fn run(kind: &str, rounds: usize) -> usize {
    assert!(KINDS.contains(&kind), "there is no kind {kind:?}");
    let request = request(kind);
    let options = Options { annotate_all: kind == "everything indexed", ..Options::default() };
    let (mut text, mut written) = (Vec::new(), 0);
    for _ in 0..rounds {
        text.clear();
        let mut reading = Reading::of(black_box(&request), &options);
        let mut spans = 0;
        while let Some(made) = reading.next(&mut text) {
            assert!(made.is_ok_and(|made| made.shed.total() == 0));
            spans += 1;
        }
        assert_eq!(spans, SPANS);
        written += black_box(&text).len();
    }
    written
}

/// Instructions of this program doing `rounds` of a kind.
fn count(kind: &str, rounds: usize) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([kind, &rounds.to_string()])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected :"))?.1;
    collected.trim().parse().ok()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [kind, rounds] = arguments.as_slice() {
        run(kind, rounds.parse().expect("a number of rounds"));
        return;
    }
    for kind in KINDS {
        let (Some(few), Some(many)) = (count(kind, FEW), count(kind, MANY)) else {
            println!("valgrind is not installed or says nothing; instructions are not counted");
            return;
        };
        let a_span = many.saturating_sub(few) / ((MANY - FEW) as u64 * SPANS);
        println!("{kind}: {a_span} instructions and {} bytes a span", run(kind, 1) as u64 / SPANS);
    }
}

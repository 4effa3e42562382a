//! Processors of traces in the real binary: OTLP over HTTP in, OTLP over HTTP out.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    collector::{Collector, post_spans},
    free_port,
    process::until,
};
use prost::Message;
use proto::{
    otlp_common::{AnyValue, KeyValue, Resource},
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, Status},
};

const PATIENCE: Duration = Duration::from_secs(90);

async fn arrived(what: &str, agent: &Agent, enough: impl Fn() -> bool) -> Result<()> {
    until(what, PATIENCE, || async { enough().then_some(()) }).await.with_context(|| agent.log())
}

fn config(collector: u16, http: u16, processors: &str) -> String {
    format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
{processors}
      remote_write:
        - name: collector
          endpoint: http://127.0.0.1:{collector}
          protocol: http
          compression: none
          retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
"
    )
}

/// An agent with these processors (indented by six), its port for spans, and what is behind it.
async fn running(processors: &str) -> Result<(Agent, u16, Collector, u16)> {
    let (collector, behind) = Collector::start().await?;
    let http = free_port()?;
    let mut agent = Agent::prepare(&config(behind, http, processors))?;
    agent.start_ready().await?;
    Ok((agent, http, collector, behind))
}

fn span(trace: u8, id: u8, name: &str) -> Span {
    Span { trace_id: vec![trace; 16], span_id: vec![id; 8], name: name.into(), kind: 2, ..Span::default() }
}

fn request(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let resource = Some(Resource { attributes: vec![("service.name", service).into()], ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

fn value<'s>(span: &'s Span, key: &str) -> Option<&'s AnyValue> {
    span.attributes.iter().find(|pair: &&KeyValue| pair.key == key)?.value.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_are_changed_where_the_file_says() -> Result<()> {
    let processors = r#"      attributes:
        exclude: {match_type: strict, services: [untouched]}
        actions:
          - {key: environment, action: upsert, value: production}
          - {key: card, action: hash}
          - {key: secret, action: delete}
          - {key: http.url, action: extract, pattern: '^https://(?P<shop>[a-z]+)\.'}
          - {key: count, action: convert, converted_type: int}
          - {key: copy, action: insert, from_attribute: count}
          - {key: quoted, action: insert, value: "7"}
          - {key: plain, action: insert, value: 7}"#;
    let (mut agent, http, collector, _) = running(processors).await?;
    let attributes: Vec<KeyValue> = vec![
        ("card", "1234").into(),
        ("secret", "x").into(),
        ("http.url", "https://books.example.com/").into(),
        ("count", "5").into(),
    ];
    post_spans(http, request("shop", vec![Span { attributes: attributes.clone(), ..span(1, 1, "changed") }])).await?;
    post_spans(http, request("untouched", vec![Span { attributes: attributes.clone(), ..span(2, 1, "left") }])).await?;
    arrived("both spans", &agent, || collector.names().len() == 2).await?;
    let spans: Vec<_> = collector.spans().into_iter().map(|(_, span)| span).collect();
    let of = |name: &str| spans.iter().find(|span| span.name == name).context("the span");
    assert_eq!(of("left")?.attributes, attributes);
    let changed = of("changed")?;
    for (key, expected) in [
        ("environment", AnyValue::from("production")),
        ("card", "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4".into()),
        ("shop", "books".into()),
        ("count", 5.into()),
        ("copy", 5.into()),
        ("quoted", "7".into()),
        ("plain", 7.into()),
    ] {
        assert_eq!(value(changed, key), Some(&expected), "{key}");
    }
    assert_eq!(value(changed, "secret"), None);
    assert_eq!(agent.metric("traces_processor_accepted_spans_total{traces_config=\"default\"}").await?, Some(2.0));
    assert_eq!(agent.metric("traces_processor_forwarded_spans_total{traces_config=\"default\"}").await?, Some(2.0));
    agent.stop()
}

const ERRORS: &str = "      tail_sampling:
        decision_wait: 1s
        policies:
          - {type: status_code, status_code: {status_codes: [ERROR]}}
          - {name: tagged, type: string_attribute, string_attribute: {key: keep, values: ['^y'], enabled_regex_matching: true}}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_traces_are_sampled_by_what_one_of_their_spans_says() -> Result<()> {
    let (mut agent, http, collector, _) = running(ERRORS).await?;
    let failed = Span { status: Some(Status { code: 2, ..Status::default() }), ..span(1, 2, "1-failed") };
    let tagged = Span { attributes: vec![("keep", "yes").into()], ..span(3, 1, "3-tagged") };
    post_spans(http, request("a", vec![span(1, 1, "1-first"), span(2, 1, "2-fine")])).await?;
    post_spans(http, request("b", vec![failed, tagged, span(4, 1, "4-fine")])).await?;
    let expected = ["1-failed", "1-first", "3-tagged"].map(str::to_owned);
    arrived("the sampled traces", &agent, || collector.names().len() >= 3).await?;
    // After its decision a trace's spans follow it, without waiting.
    post_spans(http, request("c", vec![span(1, 3, "1-late"), span(2, 2, "2-late")])).await?;
    arrived("the late span", &agent, || collector.names().contains("1-late")).await?;
    let names = collector.names();
    assert!(names.iter().all(|name| name == "1-late" || expected.contains(name)), "{names:?}");
    let dropped = "traces_processor_dropped_spans_total{traces_config=\"default\",reason=\"not_sampled\"}";
    assert_eq!(agent.metric(dropped).await?, Some(3.0));
    let policy = "traces_processor_tail_sampling_count_traces_sampled_total{traces_config=\"default\",policy=\"tagged\",sampled=\"true\"}";
    assert_eq!(agent.metric(policy).await?, Some(1.0));
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_traces_wait_loses_no_answered_span() -> Result<()> {
    let processors = "      tail_sampling: {decision_wait: 2s, policies: [{type: always_sample}]}";
    let (mut agent, http, collector, _) = running(processors).await?;
    let mut answered = BTreeSet::new();
    for round in 0..4_u8 {
        for number in 0..10_u8 {
            let name = format!("{round}-{number}");
            // Two traces to a request, of which one goes on in the next round.
            let spans = vec![span(number + 1, round, &name), span(100 + round * 10 + number, 1, &format!("{name}b"))];
            post_spans(http, request("a", spans)).await?;
            answered.extend([name.clone(), format!("{name}b")]);
        }
        agent.kill_9();
        agent.start_ready().await?;
    }
    arrived("every answered span", &agent, || answered.is_subset(&collector.names())).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_processors_goes_on_when_they_change_or_go() -> Result<()> {
    let waiting = "      tail_sampling: {decision_wait: 10m, policies: [{type: always_sample}]}";
    let (mut agent, http, collector, behind) = running(waiting).await?;
    post_spans(http, request("a", vec![span(1, 1, "one")])).await?;
    let shorter = "      tail_sampling: {decision_wait: 100ms, policies: [{type: always_sample}]}";
    agent.write_config(&config(behind, http, shorter))?;
    let reload = format!("http://127.0.0.1:{}/-/reload", agent.port);
    let answer = reqwest::Client::new().post(&reload).send().await?;
    ensure!(answer.status().is_success(), "{}", agent.log());
    arrived("what waited for the decision before", &agent, || collector.names().contains("one")).await?;

    agent.write_config(&config(behind, http, waiting))?;
    ensure!(reqwest::Client::new().post(&reload).send().await?.status().is_success());
    post_spans(http, request("a", vec![span(2, 1, "two")])).await?;
    // Without processors, and by a restart: the lane that they read is still emptied.
    agent.stop()?;
    agent.write_config(&config(behind, http, ""))?;
    agent.start_ready().await?;
    arrived("what waited in their lane", &agent, || collector.names().contains("two")).await?;
    post_spans(http, request("a", vec![span(3, 1, "three")])).await?;
    arrived("what comes without them", &agent, || collector.names().contains("three")).await?;

    agent.write_config(&config(behind, http, "      attributes: {actions: [{key: k, action: upsert, value: v}]}"))?;
    ensure!(reqwest::Client::new().post(&reload).send().await?.status().is_success());
    post_spans(http, request("a", vec![span(4, 1, "four")])).await?;
    arrived("what comes with others", &agent, || collector.names().contains("four")).await?;
    let four =
        collector.spans().into_iter().map(|(_, span)| span).find(|span| span.name == "four").context("the span")?;
    assert_eq!(value(&four, "k"), Some(&"v".into()));
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processors_come_and_go_and_no_connection_ends() -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut agent, http, collector, behind) = running("").await?;
    let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", http)).await?;
    let reload = format!("http://127.0.0.1:{}/-/reload", agent.port);
    let added = "      attributes: {actions: [{key: k, action: upsert, value: v}]}";
    for (number, processors) in (1..).zip(["", added, ""]) {
        if number > 1 {
            agent.write_config(&config(behind, http, processors))?;
            ensure!(reqwest::Client::new().post(&reload).send().await?.status().is_success(), "{}", agent.log());
        }
        let name = format!("span {number}");
        let body = request("a", vec![span(number, 1, &name)]);
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
        connection.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).await?;
        connection.write_all(&body).await?;
        let mut answer = [0; 15];
        connection.read_exact(&mut answer).await?;
        ensure!(&answer == b"HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&answer));
        // The rest of the head; the body is empty.
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            rest.push(connection.read_u8().await?);
        }
        arrived("the span", &agent, || collector.names().contains(&name)).await?;
        let found = collector.spans().into_iter().map(|(_, span)| span).find(|span| span.name == name);
        assert_eq!(value(&found.context("the span")?, "k").is_some(), processors == added, "{name}");
    }
    agent.stop()
}

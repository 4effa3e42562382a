//! Spans of real Jaeger clients over each of its protocols, through the real binary, to a collector of OTLP.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Context, Result};
use e2e::{
    agent::Agent,
    collector::{Collector, old_client, text},
    free_port,
    process::until,
};

const PATIENCE: Duration = Duration::from_secs(90);

struct Ports {
    grpc: u16,
    http: u16,
    compact: u16,
    binary: u16,
}

fn agent(collector: u16) -> Result<(Agent, Ports)> {
    let ports = Ports { grpc: free_port()?, http: free_port()?, compact: free_port()?, binary: free_port()? };
    let Ports { grpc, http, compact, binary } = ports;
    let agent = Agent::prepare(&format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers:
        jaeger:
          protocols:
            grpc: {{endpoint: '127.0.0.1:{grpc}'}}
            thrift_http: {{endpoint: '127.0.0.1:{http}'}}
            thrift_compact: {{endpoint: '127.0.0.1:{compact}'}}
            thrift_binary: {{endpoint: '127.0.0.1:{binary}', max_packet_size: 1000}}
      remote_write:
        - name: collector
          endpoint: http://127.0.0.1:{collector}
          protocol: http
          compression: none
          retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
"
    ))?;
    Ok((agent, ports))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jaegers_clients_are_understood() -> Result<()> {
    for (kind, transport) in [
        ("jaeger-grpc", "grpc"),
        ("jaeger-http", "thrift_http"),
        ("jaeger-compact", "thrift_compact"),
        ("jaeger-client", "thrift_compact"),
    ] {
        let (collector, port) = Collector::start().await?;
        let (mut agent, ports) = agent(port)?;
        agent.start_ready().await?;
        let to = match transport {
            "grpc" => ports.grpc,
            "thrift_http" => ports.http,
            _ => ports.compact,
        };
        if old_client(kind, to).await?.is_none() {
            return Ok(());
        }
        until("all spans", PATIENCE, || async { (collector.spans().len() >= 31).then_some(()) }).await?;
        let spans = collector.spans();
        assert_eq!(spans.len(), 31, "{kind}");
        let (_, root) = spans.iter().find(|(_, span)| span.name == "root").context("the root")?;
        for (resource, span) in &spans {
            assert_eq!(text(resource, "service.name"), Some("e2e-spans"), "{kind}");
            assert_eq!(span.trace_id, root.trace_id, "{kind}");
            if span.name != "root" {
                assert_eq!((&span.parent_span_id, span.kind), (&root.span_id, 3), "{kind}");
            }
        }
        assert_eq!((root.kind, root.status.as_ref().map(|status| status.code)), (2, Some(2)), "{kind}: {root:?}");
        assert!(root.events.iter().any(|event| format!("{event:?}").contains("an event")), "{kind}: {root:?}");
        let accepted = format!(
            "traces_receiver_accepted_spans_total{{traces_config=\"default\",receiver=\"jaeger\",transport=\"{transport}\"}}"
        );
        assert_eq!(agent.metric(&accepted).await?, Some(31.0), "{kind}");
        agent.stop()?;
    }
    Ok(())
}

/// `Agent.emitBatch` in the binary protocol: one span, called by its number.
fn call(number: u8) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as i32).to_be_bytes()[..], text.as_bytes()].concat();
    let field = |code: u8, number: u8, value: &[u8]| [&[code, 0, number][..], value].concat();
    let id = |number: u8| i64::from(number).to_be_bytes();
    let span = [
        field(10, 1, &id(7)),
        field(10, 2, &id(0)),
        field(10, 3, &id(number)),
        field(10, 4, &id(0)),
        field(11, 5, &text(&format!("span {number} "))),
        field(8, 7, &[0; 4]),
        field(10, 8, &1_700_000_000_000_000i64.to_be_bytes()),
        field(10, 9, &id(5)),
        vec![0],
    ]
    .concat();
    let process = [field(11, 1, &text("svc")), vec![0]].concat();
    let batch = [field(12, 1, &process), field(15, 2, &[&[12, 0, 0, 0, 1][..], &span].concat()), vec![0]].concat();
    let head = [&[0x80, 1, 0, 4][..], &text("emitBatch"), &[0; 4]].concat();
    [head, field(12, 1, &batch), vec![0]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_arrive_or_are_counted_by_their_reason() -> Result<()> {
    let (collector, port) = Collector::start().await?;
    let (mut agent, ports) = agent(port)?;
    agent.start_ready().await?;
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    let to = ("127.0.0.1", ports.binary);
    for number in 1..=20 {
        socket.send_to(&call(number), to)?;
    }
    socket.send_to(b"nothing of Jaeger's", to)?;
    socket.send_to(&[0; 2000], to)?;
    until("all spans", PATIENCE, || async { (collector.numbers("/v1/traces").len() >= 20).then_some(()) }).await?;
    assert_eq!(collector.numbers("/v1/traces"), (1..=20).collect::<Vec<_>>());
    for reason in ["malformed", "too_large"] {
        let refused = format!(
            "sigpost_otlp_refused_requests_total{{traces_config=\"default\",receiver=\"jaeger\",transport=\"thrift_binary\",reason=\"{reason}\"}}"
        );
        until(reason, PATIENCE, || async { (agent.metric(&refused).await.ok()? == Some(1.0)).then_some(()) }).await?;
    }
    let lost = "sigpost_receiver_lost_datagrams_total{traces_config=\"default\",receiver=\"jaeger\",transport=\"thrift_binary\"}";
    assert_eq!(agent.metric(lost).await?, Some(0.0));
    agent.stop()
}

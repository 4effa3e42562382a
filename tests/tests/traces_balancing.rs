//! Spans parted between several agents, and labels of discovered targets on spans, through the real binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    collector::{Collector, post_spans},
    free_port,
    process::until,
};
use prost::Message;
use proto::{
    otlp_common::Resource,
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span},
};

const PATIENCE: Duration = Duration::from_secs(90);

/// Trace (its first byte) and name of each span.
fn spans(collector: &Collector) -> BTreeSet<(u8, String)> {
    collector.spans().into_iter().map(|(_, span)| (span.trace_id[0], span.name)).collect()
}

fn request(attributes: Vec<proto::otlp_common::KeyValue>, spans: &[(u8, &str)]) -> Vec<u8> {
    let resource = Some(Resource { attributes, ..Resource::default() });
    let span = |(trace, name): &(u8, &str)| Span {
        trace_id: vec![*trace; 16],
        span_id: vec![1; 8],
        name: (*name).to_owned(),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: spans.iter().map(span).collect(), ..ScopeSpans::default() }];
    let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// Two agents, each of which is a backend of both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_spans_of_a_trace_come_to_one_of_several_agents() -> Result<()> {
    let lb_ports = [free_port()?, free_port()?];
    let http_ports = [free_port()?, free_port()?];
    let mut agents = Vec::new();
    let mut collectors = Vec::new();
    for at in 0..2 {
        let (collector, behind) = Collector::start().await?;
        let config = format!(
            "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
      attributes: {{actions: [{{key: by, action: upsert, value: agent-{at}}}]}}
      load_balancing:
        receiver_port: {own}
        exporter: {{insecure: true}}
        resolver: {{static: {{hostnames: ['127.0.0.1:{one}', '127.0.0.1:{two}']}}}}
      tail_sampling: {{decision_wait: 3s, policies: [{{type: span_count, span_count: {{min_spans: 2}}}}]}}
      remote_write:
        - {{name: collector, endpoint: 'http://127.0.0.1:{behind}', protocol: http, compression: none}}
",
            http = http_ports[at],
            own = lb_ports[at],
            one = lb_ports[0],
            two = lb_ports[1],
        );
        let mut agent = Agent::prepare(&config)?;
        agent.start_ready().await?;
        agents.push(agent);
        collectors.push(collector);
    }
    let backends = "traces_loadbalancer_num_backends{traces_config=\"default\",resolver=\"static\"}";
    assert_eq!(agents[0].metric(backends).await?, Some(2.0));
    // One span of each trace comes to each agent: a trace is whole, and sampled, only where both meet.
    for trace in 1..=40_u8 {
        for (at, http) in http_ports.iter().enumerate() {
            let name = format!("from-{at}");
            post_spans(*http, request(vec![("service.name", "a").into()], &[(trace, &name)])).await?;
        }
    }
    let all = || collectors.iter().map(|collector| spans(collector).len()).sum::<usize>();
    until("both spans of each trace", PATIENCE, || async { (all() == 80).then_some(()) })
        .await
        .with_context(|| format!("{} of 80\n{}", all(), agents[0].log()))?;
    let mut owners: BTreeMap<u8, BTreeSet<usize>> = BTreeMap::new();
    for (at, collector) in collectors.iter().enumerate() {
        for (trace, _) in spans(collector) {
            owners.entry(trace).or_default().insert(at);
        }
    }
    assert!(owners.values().all(|owners| owners.len() == 1), "{owners:?}");
    assert!(collectors.iter().all(|collector| !spans(collector).is_empty()), "both have some");
    for agent in &mut agents {
        agent.stop()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_get_the_labels_of_the_targets_they_come_from() -> Result<()> {
    let (collector, behind) = Collector::start().await?;
    let http = free_port()?;
    let mut agent = Agent::prepare(&format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
      prom_sd_operation_type: insert
      prom_sd_pod_associations: [k8s.pod.ip, hostname]
      scrape_configs:
        - job_name: pods
          file_sd_configs: [{{files: ['{{dir}}/targets.json']}}]
          relabel_configs:
            - {{source_labels: [__meta_pod], target_label: pod}}
            - {{source_labels: [drop], regex: 'yes', action: drop}}
      remote_write: [{{name: collector, endpoint: 'http://127.0.0.1:{behind}', protocol: http, compression: none}}]
"
    ))?;
    let targets = r#"[{"targets": ["10.0.0.1:80"], "labels": {"__meta_pod": "shop-1", "zone": "found"}},
        {"targets": ["10.0.0.2:80"], "labels": {"drop": "yes", "zone": "found"}}]"#;
    std::fs::write(agent.dir.path().join("targets.json"), targets)?;
    agent.start_ready().await?;
    let seen = |name: &str, key: &str| -> Option<String> {
        let groups = collector.groups();
        let group = groups.iter().find(|group| group.scope_spans[0].spans[0].name == name)?;
        let attributes = &group.resource.as_ref()?.attributes;
        let value = attributes.iter().find(|pair| pair.key == key)?.value.clone()?.value?;
        match value {
            proto::otlp_common::Value::String(text) => Some(text),
            _ => None,
        }
    };
    // Discovery may take a moment: spans before it stay as they are.
    let mut number = 0;
    loop {
        number += 1;
        ensure!(number < 400, "the labels do not come: {}", agent.log());
        let name = format!("try-{number}");
        post_spans(http, request(vec![("k8s.pod.ip", "10.0.0.1").into(), ("zone", "own").into()], &[(1, &name)]))
            .await?;
        until("the span", PATIENCE, || async { seen(&name, "zone").map(drop) }).await?;
        if seen(&name, "pod").as_deref() == Some("shop-1") {
            assert_eq!(seen(&name, "zone").as_deref(), Some("own"), "what is there stays");
            break;
        }
    }
    post_spans(http, request(vec![("host.name", "10.0.0.1").into()], &[(2, "by-name")])).await?;
    post_spans(http, request(vec![("k8s.pod.ip", "10.0.0.2").into(), ("x", "y").into()], &[(3, "dropped")])).await?;
    until("both", PATIENCE, || async {
        (seen("by-name", "zone").is_some() && seen("dropped", "x").is_some()).then_some(())
    })
    .await?;
    assert_eq!(
        (seen("by-name", "zone").as_deref(), seen("by-name", "pod").as_deref()),
        (Some("found"), Some("shop-1"))
    );
    assert_eq!(seen("dropped", "zone"), None);
    agent.stop()
}

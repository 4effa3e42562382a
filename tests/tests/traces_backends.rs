//! Backends of `load_balancing` that go: what waits for them comes to those that are left, through the real binary.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    collector::{Collector, post_spans},
    free_port,
    process::until,
};
use prost::Message;
use proto::otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};

const PATIENCE: Duration = Duration::from_secs(120);

/// Traces that are sent, one span each: far more than backends, so that each of these has some.
const TRACES: u8 = 60;

struct Setup {
    agent: Agent,
    collector: Collector,
    behind: u16,
    http: u16,
    own: u16,
    /// Nobody listens there.
    dead: u16,
}

impl Setup {
    async fn new() -> Result<Self> {
        let (collector, behind) = Collector::start().await?;
        let agent = Agent::prepare("")?;
        Ok(Self { agent, collector, behind, http: free_port()?, own: free_port()?, dead: free_port()? })
    }

    fn balancing(&self, resolver: &str) -> String {
        let own = self.own;
        format!("load_balancing: {{receiver_port: {own}, exporter: {{insecure: true}}, resolver: {resolver}}}")
    }

    fn fixed(&self, ports: &[u16]) -> String {
        let hosts: Vec<String> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        self.balancing(&format!("{{static: {{hostnames: [{}]}}}}", hosts.join(", ")))
    }

    fn configure(&self, balancing: &str) -> Result<()> {
        let Self { http, behind, .. } = self;
        self.agent.write_config(&format!(
            "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
      attributes: {{actions: [{{key: by, action: upsert, value: sigpost}}]}}
      remote_write: [{{name: collector, endpoint: 'http://127.0.0.1:{behind}', protocol: http, compression: none}}]
      {balancing}
"
        ))
    }

    async fn reload(&self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/-/reload", self.agent.port);
        let answer = reqwest::Client::new().post(url).send().await?;
        ensure!(answer.status().is_success(), "{}\n{}", answer.text().await?, self.agent.log());
        Ok(())
    }

    /// One span of each trace.
    async fn post(&self) -> Result<()> {
        for trace in 1..=TRACES {
            let span = Span {
                trace_id: vec![trace; 16],
                span_id: vec![trace; 8],
                name: format!("trace {trace}"),
                ..Span::default()
            };
            let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
            let group = ResourceSpans { scope_spans, ..ResourceSpans::default() };
            let request = ExportTraceServiceRequest { resource_spans: vec![group] };
            post_spans(self.http, request.encode_to_vec()).await?;
        }
        Ok(())
    }

    /// Items that wait for all backends whose addresses end with these ports.
    async fn waiting(&self, ports: &[u16]) -> Result<u64> {
        let page = self.agent.get("/metrics").await?;
        let of = |line: &&str| {
            line.starts_with("sigpost_queue_pending_items{")
                && ports.iter().any(|port| line.contains(&format!("destination=\"traces-default/127.0.0.1:{port}\"")))
        };
        let figures = page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(figures.sum::<f64>() as u64)
    }

    async fn until_waiting(&self, ports: &[u16], least: u64) -> Result<()> {
        let waits = || async { self.waiting(ports).await.ok().filter(|items| *items >= least).map(drop) };
        let waited = until("spans that wait for backends", PATIENCE, waits).await;
        waited.with_context(|| self.agent.log())
    }

    async fn until_all_arrived(&self) -> Result<()> {
        let names = || self.collector.spans().into_iter().map(|(_, span)| span.name).collect::<BTreeSet<_>>();
        let arrived = until("every span", PATIENCE, || async { (names().len() == usize::from(TRACES)).then_some(()) });
        arrived.await.with_context(|| format!("{} of {TRACES} arrived\n{}", names().len(), self.agent.log()))
    }

    /// Lanes and places of backends that are gone went too, and nothing was given up.
    async fn until_settled(&self, gone: &[u16]) -> Result<()> {
        let is_gone = || async {
            let page = self.agent.get("/metrics").await.ok()?;
            let place = |port| format!("sigpost_queue_pending_items{{destination=\"traces-default/127.0.0.1:{port}\"");
            gone.iter().all(|port| !page.contains(&place(port))).then_some(())
        };
        until("the end of the backends' lanes", PATIENCE, is_gone).await.with_context(|| self.agent.log())?;
        ensure!(!self.agent.log().contains("given up and counted as removed"), "{}", self.agent.log());
        Ok(())
    }

    async fn rerouted(&self) -> Result<u64> {
        let series = "traces_loadbalancer_rerouted_spans_total{traces_config=\"default\"}";
        Ok(self.agent.metric(series).await?.unwrap_or(0.0) as u64)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_backend_that_leaves_the_list_comes_to_the_others() -> Result<()> {
    let mut setup = Setup::new().await?;
    setup.configure(&setup.fixed(&[setup.own, setup.dead]))?;
    setup.agent.start_ready().await?;
    setup.post().await?;
    setup.until_waiting(&[setup.dead], 5).await?;
    let waiting = setup.waiting(&[setup.dead]).await?;
    let outcome = |success: bool| {
        format!(
            "traces_loadbalancer_backend_outcome{{traces_config=\"default\",endpoint=\"127.0.0.1:{}\",success=\"{success}\"}}",
            if success { setup.own } else { setup.dead }
        )
    };
    for success in [true, false] {
        let counted = || async { setup.agent.metric(&outcome(success)).await.ok().flatten().filter(|n| *n >= 1.0) };
        until(&outcome(success), PATIENCE, counted).await?;
    }
    setup.configure(&setup.fixed(&[setup.own]))?;
    setup.reload().await?;
    setup.until_all_arrived().await?;
    setup.until_settled(&[setup.dead]).await?;
    ensure!(setup.rerouted().await? >= waiting, "{} of {waiting}", setup.rerouted().await?);
    setup.agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_backends_goes_the_instances_way_when_the_block_goes() -> Result<()> {
    for restart in [false, true] {
        let mut setup = Setup::new().await?;
        let other = free_port()?;
        setup.configure(&setup.fixed(&[other, setup.dead]))?;
        setup.agent.start_ready().await?;
        setup.post().await?;
        setup.until_waiting(&[setup.dead, other], u64::from(TRACES)).await?;
        setup.configure("")?;
        if restart {
            setup.agent.kill_9();
            setup.agent.start_ready().await?;
        } else {
            setup.reload().await?;
        }
        setup.until_all_arrived().await?;
        setup.until_settled(&[setup.dead, other]).await?;
        setup.agent.stop()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_comes_back_while_its_spans_go_on_loses_none() -> Result<()> {
    let mut setup = Setup::new().await?;
    let other = free_port()?;
    setup.configure(&setup.fixed(&[other, setup.dead]))?;
    setup.agent.start_ready().await?;
    setup.post().await?;
    setup.until_waiting(&[setup.dead, other], u64::from(TRACES)).await?;
    // There and back, and at last to those that take something.
    for ports in [&[other][..], &[setup.dead], &[other, setup.dead], &[setup.own]] {
        setup.configure(&setup.fixed(ports))?;
        setup.reload().await?;
    }
    setup.until_all_arrived().await?;
    setup.until_settled(&[setup.dead, other]).await?;
    setup.agent.stop()
}

/// Backends that a host name stands for: before any is found spans wait on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_addresses_of_a_host_name_are_backends() -> Result<()> {
    let mut setup = Setup::new().await?;
    let dns = |name: &str| {
        setup.balancing(&format!("{{dns: {{hostname: {name}, port: {}, interval: 1s, timeout: 30s}}}}", setup.own))
    };
    let (unknown, known) = (dns("no-such-host.invalid"), dns("localhost"));
    setup.configure(&unknown)?;
    setup.agent.start_ready().await?;
    setup.post().await?;
    let failed =
        "traces_loadbalancer_num_resolutions_total{traces_config=\"default\",resolver=\"dns\",success=\"false\"}";
    until("a failed lookup", PATIENCE, || async { setup.agent.metric(failed).await.ok().flatten() }).await?;
    ensure!(setup.collector.spans().is_empty(), "nobody is known");
    setup.configure(&known)?;
    setup.reload().await?;
    // A machine whose `localhost` has several addresses parts spans between them; the receiver has only one.
    let some = || async { (!setup.collector.spans().is_empty()).then_some(()) };
    until("spans at an address of the name", PATIENCE, some).await.with_context(|| setup.agent.log())?;
    let backends = "traces_loadbalancer_num_backends{traces_config=\"default\",resolver=\"dns\"}";
    ensure!(setup.agent.metric(backends).await?.is_some_and(|found| found >= 1.0));
    // From found to written down: what may wait for an address of the name goes to the one that listens.
    setup.configure(&setup.fixed(&[setup.own]))?;
    setup.reload().await?;
    setup.until_all_arrived().await?;
    setup.agent.stop()
}

//! Two tenants of one Loki, through the real binary: what one of them is refused is not the trouble of the other.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use e2e::{agent::Agent, process::until};
use prost::Message;
use proto::loki::PushRequest;

const PATIENCE: Duration = Duration::from_secs(90);
const LINES: usize = 100;

/// What came for each tenant, and what those are answered that are not served.
#[derive(Default)]
struct Tenants {
    lines: BTreeMap<String, Vec<String>>,
    tries: BTreeMap<String, usize>,
    refused: BTreeMap<String, u16>,
}

#[derive(Clone, Default)]
struct Loki(Arc<Mutex<Tenants>>);

impl Loki {
    /// Serves until the test ends. Gives the address.
    async fn start(&self) -> Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/loki/api/v1/push", listener.local_addr()?);
        let router = Router::new().route("/loki/api/v1/push", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tenants) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn lines(&self, tenant: &str) -> Vec<String> {
        self.with(|tenants| tenants.lines.get(tenant).cloned().unwrap_or_default())
    }

    fn tries(&self, tenant: &str) -> usize {
        self.with(|tenants| tenants.tries.get(tenant).copied().unwrap_or_default())
    }

    async fn has(&self, agent: &Agent, tenant: &str, lines: usize) -> Result<()> {
        let what = format!("{lines} lines of {tenant}");
        until(&what, PATIENCE, || async { (self.lines(tenant).len() >= lines).then_some(()) })
            .await
            .with_context(|| format!("{:?}\n{}", self.lines(tenant).last(), agent.log()))
    }
}

async fn take(State(loki): State<Loki>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let tenant = headers.get("x-scope-orgid").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(raw) = snap::raw::Decoder::new().decompress_vec(&body) else { return StatusCode::BAD_REQUEST };
    let Ok(push) = PushRequest::decode(&*raw) else { return StatusCode::BAD_REQUEST };
    loki.with(|tenants| {
        *tenants.tries.entry(tenant.clone()).or_default() += 1;
        if let Some(status) = tenants.refused.get(&tenant) {
            return StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
        }
        let lines = push.streams.into_iter().flat_map(|stream| stream.entries).map(|entry| entry.line);
        tenants.lines.entry(tenant).or_default().extend(lines);
        StatusCode::NO_CONTENT
    })
}

/// An agent that reads `app.log`, whose lines name their tenant.
fn agent(clients: &str) -> Result<(Agent, File)> {
    let agent = Agent::prepare(&format!(
        "queue: {{min_free: 1MiB}}
logs:
  configs:
    - name: default
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 300ms}}
      clients:
{clients}
      scrape_configs:
        - job_name: system
          static_configs: [{{targets: [localhost], labels: {{job: varlogs, __path__: '{{dir}}/app.log'}}}}]
          pipeline_stages:
            - regex: {{expression: '^ten=(?P<t>\\S+)'}}
            - tenant: {{source: t}}
"
    ))?;
    let file = File::create(agent.dir.path().join("app.log"))?;
    Ok((agent, file))
}

fn expected(tenant: &str, lines: usize) -> Vec<String> {
    (0..lines).map(|n| format!("ten={tenant} {n}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_not_served_keeps_nothing_from_another_and_gets_its_lines_once_in_order_later() -> Result<()> {
    for status in [429, 403] {
        let loki = Loki::default();
        let url = loki.start().await?;
        loki.with(|tenants| tenants.refused.insert("A".into(), status));
        let backoff = "backoff_config: {min_period: 100ms, max_period: 1s}";
        let (mut agent, mut file) = agent(&format!("        - {{url: '{url}', batchwait: 50ms, {backoff}}}\n"))?;
        agent.start_ready().await?;
        // Many frames: the next lines are written when those before have arrived.
        for n in 0..LINES {
            writeln!(file, "ten=A {n}\nten=B {n}")?;
            if n % 4 == 3 {
                loki.has(&agent, "B", n + 1).await?;
            }
        }
        loki.has(&agent, "B", LINES).await?;
        ensure!(loki.tries("A") > 0 && loki.lines("A").is_empty(), "{status}");
        ensure!(loki.lines("B") == expected("B", LINES), "{status}: {:?}", loki.lines("B"));
        ensure!(agent.log().contains("tenant A: "), "{status}: {}", agent.log());
        // A stop and a start in between lose nothing.
        if status == 429 {
            agent.stop()?;
            agent.start_ready().await?;
        }
        loki.with(|tenants| tenants.refused.clear());
        loki.has(&agent, "A", LINES).await?;
        until("nothing is pending", PATIENCE, || async {
            agent.metric("sigpost_queue_pending_items{").await.ok()?.filter(|pending| *pending < 0.5)
        })
        .await
        .with_context(|| agent.log())?;
        ensure!(loki.lines("A") == expected("A", LINES), "{status}: {:?}", loki.lines("A"));
        agent.stop()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_its_own_keeps_a_refused_tenant_apart() -> Result<()> {
    let loki = Loki::default();
    let url = loki.start().await?;
    loki.with(|tenants| tenants.refused.insert("A".into(), 403));
    let client = |name: &str, action: &str| {
        format!(
            "        - {{name: {name}, url: '{url}', batchwait: 50ms, write_relabel_configs: [{{source_labels: [__tenant_id__], regex: A, action: {action}}}]}}\n"
        )
    };
    let (mut agent, mut file) = agent(&(client("loud", "keep") + &client("rest", "drop")))?;
    agent.start_ready().await?;
    for n in 0..LINES {
        writeln!(file, "ten=A {n}\nten=B {n}")?;
        if n % 4 == 3 {
            loki.has(&agent, "B", n + 1).await?;
        }
    }
    loki.has(&agent, "B", LINES).await?;
    ensure!(loki.lines("A").is_empty());
    loki.with(|tenants| tenants.refused.clear());
    loki.has(&agent, "A", LINES).await?;
    ensure!(loki.lines("A") == expected("A", LINES) && loki.lines("B") == expected("B", LINES));
    agent.stop()
}

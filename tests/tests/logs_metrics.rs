//! The metrics of logs that a running agent serves are those of docs/reference/metrics.md, with their types.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use e2e::{agent::Agent, process::until};
use sandbox::{Sandbox, SandboxConfig};

/// name -> type, from the tables' first two columns.
fn documented() -> Result<BTreeMap<String, String>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md"))?;
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name.to_owned(), rest.split(" |").next()?.to_owned()))
    };
    Ok(page.lines().filter_map(row).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_logs_is_described_once() -> Result<()> {
    let documented = documented()?;
    let sandbox = Sandbox::start(SandboxConfig { record: true, ..SandboxConfig::default() }).await?;
    let mut agent = Agent::prepare(&format!(
        "logs:
  configs:
    - name: default
      clients: [{{url: '{}/loki/api/v1/push', batchwait: 100ms}}]
      limits_config: {{max_line_size: 10}}
      scrape_configs: [{{job_name: j, static_configs: [{{labels: {{__path__: '{{dir}}/a.log'}}}}]}}]
",
        sandbox.url()
    ))?;
    std::fs::write(agent.dir.path().join("a.log"), "one\ntwo\na line that is too long\n")?;
    agent.start_ready().await?;
    until("two lines", Duration::from_secs(30), || async { (sandbox.records(None, None).len() >= 2).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    until("the lines to be counted", Duration::from_secs(30), || async {
        agent.metric("promtail_sent_entries_total{").await.ok().flatten().filter(|lines| *lines >= 2.0).map(drop)
    })
    .await?;
    let page = agent.get("/metrics").await?;
    agent.stop()?;
    let mut served: Vec<(&str, &str)> =
        page.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    served.sort_unstable();
    for (name, kind) in &served {
        assert_eq!(documented.get(*name).map(String::as_str), Some(*kind), "{name} ({kind}) is not described so");
    }
    let twice = served.windows(2).find(|two| matches!(two, [a, b] if a.0 == b.0));
    assert_eq!(twice, None, "a metric is served twice");
    assert!(served.iter().any(|(name, _)| *name == "promtail_sent_entries_total"), "{page}");
    Ok(())
}

//! `host_filter`: of many targets the binary scrapes those of its own machine, and says so in its API.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use e2e::{agent::Agent, process::until, receiver::Receiver};

type Asked = Arc<Mutex<BTreeSet<String>>>;

async fn answer(State(asked): State<Asked>, Path(name): Path<String>) -> &'static str {
    asked.lock().expect("no test panics while holding it").insert(name);
    "a 1\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_targets_of_this_machine_are_scraped() -> Result<()> {
    let asked = Asked::default();
    let app = Router::new().route("/{name}", get(answer)).with_state(Arc::clone(&asked));
    // Two addresses of the loopback network: the second one is no name of this machine as the filter sees it.
    let near = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let far = tokio::net::TcpListener::bind("127.0.0.2:0").await?;
    let (near_at, far_at) = (near.local_addr()?, far.local_addr()?);
    let servers = [near, far].map(|listener| {
        let app = app.clone();
        tokio::spawn(async move { drop(axum::serve(listener, app).await) })
    });
    let receiver = Receiver::start(true).await?;
    // Job name, address, labels, and whether it is this machine's.
    let jobs = [
        ("loopback", near_at.to_string(), "", true),
        ("by-localhost", format!("localhost:{}", near_at.port()), "", true),
        ("elsewhere", far_at.to_string(), "", false),
        ("label-here", far_at.to_string(), "__host__: box-1", true),
        ("label-there", far_at.to_string(), "__host__: box-2", false),
        ("kubernetes-here", far_at.to_string(), "__meta_kubernetes_pod_node_name: box-1", true),
        ("rule-here", far_at.to_string(), "machine: box-1", true),
        ("rule-there", far_at.to_string(), "machine: box-2", false),
    ];
    let list: String = jobs
        .iter()
        .map(|(name, address, labels, _)| {
            format!("        - {{job_name: {name}, metrics_path: /{name}, static_configs: [{{targets: ['{address}'], labels: {{{labels}}}}}]}}\n")
        })
        .collect();
    // The same targets without the filter, in another instance: so the far address does answer.
    let open = list.replace("job_name: ", "job_name: open-").replace("metrics_path: /", "metrics_path: /open-");
    let mut agent = Agent::prepare(&format!(
        "metrics:
  global: {{scrape_interval: 300ms, scrape_timeout: 300ms, remote_write: [{{url: '{}'}}]}}
  configs:
    - name: filtered
      host_filter: true
      host_filter_relabel_configs:
        - {{source_labels: [machine], regex: (.+), target_label: __host__}}
      scrape_configs:
{list}    - name: open
      scrape_configs:
{open}",
        receiver.url()
    ))?
    .with_env("HOSTNAME", "box-1");
    agent.start_ready().await?;
    let all_up = |name: &str| {
        let key = format!("job=\"{name}\"");
        let recorded = receiver.recorded();
        recorded.iter().filter(|(s, _)| s.starts_with("up{") && s.contains(&key)).map(|(_, t)| t.len()).sum::<usize>()
    };
    until("every target of the open instance, and those of this machine, twice", Duration::from_secs(30), || async {
        let wanted = |(name, _, _, here): &(&str, String, &str, bool)| {
            all_up(&format!("open-{name}")) >= 2 && (!here || all_up(name) >= 2)
        };
        jobs.iter().all(wanted).then_some(())
    })
    .await
    .with_context(|| agent.log())?;

    let answer: serde_json::Value = serde_json::from_str(&agent.get("/agent/api/v1/metrics/targets").await?)?;
    let listed: BTreeSet<String> = answer["data"]
        .as_array()
        .context("a list")?
        .iter()
        .filter(|t| t["instance"] == "filtered" && t["state"] == "up")
        .filter_map(|t| t["target_group"].as_str().map(str::to_owned))
        .collect();
    let here: BTreeSet<String> = jobs.iter().filter(|j| j.3).map(|j| j.0.to_owned()).collect();
    assert_eq!(listed, here, "{answer}");
    let asked = asked.lock().expect("no test panics while holding it").clone();
    let asked: BTreeSet<String> = asked.into_iter().filter(|name| !name.starts_with("open-")).collect();
    assert_eq!(asked, here, "a target of another machine was asked");
    assert!(!receiver.recorded().keys().any(|s| s.contains("job=\"elsewhere\"")));
    // The filter's rules serve its decision only.
    assert!(receiver.recorded().keys().any(|s| s.contains("job=\"rule-here\"") && s.contains("machine=\"box-1\"")));
    agent.stop()?;
    servers.iter().for_each(|server| server.abort());
    Ok(())
}

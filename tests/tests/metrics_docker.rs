//! `docker_sd_configs` of metrics: targets of a stand-in engine behind a local socket, scraped by the real binary.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use e2e::{agent::Agent, exporter::Exporter, process::until, receiver::Receiver};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(90);

/// What the engine lists, and the filters it was asked with.
#[derive(Clone, Default)]
struct Engine {
    containers: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Engine {
    fn start(socket: &Path) -> Result<Self> {
        let engine = Self::default();
        let networks = json!([{"Id": "n1", "Name": "bridge", "Scope": "local", "Internal": false, "Ingress": false}]);
        let app = Router::new()
            .route("/containers/json", get(list))
            .route("/networks", get(move || std::future::ready(Json(networks.clone()))))
            .with_state(engine.clone());
        let listener = tokio::net::UnixListener::bind(socket)?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(engine)
    }

    fn set(&self, containers: Vec<Value>) {
        *self.containers.lock().unwrap() = containers;
    }
}

async fn list(State(engine): State<Engine>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    engine.asked.lock().unwrap().insert(query.get("filters").cloned().unwrap_or_default());
    Json(Value::Array(engine.containers.lock().unwrap().clone()))
}

/// `network`: the mode, and the address in the network of that name.
fn container(name: &str, network: (&str, &str), ports: &[u16], wanted: bool) -> Value {
    let ports: Vec<Value> = ports.iter().map(|port| json!({"PrivatePort": port, "Type": "tcp"})).collect();
    json!({
        "Id": format!("id-{name}"), "Names": [format!("/{name}")], "Created": 1, "State": "running",
        "Labels": {"com.example/scrape": wanted.to_string()}, "Ports": ports,
        "HostConfig": {"NetworkMode": network.0},
        "NetworkSettings": {"Networks": {network.0: {"NetworkID": "n1", "IPAddress": network.1}}},
    })
}

/// Names of the containers that a scrape has come from.
fn scraped(receiver: &Receiver) -> BTreeSet<String> {
    let of = |series: String| Some(series.split_once("container=\"")?.1.split_once('"')?.0.to_owned());
    receiver.recorded().into_keys().filter(|series| series.starts_with("up{")).filter_map(of).collect()
}

/// The same of targets that are followed now.
async fn followed(agent: &Agent) -> Result<BTreeSet<String>> {
    let answer: Value = serde_json::from_str(&agent.get("/agent/api/v1/metrics/targets").await?)?;
    let all = answer["data"].as_array().context("a list")?;
    Ok(all.iter().filter_map(|target| Some(target["labels"]["container"].as_str()?.to_owned())).collect())
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_are_scraped_while_the_engine_lists_them() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("docker.sock");
    let engine = Engine::start(&socket)?;
    let (exporter, receiver) = (Exporter::start(10).await?, Receiver::start(true).await?);
    let port = exporter.address.port();
    engine.set(vec![
        container("web", ("bridge", "127.0.0.1"), &[port], true),
        // No port is exposed: `port` says which.
        container("quiet", ("bridge", "127.0.0.1"), &[], true),
        container("at-host", ("host", ""), &[], true),
        container("other", ("bridge", "127.0.0.1"), &[port], false),
    ]);
    let mut agent = Agent::prepare(&format!(
        "queue: {{min_free: 1MiB}}
metrics:
  global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}
  configs:
    - name: default
      remote_write: [{{url: '{}'}}]
      scrape_configs:
        - job_name: containers
          metrics_path: /t/1/metrics
          docker_sd_configs:
            - host: unix://{}
              port: {port}
              host_networking_host: '127.0.0.1:{port}'
              refresh_interval: 1s
              filters: [{{name: status, values: [running]}}]
          relabel_configs:
            - {{source_labels: [__meta_docker_container_label_com_example_scrape], regex: 'true', action: keep}}
            - {{source_labels: [__meta_docker_container_name], regex: /(.*), target_label: container}}
            - {{source_labels: [__meta_docker_network_name], target_label: network}}
",
        receiver.url(),
        socket.display()
    ))?;
    agent.start_ready().await?;
    let wanted = names(&["web", "quiet", "at-host"]);
    until("every container's first scrape", PATIENCE, || async { (scraped(&receiver) == wanted).then_some(()) })
        .await
        .with_context(|| format!("{:?}\n{}", scraped(&receiver), agent.log()))?;
    let up: Vec<String> = receiver.recorded().into_keys().filter(|series| series.starts_with("up{")).collect();
    let of_web = up.iter().find(|series| series.contains("container=\"web\"")).context("web is scraped")?;
    assert!(of_web.contains("network=\"bridge\""), "{of_web}");
    assert!(of_web.contains(&format!("instance=\"127.0.0.1:{port}\"")), "{of_web}");

    // One goes, one comes.
    engine.set(vec![
        container("late", ("bridge", "127.0.0.1"), &[port], true),
        container("at-host", ("host", ""), &[], true),
    ]);
    let wanted = names(&["late", "at-host"]);
    until("the targets of the new list", PATIENCE, || async {
        (followed(&agent).await.ok()? == wanted && scraped(&receiver).contains("late")).then_some(())
    })
    .await
    .with_context(|| agent.log())?;

    // An engine that is gone takes no target along.
    std::fs::remove_file(&socket)?;
    let scrapes = exporter.scrapes_of(1);
    until("scrapes without an engine", PATIENCE, || async { (exporter.scrapes_of(1) > scrapes + 8).then_some(()) })
        .await?;
    assert_eq!(followed(&agent).await?, wanted);
    let asked = engine.asked.lock().unwrap().clone();
    assert_eq!(asked, BTreeSet::from([json!({"status": {"running": true}}).to_string()]));
    agent.stop()
}

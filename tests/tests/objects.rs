//! S3 as a metrics destination: objects under the URL's path, no batch stored twice over a kill, and back by replay.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use e2e::{
    agent::{Agent, command},
    exporter::Exporter,
    process::until,
    receiver::Receiver,
};
use prost::Message;
use proto::remote_write::WriteRequest;
use sandbox::{Identity, Running, Sandbox, SandboxConfig};

const KEY_ID: &str = "AKIDEXAMPLE000000002";
const SECRET: &str = "not-a-real-secret";

fn config(sandbox: &Running, exporter: &Exporter, receiver: &Receiver) -> String {
    format!(
        "metrics:
  global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
  configs:
    - name: default
      remote_write:
        - name: archive
          url: https://example-bucket.s3.us-east-1.amazonaws.com/prometheus/remote-write/
          endpoint_url: {}
          sigv4: {{region: us-east-1, service_name: s3, access_key: {KEY_ID}, secret_key: {SECRET}}}
          batch: {{max_age: 1s}}
        - name: live
          url: {}
      scrape_configs:
        - job_name: t0
          metrics_path: /t/0/metrics
          static_configs: [{{targets: ['{}']}}]
",
        sandbox.url(),
        receiver.url(),
        exporter.address
    )
}

/// Every sample in the stored objects: (series, timestamp) -> how often.
fn archived(sandbox: &Running) -> Result<BTreeMap<(String, i64), u32>> {
    let mut found = BTreeMap::new();
    for object in sandbox.objects() {
        let body = sandbox.object(&object.bucket, &object.key).context("a listed object can be read")?;
        let raw = snap::raw::Decoder::new()
            .decompress_vec(&body)
            .with_context(|| format!("{} is a snappy block", object.key))?;
        for series in WriteRequest::decode(&raw[..])?.timeseries {
            let labels: Vec<String> = series.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
            for sample in series.samples {
                *found.entry((labels.join(","), sample.timestamp)).or_insert(0) += 1;
            }
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_appear_once_each_and_can_be_replayed() -> Result<()> {
    let sandbox =
        Sandbox::start(SandboxConfig { identities: vec![Identity::user(KEY_ID, SECRET)], ..SandboxConfig::default() })
            .await?;
    let exporter = Exporter::start(20).await?;
    let live = Receiver::start(true).await?;
    let mut agent = Agent::prepare(&config(&sandbox, &exporter, &live))?;
    agent.start_ready().await?;
    until("an object", Duration::from_secs(30), || async { (!sandbox.objects().is_empty()).then_some(()) })
        .await
        .with_context(|| format!("{}\n{:#?}", agent.log(), sandbox.state().recent_refusals))?;
    // Killed between storing and remembering, several times.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1300)).await;
        agent.kill_9();
        agent.start_ready().await?;
    }
    let enough = sandbox.objects().len() + 2;
    until("more objects", Duration::from_secs(30), || async { (sandbox.objects().len() >= enough).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    agent.stop()?;

    for object in sandbox.objects() {
        assert_eq!(object.bucket, "example-bucket");
        assert!(object.key.starts_with("prometheus/remote-write/"), "{}", object.key);
    }
    let archived = archived(&sandbox)?;
    let twice: Vec<_> = archived.iter().filter(|(_, n)| **n > 1).take(3).collect();
    assert!(twice.is_empty(), "stored twice: {twice:?}");
    assert!(archived.len() > 100);

    // Back again, to an endpoint that has seen none of it.
    let empty = Receiver::start(true).await?;
    let replay_config = agent.dir.path().join("replay.yaml");
    let text = config(&sandbox, &exporter, &empty);
    std::fs::write(&replay_config, text)?;
    let file = replay_config.display().to_string();
    let dir = agent.dir.path().to_owned();
    let args = ["replay", "--config.file", &file, "--from", "archive", "--to", "live"].map(str::to_owned);
    let run = move |dir: std::path::PathBuf, args: [String; 7]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        command(&args, &[], &dir)
    };
    let (code, printed) = tokio::task::spawn_blocking({
        let (dir, args) = (dir.clone(), args.clone());
        move || run(dir, args)
    })
    .await??;
    assert_eq!(code, Some(0), "{printed}");
    let replayed: usize = empty.recorded().values().map(BTreeMap::len).sum();
    assert_eq!(replayed, archived.len(), "{printed}");

    // A second run has nothing left to do.
    let before = empty.samples();
    let (code, printed) = tokio::task::spawn_blocking(move || run(dir, args)).await??;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(empty.samples(), before, "{printed}");
    Ok(())
}

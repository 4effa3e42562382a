//! A file of one destination's client that cannot be used is that destination's trouble alone: the agent starts, tells it once,
//! tries again, and needs no restart when the file is there.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{
    agent::{Agent, command},
    exporter::Exporter,
    ledger,
    process::until,
};
use sandbox::{Authority, Identity, Sandbox, SandboxConfig, TlsListener};

const SECRET: &str = "MARKER-of-a-secret";
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_file_that_is_missing_or_damaged_holds_up_its_own_destination_alone() -> Result<()> {
    let authority = Authority::generate()?;
    let (certificate_pem, key_pem) = authority.issue("127.0.0.1")?;
    let listen = "127.0.0.1:0".parse()?;
    let cloud = Sandbox::start(SandboxConfig {
        identities: vec![Identity::user("AKIDGOOD", SECRET)],
        tls: Some(TlsListener { listen, certificate_pem, key_pem }),
        ..SandboxConfig::default()
    })
    .await?;
    let exporter = Exporter::start(20).await?;
    let dir = tempfile::tempdir()?;
    let (missing, damaged) = (dir.path().join("missing.pem"), dir.path().join("damaged.pem"));
    std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n")?;
    let port = cloud.tls_address().context("TLS")?.port();
    let tls = |name: &str, ca: &std::path::Path| {
        format!(
            "        - {{name: {name}, url: 'https://127.0.0.1:{port}/workspaces/ws-{name}/api/v1/remote_write', metadata_config: {{send: false}}, \
             tls_config: {{ca_file: '{}'}}, sigv4: {{region: us-east-1, access_key: AKIDGOOD, secret_key: {SECRET}}}}}\n",
            ca.display()
        )
    };
    let text = format!(
        "metrics:\n  global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n  configs:\n    - name: default\n      remote_write:\n\
         {}{}        - {{name: good, url: '{}', metadata_config: {{send: false}}, sigv4: {{region: us-east-1, access_key: AKIDGOOD, \
         secret_key: {SECRET}}}}}\n      scrape_configs:\n        - {{job_name: load, metrics_path: /t/0/metrics, static_configs: \
         [{{targets: ['{}']}}]}}\nqueue: {{min_free: 1MiB}}\n",
        tls("missing", &missing),
        tls("damaged", &damaged),
        cloud.remote_write_url("ws-good"),
        exporter.address
    );
    let mut agent = Agent::prepare(&text)?;
    agent.start_ready().await?;
    let delivered = async |name: &str| ledger::of_running(&agent).await.ok().map(|rows| rows[name].delivered);
    until("the good one to deliver", PATIENCE, || async { delivered("good").await.filter(|n| *n > 100).map(drop) })
        .await
        .with_context(|| agent.log())?;
    for (name, words) in [
        ("missing", format!("cannot read the trusted certificates file {}", missing.display())),
        ("damaged", format!("({}) is cut off: the section that begins at line 1", damaged.display())),
    ] {
        let told = || agent.log().lines().filter(|line| line.contains(&words)).count();
        until(&format!("{name} to be told of"), PATIENCE, || async { (told() > 0).then_some(()) })
            .await
            .with_context(|| agent.log())?;
        assert_eq!(delivered(name).await, Some(0));
    }
    for file in [&missing, &damaged] {
        std::fs::write(file, authority.certificate_pem())?;
    }
    for name in ["missing", "damaged"] {
        until(&format!("{name} to deliver"), PATIENCE, || async { delivered(name).await.filter(|n| *n > 0).map(drop) })
            .await
            .with_context(|| agent.log())?;
        let lines = agent.log().lines().filter(|line| line.contains(&format!("{name}.pem"))).count();
        assert!(lines <= 2, "told {lines} times:\n{}", agent.log());
    }
    agent.stop()?;
    assert!(!agent.log().contains(SECRET), "a secret is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_job_whose_certificate_file_is_missing_holds_up_no_other() -> Result<()> {
    let authority = Authority::generate()?;
    let (certificate_pem, key_pem) = authority.issue("127.0.0.1")?;
    let tls = Some(TlsListener { listen: "127.0.0.1:0".parse()?, certificate_pem, key_pem });
    let cloud = Sandbox::start(SandboxConfig { tls, ..SandboxConfig::default() }).await?;
    let exporter = Exporter::start(20).await?;
    let dir = tempfile::tempdir()?;
    let missing = dir.path().join("missing.pem");
    let mut agent = Agent::prepare(&format!(
        "metrics:\n  global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}\n  configs:\n    - name: default\n      scrape_configs:\n        \
         - {{job_name: good, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{}']}}]}}\n        \
         - {{job_name: lacking, scheme: https, metrics_path: /no-such-page, tls_config: {{ca_file: '{}'}}, static_configs: [{{targets: \
         ['127.0.0.1:{}']}}]}}\nqueue: {{min_free: 1MiB}}\n",
        exporter.address,
        missing.display(),
        cloud.tls_address().context("TLS")?.port(),
    ))?;
    let file = agent.config_path().display().to_string();
    let (_, told) = command(&["check", &file], &[], dir.path())?;
    assert!(told.contains("warning: job lacking: cannot read the trusted certificates file"), "{told}");
    agent.start_ready().await?;
    let error_of = async |job: &str| {
        let text = agent.get("/agent/api/v1/metrics/targets").await.ok()?;
        let answer: serde_json::Value = serde_json::from_str(&text).ok()?;
        let target = answer["data"].as_array()?.iter().find(|t| t["target_group"] == job)?.clone();
        (target["state"] != "unknown").then(|| target["scrape_error"].as_str().unwrap_or_default().to_owned())
    };
    for (job, words) in [("lacking", "cannot read the trusted certificates file"), ("good", "")] {
        until(&format!("the state of {job}"), PATIENCE, || async {
            error_of(job).await.filter(|error| error.contains(words) && words.is_empty() == error.is_empty())
        })
        .await
        .with_context(|| agent.log())?;
    }
    // What runs like this may be reloaded beside another change; what would begin like this may not.
    let text = std::fs::read_to_string(agent.config_path())?;
    let reload = async || -> Result<u16> {
        Ok(reqwest::Client::new()
            .post(format!("http://127.0.0.1:{}/-/reload", agent.port))
            .send()
            .await?
            .status()
            .as_u16())
    };
    agent.write_config(&text.replace("scrape_interval: 300ms", "scrape_interval: 400ms"))?;
    assert_eq!(reload().await?, 200, "{}", agent.log());
    agent.write_config(&text.replace("job_name: lacking", "job_name: other"))?;
    assert_eq!(reload().await?, 400, "{}", agent.log());
    std::fs::write(&missing, authority.certificate_pem())?;
    // The far end's own answer.
    until("the job to have its certificate", PATIENCE, || async {
        error_of("lacking").await.filter(|e| e.contains("404"))
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()
}

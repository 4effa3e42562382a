//! The configuration as people write it, against something that plays AWS behind an HTTPS proxy: a throwaway CA by
//! SSL_CERT_FILE, HTTPS_PROXY for the way. Nothing in the file is changed but the address of the scraped exporter.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use e2e::{agent::Agent, exporter::Exporter, process::until};
use sandbox::{Authority, Identity, ProxyListener, Running, Sandbox, SandboxConfig};

const KEY_ID: &str = "AKIDEXAMPLE000000001";
const SECRET: &str = "right-secret-MARKER-not-a-real-one";

const WALK_THROUGH: &str = "server:
  log_level: info
metrics:
  configs:
    - name: default
      remote_write:
        - url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-EXAMPLE/api/v1/remote_write
          remote_timeout: 30s
          sigv4:
            region: us-east-1
            access_key_id: ${AWS_ACCESS_KEY_ID}
            secret_access_key: ${AWS_SECRET_ACCESS_KEY}
            service_name: aps
      scrape_configs:
        - job_name: node
          scrape_interval: 15s
          static_configs:
            - targets: ['localhost:9100']
";

/// The walk-through with a short interval and the exporter's address; `standard` spells the keys as the reference does.
fn walk_through(exporter: &Exporter, standard: bool) -> String {
    let text = WALK_THROUGH
        .replace(
            "scrape_interval: 15s",
            "scrape_interval: 500ms\n          scrape_timeout: 500ms\n          metrics_path: /t/0/metrics",
        )
        .replace("localhost:9100", &format!("localhost:{}", exporter.address.port()));
    if standard {
        text.replace("secret_access_key:", "secret_key:").replace("access_key_id:", "access_key:")
    } else {
        text
    }
}

struct Cloud {
    sandbox: Running,
    ca_file: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Cloud {
    async fn start() -> Result<Self> {
        let authority = Authority::generate()?;
        let dir = tempfile::tempdir()?;
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, authority.certificate_pem())?;
        let proxy = ProxyListener { listen: "127.0.0.1:0".parse()?, authority, hosts: Vec::new() };
        let sandbox = Sandbox::start(SandboxConfig {
            identities: vec![Identity::user(KEY_ID, SECRET)],
            proxy: Some(proxy),
            record: true,
            ..SandboxConfig::default()
        })
        .await?;
        Ok(Self { sandbox, ca_file, _dir: dir })
    }

    fn agent(&self, config: &str, secret: &str) -> Result<Agent> {
        let proxy = format!("http://{}", self.sandbox.proxy_address().context("a proxy was asked for")?);
        Ok(Agent::prepare(config)?
            .with_flag("-config.expand-env")
            .with_env("AWS_ACCESS_KEY_ID", KEY_ID)
            .with_env("AWS_SECRET_ACCESS_KEY", secret)
            .with_env("SSL_CERT_FILE", &self.ca_file.display().to_string())
            .with_env("HTTPS_PROXY", &proxy))
    }

    /// Timestamp -> times received, of `up`.
    fn ups(&self) -> BTreeMap<i64, u32> {
        let dumps = self.sandbox.samples(None, Some("up"));
        dumps.iter().flat_map(|d| d.samples.iter().map(|s| (s.timestamp_ms, s.count))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walk_through_delivers_in_both_spellings() -> Result<()> {
    for standard in [false, true] {
        let cloud = Cloud::start().await?;
        let exporter = Exporter::start(50).await?;
        let mut agent = cloud.agent(&walk_through(&exporter, standard), SECRET)?;
        agent.start_ready().await?;
        until("three scrapes to arrive", Duration::from_secs(30), || async { (cloud.ups().len() >= 3).then_some(()) })
            .await
            .with_context(|| format!("{}\n{:#?}", agent.log(), cloud.sandbox.state().recent_refusals))?;
        let state = cloud.sandbox.state();
        let destination = state.destinations.iter().find(|d| d.service == "aps").context("an AMP destination")?;
        assert_eq!(destination.host, "aps-workspaces.us-east-1.amazonaws.com");
        assert_eq!(destination.resource, "ws-EXAMPLE");
        assert_eq!(destination.region, "us-east-1");
        assert_eq!(destination.access_key_id, KEY_ID);
        assert_eq!(state.refused, 0, "{:#?}", state.recent_refusals);
        assert_eq!(state.unsigned, 0);
        assert!(
            state.tunnels.keys().any(|host| host.starts_with("aps-workspaces.us-east-1.amazonaws.com")),
            "{:?}",
            state.tunnels
        );
        agent.stop()?;
        assert!(!agent.log().contains("right-secret-MARKER"), "the secret is in the log");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_wrong_secret_nothing_is_accepted_and_nothing_is_lost() -> Result<()> {
    let cloud = Cloud::start().await?;
    let exporter = Exporter::start(50).await?;
    let wrong = "wrong-secret-MARKER-not-a-real-one";
    let mut agent = cloud.agent(&walk_through(&exporter, false), wrong)?;
    agent.start_ready().await?;
    until("AWS to refuse and the agent to say so", Duration::from_secs(30), || async {
        (cloud.sandbox.state().refused >= 1 && agent.log().contains("SignatureDoesNotMatch")
            || agent.log().contains("InvalidSignature"))
        .then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let state = cloud.sandbox.state();
    assert_eq!(state.samples.samples, 0);
    assert_eq!(state.verified, 0);
    // Slow probes, not a hail of requests.
    assert!(state.refused <= 12, "{} requests in a few seconds", state.refused);

    let log = agent.log();
    let line =
        log.lines().find(|l| l.contains("level=warn") && l.contains("destination=")).with_context(|| log.clone())?;
    for part in ["aps-workspaces.us-east-1.amazonaws.com", KEY_ID, "signature", "secret"] {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
    assert!(!log.contains("MARKER"), "a secret is in the log:\n{log}");
    let page = agent.get("/").await?;
    assert!(page.contains("held"), "{page}");
    assert!(!page.contains("MARKER"));
    let scraped = exporter.scrapes();
    agent.stop()?;

    // The right secret, the same data directory: everything since the first scrape arrives.
    let dir = agent.dir.path().to_owned();
    let mut again = cloud.agent(&walk_through(&exporter, false), SECRET)?;
    let data = again.dir.path().join("data");
    std::fs::rename(dir.join("data"), &data)?;
    again.start_ready().await?;
    let expected = usize::try_from(scraped)?;
    let ups = until("the backlog to arrive", Duration::from_secs(30), || async {
        let ups = cloud.ups();
        (ups.len() > expected).then_some(ups)
    })
    .await
    .with_context(|| format!("{} of {expected} scrapes\n{}", cloud.ups().len(), again.log()))?;
    let ticks: Vec<i64> = ups.keys().copied().collect();
    let before: Vec<i64> = ticks.iter().copied().take(expected).collect();
    assert!(before.windows(2).all(|w| w[1] - w[0] <= 750), "a hole in {before:?}");
    again.stop()?;
    Ok(())
}

//! The agent under a service manager and a person's signals.

use std::{os::unix::net::UnixDatagram, path::Path, time::Duration};

use anyhow::{Context, Result};
use e2e::{agent::Agent, process::until};

const PATIENCE: Duration = Duration::from_secs(30);

const CONFIG: &str = "metrics:
  configs:
    - name: default
      remote_write: [{name: nowhere, url: 'http://127.0.0.1:9/w'}]
      scrape_configs: [{job_name: self, static_configs: [{targets: ['127.0.0.1:9']}]}]
";

/// What the service manager hears.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// The next message that has this line; those before are skipped.
    fn hears(&self, line: &str) -> Result<String> {
        let mut buffer = [0; 4096];
        for _ in 0..10_000 {
            let size = self.0.recv(&mut buffer).with_context(|| format!("waiting for {line}"))?;
            let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
            if text.lines().any(|l| l == line) {
                return Ok(text);
            }
        }
        anyhow::bail!("{line} was never said")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_of_start_life_reload_and_stop() -> Result<()> {
    let mut agent = Agent::prepare(CONFIG)?;
    let path = agent.dir.path().join("notify");
    let manager = Manager::listen(&path)?;
    agent = agent.with_env("NOTIFY_SOCKET", path.to_str().context("a temporary path")?);
    agent = agent.with_env("WATCHDOG_USEC", "200000");
    agent.start()?;
    let ready = manager.hears("READY=1")?;
    assert!(ready.contains("STATUS=1 of 1 destinations take data"), "{ready}");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1")?;
    }

    agent.process()?.signal("HUP")?;
    let reloading = manager.hears("RELOADING=1")?;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1")?;
    // A refused file is a reload that is over, too.
    agent.write_config("metrics: [")?;
    agent.process()?.signal("HUP")?;
    manager.hears("RELOADING=1")?;
    manager.hears("READY=1")?;
    assert_eq!(agent.metric("agent_config_last_load_successful").await?, Some(0.0));

    agent.process()?.signal("TERM")?;
    manager.hears("STOPPING=1")?;
    assert_eq!(agent.process()?.wait(PATIENCE)?.code(), Some(0), "{}", agent.log());
    Ok(())
}

/// The moment when the address answers is in the middle of the start.
async fn signal_during_the_start(name: &str) -> Result<Agent> {
    let mut agent = Agent::prepare(CONFIG)?;
    agent.start()?;
    let address = ("127.0.0.1", agent.port);
    until("the address to answer", PATIENCE, || async { std::net::TcpStream::connect(address).ok() }).await?;
    agent.process()?.signal(name)?;
    Ok(agent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_during_the_start_does_not_end_the_agent() -> Result<()> {
    let mut agent = signal_during_the_start("HUP").await?;
    until("the reload", PATIENCE, || async { agent.log().contains("configuration loaded").then_some(()) })
        .await
        .with_context(|| agent.log())?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_during_the_start_is_a_clean_stop() -> Result<()> {
    let mut agent = signal_during_the_start("TERM").await?;
    assert_eq!(agent.process()?.wait(PATIENCE)?.code(), Some(0), "{}", agent.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_api_that_cannot_be_used_fails_the_start() -> Result<()> {
    let text = format!(
        "server:\n  http_tls_config: {{cert_file: '{{dir}}/none.pem', key_file: '{{dir}}/none.key'}}\n{CONFIG}"
    );
    let mut agent = Agent::prepare(&text)?.with_flag("-server.http.enable-tls");
    agent.start()?;
    assert_eq!(agent.process()?.wait(PATIENCE)?.code(), Some(1), "{}", agent.log());
    assert!(agent.log().contains("none.pem") && agent.log().contains("http_tls_config"), "{}", agent.log());
    assert!(!agent.dir.path().join("data").exists(), "a start that fails touched the data directory");
    Ok(())
}

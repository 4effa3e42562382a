//! `make run`: the script that starts the sandbox and the agent, on free ports, with the documented configuration.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{Router, routing::get};
use e2e::{
    free_port,
    ledger::{self, Row},
    peers,
    process::{Process, until},
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

fn documented() -> Result<String> {
    Ok(fs::read_to_string(repository().join("config/agent.yaml"))?)
}

/// The script with its two children, in a directory of its own.
struct Demo {
    dir: PathBuf,
    ports: Ports,
    process: Option<Process>,
}

#[derive(Clone, Copy)]
struct Ports {
    sandbox: u16,
    http: u16,
    node: u16,
}

impl Demo {
    fn start(dir: &Path, ports: Ports) -> Result<Self> {
        // As it is documented, but in a hurry.
        let text = documented()?;
        let hasty = text.replace("scrape_interval: 15s", "scrape_interval: 500ms").replace("scrape_timeout: 10s", "");
        assert_ne!(text, hasty);
        let config = dir.join("agent.yaml");
        fs::write(&config, hasty)?;
        let script = repository().join("tests/run-demo.sh");
        let line = "cd \"$0\" && exec bash \"$1\" \"$2\" \"$3\"";
        let sigpost = peers::sigpost()?;
        let args = ["-c", line, path(dir), path(&script), path(&sigpost), path(&config)];
        let text = [ports.sandbox, ports.http, ports.node].map(|port| port.to_string());
        let env = [
            ("SIGPOST_SANDBOX_PORT", text[0].as_str()),
            ("SIGPOST_HTTP_PORT", &text[1]),
            ("SIGPOST_NODE_PORT", &text[2]),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let process = Process::start("bash", &args, &env, &dir.join("demo.log"))?;
        Ok(Self { dir: dir.to_owned(), ports, process: Some(process) })
    }

    fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the script is not running")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.join("demo.log")).unwrap_or_default()
    }

    async fn state(&self) -> Option<Value> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/_sandbox/state", self.ports.sandbox)).await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// Waits until the sandbox's state is as `wanted`.
    async fn until_state(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        until(what, PATIENCE, || async { self.state().await.filter(&wanted) }).await.with_context(|| self.said())
    }

    /// The child whose command line has this word.
    fn child(&self, word: &str) -> Result<u32> {
        let parent = self.process.as_ref().context("the script is not running")?.pid();
        for pid in children(parent) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).split('\0').any(|arg| arg.starts_with(word)) {
                return Ok(pid);
            }
        }
        bail!("no child of the script has {word} in its command line:\n{}", self.said())
    }

    /// SIGTERM, as Ctrl-C does it; both children are gone afterwards.
    fn stop(&mut self) -> Result<()> {
        let process = self.process.take().context("the script is not running")?;
        let of_it = children(process.pid());
        assert_eq!(of_it.len(), 2, "{}", process.output());
        let status = process.terminate(PATIENCE)?;
        assert!(status.success(), "{status}\n{}", self.said());
        for pid in of_it {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} outlives the script");
        }
        Ok(())
    }
}

impl Drop for Demo {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        for pid in children(process.pid()) {
            let _ = std::process::Command::new("kill").arg("-9").arg(pid.to_string()).status();
        }
    }
}

fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

fn free_ports() -> Result<Ports> {
    Ok(Ports { sandbox: free_port()?, http: free_port()?, node: free_port()? })
}

fn count(state: &Value, pointer: &str) -> u64 {
    state.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn book(dir: &Path) -> Result<Row> {
    let (ledger, told) = ledger::of_stopped(&dir.join("data-agent"))?;
    ledger.get("workspace").cloned().with_context(|| told.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn make_run_delivers_signed_samples_and_goes_on_after_kill_9() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ports = free_ports()?;
    let node = tokio::net::TcpListener::bind(("127.0.0.1", ports.node)).await?;
    let app = Router::new().route("/metrics", get(|| async { "# TYPE node_demo gauge\nnode_demo 1\n" }));
    let node = tokio::spawn(async move { drop(axum::serve(node, app).await) });

    let mut demo = Demo::start(dir.path(), ports)?;
    let state = demo
        .until_state("series of both jobs, signed", |state| {
            let text = state["series"].to_string();
            text.contains("node_demo") && text.contains("agent_build_info")
        })
        .await?;
    assert!(count(&state, "/verified") > 0 && count(&state, "/samples/samples") > 0, "{state}");
    assert_eq!(count(&state, "/refused"), 0, "{state}");
    assert_eq!(count(&state, "/unsigned"), 0, "{state}");
    let said = demo.said();
    for port in [ports.sandbox, ports.http] {
        assert!(said.contains(&format!("http://127.0.0.1:{port}/")), "{said}");
    }

    // The stand-in goes down for a while; what is scraped meanwhile waits on disk when the agent is killed.
    let outage = r#"{"times": 0, "outcome": {"answer": {"status": 503}}}"#;
    let url = format!("http://127.0.0.1:{}/_sandbox/faults", ports.sandbox);
    let answer = reqwest::Client::new().post(url).body(outage).send().await?;
    assert!(answer.status().is_success(), "{}", answer.text().await?);
    demo.until_state("the outage to be met", |state| count(state, "/faulted") > 0).await?;
    let agent = demo.child("-config.file")?;
    std::process::Command::new("kill").arg("-9").arg(agent.to_string()).status()?;
    let status = demo.process()?.wait(PATIENCE)?;
    assert!(!status.success());
    assert!(demo.said().contains("the agent ended by itself"), "{}", demo.said());
    assert!(demo.state().await.is_none(), "the sandbox outlives the script");
    demo.process = None;
    let killed = book(dir.path())?;
    assert!(killed.pending > 0 && killed.delivered > 0, "{killed:?}");

    // Another sandbox, the same data: what waited arrives, and the book goes on.
    let mut demo = Demo::start(dir.path(), ports)?;
    let state =
        demo.until_state("the backlog and more", |state| count(state, "/samples/samples") > killed.pending).await?;
    assert_eq!(count(&state, "/refused"), 0, "{state}");
    demo.stop()?;
    let after = book(dir.path())?;
    assert!(after.accepted > killed.accepted, "{killed:?} {after:?}");
    assert!(after.delivered >= killed.delivered + killed.pending, "{killed:?} {after:?}");
    assert_eq!(after.rejected, 0, "{after:?}");
    node.abort();
    Ok(())
}

#[test]
fn a_taken_port_is_told_with_the_way_out_and_nothing_starts() -> Result<()> {
    for variable in ["SIGPOST_SANDBOX_PORT", "SIGPOST_HTTP_PORT"] {
        let dir = tempfile::tempdir()?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let port = taken.local_addr()?.port();
        let mut ports = free_ports()?;
        match variable {
            "SIGPOST_SANDBOX_PORT" => ports.sandbox = port,
            _ => ports.http = port,
        }
        let mut demo = Demo::start(dir.path(), ports)?;
        let status = demo.process()?.wait(PATIENCE)?;
        let said = demo.said();
        assert_eq!(status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(&format!("port {port} ")) && said.contains("taken"), "{said}");
        assert!(said.contains(&format!("{variable}={} make run", port + 1)), "{said}");
        assert!(!dir.path().join("data-agent").exists());
    }
    Ok(())
}

#[test]
fn a_stop_ends_both_programs_with_code_0() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut demo = Demo::start(dir.path(), free_ports()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(demo.until_state("the agent's first samples", |state| count(state, "/verified") > 0))?;
    demo.stop()
}

#[test]
fn the_documented_addresses_are_the_scripts_defaults() -> Result<()> {
    let (text, script) = (documented()?, fs::read_to_string(repository().join("tests/run-demo.sh"))?);
    for (variable, port) in [("SIGPOST_SANDBOX_PORT", 9009), ("SIGPOST_HTTP_PORT", 12345), ("SIGPOST_NODE_PORT", 9100)]
    {
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{port}");
        assert!(script.contains(&format!("${{{variable}:-{port}}}")), "{variable}");
    }
    Ok(())
}

//! The real binary in a temporary directory.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{
    free_port, peers,
    process::{Process, until},
};

/// One agent, which may be stopped, killed and started again over the same data.
pub struct Agent {
    pub dir: TempDir,
    pub port: u16,
    env: Vec<(String, String)>,
    flags: Vec<String>,
    process: Option<Process>,
}

impl Agent {
    /// Writes `config` (where `{dir}` stands for the temporary directory) and prepares a command line; nothing runs yet.
    pub fn prepare(config: &str) -> Result<Self> {
        let dir = TempDir::new()?;
        let agent = Self { port: free_port()?, dir, env: Vec::new(), flags: Vec::new(), process: None };
        agent.write_config(config)?;
        Ok(agent)
    }

    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn with_flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    pub fn write_config(&self, config: &str) -> Result<()> {
        let text = config.replace("{dir}", &self.dir.path().display().to_string());
        std::fs::write(self.config_path(), text).context("writing the configuration")
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("agent.yaml")
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("agent.log")
    }

    /// Starts the binary and returns at once.
    pub fn start(&mut self) -> Result<()> {
        let mut args = vec![
            format!("-config.file={}", self.config_path().display()),
            format!("-server.http.address=127.0.0.1:{}", self.port),
            format!("-metrics.wal-directory={}", self.dir.path().join("data").display()),
        ];
        args.extend(self.flags.iter().cloned());
        // Nothing of the machine that runs the tests may leak in.
        let mut env: Vec<(&str, &str)> = vec![
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/nonexistent/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials"),
        ];
        env.extend(self.env.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        self.process = Some(Process::start(peers::sigpost()?, &args, &env, &self.log_path())?);
        Ok(())
    }

    /// Starts and waits until `/-/ready` answers 200.
    pub async fn start_ready(&mut self) -> Result<()> {
        self.start()?;
        let url = format!("http://127.0.0.1:{}/-/ready", self.port);
        let ready = until("the agent to be ready", Duration::from_secs(30), || async {
            match reqwest::get(&url).await {
                Ok(answer) if answer.status().is_success() => Some(()),
                _ => None,
            }
        });
        ready.await.with_context(|| self.log())?;
        // Somebody else's answer would not do.
        if let Some(status) = self.process()?.has_exited()? {
            bail!("the agent ended with {status} and somebody else answers at {url}:\n{}", self.log());
        }
        Ok(())
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the agent is not running")
    }

    pub fn kill_9(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill_9();
        }
    }

    /// SIGTERM; fails unless it exits 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let status = process.terminate(Duration::from_secs(60))?;
        if !status.success() {
            bail!("the agent ended with {status}:\n{}", self.log());
        }
        Ok(())
    }

    pub async fn get(&self, path: &str) -> Result<String> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{path}: {status}: {text}");
        }
        Ok(text)
    }

    /// The value of one sample of the agent's own `/metrics` whose line starts with `series`.
    pub async fn metric(&self, series: &str) -> Result<Option<f64>> {
        let page = self.get("/metrics").await?;
        Ok(page.lines().filter(|l| l.starts_with(series)).find_map(|l| l.rsplit(' ').next()?.parse().ok()))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

/// Runs a command of the binary to its end: exit code and everything it printed.
pub fn command(args: &[&str], env: &[(&str, &str)], dir: &Path) -> Result<(Option<i32>, String)> {
    let out =
        std::process::Command::new(peers::sigpost()?).args(args).envs(env.iter().copied()).current_dir(dir).output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    Ok((out.status.code(), text))
}

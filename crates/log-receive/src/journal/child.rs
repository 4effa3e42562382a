//! `journalctl` as a child process: its arguments, its output, what it says when it fails.
//!
//! Keeps true: a child never outlives its value; what it writes to its error output is read (so that it cannot block) and
//! kept up to a limit.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};

use super::reader::JournalConfig;

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// At this entry, which was read before.
    Cursor(String),
    /// Seconds since the epoch.
    Time(i64),
}

/// A running `journalctl`.
pub(super) struct Follower {
    child: Child,
    pub output: ChildStdout,
    said: Arc<Mutex<Vec<u8>>>,
    /// Reads what it says to the end.
    hearing: JoinHandle<()>,
}

/// Why there is none, in words.
pub(super) fn start(config: &JournalConfig, from: &From) -> Result<Follower, String> {
    let mut command = base(config);
    command.args(["--follow", "--no-tail"]);
    match from {
        // With the entry itself: were it gone, `--after-cursor` would pass over the one that now stands in its place.
        From::Cursor(cursor) => command.arg(format!("--cursor={cursor}")),
        From::Time(seconds) => command.arg(format!("--since=@{seconds}")),
    };
    command.args(&config.matches);
    let mut child = command.spawn().map_err(|error| missing(&config.program, &error))?;
    let output = child.stdout.take().ok_or("journalctl has no output")?;
    let mut errors = child.stderr.take().ok_or("journalctl has no error output")?;
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let hearing = tokio::spawn(async move {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = errors.read(&mut piece).await {
            let mut heard = heard.lock();
            heard.extend_from_slice(piece.get(..read).unwrap_or_default());
            let surplus = heard.len().saturating_sub(SAID);
            heard.drain(..surplus);
        }
    });
    Ok(Follower { child, output, said, hearing })
}

/// Bytes kept of what a child says.
const SAID: usize = 2000;

impl Follower {
    /// How it ended and what it said, after its output ended.
    pub(super) async fn verdict(mut self) -> String {
        let status = match tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its output and did not end".to_owned(),
        };
        self.end().await;
        // A grandchild that holds on to the error output does not hold this up.
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut self.hearing).await;
        let said = String::from_utf8_lossy(&self.said.lock()).trim().to_owned();
        if said.is_empty() {
            format!("journalctl ended ({status})")
        } else {
            format!("journalctl ended ({status}): {said}")
        }
    }

    /// Ends it and waits for its end.
    pub(super) async fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }
}

/// The cursor of the newest entry, asked of another child. `None`: there is none.
pub(super) async fn newest(config: &JournalConfig) -> Result<Option<String>, String> {
    let mut command = base(config);
    command.args(["--lines=1", "--output-fields=MESSAGE_ID"]);
    command.args(&config.matches);
    command.stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| missing(&config.program, &error))?;
    let mut output = child.stdout.take().ok_or("journalctl has no output")?;
    let mut bytes = Vec::new();
    let read = async {
        (&mut output).take(1 << 20).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
        child.wait().await.map_err(|error| error.to_string())
    };
    let ended = tokio::time::timeout(PROBE, read).await;
    let _ = child.start_kill();
    match ended {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("asking journalctl for the newest entry: {error}")),
        Err(_) => return Err("journalctl does not answer".to_owned()),
    }
    let mut entries = Vec::new();
    super::export::ExportReader::default().push(&bytes, &mut entries);
    Ok(entries.last().and_then(super::entry::cursor).map(str::to_owned))
}

/// The journal of a busy machine may be some GiB on a slow disk.
const PROBE: Duration = Duration::from_secs(30);

fn base(config: &JournalConfig) -> Command {
    let mut command = Command::new(&config.program);
    command.args(["--output=export", "--no-pager", "--quiet", "--all"]);
    if let Some(path) = &config.path {
        let mut argument = std::ffi::OsString::from("--directory=");
        argument.push(path);
        command.arg(argument);
    }
    command
        .env("LC_ALL", "C.UTF-8")
        .env_remove("SYSTEMD_PAGER")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn missing(program: &Path, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return format!(
            "{} is not there: install systemd's journalctl (in a container: use an image that has it, and mount \
             /var/log/journal and /etc/machine-id)",
            program.display()
        );
    }
    format!("starting {}: {error}", program.display())
}

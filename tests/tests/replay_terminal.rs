//! `sigpost replay` as a person sees it: a bar on a terminal, plain lines elsewhere, and where it stopped when killed.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use e2e::{agent::command, peers, process::until, receiver::Receiver};
use prost::Message;
use proto::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const OBJECTS: u64 = 24;
const SAMPLES: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with objects as an S3 destination writes them, and a file that names the endpoint.
struct Archive {
    dir: tempfile::TempDir,
    objects: PathBuf,
    config: PathBuf,
}

impl Archive {
    fn new(receiver: &Receiver) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let objects = dir.path().join("objects");
        std::fs::create_dir(&objects)?;
        for n in 0..OBJECTS {
            let samples = (0..SAMPLES)
                .map(|k| Sample {
                    value: k as f64,
                    timestamp: 1_700_000_000_000 + i64::try_from(n * SAMPLES + k).unwrap_or(0),
                })
                .collect();
            let labels = vec![Label { name: "__name__".into(), value: "archived".into() }];
            let request = WriteRequest {
                timeseries: vec![TimeSeries { labels, samples, ..TimeSeries::default() }],
                ..WriteRequest::default()
            };
            let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?;
            std::fs::write(objects.join(format!("{n:04}.snappy")), body)?;
        }
        let config = dir.path().join("replay.yaml");
        let text =
            format!("metrics: {{configs: [{{name: a, remote_write: [{{name: live, url: '{}'}}]}}]}}\n", receiver.url());
        std::fs::write(&config, text)?;
        Ok(Self { dir, objects, config })
    }

    fn args(&self) -> Vec<String> {
        ["replay", "--config.file", text(&self.config), "--from", text(&self.objects), "--to", "live"]
            .map(str::to_owned)
            .to_vec()
    }

    /// The number of the last object that the progress file says is finished.
    fn finished(&self) -> Option<u64> {
        let progress = std::fs::read_to_string(self.dir.path().join("replay.progress")).ok()?;
        progress.lines().nth(2)?.strip_suffix(".snappy")?.parse().ok()
    }

    /// Runs in the archive's directory to its end, without a terminal.
    async fn run_plainly(&self) -> Result<(Option<i32>, String)> {
        let (args, dir) = (self.args(), self.dir.path().to_owned());
        tokio::task::spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            command(&args, &[], &dir)
        })
        .await?
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// A program whose three streams are a terminal; killed when dropped.
struct OnTerminal {
    child: Child,
    screen: std::thread::JoinHandle<Vec<u8>>,
}

impl OnTerminal {
    fn start(archive: &Archive) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave: OwnedFd = File::options().read(true).write(true).open(name.to_str()?)?.into();
        let child = Command::new(peers::sigpost()?)
            .args(archive.args())
            .current_dir(archive.dir.path())
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave))
            .spawn()?;
        let screen = std::thread::spawn(move || {
            let (mut master, mut seen, mut part) = (File::from(master), Vec::new(), [0; 4096]);
            // The kernel says EIO when the last one on the other side is gone.
            while let Ok(n @ 1..) = master.read(&mut part) {
                seen.extend_from_slice(&part[..n]);
            }
            seen
        });
        Ok(Self { child, screen })
    }

    /// Waits for the end: whether it was a success, and everything on the screen.
    fn end(mut self) -> Result<(bool, String)> {
        let status = self.child.wait()?;
        let seen = self.screen.join().ok().context("the screen was read")?;
        Ok((status.success(), String::from_utf8_lossy(&seen).into_owned()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_a_bar_that_grows_to_its_end() -> Result<()> {
    let receiver = Receiver::start(true).await?;
    let archive = Archive::new(&receiver)?;
    let run = OnTerminal::start(&archive)?;
    let (success, screen) = tokio::task::spawn_blocking(move || run.end()).await??;
    assert!(success, "{screen}");
    // Each state of the bar overwrites the one before.
    let bars: Vec<&str> = screen.split("\r\u{1b}[K").skip(1).collect();
    assert!(bars.len() as u64 >= OBJECTS, "{screen:?}");
    let filled = |bar: &str| bar.chars().filter(|c| *c == '#').count();
    assert_eq!(filled(bars[0]), 0, "{screen:?}");
    assert!(bars.windows(2).all(|w| filled(w[0]) <= filled(w[1])), "{screen:?}");
    let last = bars[bars.len() - 1];
    assert!(filled(last) == 30 && last.contains(&format!("{OBJECTS}/{OBJECTS} objects")), "{last:?}");
    assert!(last.contains(&format!("{} samples", OBJECTS * SAMPLES)), "{last:?}");
    assert!(bars.iter().all(|bar| bar.lines().next().is_some_and(|line| line.chars().count() < 80)), "{screen:?}");
    // The summary is on a line of its own, below the bar.
    assert!(screen.lines().any(|line| line.starts_with(&format!("replayed {OBJECTS} objects"))), "{screen:?}");
    assert_eq!(receiver.distinct(), OBJECTS * SAMPLES);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elsewhere_only_plain_lines_are_printed() -> Result<()> {
    let receiver = Receiver::start(true).await?;
    receiver.answer_with(503);
    let archive = Archive::new(&receiver)?;
    let run = archive.run_plainly();
    let recover = async {
        until("a request", PATIENCE, || async { (receiver.requests() >= 2).then_some(()) }).await?;
        receiver.answer_with(200);
        anyhow::Ok(())
    };
    let (ended, recovered) = tokio::join!(run, recover);
    let ((code, printed), ()) = (ended?, recovered?);
    assert_eq!(code, Some(0), "{printed}");
    let told = |c: char| c.is_control() && c != '\n';
    assert!(!printed.contains(told), "{printed:?}");
    assert!(printed.lines().any(|line| line.starts_with("waiting: ") && line.contains("503")), "{printed}");
    assert!(printed.lines().any(|line| line.starts_with(&format!("replayed {OBJECTS} objects"))), "{printed}");
    assert!(printed.lines().count() <= 4, "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replay_goes_on_where_it_stopped() -> Result<()> {
    let receiver = Receiver::start(true).await?;
    receiver.answer_after(Duration::from_millis(50));
    let archive = Archive::new(&receiver)?;
    let mut run = OnTerminal::start(&archive)?;
    until("a quarter of the objects", PATIENCE, || async { archive.finished().filter(|n| *n >= OBJECTS / 4) }).await?;
    run.child.kill()?;
    let (success, screen) = tokio::task::spawn_blocking(move || run.end()).await??;
    assert!(!success, "it came to its end before it was killed:\n{screen}");
    let finished = archive.finished().context("progress")? + 1;
    assert!(finished < OBJECTS, "nothing was left to do");

    receiver.answer_after(Duration::ZERO);
    let before = receiver.samples();
    let (code, printed) = archive.run_plainly().await?;
    assert_eq!(code, Some(0), "{printed}");
    let rest = OBJECTS - finished;
    assert!(printed.contains(&format!("replayed {rest} objects")), "{finished} were finished:\n{printed}");
    assert_eq!(receiver.samples() - before, rest * SAMPLES);
    assert_eq!(receiver.distinct(), OBJECTS * SAMPLES, "a sample is missing");
    Ok(())
}

//! Follows the journal for as long as the agent runs.

use std::{path::PathBuf, time::Duration};

use model::{Labels, SourceMark};
use net::Backoff;
use pipeline::Durability;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::{
    child::{self, Follower, From},
    entry,
    export::{ExportReader, JournalEntry},
    place,
};
use crate::{
    Forward, ReceiveError, SourceState,
    clock::{ms, now_ms},
    forward::{Admitted, at},
    metrics::SourceCounts,
};

/// `journal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// Which `journalctl` to run.
    pub program: PathBuf,
    /// `path`: the directory of journal files; `None` for the system's own.
    pub path: Option<PathBuf>,
    /// `max_age`: how far back to begin, and the age beyond which a saved place is not gone back to.
    pub max_age: Duration,
    /// `json`: the line is the whole entry as JSON.
    pub json: bool,
    /// `labels`.
    pub labels: Labels,
    /// `matches`, taken apart: `FIELD=value` each, all of which must hold.
    pub matches: Vec<String>,
    /// After so long without an entry another child is asked whether there is none.
    pub silence: Duration,
    /// Shortest and longest wait before a child is started again.
    pub restart: (Duration, Duration),
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            program: PathBuf::from("journalctl"),
            path: None,
            max_age: Duration::from_secs(7 * 3600),
            json: false,
            labels: Labels::new(),
            matches: Vec::new(),
            silence: Duration::from_secs(120),
            restart: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

impl JournalConfig {
    /// Takes `matches` of the YAML file apart.
    pub fn split_matches(text: &str) -> Result<Vec<String>, ReceiveError> {
        let parts: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        for part in &parts {
            let name = part.split_once('=').map(|(name, _)| name);
            let is_field = name.is_some_and(|name| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            });
            if !is_field {
                let why = format!("{part:?} is not FIELD=value: write journal fields in capitals, divided by spaces");
                return Err(ReceiveError::Config { key: "matches", why });
            }
        }
        Ok(parts)
    }
}

/// Reads one job's journal.
pub struct JournalReader {
    config: JournalConfig,
    forward: Forward,
    /// The last entry that was taken.
    cursor: Option<String>,
    /// The first entry of a new child is the one read last.
    again: Option<String>,
    state: SourceState,
    counts: SourceCounts,
}

/// How a child's service ended.
enum End {
    Stop,
    /// Why it must be started again.
    Trouble(String),
}

impl JournalReader {
    /// `cursor` is the saved place: the value under [`key`](Self::key) in positions and marks.
    pub fn new(config: JournalConfig, forward: Forward, cursor: Option<String>) -> Result<Self, ReceiveError> {
        if let Some(path) = &config.path
            && !path.is_absolute()
        {
            let why = format!("{} is not an absolute path", path.display());
            return Err(ReceiveError::Config { key: "path", why });
        }
        JournalConfig::split_matches(&config.matches.join(" "))?;
        let (state, counts) = (forward.state(), forward.counts());
        Ok(Self { config, forward, cursor, again: None, state, counts })
    }

    /// The key of its marks and of its line in a positions file, as Promtail has it.
    pub fn key(job_name: &str) -> String {
        format!("cursor-{job_name}")
    }

    /// Runs until `stop`, or until the queue is closed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ReceiveError> {
        let mut backoff = Backoff::new(self.config.restart.0, self.config.restart.1);
        while !stop.is_cancelled() {
            // Of an empty directory journalctl says something else, or nothing.
            let empty = match &self.config.path {
                Some(_) => place::emptiness(&self.config.path).await,
                None => None,
            };
            if let Some(why) = &empty {
                self.state.trouble(why);
            }
            let from = self.from(now_ms());
            let end = match child::start(&self.config, &from) {
                Err(why) => End::Trouble(why),
                Ok(follower) => self.follow(follower, from, &stop, &mut backoff).await?,
            };
            let End::Trouble(why) = end else { break };
            let why = empty.unwrap_or(why);
            self.state.trouble(&why);
            self.state.restarted();
            self.counts.fault("restart");
            let delay = backoff.next_delay().max(self.config.restart.0 / 2);
            let wait = tokio::time::Instant::now() + delay;
            loop {
                let due = self.forward.due();
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep_until(wait) => break,
                    () = at(due) => self.forward.tick().await?,
                }
            }
        }
        self.forward.flush(Durability::Now).await?;
        Ok(())
    }

    /// The saved place, unless its entry is older than wanted.
    fn from(&mut self, now_ms: i64) -> From {
        let oldest = now_ms.saturating_sub(ms(self.config.max_age));
        match &self.cursor {
            Some(cursor) if entry::cursor_us(cursor).is_none_or(|at| at / 1000 >= oldest) => {
                self.again = Some(cursor.clone());
                From::Cursor(cursor.clone())
            }
            _ => From::Time(oldest / 1000),
        }
    }

    async fn follow(
        &mut self,
        mut follower: Follower,
        from: From,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<End, ReceiveError> {
        let mut reader = ExportReader::default();
        let mut entries = Vec::new();
        let mut piece = vec![0; 64 << 10];
        let mut quiet_until = tokio::time::Instant::now() + self.config.silence;
        let mut first = true;
        loop {
            let due = self.forward.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    follower.end().await;
                    return Ok(End::Stop);
                }
                () = at(due) => self.forward.tick().await?,
                read = follower.output.read(&mut piece) => {
                    let read = match read {
                        Ok(0) => return Ok(End::Trouble(self.refused(follower.verdict().await, &from, first))),
                        Ok(read) => read,
                        Err(error) => {
                            follower.end().await;
                            return Ok(End::Trouble(format!("reading from journalctl: {error}")));
                        }
                    };
                    reader.push(piece.get(..read).unwrap_or_default(), &mut entries);
                    for entry in entries.drain(..) {
                        self.take(entry).await?;
                        first = false;
                    }
                    if !first {
                        backoff.reset();
                        self.state.well();
                    }
                    quiet_until = tokio::time::Instant::now() + self.config.silence;
                }
                () = tokio::time::sleep_until(quiet_until) => {
                    let why = match self.is_missing_something().await {
                        // Nothing ever came: there may be nothing that it could come from.
                        None if self.cursor.is_none() => place::emptiness(&self.config.path).await,
                        why => why,
                    };
                    if let Some(why) = why {
                        follower.end().await;
                        return Ok(End::Trouble(why));
                    }
                    backoff.reset();
                    self.state.well();
                    quiet_until = tokio::time::Instant::now() + self.config.silence;
                }
            }
        }
    }

    /// A place that journalctl does not understand would be refused for ever.
    fn refused(&mut self, why: String, from: &From, first: bool) -> String {
        if first && matches!(from, From::Cursor(_)) && why.to_ascii_lowercase().contains("cursor") {
            self.cursor = None;
            self.again = None;
            self.counts.fault("cursor_refused");
            return format!("{why}; beginning at max_age instead");
        }
        why
    }

    /// Whether the journal has an entry that the silent child did not give us.
    async fn is_missing_something(&mut self) -> Option<String> {
        match child::newest(&self.config).await {
            Err(why) => Some(why),
            Ok(None) => None,
            Ok(Some(newest)) if Some(&newest) == self.cursor.as_ref() => None,
            Ok(Some(newest)) => {
                let at = entry::cursor_us(&newest)?;
                let last = match &self.cursor {
                    Some(cursor) => entry::cursor_us(cursor)?,
                    None => now_ms().saturating_sub(ms(self.config.max_age)).saturating_mul(1000),
                };
                (at > last).then(|| "journalctl gave nothing although the journal has newer entries".to_owned())
            }
        }
    }

    async fn take(&mut self, entry: JournalEntry) -> Result<(), ReceiveError> {
        let cursor = entry::cursor(&entry).map(str::to_owned);
        if let Some(again) = self.again.take()
            && cursor.as_ref() == Some(&again)
        {
            return Ok(());
        }
        if entry.cut {
            self.counts.cut("journal_entry_too_large");
        }
        match entry::line(entry, self.config.json, &self.config.labels) {
            None => self.counts.journal_error("no_message"),
            Some(line) => match self.forward.admit(line.labels) {
                Admitted::Dropped => {}
                Admitted::Empty => self.counts.journal_error("empty_labels"),
                Admitted::Labels(labels) => {
                    let at = line.timestamp_ns.unwrap_or_else(|| self.forward.time());
                    self.forward.push(&labels, at, &line.line, &[]).await?;
                    self.forward.pace().await;
                }
            },
        }
        if let Some(cursor) = cursor {
            let key = Self::key(self.forward.job_name());
            self.forward.mark(SourceMark { key, cursor: cursor.clone(), file: None });
            self.cursor = Some(cursor);
        }
        Ok(())
    }
}

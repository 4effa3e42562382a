//! Posts objects written by an S3 destination (or files copied from there) to a remote-write endpoint, in order.
//!
//! It changes no object. It keeps true: an object counts as done when every sample of it came to an end, and only then is
//! it written to the progress file; so an interrupted replay goes on where it stopped, and repeats one object at most.

mod bar;
mod objects;
pub(crate) mod splice;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use net::{Authorize, Backoff};
use pipeline::off_reactor;
use tokio_util::sync::CancellationToken;

pub use objects::ObjectSource;
use objects::{Objects, Page};
use splice::Entries;

use crate::{
    DestinationConfig, DestinationStatus, ProtocolConfig, RemoteStorageMetrics, courier::Courier,
    load::isolation_budget, protocol::Parcel, verdict::Verdict, wire::body::Snappy,
};

/// What is replayed, and where to.
#[derive(Debug, Clone)]
pub struct ReplayConfig {
    pub source: ObjectSource,
    /// A remote-write endpoint. Its `batching` bounds the requests; relabelling and external labels were applied when the
    /// objects were written and are not applied again.
    pub destination: DestinationConfig,
    /// Who signs the posts.
    pub authorize: Option<Arc<dyn Authorize>>,
    /// Where the name of the last finished object is kept; `None`: not resumable.
    pub progress_file: Option<PathBuf>,
}

/// How far a replay is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayProgress {
    /// Objects finished in this run.
    pub objects: u64,
    /// Objects found so far, finished ones included.
    pub found: u64,
    /// Whether `found` is all there is.
    pub found_all: bool,
    /// Compressed bytes read.
    pub bytes: u64,
    /// Samples that the endpoint took.
    pub delivered: u64,
    /// Samples that it refused for good.
    pub rejected: u64,
    /// Objects that hold no remote-write request.
    pub unreadable: u64,
    /// The object under way, or the last one.
    pub object: String,
    /// What is being waited for, when a request has to be repeated.
    pub waiting: Option<String>,
}

/// Why a replay ended early. Running it again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The objects cannot be listed or read.
    #[error("{doing}: {why}")]
    Source {
        /// What was being done.
        doing: String,
        /// What went wrong.
        why: String,
    },
    /// The endpoint refuses us as configured.
    #[error("posting {object} to {url}: {why}")]
    Refused {
        /// The object under way.
        object: String,
        /// The endpoint.
        url: String,
        /// What it said, and what to do.
        why: String,
    },
    /// The progress file cannot be used.
    #[error("progress file {}: {why}", path.display())]
    Progress {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The destination is not a remote-write endpoint.
    #[error("{name} is not a remote-write endpoint; objects can be posted to those only")]
    NotAnEndpoint {
        /// The destination.
        name: String,
    },
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

/// Posts every object after the one in the progress file. `report` is called after each step.
pub async fn replay(
    config: ReplayConfig,
    report: &mut (dyn FnMut(&ReplayProgress) + Send),
    stop: CancellationToken,
) -> Result<ReplayProgress, ReplayError> {
    let ReplayConfig { source, destination, authorize, progress_file } = config;
    if !matches!(destination.protocol, ProtocolConfig::Prometheus { .. }) {
        return Err(ReplayError::NotAnEndpoint { name: destination.name });
    }
    let place = source.place();
    let mut after = match &progress_file {
        Some(path) => read_progress(path, &place)?,
        None => None,
    };
    let mut post = Post::new(destination, authorize, stop.clone());
    let objects = Objects::new(source)?;
    let mut progress = ReplayProgress::default();
    let mut token = None;
    loop {
        let page = tokio::select! {
            () = stop.cancelled() => return Err(ReplayError::Stopped),
            page = objects.list(after.as_deref(), token.take()) => page?,
        };
        let Page { keys, next } = page;
        progress.found += keys.len() as u64;
        progress.found_all = next.is_none();
        for key in keys {
            progress.object.clone_from(&key);
            report(&progress);
            let bytes = tokio::select! {
                () = stop.cancelled() => return Err(ReplayError::Stopped),
                bytes = objects.read(&key) => bytes?,
            };
            progress.bytes += bytes.len() as u64;
            post.object(&key, &bytes, &mut progress, report).await?;
            progress.objects += 1;
            progress.waiting = None;
            report(&progress);
            if let Some(path) = &progress_file {
                write_progress(path, &place, &key)?;
            }
            after = Some(key);
        }
        match next {
            Some(next) => token = Some(next),
            None => return Ok(progress),
        }
    }
}

/// Posts one object after another.
struct Post {
    courier: Courier,
    destination: Arc<DestinationConfig>,
    snappy: Snappy,
    stop: CancellationToken,
}

impl Post {
    fn new(destination: DestinationConfig, authorize: Option<Arc<dyn Authorize>>, stop: CancellationToken) -> Self {
        let url = net::masked(&destination.url);
        let metrics = RemoteStorageMetrics::default();
        let cells = metrics.of(metrics.labels(&destination.name, &url));
        let status =
            DestinationStatus::new(destination.name.clone(), url, "prometheus", authorize.clone(), cells.clone());
        let destination = Arc::new(destination);
        let courier = Courier::new(Arc::clone(&destination), authorize, status, cells);
        Self { courier, destination, snappy: Snappy::default(), stop }
    }

    async fn object(
        &mut self,
        key: &str,
        bytes: &Bytes,
        progress: &mut ReplayProgress,
        report: &mut (dyn FnMut(&ReplayProgress) + Send),
    ) -> Result<(), ReplayError> {
        let entries = match off_reactor(true, || Entries::read(bytes)) {
            Ok(entries) => entries,
            Err(why) => {
                tracing::warn!(
                    object = key,
                    why,
                    "this object is not a snappy block of a remote-write request and is left out"
                );
                progress.unreadable += 1;
                return Ok(());
            }
        };
        let batching = self.destination.batching;
        let mut begin = 0;
        while begin < entries.len() {
            let end = entries.fit(begin, batching.max_samples.max(1), batching.max_bytes.max(1));
            self.entries(key, &entries, begin, end, progress, report).await?;
            begin = end;
        }
        Ok(())
    }

    /// Posts a range of entries, in halves where the endpoint wants less or refuses a part.
    async fn entries(
        &mut self,
        key: &str,
        entries: &Entries,
        begin: usize,
        end: usize,
        progress: &mut ReplayProgress,
        report: &mut (dyn FnMut(&ReplayProgress) + Send),
    ) -> Result<(), ReplayError> {
        let mut isolations = isolation_budget(entries.samples(begin, end));
        let mut parts = vec![(begin, end)];
        while let Some((begin, end)) = parts.pop() {
            let samples = entries.samples(begin, end);
            let (message, halve) = match self.send(key, entries.bytes(begin, end), progress, report).await? {
                Verdict::Partial { written, message, .. } => {
                    let stored = written.unwrap_or(0).min(samples);
                    progress.delivered += stored;
                    progress.rejected += samples - stored;
                    tracing::warn!(object = key, samples, message, "the endpoint refused a part of these samples");
                    continue;
                }
                Verdict::TooLarge { message } => (message, true),
                Verdict::Refused { message, isolate, .. } => {
                    let halve = isolate && isolations > 0;
                    isolations = isolations.saturating_sub(1);
                    (message, halve)
                }
                Verdict::Accepted | Verdict::Retry { .. } | Verdict::Hold { .. } | Verdict::Unready { .. } => {
                    progress.delivered += samples;
                    continue;
                }
            };
            if halve && end - begin > 1 {
                let middle = begin + (end - begin) / 2;
                parts.push((middle, end));
                parts.push((begin, middle));
            } else {
                progress.rejected += samples;
                tracing::warn!(object = key, samples, message, "the endpoint refused these samples");
            }
        }
        Ok(())
    }

    /// Posts one body until the endpoint says something final.
    async fn send(
        &mut self,
        key: &str,
        body: &[u8],
        progress: &mut ReplayProgress,
        report: &mut (dyn FnMut(&ReplayProgress) + Send),
    ) -> Result<Verdict, ReplayError> {
        let unusable = |e: snap::Error| ReplayError::Source { doing: format!("compressing {key}"), why: e.to_string() };
        let body = off_reactor(body.len() > 1 << 20, || self.snappy.compress(body)).map_err(unusable)?;
        let parcel = Parcel { body, extent: None, samples: 0 };
        let mut backoff = Backoff::new(self.destination.backoff.min, self.destination.backoff.max);
        loop {
            let verdict = tokio::select! {
                () = self.stop.cancelled() => return Err(ReplayError::Stopped),
                verdict = self.courier.attempt(&parcel, backoff.failures()) => verdict,
            };
            let wait = match verdict {
                Verdict::Hold { why } | Verdict::Unready { why } => {
                    let url = net::masked(&self.destination.url);
                    return Err(ReplayError::Refused { object: key.to_owned(), url, why });
                }
                Verdict::Retry { after, why, .. } => {
                    progress.waiting = Some(why);
                    report(progress);
                    match after {
                        Some(wish) => backoff.next_delay_after(wish.min(Duration::from_secs(300))),
                        None => backoff.next_delay(),
                    }
                }
                verdict => {
                    progress.waiting = None;
                    return Ok(verdict);
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return Err(ReplayError::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

const PROGRESS_HEAD: &str = "sigpost replay 1";

fn read_progress(path: &Path, place: &str) -> Result<Option<String>, ReplayError> {
    let refuse = |why: String| ReplayError::Progress { path: path.to_owned(), why };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(refuse(format!("cannot be read: {e}"))),
    };
    let mut lines = text.lines();
    if lines.next() != Some(PROGRESS_HEAD) {
        return Err(refuse("was not written by a replay; name another file".to_owned()));
    }
    match lines.next() {
        Some(of) if of == place => {}
        of => {
            let of = of.unwrap_or("nothing");
            return Err(refuse(format!(
                "belongs to {of}, not to {place}; name another file, or remove it to begin anew"
            )));
        }
    }
    Ok(lines.next().filter(|key| !key.is_empty()).map(str::to_owned))
}

fn write_progress(path: &Path, place: &str, key: &str) -> Result<(), ReplayError> {
    let refuse =
        |e: std::io::Error| ReplayError::Progress { path: path.to_owned(), why: format!("cannot be written: {e}") };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, format!("{PROGRESS_HEAD}\n{place}\n{key}\n")).map_err(refuse)?;
    std::fs::rename(&new, path).map_err(refuse)
}

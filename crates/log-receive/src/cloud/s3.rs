//! Reads the lines of objects: of a bucket that is listed again and again, or of those that a queue tells of.
//!
//! At least once: an object counts as read when its last line is on disk; what was read of it before a crash is read again.
//! Keeps true: one object is read at a time; a message is deleted after its objects' lines are durable; an object that can
//! never be read does not stop the others.

use std::{collections::BTreeMap, time::Duration};

use model::{Labels, SourceMark};
use net::Backoff;
use pipeline::Durability;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    call::{CallError, CloudAccess},
    decode::ObjectCompression,
    listing::Listed,
    notice::{self, Notice},
    object::{Fetch, NotTaken, ObjectName, Taken},
    seen::Horizon,
    sqs::{Message, NoticeQueue, SqsConfig},
};
use crate::{
    Forward, ReceiveError, SourceState,
    clock::{ms, now_ms},
    forward::at,
    metrics::SourceCounts,
};

/// How new objects are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewObjects {
    /// By listing the bucket.
    List {
        interval: Duration,
        /// Keys rise with time: ask only for those behind the last one.
        sorted_keys: bool,
        /// Where `sorted_keys` begins.
        start_after: String,
        /// Objects older than this are left alone where nothing is known yet; `None`: all are read.
        start_back: Option<Duration>,
        /// How much later than its time an object may show in the list.
        overlap: Duration,
    },
    /// By notices.
    Queue(SqsConfig),
}

/// `s3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket to list; with a queue, the only bucket whose notices count, or empty for any.
    pub bucket: String,
    pub region: String,
    /// Another place than AWS.
    pub endpoint: Option<Url>,
    pub prefix: String,
    pub expected_bucket_owner: Option<String>,
    pub objects: NewObjects,
    pub compression: ObjectCompression,
    /// Bytes of one GetObject.
    pub piece: u64,
    pub labels: Labels,
}

impl S3Config {
    /// Lists a bucket each minute; everything else by default.
    pub fn new(bucket: &str, region: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            region: region.to_owned(),
            endpoint: None,
            prefix: String::new(),
            expected_bucket_owner: None,
            objects: NewObjects::List {
                interval: Duration::from_secs(60),
                sorted_keys: false,
                start_after: String::new(),
                start_back: None,
                overlap: Duration::from_secs(3600),
            },
            compression: ObjectCompression::Auto,
            piece: 4 << 20,
            labels: Labels::new(),
        }
    }
}

/// Reads one job's objects.
pub struct S3Reader {
    config: S3Config,
    fetch: Fetch,
    queue: Option<NoticeQueue>,
    forward: Forward,
    horizon: Horizon,
    backoff: Backoff,
    state: SourceState,
    counts: SourceCounts,
}

/// Objects that a round remembers; those that come later wait for the next round.
const MOST_LISTED: usize = 10_000;

impl S3Reader {
    /// `access` signs for `s3`, `queue_access` for `sqs`. `cursor` is the saved place under [`key`](Self::key).
    pub fn new(
        config: S3Config,
        access: CloudAccess,
        queue_access: Option<CloudAccess>,
        forward: Forward,
        cursor: Option<&str>,
    ) -> Result<Self, ReceiveError> {
        let wrong = |key: &'static str, why: &str| ReceiveError::Config { key, why: why.to_owned() };
        if !(1 << 10..=64 << 20).contains(&config.piece) {
            return Err(wrong("piece", "between 1 KiB and 64 MiB"));
        }
        let queue = match (&config.objects, queue_access) {
            (NewObjects::Queue(sqs), Some(access)) => Some(NoticeQueue { config: sqs.clone(), access }),
            (NewObjects::Queue(_), None) => return Err(wrong("sqs", "it needs an identity for the queue")),
            (NewObjects::List { .. }, _) if config.bucket.is_empty() => return Err(wrong("bucket", "name the bucket")),
            (NewObjects::List { .. }, _) => None,
        };
        let mut horizon = cursor.and_then(Horizon::parse);
        if let (None, NewObjects::List { start_after, start_back, .. }) = (&horizon, &config.objects) {
            let mut fresh = Horizon::new(start_back.map_or(0, |back| now_ms().saturating_sub(ms(back))));
            fresh.after.clone_from(start_after);
            horizon = Some(fresh);
        }
        let fetch = Fetch {
            access,
            region: config.region.clone(),
            endpoint: config.endpoint.clone(),
            expected_bucket_owner: config.expected_bucket_owner.clone(),
            compression: config.compression,
            piece: config.piece,
        };
        let (state, counts) = (forward.state(), forward.counts());
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let horizon = horizon.unwrap_or_else(|| Horizon::new(0));
        Ok(Self { config, fetch, queue, forward, horizon, backoff, state, counts })
    }

    /// The key of its marks.
    pub fn key(job_name: &str) -> String {
        format!("s3-{job_name}")
    }

    /// Runs until `stop`, or until the queue is closed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ReceiveError> {
        while !stop.is_cancelled() {
            // An object that is being read when the agent stops is read again later.
            let round = tokio::select! {
                () = stop.cancelled() => break,
                round = self.round() => round,
            };
            let wait = match round {
                Ok(wait) => {
                    self.backoff.reset();
                    self.state.well();
                    wait
                }
                Err(NotTaken::Closed(error)) => return Err(error),
                Err(NotTaken::Call(error)) => self.failed(&error),
            };
            let until = Instant::now() + wait;
            loop {
                let due = self.forward.due();
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep_until(until) => break,
                    () = at(due) => self.forward.tick().await?,
                }
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &CallError) -> Duration {
        self.state.trouble(error.why());
        match error {
            CallError::Later { after, .. } => {
                self.counts.fault("later");
                self.backoff.next_delay_after(after.unwrap_or(Duration::from_millis(200)))
            }
            CallError::Held { .. } | CallError::Refused { .. } => {
                self.counts.fault("held");
                self.backoff.next_delay_after(Duration::from_secs(10))
            }
        }
    }

    async fn round(&mut self) -> Result<Duration, NotTaken> {
        match self.queue.clone() {
            Some(queue) => self.notices(&queue).await,
            None => self.listed().await,
        }
    }

    /// Reads what is new in the list; gives the time until the next look.
    async fn listed(&mut self) -> Result<Duration, NotTaken> {
        let NewObjects::List { interval, sorted_keys, overlap, .. } = &self.config.objects else {
            return Ok(Duration::from_secs(60));
        };
        let (interval, sorted, overlap) = (*interval, *sorted_keys, ms(*overlap));
        let after = if sorted { self.horizon.after.clone() } else { String::new() };
        let bucket = self.config.bucket.clone();
        let oldest = self.horizon.next_ms.saturating_sub(overlap);
        let mut token = None::<String>;
        // In the order in which they are to be read: by name, or by time and name.
        let mut fresh: BTreeMap<(i64, String), Listed> = BTreeMap::new();
        let mut is_whole = true;
        loop {
            let page = self.fetch.list(&bucket, &self.config.prefix, &after, token.as_deref());
            let page = page.await.map_err(NotTaken::Call)?;
            for listed in page.objects {
                let is_old = !sorted && listed.modified_ms < oldest;
                if is_old || listed.size == 0 || self.horizon.knows(&listed.name()) {
                    continue;
                }
                let order = if sorted { 0 } else { listed.modified_ms };
                fresh.insert((order, listed.key.clone()), listed);
                if fresh.len() > MOST_LISTED {
                    fresh.pop_last();
                    is_whole = false;
                }
            }
            token = page.next.filter(|next| token.as_ref() != Some(next));
            if token.is_none() || (sorted && !is_whole) {
                break;
            }
        }
        for listed in fresh.into_values() {
            self.take_listed(&bucket, listed, overlap).await?;
        }
        Ok(if is_whole { interval } else { Duration::ZERO })
    }

    async fn take_listed(&mut self, bucket: &str, listed: Listed, overlap: i64) -> Result<(), NotTaken> {
        let name = listed.name();
        let object = ObjectName { bucket: bucket.to_owned(), key: listed.key };
        self.take(&object).await?;
        self.horizon.is_new(&name, listed.modified_ms);
        self.horizon.after.clone_from(&object.key);
        // Older ones were read before it.
        self.horizon.advance(listed.modified_ms, overlap);
        let key = Self::key(self.forward.job_name());
        self.forward.mark(SourceMark { key, cursor: self.horizon.text(), file: None });
        self.forward.flush(Durability::Soon).await.map_err(NotTaken::Closed)?;
        Ok(())
    }

    /// Hands an object's lines over.
    async fn take(&mut self, object: &ObjectName) -> Result<(), NotTaken> {
        let mut labels: Labels =
            [("__s3_bucket", object.bucket.as_str()), ("__s3_key", object.key.as_str())].into_iter().collect();
        for (name, value) in self.config.labels.iter() {
            labels.set(name, value);
        }
        let Some(labels) = self.forward.admit_named(labels) else { return Ok(()) };
        let taken = self.fetch.take(object, &labels, &mut self.forward).await?;
        match taken {
            Taken::Whole => {}
            Taken::Gone => {
                self.counts.fault("object_gone");
                tracing::warn!(bucket = object.bucket, key = object.key, "an object was deleted before it was read");
            }
            Taken::Broken(why) => {
                self.counts.fault("object_broken");
                tracing::warn!(
                    bucket = object.bucket,
                    key = object.key,
                    "an object cannot be read to its end; the lines before are kept: {why}"
                );
            }
        }
        Ok(())
    }

    async fn notices(&mut self, queue: &NoticeQueue) -> Result<Duration, NotTaken> {
        let messages = queue.receive().await.map_err(NotTaken::Call)?;
        if messages.is_empty() && queue.config.wait < Duration::from_secs(1) {
            // Without long polling an empty queue would be asked without end.
            return Ok(Duration::from_secs(1));
        }
        let hold = queue.hold_all(messages.iter().map(|message| message.receipt_handle.clone()).collect());
        let mut failed = None;
        for message in &messages {
            let result = self.notice(queue, message).await;
            hold.let_go(&message.receipt_handle);
            match result {
                Ok(()) => {}
                Err(error @ NotTaken::Closed(_)) => return Err(error),
                // The message comes again when its time is over.
                Err(NotTaken::Call(error)) => failed = Some(NotTaken::Call(error)),
            }
        }
        failed.map_or(Ok(Duration::ZERO), Err)
    }

    async fn notice(&mut self, queue: &NoticeQueue, message: &Message) -> Result<(), NotTaken> {
        if message.receives() > queue.config.max_receives {
            self.counts.fault("message_parked");
            tracing::warn!(
                message_id = message.message_id,
                receives = message.receives(),
                "a message failed too often and is left to the queue's dead-letter rule"
            );
            return Ok(());
        }
        let objects = match notice::parse(&message.body) {
            Notice::Nothing => return queue.delete(&message.receipt_handle).await.map_err(NotTaken::Call),
            Notice::Unknown(why) => {
                self.counts.fault("message_unknown");
                tracing::warn!(message_id = message.message_id, "a message of the queue is left alone: {why}");
                return Ok(());
            }
            Notice::Objects(objects) => objects,
        };
        for (object, region) in objects {
            let is_ours = self.config.bucket.is_empty() || object.bucket == self.config.bucket;
            if !is_ours || !object.key.starts_with(&self.config.prefix) {
                self.counts.fault("object_unwanted");
                continue;
            }
            if region.as_ref().is_some_and(|region| *region != self.config.region) {
                self.counts.fault("other_region");
                let why = format!(
                    "a notice tells of bucket {} in {}, this source is configured for {}: set its region",
                    object.bucket,
                    region.unwrap_or_default(),
                    self.config.region
                );
                return Err(NotTaken::Call(CallError::Held { why }));
            }
            self.take(&object).await?;
        }
        if let Some(receipt) = self.forward.flush(Durability::Now).await.map_err(NotTaken::Closed)? {
            let durable = receipt.durable().await;
            durable.map_err(|_| {
                NotTaken::Call(CallError::Later { why: "the agent is stopping".to_owned(), after: None })
            })?;
        }
        queue.delete(&message.receipt_handle).await.map_err(NotTaken::Call)
    }
}

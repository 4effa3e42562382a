//! Reads log groups with FilterLogEvents.
//!
//! Source: CloudWatch Logs API Reference, "FilterLogEvents". Events become visible later than their own time says, so each
//! round asks again for the stretch of the overlap and passes over the events it knows. Keeps true: a group's place moves
//! only after the last page of a round; an empty page with a token is not the end; one group's trouble stops no other.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{Labels, SourceMark};
use net::{Backoff, Reply};
use pipeline::Durability;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    call::{CallError, CloudAccess},
    seen::Horizon,
};
use crate::{
    Forward, ReceiveError, SourceState,
    clock::{ms, now_ms},
    forward::at,
    metrics::SourceCounts,
};

/// Which groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogGroups {
    /// By name, or by ARN (of another account).
    Names(Vec<String>),
    /// All whose name begins so.
    Prefix(String),
}

/// `cloudwatch_logs`, `aws_api_gateway_access_logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudWatchConfig {
    /// `https://logs.<region>.amazonaws.com/`.
    pub endpoint: Url,
    /// For the label.
    pub region: String,
    pub groups: LogGroups,
    /// Only these streams.
    pub stream_names: Vec<String>,
    /// Only streams whose name begins so; not together with names.
    pub stream_name_prefix: Option<String>,
    /// A filter pattern of CloudWatch Logs.
    pub filter_pattern: Option<String>,
    pub poll_interval: Duration,
    /// How late an event may become visible.
    pub overlap: Duration,
    /// How far back to begin where nothing is known.
    pub start_back: Duration,
    /// The longest stretch of one round.
    pub window: Duration,
    /// Shortest time between two requests (the account's limit is some 5 a second).
    pub request_interval: Duration,
    pub labels: Labels,
    /// Keep the events' own times.
    pub use_incoming_timestamp: bool,
}

impl CloudWatchConfig {
    /// These groups, everything else by default: each minute, five minutes of overlap, beginning an hour back.
    pub fn new(endpoint: Url, region: &str, groups: LogGroups) -> Self {
        Self {
            endpoint,
            region: region.to_owned(),
            groups,
            stream_names: Vec::new(),
            stream_name_prefix: None,
            filter_pattern: None,
            poll_interval: Duration::from_secs(60),
            overlap: Duration::from_secs(300),
            start_back: Duration::from_secs(3600),
            window: Duration::from_secs(3600),
            request_interval: Duration::from_millis(250),
            labels: Labels::new(),
            use_incoming_timestamp: true,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    log_group_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_group_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    log_stream_names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    log_stream_name_prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_pattern: Option<&'a str>,
    start_time: i64,
    end_time: i64,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Events {
    events: Vec<Event>,
    next_token: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    event_id: String,
    timestamp: i64,
    message: String,
    log_stream_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Describe<'a> {
    log_group_name_prefix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Groups {
    log_groups: Vec<Group>,
    next_token: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Group {
    log_group_name: String,
}

/// Groups of one prefix at most.
const MOST_GROUPS: usize = 10_000;
const GROUPS_AGAIN: Duration = Duration::from_secs(300);

type SavedCursor = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Reads the groups of one job.
pub struct CloudWatchReader {
    config: CloudWatchConfig,
    access: CloudAccess,
    forward: Forward,
    positions: SavedCursor,
    horizons: BTreeMap<String, Horizon>,
    named: Option<(Vec<String>, Instant)>,
    /// What must be added to the local clock to get the service's.
    offset_ms: i64,
    last_request: Option<Instant>,
    backoff: Backoff,
    state: SourceState,
    counts: SourceCounts,
}

/// How a step failed.
enum Failed {
    Call(CallError),
    Closed(ReceiveError),
}

impl From<ReceiveError> for Failed {
    fn from(error: ReceiveError) -> Self {
        Self::Closed(error)
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl CloudWatchReader {
    /// `positions` gives saved cursors by mark key ([`key`](Self::key)).
    pub fn new(
        config: CloudWatchConfig,
        access: CloudAccess,
        forward: Forward,
        positions: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, ReceiveError> {
        let none = match &config.groups {
            LogGroups::Names(names) => names.is_empty(),
            LogGroups::Prefix(prefix) => prefix.is_empty(),
        };
        if none {
            let why = "name the groups to read, or a prefix of their names".to_owned();
            return Err(ReceiveError::Config { key: "log_groups", why });
        }
        if config.stream_name_prefix.is_some() && !config.stream_names.is_empty() {
            let why = "it cannot be used together with log_stream_names".to_owned();
            return Err(ReceiveError::Config { key: "log_stream_name_prefix", why });
        }
        let (state, counts) = (forward.state(), forward.counts());
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        Ok(Self {
            config,
            access,
            forward,
            positions: Box::new(positions),
            horizons: BTreeMap::new(),
            named: None,
            offset_ms: 0,
            last_request: None,
            backoff,
            state,
            counts,
        })
    }

    /// The key of a group's marks.
    pub fn key(job_name: &str, group: &str) -> String {
        format!("cloudwatch-{job_name}-{group}")
    }

    /// Runs until `stop`, or until the queue is closed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ReceiveError> {
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => break,
                round = self.round() => round?,
            };
            let until = Instant::now() + round;
            loop {
                let due = self.forward.due();
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep_until(until) => break,
                    () = at(due) => self.forward.tick().await?,
                }
            }
            if stop.is_cancelled() {
                break;
            }
        }
        // A round may have been broken off in the middle of a page.
        for group in self.horizons.keys().cloned().collect::<Vec<_>>() {
            self.mark(&group);
        }
        self.forward.flush(Durability::Now).await?;
        Ok(())
    }

    /// Asks every group once; gives the time until the next round.
    async fn round(&mut self) -> Result<Duration, ReceiveError> {
        let groups = match self.groups().await {
            Ok(groups) => groups,
            Err(Failed::Closed(error)) => return Err(error),
            Err(Failed::Call(error)) => return Ok(self.failed("listing log groups", &error)),
        };
        let (mut wait, mut all_well) = (self.config.poll_interval, true);
        for group in groups {
            match self.pass(&group).await {
                Ok(true) => wait = Duration::ZERO,
                Ok(false) => {}
                Err(Failed::Closed(error)) => return Err(error),
                Err(Failed::Call(error)) => {
                    all_well = false;
                    let delay = self.failed(&group, &error);
                    if matches!(error, CallError::Later { .. }) {
                        return Ok(delay);
                    }
                }
            }
        }
        if all_well {
            self.backoff.reset();
            self.state.well();
        }
        Ok(wait)
    }

    fn failed(&mut self, what: &str, error: &CallError) -> Duration {
        self.state.trouble(&format!("{what}: {}", error.why()));
        match error {
            CallError::Later { after, .. } => {
                self.counts.fault("later");
                self.backoff.next_delay_after(after.unwrap_or(self.config.request_interval))
            }
            CallError::Held { .. } => {
                self.counts.fault("held");
                self.config.poll_interval.max(Duration::from_secs(10))
            }
            CallError::Refused { .. } => {
                self.counts.fault("refused");
                self.config.poll_interval
            }
        }
    }

    async fn groups(&mut self) -> Result<Vec<String>, Failed> {
        let prefix = match &self.config.groups {
            LogGroups::Names(names) => return Ok(names.clone()),
            LogGroups::Prefix(prefix) => prefix.clone(),
        };
        if let Some((names, at)) = &self.named
            && at.elapsed() < GROUPS_AGAIN
        {
            return Ok(names.clone());
        }
        let (mut names, mut token) = (Vec::new(), None::<String>);
        loop {
            let asked = Describe { log_group_name_prefix: &prefix, next_token: token.as_deref() };
            self.take_turn().await;
            let (found, _): (Groups, Reply) = self
                .access
                .json(&self.config.endpoint, "Logs_20140328.DescribeLogGroups", "1.1", &asked, self.access.timeout)
                .await?;
            names.extend(found.log_groups.into_iter().map(|group| group.log_group_name));
            token = found.next_token.filter(|next| token.as_ref() != Some(next));
            if token.is_none() || names.len() >= MOST_GROUPS {
                break;
            }
        }
        names.truncate(MOST_GROUPS);
        self.named = Some((names.clone(), Instant::now()));
        Ok(names)
    }

    async fn take_turn(&mut self) {
        if let Some(last) = self.last_request {
            tokio::time::sleep_until(last + self.config.request_interval).await;
        }
        self.last_request = Some(Instant::now());
    }

    /// One round of one group. True: there is more to catch up with.
    async fn pass(&mut self, group: &str) -> Result<bool, Failed> {
        let now = now_ms().saturating_add(self.offset_ms);
        let key = Self::key(self.forward.job_name(), group);
        // Taken out while it is worked on: a round that is broken off is begun again with what it learnt.
        if !self.horizons.contains_key(group) {
            let saved = (self.positions)(&key).and_then(|text| Horizon::parse(&text));
            let horizon = saved.unwrap_or_else(|| Horizon::new(now.saturating_sub(ms(self.config.start_back))));
            self.horizons.insert(group.to_owned(), horizon);
        }
        let next_ms = self.horizons.get(group).map_or(now, |horizon| horizon.next_ms);
        let start = next_ms.saturating_sub(ms(self.config.overlap)).max(0);
        let end = now.min(next_ms.saturating_add(ms(self.config.window))).max(start);
        let is_arn = group.starts_with("arn:");
        let mut token: Option<String> = None;
        loop {
            self.take_turn().await;
            let asked = Filter {
                log_group_name: Some(group).filter(|_| !is_arn),
                log_group_identifier: Some(group).filter(|_| is_arn),
                log_stream_names: &self.config.stream_names,
                log_stream_name_prefix: self.config.stream_name_prefix.as_deref(),
                filter_pattern: self.config.filter_pattern.as_deref(),
                start_time: start,
                end_time: end,
                limit: 10_000,
                next_token: token.as_deref(),
            };
            let (page, reply): (Events, Reply) = self
                .access
                .json(&self.config.endpoint, "Logs_20140328.FilterLogEvents", "1.1", &asked, self.access.timeout)
                .await?;
            self.learn_time(&reply);
            for event in page.events {
                self.take(group, event).await?;
            }
            self.mark(group);
            // The same token again would be asked for for ever.
            token = page.next_token.filter(|next| token.as_ref() != Some(next));
            if token.is_none() {
                break;
            }
        }
        if let Some(horizon) = self.horizons.get_mut(group) {
            horizon.advance(end, ms(self.config.overlap));
        }
        self.mark(group);
        Ok(end < now)
    }

    fn mark(&mut self, group: &str) {
        if let Some(horizon) = self.horizons.get(group) {
            let key = Self::key(self.forward.job_name(), group);
            self.forward.mark(SourceMark { key, cursor: horizon.text(), file: None });
        }
    }

    async fn take(&mut self, group: &str, event: Event) -> Result<(), ReceiveError> {
        if self.horizons.get(group).is_none_or(|horizon| horizon.knows(&event.event_id)) {
            return Ok(());
        }
        let mut labels: Labels = [
            ("__cloudwatch_log_group", group),
            ("__cloudwatch_log_stream", &event.log_stream_name),
            ("__cloudwatch_region", &self.config.region),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
        for (name, value) in self.config.labels.iter() {
            labels.set(name, value);
        }
        if let Some(labels) = self.forward.admit_named(labels) {
            let at = match self.config.use_incoming_timestamp {
                true => event.timestamp.saturating_mul(1_000_000),
                false => self.forward.time(),
            };
            let line = event.message.strip_suffix('\n').unwrap_or(&event.message);
            self.forward.push(&labels, at, line.as_bytes(), &[]).await?;
        }
        // Only now: who waits above may be dropped, and the event must then come again.
        if let Some(horizon) = self.horizons.get_mut(group) {
            horizon.is_new(&event.event_id, event.timestamp);
        }
        self.forward.pace().await;
        Ok(())
    }

    /// A local clock that is ahead would pass over events that are still to come.
    fn learn_time(&mut self, reply: &Reply) {
        let date = reply.headers.get(http::header::DATE).and_then(|value| value.to_str().ok());
        if let Some(date) = date.and_then(net::parse_http_date) {
            let ms_of = |time: SystemTime| {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(0)
            };
            let offset = ms_of(date) - ms_of(reply.received_at);
            // The header has whole seconds.
            self.offset_ms = if offset.abs() > 2000 { offset } else { 0 };
        }
    }
}

//! A queue of notices: receive, hold on to, delete.
//!
//! Source: Amazon SQS API Reference (AWS JSON 1.0).

use std::{sync::Arc, time::Duration};

use net::Reply;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::call::{CallError, CloudAccess};

/// The queue that S3, SNS or EventBridge send notices of new objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsConfig {
    /// As AWS gives it: `https://sqs.<region>.amazonaws.com/<account>/<name>`.
    pub queue_url: Url,
    /// Another place to ask at.
    pub endpoint: Option<Url>,
    /// For how long a message is ours; made longer while its objects are read.
    pub visibility: Duration,
    /// Long polling, 20 s at most.
    pub wait: Duration,
    /// A message received more often is left alone, for the queue's dead-letter rule.
    pub max_receives: u32,
}

impl SqsConfig {
    /// Five minutes of visibility, long polling, ten attempts.
    pub fn new(queue_url: Url) -> Self {
        Self {
            queue_url,
            endpoint: None,
            visibility: Duration::from_secs(300),
            wait: Duration::from_secs(20),
            max_receives: 10,
        }
    }
}

/// A message that was received.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Message {
    pub message_id: String,
    pub receipt_handle: String,
    pub body: String,
    attributes: Attributes,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Attributes {
    approximate_receive_count: Option<String>,
}

impl Message {
    /// How often it was received, this time included.
    pub(super) fn receives(&self) -> u32 {
        self.attributes.approximate_receive_count.as_ref().and_then(|text| text.parse().ok()).unwrap_or(1)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Received {
    messages: Vec<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Receive<'a> {
    queue_url: &'a str,
    max_number_of_messages: u32,
    wait_time_seconds: u64,
    visibility_timeout: u64,
    attribute_names: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Delete<'a> {
    queue_url: &'a str,
    entries: [Entry<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    id: &'static str,
    receipt_handle: &'a str,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Deleted {
    failed: Vec<DeleteFailed>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct DeleteFailed {
    code: String,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Change<'a> {
    queue_url: &'a str,
    receipt_handle: &'a str,
    visibility_timeout: u64,
}

/// The queue and whoever is allowed to read it.
#[derive(Debug, Clone)]
pub(super) struct NoticeQueue {
    pub config: SqsConfig,
    pub access: CloudAccess,
}

impl NoticeQueue {
    fn endpoint(&self) -> Url {
        let mut endpoint = self.config.endpoint.as_ref().unwrap_or(&self.config.queue_url).clone();
        endpoint.set_path("/");
        endpoint
    }

    pub(super) async fn receive(&self) -> Result<Vec<Message>, CallError> {
        let wait = self.config.wait.min(Duration::from_secs(20));
        let asked = Receive {
            queue_url: self.config.queue_url.as_str(),
            max_number_of_messages: 10,
            wait_time_seconds: wait.as_secs(),
            visibility_timeout: self.config.visibility.as_secs().clamp(2, 43_200),
            attribute_names: ["ApproximateReceiveCount"],
        };
        let timeout = self.access.timeout + wait;
        let (received, _): (Received, Reply) =
            self.access.json(&self.endpoint(), "AmazonSQS.ReceiveMessage", "1.0", &asked, timeout).await?;
        Ok(received.messages)
    }

    pub(super) async fn delete(&self, receipt_handle: &str) -> Result<(), CallError> {
        let entries = [Entry { id: "0", receipt_handle }];
        let asked = Delete { queue_url: self.config.queue_url.as_str(), entries };
        let (deleted, _): (Deleted, Reply) = self
            .access
            .json(&self.endpoint(), "AmazonSQS.DeleteMessageBatch", "1.0", &asked, self.access.timeout)
            .await?;
        match deleted.failed.first() {
            None => Ok(()),
            Some(failed) => Err(CallError::Later {
                why: format!("deleting a message: {}: {}", failed.code, failed.message),
                after: None,
            }),
        }
    }

    async fn hold(&self, receipt_handle: &str) -> Result<(), CallError> {
        let asked = Change {
            queue_url: self.config.queue_url.as_str(),
            receipt_handle,
            visibility_timeout: self.config.visibility.as_secs().clamp(2, 43_200),
        };
        // The answer is empty or an empty object.
        let changed: Result<(IgnoredAny, Reply), CallError> = self
            .access
            .json(&self.endpoint(), "AmazonSQS.ChangeMessageVisibility", "1.0", &asked, self.access.timeout)
            .await;
        match changed {
            Err(error @ (CallError::Refused { .. } | CallError::Held { .. })) => Err(error),
            _ => Ok(()),
        }
    }

    /// Holds on to messages until they are let go of or the hold is dropped: at half of their time, again and again.
    pub(super) fn hold_all(&self, handles: Vec<String>) -> Hold {
        let held = Arc::new(Mutex::new(handles));
        let stop = CancellationToken::new();
        let (queue, kept, until) = (self.clone(), Arc::clone(&held), stop.clone());
        let half = self.config.visibility.max(Duration::from_secs(2)) / 2;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = until.cancelled() => return,
                    () = tokio::time::sleep(half) => {}
                }
                let handles = kept.lock().clone();
                for handle in handles {
                    if until.is_cancelled() {
                        return;
                    }
                    if let Err(error) = queue.hold(&handle).await {
                        tracing::warn!(why = error.why(), "a message cannot be held on to; it may be read twice");
                    }
                }
            }
        });
        Hold { held, _stop: stop.drop_guard() }
    }
}

/// Messages that are being worked on.
pub(super) struct Hold {
    held: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Hold {
    pub(super) fn let_go(&self, handle: &str) {
        self.held.lock().retain(|held| held != handle);
    }
}

//! One kind of object in one place, as it is now: listed once, then watched.
//!
//! Source: Kubernetes API concepts, "Efficient detection of changes". Keeps true: an answer is never read past its limit; an
//! object that cannot be read is passed over and counted; what is known stays while the server does not answer.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use net::{Backoff, NetError};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    access::ApiServer,
    objects::{Meta, Object},
};
use crate::{DiscoveryMetrics, LIMIT};

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// `/api/v1/pods`, or with a namespace in it.
    pub path: String,
    /// `&labelSelector=..&fieldSelector=..`, encoded.
    pub selectors: String,
    /// `pods`, for messages.
    pub what: &'static str,
}

/// A change to be taken over.
pub(super) enum Change<T> {
    /// All there is.
    All(BTreeMap<String, T>),
    Set(String, T),
    Remove(String),
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Bare {
    metadata: Meta,
    code: u16,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    message: String,
}

/// Why a list or a watch ended.
enum End {
    /// The server does not know the version any more.
    Gone,
    /// A watch came to its time, or the server closed it.
    Over,
    Failed(String),
}

/// A watch is asked for anew after this, as the server is told.
const WATCH: Duration = Duration::from_secs(300);
/// Bytes of one event; an object is at most 1.5 MiB in the server's own store.
const LONGEST_EVENT: usize = 4 << 20;
const HEAD: Duration = Duration::from_secs(30);
/// A list of a large cluster takes a while.
const LISTING: Duration = Duration::from_secs(120);
const PAGE: usize = 500;

/// Follows one question for ever.
pub(super) async fn follow<T: Object + DeserializeOwned>(
    server: &ApiServer,
    question: &Question,
    metrics: &DiscoveryMetrics,
    mut tell: impl FnMut(Change<T>),
) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    let mut failing: Option<String> = None;
    let mut version: Option<String> = None;
    loop {
        let end = match version.take() {
            None => match list::<T>(server, question).await {
                Ok((all, at)) => {
                    tell(Change::All(all));
                    version = Some(at);
                    None
                }
                Err(end) => Some(end),
            },
            Some(at) => {
                let (end, at) = watch::<T>(server, question, at, &mut tell).await;
                version = at;
                Some(end)
            }
        };
        match end {
            None | Some(End::Over) => {
                if failing.take().is_some() {
                    tracing::info!(what = question.what, "the Kubernetes API answers again");
                }
                backoff.reset();
                // A server that ends every watch at once is not asked without end.
                if version.is_some() && end.is_some() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Some(End::Gone) => version = None,
            Some(End::Failed(why)) => {
                metrics.kubernetes_failures.inc();
                if failing.as_ref() != Some(&why) {
                    tracing::warn!(
                        what = question.what,
                        "asking the Kubernetes API failed, the last known targets stay: {why}"
                    );
                    failing = Some(why);
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

fn request(server: &ApiServer, question: &Question, query: &str) -> Result<Request<Bytes>, End> {
    let base = server.url.as_str().trim_end_matches('/');
    Request::get(format!("{base}{}?{query}{}", question.path, question.selectors))
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| End::Failed(error.to_string()))
}

fn refusal(status: StatusCode, body: &[u8], what: &str) -> End {
    if status == StatusCode::GONE {
        return End::Gone;
    }
    let said: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let said: String = said.message.chars().take(300).collect();
    End::Failed(match status {
        StatusCode::FORBIDDEN => {
            format!("{said} (give the service account a ClusterRole with the verbs get, list and watch for {what})")
        }
        StatusCode::UNAUTHORIZED => format!("the token or certificate is not accepted: {said}"),
        status => format!("{status}: {said}"),
    })
}

async fn list<T: Object + DeserializeOwned>(
    server: &ApiServer,
    question: &Question,
) -> Result<(BTreeMap<String, T>, String), End> {
    let mut all = BTreeMap::new();
    // From the server's cache, which spares its store; that comes in one piece, whatever the limit says.
    let mut query = "resourceVersion=0".to_owned();
    let mut is_paged = false;
    loop {
        let reply = match server.client.send(request(server, question, &query)?, LISTING, LIMIT).await {
            Ok(reply) => reply,
            Err(NetError::BodyTooLarge { .. }) if !is_paged => {
                is_paged = true;
                query = format!("limit={PAGE}");
                continue;
            }
            Err(error) => return Err(End::Failed(error.to_string())),
        };
        if reply.status != StatusCode::OK {
            return Err(refusal(reply.status, &reply.body, question.what));
        }
        let list: List<'_> = serde_json::from_slice(&reply.body)
            .map_err(|error| End::Failed(format!("the list of {} cannot be read: {error}", question.what)))?;
        for item in list.items.iter().flatten() {
            match serde_json::from_str::<T>(item.get()) {
                Ok(object) => drop(all.insert(object.key(), object)),
                Err(error) => tracing::debug!(what = question.what, %error, "an object cannot be read"),
            }
        }
        if list.metadata.next.is_empty() {
            return Ok((all, list.metadata.resource_version));
        }
        let next: String = url::form_urlencoded::byte_serialize(list.metadata.next.as_bytes()).collect();
        query = format!("limit={PAGE}&continue={next}");
    }
}

/// Gives the version to go on from.
async fn watch<T: Object + DeserializeOwned>(
    server: &ApiServer,
    question: &Question,
    mut version: String,
    tell: &mut impl FnMut(Change<T>),
) -> (End, Option<String>) {
    let at: String = url::form_urlencoded::byte_serialize(version.as_bytes()).collect();
    let query = format!("watch=1&allowWatchBookmarks=true&resourceVersion={at}&timeoutSeconds={}", WATCH.as_secs());
    let request = match request(server, question, &query) {
        Ok(request) => request,
        Err(end) => return (end, Some(version)),
    };
    let mut reply = match server.client.open(request, HEAD).await {
        Ok(reply) => reply,
        Err(error) => return (End::Failed(error.to_string()), Some(version)),
    };
    let mut rest: Vec<u8> = Vec::new();
    loop {
        // The server ends a watch itself; one that is silent for longer has lost its connection.
        let piece = match reply.piece(WATCH + HEAD).await {
            Ok(Some(piece)) => piece,
            Ok(None) if reply.status == StatusCode::OK => return (End::Over, Some(version)),
            Ok(None) => return (refusal(reply.status, &rest, question.what), Some(version)),
            Err(_) if reply.status == StatusCode::OK => return (End::Over, Some(version)),
            Err(error) => return (End::Failed(error.to_string()), Some(version)),
        };
        rest.extend_from_slice(&piece);
        if reply.status == StatusCode::OK {
            let mut begin = 0;
            while let Some(len) = rest.get(begin..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
                let line = rest.get(begin..begin + len).unwrap_or_default();
                begin += len + 1;
                match event(line, question, tell) {
                    Ok(Some(at)) => version = at,
                    Ok(None) => {}
                    Err(end) => return (end, Some(version)),
                }
            }
            rest.drain(..begin);
        }
        if rest.len() > LONGEST_EVENT {
            return (End::Failed(format!("an event of {} is larger than {LONGEST_EVENT} bytes", question.what)), None);
        }
    }
}

/// Takes one event over; gives the version it brings.
fn event<T: Object + DeserializeOwned>(
    line: &[u8],
    question: &Question,
    tell: &mut impl FnMut(Change<T>),
) -> Result<Option<String>, End> {
    if line.is_empty() {
        return Ok(None);
    }
    let broken =
        |error: serde_json::Error| End::Failed(format!("an event of {} cannot be read: {error}", question.what));
    let event: Event<'_> = serde_json::from_slice(line).map_err(broken)?;
    let bare: Bare = serde_json::from_str(event.object.get()).unwrap_or_default();
    if event.kind == "ERROR" {
        let status = StatusCode::from_u16(bare.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(match status {
            StatusCode::GONE => End::Gone,
            status => End::Failed(format!("{status}: {}", bare.message)),
        });
    }
    if event.kind != "BOOKMARK" {
        match serde_json::from_str::<T>(event.object.get()) {
            Ok(object) if event.kind == "DELETED" => tell(Change::Remove(object.key())),
            Ok(object) => tell(Change::Set(object.key(), object)),
            Err(error) => tracing::debug!(what = question.what, %error, "an object cannot be read"),
        }
    }
    Ok(Some(bare.metadata.resource_version).filter(|version| !version.is_empty()))
}

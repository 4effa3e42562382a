//! One engine: what is asked of its API.
//!
//! Keeps nothing. Paths carry no version, which every engine takes for its own.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use net::{Client, ClientOptions, HttpClientConfig, OpenReply, ProxyConfig};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    DockerDiscovery, DockerHost,
    labels::{Container, Network, targets},
};
use crate::{DiscoveryError, LIMIT};
use model::Labels;

/// A client of one engine. Clones share connections.
#[derive(Debug, Clone)]
pub struct DockerEngine {
    config: DockerDiscovery,
    client: Client,
    base: String,
}

/// A container as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerContainer {
    pub id: String,
    /// It runs now, or is paused.
    pub running: bool,
    /// Seconds since the epoch.
    pub created: i64,
    /// One for each network and port; at least one.
    pub targets: Vec<Labels>,
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "Config")]
    config: Option<InspectedConfig>,
    #[serde(rename = "State")]
    state: Option<InspectedState>,
}

#[derive(Deserialize)]
struct InspectedState {
    #[serde(rename = "Running", default)]
    running: bool,
}

/// What reading a container's output needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DockerInspection {
    /// Its output is one stream without frames.
    pub terminal: bool,
    pub running: bool,
}

#[derive(Deserialize)]
struct InspectedConfig {
    #[serde(rename = "Tty", default)]
    tty: bool,
}

/// A refusal as the engine words it.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl DockerEngine {
    /// Builds the client; connects to nothing.
    pub fn new(config: &DockerDiscovery) -> Result<Self, DiscoveryError> {
        let place = config.host.to_string();
        let failed = |source| DiscoveryError::Client { url: place.clone(), source };
        let (client, base) = match &config.host {
            DockerHost::Socket(path) => {
                // What is configured for HTTP means nothing on a socket.
                let plain = HttpClientConfig { proxy: ProxyConfig::None, enable_http2: false, ..Default::default() };
                let options = ClientOptions { unix_socket: Some(path.clone()), ..ClientOptions::default() };
                (Client::new(&plain, options).map_err(failed)?, "http://docker".to_owned())
            }
            DockerHost::Url(url) => {
                let client = Client::new(&config.client, ClientOptions::default()).map_err(failed)?;
                (client, url.as_str().trim_end_matches('/').to_owned())
            }
        };
        Ok(Self { config: config.clone(), client, base })
    }

    /// The containers, those that do not run too if `all`.
    pub async fn containers(&self, all: bool) -> Result<Vec<DockerContainer>, DiscoveryError> {
        let mut filters: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
        for (name, values) in &self.config.filters {
            filters.entry(name).or_default().extend(values.iter().map(|value| (value.as_str(), true)));
        }
        let filters = serde_json::to_string(&filters).map_err(|error| self.nonsense(&error.to_string()))?;
        let pairs = [("all", if all { "1" } else { "0" }), ("filters", filters.as_str())];
        let containers: Vec<Container> = self.get(&format!("/containers/json?{}", query(&pairs))).await?;
        let networks: Vec<Network> = self.get("/networks").await?;
        Ok(targets(&self.config, &containers, &networks))
    }

    /// What a container is now. `None`: there is no such one.
    pub async fn inspect(&self, id: &str) -> Result<Option<DockerInspection>, DiscoveryError> {
        match self.get::<Inspected>(&format!("/containers/{id}/json")).await {
            Ok(found) => Ok(Some(DockerInspection {
                terminal: found.config.is_some_and(|config| config.tty),
                running: found.state.is_some_and(|state| state.running),
            })),
            Err(DiscoveryError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A container's output from `since_ns` (since the epoch) on, as long as it runs.
    pub async fn logs(&self, id: &str, since_ns: i64) -> Result<OpenReply, DiscoveryError> {
        let (seconds, nanos) = (since_ns.max(0) / 1_000_000_000, since_ns.max(0) % 1_000_000_000);
        let since = format!("{seconds}.{nanos:09}");
        let pairs = [("stdout", "1"), ("stderr", "1"), ("follow", "1"), ("timestamps", "1"), ("since", &since)];
        let request = self.request(&format!("/containers/{id}/logs?{}", query(&pairs)))?;
        let mut reply = self.client.open(request, PATIENCE).await.map_err(|source| self.failed(source))?;
        if reply.status == StatusCode::OK {
            return Ok(reply);
        }
        let mut body = Vec::new();
        while body.len() < 4096
            && let Ok(Some(piece)) = reply.piece(PATIENCE).await
        {
            body.extend_from_slice(&piece);
        }
        Err(self.refused(reply.status, &body))
    }

    /// Comes back when a container started, died or was removed, or the engine broke off.
    pub async fn change(&self) -> Result<(), DiscoveryError> {
        let filters = r#"{"type":["container"],"event":["start","die","destroy","unpause"]}"#;
        let request = self.request(&format!("/events?{}", query(&[("filters", filters)])))?;
        let mut reply = self.client.open(request, PATIENCE).await.map_err(|source| self.failed(source))?;
        if reply.status != StatusCode::OK {
            return Err(self.refused(reply.status, b""));
        }
        // Silence is what is to be expected here.
        let day = Duration::from_secs(24 * 3600);
        reply.piece(day).await.map(|_| ()).map_err(|source| self.failed(source))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, DiscoveryError> {
        let request = self.request(path)?;
        let reply = self.client.send(request, PATIENCE, LIMIT).await.map_err(|source| self.failed(source))?;
        if reply.status != StatusCode::OK {
            return Err(self.refused(reply.status, &reply.body));
        }
        serde_json::from_slice(&reply.body).map_err(|error| self.nonsense(&error.to_string()))
    }

    fn request(&self, path: &str) -> Result<Request<Bytes>, DiscoveryError> {
        let uri = format!("{}{path}", self.base);
        let request = Request::builder().method(Method::GET).uri(uri).body(Bytes::new());
        request.map_err(|error| self.nonsense(&error.to_string()))
    }

    fn failed(&self, source: net::NetError) -> DiscoveryError {
        DiscoveryError::Request { url: self.config.host.to_string(), source }
    }

    fn nonsense(&self, why: &str) -> DiscoveryError {
        DiscoveryError::Content { place: self.config.host.to_string(), why: why.to_owned() }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> DiscoveryError {
        let place = self.config.host.to_string();
        let said = serde_json::from_slice::<Refusal>(body).map(|refusal| format!(": {}", refusal.message));
        let why = format!("it answered {status}{}", said.unwrap_or_default());
        match status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => DiscoveryError::Gone { place, why },
            _ => DiscoveryError::Content { place, why },
        }
    }
}

fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

//! `docker_sd_configs`: containers of one Docker engine.
//!
//! Asks by the engine's HTTP API, over its local socket or TCP; labels are those of Prometheus. Keeps true: an engine that
//! does not answer leaves the last known targets; every answer is bounded.

mod engine;
mod labels;
mod source;

use std::{path::PathBuf, time::Duration};

use net::HttpClientConfig;
use url::Url;

pub use engine::{DockerContainer, DockerEngine, DockerInspection};
pub(crate) use source::DockerSource;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerHost {
    /// `unix:///var/run/docker.sock`.
    Socket(PathBuf),
    /// `tcp://`, `http://` and `https://`.
    Url(Url),
}

impl DockerHost {
    /// Reads `host` of the configuration. `secure`: `tcp://` means TLS.
    pub fn parse(text: &str, secure: bool) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err("a socket is an absolute path, such as unix:///var/run/docker.sock".to_owned());
            }
            return Ok(Self::Socket(PathBuf::from(path)));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let scheme = match scheme {
            "http" | "https" => scheme,
            "tcp" if secure => "https",
            "tcp" => "http",
            _ => return Err("it begins with unix://, tcp://, http:// or https://".to_owned()),
        };
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| error.to_string())?;
        if url.host().is_none() {
            return Err("it has no host".to_owned());
        }
        Ok(Self::Url(url))
    }
}

impl std::fmt::Display for DockerHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Url(url) => f.write_str(&net::masked(url)),
        }
    }
}

/// `docker_sd_configs[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerDiscovery {
    pub host: DockerHost,
    /// Of `__address__` where a container has no port. Default 80.
    pub port: u16,
    /// `__address__` of containers in the host's network. Default `localhost`.
    pub host_networking_host: String,
    /// Of a container in several networks only the first by name counts. Default true.
    pub match_first_network: bool,
    /// As the engine has them: by name, the values of which one must hold.
    pub filters: Vec<(String, Vec<String>)>,
    /// Default 60 s.
    pub refresh_interval: Duration,
    /// For engines at a URL.
    pub client: HttpClientConfig,
}

impl DockerDiscovery {
    /// Prometheus' defaults.
    pub fn new(host: DockerHost) -> Self {
        Self {
            host,
            port: 80,
            host_networking_host: "localhost".to_owned(),
            match_first_network: true,
            filters: Vec::new(),
            refresh_interval: Duration::from_secs(60),
            client: HttpClientConfig::default(),
        }
    }
}

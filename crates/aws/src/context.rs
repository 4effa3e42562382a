//! Builds identities, and holds what all identities of the process share.
//!
//! Fetches nothing. Keeps true: two destinations share credentials only when their resolved identity is the same.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use net::{Authorize, Client, ClientOptions, HttpClientConfig, ProxyConfig};
use parking_lot::Mutex;
use url::Url;

use crate::{
    AwsError, CredentialSource, Identity, IdentityConfig, RoleStep, StsConfig,
    cache::CredentialCache,
    clock::{self, Clock, ClockNotices},
    connector::Connections,
    host::{AwsHost, parse_host},
    origin::Origin,
    region::SigningRegion,
    shared_files::{ProfileChoice, Shared},
    validate,
};

/// What all identities of the process share: connections for STS and metadata, and one credential cache per identity.
#[derive(Debug)]
pub struct IdentityContext {
    connections: Connections,
    hostname: String,
    file_check: Duration,
    caches: Mutex<Vec<(CacheKey, Weak<CredentialCache>)>>,
    notices: Mutex<Vec<Weak<ClockNotices>>>,
    /// Key ids that a person was warned of: a reload says nothing new about them.
    warned: Mutex<BTreeSet<String>>,
}

/// What makes two identities the same.
#[derive(Debug, PartialEq)]
struct CacheKey {
    source: CredentialSource,
    roles: Vec<(RoleStep, String)>,
    sts: StsConfig,
    region: Option<String>,
    session_name: Option<String>,
}

impl IdentityContext {
    /// With connections of its own: through the proxy of the environment to STS, directly to metadata. `hostname` becomes
    /// part of session names.
    pub fn new(hostname: &str) -> Result<Self, AwsError> {
        let outside = HttpClientConfig {
            proxy: ProxyConfig::Environment,
            follow_redirects: false,
            ..HttpClientConfig::default()
        };
        let outside = Client::new(&outside, ClientOptions::default())?;
        Self::with_client(hostname, outside)
    }

    /// The same with the given client for everything that is not loopback or link-local.
    pub fn with_client(hostname: &str, outside: Client) -> Result<Self, AwsError> {
        let local =
            HttpClientConfig { proxy: ProxyConfig::None, follow_redirects: false, ..HttpClientConfig::default() };
        let patience = ClientOptions { connect_timeout: Duration::from_secs(2), ..ClientOptions::default() };
        let local = Client::new(&local, patience)?;
        let connections = Connections { outside, local };
        let file_check = Duration::from_secs(1);
        let (caches, notices, warned) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { connections, hostname: hostname.to_owned(), file_check, caches, notices, warned })
    }

    /// Says once of a temporary key without its token that AWS will refuse it.
    fn warn_of_token(&self, config: &IdentityConfig, destination: &str) {
        let Some(key) = validate::lacks_token(config) else { return };
        if self.warned.lock().insert(key.to_owned()) {
            tracing::warn!(
                destination,
                key = crate::verdict::plain_id(key),
                "an access key that begins with ASIA is temporary and needs session_token; AWS will refuse it without"
            );
        }
    }

    /// What is said about a host's clock, shared by its destinations.
    fn notices(&self, host: &str) -> Arc<ClockNotices> {
        let mut notices = self.notices.lock();
        notices.retain(|held| held.strong_count() > 0);
        if let Some(held) = notices.iter().filter_map(Weak::upgrade).find(|held| held.host() == host) {
            return held;
        }
        let new = Arc::new(ClockNotices::new(host));
        notices.push(Arc::downgrade(&new));
        new
    }

    /// Sends by the connections of credential sources: directly to local addresses, else as the environment's proxy says.
    pub(crate) async fn send(
        &self,
        url: &Url,
        request: http::Request<bytes::Bytes>,
        timeout: Duration,
        limit: u64,
    ) -> Result<net::Reply, net::NetError> {
        self.connections.for_url(url).send(request, timeout, limit).await
    }

    fn cache(&self, key: CacheKey, origin: &Arc<Origin>) -> Arc<CredentialCache> {
        let mut caches = self.caches.lock();
        caches.retain(|(_, cache)| cache.strong_count() > 0);
        if let Some(cache) = caches.iter().find(|(k, _)| *k == key).and_then(|(_, cache)| cache.upgrade()) {
            return cache;
        }
        let cache = Arc::new(CredentialCache::new(Box::new(Arc::clone(origin)), self.file_check));
        caches.push((key, Arc::downgrade(&cache)));
        cache
    }
}

/// [`build`] as the trait that senders know.
pub fn identity(
    config: &IdentityConfig,
    destination: &Url,
    default_service: &str,
    destination_name: &str,
    context: &IdentityContext,
) -> Result<Arc<dyn Authorize>, AwsError> {
    Ok(build(config, destination, default_service, destination_name, context)?)
}

/// Builds one destination's identity. Fetches nothing: missing credentials are found at the first signature, and the
/// destination then waits. Errors are what no later moment can mend.
pub fn build(
    config: &IdentityConfig,
    destination: &Url,
    default_service: &str,
    destination_name: &str,
    context: &IdentityContext,
) -> Result<Arc<Identity>, AwsError> {
    if !matches!(destination.scheme(), "http" | "https") || destination.host().is_none() {
        let why = "it must be http or https and have a host".to_owned();
        return Err(AwsError::Url { url: net::masked(destination), why });
    }
    let (host, place) = (parse_host(destination), authority(destination));
    assemble(config, host.as_ref(), &place, default_service, destination_name, context)
}

/// [`build`] for what has no URL yet: `place` is what people call it.
pub(crate) fn assemble(
    config: &IdentityConfig,
    host: Option<&AwsHost>,
    place: &str,
    default_service: &str,
    destination_name: &str,
    context: &IdentityContext,
) -> Result<Arc<Identity>, AwsError> {
    validate::check(config)?;
    // Read once for everything that is asked of them here.
    let shared = Shared::now(ProfileChoice::active(&config.source));
    let region = Arc::new(SigningRegion::resolve(config, place, host, &shared, &context.connections)?);
    warn_of_mismatch(config, host, destination_name);
    context.warn_of_token(config, destination_name);
    let reads_profile = ProfileChoice::of(&config.source).is_some();
    let service = config
        .service
        .as_deref()
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(ToOwned::to_owned)
        .or_else(|| host.and_then(|h| h.service.clone()))
        .unwrap_or_else(|| default_service.to_owned());
    let session_name = session_name(&context.hostname, destination_name);
    let roles: Vec<(RoleStep, String)> = config
        .roles
        .iter()
        .map(|role| (role.clone(), role.session_name.clone().unwrap_or_else(|| session_name.clone())))
        .collect();
    let names_session = matches!(config.source, CredentialSource::WebIdentity { session_name: None, .. });
    let key = CacheKey {
        source: config.source.clone(),
        roles: roles.clone(),
        sts: config.sts.clone(),
        // The region matters to the credentials only where it chooses the STS.
        region: config.sts.region.clone().or_else(|| region.known().map(|(r, _)| r.clone())),
        session_name: names_session.then(|| session_name.clone()),
    };
    let connections = context.connections.clone();
    let source = config.source.clone();
    let runs_command = reads_profile && shared.runs_command();
    let (sts, signs_for) = (config.sts.clone(), Arc::clone(&region));
    let origin = Arc::new(Origin::new(source, roles, sts, signs_for, connections, session_name, runs_command));
    let cache = context.cache(key, &origin);
    let is_off = reads_profile && shared.disables_clock_correction();
    let clock = Clock::new(clock::corrects() && !is_off, context.notices(place));
    Ok(Arc::new(Identity::new(destination_name, service, region, cache, origin, clock)))
}

/// Host, and port where the URL names one.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Stable, so that CloudTrail shows one session per agent and destination: 2 to 64 of `[\w+=,.@-]`.
fn session_name(hostname: &str, destination: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' }
    };
    let host = hostname.split('.').next().unwrap_or_default();
    format!("sigpost-{host}-{destination}").chars().map(allowed).take(64).collect()
}

fn warn_of_mismatch(config: &IdentityConfig, host: Option<&AwsHost>, destination: &str) {
    let (Some(configured), Some(named)) = (config.region.as_deref(), host.and_then(|h| h.region.as_deref())) else {
        return;
    };
    if !configured.is_empty() && configured.trim() != named {
        tracing::warn!(
            destination,
            configured,
            endpoint = named,
            "the region in the sigv4 block is not the endpoint's; AWS will probably refuse"
        );
    }
}

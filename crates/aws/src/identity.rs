//! One destination's identity: signs its requests, watches its clock, and judges what AWS says about it.
//!
//! Sends nothing itself. Keeps true: two destinations share credentials only when their resolved identity is the same; no
//! refusal makes it retry in a tight loop; every `why` says what AWS said, which key, from where, and what to do.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::Request;
use net::{
    Answer, Authorize, AuthorizeError, BoxFuture, Client, ClientOptions, HttpClientConfig,
    IdentityVerdict, ProxyConfig, SecretSource,
};
use parking_lot::Mutex;
use url::Url;

use crate::{
    AwsError, CredentialSource, IdentityConfig, RegionOrigin, RoleStep, StsConfig,
    cache::CredentialCache,
    clock::Clock,
    connector::Connections,
    host::{AwsHost, parse_host},
    origin::Origin,
    region::{self, SigningRegion},
    signer::{self, Scope},
    verdict::{self, Refusal},
};

/// What all identities of the process share: connections for STS and metadata, and one credential cache per identity.
#[derive(Debug)]
pub struct IdentityContext {
    connections: Connections,
    hostname: String,
    file_check: Duration,
    caches: Mutex<Vec<(CacheKey, Weak<CredentialCache>)>>,
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
        let local = HttpClientConfig {
            proxy: ProxyConfig::None,
            follow_redirects: false,
            ..HttpClientConfig::default()
        };
        let patience = ClientOptions {
            connect_timeout: Duration::from_secs(2),
            ..ClientOptions::default()
        };
        let local = Client::new(&local, patience)?;
        let connections = Connections { outside, local };
        let file_check = Duration::from_secs(1);
        Ok(Self {
            connections,
            hostname: hostname.to_owned(),
            file_check,
            caches: Mutex::default(),
        })
    }

    fn cache(&self, key: CacheKey, origin: impl FnOnce() -> Origin) -> Arc<CredentialCache> {
        let mut caches = self.caches.lock();
        caches.retain(|(_, cache)| cache.strong_count() > 0);
        if let Some(cache) = caches
            .iter()
            .find(|(k, _)| *k == key)
            .and_then(|(_, cache)| cache.upgrade())
        {
            return cache;
        }
        let cache = Arc::new(CredentialCache::new(Box::new(origin()), self.file_check));
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
    Ok(build(
        config,
        destination,
        default_service,
        destination_name,
        context,
    )?)
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
        return Err(AwsError::Url {
            url: net::masked(destination),
            why,
        });
    }
    validate(config)?;
    let host = parse_host(destination);
    let region = Arc::new(SigningRegion::resolve(
        config,
        destination,
        host.as_ref(),
        &context.connections,
    )?);
    warn_of_mismatch(config, host.as_ref(), destination_name);
    let service = config
        .service
        .as_deref()
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(ToOwned::to_owned)
        .or_else(|| host.as_ref().and_then(|h| h.service.clone()))
        .unwrap_or_else(|| default_service.to_owned());
    let session_name = session_name(&context.hostname, destination_name);
    let roles: Vec<(RoleStep, String)> = config
        .roles
        .iter()
        .map(|role| {
            (
                role.clone(),
                role.session_name
                    .clone()
                    .unwrap_or_else(|| session_name.clone()),
            )
        })
        .collect();
    let names_session = matches!(
        config.source,
        CredentialSource::WebIdentity {
            session_name: None,
            ..
        } | CredentialSource::RolesAnywhere(_)
    );
    let key = CacheKey {
        source: config.source.clone(),
        roles: roles.clone(),
        sts: config.sts.clone(),
        // The region matters to the credentials only where it chooses the STS.
        region: config
            .sts
            .region
            .clone()
            .or_else(|| region.known().map(|(r, _)| r.clone())),
        session_name: names_session.then(|| session_name.clone()),
    };
    let cache = context.cache(key, || {
        let connections = context.connections.clone();
        Origin::new(
            config.source.clone(),
            roles,
            config.sts.clone(),
            Arc::clone(&region),
            connections,
            session_name,
        )
    });
    Ok(Arc::new(Identity {
        destination: destination_name.to_owned(),
        service,
        region,
        cache,
        clock: Clock::of_process(),
        trials: Mutex::new(Trials::default()),
    }))
}

/// One destination's identity. Make it with [`build`].
#[derive(Debug)]
pub struct Identity {
    destination: String,
    service: String,
    region: Arc<SigningRegion>,
    cache: Arc<CredentialCache>,
    clock: Clock,
    trials: Mutex<Trials>,
}

/// What was tried against refusals.
#[derive(Debug, Default)]
struct Trials {
    /// When credentials were last thrown away for a refusal, and whether anything was accepted since.
    refreshed_at: Option<Instant>,
    accepted_since: bool,
    last_refusal: Option<String>,
}

/// A refusal after a refresh this long ago is a new one.
const NEW_TRIAL: Duration = Duration::from_secs(60);
/// Not even accepted answers in between allow refreshes closer than this.
const TRIAL_GAP: Duration = Duration::from_millis(500);
/// Above this a refused signature may be the clock's fault (AWS tolerates five minutes).
const SKEW_MS: i64 = 4 * 60 * 1000;

/// A snapshot for pages and metrics; holds no secret.
#[derive(Debug, Clone)]
pub struct IdentityStatus {
    /// Such as `profile prod` or `role arn:... on instance metadata`.
    pub source: String,
    /// The access key id in use.
    pub access_key_id: Option<String>,
    /// When these credentials end, if they do.
    pub expires: Option<SystemTime>,
    /// When these very credentials were first seen.
    pub obtained: Option<SystemTime>,
    /// Fetches that gave credentials.
    pub refreshes: u64,
    /// Fetches that did not.
    pub refresh_failures: u64,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
    /// What AWS said to the last refusal since the last accepted request.
    pub last_refusal: Option<String>,
    /// AWS's clock minus ours, in milliseconds, once known.
    pub clock_offset_ms: Option<i64>,
    /// Signing region and who named it; `None` while only the metadata service could tell.
    pub region: Option<(String, RegionOrigin)>,
    /// Signing name.
    pub service: String,
}

impl Identity {
    /// What pages and metrics show of it.
    pub fn status(&self) -> IdentityStatus {
        let cache = self.cache.status();
        let held = cache.held.as_deref();
        IdentityStatus {
            source: held.map_or_else(|| self.cache.describe(), |h| h.source.clone()),
            access_key_id: held.map(|h| h.credentials.access_key_id().to_owned()),
            expires: held.and_then(|h| h.credentials.expiry()),
            obtained: held.map(|h| h.obtained_at),
            refreshes: cache.refreshes,
            refresh_failures: cache.failures,
            last_error: cache.last_error,
            last_refusal: self.trials.lock().last_refusal.clone(),
            clock_offset_ms: self.clock.offset_ms(),
            region: self.region.now(),
            service: self.service.clone(),
        }
    }

    async fn sign(&self, request: &mut Request<Bytes>) -> Result<(), AuthorizeError> {
        let error = |what: String| AuthorizeError { what, source: None };
        let (region, _) = self.region.get().await.map_err(error)?;
        let now = self.clock.now();
        let held = self.cache.get(now).await.map_err(|e| AuthorizeError {
            what: format!("no AWS credentials for {}: {e}", self.destination),
            source: Some(Box::new(e)),
        })?;
        let scope = Scope {
            region: &region,
            service: &self.service,
            time: now,
        };
        signer::sign_request(request, &held.credentials, scope).map_err(error)
    }

    fn verdict(&self, answer: &Answer<'_>) -> IdentityVerdict {
        self.clock.observe(answer);
        let Some(error) = net::service_error::parse(answer.status, answer.headers, answer.body)
        else {
            let mut trials = self.trials.lock();
            trials.accepted_since = true;
            trials.last_refusal = None;
            return IdentityVerdict::Unrelated;
        };
        let Some(refusal) = verdict::classify(answer.status, &error) else {
            return IdentityVerdict::Unrelated;
        };
        let region = self.region.now().map_or_else(String::new, |(r, _)| r);
        let offset = self.clock.offset_ms();
        let who = self.describe();
        let said = verdict::said(answer.status, &error);
        let why = |what: String| format!("AWS said {said}; signed as {who}; {what}");
        let retry = |what: &str| IdentityVerdict::RetryNow {
            why: why(format!("{what}, trying again")),
        };
        let hold = || IdentityVerdict::Hold {
            why: why(verdict::advice(
                refusal,
                &error,
                &self.service,
                &region,
                offset,
            )),
        };

        let reclocked = self.clock.changed_since(answer.sent_at);
        let far_off = offset.is_some_and(|ms| ms.abs() > SKEW_MS);
        let outcome = match refusal {
            Refusal::Skewed if reclocked => retry("the clock's offset is now known"),
            Refusal::BadSignature | Refusal::Denied | Refusal::Expired if reclocked && far_off => {
                retry("the clock's offset is now known")
            }
            Refusal::Skewed | Refusal::Unsigned | Refusal::NotEnabled => hold(),
            Refusal::WrongRegion => match named_region(answer, &error.message) {
                // A redirect means another host, which signing cannot change.
                Some(right) if answer.status.is_client_error() && self.region.correct(&right) => {
                    retry(&format!("the bucket is in {right}"))
                }
                Some(right) => IdentityVerdict::Hold {
                    why: why(format!(
                        "the bucket is in {right}: set region: {right} and use https://s3.{right}.amazonaws.com"
                    )),
                },
                None => hold(),
            },
            Refusal::Denied => {
                // Policies change without new credentials; a session may carry old ones, so the next probe has new.
                self.try_refresh(answer);
                hold()
            }
            Refusal::Expired
            | Refusal::BadSignature
            | Refusal::UnknownKey
            | Refusal::Unexplained => {
                if self.try_refresh(answer) {
                    retry("credentials are fetched afresh")
                } else {
                    hold()
                }
            }
        };
        if let IdentityVerdict::Hold { why } = &outcome {
            self.trials.lock().last_refusal = Some(why.clone());
        }
        outcome
    }

    /// Throws the refused credentials away. True when signing again is worth an immediate try: newer credentials are there
    /// or on their way, and this is not the second refusal in a row.
    fn try_refresh(&self, answer: &Answer<'_>) -> bool {
        let (held, stale) = self.cache.held();
        let Some(held) = held else { return false };
        if held.obtained_at > answer.sent_at || stale {
            return true;
        }
        let mut trials = self.trials.lock();
        let worth = match trials.refreshed_at {
            None => true,
            Some(at) => {
                at.elapsed() >= NEW_TRIAL || (trials.accepted_since && at.elapsed() >= TRIAL_GAP)
            }
        };
        // Without a right to an immediate try the next slow probe still gets fresh credentials.
        self.cache.invalidate(held.fingerprint);
        if worth {
            trials.refreshed_at = Some(Instant::now());
            trials.accepted_since = false;
        }
        worth
    }
}

impl Authorize for Identity {
    fn authorize<'a>(
        &'a self,
        request: &'a mut Request<Bytes>,
    ) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(self.sign(request))
    }

    fn judge(&self, answer: &Answer<'_>) -> IdentityVerdict {
        self.verdict(answer)
    }

    fn describe(&self) -> String {
        let region = self
            .region
            .now()
            .map_or_else(|| "a region yet unknown".to_owned(), |(r, _)| r);
        match self.cache.held().0 {
            Some(held) => {
                let key = verdict::show_key(held.credentials.access_key_id());
                format!(
                    "{key} from {} for {} in {region}",
                    held.source, self.service
                )
            }
            None => format!("{} for {} in {region}", self.cache.describe(), self.service),
        }
    }
}

/// The region that S3's answer names.
fn named_region(answer: &Answer<'_>, message: &str) -> Option<String> {
    let header = answer
        .headers
        .get("x-amz-bucket-region")
        .and_then(|v| v.to_str().ok())
        .map(ToOwned::to_owned);
    let body = String::from_utf8_lossy(answer.body);
    let element = || {
        body.split_once("<Region>")?
            .1
            .split_once("</Region>")
            .map(|(region, _)| region.trim().to_owned())
    };
    let expected = || {
        message
            .split_once("expecting '")?
            .1
            .split_once('\'')
            .map(|(region, _)| region.to_owned())
    };
    header
        .or_else(element)
        .or_else(expected)
        .filter(|r| region::check("region", r).is_ok() && !r.is_empty())
}

/// Stable, so that CloudTrail shows one session per agent and destination: 2 to 64 of `[\w+=,.@-]`.
fn session_name(hostname: &str, destination: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let host = hostname.split('.').next().unwrap_or_default();
    format!("sigpost-{host}-{destination}")
        .chars()
        .map(allowed)
        .take(64)
        .collect()
}

fn warn_of_mismatch(config: &IdentityConfig, host: Option<&AwsHost>, destination: &str) {
    let (Some(configured), Some(named)) = (
        config.region.as_deref(),
        host.and_then(|h| h.region.as_deref()),
    ) else {
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

fn validate(config: &IdentityConfig) -> Result<(), AwsError> {
    let invalid = |key, why: &str| {
        Err(AwsError::Invalid {
            key,
            why: why.to_owned(),
        })
    };
    match &config.source {
        CredentialSource::Static {
            access_key,
            secret_key,
            session_token,
        } => {
            for (key, source) in [("access_key", access_key), ("secret_key", secret_key)] {
                if let SecretSource::Inline(text) = source
                    && text.expose().trim().is_empty()
                {
                    return invalid(key, "is empty; is the variable it comes from set?");
                }
            }
            if let (SecretSource::Inline(key), SecretSource::Inline(secret)) =
                (access_key, secret_key)
            {
                let is_id =
                    |t: &str| t.len() == 20 && (t.starts_with("AKIA") || t.starts_with("ASIA"));
                if !is_id(key.expose().trim()) && is_id(secret.expose().trim()) {
                    return invalid(
                        "secret_key",
                        "holds an access key id; access_key and secret_key are swapped",
                    );
                }
                if key.expose().trim().starts_with("ASIA") && session_token.is_none() {
                    tracing::warn!(
                        "an access key that begins with ASIA is temporary and needs session_token; AWS will refuse it without"
                    );
                }
            }
        }
        CredentialSource::RolesAnywhere(_) => {
            return Err(AwsError::Unsupported {
                what: "roles_anywhere is not in this version; use credential_process with aws_signing_helper, or static keys, profile, \
                       web_identity, container, instance_metadata"
                    .to_owned(),
            });
        }
        CredentialSource::WebIdentity {
            role_arn,
            session_name,
            ..
        } => {
            check_role("web_identity.role_arn", role_arn)?;
            check_session("web_identity.session_name", session_name.as_deref())?;
        }
        CredentialSource::StandardChain
        | CredentialSource::Profile { .. }
        | CredentialSource::Process { .. }
        | CredentialSource::Container { .. }
        | CredentialSource::InstanceMetadata { .. } => {}
    }
    for (at, role) in config.roles.iter().enumerate() {
        check_role("role_arn", &role.role_arn)?;
        check_session("session_name", role.session_name.as_deref())?;
        if role
            .external_id
            .as_ref()
            .is_some_and(|id| !(2..=1224).contains(&id.len()))
        {
            return invalid("external_id", "must have 2 to 1224 characters");
        }
        let hours = |h: u64| Duration::from_secs(h * 3600);
        if role
            .session_duration
            .is_some_and(|d| d < Duration::from_secs(900) || d > hours(12))
        {
            return invalid(
                "session_duration",
                "must be between 15m and 12h, and at most the role's maximum",
            );
        }
        if at > 0 && role.session_duration.is_some_and(|d| d > hours(1)) {
            return invalid(
                "session_duration",
                "a role assumed from a role lasts at most 1h",
            );
        }
        if role.session_tags.len() > 50 {
            return invalid("session_tags", "at most 50 tags");
        }
    }
    if let Some(region) = &config.sts.region {
        region::check("sts_region", region)?;
    }
    if config.sts.endpoint.is_some() && (config.sts.use_fips || config.sts.use_dualstack) {
        return invalid(
            "sts_endpoint",
            "cannot be combined with use_fips_sts_endpoint or use_dualstack: the endpoint's own name decides that",
        );
    }
    Ok(())
}

fn check_role(key: &'static str, arn: &str) -> Result<(), AwsError> {
    let parts: Vec<&str> = arn.trim().splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, role]
            if partition.starts_with("aws") && account.len() == 12 && role.starts_with("role/") =>
        {
            Ok(())
        }
        _ => Err(AwsError::Invalid {
            key,
            why: format!("{arn:?} is not a role's ARN; write arn:aws:iam::123456789012:role/name"),
        }),
    }
}

fn check_session(key: &'static str, name: Option<&str>) -> Result<(), AwsError> {
    let Some(name) = name else { return Ok(()) };
    let fine = (2..=64).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if fine {
        Ok(())
    } else {
        Err(AwsError::Invalid {
            key,
            why: "must be 2 to 64 letters, digits or _+=,.@-".to_owned(),
        })
    }
}

//! One resolved identity's source: fetches its credentials afresh, roles included.
//!
//! Caches nothing and retries nothing (the cache does). Keeps true: whatever the source, one fetch ends in bounded time and
//! its error says which source failed, why, and what to do.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use net::{Pem, Secret, SecretSource};

use crate::{
    CredentialSource, RoleStep, StsConfig,
    aside::{apart, aside},
    chain,
    connector::Connections,
    container,
    error::FetchError,
    explain::{CallerIdentity, CertificateSight, RoleCheck, SourceOutcome, Trail},
    fault::Fault,
    instance, metadata_place, process, profile,
    region::SigningRegion,
    roles_anywhere,
    shared_files::{ProfileChoice, Shared},
    sts::Sts,
    validate::is_swapped,
    verdict::{plain_id, show_key},
};

/// Longer than any source's own limits; a last resort.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Sources whose keys carry no expiry but may change where no file shows it are asked again after this, as the SDKs do.
const RECHECK: Duration = Duration::from_secs(15 * 60);

/// Beside the time of a command: STS for the roles on top, and starting it.
const GRACE: Duration = Duration::from_secs(5);
/// Metadata services that do not answer are given up by then.
const SILENT_SOURCE: Duration = Duration::from_secs(13);

/// Credentials and where they came from.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) credentials: Credentials,
    /// For people: `profile prod`, `environment (standard chain)`.
    pub(crate) source: String,
    /// For credentials without expiry: ask again after this.
    pub(crate) recheck: Option<Duration>,
}

/// Where an identity's credentials come from.
#[derive(Debug)]
pub(crate) struct Origin {
    source: CredentialSource,
    /// With the session name of each.
    roles: Vec<(RoleStep, String)>,
    sts: StsConfig,
    region: Arc<SigningRegion>,
    connections: Connections,
    session_name: String,
    /// A profile that it reads had a command when it was built.
    runs_command: bool,
}

impl Origin {
    pub(crate) fn new(
        source: CredentialSource,
        roles: Vec<(RoleStep, String)>,
        sts: StsConfig,
        region: Arc<SigningRegion>,
        connections: Connections,
        session_name: String,
        runs_command: bool,
    ) -> Self {
        Self { source, roles, sts, region, connections, session_name, runs_command }
    }

    /// Fetches once.
    pub(crate) async fn fetch(self: &Arc<Self>) -> Result<Fetched, FetchError> {
        self.fetch_by(&mut Trail::default()).await
    }

    /// Fetches once and notes on the way what was considered. In a task of its own: what this reads comes from others, through
    /// libraries of others, and a panic in there is this source's failure and nobody else's.
    pub(crate) async fn fetch_by(self: &Arc<Self>, trail: &mut Trail) -> Result<Fetched, FetchError> {
        let origin = Arc::clone(self);
        let work = async move {
            let mut trail = Trail::default();
            let fetched = tokio::time::timeout(TIMEOUT, origin.fetch_all(&mut trail)).await;
            (fetched, trail)
        };
        match apart(work).await {
            Some((fetched, noted)) => {
                *trail = noted;
                fetched.unwrap_or_else(|_| {
                    let what = format!("{}: no answer within {} s", self.describe(), TIMEOUT.as_secs());
                    Err(FetchError::failed(what))
                })
            }
            None => {
                let error = FetchError::failed(format!(
                    "{}: sigpost itself broke off while it read what this source gave (a panic, told on standard error); other \
                     destinations go on, and this source is asked again later; please report it with those words",
                    self.describe()
                ))
                .of(Fault::Broke);
                trail.note(self.base_label(), SourceOutcome::Failed, &error.message);
                Err(error)
            }
        }
    }

    async fn fetch_all(&self, trail: &mut Trail) -> Result<Fetched, FetchError> {
        let region = self.sts_region().await?;
        let shared = self.shared().await;
        let config = self.sts_config(&region, shared.as_ref()).map_err(FetchError::failed)?;
        let sts = Sts { region: &region, config: &config, connections: &self.connections };
        let base = self.base(&sts, shared.as_ref(), trail).await;
        if !matches!(self.source, CredentialSource::StandardChain) {
            match &base {
                Ok(fetched) => trail.note(&fetched.source, SourceOutcome::Taken, "the identity block names it"),
                Err(error) => trail.note(self.base_label(), SourceOutcome::Failed, &error.message),
            }
        }
        let mut fetched = base?;
        if is_swapped(fetched.credentials.access_key_id(), fetched.credentials.secret_access_key()) {
            // Neither is repeated here: the one that looks like an id is the secret's place, and the other way round.
            return Err(FetchError::failed(format!(
                "{}: access key id and secret key are swapped: where the secret key is expected there is an access key id",
                fetched.source
            )));
        }
        for (role, session_name) in &self.roles {
            let key_id = plain_id(fetched.credentials.access_key_id());
            let stale = process::stale(&fetched.credentials, SystemTime::now(), "this machine's clock");
            let assumed = sts.assume(role, session_name, fetched.credentials).await;
            let assumed = assumed.map_err(|e| match (stale, e.fault.as_deref()) {
                (Some(stale), Some(Fault::Refused(refused))) if refused.code == "ExpiredToken" => {
                    stale.told(|words| format!("{}: {}; {words}", fetched.source, e.message))
                }
                _ => e,
            });
            let error = assumed.as_ref().err().map(|e| e.message.clone());
            let (role_arn, session_name) = (role.role_arn.clone(), session_name.clone());
            trail.roles.push(RoleCheck { role_arn, session_name, key_id, error });
            fetched.credentials = assumed?;
            fetched.source = format!("role {} on {}", role.role_arn, fetched.source);
            fetched.recheck = None;
        }
        let secret = fetched.credentials.secret_access_key();
        if fetched.credentials.access_key_id().is_empty() || secret.is_empty() {
            return Err(FetchError::failed(format!("{}: the access key or the secret key is empty", fetched.source)));
        }
        let token = fetched.credentials.session_token().unwrap_or_default();
        for (name, value) in
            [("access key", fetched.credentials.access_key_id()), ("secret key", secret), ("session token", token)]
        {
            if !is_word(value) {
                return Err(FetchError::failed(format!(
                    "{}: the {name} has a blank or a line break inside; it is one word",
                    fetched.source
                )));
            }
        }
        Ok(fetched)
    }

    /// The shared files, read once for one piece of work; `None` where this source reads none.
    async fn shared(&self) -> Option<Shared> {
        match &self.source {
            CredentialSource::Profile { .. } | CredentialSource::StandardChain => {
                Some(Shared::read(ProfileChoice::active(&self.source)).await)
            }
            // Its address may stand in the profile that the environment names.
            CredentialSource::InstanceMetadata { endpoint: None } => Some(Shared::read(ProfileChoice::default()).await),
            _ => None,
        }
    }

    async fn base(&self, sts: &Sts<'_>, shared: Option<&Shared>, trail: &mut Trail) -> Result<Fetched, FetchError> {
        let unread = || FetchError::failed("the shared files were not read");
        let mut recheck = None;
        let mut label = None;
        let credentials = match &self.source {
            CredentialSource::Static { access_key, secret_key, session_token } => {
                let read = async |source: &SecretSource, key: &'static str| {
                    let failed = match source.load().await {
                        Ok(secret) => return Ok(secret),
                        Err(failed) => failed,
                    };
                    let error = FetchError::failed(format!("static keys: {key}: {failed}"));
                    let SecretSource::File(path) = source else { return Err(error) };
                    if failed.kind() == std::io::ErrorKind::InvalidData {
                        let path = path.clone();
                        if let Ok(Some(told)) = aside(move || no_text(&path, key)).await {
                            return Err(told);
                        }
                    }
                    Err(error.of(Fault::FileUnreadable(path.clone())))
                };
                let key = read(access_key, "access_key").await?;
                let secret = read(secret_key, "secret_key").await?;
                let token = match session_token {
                    Some(token) => Some((token, read(token, "session_token").await?)),
                    None => None,
                };
                for (source, value, name) in [(access_key, &key, "access_key"), (secret_key, &secret, "secret_key")]
                    .into_iter()
                    .chain(token.as_ref().map(|(source, value)| (*source, value, "session_token")))
                {
                    check_word(source, value, name)?;
                }
                let token = token.map(|(_, t)| t.expose().trim().to_owned()).filter(|t| !t.is_empty());
                Credentials::new(key.expose().trim(), secret.expose().trim(), token, None, "static keys")
            }
            CredentialSource::Profile { .. } => {
                recheck = Some(RECHECK);
                profile::fetch(shared.ok_or_else(unread)?, sts, &self.session_name, trail).await?
            }
            CredentialSource::StandardChain => {
                let shared = shared.ok_or_else(unread)?;
                let (credentials, place) = chain::standard(sts, shared, &self.session_name, trail).await?;
                label = Some(format!("{place} (standard chain)"));
                recheck = Some(RECHECK);
                credentials
            }
            CredentialSource::Process { command } => {
                let command = command.load().await;
                let command = command.map_err(|e| FetchError::failed(format!("credential_process: {e}")))?;
                process::run(command.expose(), process::TIMEOUT).await?
            }
            CredentialSource::WebIdentity { role_arn, token_file, session_name } => {
                let session = session_name.as_deref().unwrap_or(&self.session_name);
                sts.web_identity(role_arn, session, token_file).await?
            }
            CredentialSource::Container { endpoint, token_file } => {
                container::fetch_with_hint(endpoint.as_ref(), token_file.as_deref(), &self.connections).await?
            }
            CredentialSource::InstanceMetadata { endpoint } => {
                let endpoint = match (endpoint, shared) {
                    (Some(url), _) => url.clone(),
                    (None, shared) => metadata_place::endpoint(None, shared.ok_or_else(unread)?)
                        .map_err(|e| e.told(|words| format!("instance metadata: {words}")))?,
                };
                instance::fetch_with_hint(&instance::client(&self.connections, &endpoint)?).await?
            }
            CredentialSource::RolesAnywhere(config) => {
                roles_anywhere::fetch(config, &self.sts, &self.connections).await?
            }
        };
        Ok(Fetched { credentials, source: label.unwrap_or_else(|| self.fetched_label()), recheck })
    }

    /// Roles Anywhere's certificates; none where they cannot be read, which the fetch has told.
    pub(crate) async fn certificates(&self) -> Vec<CertificateSight> {
        let CredentialSource::RolesAnywhere(config) = &self.source else { return Vec::new() };
        let config = config.clone();
        aside(move || roles_anywhere::sights(&config)).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The longest that a fetch and its roles take, as those who wait for a person see it.
    pub(crate) fn patience(&self) -> Duration {
        let runs_command = matches!(self.source, CredentialSource::Process { .. }) || self.runs_command;
        if runs_command { process::TIMEOUT + GRACE } else { SILENT_SOURCE }
    }

    /// The role that the credentials are of, where this identity assumes one.
    pub(crate) fn role_arn(&self) -> Option<String> {
        let base = match &self.source {
            CredentialSource::WebIdentity { role_arn, .. } => Some(role_arn),
            CredentialSource::RolesAnywhere(config) => Some(&config.role_arn),
            _ => None,
        };
        self.roles.last().map(|(role, _)| &role.role_arn).or(base).cloned()
    }

    /// What the environment offers and this identity leaves alone, because its block names a source.
    pub(crate) fn left_alone(&self) -> Vec<(String, String)> {
        if matches!(self.source, CredentialSource::StandardChain) {
            return Vec::new();
        }
        let named = self.base_label();
        [
            ("environment", "AWS_ACCESS_KEY_ID"),
            ("shared files", "AWS_PROFILE"),
            ("web identity", "AWS_WEB_IDENTITY_TOKEN_FILE"),
            ("container", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
            ("container", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ]
        .into_iter()
        .filter(|(_, variable)| std::env::var_os(variable).is_some_and(|v| !v.is_empty()))
        .map(|(place, variable)| {
            (
                place.to_owned(),
                format!("{variable} is set, but the identity block names {named}, and then nothing else is asked"),
            )
        })
        .collect()
    }

    /// The endpoint that roles are assumed at, if this identity asks STS for anything. `asked`: a profile or the chain did.
    pub(crate) async fn sts_endpoint(&self, asked: bool) -> Option<String> {
        let asks = asked || !self.roles.is_empty() || matches!(self.source, CredentialSource::WebIdentity { .. });
        let region = self.sts_region().await.ok().filter(|_| asks)?;
        let config = self.sts_config(&region, self.shared().await.as_ref()).ok()?;
        let sts = Sts { region: &region, config: &config, connections: &self.connections };
        sts.endpoint().ok().map(|url| net::masked(&url))
    }

    /// STS's endpoint, in `region` where nothing else names STS's.
    pub(crate) fn sts_url(&self, region: &str) -> Result<url::Url, FetchError> {
        let region = self.sts.region.clone().unwrap_or_else(|| region.to_owned());
        Sts { region: &region, config: &self.sts, connections: &self.connections }.endpoint()
    }

    /// Asks STS who `credentials` are; `region` where nothing else names STS's.
    pub(crate) async fn caller_identity(
        &self,
        credentials: &Credentials,
        region: &str,
        now: SystemTime,
    ) -> Result<CallerIdentity, FetchError> {
        let region = self.sts.region.clone().unwrap_or_else(|| region.to_owned());
        let config = self.sts_config(&region, self.shared().await.as_ref()).map_err(FetchError::failed)?;
        Sts { region: &region, config: &config, connections: &self.connections }.caller(credentials, now).await
    }

    /// Where STS is: as the block says, else as the environment, else as the profile that the credentials come from.
    fn sts_config(&self, region: &str, shared: Option<&Shared>) -> Result<StsConfig, String> {
        let of_profile = shared.filter(|_| ProfileChoice::of(&self.source).is_some());
        let named = Sts { region, config: &self.sts, connections: &self.connections }.named_endpoint().is_some();
        match of_profile {
            Some(shared) if !named && !crate::sts::ignores_endpoints() => {
                Ok(StsConfig { endpoint: shared.sts_endpoint()?, ..self.sts.clone() })
            }
            _ => Ok(self.sts.clone()),
        }
    }

    /// The region that STS is asked in; empty where nothing is asked of STS.
    async fn sts_region(&self) -> Result<String, FetchError> {
        if let Some(region) = &self.sts.region {
            return Ok(region.clone());
        }
        let needed = !self.roles.is_empty() || matches!(self.source, CredentialSource::WebIdentity { .. });
        match self.region.known() {
            Some((region, _)) => Ok(region.clone()),
            // Only now is the metadata service worth the wait.
            None if needed => self.region.get().await.map(|(region, _)| region).map_err(FetchError::failed),
            None => Ok(String::new()),
        }
    }

    /// The files whose change means other credentials.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let secret = |source: &SecretSource| match source {
            SecretSource::File(path) => Some(path.clone()),
            SecretSource::Inline(_) | SecretSource::Stored(_) => None,
        };
        match &self.source {
            CredentialSource::Static { access_key, secret_key, session_token } => {
                [Some(access_key), Some(secret_key), session_token.as_ref()]
                    .into_iter()
                    .flatten()
                    .filter_map(secret)
                    .collect()
            }
            CredentialSource::Profile { .. } | CredentialSource::StandardChain => {
                ProfileChoice::active(&self.source).paths()
            }
            CredentialSource::RolesAnywhere(config) => {
                [Some(&config.certificate), Some(&config.private_key), config.certificate_chain.as_ref()]
                    .into_iter()
                    .flatten()
                    .filter_map(|pem| match pem {
                        Pem::File(path) => Some(path.clone()),
                        Pem::Inline(_) | Pem::Stored(_) => None,
                    })
                    .collect()
            }
            // Their tokens are exchanged, not used: a new token does not end what the old one bought.
            _ => Vec::new(),
        }
    }

    /// Changes when something that this source reads from a secret store does.
    pub(crate) fn stored_version(&self) -> u64 {
        let of = |source: &SecretSource| match source {
            SecretSource::Stored(stored) => stored.version(),
            SecretSource::Inline(_) | SecretSource::File(_) => 0,
        };
        match &self.source {
            CredentialSource::Static { access_key, secret_key, session_token } => {
                of(access_key) + of(secret_key) + session_token.as_ref().map_or(0, of)
            }
            CredentialSource::Process { command } => of(command),
            CredentialSource::RolesAnywhere(config) => {
                [Some(&config.certificate), Some(&config.private_key), config.certificate_chain.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(|pem| if let Pem::Stored(stored) = pem { stored.version() } else { 0 })
                    .sum()
            }
            _ => 0,
        }
    }

    /// AWS refused what this gave: what it reads from a secret store may be another there by now.
    pub(crate) fn doubt(&self) {
        match &self.source {
            CredentialSource::Static { access_key, secret_key, session_token } => {
                [Some(access_key), Some(secret_key), session_token.as_ref()]
                    .into_iter()
                    .flatten()
                    .for_each(SecretSource::doubt);
            }
            CredentialSource::Process { command } => command.doubt(),
            _ => {}
        }
    }

    /// The source for people, before it was asked.
    pub(crate) fn describe(&self) -> String {
        self.roles.iter().fold(self.base_label(), |base, (role, _)| format!("role {} on {base}", role.role_arn))
    }

    /// The source for people, beside the key id that it gave: inline keys are that key id, and it is said once.
    fn fetched_label(&self) -> String {
        match &self.source {
            CredentialSource::Static { access_key: SecretSource::Inline(_), .. } if self.roles.is_empty() => {
                "static keys".to_owned()
            }
            _ => self.base_label(),
        }
    }

    /// What a person does when AWS calls these credentials expired and a new fetch gave none other.
    pub(crate) fn advice_when_expired(&self) -> String {
        const RENEWING: &str =
            "a source that renews itself (a role of the machine, web_identity, roles_anywhere, credential_process)";
        if let Some((role, _)) = self.roles.last() {
            return format!(
                "the session of role {} ended and a fresh one was refused too: look at the keys it is assumed with, and at this machine's clock",
                role.role_arn
            );
        }
        match &self.source {
            CredentialSource::Static { .. } => {
                let files = self.files();
                let renew = if files.is_empty() {
                    "get new temporary keys, write access_key, secret_key and session_token into the configuration and reload it".to_owned()
                } else {
                    let paths: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
                    format!(
                        "renew access_key, secret_key and session_token together (in {}, which are read again when they change)",
                        paths.join(", ")
                    )
                };
                format!("static keys with a session token end and nothing renews them: {renew}; or use {RENEWING}")
            }
            CredentialSource::Profile { .. } => {
                let files: Vec<String> = self.files().iter().map(|path| path.display().to_string()).collect();
                format!(
                    "{} gives the same keys again: renew what writes it ({}; read again when they change), or name a profile with a role or a \
                     credential_process",
                    self.base_label(),
                    files.join(", ")
                )
            }
            CredentialSource::StandardChain => format!(
                "the standard chain gives the same keys again: renew the place named above (shared files are read again when they change, the \
                 environment only at a restart), or use {RENEWING}"
            ),
            CredentialSource::Process { .. } => {
                "the command of credential_process printed the same keys again: run it by hand and see why it does not renew them".to_owned()
            }
            CredentialSource::WebIdentity { .. } | CredentialSource::RolesAnywhere(_) => {
                "a fresh exchange gave no others: look at this machine's clock and at the role's session duration".to_owned()
            }
            CredentialSource::Container { .. } | CredentialSource::InstanceMetadata { .. } => format!(
                "{} gives the same keys again: it renews them by itself before they end, so look at the service behind it and at this machine's \
                 clock",
                self.base_label()
            ),
        }
    }

    fn base_label(&self) -> String {
        match &self.source {
            CredentialSource::StandardChain => "standard chain".to_owned(),
            CredentialSource::Static { access_key: SecretSource::File(path), .. } => {
                format!("static keys from {}", path.display())
            }
            CredentialSource::Static { access_key: SecretSource::Stored(stored), .. } => {
                format!("static keys from {}", stored.reference())
            }
            CredentialSource::Static { access_key: SecretSource::Inline(key), .. } => {
                format!("static keys ({})", show_key(key.expose()))
            }
            CredentialSource::Profile { name, .. } => {
                format!("profile {}", ProfileChoice { name: name.clone(), ..ProfileChoice::default() }.name())
            }
            CredentialSource::Process { .. } => "credential_process".to_owned(),
            CredentialSource::WebIdentity { role_arn, .. } => format!("web identity {role_arn}"),
            CredentialSource::Container { .. } => "container endpoint".to_owned(),
            CredentialSource::InstanceMetadata { .. } => "instance metadata".to_owned(),
            CredentialSource::RolesAnywhere(config) => {
                format!("Roles Anywhere {}", config.role_arn)
            }
        }
    }
}

/// A file of a key that is no text at all: what it is instead, where that can be seen.
fn no_text(path: &Path, key: &str) -> Option<FetchError> {
    let bytes = net::read_small(path, net::SECRET_LIMIT).ok()?;
    std::str::from_utf8(&bytes).err()?;
    // A sequence of ASN.1, as every key and certificate in DER begins.
    let what = match bytes.as_slice() {
        [0x30, 0x80..=0x84, ..] => {
            "is DER (a certificate, or a private key): is it the file of another key of the configuration?"
        }
        _ => "is binary and no text; write the key alone into it, as text",
    };
    Some(FetchError::failed(format!("static keys: {key}: the file {} {what}", path.display())))
}

fn is_word(value: &str) -> bool {
    !value.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Keys are one word each; a file of two lines would sign with both, and AWS would call the secret wrong.
fn check_word(source: &SecretSource, value: &Secret, key: &str) -> Result<(), FetchError> {
    let place = match source {
        SecretSource::Inline(_) => "what the configuration gives".to_owned(),
        SecretSource::File(path) => format!("the file {}", path.display()),
        SecretSource::Stored(stored) => format!("the secret {}", stored.reference()),
    };
    let text = value.expose().trim();
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let what = match (text.is_empty(), is_word(text), lines) {
        // Long-lived keys have no token.
        (true, ..) if key == "session_token" => return Ok(()),
        (true, ..) => format!("{place} is empty; write the key into it"),
        _ if text.starts_with('{') => {
            format!("{place} holds a document; refer to the key in it by #NAME, or write the key alone")
        }
        _ if text.starts_with(['\u{feff}', '"', '\'']) => {
            format!("{place} begins with a quote or a byte order mark; write the key alone into it")
        }
        (_, true, _) => return Ok(()),
        (_, false, 0 | 1) => format!("{place} has a blank inside; a key is one word"),
        (_, false, _) => {
            format!(
                "{place} has {lines} lines; write the key alone into it, without a name before it or anything after it"
            )
        }
    };
    Err(FetchError::failed(format!("static keys: {key}: {what}")))
}

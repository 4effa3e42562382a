//! The standard chain, with our own profiles and container source in it; and which profile is meant, in which files.
//!
//! Caches nothing. Keeps true: a source that exists and fails ends the search; environment keys never win over a profile that
//! was asked for.

use std::{error::Error, path::PathBuf};

use aws_config::provider_config::ProviderConfig;
use aws_credential_types::{Credentials, provider::error::CredentialsError};
use aws_smithy_types::error::ErrorMetadata;

use url::Url;

use crate::{
    CredentialSource, container, environment,
    error::FetchError,
    explain::{SourceOutcome, Trail},
    fault::{Asked, Fault, Refused},
    instance, profile,
    profile_file::{Profiles, SharedFile},
    sts::Sts,
    words::printable,
};

/// Which profile, and in which files.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProfileChoice {
    pub(crate) name: Option<String>,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) credentials_file: Option<PathBuf>,
}

impl ProfileChoice {
    /// The paths that are read, for noticing changes.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.places().into_iter().flatten().collect()
    }

    /// The config file, and the credentials file.
    fn places(&self) -> [Option<PathBuf>; 2] {
        let default = |variable: &str, name: &str| {
            std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from).or_else(|| {
                let home = std::env::var_os("HOME").filter(|v| !v.is_empty())?;
                Some(PathBuf::from(home).join(".aws").join(name))
            })
        };
        let config = self.config_file.clone().or_else(|| default("AWS_CONFIG_FILE", "config"));
        let credentials =
            self.credentials_file.clone().or_else(|| default("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
        [config, credentials]
    }

    /// The name in effect.
    pub(crate) fn name(&self) -> String {
        self.name
            .clone()
            .or_else(|| std::env::var("AWS_PROFILE").ok().filter(|v| !v.trim().is_empty()))
            .unwrap_or_else(|| "default".to_owned())
    }

    /// Somebody named the profile, here or in `AWS_PROFILE`: then it has to be there.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.name.is_some() || std::env::var("AWS_PROFILE").is_ok_and(|v| !v.trim().is_empty())
    }

    /// The files in the order in which later ones win.
    pub(crate) fn shared_files(&self) -> Vec<SharedFile> {
        // What a variable names may be for other tools: only our own configuration insists.
        let kinds = [(true, self.config_file.is_some()), (false, self.credentials_file.is_some())];
        let file =
            |(path, (is_config, is_named)): (Option<PathBuf>, _)| Some(SharedFile { path: path?, is_config, is_named });
        self.places().into_iter().zip(kinds).filter_map(file).collect()
    }

    /// Where the profile wants STS to be asked, read now. The error is an address that is none.
    pub(crate) fn sts_endpoint(&self) -> Result<Option<Url>, String> {
        // Files that cannot be read are told by whoever needs credentials of them.
        let Ok(profiles) = Profiles::read(&self.shared_files()) else { return Ok(None) };
        let name = self.name();
        let Some(text) = profiles.sts_endpoint(&name) else { return Ok(None) };
        match Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            Some(url) => Ok(Some(url)),
            None => Err(format!(
                "the endpoint_url of profile {name} (or of its services section) for STS is not a URL: write it as \
                 https://HOST, or set sts_endpoint"
            )),
        }
    }

    /// The profile's `region`, read now. Nothing where the files cannot be read: whoever needs credentials of them says why.
    pub(crate) fn region(&self) -> Option<String> {
        self.value("region")
    }

    /// The profile wants requests dated by this machine's clock, read now.
    pub(crate) fn disables_clock_correction(&self) -> bool {
        self.value("disable_clock_skew_correction").is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }

    /// The profile, or one that it leads to, gets its credentials from a command. Read now.
    pub(crate) fn runs_command(&self) -> bool {
        Profiles::read(&self.shared_files()).is_ok_and(|profiles| profiles.any_has("credential_process"))
    }

    fn value(&self, key: &str) -> Option<String> {
        let profiles = Profiles::read(&self.shared_files()).ok()?;
        let value = profiles.get(&self.name())?.get(key)?.trim().to_owned();
        Some(value).filter(|v| !v.is_empty())
    }

    /// The profile that a source reads, if it reads one.
    pub(crate) fn of(source: &CredentialSource) -> Option<Self> {
        match source {
            CredentialSource::Profile { name, config_file, credentials_file } => Some(Self {
                name: name.clone(),
                config_file: config_file.clone(),
                credentials_file: credentials_file.clone(),
            }),
            CredentialSource::StandardChain => Some(Self::default()),
            _ => None,
        }
    }
}

/// Which profile an identity reads, and in which files; for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfilePlace {
    /// The name in effect: the block's, else `AWS_PROFILE`'s, else `default`.
    pub name: String,
    /// `None`: there is no home directory to look in.
    pub config_file: Option<PathBuf>,
    pub credentials_file: Option<PathBuf>,
}

impl ProfilePlace {
    /// Of identities that read profiles: those that name one, and the standard chain.
    pub fn of(source: &CredentialSource) -> Option<Self> {
        let choice = ProfileChoice::of(source)?;
        let [config_file, credentials_file] = choice.places();
        Some(Self { name: choice.name(), config_file, credentials_file })
    }
}

/// Configuration of aws-config's own providers.
pub(crate) fn provider_config(sts: &Sts<'_>) -> ProviderConfig {
    ProviderConfig::without_region()
        .with_region(Some(aws_config::Region::new(sts.region.to_owned())).filter(|_| !sts.region.is_empty()))
        .with_use_fips(sts.config.use_fips.then_some(true))
        .with_use_dual_stack(sts.config.use_dualstack.then_some(true))
        .with_behavior_version(Some(aws_config::BehaviorVersion::v2026_01_12()))
        .with_time_source(aws_smithy_async::time::SystemTimeSource::new())
        .with_sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
        .with_http_client(sts.connections.clone())
}

/// The standard chain: environment, shared files, web identity, container, instance metadata. A source that is absent
/// passes on; one that exists and fails ends the search, as in the SDKs. Also tells which one answered.
pub(crate) async fn standard(
    sts: &Sts<'_>,
    imds: &aws_config::imds::Client,
    session_name: &str,
    trail: &mut Trail,
) -> Result<(Credentials, &'static str), FetchError> {
    const PLACES: [&str; 5] = ["environment", "shared files", "web identity", "container", "instance metadata"];
    let mut tried = Vec::new();
    let mut half = None;
    for (at, place) in PLACES.into_iter().enumerate() {
        let result = match place {
            "environment" => environment::fetch(),
            "shared files" => profile::fetch(&ProfileChoice::default(), sts, session_name, trail).await,
            "web identity" => web_identity(sts, session_name).await,
            "container" => container::fetch(None, None, sts.connections).await,
            _ => instance::fetch(imds).await,
        };
        match result {
            Ok(credentials) => {
                trail.note(place, SourceOutcome::Taken, "the first place of the standard chain that has credentials");
                for later in PLACES.into_iter().skip(at + 1) {
                    trail.note(later, SourceOutcome::NotAsked, format!("{place} comes first in the standard chain"));
                }
                return Ok((credentials, place));
            }
            Err(e) if e.absent => {
                trail.note(place, SourceOutcome::Absent, &e.message);
                tried.push(format!("{place}: {}", e.message));
                half = half.or(e.fault.filter(|fault| matches!(**fault, Fault::EnvironmentHalf { .. })));
            }
            Err(e) => {
                trail.note(place, SourceOutcome::Failed, &e.message);
                for later in PLACES.into_iter().skip(at + 1) {
                    trail.note(
                        later,
                        SourceOutcome::NotAsked,
                        format!("{place} is set up and failed, which ends the search"),
                    );
                }
                return Err(e.told(|words| format!("{place}: {words}")));
            }
        }
    }
    Err(FetchError::absent(format!(
        "no AWS credentials found; looked at {}. Give access_key and secret_key, a profile, or run where a role is attached",
        tried.join("; ")
    ))
    .of(half.map_or(Fault::Nowhere, |fault| *fault)))
}

/// IRSA as the environment describes it. Our own, because aws-config names sessions after the clock, and a missing token file
/// not at all.
async fn web_identity(sts: &Sts<'_>, session_name: &str) -> Result<Credentials, FetchError> {
    let variable = |name: &str| std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let Some(token_file) = variable("AWS_WEB_IDENTITY_TOKEN_FILE") else {
        return Err(FetchError::absent("AWS_WEB_IDENTITY_TOKEN_FILE is not set"));
    };
    let Some(role_arn) = variable("AWS_ROLE_ARN") else {
        return Err(FetchError::failed("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not; set both")
            .of(Fault::EnvironmentHalf { missing: "AWS_ROLE_ARN" }));
    };
    if sts.region.is_empty() && sts.named_endpoint().is_none() {
        return Err(FetchError::failed("no region to ask STS in; set sts_region, or AWS_REGION"));
    }
    let session = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| session_name.to_owned());
    sts.web_identity(&role_arn, &session, token_file.as_ref()).await
}

/// An aws-config error as one line: its own `Display` says nothing, its `Debug` is a page. Its kind, where a service answered, is
/// that service's own code and words.
pub(crate) fn explain(error: &CredentialsError) -> FetchError {
    let mut parts: Vec<String> = Vec::new();
    let mut refused: Option<Refused> = None;
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    let mut is_unanswered = false;
    while let Some(e) = next {
        let mut text = e.to_string();
        // An unmodelled STS error names its code in `Display` and its message only in `Debug` metadata.
        if let Some(meta) = e.downcast_ref::<ErrorMetadata>() {
            text = [meta.code(), meta.message()].into_iter().flatten().collect::<Vec<_>>().join(": ");
            if let Some(code) = meta.code() {
                refused = Some(Refused::new(Asked::Sts, code, meta.message().unwrap_or_default()));
            }
        } else if refused.is_none()
            && let Some((code, message)) = modelled(&text)
        {
            refused = Some(Refused::new(Asked::Sts, code, message));
        }
        is_unanswered |= e.is::<aws_smithy_runtime_api::client::result::ConnectorError>() || e.is::<net::NetError>();
        // The SDK's own words where there is no answer.
        is_unanswered |= text == "dispatch failure" || text == "request has timed out";
        // Words of the SDK about itself.
        let is_about_itself = text == "service error" || text.starts_with("unhandled error (");
        // Wrappers repeat what they wrap.
        if !is_about_itself && !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
        next = e.source();
        if parts.len() == 12 {
            break;
        }
    }
    if parts.is_empty() {
        parts.push(error.to_string());
    }
    let fault = match refused {
        Some(refused) => Some(Fault::Refused(refused)),
        None => is_unanswered.then_some(Fault::Unreached(Asked::Sts)),
    };
    FetchError {
        message: printable(&parts.join(": "), 800),
        absent: matches!(error, CredentialsError::CredentialsNotLoaded(_)),
        fault: fault.map(Box::new),
    }
}

/// Code and words of an error that the SDK has a type for, which shows itself as `RegionDisabledException: words`.
fn modelled(text: &str) -> Option<(&str, &str)> {
    let (code, message) = text.split_once(": ").unwrap_or((text, ""));
    (code.ends_with("Exception") && code.bytes().all(|b| b.is_ascii_alphanumeric())).then_some((code, message))
}

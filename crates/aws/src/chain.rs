//! Sources that aws-config knows: profiles, and the standard chain (with our own container source in it).
//!
//! Caches nothing: profile files are parsed at each call, because aws-config parses them once for the life of a provider.
//! Keeps true: a profile that is asked for is the only thing looked at; environment keys never win over it.

#![allow(deprecated, reason = "aws-config's builders take this type; its new home is a crate we do not depend on")]

use std::{error::Error, path::PathBuf};

use aws_config::{
    environment::EnvironmentVariableCredentialsProvider,
    imds::credentials::ImdsCredentialsProvider,
    profile::{
        ProfileFileCredentialsProvider,
        profile_file::{ProfileFileKind, ProfileFiles},
    },
    provider_config::ProviderConfig,
    web_identity_token::WebIdentityTokenCredentialsProvider,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError},
};

use crate::{
    container,
    error::FetchError,
    explain::{SourceOutcome, Trail},
    sts::Sts,
};

/// Which profile, and in which files.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProfileChoice {
    pub(crate) name: Option<String>,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) credentials_file: Option<PathBuf>,
}

impl ProfileChoice {
    /// The files as aws-config wants them: a named file replaces its default, the other default stays.
    pub(crate) fn files(&self) -> ProfileFiles {
        let mut builder = ProfileFiles::builder();
        builder = match &self.config_file {
            Some(path) => builder.with_file(ProfileFileKind::Config, path),
            None => builder.include_default_config_file(true),
        };
        builder = match &self.credentials_file {
            Some(path) => builder.with_file(ProfileFileKind::Credentials, path),
            None => builder.include_default_credentials_file(true),
        };
        builder.build()
    }

    /// The paths that are read, for noticing changes.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let default = |variable: &str, name: &str| {
            std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from).or_else(|| {
                let home = std::env::var_os("HOME").filter(|v| !v.is_empty())?;
                Some(PathBuf::from(home).join(".aws").join(name))
            })
        };
        let config = self.config_file.clone().or_else(|| default("AWS_CONFIG_FILE", "config"));
        let credentials =
            self.credentials_file.clone().or_else(|| default("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
        [config, credentials].into_iter().flatten().collect()
    }

    /// The name in effect.
    pub(crate) fn name(&self) -> String {
        self.name
            .clone()
            .or_else(|| std::env::var("AWS_PROFILE").ok().filter(|v| !v.trim().is_empty()))
            .unwrap_or_else(|| "default".to_owned())
    }

    /// Credentials of that profile: keys, role chains, `credential_source`, `credential_process`.
    pub(crate) async fn fetch(&self, sts: &Sts<'_>) -> Result<Credentials, FetchError> {
        let mut builder =
            ProfileFileCredentialsProvider::builder().configure(&provider_config(sts)).profile_files(self.files());
        if let Some(name) = &self.name {
            builder = builder.profile_name(name);
        }
        builder.build().provide_credentials().await.map_err(|e| {
            let FetchError { message, absent } = explain(&e);
            let files: Vec<String> = self.paths().iter().map(|p| p.display().to_string()).collect();
            FetchError {
                message: format!("profile {} ({}): {message}{}", self.name(), files.join(", "), profile_hint(&message)),
                absent,
            }
        })
    }

    /// The profile's `region`, read now without waiting for anything but the files.
    pub(crate) fn region(&self, sts: &Sts<'_>) -> Option<String> {
        use aws_config::meta::region::ProvideRegion;
        let mut builder = aws_config::profile::region::ProfileFileRegionProvider::builder()
            .configure(&provider_config(sts))
            .profile_files(self.files());
        if let Some(name) = &self.name {
            builder = builder.profile_name(name);
        }
        let provider = builder.build();
        // Reading files is all it does, and aws-config reads them without yielding.
        let region = futures_util::FutureExt::now_or_never(provider.region()).flatten()?;
        Some(region.as_ref().trim().to_owned()).filter(|r| !r.is_empty())
    }
}

fn profile_hint(message: &str) -> &'static str {
    if message.contains("sso") || message.contains("credentials-login") || message.contains("login_session") {
        "; a profile with a human login (SSO) cannot be used by an agent: use a role of the machine (instance_metadata, web_identity, \
         container), roles_anywhere, or keys"
    } else if message.contains("was not defined") {
        "; name an existing profile, or set shared_config_file and shared_credentials_file"
    } else if message.contains("could not parse profile file") {
        "; each line must be [section], key = value, or begin with #"
    } else {
        ""
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
    trail: &mut Trail,
) -> Result<(Credentials, &'static str), FetchError> {
    const PLACES: [&str; 5] = ["environment", "shared files", "web identity", "container", "instance metadata"];
    let config = provider_config(sts);
    let mut tried = Vec::new();
    for (at, place) in PLACES.into_iter().enumerate() {
        let result = match place {
            "environment" => {
                EnvironmentVariableCredentialsProvider::new().provide_credentials().await.map_err(|e| explain(&e))
            }
            "shared files" => ProfileChoice::default().fetch(sts).await,
            "web identity" => {
                let provider = WebIdentityTokenCredentialsProvider::builder().configure(&config).build();
                provider.provide_credentials().await.map_err(|e| web_identity_path(explain(&e)))
            }
            "container" => container::fetch(None, None, sts.connections).await,
            _ => {
                let provider = ImdsCredentialsProvider::builder().configure(&config).imds_client(imds.clone()).build();
                provider.provide_credentials().await.map_err(|e| explain(&e))
            }
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
                return Err(FetchError::failed(format!("{place}: {}", e.message)));
            }
        }
    }
    Err(FetchError::absent(format!(
        "no AWS credentials found; looked at {}. Give access_key and secret_key, a profile, or run where a role is attached",
        tried.join("; ")
    )))
}

/// aws-config says "No such file" without saying which.
fn web_identity_path(e: FetchError) -> FetchError {
    match std::env::var("AWS_WEB_IDENTITY_TOKEN_FILE") {
        Ok(path) if !e.absent => FetchError::failed(format!("token file {path}: {}", e.message)),
        _ => e,
    }
}

/// An aws-config error as one line: its own `Display` says nothing, its `Debug` is a page.
pub(crate) fn explain(error: &CredentialsError) -> FetchError {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(e) = next {
        let mut text = e.to_string();
        // An unmodelled STS error names its code in `Display` and its message only in `Debug` metadata.
        if let Some(meta) = e.downcast_ref::<aws_smithy_types::error::ErrorMetadata>() {
            text = [meta.code(), meta.message()].into_iter().flatten().collect::<Vec<_>>().join(": ");
        }
        // Wrappers repeat what they wrap.
        if !parts.iter().any(|p| p.contains(&text)) {
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
    let text: String = parts.join(": ").split_whitespace().collect::<Vec<_>>().join(" ");
    FetchError {
        message: text.chars().take(800).collect(),
        absent: matches!(error, CredentialsError::CredentialsNotLoaded(_)),
    }
}

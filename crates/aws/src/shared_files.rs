//! Which profile is meant, in which files, and what these say; read once for all who ask in one piece of work.
//!
//! Keeps nothing beyond that piece of work: a changed file is seen by the next one. Keeps true: a start, a fetch and an
//! explanation read each file once, so that a disk that hangs costs them its limit once.

use std::path::PathBuf;

use url::Url;

use crate::{
    CredentialSource,
    aside::aside,
    error::FetchError,
    fault::Fault,
    profile,
    profile_file::{Profiles, SharedFile},
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
    fn shared_files(&self) -> Vec<SharedFile> {
        // What a variable names may be for other tools: only our own configuration insists.
        let kinds = [(true, self.config_file.is_some()), (false, self.credentials_file.is_some())];
        let file =
            |(path, (is_config, is_named)): (Option<PathBuf>, _)| Some(SharedFile { path: path?, is_config, is_named });
        self.places().into_iter().zip(kinds).filter_map(file).collect()
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

    /// The profile whose settings are in effect beside the credentials: the source's own, else that of the environment.
    pub(crate) fn active(source: &CredentialSource) -> Self {
        Self::of(source).unwrap_or_default()
    }
}

/// The shared files as they were at one moment.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) choice: ProfileChoice,
    read: Result<Profiles, FetchError>,
}

impl Shared {
    /// Reads now, and makes the thread wait.
    pub(crate) fn now(choice: ProfileChoice) -> Self {
        let read = Profiles::read(&choice.shared_files());
        let read = read.map_err(|e| FetchError::failed(e.to_string()).of(e.fault()));
        Self { choice, read }
    }

    /// Reads where waiting for a disk holds nobody up.
    pub(crate) async fn read(choice: ProfileChoice) -> Self {
        let fallback = choice.clone();
        match aside(move || Self::now(choice)).await {
            Ok(shared) => shared,
            Err(why) => Self { choice: fallback, read: Err(FetchError::failed(why)) },
        }
    }

    /// What the files hold, or why they hold nothing.
    pub(crate) fn profiles(&self) -> Result<&Profiles, FetchError> {
        self.read.as_ref().map_err(Clone::clone)
    }

    /// A key of the profile in effect. Nothing where the files cannot be read: whoever needs credentials of them says why.
    fn value(&self, key: &str) -> Option<&str> {
        let value = self.read.as_ref().ok()?.get(&self.choice.name())?.get(key)?.trim();
        Some(value).filter(|v| !v.is_empty())
    }

    pub(crate) fn region(&self) -> Option<String> {
        self.value("region").map(ToOwned::to_owned)
    }

    /// The profile wants requests dated by this machine's clock.
    pub(crate) fn disables_clock_correction(&self) -> bool {
        self.value("disable_clock_skew_correction").is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }

    /// A profile of the files gets its credentials from a command.
    pub(crate) fn runs_command(&self) -> bool {
        self.read.as_ref().is_ok_and(|profiles| profiles.any_has("credential_process"))
    }

    /// The profile, or one that it leads to, gets its credentials from the metadata service.
    pub(crate) fn leads_to_metadata(&self) -> bool {
        let Ok(profiles) = &self.read else { return false };
        profile::leads_to_metadata(profiles, &self.choice)
    }

    /// Where the profile wants STS to be asked. The error is an address that is none.
    pub(crate) fn sts_endpoint(&self) -> Result<Option<Url>, String> {
        let Ok(profiles) = &self.read else { return Ok(None) };
        let name = self.choice.name();
        let Some(text) = profiles.sts_endpoint(&name) else { return Ok(None) };
        address(text).map(Some).ok_or_else(|| {
            format!(
                "the endpoint_url of profile {name} (or of its services section) for STS is not a URL: write it as \
                 https://HOST, or set sts_endpoint"
            )
        })
    }

    /// What the profile says about the metadata service under `key`, made sense of by `read`. The error names profile and key.
    pub(crate) fn about_metadata<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, FetchError> {
        let Some(text) = self.value(key) else { return Ok(None) };
        let name = self.choice.name();
        match read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(FetchError::failed(format!("{key} of profile {name} is not {wanted}"))
                .of(Fault::ProfileValue { name, key })),
        }
    }
}

/// An address that can be asked.
pub(crate) fn address(text: &str) -> Option<Url> {
    Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
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

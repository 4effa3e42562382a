//! Which region a destination is signed for, and who said so.
//!
//! Order: configuration, endpoint's host name, profile, environment, instance metadata. Keeps true: the metadata service is
//! asked only at first use, by one caller at a time, and never more than once a minute when it fails.

use std::{
    fmt,
    sync::OnceLock,
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use tokio::sync::Mutex;
use url::Url;

use crate::{
    AwsError, CredentialSource, IdentityConfig,
    connector::Connections,
    explain::RegionCheck,
    host::AwsHost,
    instance, metadata_place,
    shared_files::{ProfileChoice, Shared},
    words::printable,
};

const RETRY: Duration = Duration::from_secs(60);
/// Four attempts of a second each, and the token's.
const METADATA_TIMEOUT: Duration = Duration::from_secs(12);

/// Who named the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegionOrigin {
    Configuration,
    HostName,
    Profile(String),
    Environment(&'static str),
    TrustAnchor,
    InstanceMetadata,
    /// An answer of S3, which knows better.
    Answer,
}

impl fmt::Display for RegionOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => f.write_str("the configuration"),
            Self::HostName => f.write_str("the endpoint's host name"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Environment(name) => f.write_str(name),
            Self::TrustAnchor => f.write_str("the trust anchor's ARN"),
            Self::InstanceMetadata => f.write_str("instance metadata"),
            Self::Answer => f.write_str("the service's answer"),
        }
    }
}

/// A region that is known, or will be once the metadata service has told.
#[derive(Debug)]
pub(crate) struct SigningRegion {
    known: OnceLock<(String, RegionOrigin)>,
    /// Set by an answer that named another region.
    corrected: RwLock<Option<String>>,
    /// What is signed for: a host, or a service in words.
    place: String,
    /// What the profile has not, and what to do about it.
    without: (String, String),
    places: Vec<RegionCheck>,
    asking: Mutex<Option<(Instant, String)>>,
    connections: Connections,
    /// Where the block says that the metadata service is, and whose profile may.
    metadata: Option<Url>,
    choice: ProfileChoice,
}

impl SigningRegion {
    /// Looks everywhere but at the metadata service. An error where that service cannot be the answer either. `place` is what people
    /// call the destination.
    pub(crate) fn resolve(
        config: &IdentityConfig,
        place: &str,
        host: Option<&AwsHost>,
        shared: &Shared,
        connections: &Connections,
    ) -> Result<Self, AwsError> {
        if let Some(region) = config.region.as_deref().map(str::trim).filter(|r| !r.is_empty()) {
            check("region", region)?;
        }
        let places = places(config, host, shared);
        let known = OnceLock::new();
        if let Some(found) = places.iter().find_map(|c| Some((c.region.clone()?, c.place.clone()))) {
            let _ = known.set(found);
        }
        let place = place.to_owned();
        let metadata_off = metadata_place::is_disabled();
        // Keys are written by a person, and their destination waits for a region as for a role's; the file is none the worse.
        let by_hand = matches!(config.source, CredentialSource::Static { .. });
        if known.get().is_none() && metadata_off && !by_hand {
            let (profile, remedy) = without_region(config);
            return Err(AwsError::NoRegion { host: place, profile, remedy });
        }
        let metadata = match &config.source {
            CredentialSource::InstanceMetadata { endpoint } => endpoint.clone(),
            _ => None,
        };
        Ok(Self {
            known,
            corrected: RwLock::new(None),
            place,
            without: without_region(config),
            places,
            asking: Mutex::new(None),
            connections: connections.clone(),
            metadata,
            choice: shared.choice.clone(),
        })
    }

    /// The region, if it is known without asking.
    pub(crate) fn known(&self) -> Option<&(String, RegionOrigin)> {
        self.known.get()
    }

    /// Where a region was looked for, in order; instance metadata last, if it was asked.
    pub(crate) fn places(&self) -> Vec<RegionCheck> {
        let mut places = self.places.clone();
        let asked = match self.known.get() {
            Some((region, RegionOrigin::InstanceMetadata)) => Some(Some(region.clone())),
            None => Some(None),
            Some(_) => None,
        };
        if let Some(region) = asked {
            places.push(RegionCheck { place: RegionOrigin::InstanceMetadata, region });
        }
        places
    }

    /// The region to sign with now.
    pub(crate) async fn get(&self) -> Result<(String, RegionOrigin), String> {
        if let Some(region) = self.corrected.read().clone() {
            return Ok((region, RegionOrigin::Answer));
        }
        if let Some(known) = self.known.get() {
            return Ok(known.clone());
        }
        let mut last = self.asking.lock().await;
        if let Some(known) = self.known.get() {
            return Ok(known.clone());
        }
        if let Some((at, why)) = &*last
            && at.elapsed() < RETRY
        {
            return Err(why.clone());
        }
        let why = match self.ask_metadata().await {
            Ok(region) => {
                tracing::info!(region, place = self.place, "AWS region taken from instance metadata");
                let found = (region, RegionOrigin::InstanceMetadata);
                let _ = self.known.set(found.clone());
                return Ok(found);
            }
            Err(why) => why,
        };
        let (profile, remedy) = &self.without;
        let why = format!(
            "no AWS region for {}: the host name has none, {profile}, AWS_REGION is not set, and instance metadata gave none ({why}); \
             {remedy}",
            self.place
        );
        *last = Some((Instant::now(), why.clone()));
        Err(why)
    }

    /// An answer named the right region. True when that changes anything.
    pub(crate) fn correct(&self, region: &str) -> bool {
        let usable = !region.is_empty()
            && region.len() <= 40
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let mut corrected = self.corrected.write();
        let present = corrected.as_deref().or_else(|| self.known.get().map(|(r, _)| r.as_str()));
        if !usable || present == Some(region) {
            return false;
        }
        *corrected = Some(region.to_owned());
        true
    }

    /// For status pages: the region in use, if known.
    pub(crate) fn now(&self) -> Option<(String, RegionOrigin)> {
        let corrected = self.corrected.read().clone().map(|r| (r, RegionOrigin::Answer));
        corrected.or_else(|| self.known.get().cloned())
    }

    async fn ask_metadata(&self) -> Result<String, String> {
        if metadata_place::is_disabled() {
            return Err("it is switched off by AWS_EC2_METADATA_DISABLED".to_owned());
        }
        let endpoint = match &self.metadata {
            Some(url) => url.clone(),
            None => {
                let shared = Shared::read(self.choice.clone()).await;
                metadata_place::endpoint(None, &shared).map_err(|e| e.message)?
            }
        };
        let client = instance::client(&self.connections, &endpoint).map_err(|e| e.message)?;
        let asked = client.get("/latest/meta-data/placement/region");
        match tokio::time::timeout(METADATA_TIMEOUT, asked).await {
            Ok(Ok(region)) => match region.as_ref().trim() {
                "" => Err("an empty answer".to_owned()),
                region if check("region", region).is_ok() => Ok(region.to_owned()),
                other => Err(format!(
                    "it answered {:?}, which is no region: what answers there is not EC2's metadata service",
                    printable(other, 60)
                )),
            },
            Ok(Err(error)) => Err(refused_or_silent(&error)),
            Err(_) => Err("it did not answer in time; this may not be EC2".to_owned()),
        }
    }
}

/// What the metadata service did instead of naming a region.
fn refused_or_silent(error: &aws_config::imds::client::error::ImdsError) -> String {
    use aws_config::imds::client::error::ImdsError;
    let mut words = String::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        words.push_str(&cause.to_string().to_ascii_lowercase());
        next = cause.source();
    }
    match error {
        ImdsError::ErrorResponse(context) => format!("it answered {}", context.response().status().as_u16()),
        _ if words.contains("forbidden") => {
            "it answers and refuses: metadata is switched off for this instance, or something on the way blocks it"
                .to_owned()
        }
        _ => "it does not answer; this may not be EC2".to_owned(),
    }
}

/// What is said of the profile where no place names a region, and the way out.
fn without_region(config: &IdentityConfig) -> (String, String) {
    let block = "set region in the sigv4 block";
    let Some(choice) = ProfileChoice::of(&config.source) else {
        return ("the identity block names none".to_owned(), block.to_owned());
    };
    let files = choice.paths();
    if !choice.is_asked_for() && !matches!(config.source, CredentialSource::Profile { .. }) {
        return (format!("profile {} has none", choice.name()), block.to_owned());
    }
    let shown = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let name = choice.name();
    let section = if name == "default" { "[default]".to_owned() } else { format!("[profile {name}]") };
    let remedy = match files.first() {
        Some(file) => format!("{block}, or write region = us-east-1 under {section} in {}", file.display()),
        None => block.to_owned(),
    };
    (format!("profile {name} ({shown}) has no region"), remedy)
}

/// Every place that may name a region without being asked over the network, in order, with what it names.
fn places(config: &IdentityConfig, host: Option<&AwsHost>, shared: &Shared) -> Vec<RegionCheck> {
    let mut places = Vec::new();
    let mut look = |place: RegionOrigin, region: Option<String>| {
        let region = region.map(|r| r.trim().to_owned()).filter(|r| !r.is_empty());
        places.push(RegionCheck { place, region });
    };
    look(RegionOrigin::Configuration, config.region.clone());
    look(RegionOrigin::HostName, host.and_then(|h| h.region.clone()));
    look(RegionOrigin::Profile(shared.choice.name()), shared.region());
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        look(RegionOrigin::Environment(name), std::env::var(name).ok());
    }
    if let CredentialSource::RolesAnywhere(anywhere) = &config.source {
        let region = anywhere.region.clone().or_else(|| arn_region(&anywhere.trust_anchor_arn));
        look(RegionOrigin::TrustAnchor, region);
    }
    places
}

/// `arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/...` names its region fourth.
pub(crate) fn arn_region(arn: &str) -> Option<String> {
    arn.split(':').nth(3).filter(|r| !r.is_empty()).map(ToOwned::to_owned)
}

/// Refuses what cannot be a region before it ends in a signature that nobody understands.
pub(crate) fn check(key: &'static str, region: &str) -> Result<(), AwsError> {
    let why = if region.contains("://") || region.contains('.') {
        format!("{region:?} is not a region; write its code, such as us-east-1, and put host names in the URL")
    } else if region.bytes().any(|b| b.is_ascii_uppercase()) || region.contains([' ', '_', '(']) {
        format!("{region:?} is not a region's code; write it like us-east-1")
    } else if is_zone(region) {
        let code = region.trim_end_matches(|c: char| c.is_ascii_lowercase());
        format!("{region:?} is an availability zone; its region is {code}")
    } else if !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || region.len() > 40 {
        format!("{region:?} is not a region's code; write it like us-east-1")
    } else {
        return Ok(());
    };
    Err(AwsError::Invalid { key, why })
}

fn is_zone(region: &str) -> bool {
    let mut tail = region.bytes().rev();
    tail.next().is_some_and(|b| b.is_ascii_lowercase())
        && tail.next().is_some_and(|b| b.is_ascii_digit())
        && region.contains('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_host_names_and_prose_are_not_regions() {
        for (given, expected) in [
            ("us-east-1a", "its region is us-east-1"),
            ("US-EAST-1", "us-east-1"),
            ("US East (N. Virginia)", "us-east-1"),
            ("aps-workspaces.us-east-1.amazonaws.com", "host names"),
            ("us-east-1/x", "us-east-1"),
        ] {
            let error = check("region", given).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for fine in ["us-east-1", "us-gov-west-1", "eusc-de-east-1", "auto", "ap-southeast-7"] {
            check("region", fine).unwrap();
        }
    }
}

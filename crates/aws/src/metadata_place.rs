//! Where an identity's instance metadata service is: as its block, the environment or its profile says, else at EC2's address.
//!
//! Asks nobody. Keeps true: variables win over the profile, and a whole address over a mode, as in the SDKs; what is no address is
//! told with the variable, or the profile and its key, that holds it.

use url::Url;

use crate::{
    CredentialSource,
    error::FetchError,
    fault::Fault,
    shared_files::{ProfileChoice, Shared, address},
};

/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>
const BY_IPV4: &str = "http://169.254.169.254/";
const BY_IPV6: &str = "http://[fd00:ec2::254]/";

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";

/// `AWS_EC2_METADATA_DISABLED=true`: nobody asks the metadata service.
pub(crate) fn is_disabled() -> bool {
    std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|v| v.trim().eq_ignore_ascii_case("true"))
}

/// The metadata service that `source` asks for credentials, read now; `None` where it asks none, or is told not to. The error names what is no
/// address.
pub async fn metadata_endpoint(source: &CredentialSource) -> Option<Result<Url, String>> {
    let named = match source {
        _ if is_disabled() => return None,
        CredentialSource::InstanceMetadata { endpoint } => endpoint.as_ref(),
        CredentialSource::StandardChain | CredentialSource::Profile { .. } => None,
        _ => return None,
    };
    let shared = Shared::read(ProfileChoice::active(source)).await;
    let asks = !matches!(source, CredentialSource::Profile { .. }) || shared.leads_to_metadata();
    asks.then(|| endpoint(named, &shared).map_err(|e| e.message))
}

/// The address to ask at. `named` is the block's own.
pub(crate) fn endpoint(named: Option<&Url>, shared: &Shared) -> Result<Url, FetchError> {
    resolve(named, &|name| std::env::var(name).ok(), shared)
}

fn resolve(named: Option<&Url>, variable: &dyn Fn(&str) -> Option<String>, shared: &Shared) -> Result<Url, FetchError> {
    const AS_URL: &str = "a URL: write http://HOST or http://HOST:PORT";
    const AS_MODE: &str = "a mode: write IPv4 or IPv6";
    let variable = |name: &'static str| variable(name).filter(|v| !v.trim().is_empty()).map(|text| (name, text));
    let unusable = |name: &'static str, wanted: &str| {
        FetchError::failed(format!("{name} is not {wanted}")).of(Fault::MetadataAddress { variable: name })
    };
    if let Some(url) = named {
        return Ok(url.clone());
    }
    if let Some((name, text)) = variable(ENDPOINT) {
        return address(&text).ok_or_else(|| unusable(name, AS_URL));
    }
    if let Some(url) = shared.about_metadata("ec2_metadata_service_endpoint", AS_URL, address)? {
        return Ok(url);
    }
    let of_mode = match variable(MODE) {
        Some((name, text)) => Some(mode(&text).ok_or_else(|| unusable(name, AS_MODE))?),
        None => shared.about_metadata("ec2_metadata_service_endpoint_mode", AS_MODE, mode)?,
    };
    address(of_mode.unwrap_or(BY_IPV4)).ok_or_else(|| FetchError::failed("EC2's own metadata address is no URL"))
}

fn mode(text: &str) -> Option<&'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "ipv4" => Some(BY_IPV4),
        "ipv6" => Some(BY_IPV6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], profile: &str) -> Result<String, FetchError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, format!("[profile p]\n{profile}\n")).unwrap();
        let empty = dir.path().join("credentials");
        std::fs::write(&empty, "").unwrap();
        let choice =
            ProfileChoice { name: Some("p".to_owned()), config_file: Some(file), credentials_file: Some(empty) };
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        resolve(None, &variable, &Shared::now(choice)).map(|url| url.to_string())
    }

    #[test]
    fn variables_win_over_the_profile_and_addresses_over_modes() {
        let profile = "ec2_metadata_service_endpoint = http://127.0.0.1:1\nec2_metadata_service_endpoint_mode = IPv6";
        for (variables, profile, wanted) in [
            (&[][..], "", BY_IPV4),
            (&[(ENDPOINT, " "), (MODE, "")], "", BY_IPV4),
            (&[], "ec2_metadata_service_endpoint_mode = ipv6", BY_IPV6),
            (&[(MODE, "IPv4")], "ec2_metadata_service_endpoint_mode = IPv6", BY_IPV4),
            (&[(MODE, "IPv6")], "", BY_IPV6),
            (&[], profile, "http://127.0.0.1:1/"),
            (&[(ENDPOINT, "http://127.0.0.1:2"), (MODE, "IPv6")], profile, "http://127.0.0.1:2/"),
        ] {
            assert_eq!(found(variables, profile).unwrap(), wanted, "{variables:?} {profile}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_with_who_says_it() {
        for (variables, profile, words) in [
            (&[(ENDPOINT, "localhost")][..], "", ENDPOINT),
            (&[(MODE, "6")], "", MODE),
            (&[], "ec2_metadata_service_endpoint = localhost:1338", "ec2_metadata_service_endpoint of profile p"),
            (&[], "ec2_metadata_service_endpoint_mode = 6", "ec2_metadata_service_endpoint_mode of profile p"),
        ] {
            let error = found(variables, profile).unwrap_err();
            assert!(error.message.contains(words) && error.fault.is_some(), "{error:?}");
        }
        // What wins makes the other one's fault nobody's.
        assert!(found(&[(ENDPOINT, "http://127.0.0.1:2")], "ec2_metadata_service_endpoint = localhost").is_ok());
    }
}

//! The standard chain, with our own sources in it.
//!
//! Caches nothing. Keeps true: a source that exists and fails ends the search; environment keys never win over a profile that
//! was asked for.

use aws_credential_types::Credentials;

use crate::{
    container, environment,
    error::FetchError,
    explain::{SourceOutcome, Trail},
    fault::Fault,
    instance, metadata_place, profile,
    shared_files::Shared,
    sts::Sts,
};

/// The standard chain: environment, shared files, web identity, container, instance metadata. A source that is absent
/// passes on; one that exists and fails ends the search, as in the SDKs. Also tells which one answered.
pub(crate) async fn standard(
    sts: &Sts<'_>,
    shared: &Shared,
    session_name: &str,
    trail: &mut Trail,
) -> Result<(Credentials, &'static str), FetchError> {
    const PLACES: [&str; 5] = ["environment", "shared files", "web identity", "container", "instance metadata"];
    let mut tried = Vec::new();
    let mut half = None;
    for (at, place) in PLACES.into_iter().enumerate() {
        let result = match place {
            "environment" => environment::fetch(),
            "shared files" => profile::fetch(shared, sts, session_name, trail).await,
            "web identity" => web_identity(sts, session_name).await,
            "container" => container::fetch(None, None, sts.connections).await,
            _ => metadata(sts, shared).await,
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

async fn metadata(sts: &Sts<'_>, shared: &Shared) -> Result<Credentials, FetchError> {
    let endpoint = metadata_place::endpoint(None, shared)?;
    instance::fetch(&instance::client(sts.connections, &endpoint)?).await
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

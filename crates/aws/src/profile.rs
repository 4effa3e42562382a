//! Credentials of a profile: keys, roles on other profiles, `credential_source`, `credential_process`, web identity.
//!
//! Our own, because aws-config parses the files once for ever, ignores `duration_seconds` and (in silence) `mfa_serial`, names
//! sessions after the clock (a new one in CloudTrail at each refresh) and cannot be told an STS endpoint for one destination. Keeps true: a
//! profile that is asked for is the only thing looked at; profiles that lead back to themselves are an error.

use std::{path::PathBuf, time::Duration};

use aws_credential_types::Credentials;

use crate::{
    RoleStep, container, environment,
    error::FetchError,
    explain::Trail,
    fault::Fault,
    instance, metadata_place, process,
    profile_file::{Profile, Profiles},
    shared_files::{ProfileChoice, Shared},
    sts::Sts,
};

/// Nobody chains so many roles; each is a call to STS.
const MOST_ROLES: usize = 10;

/// What a profile comes to: where the first credentials are, and the roles on top, innermost first.
#[derive(Debug)]
struct Plan {
    base: Base,
    roles: Vec<RoleStep>,
    /// The profile of them that names `mfa_serial`, which is of no use to an agent.
    wants_mfa: Option<String>,
    region: Option<String>,
}

#[derive(Debug)]
enum Base {
    Keys { access_key: String, secret_key: String, session_token: Option<String> },
    Process(String),
    WebIdentity { role_arn: String, token_file: PathBuf, session_name: Option<String> },
    Environment,
    InstanceMetadata,
    Container,
}

/// Fetches the credentials of the profile in effect. `session_name` is for roles that name none.
pub(crate) async fn fetch(
    shared: &Shared,
    sts: &Sts<'_>,
    session_name: &str,
    trail: &mut Trail,
) -> Result<Credentials, FetchError> {
    let choice = &shared.choice;
    let name = choice.name();
    let context = |e: FetchError| {
        let files: Vec<String> = choice.paths().iter().map(|p| p.display().to_string()).collect();
        e.told(|words| format!("profile {name} ({}): {words}", files.join(", ")))
    };
    let profiles = shared.profiles().map_err(context)?;
    let plan = plan(profiles, &name, choice.is_asked_for()).map_err(context)?;
    let region = Some(sts.region).filter(|r| !r.is_empty()).or(plan.region.as_deref()).unwrap_or_default();
    let sts = Sts { region, config: sts.config, connections: sts.connections };
    let asks_sts = !plan.roles.is_empty() || matches!(plan.base, Base::WebIdentity { .. });
    if region.is_empty() && asks_sts {
        return Err(context(FetchError::failed("no region to ask STS in; set sts_region, or region in the profile")));
    }
    if let Some(of) = &plan.wants_mfa {
        trail.remarks.push(format!(
            "profile {of} names mfa_serial, which has no effect: nobody types a code for an agent, so its role is asked for without"
        ));
    }
    let mut credentials = base(&plan.base, shared, &sts, session_name).await.map_err(context)?;
    for role in &plan.roles {
        let session = role.session_name.as_deref().unwrap_or(session_name);
        credentials = sts.assume(role, session, credentials).await.map_err(|e| {
            let Some(of) = &plan.wants_mfa else { return context(e) };
            let e = e.told(|words| {
                format!(
                    "{words}; profile {of} names mfa_serial: a role that demands MFA needs a person, not an agent; remove the condition \
                     aws:MultiFactorAuthPresent from its trust policy, or give the agent a role of its own"
                )
            });
            context(match e.fault.as_deref().cloned() {
                Some(Fault::Refused(refused)) if refused.code == "AccessDenied" => {
                    let fault = Some(Box::new(Fault::ProfileMfa { name: of.clone(), refused }));
                    FetchError { fault, ..e }
                }
                _ => e,
            })
        })?;
    }
    Ok(credentials)
}

/// The profile's credentials come from the metadata service, over however many others.
pub(crate) fn leads_to_metadata(profiles: &Profiles, choice: &ProfileChoice) -> bool {
    plan(profiles, &choice.name(), choice.is_asked_for()).is_ok_and(|plan| matches!(plan.base, Base::InstanceMetadata))
}

async fn base(base: &Base, shared: &Shared, sts: &Sts<'_>, session_name: &str) -> Result<Credentials, FetchError> {
    let provided = |result: Result<Credentials, FetchError>, what: &str| {
        result.map_err(|e| e.present().told(|words| format!("credential_source {what}: {words}")))
    };
    match base {
        Base::Keys { access_key, secret_key, session_token } => {
            Ok(Credentials::new(access_key, secret_key, session_token.clone(), None, "profile"))
        }
        Base::Process(command) => process::run(command, process::TIMEOUT).await,
        Base::WebIdentity { role_arn, token_file, session_name: own } => {
            sts.web_identity(role_arn, own.as_deref().unwrap_or(session_name), token_file).await
        }
        Base::Environment => provided(environment::fetch(), "Environment"),
        Base::InstanceMetadata => {
            let endpoint = metadata_place::endpoint(None, shared)?;
            let imds = instance::client(sts.connections, &endpoint)?;
            provided(instance::fetch_with_hint(&imds).await, "Ec2InstanceMetadata")
        }
        Base::Container => provided(container::fetch_with_hint(None, None, sts.connections).await, "EcsContainer"),
    }
}

/// Follows `source_profile` from `name` to where the first credentials are.
fn plan(profiles: &Profiles, name: &str, is_asked_for: bool) -> Result<Plan, FetchError> {
    let failed = |what: String, fault: Fault| Err(FetchError::failed(what).of(fault));
    let incomplete = |name: &str| Fault::ProfileIncomplete { name: name.to_owned() };
    let mut roles: Vec<RoleStep> = Vec::new();
    let mut wants_mfa: Option<String> = None;
    let mut way: Vec<String> = Vec::new();
    let mut name = name.to_owned();
    let mut region = None;
    let base = loop {
        let Some(profile) = profiles.get(&name) else {
            let unknown = Fault::ProfileUnknown { name: name.clone() };
            return match way.last() {
                Some(from) => failed(format!("source_profile {name} of profile {from} is not in the files"), unknown),
                None if is_asked_for => failed(
                    "there is no such profile in the files; name an existing one, or set shared_config_file and \
                     shared_credentials_file"
                        .to_owned(),
                    unknown,
                ),
                None => Err(FetchError::absent("there is no such profile in the files")),
            };
        };
        let value = |key: &str| profile.get(key).filter(|v| !v.is_empty());
        region = region.or_else(|| value("region").cloned());
        let is_first = way.is_empty();
        way.push(name.clone());
        // As a source, a profile's own keys come before its role.
        if !is_first && let Some(keys) = keys(profile, &name)? {
            break keys;
        }
        let role_arn = value("role_arn");
        match (role_arn, value("source_profile"), value("credential_source"), value("web_identity_token_file")) {
            (Some(role_arn), None, None, Some(file)) => {
                let session_name = value("role_session_name").cloned();
                break Base::WebIdentity { role_arn: role_arn.clone(), token_file: file.into(), session_name };
            }
            (Some(_), Some(_), Some(_), _) => {
                return failed(
                    format!("profile {name} has both source_profile and credential_source; keep one of them"),
                    incomplete(&name),
                );
            }
            (Some(role_arn), Some(source), None, _) => {
                roles.push(role(profile, role_arn, &name)?);
                wants_mfa = wants_mfa.or_else(|| value("mfa_serial").map(|_| name.clone()));
                if *source == name {
                    match keys(profile, &name)? {
                        Some(keys) => break keys,
                        None => {
                            let what = format!("profile {name} is its own source_profile and has no keys");
                            return failed(what, Fault::ProfileCircle);
                        }
                    }
                }
                if way.contains(source) {
                    return failed(
                        format!(
                            "the profiles lead in a circle: {} -> {source}; end the chain at a profile with keys or a \
                             credential_source",
                            way.join(" -> ")
                        ),
                        Fault::ProfileCircle,
                    );
                }
                if roles.len() >= MOST_ROLES {
                    return failed(
                        format!("more than {MOST_ROLES} profiles lead to one another: {}", way.join(" -> ")),
                        incomplete(&name),
                    );
                }
                name.clone_from(source);
            }
            (Some(role_arn), None, Some(source), _) => {
                roles.push(role(profile, role_arn, &name)?);
                wants_mfa = wants_mfa.or_else(|| value("mfa_serial").map(|_| name.clone()));
                break match source.as_str() {
                    "Environment" => Base::Environment,
                    "Ec2InstanceMetadata" => Base::InstanceMetadata,
                    "EcsContainer" => Base::Container,
                    _ => {
                        let what = format!(
                            "credential_source of profile {name} is none of Environment, Ec2InstanceMetadata and EcsContainer"
                        );
                        return failed(what, Fault::ProfileValue { name: name.clone(), key: "credential_source" });
                    }
                };
            }
            _ => break without_role(profile, &name, is_first)?,
        }
    };
    roles.reverse();
    Ok(Plan { base, roles, wants_mfa, region })
}

/// What a profile gives that assumes no role on another.
fn without_role(profile: &Profile, name: &str, is_first: bool) -> Result<Base, FetchError> {
    let has = |key: &str| profile.get(key).is_some_and(|v| !v.is_empty());
    if let Some(keys) = keys(profile, name)? {
        return Ok(keys);
    }
    if let Some(command) = profile.get("credential_process").filter(|c| !c.is_empty()) {
        return Ok(Base::Process(command.clone()));
    }
    let instead = "use a role of the machine (instance_metadata, web_identity, container), roles_anywhere, or keys";
    if ["sso_session", "sso_start_url", "sso_account_id"].into_iter().any(has) {
        return Err(FetchError::failed(format!(
            "profile {name} is for a human login (SSO), which cannot be used by an agent: {instead}"
        ))
        .of(Fault::ProfileSso { name: name.to_owned() }));
    }
    if has("login_session") {
        return Err(FetchError::failed(format!(
            "profile {name} is for a human login at the console (login_session, made by `aws login`), which cannot be used by an agent: \
             {instead}"
        ))
        .of(Fault::ProfileConsoleLogin { name: name.to_owned() }));
    }
    let incomplete = Fault::ProfileIncomplete { name: name.to_owned() };
    if has("role_arn") {
        return Err(FetchError::failed(format!(
            "profile {name} has a role_arn, and neither source_profile nor credential_source says who assumes it"
        ))
        .of(incomplete));
    }
    let what = format!("profile {name} has no credentials: no keys, no role_arn, no credential_process");
    Err(if is_first { FetchError::absent(what) } else { FetchError::failed(what) }.of(incomplete))
}

fn keys(profile: &Profile, name: &str) -> Result<Option<Base>, FetchError> {
    let value = |key: &str| profile.get(key).filter(|v| !v.is_empty()).cloned();
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(access_key), Some(secret_key)) => {
            Ok(Some(Base::Keys { access_key, secret_key, session_token: value("aws_session_token") }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(name, "aws_access_key_id and no aws_secret_access_key")),
        (None, Some(_)) => Err(half(name, "aws_secret_access_key and no aws_access_key_id")),
    }
}

fn half(name: &str, what: &str) -> FetchError {
    FetchError::failed(format!("profile {name} has {what}")).of(Fault::ProfileIncomplete { name: name.to_owned() })
}

fn role(profile: &Profile, role_arn: &str, name: &str) -> Result<RoleStep, FetchError> {
    let value = |key: &str| profile.get(key).filter(|v| !v.is_empty());
    let session_duration = match value("duration_seconds").map(|text| text.parse::<u64>()) {
        None => None,
        Some(Ok(seconds)) if (900..=43_200).contains(&seconds) => Some(Duration::from_secs(seconds)),
        Some(_) => {
            return Err(FetchError::failed(format!(
                "duration_seconds of profile {name} is not a number from 900 to 43200"
            ))
            .of(Fault::ProfileValue { name: name.to_owned(), key: "duration_seconds" }));
        }
    };
    Ok(RoleStep {
        role_arn: role_arn.to_owned(),
        external_id: value("external_id").cloned(),
        session_name: value("role_session_name").cloned(),
        session_duration,
        session_tags: std::collections::BTreeMap::new(),
    })
}

//! The role of an EC2 instance, from its metadata service (version 2).
//!
//! Our own, because aws-config's builds an address out of whatever the service names as the role, and panics where that makes
//! none. Keeps true: only what can be a role's name becomes part of an address; whatever answers, a fetch ends with an error
//! that says what it answered.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use aws_config::{
    BehaviorVersion,
    imds::{Client, client::error::ImdsError},
    provider_config::ProviderConfig,
};
use aws_credential_types::Credentials;
use serde_json::Value;
use url::Url;

use crate::{
    connector::Connections,
    error::FetchError,
    fault::{Asked, Fault, Refused},
    json,
    metadata_place::is_disabled,
    words::printable,
};

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// IAM allows 64.
const LONGEST_NAME: usize = 128;
/// What the service hands out when it cannot renew is honoured by AWS for a while, and asked for again after this and up to half
/// as long again, as in the SDKs.
const EXTENSION: Duration = Duration::from_secs(600);

/// A client that asks at `endpoint`. A new one each time: a client keeps its token for hours and goes on with it where the service
/// has forgotten it.
pub(crate) fn client(connections: &Connections, endpoint: &Url) -> Result<Client, FetchError> {
    let config = ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
        .with_time_source(aws_smithy_async::time::SystemTimeSource::new())
        .with_sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
        .with_http_client(connections.clone());
    // Always with an address: the SDK would look for one in files, on its own.
    let builder = Client::builder().configure(&config).endpoint(endpoint.as_str()).map_err(|e| {
        FetchError::failed(format!("instance metadata: the endpoint {} is unusable: {e}", net::masked(endpoint)))
    })?;
    Ok(builder.build())
}

/// As [`fetch`], for who asks for nothing else: the error says what to look at.
pub(crate) async fn fetch_with_hint(imds: &Client) -> Result<Credentials, FetchError> {
    fetch(imds).await.map_err(|e| match e.fault.as_deref() {
        // What it answered says enough.
        Some(Fault::OddAnswer(_) | Fault::Refused(_)) => e.told(|words| format!("instance metadata: {words}")),
        _ => e.told(|words| format!("instance metadata: {words}; {}", hint(words))),
    })
}

/// Fetches once. Absent: there is no such service here, it is switched off by `AWS_EC2_METADATA_DISABLED`, or no role is attached.
pub(crate) async fn fetch(imds: &Client) -> Result<Credentials, FetchError> {
    if is_disabled() {
        return Err(FetchError::absent("switched off by AWS_EC2_METADATA_DISABLED=true"));
    }
    let listed = match imds.get(ROLES).await {
        Ok(listed) => listed,
        Err(ImdsError::ErrorResponse(context)) if context.response().status().as_u16() == 404 => {
            return Err(FetchError::absent("it answered 404: no role is attached to this instance"));
        }
        Err(error) => {
            // Nothing took the question: there is no such service here.
            let absent = matches!(&error, ImdsError::FailedToLoadToken(context) if context.is_dispatch_failure());
            return Err(FetchError { absent, ..told(&error) });
        }
    };
    let role = listed.as_ref().lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if role.is_empty() {
        return Err(FetchError::absent("its list of roles is empty: no role is attached to this instance"));
    }
    let odd = |what: String| FetchError::failed(what).of(Fault::OddAnswer(Asked::InstanceMetadata));
    if !is_role_name(role) {
        return Err(odd(format!(
            "it names {:?} as the instance's role, which is no name of a role: what answers there is not EC2's metadata service \
             (a proxy, a web server, an imitation)",
            shown(role)
        )));
    }
    let document = match imds.get(format!("{ROLES}{role}")).await {
        Ok(document) => document,
        Err(error) => return Err(told(&error)),
    };
    let object: Value = serde_json::from_str(document.as_ref()).ok().filter(Value::is_object).ok_or_else(|| {
        let page = if document.as_ref().trim_start().starts_with('<') { " but a web page" } else { "" };
        odd(format!(
            "its answer for the role {role} is no JSON object{page}: what answers there is not EC2's metadata service (a proxy, a \
             web server, an imitation)"
        ))
    })?;
    let text = |name: &str| json::field(&object, name).and_then(Value::as_str).unwrap_or_default();
    let code = text("Code");
    if !code.is_empty() && code != "Success" {
        let (code, message) = (shown(code), printable(text("Message"), 300));
        let hint = match code.as_str() {
            "AssumeRoleUnauthorizedAccess" => "; the role's trust policy must allow ec2.amazonaws.com sts:AssumeRole",
            _ => "",
        };
        return Err(FetchError::failed(format!(
            "it gives nothing for the role {role} and says {code}: {message}{hint}"
        ))
        .of(Fault::Refused(Refused::new(Asked::InstanceMetadata, &code, &message))));
    }
    let credentials = json::credentials(&object, "Token", "IMDSv2")
        .map_err(|why| odd(format!("its JSON for the role {role} {why}")))?;
    Ok(extended(credentials))
}

/// The SDK's error as one line: its own `Display` says little, or shows the whole answer as a programmer would see it.
fn told(error: &ImdsError) -> FetchError {
    if let ImdsError::ErrorResponse(context) = error {
        return FetchError::failed(format!("it answered HTTP {}", context.response().status().as_u16()));
    }
    let mut parts: Vec<String> = Vec::new();
    let mut is_unanswered = false;
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(e) = next {
        let text = e.to_string();
        is_unanswered |= e.is::<aws_smithy_runtime_api::client::result::ConnectorError>() || e.is::<net::NetError>();
        // The SDK's own words where there is no answer.
        is_unanswered |= text == "dispatch failure" || text == "request has timed out";
        // Wrappers repeat what they wrap.
        if !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
        next = e.source();
        if parts.len() == 12 {
            break;
        }
    }
    let failed = FetchError::failed(printable(&parts.join(": "), 800));
    if is_unanswered { failed.of(Fault::Unreached(Asked::InstanceMetadata)) } else { failed }
}

/// What to look at, by what the metadata service did.
fn hint(message: &str) -> &'static str {
    let lower = message.to_ascii_lowercase();
    if lower.contains("aws_ec2_metadata_disabled") {
        "remove that variable from the agent's environment, or name another source"
    } else if lower.contains("forbidden") || lower.contains("403") {
        "it answers and refuses: metadata is switched off for this instance (http-endpoint disabled), or something on the way blocks it"
    } else if lower.contains("timeout") || lower.contains("timed out") {
        "nothing came back: is this EC2, and is the hop limit at least 2 if this runs in a container?"
    } else if lower.contains("no role is attached") {
        "attach an instance profile with a role"
    } else {
        "is this EC2, and is a role attached to the instance?"
    }
}

/// Keys past their end that the service still hands out: it cannot renew them, and AWS takes them meanwhile.
fn extended(credentials: Credentials) -> Credentials {
    let now = SystemTime::now();
    if credentials.expiry().is_none_or(|at| at > now) {
        return credentials;
    }
    let more = EXTENSION.mul_f64(1.0 + 0.5 * fastrand::f64());
    tracing::warn!(
        key = crate::verdict::plain_id(credentials.access_key_id()),
        asked_again_after_seconds = more.as_secs(),
        "instance metadata hands out credentials that are past their end, as it does while it cannot renew them; they are used all \
         the same"
    );
    let token = credentials.session_token().map(ToOwned::to_owned);
    let end = now.checked_add(more);
    Credentials::new(credentials.access_key_id(), credentials.secret_access_key(), token, end, "IMDSv2")
}

fn is_role_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

fn shown(text: &str) -> String {
    printable(text, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_role_can_have_become_part_of_an_address() {
        assert!(is_role_name("node-role") && is_role_name("a+b=c,d.e@f_g"));
        for none in ["a b", "<html>", "a/b", "a?b", "rôle", "a%20b", "[::", &"x".repeat(200)] {
            assert!(!is_role_name(none), "{none}");
        }
    }

    #[test]
    fn keys_past_their_end_are_used_for_a_while() {
        let key = |expiry| Credentials::new("AKIA1", "s", Some("t".to_owned()), Some(expiry), "x");
        let now = SystemTime::now();
        let later = now + Duration::from_secs(3600);
        assert_eq!(extended(key(later)).expiry(), Some(later));
        let end = extended(key(now - Duration::from_secs(3600))).expiry().unwrap();
        let left = end.duration_since(now).unwrap();
        assert!((EXTENSION..=EXTENSION * 2).contains(&left), "{left:?}");
    }
}

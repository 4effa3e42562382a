//! The container endpoint: ECS task roles and EKS Pod Identity.
//!
//! Our own, because aws-config's cannot be set per destination and does not trim the token file. Keeps true: the token goes
//! only to an https endpoint or to one of the link-local and loopback addresses where AWS puts it.

use std::{net::IpAddr, path::Path, time::Duration};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{HeaderValue, Request};
use serde_json::Value;
use url::{Host, Url};

use crate::{
    aside::trimmed_text,
    connector::{ANSWER_LIMIT, Connections},
    error::FetchError,
    fault::{Asked, Fault, Refused},
    json,
    words::printable,
};

const TIMEOUT: Duration = Duration::from_secs(7);

/// As [`fetch`], for who asks for nothing else: the error says what to look at.
pub(crate) async fn fetch_with_hint(
    endpoint: Option<&Url>,
    token_file: Option<&Path>,
    connections: &Connections,
) -> Result<Credentials, FetchError> {
    fetch(endpoint, token_file, connections).await.map_err(|e| match e.fault.as_deref() {
        Some(Fault::ContainerUnnamed) => e.present().told(|words| {
            format!(
                "container endpoint: {words}: this is neither ECS nor a pod of EKS Pod Identity, or the variables were not passed to the \
                 agent"
            )
        }),
        _ => e,
    })
}

/// Fetches once. `None` for `endpoint` or `token_file`: what the environment says.
pub(crate) async fn fetch(
    endpoint: Option<&Url>,
    token_file: Option<&Path>,
    connections: &Connections,
) -> Result<Credentials, FetchError> {
    let variable = |name: &str| std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let url = match endpoint {
        Some(url) => url.clone(),
        None => of_environment(&variable)?,
    };
    if !is_allowed(&url) {
        return Err(FetchError::failed(format!(
            "container endpoint {}: must be https, loopback, 169.254.170.2, 169.254.170.23 or fd00:ec2::23",
            net::masked(&url)
        ))
        .of(Fault::ContainerAddress));
    }
    let place = net::masked(&url);
    let failed = |what: String| FetchError::failed(format!("container endpoint {place}: {what}"));
    let from_file = async |path: &Path| {
        let of_token = |what: String| failed(what).of(Fault::ContainerToken(path.to_owned()));
        let text = trimmed_text(path).await;
        let text = text.map_err(|e| of_token(format!("cannot read the token file {}: {e}", path.display())))?;
        if text.is_empty() {
            return Err(of_token(format!("the token file {} is empty", path.display())));
        }
        Ok(text.as_str().to_owned())
    };
    let token = match (token_file, endpoint) {
        (Some(path), _) => Some(from_file(path).await?),
        (None, Some(_)) => None,
        (None, None) => match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(path) => Some(from_file(Path::new(&path)).await?),
            None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        },
    };
    let mut request = Request::get(url.as_str())
        .header("accept", "application/json")
        .body(Bytes::new())
        .map_err(|e| failed(e.to_string()))?;
    if let Some(token) = token {
        // Editors and `echo` leave a newline that no header may hold.
        let mut value = HeaderValue::from_str(token.trim())
            .map_err(|_| failed("the token has characters that cannot be sent".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert("authorization", value);
    }
    let reply = connections
        .for_url(&url)
        .send(request, TIMEOUT, ANSWER_LIMIT)
        .await
        .map_err(|e| failed(e.to_string()).of(Fault::Unreached(Asked::Container)))?;
    if !reply.status.is_success() {
        let (code, message) = words_of(&reply);
        let said =
            [code.as_str(), message.as_str()].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(": ");
        let colon = if said.is_empty() { "" } else { ": " };
        return Err(failed(format!("it answered HTTP {}{colon}{said}", reply.status.as_u16()))
            .of(Fault::Refused(Refused::new(Asked::Container, &code, &message))));
    }
    let odd = |what: String| failed(what).of(Fault::OddAnswer(Asked::Container));
    let object: Value = serde_json::from_slice(&reply.body).map_err(|_| odd("its answer is not JSON".to_owned()))?;
    json::credentials(&object, "Token", "Container").map_err(|why| odd(format!("its JSON {why}")))
}

/// Code and words of a refusal: AWS's JSON in any case of its names, else the text itself.
fn words_of(reply: &net::Reply) -> (String, String) {
    let parsed = net::service_error::parse(reply.status, &reply.headers, &reply.body).filter(|e| !e.is_bare_status());
    let (mut code, mut message) = parsed.map_or_else(Default::default, |e| (e.code, e.message));
    if let Ok(object) = serde_json::from_slice::<Value>(&reply.body) {
        let text = |name: &str| json::field(&object, name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if code.is_empty() {
            code = text("code");
        }
        for name in ["message", "error", "reason", "errorMessage"] {
            if message.is_empty() {
                message = text(name);
            }
        }
    } else if message.is_empty() {
        message = String::from_utf8_lossy(&reply.body).into_owned();
    }
    (printable(&code, 60), printable(&message, 300))
}

fn of_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Url, FetchError> {
    if let Some(path) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        let slash = if path.starts_with('/') { "" } else { "/" };
        return Url::parse(&format!("http://169.254.170.2{slash}{path}")).map_err(|e| {
            FetchError::failed(format!("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: {e}")).of(Fault::ContainerAddress)
        });
    }
    match variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        Some(text) => Url::parse(&text).map_err(|e| {
            FetchError::failed(format!("AWS_CONTAINER_CREDENTIALS_FULL_URI: {e}")).of(Fault::ContainerAddress)
        }),
        None => Err(FetchError::absent("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set")
            .of(Fault::ContainerUnnamed)),
    }
}

fn is_allowed(url: &Url) -> bool {
    let known = |ip: IpAddr| {
        ip.is_loopback() || ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"].iter().any(|k| k.parse() == Ok(ip))
    };
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(name))) => name.eq_ignore_ascii_case("localhost"),
        ("http", Some(Host::Ipv4(ip))) => known(ip.into()),
        ("http", Some(Host::Ipv6(ip))) => known(ip.into()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_only_where_aws_puts_its_endpoints() {
        for (url, allowed) in [
            ("http://169.254.170.2/v2/x", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://127.0.0.1:8080/", true),
            ("http://localhost/", true),
            ("https://anywhere.example/", true),
            ("http://10.0.0.1/", false),
            ("http://169.254.169.254/", false),
            ("http://localhost.evil.example/", false),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(is_allowed(&Url::parse(url).unwrap()), allowed, "{url}");
        }
    }

    #[test]
    fn the_relative_address_wins_over_the_full_one() {
        let both = |name: &str| match name {
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => Some("/v2/creds".to_owned()),
            _ => Some("http://127.0.0.1/full".to_owned()),
        };
        assert_eq!(of_environment(&both).unwrap().as_str(), "http://169.254.170.2/v2/creds");
        assert!(of_environment(&|_| None).unwrap_err().absent);
    }
}

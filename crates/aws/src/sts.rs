//! Roles: `AssumeRole` and `AssumeRoleWithWebIdentity`, and who we are.
//!
//! Our own, because aws-config cannot be told an endpoint for the second, writes whole answers into the log, and calls STS in trouble,
//! a page of a proxy and a refusal the same. Keeps nothing between calls. Keeps true: a token file is read at each call, its path is in every
//! message about it; a question is asked twice at most.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::Request;
use url::{Url, form_urlencoded};

use crate::{
    RoleStep, StsConfig,
    aside::trimmed_text,
    clock::{self, SKEW_MS},
    connector::{ANSWER_LIMIT, Connections},
    denial::{denial, is_trouble, likeness},
    error::FetchError,
    explain::CallerIdentity,
    fault::{Asked, Fault, Refused},
    json,
    signer::{self, Scope},
    verdict,
};

/// STS answers within a second. Shorter than anybody waits for credentials, so that silence is told as silence of this host.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of STS's API.
const VERSION: &str = "2011-06-15";
/// Before a question to a service in trouble is repeated; half as long again at most.
const PAUSE: Duration = Duration::from_millis(300);

/// Where roles are assumed, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Sts<'a> {
    pub(crate) region: &'a str,
    pub(crate) config: &'a StsConfig,
    pub(crate) connections: &'a Connections,
}

impl Sts<'_> {
    /// The endpoint that the configuration names, or `AWS_ENDPOINT_URL_STS`, or `AWS_ENDPOINT_URL`. Its own name decides FIPS and dual stack.
    pub(crate) fn named_endpoint(&self) -> Option<Url> {
        let of_environment = || {
            let ignored = ignores_endpoints();
            // The one for a service wins over the one for all.
            ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].into_iter().filter(|_| !ignored).find_map(|name| {
                let url = Url::parse(std::env::var(name).ok()?.trim()).ok()?;
                (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
            })
        };
        self.config.endpoint.clone().or_else(of_environment)
    }

    fn uses(&self, variable: &str, configured: bool) -> bool {
        configured || is_true(variable)
    }

    /// Assumes one role on top of `base`.
    pub(crate) async fn assume(
        &self,
        role: &RoleStep,
        session_name: &str,
        base: Credentials,
    ) -> Result<Credentials, FetchError> {
        let from = verdict::show_key(base.access_key_id());
        let context = |e: FetchError| {
            e.told(|words| format!("assuming role {} with {from} in {}: {words}", role.role_arn, self.region))
        };
        if self.region.is_empty() {
            return Err(context(FetchError::failed("no region to ask STS in; set sts_region or region")));
        }
        let mut fields = vec![
            ("Action".to_owned(), "AssumeRole".to_owned()),
            ("Version".to_owned(), VERSION.to_owned()),
            ("RoleArn".to_owned(), role.role_arn.clone()),
            ("RoleSessionName".to_owned(), session_name.to_owned()),
        ];
        if let Some(external_id) = &role.external_id {
            fields.push(("ExternalId".to_owned(), external_id.clone()));
        }
        if let Some(length) = role.session_duration {
            fields.push(("DurationSeconds".to_owned(), length.as_secs().to_string()));
        }
        for (at, (name, value)) in role.session_tags.iter().enumerate() {
            fields.push((format!("Tags.member.{}.Key", at + 1), name.clone()));
            fields.push((format!("Tags.member.{}.Value", at + 1), value.clone()));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let reply = self.ask(Asked::Sts, &self.endpoint()?, body.into(), Some(&base)).await.map_err(&context)?;
        if let Some(denial) = denial(Asked::Sts, &reply) {
            let mut fault = denial.fault;
            let hint = role_hint(&fault, role.external_id.is_some());
            if let Fault::Refused(refused) | Fault::InTrouble(refused) = &mut fault {
                refused.key_id = Some(base.access_key_id().to_owned());
                refused.role_arn = Some(role.role_arn.clone());
            }
            return Err(context(FetchError::failed(format!("{}{hint}", denial.said)).of(fault)));
        }
        from_xml(&reply.body, "AssumeRole")
            .map_err(|why| context(FetchError::failed(odd(&reply, &why)).of(Fault::OddAnswer(Asked::Sts))))
    }

    /// The answer to a form. Asked once more where STS is in trouble, or where its answer tells that our clock is what is wrong.
    async fn ask(
        &self,
        asked: Asked,
        endpoint: &Url,
        body: Bytes,
        signed_by: Option<&Credentials>,
    ) -> Result<net::Reply, FetchError> {
        let send = async |offset_ms: i64| -> Result<net::Reply, FetchError> {
            let mut request = Request::post(endpoint.as_str())
                .header("content-type", "application/x-www-form-urlencoded")
                .header("accept", "application/xml")
                .body(body.clone())
                .map_err(|e| FetchError::failed(e.to_string()))?;
            if let Some(credentials) = signed_by {
                let time = clock::shift(SystemTime::now(), offset_ms);
                let scope = Scope { region: self.region, service: "sts", time };
                signer::sign_request(&mut request, credentials, scope).map_err(FetchError::failed)?;
            }
            let sent = self.connections.for_url(endpoint).send(request, TIMEOUT, ANSWER_LIMIT).await;
            sent.map_err(|e| FetchError::failed(e.to_string()).of(Fault::Unreached(asked)))
        };
        let reply = send(0).await?;
        let Some(refusal) = net::service_error::parse(reply.status, &reply.headers, &reply.body) else {
            return Ok(reply);
        };
        if is_trouble(reply.status, &refusal) {
            tokio::time::sleep(PAUSE.mul_f64(1.0 + 0.5 * fastrand::f64())).await;
            return send(0).await;
        }
        let may_be_the_clock =
            signed_by.is_some() && clock::corrects() && verdict::may_be_the_clock(reply.status, &refusal);
        match clock::offset_told_by(&reply.answer()).filter(|ms| ms.abs() > SKEW_MS) {
            Some(offset_ms) if may_be_the_clock => send(offset_ms).await,
            _ => Ok(reply),
        }
    }

    /// Who STS says that `credentials` are. Needs no permission, whatever policies say.
    pub(crate) async fn caller(
        &self,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<CallerIdentity, FetchError> {
        let endpoint = self.endpoint()?;
        let context =
            |what: String| FetchError::failed(format!("asking {} who we are: {what}", net::masked(&endpoint)));
        let mut request = Request::post(endpoint.as_str())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/xml")
            .body(Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15"))
            .map_err(|e| context(e.to_string()))?;
        let scope = Scope { region: self.region, service: "sts", time: now };
        signer::sign_request(&mut request, credentials, scope).map_err(context)?;
        let reply = self
            .connections
            .for_url(&endpoint)
            .send(request, TIMEOUT, ANSWER_LIMIT)
            .await
            .map_err(|e| context(e.to_string()).of(Fault::Unreached(Asked::Sts)))?;
        if let Some(refusal) = net::service_error::parse(reply.status, &reply.headers, &reply.body) {
            return Err(context(format!("STS said {}", crate::verdict::said(reply.status, &refusal))));
        }
        let mut found = elements(&reply.body, &["Arn", "Account", "UserId"]).map_err(context)?;
        let mut take = |name: &str| found.remove(name).ok_or_else(|| context(format!("its answer has no {name}")));
        Ok(CallerIdentity { arn: take("Arn")?, account: take("Account")?, user_id: take("UserId")? })
    }

    /// The STS endpoint for calls made by hand.
    pub(crate) fn endpoint(&self) -> Result<Url, FetchError> {
        if let Some(endpoint) = self.named_endpoint() {
            return Ok(endpoint);
        }
        let region = self.region;
        let dual = self.uses("AWS_USE_DUALSTACK_ENDPOINT", self.config.use_dualstack);
        let fips = self.uses("AWS_USE_FIPS_ENDPOINT", self.config.use_fips) && !region.starts_with("us-gov-");
        let name = if fips { "sts-fips" } else { "sts" };
        let suffix = endpoint_suffix(region, dual);
        Url::parse(&format!("https://{name}.{region}.{suffix}/"))
            .map_err(|e| FetchError::failed(format!("the STS endpoint of {region:?} is no URL: {e}")))
    }

    /// IRSA: exchanges a token file for a role's credentials.
    pub(crate) async fn web_identity(
        &self,
        role_arn: &str,
        session_name: &str,
        token_file: &Path,
    ) -> Result<Credentials, FetchError> {
        let token = trimmed_text(token_file).await.map_err(|e| {
            FetchError::failed(format!("web identity: cannot read the token file {}: {e}", token_file.display()))
                .of(Fault::WebIdentityToken(token_file.to_owned()))
        })?;
        let token = token.as_str();
        if token.is_empty() {
            return Err(FetchError::failed(format!("web identity: the token file {} is empty", token_file.display()))
                .of(Fault::WebIdentityToken(token_file.to_owned())));
        }
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("Action", "AssumeRoleWithWebIdentity"),
                ("Version", VERSION),
                ("RoleArn", role_arn),
                ("RoleSessionName", session_name),
                ("WebIdentityToken", token),
            ])
            .finish();
        let endpoint = self.endpoint()?;
        let context = |e: FetchError| {
            e.told(|words| format!("web identity: role {role_arn}, token {}: {words}", token_file.display()))
        };
        let reply = self.ask(Asked::StsWebIdentity, &endpoint, body.into(), None).await.map_err(&context)?;
        if let Some(denial) = denial(Asked::StsWebIdentity, &reply) {
            let mut fault = denial.fault;
            let mut said = denial.said;
            if let Fault::Refused(refused) | Fault::InTrouble(refused) = &mut fault {
                refused.role_arn = Some(role_arn.to_owned());
            }
            if let Fault::Refused(refused) = &fault {
                said = format!("STS said {said}{}", web_identity_hint(refused));
            }
            return Err(context(FetchError::failed(said).of(fault)));
        }
        from_xml(&reply.body, "WebIdentity")
            .map_err(|why| context(FetchError::failed(odd(&reply, &why)).of(Fault::OddAnswer(Asked::StsWebIdentity))))
    }
}

/// An answer that says yes and holds no credentials.
fn odd(reply: &net::Reply, why: &str) -> String {
    format!(
        "STS's answer (HTTP {}, {}) {why}: something else answers in its place",
        reply.status.as_u16(),
        likeness(reply)
    )
}

/// Neither variables nor profiles may name endpoints.
pub(crate) fn ignores_endpoints() -> bool {
    is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
}

fn is_true(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|v| v.trim().eq_ignore_ascii_case("true"))
}

/// What follows the region in an endpoint's host name.
pub(crate) fn endpoint_suffix(region: &str, dualstack: bool) -> &'static str {
    match (region, dualstack) {
        (r, false) if r.starts_with("cn-") => "amazonaws.com.cn",
        (r, true) if r.starts_with("cn-") => "api.amazonwebservices.com.cn",
        (r, false) if r.starts_with("eusc-") => "amazonaws.eu",
        (r, true) if r.starts_with("eusc-") => "api.amazonwebservices.eu",
        (_, true) => "api.aws",
        (_, false) => "amazonaws.com",
    }
}

fn role_hint(fault: &Fault, has_external_id: bool) -> String {
    let Fault::Refused(refused) = fault else { return String::new() };
    if refused.code == "AccessDenied" {
        let external = if has_external_id { "check external_id" } else { "an external id may be demanded" };
        format!(
            "; the role's trust policy must name this identity, this identity's policy must allow sts:AssumeRole, and {external}"
        )
    } else if is_about_duration(&refused.message) {
        "; session_duration must be at most the role's maximum, and 1h when a role is assumed from a role".to_owned()
    } else {
        String::new()
    }
}

/// STS's words about a duration that it does not grant.
pub(crate) fn is_about_duration(words: &str) -> bool {
    let lower = words.to_ascii_lowercase();
    lower.contains("durationseconds") || lower.contains("maxsessionduration") || lower.contains("1 hour session limit")
}

fn web_identity_hint(refused: &Refused) -> &'static str {
    match refused.code.as_str() {
        "InvalidIdentityToken" => {
            "; the token's issuer must be an IAM OIDC provider of the role's account and its audience sts.amazonaws.com"
        }
        "ExpiredToken" => "; the token file is not being renewed",
        "AccessDenied" => {
            "; there must be such a role, and the role's trust policy must allow sts:AssumeRoleWithWebIdentity for this token's subject and audience"
        }
        "RegionDisabled" => "; enable the region for STS in the account, or set sts_region",
        _ => "",
    }
}

/// The text of each of the `wanted` elements that is there and not empty, wherever it stands.
fn elements<'w>(body: &[u8], wanted: &[&'w str]) -> Result<BTreeMap<&'w str, String>, String> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let body = String::from_utf8_lossy(body);
    let mut reader = quick_xml::Reader::from_str(&body);
    let mut current: Option<&str> = None;
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Start(e)) => {
                let name = e.local_name();
                current = wanted.iter().copied().find(|w| *w == name.as_ref());
            }
            Ok(quick_xml::events::Event::Text(text)) => {
                if let Some(name) = current {
                    found.entry(name).or_default().push_str(&text);
                }
            }
            Ok(quick_xml::events::Event::End(_)) => current = None,
            Ok(quick_xml::events::Event::Eof) => break,
            Ok(_) => {}
            Err(_) => return Err("is not XML".to_owned()),
        }
    }
    Ok(found.into_iter().map(|(name, text)| (name, text.trim().to_owned())).filter(|(_, t)| !t.is_empty()).collect())
}

/// The `Credentials` element of an STS answer.
pub(crate) fn from_xml(body: &[u8], provider: &'static str) -> Result<Credentials, String> {
    let mut found = elements(body, &["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"])?;
    let mut take = |name: &str| found.remove(name).ok_or(format!("has no {name}"));
    let (key, secret, token) = (take("AccessKeyId")?, take("SecretAccessKey")?, take("SessionToken")?);
    let expiry = json::parse_time(&take("Expiration")?).ok_or("has an Expiration that is not a time")?;
    Ok(Credentials::new(key, secret, Some(token), Some(expiry), provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_every_partition_and_switch() {
        let client = || net::Client::new(&net::HttpClientConfig::default(), net::ClientOptions::default()).unwrap();
        let connections = Connections { outside: client(), local: client() };
        for (region, use_fips, use_dualstack, host) in [
            ("us-east-1", false, false, "sts.us-east-1.amazonaws.com"),
            ("us-east-1", true, false, "sts-fips.us-east-1.amazonaws.com"),
            ("eu-west-1", false, true, "sts.eu-west-1.api.aws"),
            ("us-west-2", true, true, "sts-fips.us-west-2.api.aws"),
            ("us-gov-west-1", true, false, "sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, false, "sts.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", false, false, "sts.eusc-de-east-1.amazonaws.eu"),
        ] {
            let config = StsConfig { use_fips, use_dualstack, ..StsConfig::default() };
            let endpoint = Sts { region, config: &config, connections: &connections }.endpoint().unwrap();
            assert_eq!(endpoint.host_str(), Some(host));
        }
    }

    #[test]
    fn garbage_instead_of_an_answer_is_an_error() {
        for body in [&b""[..], b"{}", b"<a>", b"<AccessKeyId>A</AccessKeyId>", &[0xff; 100], b"</a></b>"] {
            assert!(from_xml(body, "x").is_err());
        }
    }
}

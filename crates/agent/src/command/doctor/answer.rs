//! The answer to a probe, turned into a cause.
//!
//! Pure. Keeps true: every answer is either a yes or has a cause; what AWS says is believed before the HTTP status.

use aws::{CanonicalVerdict, IdentityConfig};
use net::service_error::ServiceError;
use remote_write::{DestinationConfig, ProbeKind, ProtocolConfig, logs::LogProtocol, traces::OtlpProtocol};

use super::{
    cause::Finding,
    causes::cause,
    facts,
    probe::Answered,
    proof::{self, Proof},
    words,
};

/// What an answer is read against.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub config: &'a DestinationConfig,
    /// Where requests go, if not to the url.
    pub sent_to: Option<&'a str>,
    pub identity: Option<&'a IdentityConfig>,
    /// Signing name and region in use.
    pub service: &'a str,
    pub region: &'a str,
    /// Twelve digits, where they are known.
    pub account: Option<&'a str>,
    pub kind: &'a ProbeKind,
    /// Another question follows.
    pub has_next: bool,
    /// STS accepted a request signed with the same key.
    pub sts_accepts: bool,
    pub is_write: bool,
}

impl Case<'_> {
    fn is_s3(&self) -> bool {
        matches!(
            self.config.protocol,
            ProtocolConfig::S3 { .. }
                | ProtocolConfig::Logs(LogProtocol::Objects(_))
                | ProtocolConfig::Otlp(OtlpProtocol::Objects(_))
        )
    }

    fn is_amp(&self) -> bool {
        let of_host = || aws::parse_host(&self.config.url).and_then(|h| h.service).is_some_and(|s| s == "aps");
        !self.is_s3() && ((self.identity.is_some() && self.service == "aps") || of_host())
    }

    fn has_tenant_header(&self) -> bool {
        self.config.client.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-scope-orgid"))
    }
}

/// What the answer says: yes, with what that proves, or why not.
pub fn judge(case: &Case<'_>, answered: &Answered) -> Result<Proof, Finding> {
    let status = answered.status.as_u16();
    let error = answered.error.as_ref();
    if answered.status.is_success() && answered.is_page {
        // Captive portals and login pages say 200 to everything.
        let page = Finding::new(cause("not_the_service"), answered.said.clone());
        return Err(page.with("page", answered.said.clone()).with("status", shown_status(answered)));
    }
    if let Some(finding) = page_between(case, answered) {
        return Err(finding);
    }
    if let Some(finding) = unfit_stream(case, answered) {
        return Err(finding);
    }
    if let Some(proof) = proof::of(case.kind, case.has_next, case.is_write, answered) {
        return Ok(proof);
    }
    let mut finding = match error.filter(|e| !e.is_bare_status()).and_then(|error| by_code(case, error, answered)) {
        Some(finding) => finding,
        None => by_status(case, status, answered),
    };
    finding.facts.entry("status").or_insert_with(|| shown_status(answered));
    if finding.detail.is_empty() {
        finding.detail.clone_from(&answered.said);
    }
    Err(finding)
}

/// A page that refuses: AWS writes none, and a receiver that asks for a password leaves its page to whatever stands before it.
fn page_between(case: &Case<'_>, answered: &Answered) -> Option<Finding> {
    let status = answered.status.as_u16();
    let refuses = status == 403 || (status == 401 && case.identity.is_some());
    let is_of_service = answered.error.as_ref().is_some_and(|e| e.request_id.is_some());
    if !answered.is_page || !refuses || is_of_service {
        return None;
    }
    let page = Finding::new(cause("page_between"), answered.said.clone());
    Some(page.with("page", answered.said.clone()).with("status", shown_status(answered)))
}

/// `endpoint_url` brings a path of its own, and the request ends where nothing is.
fn endpoint_path(case: &Case<'_>) -> Option<Finding> {
    let endpoint = case.config.endpoint_url.as_ref()?;
    let base = endpoint.path().trim_end_matches('/');
    let path = case.config.url.path().trim_end_matches('/');
    let is_doubled = !path.is_empty() && base.ends_with(path);
    if base.is_empty() || !(is_doubled || (case.is_amp() && is_amp_path(path))) {
        return None;
    }
    let mut right = endpoint.clone();
    right.set_path("");
    let right = net::masked(&right);
    let finding = Finding::new(cause("endpoint_path"), "")
        .with("endpoint_path", base)
        .with("right_endpoint", right.trim_end_matches('/'));
    Some(case.sent_to.iter().fold(finding, |finding, address| finding.with("sent_to", *address)))
}

/// Where a request goes, without what a probe puts at its end.
pub fn shown_address(address: &url::Url) -> String {
    let mut shown = address.clone();
    shown.set_query(None);
    if let Some((folder, name)) = address.path().rsplit_once('/')
        && name.starts_with("sigpost-doctor-probe")
    {
        shown.set_path(folder);
    }
    net::masked(&shown)
}

/// A Firehose stream that is there and takes nothing from us.
fn unfit_stream(case: &Case<'_>, answered: &Answered) -> Option<Finding> {
    let (state, kind) = answered.delivery_stream.as_ref().filter(|_| *case.kind == ProbeKind::Describe)?;
    if kind != "DirectPut" {
        return Some(Finding::new(cause("delivery_stream_not_direct"), "").with("kind", kind));
    }
    (state != "ACTIVE").then(|| Finding::new(cause("delivery_stream_not_active"), "").with("state", state))
}

/// `HTTP 403 AccessDeniedException`.
pub fn shown_status(answered: &Answered) -> String {
    match answered.error.as_ref().filter(|e| !e.is_bare_status()) {
        Some(error) => format!("HTTP {} {}", answered.status.as_u16(), error.code),
        None => format!("HTTP {}", answered.status.as_u16()),
    }
}

fn by_code(case: &Case<'_>, error: &ServiceError, answered: &Answered) -> Option<Finding> {
    let message = error.message.as_str();
    let lower = message.to_ascii_lowercase();
    let plain = |id| Some(Finding::new(id, ""));
    if lower.contains("token included in the request is expired") {
        return plain(cause("expired_token"));
    }
    match error.code.strip_suffix("Exception").unwrap_or(&error.code) {
        "ExpiredToken" | "TokenRefreshRequired" => plain(cause("expired_token")),
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => plain(cause("clock_skew")),
        "SignatureDoesNotMatch" | "InvalidSignature" | "AuthFailure" | "IncompleteSignature" => {
            Some(by_signature(case, message, answered))
        }
        "UnrecognizedClient" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "InvalidToken" | "InvalidSecurity" => {
            plain(cause("unknown_key"))
        }
        "MissingAuthenticationToken" => Some(by_address(case)),
        "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" | "AllAccessDisabled" => {
            Some(by_permission(case, message))
        }
        "OptInRequired" | "SubscriptionRequired" | "RegionDisabled" | "AccountProblem" | "NotSignedUp" => {
            plain(cause("service_not_enabled"))
        }
        "AuthorizationHeaderMalformed" if lower.contains("incorrect service") => {
            Some(Finding::new(cause("wrong_service"), "").with("right_service", "s3"))
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => {
            let named = message.split_once("expecting '").and_then(|(_, rest)| rest.split('\'').next());
            let right = answered.bucket_region.as_deref().or(named);
            let finding = Finding::new(cause("wrong_bucket_region"), "");
            Some(match right {
                Some(right) => finding.with("right_region", right),
                None => finding,
            })
        }
        "Throttling"
        | "Throttled"
        | "RequestThrottled"
        | "TooManyRequests"
        | "SlowDown"
        | "RequestLimitExceeded"
        | "LimitExceeded"
        | "ProvisionedThroughputExceeded" => plain(cause("throttled")),
        "ResourceNotFound" => plain(match case.kind {
            ProbeKind::OldLine(_) | ProbeKind::Line(_) | ProbeKind::EmptyExport if lower.contains("log stream") => {
                cause("log_stream_missing")
            }
            ProbeKind::OldLine(_) | ProbeKind::Line(_) | ProbeKind::EmptyExport if lower.contains("log group") => {
                cause("log_group_missing")
            }
            ProbeKind::DryRun | ProbeKind::EmptyBatch | ProbeKind::Describe => cause("stream_missing"),
            _ => cause("not_found"),
        }),
        "InvalidBucketName" => plain(cause("bucket_name")),
        "NoSuchBucket" | "NoSuchKey" => plain(cause("not_found")),
        "InvalidArgument" if lower.contains("delivery stream type") => {
            let kind = message.split_whitespace().find(|word| word.ends_with("AsSource")).unwrap_or("another source");
            Some(Finding::new(cause("delivery_stream_not_direct"), "").with("kind", kind))
        }
        "InvalidKMSResource" | "KMSAccessDenied" | "KMSDisabled" | "KMSInvalidState" | "KMSNotFound"
        | "KMSOptInRequired" => plain(cause("key_unusable")),
        _ => None,
    }
}

fn by_signature(case: &Case<'_>, message: &str, answered: &Answered) -> Finding {
    // A password or a bearer token: whoever wants a signature finds none.
    if case.identity.is_none() {
        return Finding::new(cause("unsigned"), "");
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("signature expired") || lower.contains("signature not yet current") {
        return Finding::new(cause("clock_skew"), "");
    }
    let quoted = message.split('\'').nth(1).filter(|word| !word.is_empty() && !word.contains(' '));
    if lower.contains("scoped to correct service") || lower.contains("scoped to a valid service") {
        let right = quoted.unwrap_or("the endpoint's");
        return Finding::new(cause("wrong_service"), "").with("right_service", right);
    }
    if lower.contains("scoped to a valid region") || lower.contains("scoped to correct region") {
        // AWS quotes here the region that it was given, which is the wrong one.
        return Finding::new(cause("wrong_region"), "").with("right_region", right_region(case));
    }
    match &answered.canonical {
        Some(CanonicalVerdict::Differs(difference)) => {
            let detail = format!(
                "line {} ({}) was signed as {:?} and arrived as {:?}",
                difference.line, difference.part, difference.ours, difference.theirs
            );
            Finding::new(cause("request_altered"), detail)
                .with("part", difference.part.clone())
                .with("explanation", difference.explanation.clone())
        }
        Some(CanonicalVerdict::Same { explanation }) => match other_scope(explanation) {
            Some((region, service)) if service != case.service => {
                Finding::new(cause("wrong_service"), explanation.clone())
                    .with("right_service", service)
                    .with("right_region", region)
            }
            Some((region, _)) => Finding::new(cause("wrong_region"), explanation.clone()).with("right_region", region),
            None => Finding::new(cause("wrong_secret"), explanation.clone()),
        },
        _ if case.sts_accepts => Finding::new(cause("signature_unexplained"), ""),
        _ => Finding::new(cause("wrong_secret"), ""),
    }
}

/// Region and service of the scope that AWS says it computed, where it is not ours.
fn other_scope(explanation: &str) -> Option<(String, String)> {
    let (_, rest) = explanation.split_once("but for the scope ")?;
    let mut parts = rest.split_whitespace().next()?.split('/').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

/// The region that the host's name holds, else where to look.
fn right_region(case: &Case<'_>) -> String {
    let host = aws::parse_host(&case.config.url);
    host.and_then(|h| h.region).unwrap_or_else(|| "the console shows it".to_owned())
}

/// Nobody saw a signature, or there is nothing at this path: AMP's gateway has the same words for both.
fn by_address(case: &Case<'_>) -> Finding {
    let path = case.config.url.path();
    if case.identity.is_none() {
        return Finding::new(cause("unsigned"), "");
    }
    if let Some(finding) = endpoint_path(case) {
        return finding;
    }
    if case.service == "execute-api" {
        return Finding::new(cause("gateway_path"), "");
    }
    if is_amp_path(path) && case.service != "aps" {
        return Finding::new(cause("wrong_service"), "").with("right_service", "aps");
    }
    if !case.is_amp() || is_amp_path(path) {
        return Finding::new(cause("signature_removed"), "");
    }
    let mut right = case.config.url.clone();
    if is_amp_path(path.trim_end_matches('/')) {
        right.set_path(path.trim_end_matches('/'));
        return Finding::new(cause("trailing_slash"), "").with("right_url", net::masked(&right));
    }
    let workspace = path.split('/').find(|part| part.starts_with("ws-")).unwrap_or("WORKSPACE-ID");
    right.set_path(&format!("/workspaces/{workspace}/api/v1/remote_write"));
    Finding::new(cause("wrong_path"), "").with("right_url", net::masked(&right))
}

pub(super) fn is_amp_path(path: &str) -> bool {
    let id = path.strip_prefix("/workspaces/").and_then(|rest| rest.strip_suffix("/api/v1/remote_write"));
    id.is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

fn by_permission(case: &Case<'_>, message: &str) -> Finding {
    if case.identity.is_none() {
        return Finding::new(cause("unsigned"), "");
    }
    if case.is_amp() && case.has_tenant_header() && !message.contains("to perform") {
        return Finding::new(cause("tenant_header"), "");
    }
    let word = |mark: &str| {
        let (_, rest) = message.split_once(mark)?;
        let word = rest.split_whitespace().next()?;
        Some(word.trim_matches(['"', '\'', '.', ',']).trim_end_matches(':').to_owned())
    };
    let action = word("to perform: ").filter(|a| a.contains(':')).unwrap_or_else(|| match case.service {
        "aps" => "aps:RemoteWrite".to_owned(),
        "s3" => "s3:PutObject".to_owned(),
        "logs" if matches!(case.kind, ProbeKind::Stream(_)) => "logs:CreateLogStream".to_owned(),
        "logs" => "logs:PutLogEvents".to_owned(),
        "firehose" => "firehose:PutRecordBatch".to_owned(),
        "kinesis" => "kinesis:PutRecords".to_owned(),
        "xray" => "xray:PutTraceSegments".to_owned(),
        "execute-api" => "execute-api:Invoke".to_owned(),
        other => format!("the action of {other}"),
    });
    let resource = word("on resource: ").filter(|r| r.starts_with("arn:")).unwrap_or_else(|| resource_of(case));
    let id = if message.to_ascii_lowercase().contains("explicit deny") {
        cause("explicit_deny")
    } else {
        cause("missing_permission")
    };
    let finding = Finding::new(id, "").with("action", action).with("resource", widened(case, &resource));
    match word("User: ").filter(|who| who.starts_with("arn:")) {
        Some(caller) => finding.with("principal", words::principal(&caller)).with("caller", caller),
        None => finding,
    }
}

/// A probe's own object or stream is of no use in a policy: the prefix and the group are.
fn widened(case: &Case<'_>, resource: &str) -> String {
    if let Some((before, group)) = resource.split_once(":log-group:") {
        let group = group.split(':').next().unwrap_or_default();
        let pattern = match case.kind {
            ProbeKind::OldLine(place) | ProbeKind::Stream(place) | ProbeKind::Line(place) => {
                place.group_pattern.as_deref()
            }
            _ => None,
        };
        return format!("{before}:log-group:{}:*", pattern.unwrap_or(group));
    }
    match resource.rsplit_once('/') {
        Some((prefix, name)) if case.is_s3() && name.starts_with("sigpost-doctor-probe") => format!("{prefix}/*"),
        _ => resource.to_owned(),
    }
}

/// What a policy would name for the things that this destination is written to.
pub fn resource(case: &Case<'_>) -> String {
    widened(case, &resource_of(case))
}

fn resource_of(case: &Case<'_>) -> String {
    let account = case.account.unwrap_or("ACCOUNT");
    if case.is_s3() {
        let (bucket, prefix) = bucket(case.config);
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        return format!("arn:aws:s3:::{bucket}/{prefix}{slash}*");
    }
    let of_service = |resource: &str| format!("arn:aws:{}:{}:{account}:{resource}", case.service, case.region);
    match &case.config.protocol {
        ProtocolConfig::Logs(protocol @ (LogProtocol::CloudWatch(_) | LogProtocol::Otlp(_)))
            if case.service == "logs" =>
        {
            let group = facts::group_and_stream(protocol).map_or_else(|| "GROUP".to_owned(), |(group, _)| group);
            return of_service(&format!("log-group:{}:*", facts::starred(&group)));
        }
        ProtocolConfig::Logs(LogProtocol::Firehose(of)) => {
            return of_service(&format!("deliverystream/{}", of.delivery_stream));
        }
        ProtocolConfig::Logs(LogProtocol::Kinesis(of)) => return of_service(&format!("stream/{}", of.stream_name)),
        // X-Ray knows no resources.
        _ if case.service == "xray" => return "*".to_owned(),
        _ if case.service == "execute-api" => {
            let id = case.config.url.host_str().and_then(|host| host.split('.').next()).unwrap_or("API");
            return of_service(&format!("{id}/*/POST/*"));
        }
        _ => {}
    }
    let workspace = case.config.url.path().split('/').nth(2).unwrap_or("*");
    of_service(&format!("workspace/{workspace}"))
}

/// Bucket and prefix of an S3 destination.
pub fn bucket(config: &DestinationConfig) -> (String, String) {
    let path = config.url.path().trim_start_matches('/');
    match aws::parse_host(&config.url).and_then(|h| h.s3_style) {
        Some(aws::S3Style::VirtualHost { bucket }) => (bucket, path.to_owned()),
        _ => {
            let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
            (bucket.to_owned(), prefix.to_owned())
        }
    }
}

fn by_status(case: &Case<'_>, status: u16, answered: &Answered) -> Finding {
    let plain = |id| Finding::new(id, "");
    if let Some(finding) = endpoint_path(case).filter(|_| matches!(status, 404 | 405)) {
        return finding;
    }
    match status {
        300..=399 => plain(cause("redirected"))
            .with("location", answered.location.clone().unwrap_or_else(|| "nowhere".to_owned())),
        400 if case.is_amp() && case.has_tenant_header() => plain(cause("tenant_header")),
        401 if *case.kind == ProbeKind::EmptyPush && answered.said.contains("no org id") => {
            plain(cause("tenant_missing"))
        }
        401 | 403 if case.identity.is_none() => {
            let is_aws = aws::parse_host(&case.config.url).is_some();
            plain(if is_aws && case.config.client.auth.is_none() { cause("unsigned") } else { cause("login_refused") })
        }
        403 if case.is_amp() && case.has_tenant_header() => plain(cause("tenant_header")),
        404 if case.is_amp() && !is_amp_path(case.config.url.path()) => by_address(case),
        404 | 405 | 410 => plain(cause("not_found")),
        400 | 411 | 412 | 415 | 422 | 501 if case.is_s3() && !case.is_write => plain(cause("store_unproven")),
        400 | 411 | 412 | 413 | 415 | 422 if case.is_write => plain(cause("write_refused")),
        400 | 411 | 412 | 413 | 415 | 422 => plain(cause("probe_refused")),
        429 => plain(cause("throttled")),
        500..=599 => plain(cause("receiver_broken")),
        _ => plain(cause("unexplained")),
    }
}

#[cfg(test)]
mod tests;

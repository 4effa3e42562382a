//! What a refusal of AWS says about the identity, and what a person should do about it.
//!
//! Pure: changes nothing. Keeps true: no secret and no session token reaches a text (AWS's own message may quote the
//! canonical request, which holds the token, and is cut there).

use http::StatusCode;
use net::service_error::ServiceError;

use crate::words::printable;

/// What kind of refusal it is; see the error taxonomy of the AWS reference (botocore and SDK lists).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The session is over.
    Expired,
    /// The time of the signature is too far off.
    Skewed,
    /// The signature does not fit.
    BadSignature,
    /// Nobody knows the key or the token.
    UnknownKey,
    /// No signature was seen, or there is nothing at that address.
    Unsigned,
    /// Known, and not allowed.
    Denied,
    /// The account or region is not open for this.
    NotEnabled,
    /// Signed for another region than the bucket's.
    WrongRegion,
    /// 401 or 403 without a code that says more.
    Unexplained,
}

/// `None`: the answer is not about identity.
pub(crate) fn classify(status: StatusCode, error: &ServiceError) -> Option<Refusal> {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let message = error.message.to_ascii_lowercase();
    let code = error.code.strip_suffix("Exception").unwrap_or(&error.code);
    let late = message.contains("signature expired") || message.contains("signature not yet current");
    let refusal = match code {
        "ExpiredToken" | "TokenRefreshRequired" => Refusal::Expired,
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => Refusal::Skewed,
        "SignatureDoesNotMatch" | "InvalidSignature" | "AuthFailure" | "IncompleteSignature" if late => Refusal::Skewed,
        "SignatureDoesNotMatch" | "InvalidSignature" | "AuthFailure" | "IncompleteSignature" => Refusal::BadSignature,
        "UnrecognizedClient" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "InvalidToken"
            if message.contains("expired") =>
        {
            Refusal::Expired
        }
        "UnrecognizedClient" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "InvalidToken" | "InvalidSecurity" => {
            Refusal::UnknownKey
        }
        "MissingAuthenticationToken" => Refusal::Unsigned,
        "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" | "AllAccessDisabled"
            if message.contains("security token") && message.contains("expired") =>
        {
            Refusal::Expired
        }
        "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" | "AllAccessDisabled" => Refusal::Denied,
        "OptInRequired" | "SubscriptionRequired" | "RegionDisabled" | "AccountProblem" | "NotSignedUp" => {
            Refusal::NotEnabled
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => Refusal::WrongRegion,
        _ if message.contains("security token included in the request is expired") => Refusal::Expired,
        _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Refusal::Unexplained,
        _ => return None,
    };
    Some(refusal)
}

/// A signature that AWS calls wrong, late or early may be right, and its time wrong.
pub(crate) fn may_be_the_clock(status: StatusCode, error: &ServiceError) -> bool {
    matches!(
        classify(status, error),
        Some(Refusal::Skewed | Refusal::BadSignature | Refusal::Denied | Refusal::Expired)
    )
}

/// An access key id for people, unless it may be a secret that somebody wrote in its place: AWS's ids have 20 characters and its
/// secrets 40, of a larger alphabet.
pub(crate) fn plain_id(key_id: &str) -> String {
    let key_id = key_id.trim();
    let is_word = key_id.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if is_word && (key_id.len() <= 32 || key_id.starts_with("GOOG")) {
        return key_id.to_owned();
    }
    format!("(not shown: {} characters that are no access key id)", key_id.chars().count())
}

/// An access key id is no secret; it is what a person searches for in IAM.
pub(crate) fn show_key(key_id: &str) -> String {
    let key = plain_id(key_id);
    if key.is_empty() { "an empty access key".to_owned() } else { format!("access key {key}") }
}

/// `Code: message (HTTP 403, request id r)`, without what could hold a token.
pub(crate) fn said(status: StatusCode, error: &ServiceError) -> String {
    let mut message = error.message.as_str();
    // What follows quotes the request, `x-amz-security-token` included.
    for marker in [
        "The Canonical String",
        "The canonical string",
        "Canonical String",
        "The String-to-Sign",
        "x-amz-security-token",
    ] {
        if let Some(at) = message.find(marker) {
            message = message.get(..at).unwrap_or_default();
        }
    }
    let message = printable(message, 300);
    let id = error.request_id.as_deref().map_or(String::new(), |id| format!(", request id {}", printable(id, 80)));
    let status = format!("HTTP {}{id}", status.as_u16());
    match (error.is_bare_status(), message.is_empty()) {
        (true, true) => format!("no error code ({status})"),
        (true, false) => format!("{message:?} ({status})"),
        (false, true) => format!("{} ({status})", printable(&error.code, 80)),
        (false, false) => format!("{}: {message} ({status})", printable(&error.code, 80)),
    }
}

/// What the person can do. `offset_ms` is the far end's clock minus ours; `when_expired` is the source's own advice.
pub(crate) fn advice(
    refusal: Refusal,
    error: &ServiceError,
    service: &str,
    region: &str,
    offset_ms: Option<i64>,
    when_expired: impl FnOnce() -> String,
) -> String {
    match refusal {
        Refusal::Expired => format!("these credentials have expired; {}", when_expired()),
        Refusal::Skewed => {
            let offset = offset_ms.map_or(String::new(), |ms| format!(" (it is {} s off)", ms / 1000));
            format!("set this machine's clock right (NTP){offset}")
        }
        Refusal::BadSignature => signature_advice(error, service, region),
        Refusal::UnknownKey => "AWS does not know this key: it was deleted or made inactive, it belongs to another partition (aws, aws-cn, \
                                aws-us-gov), or its session token is missing or of another key"
            .to_owned(),
        Refusal::Unsigned => match service {
            "aps" => "AWS found nothing at this address: check the workspace id, that the path ends with /api/v1/remote_write, and that there is \
                      no slash after it"
                .to_owned(),
            _ => "AWS found nothing at this address, or a proxy removed the Authorization header: check path, method and stage of the URL".to_owned(),
        },
        Refusal::Denied => denied_advice(&error.message, service),
        Refusal::NotEnabled => format!("the account is not set up for {service} in {region}: enable the region or the service, or settle the account"),
        Refusal::WrongRegion => "set region to the bucket's region and use that region's endpoint (https://s3.<region>.amazonaws.com)".to_owned(),
        Refusal::Unexplained => "AWS gave no reason, so something before it may have answered: a proxy, a web application firewall, a VPC endpoint \
                                 policy; check the URL and what is in between"
            .to_owned(),
    }
}

fn signature_advice(error: &ServiceError, service: &str, region: &str) -> String {
    let lower = error.message.to_ascii_lowercase();
    if lower.contains("scoped to correct service") || lower.contains("scoped to a valid service") {
        let right = quoted(&error.message).map_or(String::new(), |name| format!(" {name}"));
        return format!("it was signed for service {service}; set service_name to the right one{right}");
    }
    if lower.contains("scoped to a valid region") || lower.contains("scoped to correct region") {
        return format!("it was signed for region {region}; set region to the endpoint's");
    }
    format!(
        "the secret key does not belong to this key id, or region {region} or service {service} is wrong for this endpoint, or something in \
         between changes headers or path"
    )
}

fn denied_advice(message: &str, service: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let after = |phrase: &str| {
        let at = words.windows(2).position(|w| matches!(w, [a, b] if format!("{a} {b}") == phrase))?;
        words.get(at + 2).map(|w| {
            w.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != ':' && c != '*')
                .trim_end_matches(':')
                .to_owned()
        })
    };
    let action = after("to perform:").filter(|a| a.contains(':'));
    let action = action.unwrap_or_else(|| match service {
        "aps" => "aps:RemoteWrite".to_owned(),
        "s3" => "s3:PutObject".to_owned(),
        other => format!("the {other} action"),
    });
    let lower = message.to_ascii_lowercase();
    let why = if lower.contains("explicit deny") {
        "a policy denies it explicitly (look for Deny statements, service control policies and VPC endpoint policies)"
    } else if lower.contains("vpc endpoint policy") {
        "the VPC endpoint's policy does not allow it"
    } else if lower.contains("service control policy") {
        "a service control policy of the organization does not allow it"
    } else if lower.contains("permissions boundary") {
        "its permissions boundary does not allow it"
    } else {
        "no policy allows it"
    };
    format!("{why}: allow {action} for this identity on this resource")
}

/// The first text in single quotes.
fn quoted(message: &str) -> Option<&str> {
    message.split('\'').nth(1).filter(|s| !s.is_empty() && s.len() < 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str) -> ServiceError {
        ServiceError {
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: Some("r-1".to_owned()),
            extended_request_id: None,
        }
    }

    #[test]
    fn every_code_of_the_table_has_its_kind() {
        let table: &[(u16, &str, &str, Option<Refusal>)] = &[
            (400, "ExpiredToken", "", Some(Refusal::Expired)),
            (403, "ExpiredTokenException", "", Some(Refusal::Expired)),
            (403, "AccessDenied", "The security token included in the request is expired", Some(Refusal::Expired)),
            (403, "RequestTimeTooSkewed", "", Some(Refusal::Skewed)),
            (
                403,
                "InvalidSignatureException",
                "Signature expired: 1 is now earlier than 2 (3 - 5 min.)",
                Some(Refusal::Skewed),
            ),
            (403, "SignatureDoesNotMatch", "Signature not yet current: 1 is still later than 2", Some(Refusal::Skewed)),
            (
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match",
                Some(Refusal::BadSignature),
            ),
            (400, "IncompleteSignature", "", Some(Refusal::BadSignature)),
            (403, "UnrecognizedClientException", "", Some(Refusal::UnknownKey)),
            (403, "InvalidClientTokenId", "", Some(Refusal::UnknownKey)),
            (403, "InvalidAccessKeyId", "", Some(Refusal::UnknownKey)),
            (403, "MissingAuthenticationToken", "", Some(Refusal::Unsigned)),
            (403, "MissingAuthenticationTokenException", "", Some(Refusal::Unsigned)),
            (400, "AccessDeniedException", "", Some(Refusal::Denied)),
            (403, "AccessDenied", "", Some(Refusal::Denied)),
            (403, "OptInRequired", "", Some(Refusal::NotEnabled)),
            (403, "RegionDisabledException", "", Some(Refusal::NotEnabled)),
            (400, "AuthorizationHeaderMalformed", "", Some(Refusal::WrongRegion)),
            (301, "PermanentRedirect", "", Some(Refusal::WrongRegion)),
            (401, "HTTP 401", "", Some(Refusal::Unexplained)),
            (403, "HTTP 403", "<html>", Some(Refusal::Unexplained)),
            (400, "HTTP 400", "out of order sample", None),
            (400, "ThrottlingException", "Rate exceeded", None),
            (429, "ThrottlingException", "", None),
            (503, "AccessDenied", "", None),
            (404, "ResourceNotFoundException", "", None),
            (413, "HTTP 413", "", None),
        ];
        for (status, code, message, expected) in table {
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(classify(status, &error(code, message)), *expected, "{code} {message}");
        }
    }

    #[test]
    fn a_quoted_canonical_request_is_not_repeated() {
        let message = "The request signature we calculated does not match the signature you provided. Check your key.\n\nThe Canonical String for \
                       this request should have been\n'POST\n/\n\nx-amz-security-token:SECRETTOKEN\n'";
        let text = said(StatusCode::FORBIDDEN, &error("SignatureDoesNotMatch", message));
        assert!(text.contains("does not match") && !text.contains("SECRETTOKEN"), "{text}");
        assert!(text.contains("HTTP 403, request id r-1"), "{text}");
    }

    #[test]
    fn advice_names_what_to_change() {
        let denied = "User: arn:aws:iam::123456789012:user/u is not authorized to perform: aps:RemoteWrite on resource: arn:aws:aps:x with an \
                      explicit deny in an identity-based policy";
        let advice_of = |refusal, message: &str| {
            advice(refusal, &error("X", message), "aps", "us-east-1", Some(-600_000), || "write new ones".to_owned())
        };
        let text = advice_of(Refusal::Denied, denied);
        assert!(text.contains("allow aps:RemoteWrite") && text.contains("explicitly"), "{text}");
        assert!(advice_of(Refusal::Denied, "Forbidden").contains("aps:RemoteWrite"));
        assert!(advice_of(Refusal::Unsigned, "").contains("no slash"));
        assert!(advice_of(Refusal::Skewed, "").contains("-600 s"));
        assert!(advice_of(Refusal::Expired, "").contains("write new ones"));
        assert!(
            advice_of(Refusal::BadSignature, "Credential should be scoped to correct service: 'aps'. ")
                .contains("service_name to the right one aps")
        );
        assert!(
            advice_of(Refusal::BadSignature, "Credential should be scoped to a valid region, not 'x'")
                .contains("set region")
        );
    }
}

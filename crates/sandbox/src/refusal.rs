//! Why a request was not believed: the facts, a short name for counting, and what the caller should do.
//!
//! How it is put on the wire differs by service; see `answer`.

/// A signature that did not match, with everything needed to find out why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The key whose secret was used to check.
    pub access_key_id: String,
    /// The canonical request as the sandbox reads the request.
    pub canonical_request: String,
    /// The string to sign made from it.
    pub string_to_sign: String,
    /// The signature that came with the request.
    pub provided: String,
}

/// Two clocks too far apart. Times are `YYYYMMDDTHHMMSSZ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockGap {
    /// The request's own time.
    pub request: String,
    /// The server's time.
    pub server: String,
    /// The edge of what would have been accepted.
    pub limit: String,
    /// Width of the window.
    pub window_minutes: i64,
    /// How far the request's clock is ahead, in milliseconds (negative: behind).
    pub ahead_ms: i64,
}

/// The check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No signature at all.
    Unsigned,
    /// A signature that cannot be read.
    Malformed {
        /// What is wrong with it, in AWS's words where they are known.
        what: String,
    },
    /// No such access key.
    UnknownKey {
        /// The key id sent.
        access_key_id: String,
    },
    /// The key is deactivated, not valid yet, or no longer valid.
    InactiveKey {
        /// The key id sent.
        access_key_id: String,
    },
    /// Temporary credentials without their token.
    TokenMissing {
        /// The key id sent.
        access_key_id: String,
    },
    /// A token that belongs to another key, or to none.
    TokenWrong {
        /// The key id sent.
        access_key_id: String,
    },
    /// Credentials past their end.
    Expired {
        /// The key id sent.
        access_key_id: String,
        /// When they ended, milliseconds since the Unix epoch.
        at_ms: i64,
    },
    /// The scope's date is not the request's date.
    ScopeDate {
        /// The scope's.
        given: String,
        /// The request's timestamp.
        timestamp: String,
    },
    /// Signed for another region, or none.
    ScopeRegion {
        /// The scope's.
        given: String,
        /// What this endpoint takes; `None`: any but an empty one.
        expected: Option<String>,
    },
    /// Signed for another service.
    ScopeService {
        /// The scope's.
        given: String,
        /// What this endpoint takes.
        expected: String,
    },
    /// The scope does not end in `aws4_request`.
    ScopeTerminator {
        /// The scope's.
        given: String,
    },
    /// The request is older than the window.
    TooOld(ClockGap),
    /// The request is from the future.
    TooNew(ClockGap),
    /// A presigned URL past its `X-Amz-Expires`.
    PresignedExpired(ClockGap),
    /// `host` is not among the signed headers.
    HostNotSigned,
    /// `x-amz-*` headers that were sent but not signed.
    HeadersNotSigned {
        /// Their names, sorted.
        names: Vec<String>,
    },
    /// S3 without a usable `x-amz-content-sha256`.
    PayloadHashMissing,
    /// S3 with a signed hash that is not the body's.
    PayloadHash {
        /// The hash sent.
        claimed: String,
        /// The hash of what arrived.
        computed: String,
    },
    /// `UNSIGNED-PAYLOAD` over plain HTTP.
    UnsignedPayload,
    /// A chunk-signed upload, which the sandbox does not play.
    StreamingPayload,
    /// Everything is in order except the signature itself.
    Signature(Box<Mismatch>),
    /// The signature is good; the identity may not do this.
    NotAllowed {
        /// The caller.
        arn: String,
        /// Such as `aps:RemoteWrite`.
        action: String,
        /// What it was to be done to.
        resource: String,
        /// Whether a policy denies it, rather than none allowing it.
        is_denied: bool,
    },
    /// The caller is who it says; the role does not let it in.
    NotTrusted {
        /// The caller's ARN, or the token's subject, or the certificate's.
        who: String,
        /// Such as `sts:AssumeRole`.
        action: String,
        /// The role.
        role: String,
        /// What the trust policy lacks.
        what: String,
    },
    /// A web identity token that is not believed.
    WebIdentity {
        /// What is wrong with it.
        what: String,
    },
    /// A certificate that is not believed.
    Certificate {
        /// What is wrong with it.
        what: String,
    },
    /// A token of a metadata service, container endpoint or Vault that is missing, unknown or past its end.
    BearerToken {
        /// What is wrong with it.
        what: String,
    },
}

impl Refusal {
    /// A short name, stable, for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Malformed { .. } => "malformed",
            Self::UnknownKey { .. } => "unknown_key",
            Self::InactiveKey { .. } => "inactive_key",
            Self::TokenMissing { .. } => "token_missing",
            Self::TokenWrong { .. } => "token_wrong",
            Self::Expired { .. } => "expired",
            Self::ScopeDate { .. } => "scope_date",
            Self::ScopeRegion { .. } => "scope_region",
            Self::ScopeService { .. } => "scope_service",
            Self::ScopeTerminator { .. } => "scope_terminator",
            Self::TooOld(_) => "too_old",
            Self::TooNew(_) => "too_new",
            Self::PresignedExpired(_) => "presigned_expired",
            Self::HostNotSigned => "host_not_signed",
            Self::HeadersNotSigned { .. } => "headers_not_signed",
            Self::PayloadHashMissing => "payload_hash_missing",
            Self::PayloadHash { .. } => "payload_hash",
            Self::UnsignedPayload => "unsigned_payload",
            Self::StreamingPayload => "streaming_payload",
            Self::Signature(_) => "signature",
            Self::NotAllowed { .. } => "not_allowed",
            Self::NotTrusted { .. } => "not_trusted",
            Self::WebIdentity { .. } => "web_identity",
            Self::Certificate { .. } => "certificate",
            Self::BearerToken { .. } => "bearer_token",
        }
    }

    /// What failed, in a sentence, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Unsigned => "the request is not signed".to_owned(),
            Self::Malformed { what } => format!("the signature cannot be read: {what}"),
            Self::UnknownKey { access_key_id } => {
                format!("there is no access key {}", shown(access_key_id))
            }
            Self::InactiveKey { access_key_id } => {
                format!("key {} is deactivated, not valid yet, or no longer valid", shown(access_key_id))
            }
            Self::TokenMissing { access_key_id } => {
                format!("key {} is temporary and came without its session token", shown(access_key_id))
            }
            Self::TokenWrong { access_key_id } => {
                format!("the session token does not belong to key {}", shown(access_key_id))
            }
            Self::Expired { access_key_id, at_ms } => {
                format!("key {} expired at {}", shown(access_key_id), crate::clock::basic_utc(*at_ms))
            }
            Self::ScopeDate { given, timestamp } => {
                format!("the credential scope says {} but the request's time is {timestamp}", shown(given))
            }
            Self::ScopeRegion { given, expected: Some(expected) } => {
                format!("signed for region '{}'; this endpoint is in '{expected}'", shown(given))
            }
            Self::ScopeRegion { .. } => "signed for an empty region".to_owned(),
            Self::ScopeService { given, expected } => {
                format!("signed for service '{}'; this endpoint is '{expected}'", shown(given))
            }
            Self::ScopeTerminator { given } => {
                format!("the credential scope ends in '{}'", shown(given))
            }
            Self::TooOld(gap) | Self::TooNew(gap) => format!(
                "the request's time {} is {} s {} the sandbox's {}; {} min are tolerated",
                gap.request,
                gap.ahead_ms.unsigned_abs() / 1000,
                if gap.ahead_ms < 0 { "behind" } else { "ahead of" },
                gap.server,
                gap.window_minutes
            ),
            Self::PresignedExpired(gap) => format!("the presigned URL of {} ended before {}", gap.request, gap.server),
            Self::HostNotSigned => "the host header is not signed".to_owned(),
            Self::HeadersNotSigned { names } => {
                format!("sent but not signed: {}", shown(&names.join(", ")))
            }
            Self::PayloadHashMissing => "x-amz-content-sha256 is missing or not a SHA-256".to_owned(),
            Self::PayloadHash { claimed, computed } => {
                format!("the signed payload hash {claimed} is not that of the body, {computed}")
            }
            Self::UnsignedPayload => "UNSIGNED-PAYLOAD over plain HTTP".to_owned(),
            Self::StreamingPayload => "chunk-signed uploads are not played by the sandbox".to_owned(),
            Self::Signature(mismatch) => {
                format!("the signature of key {} does not match the request", shown(&mismatch.access_key_id))
            }
            Self::NotAllowed { arn, action, is_denied: false, .. } => {
                format!("{arn} may not {action}: no policy allows it")
            }
            Self::NotAllowed { arn, action, .. } => format!("{arn} may not {action}: a policy denies it"),
            Self::NotTrusted { who, action, role, what } => {
                format!("{} may not {action} on {}: {}", shown(who), shown(role), shown_long(what))
            }
            Self::WebIdentity { what } | Self::Certificate { what } | Self::BearerToken { what } => shown_long(what),
        }
    }

    /// What the caller should change.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unsigned => "give this destination a sigv4 block with access_key and secret_key",
            Self::Malformed { .. } => "look for a proxy that rewrites the Authorization or X-Amz-Date header",
            Self::UnknownKey { .. } => "use the access key that the sandbox printed when it started",
            Self::InactiveKey { .. } => "use the key that replaced it, or activate it again",
            Self::TokenMissing { .. } => "set session_token, or use the credential source that supplies it",
            Self::TokenWrong { .. } => "take key id, secret and token from the same set of temporary credentials",
            Self::Expired { .. } => "renew the credentials; look at why their source did not",
            Self::ScopeDate { .. } => "sign with one clock: the scope's date is the UTC date of X-Amz-Date",
            Self::ScopeRegion { .. } => "set region in the sigv4 block to the endpoint's region",
            Self::ScopeService { .. } => "set service_name in the sigv4 block to the service the URL belongs to",
            Self::ScopeTerminator { .. } => "the scope must end in aws4_request; look at the signer",
            Self::TooOld(_) | Self::TooNew(_) => "set the clock of the sending host (NTP)",
            Self::PresignedExpired(_) => "make a new presigned URL",
            Self::HostNotSigned => "sign the host header",
            Self::HeadersNotSigned { .. } => "add these headers before signing, not after",
            Self::PayloadHashMissing => "S3 needs x-amz-content-sha256 sent and signed",
            Self::PayloadHash { .. } => "something changed the body after signing (compression, a proxy)",
            Self::UnsignedPayload => "send the payload's hash, or use the TLS listener",
            Self::StreamingPayload => "send the object in one signed piece",
            Self::Signature(_) => {
                "check the secret key; if it is right, compare the canonical request in the answer with the signer's: \
                 a header, path or body was changed after signing"
            }
            Self::NotAllowed { .. } => "allow the action for this identity",
            Self::NotTrusted { .. } => "let the role's trust policy name the caller, with the conditions it meets",
            Self::WebIdentity { .. } => {
                "compare the token's iss, aud and sub with the provider's and the role's; look at what renews the file"
            }
            Self::Certificate { .. } => {
                "renew the certificate, or send it with its chain up to the trust anchor that was named"
            }
            Self::BearerToken { .. } => "read the token anew before each call",
        }
    }
}

/// A longer text that quotes a caller's: at most 512 printable characters.
pub(crate) fn shown_long(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(512).collect()
}

/// At most 128 printable characters of something a caller sent.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

//! What a request says about who signed it: the `Authorization` header or the `X-Amz-*` query parameters, read strictly.
//!
//! It judges form only; whether the claim is true is for `verify`.

use std::fmt;

use super::{SignedRequest, canonical::decode_query};
use crate::{
    clock::{read_basic_utc, read_date_header},
    refusal::Refusal,
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Signed with an RSA certificate's key, PKCS#1 v1.5.
pub(super) const X509_RSA: &str = "AWS4-X509-RSA-SHA256";
/// Signed with an elliptic curve certificate's key, ASN.1.
pub(super) const X509_ECDSA: &str = "AWS4-X509-ECDSA-SHA256";
/// Longest key id, scope part or header list accepted; AWS's own are far shorter.
const LONGEST: usize = 4096;

/// `date/region/service/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    /// Signing region.
    pub region: String,
    /// Signing name of the service.
    pub service: String,
    /// Must be `aws4_request`.
    pub terminator: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.date, self.region, self.service, self.terminator)
    }
}

/// Where the signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the `Authorization` header.
    Header,
    /// In the query (a presigned URL), valid for so many seconds from its date.
    Query {
        /// `X-Amz-Expires`.
        expires_s: u32,
    },
}

/// Who a request says signed it, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `AWS4-HMAC-SHA256`, or one of the algorithms of certificates.
    pub algorithm: String,
    /// Header or query.
    pub placement: Placement,
    /// The access key id.
    pub access_key_id: String,
    /// The credential scope.
    pub scope: Scope,
    /// Lower-case names, in the order listed.
    pub signed_headers: Vec<String>,
    /// Hex.
    pub signature: String,
    /// The request's time as it was signed, `YYYYMMDDTHHMMSSZ`.
    pub timestamp: String,
    /// The same in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The session token sent along.
    pub session_token: Option<net::Secret>,
}

/// Reads the claim of a request. `Ok(None)`: it is not signed at all.
pub(crate) fn read(request: &SignedRequest<'_>) -> Result<Option<Claim>, Refusal> {
    match header(request, "authorization")? {
        Some(value) if value.starts_with("AWS4-") || value.contains("Credential=") => {
            read_header(request, value, &[ALGORITHM]).map(Some)
        }
        Some(_) => {
            Err(Refusal::Malformed { what: "Authorization header is not of AWS Signature Version 4".to_owned() })
        }
        None if request.query.contains("X-Amz-Signature=") || request.query.contains("X-Amz-Credential=") => {
            read_query(request).map(Some)
        }
        None => Ok(None),
    }
}

/// Reads the claim of a request that is to be signed with a certificate's key. `Ok(None)`: it is not signed at all.
pub(super) fn read_x509(request: &SignedRequest<'_>) -> Result<Option<Claim>, Refusal> {
    match header(request, "authorization")? {
        Some(value) => read_header(request, value, &[X509_RSA, X509_ECDSA]).map(Some),
        None => Ok(None),
    }
}

/// The signing service named in a request's credential, for routing only. Malformed credentials name none.
pub(crate) fn claimed_service(headers: &http::HeaderMap, query: &str) -> Option<String> {
    let credential = credential(headers, query)?;
    let service = credential.rsplit('/').nth(1)?;
    (!service.is_empty() && service.len() <= 64).then(|| service.to_owned())
}

/// The key id and region named in a request's credential, for the books only.
pub(crate) fn claimed_key(request: &SignedRequest<'_>) -> Option<(String, String)> {
    let (key, scope) = read_credential(&credential(request.headers, request.query)?).ok()?;
    Some((key, scope.region))
}

fn credential(headers: &http::HeaderMap, query: &str) -> Option<String> {
    match headers.get(http::header::AUTHORIZATION) {
        Some(value) => {
            let (_, after) = value.to_str().ok()?.split_once("Credential=")?;
            Some(after.split([',', ' ']).next()?.to_owned())
        }
        None => {
            let (_, value) = decode_query(query).find(|(name, _)| name == b"X-Amz-Credential")?;
            String::from_utf8(value).ok()
        }
    }
}

fn read_header(request: &SignedRequest<'_>, value: &str, algorithms: &[&str]) -> Result<Claim, Refusal> {
    let malformed = |what: String| Refusal::Malformed { what };
    let (algorithm, rest) = value.split_once(' ').unwrap_or((value, ""));
    if !algorithms.contains(&algorithm) {
        return Err(malformed(format!("Unsupported AWS 'algorithm': '{}'.", shorten(algorithm))));
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        match part.trim().split_once('=') {
            Some(("Credential", value)) => credential = Some(value),
            Some(("SignedHeaders", value)) => signed_headers = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => {}
        }
    }
    let date = match header(request, "x-amz-date")? {
        Some(text) => Some((text.to_owned(), read_basic_utc(text))),
        None => header(request, "date")?.map(|text| {
            let at = read_date_header(text);
            (at.map_or_else(|| text.to_owned(), crate::clock::basic_utc), at)
        }),
    };
    let missing: Vec<String> = [
        ("'Credential' parameter", credential.is_none()),
        ("'Signature' parameter", signature.is_none()),
        ("'SignedHeaders' parameter", signed_headers.is_none()),
        ("existence of either a 'X-Amz-Date' or a 'Date' header", date.is_none()),
    ]
    .iter()
    .filter(|(_, absent)| *absent)
    .map(|(what, _)| format!("Authorization header requires {what}."))
    .collect();
    let (Some(credential), Some(signed_headers), Some(signature), Some((timestamp, at))) =
        (credential, signed_headers, signature, date)
    else {
        return Err(malformed(missing.join(" ")));
    };
    let at_ms = at
        .ok_or_else(|| malformed(format!("Date must be in ISO-8601 'basic format'. Got '{}'.", shorten(&timestamp))))?;
    let (access_key_id, scope) = read_credential(credential)?;
    let signature = if algorithm == ALGORITHM { read_signature(signature)? } else { read_long_signature(signature)? };
    Ok(Claim {
        algorithm: algorithm.to_owned(),
        placement: Placement::Header,
        access_key_id,
        scope,
        signed_headers: read_names(signed_headers)?,
        signature,
        timestamp,
        at_ms,
        session_token: header(request, "x-amz-security-token")?.map(net::Secret::new),
    })
}

fn read_query(request: &SignedRequest<'_>) -> Result<Claim, Refusal> {
    let malformed = |what: String| Refusal::Malformed { what };
    let parameter = |wanted: &str| -> Result<Option<String>, Refusal> {
        let mut found = decode_query(request.query).filter(|(name, _)| name == wanted.as_bytes());
        let Some((_, value)) = found.next() else {
            return Ok(None);
        };
        if found.next().is_some() {
            return Err(malformed(format!("Query parameter '{wanted}' is given twice.")));
        }
        String::from_utf8(value).map(Some).map_err(|_| malformed(format!("Query parameter '{wanted}' is not UTF-8.")))
    };
    let required = |name: &str| {
        parameter(name)?.ok_or_else(|| malformed(format!("AWS query-string parameters must include '{name}'.")))
    };
    let algorithm = required("X-Amz-Algorithm")?;
    if algorithm != ALGORITHM {
        return Err(malformed(format!("Unsupported AWS 'algorithm': '{}'.", shorten(&algorithm))));
    }
    let (access_key_id, scope) = read_credential(&required("X-Amz-Credential")?)?;
    let timestamp = required("X-Amz-Date")?;
    let at_ms = read_basic_utc(&timestamp).ok_or_else(|| {
        malformed(format!(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\", not '{}'",
            shorten(&timestamp)
        ))
    })?;
    let expires = required("X-Amz-Expires")?;
    let expires_s = expires
        .parse::<u32>()
        .ok()
        .filter(|seconds| (1..=604_800).contains(seconds))
        .ok_or_else(|| malformed("X-Amz-Expires must be between 1 and 604800 seconds".to_owned()))?;
    Ok(Claim {
        algorithm,
        placement: Placement::Query { expires_s },
        access_key_id,
        scope,
        signed_headers: read_names(&required("X-Amz-SignedHeaders")?)?,
        signature: read_signature(&required("X-Amz-Signature")?)?,
        timestamp,
        at_ms,
        session_token: parameter("X-Amz-Security-Token")?.map(net::Secret::new),
    })
}

/// `AKID/date/region/service/aws4_request`. The key id itself may hold slashes; the scope is the last four parts.
fn read_credential(text: &str) -> Result<(String, Scope), Refusal> {
    let mut parts = text.rsplitn(5, '/');
    let taken = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    match taken {
        (Some(terminator), Some(service), Some(region), Some(date), Some(key))
            if !key.is_empty() && text.len() <= LONGEST =>
        {
            let scope = Scope {
                date: date.to_owned(),
                region: region.to_owned(),
                service: service.to_owned(),
                terminator: terminator.to_owned(),
            };
            Ok((key.to_owned(), scope))
        }
        _ => Err(Refusal::Malformed {
            what: format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
                shorten(text)
            ),
        }),
    }
}

fn read_names(list: &str) -> Result<Vec<String>, Refusal> {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
    if list.len() > LONGEST || !list.split(';').all(is_name) {
        return Err(Refusal::Malformed {
            what: format!("SignedHeaders must be lower-case header names joined by ';', got '{}'", shorten(list)),
        });
    }
    Ok(list.split(';').map(str::to_owned).collect())
}

fn read_signature(text: &str) -> Result<String, Refusal> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Malformed { what: format!("Signature must be 64 lower-case hex digits, got '{}'", shorten(text)) })
    }
}

/// A signature of a certificate's key: up to 1024 bytes (RSA with 8192 bits), as hex.
fn read_long_signature(text: &str) -> Result<String, Refusal> {
    let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex && !text.is_empty() && text.len() <= 2048 && text.len().is_multiple_of(2) {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Malformed { what: format!("Signature must be hex digits, got '{}'", shorten(text)) })
    }
}

/// A header that must be given at most once and be visible ASCII.
fn header<'a>(request: &SignedRequest<'a>, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = request.headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::Malformed { what: format!("Header '{name}' is given twice.") });
    }
    value.to_str().map(Some).map_err(|_| Refusal::Malformed { what: format!("Header '{name}' is not ASCII.") })
}

/// At most 80 characters of something a caller sent, for messages.
fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

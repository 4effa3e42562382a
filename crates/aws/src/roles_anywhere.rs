//! IAM Roles Anywhere: exchanges a certificate for a role's credentials (CreateSession).
//!
//! Keeps nothing between calls. Keeps true: certificate and key are read at each call and must belong together; the key
//! signs only CreateSession. The signature is SigV4 with `AWS4-X509-...` algorithms, as in AWS's credential helper:
//! RSA PKCS#1 v1.5 or ECDSA over SHA-256, whatever the curve.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA256_ASN1_SIGNING, EcdsaKeyPair,
        KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use net::{
    Answer,
    pem::{self, KeyDer},
    service_error::ServiceError,
};
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    RolesAnywhereConfig, StsConfig,
    aside::aside,
    certificate::{self, Facts},
    clock::{self, SKEW_MS},
    connector::{ANSWER_LIMIT, Connections},
    error::FetchError,
    json,
    region::arn_region,
    signer::STRICT,
    sts::endpoint_suffix,
    verdict::{self, Refusal},
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches once.
pub(crate) async fn fetch(
    config: &RolesAnywhereConfig,
    switches: &StsConfig,
    connections: &Connections,
) -> Result<Credentials, FetchError> {
    let failed = |what: String| FetchError::failed(format!("Roles Anywhere, role {}: {what}", config.role_arn));
    let endpoint = endpoint(config, switches).map_err(&failed)?;
    let send = async |now: SystemTime| -> Result<(net::Reply, Facts), FetchError> {
        // Reads files, and signs with what may be a long RSA key.
        let (config, to) = (config.clone(), endpoint.clone());
        let made = aside(move || create_session(&config, &to, now)).await.and_then(|made| made);
        let (request, facts) = made.map_err(&failed)?;
        let sent = connections.for_url(&endpoint).send(request, TIMEOUT, ANSWER_LIMIT).await;
        match (sent, check_validity(&facts, now)) {
            (Ok(reply), _) => Ok((reply, facts)),
            (Err(error), Ok(())) => Err(failed(error.to_string())),
            (Err(error), Err(what)) => Err(failed(format!("{what}; and AWS cannot be asked for its time: {error}"))),
        }
    };
    // A certificate that looks out of date is sent all the same: this machine's clock may be what is wrong.
    let (mut reply, facts) = send(SystemTime::now()).await?;
    let mut offset_ms = None;
    if net::service_error::parse(reply.status, &reply.headers, &reply.body)
        .is_some_and(|e| may_be_the_clock(reply.status, &e))
    {
        offset_ms = clock::offset_told_by(&answer(&reply)).filter(|ms| ms.abs() > SKEW_MS);
        if let Some(ms) = offset_ms.filter(|_| clock::corrects()) {
            (reply, _) = send(clock::shift(SystemTime::now(), ms)).await?;
        }
    }
    if let Some(refusal) = net::service_error::parse(reply.status, &reply.headers, &reply.body) {
        let id = refusal.request_id.as_deref().unwrap_or("none");
        let there = clock::shift(SystemTime::now(), offset_ms.unwrap_or(0));
        if let Err(what) = check_validity(&facts, there) {
            return Err(failed(format!("{what} (AWS said {}: {})", refusal.code, refusal.message)));
        }
        let hint = hint(&refusal.code);
        let clock = offset_ms.map_or(String::new(), |ms| {
            format!("; this machine's clock is {} s away from AWS's: set it right (NTP)", ms / 1000)
        });
        return Err(failed(format!(
            "AWS said {}: {} (HTTP {}, request id {id}){hint}{clock}",
            refusal.code,
            refusal.message,
            reply.status.as_u16()
        )));
    }
    let document: Value =
        serde_json::from_slice(&reply.body).map_err(|_| failed("its answer is not JSON".to_owned()))?;
    let credentials = document
        .pointer("/credentialSet/0/credentials")
        .ok_or_else(|| failed("its answer has no credentials".to_owned()))?;
    json::credentials(credentials, "sessionToken", "RolesAnywhere").map_err(|why| failed(format!("its answer {why}")))
}

/// A signature that AWS calls wrong, late or early may be right, and its time wrong.
fn may_be_the_clock(status: http::StatusCode, refusal: &ServiceError) -> bool {
    matches!(
        verdict::classify(status, refusal),
        Some(Refusal::Skewed | Refusal::BadSignature | Refusal::Denied | Refusal::Expired)
    )
}

fn answer(reply: &net::Reply) -> Answer<'_> {
    Answer {
        status: reply.status,
        headers: &reply.headers,
        body: &reply.body,
        sent_at: reply.sent_at,
        received_at: reply.received_at,
    }
}

fn hint(code: &str) -> &'static str {
    match code {
        "AccessDeniedException" | "AccessDenied" => {
            "; the certificate must be issued by the trust anchor and not revoked, anchor and profile enabled, the role in the profile, and its trust \
             policy must allow rolesanywhere.amazonaws.com sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity"
        }
        "ResourceNotFoundException" => "; check the trust anchor's and the profile's ARN and their region",
        "ValidationException" => {
            "; check session_duration against the profile's, and session_name (the profile must allow one)"
        }
        _ => "",
    }
}

fn region(config: &RolesAnywhereConfig) -> Result<String, String> {
    let anchor = arn_region(&config.trust_anchor_arn).ok_or("trust_anchor_arn is not an ARN with a region")?;
    let profile = arn_region(&config.profile_arn).ok_or("profile_arn is not an ARN with a region")?;
    if anchor != profile {
        return Err(format!(
            "the trust anchor is in {anchor} and the profile in {profile}; both must be in one region"
        ));
    }
    Ok(config.region.clone().unwrap_or(anchor))
}

fn endpoint(config: &RolesAnywhereConfig, switches: &StsConfig) -> Result<Url, String> {
    if let Some(url) = &config.endpoint {
        return Ok(url.clone());
    }
    let region = region(config)?;
    let name = if switches.use_fips { "rolesanywhere-fips" } else { "rolesanywhere" };
    let suffix = endpoint_suffix(&region, switches.use_dualstack);
    Url::parse(&format!("https://{name}.{region}.{suffix}/"))
        .map_err(|e| format!("no endpoint for region {region:?}: {e}"))
}

/// The signed request, and what its certificate says.
fn create_session(
    config: &RolesAnywhereConfig,
    endpoint: &Url,
    now: SystemTime,
) -> Result<(Request<Bytes>, Facts), String> {
    let key = SigningKey::read(config)?;
    let mut chain = pem::certificates(&config.certificate, "certificate").map_err(|e| e.to_string())?;
    // Bundles often end with the root, which AWS has as the trust anchor. What certificate_chain names is sent as named.
    let is_root = |der: &[u8]| certificate::facts(der).is_some_and(|facts| facts.subject == facts.issuer);
    chain.retain(|der| key.belongs_to(der) || !is_root(der));
    if let Some(more) = &config.certificate_chain {
        chain.extend(pem::certificates(more, "certificate_chain").map_err(|e| e.to_string())?);
    }
    let (leaf, intermediates) = in_order(chain, &key)?;
    let facts = certificate::facts(&leaf).ok_or("the certificate is not X.509")?;
    let region = region(config)?;
    let stamp = jiff::Timestamp::try_from(now).map_err(|e| e.to_string())?.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = stamp.get(..8).unwrap_or_default();
    let mut body = serde_json::Map::new();
    if let Some(duration) = config.session_duration {
        body.insert("durationSeconds".to_owned(), duration.as_secs().into());
    }
    if let Some(name) = &config.session_name {
        body.insert("roleSessionName".to_owned(), name.clone().into());
    }
    let body = Value::Object(body).to_string();
    let encode = |text: &str| utf8_percent_encode(text, STRICT).to_string();
    let query = format!(
        "profileArn={}&roleArn={}&trustAnchorArn={}",
        encode(&config.profile_arn),
        encode(&config.role_arn),
        encode(&config.trust_anchor_arn)
    );
    let path = format!("{}/sessions", endpoint.path().trim_end_matches('/'));
    let host = endpoint.host_str().ok_or("the endpoint has no host")?;
    let host = endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));

    // In the order of their names, which is the order of the canonical request.
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("host", host.clone()),
        ("x-amz-date", stamp.clone()),
        ("x-amz-x509", STANDARD.encode(&leaf)),
    ];
    if !intermediates.is_empty() {
        let joined = intermediates.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>().join(",");
        headers.push(("x-amz-x509-chain", joined));
    }
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("POST\n{path}\n{query}\n{lines}\n{names}\n{}", hex::encode(Sha256::digest(&body)));
    let scope = format!("{date}/{region}/rolesanywhere/aws4_request");
    let algorithm = key.algorithm();
    let to_sign = format!("{algorithm}\n{stamp}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let signature = hex::encode(key.sign(to_sign.as_bytes())?);
    let authorization =
        format!("{algorithm} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", facts.serial);

    let mut request =
        Request::post(format!("{}://{host}{path}?{query}", endpoint.scheme())).header("authorization", authorization);
    for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
        request = request.header(name, value);
    }
    let request = request.body(Bytes::from(body)).map_err(|e| format!("the request cannot be made: {e}"))?;
    Ok((request, facts))
}

/// The certificate that `key` belongs to, and the others each after the one it issued.
fn in_order(mut rest: Vec<Vec<u8>>, key: &SigningKey) -> Result<(Vec<u8>, Vec<Vec<u8>>), String> {
    if rest.is_empty() {
        return Err("there is no certificate".to_owned());
    }
    let leaf = rest.iter().position(|certificate| key.belongs_to(certificate)).ok_or(
        "the private key does not belong to the certificate: they come from two issuances, or one of the two files was not renewed",
    )?;
    let leaf = rest.remove(leaf);
    let mut chain = Vec::new();
    let mut issuer = certificate::facts(&leaf).map(|facts| facts.issuer);
    while let Some(at) =
        rest.iter().position(|c| certificate::facts(c).map(|f| f.subject) == issuer && issuer.is_some())
    {
        let next = rest.remove(at);
        issuer = certificate::facts(&next).map(|facts| facts.issuer);
        chain.push(next);
    }
    chain.append(&mut rest);
    Ok((leaf, chain))
}

fn check_validity(facts: &Facts, now: SystemTime) -> Result<(), String> {
    let show = |at: SystemTime| {
        jiff::Timestamp::try_from(at).map_or_else(|_| "an impossible time".to_owned(), |t| t.to_string())
    };
    if now > facts.not_after {
        return Err(format!("the certificate {} expired at {}; renew it", facts.serial, show(facts.not_after)));
    }
    if now < facts.not_before {
        return Err(format!(
            "the certificate {} is valid only from {}; is this machine's clock behind?",
            facts.serial,
            show(facts.not_before)
        ));
    }
    Ok(())
}

/// A key that signs with SHA-256.
enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
    /// The library pairs this curve with SHA-384 only; see `sign`.
    P384(Box<EcdsaKeyPair>),
}

impl SigningKey {
    fn read(config: &RolesAnywhereConfig) -> Result<Self, String> {
        let der = pem::private_key(&config.private_key, "private_key").map_err(|e| e.to_string())?;
        let rsa = |key: RsaKeyPair| Self::Rsa(Box::new(key));
        let curves = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P521_SHA256_ASN1_SIGNING];
        let found = match &der {
            KeyDer::Pkcs1(der) => RsaKeyPair::from_der(der).ok().map(rsa),
            KeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der).ok().map(rsa).or_else(|| {
                let ecdsa = curves.iter().find_map(|curve| EcdsaKeyPair::from_pkcs8(curve, der).ok());
                let p384 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, der).ok();
                ecdsa.map(|key| Self::Ecdsa(Box::new(key))).or_else(|| p384().map(|key| Self::P384(Box::new(key))))
            }),
            KeyDer::Sec1(der) => {
                let ecdsa = curves.iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok());
                let p384 = || EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, der).ok();
                ecdsa.map(|key| Self::Ecdsa(Box::new(key))).or_else(|| p384().map(|key| Self::P384(Box::new(key))))
            }
        };
        found.ok_or_else(|| "the private key is none of RSA (2048 to 8192 bits), ECDSA P-256, P-384 and P-521; other keys work through credential_process with aws_signing_helper".to_owned())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "AWS4-X509-RSA-SHA256",
            Self::Ecdsa(_) | Self::P384(_) => "AWS4-X509-ECDSA-SHA256",
        }
    }

    /// The certificate holds the public key's very bytes, for RSA and for points of curves alike.
    fn belongs_to(&self, certificate: &[u8]) -> bool {
        let public = match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::Ecdsa(key) | Self::P384(key) => key.public_key().as_ref(),
        };
        !public.is_empty() && certificate.windows(public.len()).any(|window| window == public)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| "the private key cannot sign".to_owned())?;
                Ok(signature)
            }
            Self::P384(key) => {
                // ECDSA takes a digest as a number (FIPS 186-5 section 6.4.1), so SHA-256's 32 bytes behind 16 zeros are, to
                // the curve, SHA-256 itself, in the 48 bytes that the library wants for this curve.
                let mut padded = vec![0; digest::SHA384.output_len() - digest::SHA256.output_len()];
                padded.extend_from_slice(digest::digest(&digest::SHA256, message).as_ref());
                digest::Digest::import_less_safe(&padded, &digest::SHA384)
                    .and_then(|digest| key.sign_digest(&digest))
                    .map(|s| s.as_ref().to_vec())
                    .map_err(|_| "the private key cannot sign".to_owned())
            }
            Self::Ecdsa(key) => key
                .sign(&random, message)
                .map(|s| s.as_ref().to_vec())
                .map_err(|_| "the private key cannot sign".to_owned()),
        }
    }
}

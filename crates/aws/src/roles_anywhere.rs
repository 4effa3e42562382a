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
    Pem,
    pem::{self, KeyDer},
};
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    RolesAnywhereConfig, StsConfig,
    aside::aside,
    certificate::{self, Facts},
    clock::{self, SKEW_MS},
    connector::{ANSWER_LIMIT, Connections},
    denial::{Denial, denial},
    error::FetchError,
    explain::CertificateSight,
    fault::{Asked, Fault, Refused},
    json,
    region::arn_region,
    signer::STRICT,
    sts::endpoint_suffix,
    verdict,
    words::{moment, printable},
};

/// Shorter than anybody waits for credentials, so that silence is told as silence of this host.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches once.
pub(crate) async fn fetch(
    config: &RolesAnywhereConfig,
    switches: &StsConfig,
    connections: &Connections,
) -> Result<Credentials, FetchError> {
    let within = |e: FetchError| e.told(|words| format!("Roles Anywhere, role {}: {words}", config.role_arn));
    let failed = |what: String| within(FetchError::failed(what));
    let over = |over: FetchError, more: String| within(over.told(|words| format!("{words}{more}")));
    let endpoint = config.asked_at(switches).map_err(&failed)?;
    let send = async |now: SystemTime| -> Result<(net::Reply, Vec<Link>), FetchError> {
        // Reads files, and signs with what may be a long RSA key.
        let (config, to) = (config.clone(), endpoint.clone());
        let made = aside(move || create_session(&config, &to, now)).await.map_err(&failed)?;
        let (request, chain) = made.map_err(within)?;
        let sent = connections.for_url(&endpoint).send(request, TIMEOUT, ANSWER_LIMIT).await;
        match (sent, check_validity(&chain, now)) {
            (Ok(reply), _) => Ok((reply, chain)),
            (Err(error), Ok(())) => Err(failed(error.to_string()).of(Fault::Unreached(Asked::RolesAnywhere))),
            (Err(error), Err(what)) => Err(over(what, format!("; and AWS cannot be asked for its time: {error}"))),
        }
    };
    // A certificate that looks out of date is sent all the same: this machine's clock may be what is wrong.
    let (mut reply, chain) = send(SystemTime::now()).await?;
    let mut offset_ms = None;
    if net::service_error::parse(reply.status, &reply.headers, &reply.body)
        .is_some_and(|e| verdict::may_be_the_clock(reply.status, &e))
    {
        offset_ms = clock::offset_told_by(&reply.answer()).filter(|ms| ms.abs() > SKEW_MS);
        if let Some(ms) = offset_ms.filter(|_| clock::corrects()) {
            (reply, _) = send(clock::shift(SystemTime::now(), ms)).await?;
        }
    }
    if let Some(denial) = denial(Asked::RolesAnywhere, &reply) {
        let there = clock::shift(SystemTime::now(), offset_ms.unwrap_or(0));
        let Denial { said, fault } = denial;
        let Fault::Refused(mut refused) = fault else { return Err(failed(said).of(fault)) };
        if let Err(what) = check_validity(&chain, there) {
            return Err(over(what, format!(" (AWS said {said})")));
        }
        refused.role_arn = Some(config.role_arn.clone());
        let hint = hint(&refused);
        let clock = offset_ms.map_or(String::new(), |ms| {
            format!("; this machine's clock is {} s away from AWS's: set it right (NTP)", ms / 1000)
        });
        let header = |name: &str| reply.headers.get(name).and_then(|v| v.to_str().ok());
        let id = header("x-amzn-requestid")
            .or_else(|| header("x-amz-request-id"))
            .map_or("none".to_owned(), |id| printable(id, 80));
        return Err(failed(format!("AWS said {said} (HTTP {}, request id {id}){hint}{clock}", reply.status.as_u16()))
            .of(Fault::Refused(refused)));
    }
    let odd = |what: String| failed(what).of(Fault::OddAnswer(Asked::RolesAnywhere));
    let document: Value = serde_json::from_slice(&reply.body).map_err(|_| odd("its answer is not JSON".to_owned()))?;
    let credentials = document
        .pointer("/credentialSet/0/credentials")
        .ok_or_else(|| odd("its answer has no credentials".to_owned()))?;
    json::credentials(credentials, "sessionToken", "RolesAnywhere").map_err(|why| odd(format!("its answer {why}")))
}

/// What to look at, by AWS's own code and words: it refuses the certificate, the session, the role, or what it was asked for.
fn hint(refused: &Refused) -> &'static str {
    let words = refused.message.to_ascii_lowercase();
    match refused.code.as_str() {
        "AccessDenied" if words.contains("certificate") => {
            "; the certificate must be issued by the trust anchor (intermediates go with it in certificate_chain) and not be revoked"
        }
        "AccessDenied" if words.contains("assume role") => {
            "; the anchor and the profile must be enabled, the profile must list this role, and the role's trust policy must allow \
             rolesanywhere.amazonaws.com sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity for this anchor and certificate"
        }
        "AccessDenied" => {
            "; the certificate must be issued by the trust anchor and not revoked, anchor and profile enabled, the role in the profile, and its trust \
             policy must allow rolesanywhere.amazonaws.com sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity"
        }
        "ResourceNotFound" => "; check the trust anchor's and the profile's ARN and their region",
        "Validation" if words.contains("session name") || words.contains("rolesessionname") => {
            "; the profile must accept a role session name (acceptRoleSessionName), or remove session_name"
        }
        "Validation" if words.contains("durationseconds") || words.contains("duration") => {
            "; session_duration must be at most the profile's, and the role's maximum"
        }
        "Validation" => "; check session_duration against the profile's, and session_name (the profile must allow one)",
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

impl RolesAnywhereConfig {
    /// Where sessions are asked for: `endpoint`, or AWS's of the region. Errors: the trust anchor's ARN names no region.
    pub fn asked_at(&self, switches: &StsConfig) -> Result<Url, String> {
        if let Some(url) = &self.endpoint {
            return Ok(url.clone());
        }
        let region = region(self)?;
        let name = if switches.use_fips { "rolesanywhere-fips" } else { "rolesanywhere" };
        let suffix = endpoint_suffix(&region, switches.use_dualstack);
        Url::parse(&format!("https://{name}.{region}.{suffix}/"))
            .map_err(|e| format!("no endpoint for region {region:?}: {e}"))
    }
}

/// A certificate that is sent, and where it was read.
struct Link {
    der: Vec<u8>,
    facts: Facts,
    /// Such as `/etc/sigpost/leaf.pem`, or `/etc/sigpost/bundle.pem, the second in it`.
    place: String,
    /// The same without the number.
    file: String,
}

/// Every certificate of a PEM text.
fn links(pem: &Pem, role: &str) -> Result<Vec<Link>, FetchError> {
    let ders = pem::certificates(pem, role).map_err(|e| of_pem(&e, pem, role))?;
    let (file, count) = (place_of(pem, role), ders.len());
    let link = |(at, der): (usize, Vec<u8>)| {
        let place = if count == 1 { file.clone() } else { format!("{file}, number {} of {count} in it", at + 1) };
        match certificate::facts(&der) {
            Some(facts) => Ok(Link { der, facts, place, file: file.clone() }),
            None => Err(FetchError::failed(format!("the certificate of {place} is not X.509"))
                .of(Fault::NotPem { place: file.clone() })),
        }
    };
    ders.into_iter().enumerate().map(link).collect()
}

/// A file that cannot be read, or holds something else.
fn of_pem(error: &net::NetError, pem: &Pem, role: &str) -> FetchError {
    if let Some(encrypted) = encrypted(pem, role) {
        return encrypted;
    }
    let fault = match (error, pem) {
        (net::NetError::File { source, .. }, _) if source.kind() == std::io::ErrorKind::InvalidData => {
            Some(Fault::NotPem { place: place_of(pem, role) })
        }
        (net::NetError::File { .. }, Pem::File(path)) => Some(Fault::FileUnreadable(path.clone())),
        // A secret that is not read yet is told by its own words.
        (net::NetError::File { .. }, _) => None,
        _ => Some(Fault::NotPem { place: place_of(pem, role) }),
    };
    let failed = FetchError::failed(error.to_string());
    match fault {
        Some(fault) => failed.of(fault),
        None => failed,
    }
}

/// A key that only a passphrase opens: PKCS #8's own wrapping, or the header of the older ones (RFC 1421 section 4.6.1.1).
fn encrypted(pem: &Pem, role: &str) -> Option<FetchError> {
    let bytes = match pem {
        Pem::Inline(text) => text.expose().as_bytes().to_vec().into(),
        Pem::File(path) => net::read_small(path, net::BUNDLE_LIMIT).ok()?,
        Pem::Stored(stored) => Zeroizing::new(stored.read().ok()?.expose().as_bytes().to_vec()),
    };
    let text = std::str::from_utf8(&bytes).ok()?;
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----");
    let mut lines = text.lines().map(str::trim);
    let begin = lines.find(|line| begins(line))?;
    let by_header = lines.next().is_some_and(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"));
    if !by_header && begin != "-----BEGIN ENCRYPTED PRIVATE KEY-----" {
        return None;
    }
    let place = place_of(pem, role);
    Some(
        FetchError::failed(format!(
            "the {role} ({place}) is encrypted, and nobody types a passphrase for an agent: write it without, by openssl pkcs8 -topk8 \
             -nocrypt -in FILE -out FILE.new"
        ))
        .of(Fault::KeyEncrypted { place }),
    )
}

/// Where a PEM text stands: a path, a reference, or the key of the configuration.
fn place_of(pem: &Pem, role: &str) -> String {
    match pem {
        Pem::Inline(_) => format!("{role} in the configuration"),
        Pem::File(path) => path.display().to_string(),
        Pem::Stored(stored) => stored.reference().to_owned(),
    }
}

/// What there is to tell of the certificates, read now: the one that the key belongs to, then what is sent with it.
pub(crate) fn sights(config: &RolesAnywhereConfig) -> Result<Vec<CertificateSight>, FetchError> {
    let key = SigningKey::read(config)?;
    Ok(chain(config, &key)?
        .into_iter()
        .map(|Link { facts, place, .. }| CertificateSight {
            whom: facts.whom,
            place,
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
        .collect())
}

/// The certificate that the key belongs to, and what is sent with it, each after the one it issued.
fn chain(config: &RolesAnywhereConfig, key: &SigningKey) -> Result<Vec<Link>, FetchError> {
    let mut chain = links(&config.certificate, "certificate")?;
    // Bundles often end with the root, which AWS has as the trust anchor. What certificate_chain names is sent as named.
    chain.retain(|link| key.belongs_to(&link.der) || link.facts.subject != link.facts.issuer);
    if let Some(more) = &config.certificate_chain {
        chain.extend(links(more, "certificate_chain")?);
    }
    in_order(chain, key, config)
}

/// The signed request, and the certificates in it.
fn create_session(
    config: &RolesAnywhereConfig,
    endpoint: &Url,
    now: SystemTime,
) -> Result<(Request<Bytes>, Vec<Link>), FetchError> {
    let key = SigningKey::read(config)?;
    let chain = chain(config, &key)?;
    let request = signed(config, endpoint, now, &key, &chain).map_err(FetchError::failed)?;
    Ok((request, chain))
}

fn signed(
    config: &RolesAnywhereConfig,
    endpoint: &Url,
    now: SystemTime,
    key: &SigningKey,
    chain: &[Link],
) -> Result<Request<Bytes>, String> {
    let (leaf, intermediates) = chain.split_first().ok_or("there is no certificate")?;
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
        ("x-amz-x509", STANDARD.encode(&leaf.der)),
    ];
    if !intermediates.is_empty() {
        let joined = intermediates.iter().map(|link| STANDARD.encode(&link.der)).collect::<Vec<_>>().join(",");
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
        format!("{algorithm} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", leaf.facts.serial);

    let mut request =
        Request::post(format!("{}://{host}{path}?{query}", endpoint.scheme())).header("authorization", authorization);
    for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
        request = request.header(name, value);
    }
    request.body(Bytes::from(body)).map_err(|e| format!("the request cannot be made: {e}"))
}

/// The certificate that `key` belongs to first, and the others each after the one it issued.
fn in_order(mut rest: Vec<Link>, key: &SigningKey, config: &RolesAnywhereConfig) -> Result<Vec<Link>, FetchError> {
    let Some(leaf) = rest.iter().position(|link| key.belongs_to(&link.der)) else {
        let whom = rest.first().map_or_else(|| "there is none".to_owned(), |first| first.facts.whom.clone());
        return Err(FetchError::failed(format!(
            "the private key does not belong to the certificate: the key is in {}, the certificate ({whom}) in {}; they come from two \
             issuances, or one of the two files was not renewed",
            place_of(&config.private_key, "private_key"),
            place_of(&config.certificate, "certificate")
        ))
        .of(Fault::KeyOfAnotherCertificate));
    };
    let leaf = rest.remove(leaf);
    let mut issuer = leaf.facts.issuer.clone();
    let mut chain = vec![leaf];
    while let Some(at) = rest.iter().position(|link| link.facts.subject == issuer) {
        let next = rest.remove(at);
        issuer.clone_from(&next.facts.issuer);
        chain.push(next);
    }
    chain.append(&mut rest);
    Ok(chain)
}

/// The first of the chain that is not valid at `now`.
fn check_validity(chain: &[Link], now: SystemTime) -> Result<(), FetchError> {
    for (at, Link { facts, place, file, .. }) in chain.iter().enumerate() {
        let kind = if at == 0 { "certificate" } else { "intermediate certificate" };
        let said = if now > facts.not_after {
            format!("expired at {}; renew it", moment(facts.not_after))
        } else if now < facts.not_before {
            format!("is valid only from {}; is this machine's clock behind?", moment(facts.not_before))
        } else {
            continue;
        };
        let over = Fault::CertificateOver { whom: facts.whom.clone(), file: file.clone(), is_leaf: at == 0 };
        return Err(FetchError::failed(format!("the {kind} {} ({place}) {said}", facts.whom)).of(over));
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
    fn read(config: &RolesAnywhereConfig) -> Result<Self, FetchError> {
        let der = pem::private_key(&config.private_key, "private_key")
            .map_err(|e| of_pem(&e, &config.private_key, "private_key"))?;
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
        found.ok_or_else(|| {
            // Some wrappings of encrypted keys decode, into what is no key.
            if let Some(encrypted) = encrypted(&config.private_key, "private_key") {
                return encrypted;
            }
            FetchError::failed(format!(
                "the private key ({}) is none of RSA (2048 to 8192 bits), ECDSA P-256, P-384 and P-521; other keys work through \
                 credential_process with aws_signing_helper",
                place_of(&config.private_key, "private_key")
            ))
            .of(Fault::KeyKind)
        })
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

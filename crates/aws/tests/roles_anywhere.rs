//! CreateSession against a stand-in that rebuilds the canonical request and verifies the signature.

mod support;

use aws::{CredentialSource, IdentityConfig, RolesAnywhereConfig};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use net::{Pem, Secret};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData, SerialNumber};
use sha2::{Digest, Sha256};
use support::*;

const ANCHOR: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/11111111-2222";
const PROFILE: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/33333333-4444";
const ROLE: &str = "arn:aws:iam::123456789012:role/agent";

struct Leaf {
    key: KeyPair,
    pem: String,
    der: Vec<u8>,
    intermediate: String,
}

fn leaf(key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let intermediate = ca.self_signed(&ca_key).unwrap().pem();
    let mut params = CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0]));
    change(&mut params);
    let cert = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    Leaf { pem: cert.pem(), der: cert.der().to_vec(), key, intermediate }
}

fn inline_pem(text: &str) -> Pem {
    Pem::Inline(Secret::new(text))
}

fn anywhere(leaf: &Leaf, fake: &Fake) -> RolesAnywhereConfig {
    RolesAnywhereConfig {
        trust_anchor_arn: ANCHOR.to_owned(),
        profile_arn: PROFILE.to_owned(),
        role_arn: ROLE.to_owned(),
        certificate: inline_pem(&leaf.pem),
        private_key: inline_pem(&leaf.key.serialize_pem()),
        certificate_chain: Some(inline_pem(&leaf.intermediate)),
        session_duration: Some(std::time::Duration::from_secs(900)),
        session_name: None,
        region: None,
        endpoint: Some(fake.url("/")),
    }
}

fn block(anywhere: RolesAnywhereConfig) -> IdentityConfig {
    config(CredentialSource::RolesAnywhere(Box::new(anywhere)))
}

fn session(n: usize) -> Response {
    let body = format!(
        r#"{{"credentialSet":[{{"assumedRoleUser":{{"arn":"a","assumedRoleId":"i"}},"credentials":{{"accessKeyId":"ASIARA{n}","secretAccessKey":"s","sessionToken":"t","expiration":"{}"}}}}],"subjectArn":"x"}}"#,
        later(900)
    );
    (StatusCode::CREATED, body).into_response()
}

/// Rebuilds the string to sign from what arrived, and verifies it with the public key.
fn verify(seen: &Seen, algorithm: &'static dyn VerificationAlgorithm, public: &[u8], name: &str) {
    let authorization = seen.header("authorization");
    let (given, rest) = authorization.split_once(' ').unwrap();
    assert_eq!(given, name);
    let field = |key: &str| rest.split(", ").find_map(|f| f.strip_prefix(key)).unwrap();
    let (credential, signed, signature) = (field("Credential="), field("SignedHeaders="), field("Signature="));
    let (serial, scope) = credential.split_once('/').unwrap();
    assert_eq!(serial, "18446744073709551616");
    assert!(scope.ends_with("/eu-west-1/rolesanywhere/aws4_request"), "{scope}");
    let headers: String = signed.split(';').map(|n| format!("{n}:{}\n", seen.header(n))).collect();
    let digest = |text: &str| hex::encode(Sha256::digest(text));
    let canonical =
        format!("{}\n{}\n{}\n{headers}\n{signed}\n{}", seen.method, seen.path, seen.query, digest(&seen.body));
    let to_sign = format!("{name}\n{}\n{scope}\n{}", seen.header("x-amz-date"), digest(&canonical));
    let signature = hex::decode(signature).unwrap();
    UnparsedPublicKey::new(algorithm, public).verify(to_sign.as_bytes(), &signature).unwrap();
    for needed in ["content-type", "host", "x-amz-date", "x-amz-x509"] {
        assert!(signed.split(';').any(|n| n == needed), "{needed}");
    }
}

#[tokio::test]
async fn every_supported_key_opens_a_session_that_signs() {
    let kinds: [(&rcgen::SignatureAlgorithm, &'static dyn VerificationAlgorithm, &str); 4] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_ASN1, "AWS4-X509-ECDSA-SHA256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA256_ASN1, "AWS4-X509-ECDSA-SHA256"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, &ECDSA_P521_SHA256_ASN1, "AWS4-X509-ECDSA-SHA256"),
        (&rcgen::PKCS_RSA_SHA256, &RSA_PKCS1_2048_8192_SHA256, "AWS4-X509-RSA-SHA256"),
    ];
    for (kind, verifier, name) in kinds {
        let leaf = leaf(KeyPair::generate_for(kind).unwrap(), |_| {});
        let fake = Fake::start(|_, n| session(n)).await;
        let identity = build(&block(anywhere(&leaf, &fake)));
        assert_eq!(key(&identity).await.unwrap(), "ASIARA0");
        let seen = fake.seen()[0].clone();
        verify(&seen, verifier, leaf.key.der_bytes(), name);
        assert_eq!(seen.path, "/sessions");
        assert!(
            seen.query
                .contains("trustAnchorArn=arn%3Aaws%3Arolesanywhere%3Aeu-west-1%3A123456789012%3Atrust-anchor%2F"),
            "{}",
            seen.query
        );
        assert_eq!(seen.body, r#"{"durationSeconds":900}"#);
        assert_eq!(STANDARD.decode(seen.header("x-amz-x509")).unwrap(), leaf.der);
        assert!(!seen.header("x-amz-x509-chain").is_empty());
        assert!(identity.status().expires.is_some());
    }
}

/// The inner key of a PKCS#8 wrapping: PKCS#1 for RSA, SEC1 for curves.
fn unwrapped(key: &KeyPair, label: &str) -> String {
    fn element(bytes: &[u8]) -> (&[u8], &[u8]) {
        let (head, length) = match bytes[1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            long => {
                let digits = usize::from(long & 0x7f);
                (2 + digits, bytes[2..2 + digits].iter().fold(0, |n, d| n << 8 | usize::from(*d)))
            }
        };
        (&bytes[head..head + length], &bytes[head + length..])
    }
    let der = key.serialize_der();
    let (inside, _) = element(&der);
    let (_version, rest) = element(inside);
    let (_algorithm, rest) = element(rest);
    let (inner, _) = element(rest);
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(inner))
}

#[tokio::test]
async fn keys_in_their_older_wrappings_work_too() {
    for (kind, label) in [
        (&rcgen::PKCS_RSA_SHA256, "RSA PRIVATE KEY"),
        (&rcgen::PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "EC PRIVATE KEY"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "EC PRIVATE KEY"),
    ] {
        let leaf = leaf(KeyPair::generate_for(kind).unwrap(), |_| {});
        let fake = Fake::start(|_, n| session(n)).await;
        let config =
            RolesAnywhereConfig { private_key: inline_pem(&unwrapped(&leaf.key, label)), ..anywhere(&leaf, &fake) };
        assert_eq!(key(&build(&block(config))).await.unwrap(), "ASIARA0", "{label}");
    }
}

#[tokio::test]
async fn the_leaf_is_found_and_the_chain_ordered_whatever_the_order_in_the_file_and_the_root_stays_here() {
    let named = |name: &str| {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let [root_key, upper_key, lower_key, leaf_key] = [(); 4].map(|()| KeyPair::generate().unwrap());
    let root = named("root").self_signed(&root_key).unwrap();
    let root_issuer = Issuer::new(named("root"), root_key);
    let upper = named("upper").signed_by(&upper_key, &root_issuer).unwrap();
    let upper_issuer = Issuer::new(named("upper"), upper_key);
    let lower = named("lower").signed_by(&lower_key, &upper_issuer).unwrap();
    let lower_issuer = Issuer::new(named("lower"), lower_key);
    let leaf = named("agent").signed_by(&leaf_key, &lower_issuer).unwrap();
    let fake = Fake::start(|_, n| session(n)).await;
    let bundle = [&root, &upper, &leaf, &lower].map(rcgen::Certificate::pem).concat();
    let config = RolesAnywhereConfig {
        trust_anchor_arn: ANCHOR.to_owned(),
        profile_arn: PROFILE.to_owned(),
        role_arn: ROLE.to_owned(),
        certificate: inline_pem(&bundle),
        private_key: inline_pem(&leaf_key.serialize_pem()),
        certificate_chain: None,
        session_duration: None,
        session_name: None,
        region: None,
        endpoint: Some(fake.url("/")),
    };
    assert_eq!(key(&build(&block(config))).await.unwrap(), "ASIARA0");
    let seen = &fake.seen()[0];
    assert_eq!(seen.header("x-amz-x509"), STANDARD.encode(leaf.der()));
    let expected = [&lower, &upper].map(|c| STANDARD.encode(c.der())).join(",");
    assert_eq!(seen.header("x-amz-x509-chain"), expected);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_session() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (leaf(KeyPair::generate().unwrap(), |_| {}), leaf(KeyPair::generate().unwrap(), |_| {}));
    let write = |leaf: &Leaf| {
        std::fs::write(dir.path().join("cert.pem"), &leaf.pem).unwrap();
        std::fs::write(dir.path().join("key.pem"), leaf.key.serialize_pem()).unwrap();
    };
    write(&old);
    let fake = Fake::start(|_, n| session(n)).await;
    let config = RolesAnywhereConfig {
        certificate: Pem::File(dir.path().join("cert.pem")),
        private_key: Pem::File(dir.path().join("key.pem")),
        certificate_chain: None,
        ..anywhere(&old, &fake)
    };
    let identity = build(&block(config));
    assert_eq!(key(&identity).await.unwrap(), "ASIARA0");
    write(&new);
    judge(&identity, 403, &[], r#"{"__type":"ExpiredTokenException"}"#);
    assert_eq!(key(&identity).await.unwrap(), "ASIARA1");
    assert_eq!(STANDARD.decode(fake.seen()[1].header("x-amz-x509")).unwrap(), new.der);
}

#[tokio::test]
async fn what_cannot_work_says_so_before_anything_is_sent() {
    let good = leaf(KeyPair::generate().unwrap(), |_| {});
    let other = leaf(KeyPair::generate().unwrap(), |_| {});
    let edwards = leaf(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), |_| {});
    let fake = Fake::start(|_, n| session(n)).await;
    let base = anywhere(&good, &fake);
    let cases = [
        (
            RolesAnywhereConfig { private_key: inline_pem(&other.key.serialize_pem()), ..base.clone() },
            "does not belong",
        ),
        (anywhere(&edwards, &fake), "P-521"),
        (RolesAnywhereConfig { certificate: inline_pem("x"), ..base.clone() }, "BEGIN CERTIFICATE"),
        (
            RolesAnywhereConfig { private_key: Pem::File("/nonexistent/key.pem".into()), ..base.clone() },
            "/nonexistent/key.pem",
        ),
        (RolesAnywhereConfig { profile_arn: PROFILE.replace("eu-west-1", "us-east-1"), ..base.clone() }, "one region"),
    ];
    for (config, expected) in cases {
        let error = key(&build(&block(config))).await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("PRIVATE KEY-----"), "{error}");
    }
    assert!(fake.seen().is_empty());
    let broken = RolesAnywhereConfig { trust_anchor_arn: "anchor".to_owned(), ..base };
    let error = aws::build(&block(broken), &AMP.parse().unwrap(), "aps", "prod", &context()).unwrap_err().to_string();
    assert!(error.contains("trust_anchor_arn"), "{error}");
}

#[tokio::test]
async fn refusals_and_nonsense_are_told_apart() {
    let good = leaf(KeyPair::generate().unwrap(), |_| {});
    let fake = Fake::start(|_, n| match n {
        0 => (
            StatusCode::FORBIDDEN,
            [("x-amzn-errortype", "AccessDeniedException")],
            r#"{"message":"Untrusted certificate"}"#,
        )
            .into_response(),
        1 => "not json".into_response(),
        _ => r#"{"credentialSet":[]}"#.into_response(),
    })
    .await;
    for expected in ["Untrusted certificate", "not JSON", "no credentials"] {
        let error = key(&build(&block(anywhere(&good, &fake)))).await.unwrap_err();
        assert!(error.contains(expected) && error.contains(ROLE), "{error}");
    }
}

/// AWS's answer to a certificate that is not valid, at AWS's time.
fn out_of_date(at: std::time::SystemTime) -> axum::response::Response {
    let headers = [("x-amzn-errortype", "AccessDeniedException"), ("x-amzn-requestid", "r"), ("date", &http_date(at))];
    (StatusCode::FORBIDDEN, headers, r#"{"message":"Untrusted certificate. Insufficient certificate"}"#).into_response()
}

#[tokio::test]
async fn whether_a_certificate_is_out_of_date_is_decided_by_awss_clock() {
    let expired = leaf(KeyPair::generate().unwrap(), |p| p.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let future = leaf(KeyPair::generate().unwrap(), |p| p.not_before = rcgen::date_time_ymd(2090, 1, 1));
    // AWS agrees with this machine about the time.
    for (leaf, expected) in [(&expired, "expired at 2001-01-01"), (&future, "valid only from 2090-01-01")] {
        let fake = Fake::start(|_, _| out_of_date(std::time::SystemTime::now())).await;
        let error = key(&build(&block(anywhere(leaf, &fake)))).await.unwrap_err();
        assert!(error.contains(expected) && error.contains("AccessDeniedException"), "{error}");
    }
    // This machine's clock is decades ahead: at AWS the certificate is valid.
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(978_000_000);
    let fake = Fake::start(move |_, n| if n == 0 { out_of_date(then) } else { session(n) }).await;
    assert_eq!(key(&build(&block(anywhere(&expired, &fake)))).await.unwrap(), "ASIARA1");
    assert_eq!(fake.seen()[1].header("x-amz-date")[..6], *"200012");
    // Nobody tells the time: this machine's is believed, and both are told.
    let nobody = RolesAnywhereConfig {
        endpoint: Some(url::Url::parse("http://127.0.0.1:9/").unwrap()),
        ..anywhere(&expired, &fake)
    };
    let error = key(&build(&block(nobody))).await.unwrap_err();
    assert!(error.contains("expired at 2001") && error.contains("cannot be asked"), "{error}");
}

#[tokio::test]
async fn a_wrong_clock_is_learnt_from_the_refusal_and_the_session_asked_for_once_more() {
    let ahead = std::time::Duration::from_secs(7200);
    let good = leaf(KeyPair::generate().unwrap(), |_| {});
    let refusal = move || {
        let body = r#"{"message":"Signature expired: 20240101T000000Z is now earlier than 20240101T015500Z (20240101T020000Z - 5 min.)"}"#;
        let date = http_date(std::time::SystemTime::now() + ahead);
        let headers = [("x-amzn-errortype", "InvalidSignatureException"), ("x-amzn-requestid", "r"), ("date", &date)];
        (StatusCode::FORBIDDEN, headers, body).into_response()
    };
    let fake = Fake::start(move |_, n| if n == 0 { refusal() } else { session(n) }).await;
    assert_eq!(key(&build(&block(anywhere(&good, &fake)))).await.unwrap(), "ASIARA1");
    let wanted = jiff::Timestamp::try_from(std::time::SystemTime::now() + ahead).unwrap();
    assert_eq!(fake.seen()[1].header("x-amz-date")[..11], wanted.strftime("%Y%m%dT%H").to_string()[..11]);
    verify(&fake.seen()[1], &ECDSA_P256_SHA256_ASN1, good.key.public_key_raw(), "AWS4-X509-ECDSA-SHA256");

    // Refused again with the right time: it is said what the clock has to do with it, and that is all.
    let fake = Fake::start(move |_, _| refusal()).await;
    let error = key(&build(&block(anywhere(&good, &fake)))).await.unwrap_err();
    assert!(error.contains("Signature expired") && error.contains("NTP"), "{error}");
    assert_eq!(fake.seen().len(), 2);
}

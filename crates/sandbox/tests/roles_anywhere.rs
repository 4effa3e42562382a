//! IAM Roles Anywhere, seen from a client that signs with a certificate's key as AWS's documents say.

mod support;

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
    SigningKey,
};
use sandbox::{AnywhereProfile, Role, Running, SandboxConfig, Trust, TrustAnchor, World};
use sha2::{Digest, Sha256};
use support::{Answer, client, deliver, element, order, send, session_of, start};

const ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a-1";
const PROFILE: &str = "arn:aws:rolesanywhere:us-east-1:123456789012:profile/p-1";
const ROLE: &str = "arn:aws:iam::123456789012:role/anywhere";
/// The serial number of [`leaf_params`], in decimal; its hexadecimal form has a sign octet before it.
const SERIAL: &str = "10841887440829385123";

fn authority(name: &str) -> (Certificate, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate, Issuer::new(params, key))
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "host-1");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(SerialNumber::from_slice(&[0x96, 0x76, 0x1f, 0x2f, 0x45, 0x67, 0x89, 0xa3]));
    params.not_before = (SystemTime::now() - Duration::from_secs(3600)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
    params
}

/// A caller with everything that can be got wrong.
struct Holder {
    key: KeyPair,
    leaf: Vec<u8>,
    chain: Vec<Vec<u8>>,
    algorithm: &'static str,
    serial: String,
    region: &'static str,
    service: &'static str,
    at_ms: i64,
    role: &'static str,
    profile: &'static str,
    anchor: &'static str,
    body: String,
}

impl Holder {
    fn new(key: KeyPair, params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Self {
        let leaf = params.signed_by(&key, issuer).unwrap();
        let is_rsa = key.algorithm() == &rcgen::PKCS_RSA_SHA256;
        Self {
            key,
            leaf: leaf.der().to_vec(),
            chain: Vec::new(),
            algorithm: if is_rsa { "AWS4-X509-RSA-SHA256" } else { "AWS4-X509-ECDSA-SHA256" },
            serial: SERIAL.to_owned(),
            region: "us-east-1",
            service: "rolesanywhere",
            at_ms: jiff::Timestamp::now().as_millisecond(),
            role: ROLE,
            profile: PROFILE,
            anchor: ANCHOR,
            body: r#"{"durationSeconds":900}"#.to_owned(),
        }
    }

    fn request(&self, running: &Running) -> http::Request<Vec<u8>> {
        let encode = |text: &str| text.replace(':', "%3A").replace('/', "%2F");
        let query = format!(
            "profileArn={}&roleArn={}&trustAnchorArn={}",
            encode(self.profile),
            encode(self.role),
            encode(self.anchor)
        );
        let stamp = jiff::Timestamp::from_millisecond(self.at_ms).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("host", running.address().to_string()),
            ("x-amz-date", stamp.clone()),
            ("x-amz-x509", BASE64_STANDARD.encode(&self.leaf)),
        ];
        if !self.chain.is_empty() {
            let chain: Vec<String> = self.chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect();
            headers.push(("x-amz-x509-chain", chain.join(",")));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let canonical = format!("POST\n/sessions\n{query}\n{lines}\n{names}\n{}", hash(self.body.as_bytes()));
        let scope = format!("{}/{}/{}/aws4_request", &stamp[..8], self.region, self.service);
        let to_sign = format!("{}\n{stamp}\n{scope}\n{}", self.algorithm, hash(canonical.as_bytes()));
        let signature = hex::encode(self.key.sign(to_sign.as_bytes()).unwrap());
        let authorization = format!(
            "{} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.algorithm, self.serial
        );
        let mut request =
            http::Request::post(format!("{}/sessions?{query}", running.url())).header("authorization", authorization);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        request.body(self.body.clone().into_bytes()).unwrap()
    }

    async fn ask(&self, running: &Running) -> Answer {
        send(&client(), self.request(running)).await.unwrap()
    }
}

async fn cloud(root: &Certificate) -> Running {
    let world = World {
        roles: vec![Role::new(ROLE).trusting(Trust::service("rolesanywhere.amazonaws.com"))],
        trust_anchors: vec![TrustAnchor::new(ANCHOR, root.pem())],
        profiles: vec![AnywhereProfile::new(PROFILE, [ROLE])],
        ..World::default()
    };
    start(SandboxConfig { world, ..SandboxConfig::default() }).await
}

#[tokio::test]
async fn certificates_of_every_kind_of_key_become_a_role() {
    let (root, issuer) = authority("root");
    let running = cloud(&root).await;
    for key in [
        KeyPair::generate().unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA256).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
    ] {
        let holder = Holder::new(key, leaf_params(), &issuer);
        let answer = holder.ask(&running).await;
        assert_eq!(answer.status, 201, "{}: {}", holder.algorithm, answer.body);
        assert!(
            answer.body.contains("arn:aws:sts::123456789012:assumed-role/anywhere/96761f2f456789a3"),
            "{}",
            answer.body
        );
        assert_eq!(deliver(&running, &session_of(&answer.body)).await.status, 200);
    }
    let state = running.state();
    assert_eq!((state.verified, state.refused), (6, 0));
    let principal = state.principals.iter().find(|principal| principal.arn.contains("assumed-role")).unwrap();
    assert_eq!((principal.keys, principal.samples), (3, 3));
}

#[tokio::test]
async fn an_intermediate_is_needed_when_it_issued_the_certificate() {
    let (root, root_issuer) = authority("root");
    let running = cloud(&root).await;
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    let key = KeyPair::generate().unwrap();
    let intermediate = params.signed_by(&key, &root_issuer).unwrap();
    let issuer = Issuer::new(params, key);
    let mut holder = Holder::new(KeyPair::generate().unwrap(), leaf_params(), &issuer);
    let answer = holder.ask(&running).await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, "AccessDeniedException"));
    assert!(answer.body.contains("Untrusted signing certificate"), "{}", answer.body);
    holder.chain = vec![intermediate.der().to_vec()];
    assert_eq!(holder.ask(&running).await.status, 201);
}

#[tokio::test]
async fn what_does_not_prove_the_certificate_is_refused() {
    let (root, issuer) = authority("root");
    let (_, stranger) = authority("root");
    let running = cloud(&root).await;
    let new = || Holder::new(KeyPair::generate().unwrap(), leaf_params(), &issuer);
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = leaf_params();
        change(&mut params);
        Holder::new(KeyPair::generate().unwrap(), params, &issuer)
    };
    let hour = Duration::from_secs(3600);
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let rsa = Holder::new(KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), leaf_params(), &issuer);
    let cases: Vec<(&str, Holder, u16, &str, &str)> = vec![
        ("another's key", Holder { key: KeyPair::generate().unwrap(), ..new() }, 403, "signature", "Canonical String"),
        (
            "another algorithm",
            Holder { algorithm: "AWS4-X509-ECDSA-SHA256", ..rsa },
            403,
            "signature",
            "Canonical String",
        ),
        ("another serial", Holder { serial: "1".into(), ..new() }, 403, "certificate", "serial number"),
        ("serial in hex", Holder { serial: "96761f2f456789a3".into(), ..new() }, 403, "certificate", "serial number"),
        (
            "a key's algorithm",
            Holder { algorithm: "AWS4-HMAC-SHA256", ..new() },
            403,
            "malformed",
            "Unsupported AWS 'algorithm'",
        ),
        (
            "another region",
            Holder { region: "eu-west-1", ..new() },
            403,
            "scope_region",
            "valid region, not 'eu-west-1'",
        ),
        (
            "another service",
            Holder { service: "sts", ..new() },
            403,
            "scope_service",
            "correct service: 'rolesanywhere'",
        ),
        ("too old", Holder { at_ms: now_ms - 301_000, ..new() }, 403, "too_old", "Signature expired"),
        ("too new", Holder { at_ms: now_ms + 360_000, ..new() }, 403, "too_new", "Signature not yet current"),
        (
            "a stranger's",
            Holder::new(KeyPair::generate().unwrap(), leaf_params(), &stranger),
            403,
            "certificate",
            "Untrusted",
        ),
        (
            "over",
            with(&|params| params.not_after = (SystemTime::now() - hour / 2).into()),
            403,
            "certificate",
            "expired",
        ),
        (
            "not yet",
            with(&|params| params.not_before = (SystemTime::now() + hour / 2).into()),
            403,
            "certificate",
            "not valid yet",
        ),
        ("no key usage", with(&|params| params.key_usages.clear()), 403, "certificate", "no key usage"),
        (
            "another key usage",
            with(&|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            403,
            "certificate",
            "lacks Digital Signature",
        ),
        (
            "an authority's",
            with(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            403,
            "certificate",
            "Insufficient certificate",
        ),
        ("no certificate", Holder { leaf: vec![1, 2, 3], ..new() }, 403, "signature", "Canonical String"),
    ];
    for (what, holder, status, name, words) in cases {
        let answer = holder.ask(&running).await;
        assert!(answer.status == status && answer.body.contains(words), "{what}: {} {}", answer.status, answer.body);
        assert_eq!(running.state().recent_refusals[0].name, name, "{what}");
    }
    // Changed after signing: the body, and a header that is not signed.
    let holder = new();
    let mut changed = holder.request(&running);
    changed.body_mut().push(b' ');
    assert!(send(&client(), changed).await.unwrap().body.contains("Canonical String"));
    let mut added = holder.request(&running);
    added.headers_mut().insert("x-amz-security-token", "x".parse().unwrap());
    added.headers_mut().insert("x-amz-other", "x".parse().unwrap());
    assert!(send(&client(), added).await.unwrap().body.contains("'x-amz-other' must be a 'SignedHeader'"));
    let mut bare = holder.request(&running);
    bare.headers_mut().remove("authorization");
    assert!(send(&client(), bare).await.unwrap().body.contains("Missing Authentication Token"));
    let state = running.state();
    assert!(state.verified == 0 && state.identities.iter().all(|known| !known.is_temporary));
}

#[tokio::test]
async fn anchor_profile_and_role_must_each_agree() {
    let (root, issuer) = authority("root");
    let running = cloud(&root).await;
    let new = || Holder::new(KeyPair::generate().unwrap(), leaf_params(), &issuer);
    let body = |text: &str| Holder { body: text.to_owned(), ..new() };
    for (holder, status, code) in [
        (
            Holder { anchor: "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/x", ..new() },
            404,
            "ResourceNotFoundException",
        ),
        (
            Holder { profile: "arn:aws:rolesanywhere:us-east-1:123456789012:profile/x", ..new() },
            404,
            "ResourceNotFoundException",
        ),
        (Holder { role: "arn:aws:iam::123456789012:role/x", ..new() }, 403, "AccessDeniedException"),
        (body(r#"{"durationSeconds":899}"#), 400, "ValidationException"),
        (body(r#"{"durationSeconds":3601}"#), 400, "ValidationException"),
        (body(r#"{"roleSessionName":"mine"}"#), 400, "ValidationException"),
        (body("{"), 400, "ValidationException"),
    ] {
        let answer = holder.ask(&running).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, code), "{}", answer.body);
    }
    let pem = root.pem().replace('\n', "\\n");
    let world = |anchor: &str, profile: &str, trust: &str| {
        format!(
            r#"{{"trust_anchors": [{{"arn": "{ANCHOR}", "certificate_pem": "{pem}"{anchor}}}],
                "profiles": [{{"arn": "{PROFILE}", "roles": ["{ROLE}"]{profile}}}],
                "roles": [{{"arn": "{ROLE}", "trust": [{{"service": "rolesanywhere.amazonaws.com"{trust}}}]}}]}}"#
        )
    };
    for (anchor, profile, trust, status) in [
        (r#", "enabled": false"#, "", "", 403),
        ("", r#", "enabled": false"#, "", 403),
        ("", "", r#", "common_name": "host-2""#, 403),
        ("", "", r#", "source_arn": "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/other""#, 403),
        ("", "", r#", "common_name": "host-*", "source_arn": "arn:aws:rolesanywhere:*:trust-anchor/a-1""#, 201),
    ] {
        order(&running, "world", &world(anchor, profile, trust)).await;
        let answer = new().ask(&running).await;
        assert_eq!(answer.status, status, "{anchor}{profile}{trust}: {}", answer.body);
    }
    order(&running, "world", &world("", r#", "accepts_session_name": true"#, "")).await;
    let answer = body(r#"{"roleSessionName":"mine"}"#).ask(&running).await;
    assert!(answer.body.contains("assumed-role/anywhere/mine"), "{}", answer.body);
    assert_eq!(element(&answer.body, "Code"), None);
}

#[tokio::test]
async fn certificates_made_by_order_are_good_for_a_session() {
    let running = start(SandboxConfig::default()).await;
    let made = order(&running, "certificate", r#"{"common_name": "host-9"}"#).await;
    let anchor: &'static str = made["trust_anchor_arn"].as_str().unwrap().to_owned().leak();
    order(
        &running,
        "world",
        &format!(
            r#"{{"profiles": [{{"arn": "{PROFILE}", "roles": ["{ROLE}"]}}],
                "roles": [{{"arn": "{ROLE}", "trust": [{{"service": "rolesanywhere.amazonaws.com", "common_name": "host-9"}}]}}]}}"#
        ),
    )
    .await;
    let key = KeyPair::from_pem(made["private_key_pem"].as_str().unwrap()).unwrap();
    let pem = made["certificate_pem"].as_str().unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let leaf = BASE64_STANDARD.decode(base64).unwrap();
    // SEQUENCE { SEQUENCE { [0] version, INTEGER serial ...: the serial number follows the version's five octets.
    let serial = &leaf[leaf.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap() + 5..];
    let serial = &serial[2..2 + usize::from(serial[1])];
    let decimal = serial.iter().fold("0".to_owned(), |sum, byte| times_256_plus(&sum, *byte));
    let (_, issuer) = authority("unused");
    let holder = Holder { leaf, serial: decimal, anchor, ..Holder::new(key, leaf_params(), &issuer) };
    let answer = holder.ask(&running).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// Long multiplication, the way of pencil and paper.
fn times_256_plus(decimal: &str, byte: u8) -> String {
    let mut carry = u32::from(byte);
    let mut digits = Vec::new();
    for digit in decimal.bytes().rev() {
        let sum = u32::from(digit - b'0') * 256 + carry;
        digits.push(char::from(b'0' + (sum % 10) as u8));
        carry = sum / 10;
    }
    while carry > 0 {
        digits.push(char::from(b'0' + (carry % 10) as u8));
        carry /= 10;
    }
    digits.iter().rev().collect::<String>().trim_start_matches('0').to_owned()
}

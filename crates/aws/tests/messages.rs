//! What an identity says when it cannot work: the path, the certificate, the profile, what the metadata service did.

mod support;

use std::path::Path;

use aws::{CredentialSource, Fault, IdentityConfig, RolesAnywhereConfig};
use axum::{http::StatusCode, response::IntoResponse};
use net::{Pem, SecretSource};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use support::*;

fn file(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn refusal(source: CredentialSource) -> String {
    key(&build(&config(source))).await.unwrap_err()
}

#[tokio::test]
async fn a_key_file_that_is_empty_or_holds_more_than_the_key_is_named_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    for (text, words) in [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("secret-MARKER\nanother-MARKER\n", "has 2 lines"),
        ("AWS_SECRET_ACCESS_KEY = MARKER\n", "has a blank inside"),
        (r#"{"user":"x","password":"MARKER"}"#, "holds a document"),
        ("\"MARKER\"\n", "begins with a quote"),
        ("\u{feff}MARKER\n", "a byte order mark"),
    ] {
        let path = file(dir.path(), "secret", text);
        let secret_key = SecretSource::File(path.clone());
        let error =
            refusal(CredentialSource::Static { access_key: inline("AKIA1"), secret_key, session_token: None }).await;
        assert!(error.contains(&path.display().to_string()) && error.contains("secret_key"), "{error}");
        assert!(error.contains(words) && !error.contains("MARKER"), "{error}");
    }
    // One newline at the end is what editors leave, and an empty token is none.
    let path = file(dir.path(), "secret", "secret\r\n");
    let session_token = Some(SecretSource::File(file(dir.path(), "token", "\n")));
    let source =
        CredentialSource::Static { access_key: inline("AKIA1"), secret_key: SecretSource::File(path), session_token };
    assert_eq!(key(&build(&config(source))).await.unwrap(), "AKIA1");
}

/// Wherever the two come from, and without showing either.
#[tokio::test]
async fn keys_that_are_swapped_are_told_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (id, secret) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let files = CredentialSource::Static {
        access_key: SecretSource::File(file(dir.path(), "id", secret)),
        secret_key: SecretSource::File(file(dir.path(), "secret", id)),
        session_token: None,
    };
    let shared = format!("[p]\naws_access_key_id = {secret}\naws_secret_access_key = {id}\nregion = us-east-1\n");
    let profile = CredentialSource::Profile {
        name: Some("p".to_owned()),
        config_file: Some(file(dir.path(), "config", "[profile p]\nregion = us-east-1\n")),
        credentials_file: Some(file(dir.path(), "credentials", &shared)),
    };
    let helper = format!(r#"echo '{{"Version":1,"AccessKeyId":"{secret}","SecretAccessKey":"{id}"}}'"#);
    for source in [files, profile, CredentialSource::Process { command: inline(&helper) }] {
        let error = refusal(source).await;
        assert!(error.contains("are swapped") && !error.contains("wJalr"), "{error}");
    }
}

/// A path that leads to something without an end, or without a beginning, is this source's fault and nobody else's.
#[tokio::test]
async fn a_key_file_that_is_a_device_or_far_too_large_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(3 << 30).unwrap();
    for (path, words) in [(large, "more than 1 MiB"), ("/dev/zero".into(), "no regular file")] {
        let secret_key = SecretSource::File(path.clone());
        let error =
            refusal(CredentialSource::Static { access_key: inline("AKIA1"), secret_key, session_token: None }).await;
        assert!(error.contains(words) && error.contains(&path.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_secret_of_two_words_from_a_helper_is_told_as_that() {
    let command = r#"echo '{"Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"two MARKER"}'"#;
    let error = refusal(CredentialSource::Process { command: inline(command) }).await;
    assert!(error.contains("secret key has a blank") && !error.contains("MARKER"), "{error}");
}

struct Issued {
    key: KeyPair,
    pem: String,
    issuer_pem: String,
}

/// A leaf `agent` below an intermediate `below`; `(from, to)` are years.
fn issued(leaf_until: i32, intermediate_until: i32) -> Issued {
    let named = |name: &str, until: i32| {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params
    };
    let [root_key, middle_key, key] = [(); 3].map(|()| KeyPair::generate().unwrap());
    let ca = |name: &str, until: i32| {
        let mut params = named(name, until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root = Issuer::new(ca("root", 2090), root_key);
    let middle = ca("below", intermediate_until).signed_by(&middle_key, &root).unwrap();
    let leaf = named("agent", leaf_until);
    let leaf = leaf.signed_by(&key, &Issuer::new(ca("below", intermediate_until), middle_key)).unwrap();
    Issued { key, pem: leaf.pem(), issuer_pem: middle.pem() }
}

fn anywhere(certificate: &Path, private_key: &Path) -> CredentialSource {
    CredentialSource::RolesAnywhere(Box::new(RolesAnywhereConfig {
        trust_anchor_arn: "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/1".to_owned(),
        profile_arn: "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/3".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/agent".to_owned(),
        certificate: Pem::File(certificate.to_owned()),
        private_key: Pem::File(private_key.to_owned()),
        certificate_chain: None,
        session_duration: None,
        session_name: None,
        region: None,
        endpoint: Some("http://127.0.0.1:9/".parse().unwrap()),
    }))
}

#[tokio::test]
async fn a_certificate_that_cannot_work_is_named_with_its_subject_its_file_and_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let good = issued(2080, 2080);
    let key_file = file(dir.path(), "key.pem", &good.key.serialize_pem());
    let leaf = file(dir.path(), "leaf.pem", &good.pem);
    let stranger = file(dir.path(), "stranger.pem", &KeyPair::generate().unwrap().serialize_pem());
    let nothing = file(dir.path(), "empty.pem", "");
    let old = issued(2001, 2080);
    let (old_leaf, old_key) =
        (file(dir.path(), "old.pem", &old.pem), file(dir.path(), "old.key", &old.key.serialize_pem()));
    let tired = issued(2080, 2002);
    let bundle = file(dir.path(), "bundle.pem", &format!("{}{}", tired.pem, tired.issuer_pem));
    let tired_key = file(dir.path(), "tired.key", &tired.key.serialize_pem());
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let edwards = file(dir.path(), "edwards.key", &edwards.serialize_pem());
    let table: Vec<(CredentialSource, Vec<String>)> = vec![
        (anywhere(&leaf, &nothing), vec![path("empty.pem"), "private_key".into()]),
        (
            anywhere(&nothing, &key_file),
            vec![path("empty.pem"), "the certificate (".into(), "is empty; expected".into()],
        ),
        (
            anywhere(&leaf, &stranger),
            vec!["does not belong".into(), path("stranger.pem"), path("leaf.pem"), "CN=agent".into()],
        ),
        (anywhere(&old_leaf, &old_key), vec!["CN=agent".into(), path("old.pem"), "expired at 2001-01-01".into()]),
        (
            anywhere(&bundle, &tired_key),
            vec![
                "intermediate certificate CN=below".into(),
                format!("{}, number 2 of 2 in it", path("bundle.pem")),
                "expired at 2002-01-01".into(),
            ],
        ),
        (anywhere(&leaf, &edwards), vec![path("edwards.key"), "P-521".into()]),
    ];
    for (source, words) in table {
        let error = refusal(source).await;
        for word in words {
            assert!(error.contains(&word), "{word}: {error}");
        }
    }
}

#[tokio::test]
async fn an_explanation_shows_until_when_the_certificates_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let issued = issued(2080, 2070);
    let bundle = file(dir.path(), "bundle.pem", &format!("{}{}", issued.pem, issued.issuer_pem));
    let key_file = file(dir.path(), "key.pem", &issued.key.serialize_pem());
    let explanation = build(&config(anywhere(&bundle, &key_file))).explain().await;
    let shown: Vec<(&str, String)> =
        explanation.certificates.iter().map(|c| (c.whom.as_str(), moment(c.not_after))).collect();
    assert_eq!(
        shown,
        [("CN=agent", "2080-01-01T00:00:00Z".to_owned()), ("CN=below", "2070-01-01T00:00:00Z".to_owned())]
    );
    assert!(explanation.certificates[1].place.contains("bundle.pem, number 2 of 2"));
}

#[tokio::test]
async fn metadata_that_refuses_is_told_from_metadata_that_does_not_answer() {
    let forbidding = Fake::start(|_, _| StatusCode::FORBIDDEN.into_response()).await;
    let source = || CredentialSource::InstanceMetadata { endpoint: Some(forbidding.url("/")) };
    let error = refusal(source()).await;
    assert!(error.contains("it answers and refuses") && !error.contains("hop limit"), "{error}");
    // The region by the same service.
    let config = IdentityConfig { source: source(), ..IdentityConfig::default() };
    let url = "https://metrics.example/write".parse().unwrap();
    let explanation = aws::build(&config, &url, "aps", "prod", &context()).unwrap().explain().await;
    let why = explanation.region_error.unwrap();
    assert!(why.contains("it answers and refuses") && !why.contains("does not answer"), "{why}");
}

#[tokio::test]
async fn a_profile_without_a_region_is_named_with_its_file_and_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = file(dir.path(), "credentials", "[p]\naws_access_key_id=A\naws_secret_access_key=s\n");
    let shared = file(dir.path(), "config", "[profile p]\noutput = json\n");
    let source = CredentialSource::Profile {
        name: Some("p".to_owned()),
        config_file: Some(shared.clone()),
        credentials_file: Some(credentials),
    };
    let test = "a_profile_without_a_region_is_named_with_its_file_and_what_to_write";
    let config = IdentityConfig { source, ..IdentityConfig::default() };
    let url = "https://metrics.example/write".parse().unwrap();
    if !in_child(test, &[("AWS_EC2_METADATA_DISABLED", "true")]) {
        return;
    }
    let error = aws::build(&config, &url, "aps", "prod", &context()).unwrap_err().to_string();
    for words in ["profile p (", "has no region", "set region in the sigv4 block", "under [profile p] in"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(error.contains(&shared.display().to_string()), "{error}");
}

#[tokio::test]
async fn irsa_without_any_region_says_what_to_set() {
    let test = "irsa_without_any_region_says_what_to_set";
    let env = [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/agent"),
    ];
    if !in_child(test, &env) {
        return;
    }
    let config = IdentityConfig::default();
    let url = "https://metrics.example/write".parse().unwrap();
    let error = aws::build(&config, &url, "aps", "prod", &context()).unwrap_err().to_string();
    assert!(error.contains("set region in the sigv4 block"), "{error}");
    // Where a region is found for the signature, STS is asked there, and the next thing that lacks is told.
    let error = key(&build(&IdentityConfig::default())).await.unwrap_err();
    assert!(error.contains("/nonexistent/token"), "{error}");
}

#[tokio::test]
async fn what_an_explanation_found_is_signed_with_and_a_slow_helper_not_asked_twice() {
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    let command =
        format!(r#"echo x >> {}; echo '{{"Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"s"}}'"#, ran.display());
    let identity = build(&config(CredentialSource::Process { command: inline(&command) }));
    assert!(identity.explain().await.caller.is_some());
    assert_eq!(key(&identity).await.unwrap(), "AKIA1");
    assert_eq!(std::fs::read_to_string(&ran).unwrap().lines().count(), 1);
    // Another explanation asks afresh and leaves what is in use.
    identity.explain().await;
    assert_eq!(key(&identity).await.unwrap(), "AKIA1");
    assert_eq!(std::fs::read_to_string(&ran).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn an_intermediate_certificate_that_is_over_is_the_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let tired = issued(2080, 2002);
    let bundle = file(dir.path(), "bundle.pem", &format!("{}{}", tired.pem, tired.issuer_pem));
    let key_file = file(dir.path(), "key.pem", &tired.key.serialize_pem());
    let explanation = build(&config(anywhere(&bundle, &key_file))).explain().await;
    let wanted =
        Fault::CertificateOver { whom: "CN=below".to_owned(), file: bundle.display().to_string(), is_leaf: false };
    assert_eq!(explanation.fault, Some(wanted), "{:?}", explanation.error);
}

/// What openssl wrote before PKCS #8: the base64 of such a file decodes, into what is no key.
#[tokio::test]
async fn a_key_with_a_passphrase_is_told_with_the_command_that_takes_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let issued = issued(2080, 2070);
    let leaf = file(dir.path(), "leaf.pem", &issued.pem);
    let whole = issued.key.serialize_pem();
    let body: String = whole.lines().filter(|line| !line.starts_with('-')).map(|line| format!("{line}\n")).collect();
    let legacy = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n";
    for (name, label, headers) in [
        ("old.key", "RSA PRIVATE KEY", legacy),
        ("ec.key", "EC PRIVATE KEY", legacy),
        ("new.key", "ENCRYPTED PRIVATE KEY", ""),
    ] {
        let text = format!("-----BEGIN {label}-----\n{headers}{body}-----END {label}-----\n");
        let path = file(dir.path(), name, &text);
        let explanation = build(&config(anywhere(&leaf, &path))).explain().await;
        let error = explanation.error.unwrap();
        assert!(error.contains("is encrypted") && error.contains("openssl pkcs8 -topk8 -nocrypt"), "{error}");
        assert_eq!(explanation.fault, Some(Fault::KeyEncrypted { place: path.display().to_string() }));
    }
}

#[tokio::test]
async fn an_answer_of_metadata_is_never_shown_as_a_programmer_sees_it() {
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED] {
        let metadata = Fake::start(move |seen, _| match seen.path.as_str() {
            "/latest/api/token" => imds(seen, ""),
            _ => (status, "a body of MARKER").into_response(),
        })
        .await;
        let error = refusal(CredentialSource::InstanceMetadata { endpoint: Some(metadata.url("/")) }).await;
        assert!(error.contains(&format!("it answered HTTP {}", status.as_u16())), "{error}");
        for dump in ["Response {", "SdkBody", "MARKER", "Extensions"] {
            assert!(!error.contains(dump), "{dump}: {error}");
        }
    }
}

//! The official vectors, and what the rewriting of a URI keeps true.

use std::{fs, path::Path, time::Duration};

use aws_sigv4::{
    http_request::SessionTokenMode,
    sign::v4::{calculate_signature, generate_signing_key},
};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Context {
    credentials: Keys,
    normalize: bool,
    region: String,
    service: String,
    sign_body: bool,
    timestamp: String,
    #[serde(default)]
    omit_session_token: bool,
}

#[derive(Deserialize)]
struct Keys {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap()
}

/// A vector's request: method, absolute URI (as it would be sent), headers in order, body.
fn request(text: &str) -> (Request<Bytes>, Vec<(String, String)>) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    let (method, rest) = first.split_once(' ').unwrap();
    let target = rest.strip_suffix(" HTTP/1.1").unwrap_or(rest);
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = headers.last_mut().unwrap();
            value.push(' ');
            value.push_str(line.trim());
        } else {
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_lowercase(), value.to_owned()));
        }
    }
    let host = headers.iter().find(|(n, _)| n == "host").unwrap().1.clone();
    // Built by hand: a URL parser would normalise what some vectors leave alone.
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let path = path.split('/').map(strict).collect::<Vec<_>>().join("/");
    let query = query.map_or(String::new(), |q| format!("?{}", q.replace(' ', "%20")));
    let query: String =
        query.chars().map(|c| if c.is_ascii() { c.to_string() } else { strict(&c.to_string()) }).collect();
    let request = Request::builder().method(method).uri(format!("https://{host}{path}{query}"));
    (request.body(Bytes::from(body.to_owned())).unwrap(), headers)
}

#[test]
fn the_official_vectors_give_their_signatures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sigv4");
    let mut seen = 0;
    for entry in fs::read_dir(root).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("header-signature.txt").exists() {
            continue;
        }
        let context: Context = serde_json::from_str(&read(&dir, "context.json")).unwrap();
        let (request, headers) = request(&read(&dir, "request.txt"));
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = context.normalize.into();
        if context.sign_body {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        if context.omit_session_token {
            settings.session_token_mode = SessionTokenMode::Exclude;
        }
        let keys = context.credentials;
        let credentials = Credentials::new(keys.access_key_id, keys.secret_access_key, keys.token, None, "vectors");
        let time = crate::json::parse_time(&context.timestamp).unwrap();
        let scope = Scope { region: &context.region, service: &context.service, time };
        let headers: Vec<_> = headers
            .iter()
            .filter(|(n, _)| !OURS.contains(&n.as_str()))
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let added = signature_headers(&request, &headers, &credentials, scope, settings).unwrap();
        let authorization = added.iter().find(|(n, _)| n == "authorization").unwrap().1.to_str().unwrap();
        let expected = read(&dir, "header-signature.txt");
        assert!(
            authorization.ends_with(&format!("Signature={}", expected.trim())),
            "{}: {authorization}",
            dir.display()
        );
        seen += 1;
    }
    assert_eq!(seen, 38);
}

/// Two vectors have a canonical request only: paths that are already escaped are escaped again for all services but S3.
#[test]
fn escaped_paths_are_escaped_again_in_the_signature_and_sent_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sigv4");
    for name in ["double-encode-path", "double-url-encode"] {
        let text = read(&root.join(name), "request.txt");
        let (method, rest) = text.lines().next().unwrap().split_once(' ').unwrap();
        let path = rest.strip_suffix(" HTTP/1.1").unwrap();
        let host = text.lines().find_map(|l| l.strip_prefix("Host:")).unwrap();
        let mut request =
            Request::builder().method(method).uri(format!("https://{host}{path}")).body(Bytes::new()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_620_747_645);
        let scope = Scope { region: "us-east-1", service: "service", time };
        sign_request(&mut request, &Credentials::new("AKID", "secret", None, None, "test"), scope).unwrap();
        assert_eq!(request.uri().path(), path);

        let canonical = read(&root.join(name), "header-canonical-request.txt");
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(canonical.trim_end()));
        let to_sign = format!("AWS4-HMAC-SHA256\n20210511T154045Z\n20210511/us-east-1/service/aws4_request\n{digest}");
        let expected =
            calculate_signature(generate_signing_key("secret", time, "us-east-1", "service"), to_sign.as_bytes());
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(authorization.ends_with(&expected), "{name}: {authorization}");
    }
}

fn sign_at(uri: &str, service: &str, headers: &[(&'static str, &'static str)]) -> Request<Bytes> {
    let mut request = Request::post(uri).body(Bytes::from_static(b"body")).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let scope =
        Scope { region: "us-east-1", service, time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
    sign_request(&mut request, &Credentials::new("AKID", "secret", Some("token".to_owned()), None, "test"), scope)
        .unwrap();
    request
}

#[test]
fn only_the_short_list_of_headers_is_signed() {
    let request = sign_at(
        "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write",
        "aps",
        &[
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("user-agent", "x"),
            ("accept-encoding", "gzip"),
            ("x-scope-orgid", "t"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("x-aws-log-group", "g"),
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
        ],
    );
    let authorization = request.headers()["authorization"].to_str().unwrap();
    let expected = "SignedHeaders=content-encoding;content-type;host;x-amz-date;x-amz-meta-a;x-amz-security-token;x-aws-log-group,";
    assert!(authorization.contains(expected), "{authorization}");
    assert_eq!(request.headers()["x-amz-meta-a"], "1,2");
    assert_eq!(request.headers().get_all("x-amz-meta-a").iter().count(), 1);
    assert!(!format!("{:?}", request.headers()).contains("Signature="), "the signature is marked sensitive");
}

#[test]
fn signing_again_replaces_the_first_signature() {
    let mut request = sign_at("https://h.example/p", "aps", &[]);
    let scope = Scope {
        region: "us-east-1",
        service: "aps",
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_060),
    };
    sign_request(&mut request, &Credentials::new("AKID2", "secret", None, None, "test"), scope).unwrap();
    assert!(request.headers()["authorization"].to_str().unwrap().contains("Credential=AKID2/"));
    assert!(!request.headers().contains_key("x-amz-security-token"), "the old token is gone");
    assert_eq!(request.headers()["x-amz-date"], "20231114T221420Z");
}

#[test]
fn the_uri_is_rewritten_to_what_is_signed() {
    for (given, service, sent) in [
        ("https://h.example", "aps", "https://h.example/"),
        ("https://h.example:443/a", "aps", "https://h.example/a"),
        ("https://H.example:8443/a", "aps", "https://h.example:8443/a"),
        ("https://u:p@h.example/a", "aps", "https://h.example/a"),
        ("https://h.example/a//b///c/", "aps", "https://h.example/a/b/c/"),
        ("https://h.example/a//b", "s3", "https://h.example/a//b"),
        ("https://h.example/a/../b", "s3", "https://h.example/b"),
        ("https://h.example/a(b)!c'd*e%2Ff", "s3", "https://h.example/a%28b%29%21c%27d%2Ae%2Ff"),
        ("https://h.example/a@b", "aps", "https://h.example/a@b"),
        ("https://h.example/?b=1+2&a=x%2fy&c&d=", "aps", "https://h.example/?b=1%202&a=x%2Fy&c&d="),
        ("https://h.example/?q=a:b/c", "aps", "https://h.example/?q=a%3Ab%2Fc"),
    ] {
        let request = sign_at(given, service, &[]);
        assert_eq!(request.uri().to_string(), sent, "{given}");
        // What the HTTP client makes of it is the same again.
        assert_eq!(Url::parse(sent).unwrap().as_str(), sent);
    }
}

#[test]
fn s3_gets_the_hash_of_the_body_and_others_do_not() {
    let digest = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
    assert_eq!(sign_at("https://b.s3.us-east-1.amazonaws.com/k", "s3", &[]).headers()["x-amz-content-sha256"], digest);
    assert!(!sign_at("https://h.example/k", "aps", &[]).headers().contains_key("x-amz-content-sha256"));
}

#[test]
fn what_cannot_be_signed_is_an_error_and_no_panic() {
    let credentials = Credentials::new("AKID", "secret", None, None, "test");
    let scope = Scope { region: "us-east-1", service: "aps", time: SystemTime::UNIX_EPOCH };
    for uri in ["/only/a/path", "*"] {
        let mut request = Request::get(uri).body(Bytes::new()).unwrap();
        assert!(sign_request(&mut request, &credentials, scope).unwrap_err().contains("URL"));
    }
    let mut request = Request::get("https://h.example/").body(Bytes::new()).unwrap();
    request.headers_mut().insert("x-amz-meta", HeaderValue::from_bytes(b"\xff").unwrap());
    assert!(sign_request(&mut request, &credentials, scope).unwrap_err().contains("x-amz-meta"));
    let broken = Credentials::new("AKID", "secret", Some("to\nken".to_owned()), None, "test");
    let mut request = Request::get("https://h.example/").body(Bytes::new()).unwrap();
    assert!(!sign_request(&mut request, &broken, scope).unwrap_err().contains("ken\n"));
}

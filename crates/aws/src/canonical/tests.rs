//! The rebuilt canonical request is the one that was signed, and each kind of difference has its words.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};

use super::*;
use crate::signer::{Scope, sign_request};

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)
}

fn signed(url: &str, service: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
    let mut builder = Request::post(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut request = builder.body(Bytes::from_static(b"some body")).unwrap();
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("TOKENTOKEN".to_owned()), None, "test");
    sign_request(&mut request, &credentials, Scope { region: "us-east-1", service, time: at() }).unwrap();
    request
}

const AMP: &str = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

#[test]
fn the_rebuilt_canonical_request_gives_the_very_signature() {
    for (url, service) in [
        (AMP, "aps"),
        ("https://host.example:8443/a%20b/%7Euser//x/?b=2&a=1%2F+x&empty", "aps"),
        ("https://bucket.s3.us-east-1.amazonaws.com/k%20e+y/%C3%BC/%2F?list-type=2&prefix=a%2Fb", "s3"),
        ("http://127.0.0.1:9009/", "logs"),
    ] {
        let request =
            signed(url, service, &[("content-type", "application/x-protobuf"), ("x-amz-meta-a", "two  blanks")]);
        let canonical = canonical_request(&request).unwrap();
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/{service}/aws4_request\n{}",
            hex::encode(Sha256::digest(&canonical.text))
        );
        let key = generate_signing_key("secret", at(), "us-east-1", service);
        let signature = calculate_signature(key, to_sign.as_bytes());
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(authorization.ends_with(&format!("Signature={signature}")), "{url}\n{}", canonical.text);
    }
}

fn told(canonical: &str) -> String {
    let message = format!(
        "The request signature we calculated does not match the signature you provided.\n\nThe Canonical String for this \
         request should have been\n'{canonical}'\n\nThe String-to-Sign should have been\n\
         'AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/aps/aws4_request\nabc'"
    );
    serde_json::json!({ "message": message }).to_string()
}

fn differs(theirs: &str) -> CanonicalDifference {
    let ours = canonical_request(&signed(AMP, "aps", &[("content-type", "application/x-protobuf")])).unwrap();
    match compare_canonical(&ours, theirs) {
        CanonicalVerdict::Differs(difference) => difference,
        other => panic!("{other:?}"),
    }
}

fn ours() -> String {
    canonical_request(&signed(AMP, "aps", &[("content-type", "application/x-protobuf")])).unwrap().text
}

#[test]
fn the_first_line_that_differs_is_named_with_its_likely_cause() {
    for (from, to, part, words) in [
        ("remote_write\n", "remote_write/\n", "path", "slash at the end"),
        ("/workspaces/", "/proxy/workspaces/", "path", "rewrote the path"),
        ("host:aps-workspaces.us-east-1.amazonaws.com", "host:10.0.0.1", "header host", "proxy changes Host"),
        ("content-type:application/x-protobuf", "content-type:text/plain", "header content-type", "rewrites"),
        ("x-amz-date:2015", "x-amz-date:2016", "header x-amz-date", "date"),
        ("content-type:application/x-protobuf\n", "", "header content-type", "removes"),
        ("POST\n", "GET\n", "method", "method"),
    ] {
        let found = differs(&told(&ours().replacen(from, to, 1)));
        assert_eq!(found.part, part, "{found:?}");
        assert!(found.explanation.contains(words), "{found:?}");
    }
    let mut other = ours();
    other.truncate(other.len() - 64);
    other.push_str(&"0".repeat(64));
    let body = differs(&told(&other));
    assert!(body.part == "payload hash" && body.explanation.contains("body"), "{body:?}");
}

#[test]
fn a_session_token_is_never_shown() {
    let found = differs(&told(&ours().replace("x-amz-security-token:TOKENTOKEN", "x-amz-security-token:OTHERTOKEN")));
    let text = format!("{found:?} {:?}", canonical_request(&signed(AMP, "aps", &[])).unwrap());
    assert!(
        found.part == "header x-amz-security-token" && !text.contains("TOKENTOKEN") && !text.contains("OTHERTOKEN")
    );
}

#[test]
fn s3s_own_element_and_escaped_xml_are_read() {
    let request = signed("https://b.s3.us-east-1.amazonaws.com/a&b", "s3", &[]);
    let ours = canonical_request(&request).unwrap();
    let escaped = ours.text.replace('&', "&amp;").replace("x-amz-date:2015", "x-amz-date:2016");
    let answer =
        format!("<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>{escaped}</CanonicalRequest></Error>");
    let CanonicalVerdict::Differs(found) = compare_canonical(&ours, &answer) else { panic!("no difference") };
    assert_eq!(found.part, "header x-amz-date");
}

#[test]
fn equal_requests_speak_of_the_secret_key_or_of_the_scope() {
    let ours = canonical_request(&signed(AMP, "aps", &[("content-type", "application/x-protobuf")])).unwrap();
    let same = |answer: &str| match compare_canonical(&ours, answer) {
        CanonicalVerdict::Same { explanation } => explanation,
        other => panic!("{other:?}"),
    };
    assert!(same(&told(&ours.text)).contains("secret key"));
    assert!(same(&told(&ours.text).replace("us-east-1/aps/aws4", "eu-west-1/aps/aws4")).contains("eu-west-1/aps"));
}

#[test]
fn answers_that_quote_nothing_or_garbage_are_no_comparison() {
    let ours = canonical_request(&signed(AMP, "aps", &[])).unwrap();
    for answer in ["", "{}", "<html>", "The Canonical String for this request should have been", &"x'".repeat(300_000)]
    {
        assert_eq!(compare_canonical(&ours, answer), CanonicalVerdict::NotTold, "{:.40}", answer);
    }
    assert!(canonical_request(&Request::get("https://h/").body(Bytes::new()).unwrap()).is_err());
}

#[test]
fn a_canonical_request_of_nothing_was_compared_with_nothing() {
    let ours = CanonicalRequest { text: "POST\n/\n\nhost:a\n\nhost\nhash".to_owned(), scope: "s".to_owned() };
    for quoted in ["''", "'\n'", "'   '"] {
        let answer = format!("The Canonical String for this request should have been\n{quoted}\n");
        assert_eq!(compare_canonical(&ours, &answer), CanonicalVerdict::NotTold, "{quoted:?}");
    }
    let steering =
        "The Canonical String for this request should have been\n'POST\n/\u{202e}x\n\nhost:a\n\nhost\nhash'\n";
    let CanonicalVerdict::Differs(found) = compare_canonical(&ours, steering) else { panic!("the path differs") };
    assert_eq!(found.theirs, "/<U+202E>x");
}

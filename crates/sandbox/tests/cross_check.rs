//! Random requests signed by `aws-sigv4` must be accepted, and refused as soon as one thing about them differs.

mod support;

use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use sandbox::{Identity, Policy, Refusal, SignedRequest, verify};
use sha2::{Digest, Sha256};
use support::Signer;

const AT_MS: i64 = 1_700_000_000_000;

fn check(request: &http::Request<Vec<u8>>, policy: &Policy, secret: &str) -> Result<(), Refusal> {
    let identity = Identity::user(Identity::EXAMPLE_KEY_ID, secret);
    let body_sha256 = hex::encode(Sha256::digest(request.body()));
    let signed = SignedRequest {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
        host: request.uri().authority().unwrap().as_str(),
        body_sha256: &body_sha256,
    };
    verify(&signed, policy, AT_MS, |_| Some(&identity)).map(|_| ())
}

/// Everything but RFC 3986's unreserved characters.
const STRICT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, STRICT).to_string()
}

/// Path segments and query parts hold any characters, percent-encoded by the client. `loosely`: also what clients may
/// leave plain. S3 keys must be strictly encoded on the wire, slashes plain: S3 decodes the path and encodes it
/// anew, while signers take it as it stands.
fn requests(loosely: bool) -> impl Strategy<Value = http::Request<Vec<u8>>> {
    let text = "[ -~äß€]{0,8}";
    let segment = if loosely {
        prop_oneof![text.prop_map(|t| encoded(&t)), "[a-zA-Z0-9._~:@!$&'()*,;=-]{0,8}", Just("..".to_owned())].boxed()
    } else {
        text.prop_map(|t| encoded(&t.replace('/', "_"))).boxed()
    };
    let path = proptest::collection::vec(segment, 0..5).prop_map(|parts| format!("/{}", parts.join("/")));
    let query = proptest::collection::vec((text, text), 0..4).prop_map(|pairs| {
        pairs.iter().map(|(k, v)| format!("{}={}", encoded(k), encoded(v))).collect::<Vec<_>>().join("&")
    });
    let header = ("x-amz-[a-z]{1,6}", "[!-~]{1,6}( {1,3}[!-~]{1,6}){0,2}");
    (
        prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE")],
        "[a-z]{1,9}(\\.[a-z]{1,9}){0,2}(:8[0-9]{3})?",
        path,
        query,
        proptest::collection::vec(header, 0..3),
        proptest::collection::vec(any::<u8>(), 0..40),
    )
        .prop_filter_map("a URI", |(method, host, path, query, headers, body)| {
            let mark = if query.is_empty() { "" } else { "?" };
            let mut request = http::Request::builder().method(method).uri(format!("https://{host}{path}{mark}{query}"));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request.body(body).ok()
        })
}

fn signer(service: &str, presigned: bool) -> Signer {
    Signer {
        at: UNIX_EPOCH + std::time::Duration::from_millis(AT_MS as u64),
        presigned: presigned.then_some(std::time::Duration::from_secs(300)),
        ..Signer::new(service)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_signer_signs_the_verifier_accepts(
        (is_s3, request) in any::<bool>().prop_flat_map(|is_s3| (Just(is_s3), requests(!is_s3))),
        presigned: bool,
    ) {
        let service = if is_s3 { "s3" } else { "aps" };
        let policy = if is_s3 { Policy::s3(None, false) } else { Policy::common("aps", Some("us-east-1".to_owned())) };
        let mut request = request;
        signer(service, presigned).sign(&mut request);
        let verdict = check(&request, &policy, Identity::EXAMPLE_SECRET);
        prop_assert!(verdict.is_ok(), "{} {}: {:#?}", request.method(), request.uri(), verdict);
        let wrong = check(&request, &policy, "another secret");
        prop_assert!(matches!(wrong, Err(Refusal::Signature(_))), "{wrong:?}");
    }

    #[test]
    fn any_changed_byte_of_the_body_is_found_out(request in requests(false), at in any::<prop::sample::Index>(), is_s3: bool) {
        prop_assume!(!request.body().is_empty());
        let (service, policy) =
            if is_s3 { ("s3", Policy::s3(None, false)) } else { ("aps", Policy::common("aps", None)) };
        let mut request = request;
        signer(service, false).sign(&mut request);
        let at = at.index(request.body().len());
        request.body_mut()[at] ^= 1;
        let verdict = check(&request, &policy, Identity::EXAMPLE_SECRET);
        prop_assert!(matches!(verdict, Err(Refusal::Signature(_) | Refusal::PayloadHash { .. })), "{verdict:?}");
    }

    #[test]
    fn no_header_bytes_make_the_verifier_panic(authorization in proptest::collection::vec(any::<u8>(), 0..200), date in "\\PC{0,20}") {
        let mut request = http::Request::post("https://example.com/").body(Vec::new()).unwrap();
        if let Ok(value) = http::HeaderValue::from_bytes(&authorization) {
            request.headers_mut().insert("authorization", value);
        }
        if let Ok(value) = http::HeaderValue::from_str(&date) {
            request.headers_mut().insert("x-amz-date", value);
        }
        prop_assert!(check(&request, &Policy::common("aps", None), "x").is_err());
    }

    #[test]
    fn no_shape_of_authorization_makes_the_verifier_panic(
        parts in proptest::collection::vec(prop_oneof![
            Just("AWS4-HMAC-SHA256 ".to_owned()), Just("Credential=".to_owned()), Just("SignedHeaders=".to_owned()),
            Just("Signature=".to_owned()), Just(", ".to_owned()), Just("AKIDSANDBOXEXAMPLE/20231114/us-east-1/aps/aws4_request".to_owned()),
            Just("host;x-amz-date".to_owned()), Just("0".repeat(64)), "[ -~]{0,6}"], 0..12)
    ) {
        let mut request = http::Request::post("https://example.com/").body(Vec::new()).unwrap();
        request.headers_mut().insert("authorization", parts.concat().parse().unwrap());
        request.headers_mut().insert("x-amz-date", "20231114T221320Z".parse().unwrap());
        prop_assert!(check(&request, &Policy::common("aps", None), "x").is_err());
    }
}

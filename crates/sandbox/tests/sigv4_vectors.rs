//! The official vectors: the verifier must arrive at every canonical request and string to sign, and accept every
//! signed form with the right secret and refuse it with another.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use sandbox::{Identity, PathRule, Policy, Refusal, SignedRequest, verify};
use sha2::{Digest, Sha256};

struct Vector {
    name: String,
    directory: PathBuf,
    context: serde_json::Value,
}

impl Vector {
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap_or_else(|e| panic!("{}/{file}: {e}", self.name))
    }

    fn context(&self, key: &str) -> Option<&str> {
        self.context.get(key).or_else(|| self.context.get("credentials")?.get(key))?.as_str()
    }

    fn policy(&self) -> Policy {
        let normalize = self.context["normalize"].as_bool().unwrap();
        Policy {
            path: PathRule { encode_again: true, normalize },
            query_token_is_signed: self.context.get("omit_session_token").and_then(|v| v.as_bool()) != Some(true),
            ..Policy::common(self.context("service").unwrap(), self.context("region").map(str::to_owned))
        }
    }

    fn identity(&self, secret: &str) -> Identity {
        let identity = Identity::user(self.context("access_key_id").unwrap(), secret);
        match self.context("token") {
            Some(token) => identity.with_session_token(token),
            None => identity,
        }
    }
}

struct Parsed {
    method: String,
    path: String,
    query: String,
    host: String,
    headers: HeaderMap,
    body_sha256: String,
}

/// Reads the suite's request files: raw paths, `Name:value` lines, continuation lines, body after a blank line.
fn parse(text: &str) -> Parsed {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
    let mut lines = head.lines();
    let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
    let (target, _) = rest.rsplit_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut folded: Vec<(String, String)> = Vec::new();
    for line in lines {
        match line.strip_prefix(' ') {
            Some(more) => folded.last_mut().unwrap().1.push_str(&format!(" {more}")),
            None => {
                let (name, value) = line.split_once(':').unwrap();
                folded.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &folded {
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
    }
    Parsed {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        host: headers["host"].to_str().unwrap().to_owned(),
        headers,
        body_sha256: hex::encode(Sha256::digest(body.trim_end_matches('\n').as_bytes())),
    }
}

impl Parsed {
    fn request(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            host: &self.host,
            body_sha256: &self.body_sha256,
        }
    }
}

fn vectors() -> Vec<Vector> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sigv4");
    let mut all: Vec<Vector> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|directory| Vector {
            name: directory.file_name().unwrap().to_string_lossy().into_owned(),
            context: serde_json::from_str(&fs::read_to_string(directory.join("context.json")).unwrap()).unwrap(),
            directory,
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(all.len(), 38);
    all
}

/// 2015-08-30T12:36:00Z, the time of every vector.
const AT_MS: i64 = 1_440_938_160_000;

fn check(vector: &Vector, form: &str) {
    let parsed = parse(&vector.text(&format!("{form}-signed-request.txt")));
    let policy = vector.policy();
    let label = format!("{} ({form})", vector.name);

    let right = vector.identity(vector.context("secret_access_key").unwrap());
    let (claim, _) = verify(&parsed.request(), &policy, AT_MS, |_| Some(&right))
        .unwrap_or_else(|refusal| panic!("{label}: {}\n{refusal:#?}", refusal.reason()));
    assert_eq!(claim.signature, vector.text(&format!("{form}-signature.txt")).trim(), "{label}");

    let wrong = vector.identity("not the secret");
    match verify(&parsed.request(), &policy, AT_MS, |_| Some(&wrong)) {
        Err(Refusal::Signature(mismatch)) => {
            let canonical = vector.text(&format!("{form}-canonical-request.txt"));
            assert_eq!(mismatch.canonical_request, canonical, "{label}");
            let to_sign = vector.text(&format!("{form}-string-to-sign.txt"));
            assert_eq!(mismatch.string_to_sign, to_sign, "{label}");
        }
        other => panic!("{label}: a wrong secret gave {other:?}"),
    }
}

#[test]
fn every_header_vector_is_read_as_the_suite_says() {
    for vector in vectors() {
        check(&vector, "header");
    }
}

#[test]
fn every_query_vector_is_read_as_the_suite_says() {
    for vector in vectors() {
        check(&vector, "query");
    }
}

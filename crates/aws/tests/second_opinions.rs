//! What we sign, in the eyes of others: moto verifies it as a server, botocore signs the same requests and must agree.
//!
//! Both come from `make test-deps` (a Python environment under `$PEERS`). Without `PEERS` these tests say so and pass.

mod support;

use std::{
    io::Write,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aws::{Identity, IdentityConfig, RoleStep, StsConfig};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use net::{Authorize, Client, ClientOptions, HttpClientConfig, Reply};
use serde_json::{Value, json};
use support::{context, static_keys};

/// The program under `$PEERS/bin`, or nothing where no peers are wanted.
fn peer(program: &str) -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("PEERS") else {
        println!("skipped: PEERS is not set; `make test` sets it and `make test-deps` fills it");
        return None;
    };
    let path = PathBuf::from(peers).join("bin").join(program);
    assert!(path.exists(), "{} is missing: run `make test-deps`", path.display());
    Some(path)
}

/// A moto server whose first five requests need no permission.
struct Moto {
    process: Child,
    url: String,
    client: Client,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    async fn start(program: PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "5")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = Client::new(&HttpClientConfig::default(), ClientOptions::default()).unwrap();
        let moto = Self { process, url: format!("http://127.0.0.1:{port}"), client };
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), listens).await.expect("moto did not start");
        moto
    }

    fn identity(&self, service: &str, config: &IdentityConfig) -> Arc<Identity> {
        let sts = StsConfig { endpoint: Some(self.url.parse().unwrap()), ..StsConfig::default() };
        let config = IdentityConfig { service: Some(service.to_owned()), sts, ..config.clone() };
        aws::build(&config, &self.url.parse().unwrap(), service, "moto", &context()).unwrap()
    }

    async fn send(
        &self,
        identity: &Identity,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Bytes::from(body.to_owned())).unwrap();
        identity.authorize(&mut request).await.unwrap();
        self.client.send(request, Duration::from_secs(60), 1 << 20).await.unwrap()
    }

    /// A call of a service with a form, as IAM has it.
    async fn form(&self, identity: &Identity, fields: &[(&str, &str)]) -> String {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let reply = self.send(identity, Method::POST, "/", &headers, &body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, StatusCode::OK, "{fields:?}: {text}");
        text
    }

    /// A call of a JSON service.
    async fn json(&self, identity: &Identity, target: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        self.send(identity, Method::POST, "/", &headers, &body.to_string()).await
    }
}

fn element(text: &str, name: &str) -> String {
    let rest = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {text}")).1;
    rest.split_once('<').unwrap().0.to_owned()
}

fn fine(reply: &Reply) {
    assert!(reply.status.is_success(), "{} {}", reply.status, String::from_utf8_lossy(&reply.body));
}

#[tokio::test]
async fn moto_accepts_what_we_sign_for_logs_firehose_s3_and_sts_and_refuses_a_wrong_secret() {
    let Some(program) = peer("moto_server") else { return };
    let moto = Moto::start(program).await;
    let policy = |actions: &[&str]| {
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }] })
            .to_string()
    };
    let user_policy = policy(&["logs:*", "firehose:*", "s3:*", "sts:*"]);
    let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": { "AWS": "*" } }] });
    let region = |config: IdentityConfig| IdentityConfig { region: Some("us-east-1".to_owned()), ..config };
    let anyone = region(support::config(static_keys("AKIAANYONE", "anything")));
    let iam = moto.identity("iam", &anyone);
    moto.form(&iam, &[("Action", "CreateUser"), ("Version", "2010-05-08"), ("UserName", "agent")]).await;
    moto.form(
        &iam,
        &[("Action", "PutUserPolicy"), ("UserName", "agent"), ("PolicyName", "p"), ("PolicyDocument", &user_policy)],
    )
    .await;
    moto.form(
        &iam,
        &[("Action", "CreateRole"), ("RoleName", "writer"), ("AssumeRolePolicyDocument", &trust.to_string())],
    )
    .await;
    let role_policy = policy(&["logs:*"]);
    moto.form(
        &iam,
        &[("Action", "PutRolePolicy"), ("RoleName", "writer"), ("PolicyName", "p"), ("PolicyDocument", &role_policy)],
    )
    .await;
    // The last of the five: from here on everything is verified.
    let made = moto.form(&iam, &[("Action", "CreateAccessKey"), ("UserName", "agent")]).await;
    let (key, secret) = (element(&made, "AccessKeyId"), element(&made, "SecretAccessKey"));
    let user = region(support::config(static_keys(&key, &secret)));

    let caller = moto.identity("sts", &user).caller_identity().await.unwrap();
    assert!(caller.arn.ends_with(":user/agent"), "{caller:?}");

    let logs = moto.identity("logs", &user);
    fine(&moto.json(&logs, "Logs_20140328.CreateLogGroup", &json!({ "logGroupName": "/sigpost/ü" })).await);
    let stream = json!({ "logGroupName": "/sigpost/ü", "logStreamName": "s" });
    fine(&moto.json(&logs, "Logs_20140328.CreateLogStream", &stream).await);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let events = json!({ "logGroupName": "/sigpost/ü", "logStreamName": "s", "logEvents": [{ "timestamp": now, "message": "a line" }] });
    fine(&moto.json(&logs, "Logs_20140328.PutLogEvents", &events).await);

    let s3 = moto.identity("s3", &user);
    fine(&moto.send(&s3, Method::PUT, "/telemetry", &[], "").await);
    let object = "/telemetry/a%20b+c/%C3%BC=1/host~x.json.gz";
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip"), ("x-amz-meta-a", "two  blanks")];
    fine(&moto.send(&s3, Method::PUT, object, &headers, "some bytes").await);
    let listed = moto.send(&s3, Method::GET, "/telemetry?list-type=2&prefix=a%20b&delimiter=", &[], "").await;
    fine(&listed);
    assert!(String::from_utf8_lossy(&listed.body).contains("host~x.json.gz"));

    let firehose = moto.identity("firehose", &user);
    let delivery = json!({
        "DeliveryStreamName": "d",
        "ExtendedS3DestinationConfiguration": { "RoleARN": "arn:aws:iam::123456789012:role/writer", "BucketARN": "arn:aws:s3:::telemetry" }
    });
    fine(&moto.json(&firehose, "Firehose_20150804.CreateDeliveryStream", &delivery).await);
    let records = json!({ "DeliveryStreamName": "d", "Records": [{ "Data": STANDARD.encode("a line\n") }] });
    fine(&moto.json(&firehose, "Firehose_20150804.PutRecordBatch", &records).await);

    // A role on top: signed with the session's key and token.
    let writer = RoleStep {
        role_arn: "arn:aws:iam::123456789012:role/writer".to_owned(),
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: std::collections::BTreeMap::new(),
    };
    let session = IdentityConfig { roles: vec![writer], ..user.clone() };
    let caller = moto.identity("sts", &session).caller_identity().await.unwrap();
    assert!(caller.arn.contains(":assumed-role/writer/sigpost-node-1-moto"), "{caller:?}");
    fine(&moto.json(&moto.identity("logs", &session), "Logs_20140328.PutLogEvents", &events).await);

    let wrong = region(support::config(static_keys(&key, "not-the-secret")));
    let refused = moto.json(&moto.identity("logs", &wrong), "Logs_20140328.PutLogEvents", &events).await;
    let text = String::from_utf8_lossy(&refused.body);
    assert!(
        refused.status == StatusCode::FORBIDDEN && text.contains("SignatureDoesNotMatch"),
        "{} {text}",
        refused.status
    );
}

/// Signs each request of standard input with botocore and prints the signatures.
const BOTOCORE: &str = r#"
import base64, json, sys
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
for line in sys.stdin:
    told = json.loads(line)
    kind = S3SigV4Auth if told["service"] == "s3" else SigV4Auth
    auth = kind(Credentials(told["key"], told["secret"], told["token"]), told["service"], told["region"])
    request = AWSRequest(method=told["method"], url=told["url"], headers=dict(told["headers"]), data=base64.b64decode(told["body"]))
    request.context["timestamp"] = told["date"]
    request.context["payload_signing_enabled"] = True
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    print(auth.signature(auth.string_to_sign(request, canonical), request))
"#;

fn random_text(random: &mut fastrand::Rng, alphabet: &str, longest: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    (0..random.usize(..=longest)).map(|_| letters[random.usize(..letters.len())]).collect()
}

#[tokio::test]
async fn botocore_signs_random_requests_as_we_do() {
    let Some(program) = peer("moto_server") else { return };
    // The environment that moto is installed in.
    let python = std::fs::canonicalize(program).unwrap().with_file_name("python3");
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut told, mut ours) = (String::new(), Vec::new());
    for n in 0..300 {
        let service = ["logs", "firehose", "s3", "sts", "aps"][random.usize(..5)];
        let token = random.bool().then(|| format!("token+/={n}"));
        let source = aws::CredentialSource::Static {
            access_key: support::inline(&format!("AKIA{n}")),
            secret_key: support::inline(&random_text(&mut random, "abcXYZ019/+", 40).replace("", "s")),
            session_token: token.as_deref().map(support::inline),
        };
        let aws::CredentialSource::Static { secret_key, .. } = &source else { panic!() };
        let secret = secret_key.read().unwrap().expose().to_owned();
        let config = IdentityConfig { service: Some(service.to_owned()), ..support::config(source) };
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let path: String = (0..random.usize(..4))
            .map(|_| format!("/{}", encode(&random_text(&mut random, "aZ0-_~ +ü%=:@é", 6))))
            .collect();
        let query: Vec<String> = (0..random.usize(..4))
            .map(|_| {
                let (key, value) = (random_text(&mut random, "abü -", 4), random_text(&mut random, "xy/&= é~", 5));
                format!("k{}={}", encode(&key), encode(&value))
            })
            .collect();
        let port = if random.bool() { ":8443" } else { "" };
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("https://host.example{port}{path}/x{mark}{}", query.join("&"));
        let mut request = Request::builder().method(["GET", "POST", "PUT"][random.usize(..3)]).uri(url);
        for name in ["content-type", "content-encoding", "x-amz-target", "x-amz-meta-a", "x-other"] {
            if random.bool() {
                request = request.header(name, format!("v{}", random_text(&mut random, "ab  ;,", 8)).trim());
            }
        }
        let mut request = request.body(Bytes::from(random_text(&mut random, "body {}\n", 50))).unwrap();
        let identity = aws::build(&config, &"https://host.example/".parse().unwrap(), "aps", "b", &context()).unwrap();
        identity.authorize(&mut request).await.unwrap();
        let authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
        let field = |name: &str| authorization.split_once(name).unwrap().1.split(',').next().unwrap().to_owned();
        let added = ["x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "host"];
        let headers: Vec<(String, String)> = field("SignedHeaders=")
            .split(';')
            .filter(|name| !added.contains(name))
            .map(|name| (name.to_owned(), request.headers()[name].to_str().unwrap().to_owned()))
            .collect();
        let line = json!({
            "service": service, "region": "us-east-1", "key": format!("AKIA{n}"), "secret": secret, "token": token,
            "method": request.method().as_str(), "url": request.uri().to_string(), "headers": headers,
            "body": STANDARD.encode(request.body()), "date": request.headers()["x-amz-date"].to_str().unwrap(),
        });
        told.push_str(&format!("{line}\n"));
        ours.push((field("Signature="), line));
    }
    let mut child = Command::new(python)
        .args(["-c", BOTOCORE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(told.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let signed = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<&str> = signed.lines().collect();
    assert_eq!(theirs.len(), ours.len(), "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
    for (theirs, (ours, line)) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours, "seed {seed}: {line}");
    }
}

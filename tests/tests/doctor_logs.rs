//! `sigpost doctor` on log destinations, one protocol after the other: what is right, what is broken, and that nothing is
//! stored to find out. AWS's own host names, played by the sandbox behind a proxy.

use anyhow::{Context, Result};
use e2e::desk::Desk;
use sandbox::{
    Authority, DeliveryStream, Identity, ProxyListener, Running, Sandbox, SandboxConfig, TlsListener, World,
};
use serde_json::Value;

const KEY_ID: &str = "AKIDDOCTOREXAMPLE001";
const SECRET: &str = "right-secret-MARKER-not-a-real-one";
/// May do nothing at all.
const POWERLESS: &str = "AKIDDOCTORPOWERLESS1";
/// May put, but not make or describe anything.
const PUTS: &str = "AKIDDOCTORPUTSONLY01";

/// The sandbox as all of AWS in us-east-1.
struct Aws {
    cloud: Running,
    desk: Desk,
}

impl Aws {
    async fn start() -> Result<Self> {
        let authority = Authority::generate()?;
        let (certificate_pem, key_pem) = authority.issue("127.0.0.1")?;
        let listen = "127.0.0.1:0".parse()?;
        let puts = ["logs:PutLogEvents", "firehose:PutRecordBatch", "kinesis:PutRecords"];
        let world = World {
            streams: vec!["lines".to_owned()],
            delivery_streams: vec![
                DeliveryStream::direct("lines"),
                DeliveryStream::direct("fed").fed_by("KinesisStreamAsSource"),
                DeliveryStream { state: "CREATING".to_owned(), ..DeliveryStream::direct("young") },
            ],
            ..World::default()
        };
        let cloud = Sandbox::start(SandboxConfig {
            identities: vec![
                Identity::user(KEY_ID, SECRET),
                Identity::user(POWERLESS, SECRET).allowing(["aps:QueryMetrics"]),
                Identity::user(PUTS, SECRET).allowing(puts),
            ],
            world,
            record: true,
            tls: Some(TlsListener { listen, certificate_pem, key_pem }),
            proxy: Some(ProxyListener { listen, authority: authority.clone(), hosts: Vec::new() }),
            ..SandboxConfig::default()
        })
        .await?;
        let desk = Desk::new()?;
        let ca = desk.write("ca.pem", authority.certificate_pem())?;
        let proxy = format!("http://{}", cloud.proxy_address().context("a proxy")?);
        Ok(Self { cloud, desk: desk.env("HTTPS_PROXY", proxy).env("SSL_CERT_FILE", ca) })
    }

    /// The causes of each entry, compared with what is wanted.
    fn check(&self, table: &[(String, &str)]) -> Result<()> {
        for (entry, wanted) in table {
            let (cause, told) = self.desk.cause_of_logs(entry)?;
            assert_eq!(cause, *wanted, "{entry}\n{told:#}");
        }
        Ok(())
    }

    fn told(&self, entry: &str) -> Result<Value> {
        Ok(self.desk.cause_of_logs(entry)?.1)
    }

    /// Nothing that was asked left anything behind.
    fn check_empty(&self) {
        assert_eq!(self.cloud.records(None, None), vec![]);
        assert_eq!(self.cloud.objects(), vec![]);
    }
}

/// A client at an AWS host; `more` has the keys of the protocol.
fn at(host: &str, more: &str) -> String {
    signed(&format!("https://{host}.us-east-1.amazonaws.com/"), KEY_ID, SECRET, more)
}

fn signed(url: &str, key: &str, secret: &str, more: &str) -> String {
    format!("{{name: d, url: '{url}', {more}, sigv4: {{access_key: {key}, secret_key: {secret}}}}}")
}

/// What is wrong whatever the service: key, secret, region, permission.
fn common(entry: &str) -> Vec<(String, &'static str)> {
    vec![
        (entry.replace(SECRET, "wrong-secret-MARKER"), "wrong_secret"),
        (entry.replace("sigv4: {", "sigv4: {region: eu-west-1, "), "wrong_region"),
        (entry.replace(KEY_ID, "AKIDNOBODY0000000001"), "unknown_key"),
        (entry.replace(KEY_ID, POWERLESS), "missing_permission"),
    ]
}

fn iam(told: &Value) -> (&str, &str) {
    let iam = &told["causes"][0]["iam"];
    (iam["action"].as_str().unwrap_or_default(), iam["resource"].as_str().unwrap_or_default())
}

fn shows(told: &Value) -> &str {
    told["probe"]["shows"].as_str().unwrap_or_default()
}

/// The action that is not shown.
fn open(told: &Value) -> Option<&str> {
    let cause = told["causes"].as_array()?.iter().find(|cause| cause["cause"] == "permission_not_shown")?;
    cause["iam"]["action"].as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cloudwatch_logs_tells_permission_group_and_stream_apart() -> Result<()> {
    let aws = Aws::start().await?;
    aws.cloud.put_log_group("/sigpost/shop", Some("here"));
    let to = |group: &str, stream: &str, more: &str| {
        at("logs", &format!("log_group: '{group}', log_stream: '{stream}', {more}"))
    };
    let right = to("/sigpost/shop", "here", "create: false");
    let mut table = vec![
        (right.clone(), "none"),
        (to("/sigpost/shop", "here", "external_labels: {a: b}"), "none"),
        (to("/sigpost/nowhere", "here", "create: false"), "log_group_missing"),
        (to("/sigpost/shop", "nowhere", "create: false"), "log_stream_missing"),
        (to("/sigpost/{job}", "{filename}", "create: false"), "names_not_shown"),
        (to("/sigpost/nowhere", "here", "create: true"), "permission_not_shown"),
        (to("/sigpost/{job}", "here", "create: true").replace(KEY_ID, PUTS), "missing_permission"),
    ];
    table.extend(common(&right));
    aws.check(&table)?;

    let told = aws.told(&right)?;
    assert!(shows(&told).contains("permission (logs:PutLogEvents), log group and log stream are right"), "{told:#}");
    assert_eq!((open(&told), told["protocol"].as_str()), (None, Some("cloudwatch_logs")));
    // What is made first shows as far as it can be asked for without making it.
    let told = aws.told(&to("/sigpost/shop", "new", "create: true"))?;
    assert!(shows(&told).contains("the log group exists"), "{told:#}");
    assert_eq!(open(&told), Some("logs:CreateLogStream"));
    let told = aws.told(&to("/sigpost/new", "new", "create: true"))?;
    assert_eq!(open(&told), Some("logs:CreateLogGroup"), "{told:#}");
    assert!(told["probe"]["then"][0]["request"].as_str().unwrap_or_default().starts_with("CreateLogStream"));
    // The statement to add is of use for every group that the template makes.
    let told = aws.told(&to("/sigpost/{job}", "{filename}", "create: true").replace(KEY_ID, POWERLESS))?;
    let group = "arn:aws:logs:us-east-1:000000000000:log-group:/sigpost/*:*";
    assert_eq!(iam(&told), ("logs:PutLogEvents", group), "{told:#}");
    let told = aws.told(&to("/sigpost/{job}", "here", "create: true").replace(KEY_ID, PUTS))?;
    assert_eq!(iam(&told), ("logs:CreateLogStream", group), "{told:#}");
    aws.check_empty();

    let written = aws.desk.doctor_of_logs(&[right], &["--write-probe"])?;
    assert!(written.code == Some(0) && written.text.contains("this was stored"), "{}", written.text);
    let kept = aws.cloud.records(Some("logs:/sigpost/shop:here"), None);
    assert_eq!(kept.len(), 1);
    // A write makes what the agent would make, and only then is it shown that all of it is allowed.
    let new = to("/sigpost/new", "new", "create: true, retention_days: 7");
    let written = aws.desk.doctor_of_logs(std::slice::from_ref(&new), &["--write-probe"])?;
    assert!(written.code == Some(0) && written.text.contains("this was stored"), "{}", written.text);
    assert!(written.text.contains("CreateLogGroup") && written.text.contains("PutRetentionPolicy"), "{}", written.text);
    assert_eq!(aws.cloud.records(Some("logs:/sigpost/new:new"), None).len(), 1);
    let refused =
        aws.desk.doctor_of_logs(&[new.replace("/new", "/other").replace(KEY_ID, PUTS)], &["--write-probe"])?;
    assert!(refused.code == Some(1) && refused.text.contains("logs:CreateLogGroup"), "{}", refused.text);
    assert_eq!(aws.cloud.records(None, None).len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinesis_is_asked_by_a_dry_run() -> Result<()> {
    let aws = Aws::start().await?;
    let right = at("kinesis", "stream_name: lines");
    let mut table = vec![
        (right.clone(), "none"),
        (right.replace(KEY_ID, PUTS), "none"),
        (at("kinesis", "stream_name: misspelt"), "stream_missing"),
    ];
    table.extend(common(&right));
    aws.check(&table)?;
    let told = aws.told(&right)?;
    assert!(shows(&told).contains("permission (kinesis:PutRecords) and stream are right"), "{told:#}");
    assert_eq!(open(&told), None);
    let told = aws.told(&right.replace(KEY_ID, POWERLESS))?;
    assert_eq!(iam(&told), ("kinesis:PutRecords", "arn:aws:kinesis:us-east-1:000000000000:stream/lines"), "{told:#}");
    // Elsewhere nobody knows whether the word is known, and a record would be stored.
    let played = signed(&format!("{}/", aws.cloud.url()), KEY_ID, SECRET, "protocol: kinesis, stream_name: lines")
        .replace(
            "sigv4: {",
            &format!("sigv4: {{region: us-east-1, service_name: kinesis, sts_endpoint: '{}', ", aws.cloud.url()),
        );
    let told = aws.told(&played)?;
    assert_eq!((told["verdict"].as_str(), open(&told)), (Some("unproven"), Some("kinesis:PutRecords")), "{told:#}");
    aws.check_empty();
    aws.desk.doctor_of_logs(&[right], &["--write-probe"])?;
    assert_eq!(aws.cloud.records(Some("kinesis:lines"), None).len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firehose_is_asked_about_its_stream_and_what_that_leaves_open_is_told() -> Result<()> {
    let aws = Aws::start().await?;
    let right = at("firehose", "delivery_stream: lines");
    let mut table = vec![
        (right.clone(), "permission_not_shown"),
        (right.replace(KEY_ID, PUTS), "permission_not_shown"),
        (at("firehose", "delivery_stream: misspelt"), "stream_missing"),
        (at("firehose", "delivery_stream: fed"), "delivery_stream_not_direct"),
        (at("firehose", "delivery_stream: young"), "delivery_stream_not_active"),
    ];
    table.extend(common(&right));
    aws.check(&table)?;
    let told = aws.told(&right)?;
    assert!(shows(&told).contains("identity and stream are right"), "{told:#}");
    assert_eq!(open(&told), Some("firehose:PutRecordBatch"));
    assert_eq!(iam(&told).1, "arn:aws:firehose:us-east-1:000000000000:deliverystream/lines");
    let ways = told["causes"][0]["do"].to_string();
    assert!(ways.contains("delivery stream") && ways.contains("logs-firehose.json"), "{told:#}");
    // Nothing refuses, and nobody knows: an exit code of its own, unless that is said to be enough.
    let unproven = aws.desk.doctor_of_logs(std::slice::from_ref(&right), &[])?;
    assert_eq!(unproven.code, Some(3));
    assert!(unproven.text.contains("1 of 1 destinations could not be shown to accept data: d"), "{}", unproven.text);
    assert_eq!(aws.desk.doctor_of_logs(std::slice::from_ref(&right), &["--unproven-ok"])?.code, Some(0));
    let refused = right.replace(KEY_ID, POWERLESS);
    assert_eq!(aws.desk.doctor_of_logs(&[refused], &["--unproven-ok"])?.code, Some(1));
    let told = aws.told(&right.replace(KEY_ID, PUTS))?;
    assert!(shows(&told).contains("may not look at the stream"), "{told:#}");
    let told = aws.told(&right.replace(KEY_ID, POWERLESS))?;
    let stream = "arn:aws:firehose:us-east-1:000000000000:deliverystream/lines";
    assert_eq!(iam(&told), ("firehose:PutRecordBatch", stream), "{told:#}");
    aws.check_empty();
    let written = aws.desk.doctor_of_logs(&[right], &["--write-probe"])?;
    assert!(written.code == Some(0) && written.text.contains("this was stored"), "{}", written.text);
    assert_eq!(aws.cloud.records(Some("firehose:lines"), None).len(), 1);
    let denied = at("firehose", "delivery_stream: lines").replace(KEY_ID, POWERLESS);
    assert_eq!(aws.desk.doctor_of_logs(&[denied], &["--write-probe"])?.code, Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loki_is_known_by_its_words_alone_and_behind_an_api_gateway() -> Result<()> {
    let aws = Aws::start().await?;
    let plain = |path: &str| format!("{{name: d, url: '{}{path}'}}", aws.cloud.url());
    let gateway = "https://abc123.execute-api.us-east-1.amazonaws.com/prod/loki/api/v1/push";
    let behind = signed(gateway, KEY_ID, SECRET, "tenant_id: t");
    let mut table = vec![
        (plain("/loki/api/v1/push"), "none"),
        (plain("/loki/api/v2/push"), "not_found"),
        (behind.clone(), "none"),
        (behind.replace("/loki/api/v1/push", "/loki"), "gateway_path"),
    ];
    table.extend(common(&behind));
    aws.check(&table)?;
    let told = aws.told(&plain("/loki/api/v1/push"))?;
    assert_eq!(told["probe"]["outcome"], "HTTP 422");
    assert!(shows(&told).contains("would have read the lines"), "{told:#}");
    let told = aws.told(&behind.replace(KEY_ID, POWERLESS))?;
    assert_eq!(iam(&told).0, "execute-api:Invoke", "{told:#}");
    aws.check_empty();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn otlp_and_buckets_for_logs_are_asked_as_what_they_are() -> Result<()> {
    let aws = Aws::start().await?;
    aws.cloud.put_log_group("/sigpost/shop", Some("here"));
    let otlp = "https://logs.us-east-1.amazonaws.com/v1/logs";
    let place = "log_group: /sigpost/shop, log_stream: here, create: false";
    let right = signed(otlp, KEY_ID, SECRET, place);
    let bucket = signed("https://bkt.s3.us-east-1.amazonaws.com/logs", KEY_ID, SECRET, "batchwait: 1s");
    let collector = format!("{{name: d, url: '{}/plain/v1/logs'}}", aws.cloud.url());
    let mut table = vec![
        (right.clone(), "none"),
        (right.replace("stream: here", "stream: nowhere"), "log_stream_missing"),
        (right.replace("group: /sigpost/shop", "group: /sigpost/nowhere"), "log_group_missing"),
        (collector, "none"),
        (bucket.clone(), "none"),
        (bucket.replace(KEY_ID, POWERLESS), "missing_permission"),
        (bucket.replace(SECRET, "wrong-MARKER"), "wrong_secret"),
    ];
    table.extend(common(&right));
    aws.check(&table)?;
    let told = aws.told(&right)?;
    assert_eq!((told["protocol"].as_str(), told["probe"]["then"].as_array().map(Vec::len)), (Some("otlp"), Some(1)));
    assert!(shows(&told).contains("logs:PutLogEvents"), "{told:#}");
    let told = aws.told(&bucket.replace(KEY_ID, POWERLESS))?;
    assert_eq!(iam(&told), ("s3:PutObject", "arn:aws:s3:::bkt/logs/*"), "{told:#}");
    aws.check_empty();
    Ok(())
}

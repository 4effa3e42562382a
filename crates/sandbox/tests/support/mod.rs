//! A signing client made of `aws-sigv4` and `reqwest`: everything the sandbox's own code is not.
#![allow(dead_code)]

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use sandbox::{Identity, Running, Sandbox, SandboxConfig};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What signs requests, with everything that can be got wrong.
#[derive(Clone)]
pub struct Signer {
    pub key: String,
    pub secret: String,
    pub token: Option<String>,
    pub region: String,
    pub service: String,
    pub at: SystemTime,
    pub presigned: Option<Duration>,
}

impl Signer {
    pub fn new(service: &str) -> Self {
        Self {
            key: Identity::EXAMPLE_KEY_ID.to_owned(),
            secret: Identity::EXAMPLE_SECRET.to_owned(),
            token: None,
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
            at: SystemTime::now(),
            presigned: None,
        }
    }

    /// Adds what a signature adds.
    pub fn sign(&self, request: &mut http::Request<Vec<u8>>) {
        let credentials = Credentials::new(&self.key, &self.secret, self.token.clone(), None, "test");
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        if self.service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        if let Some(expires) = self.presigned {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(expires);
        }
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(self.at)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let is_presigned_s3 = self.presigned.is_some() && self.service == "s3";
        let body = if is_presigned_s3 { SignableBody::UnsignedPayload } else { SignableBody::Bytes(request.body()) };
        let headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.uri().to_string(),
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            body,
        )
        .unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(request);
    }
}

/// The answer to a request, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// Sends a request as it is.
pub async fn send(client: &reqwest::Client, request: http::Request<Vec<u8>>) -> reqwest::Result<Answer> {
    let response = client.execute(reqwest::Request::try_from(request).unwrap()).await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.text().await? })
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub async fn start(config: SandboxConfig) -> Running {
    Sandbox::start(config).await.unwrap()
}

/// An unsigned remote write of one series.
pub fn remote_write(url: &str, metric: &str, samples: &[(i64, f64)]) -> http::Request<Vec<u8>> {
    let raw = write_request(metric, samples);
    http::Request::post(url)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(snap::raw::Encoder::new().compress_vec(&raw).unwrap())
        .unwrap()
}

/// Protobuf by hand: `WriteRequest{timeseries:[{labels:[__name__, job], samples}]}`.
pub fn write_request(metric: &str, samples: &[(i64, f64)]) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in [("__name__", metric), ("job", "node")] {
        let label = [message(1, name.as_bytes()), message(2, value.as_bytes())].concat();
        series.extend(message(1, &label));
    }
    for (timestamp, value) in samples {
        let mut sample = vec![0x09];
        sample.extend(value.to_bits().to_le_bytes());
        sample.push(0x10);
        sample.extend(varint(*timestamp as u64));
        series.extend(message(2, &sample));
    }
    message(1, &series)
}

fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    out.extend(varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
    out
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// The credentials in an answer of STS, of a metadata document or of Roles Anywhere.
pub fn session_of(body: &str) -> Signer {
    let (key, secret, token) = if body.trim_start().starts_with('{') {
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        let of = json.pointer("/credentialSet/0/credentials").unwrap_or(&json);
        let text = |names: [&str; 2]| names.iter().find_map(|name| of[name].as_str()).expect(body).to_owned();
        (
            text(["AccessKeyId", "accessKeyId"]),
            text(["SecretAccessKey", "secretAccessKey"]),
            text(["Token", "sessionToken"]),
        )
    } else {
        let text = |name: &str| element(body, name).expect(body);
        (text("AccessKeyId"), text("SecretAccessKey"), text("SessionToken"))
    };
    assert!(key.starts_with("ASIA"), "{key}");
    Signer { key, secret, token: Some(token), ..Signer::new("aps") }
}

/// The first XML element of this name.
pub fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
}

/// A form for STS, signed unless there is no signer.
pub async fn sts(running: &Running, signer: Option<&Signer>, form: &[(&str, &str)]) -> Answer {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    let mut request = http::Request::post(format!("{}/", running.url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.join("&").into_bytes())
        .unwrap();
    if let Some(signer) = signer {
        Signer { service: "sts".into(), ..signer.clone() }.sign(&mut request);
    }
    send(&client(), request).await.unwrap()
}

/// One signed remote write of one sample.
pub async fn deliver(running: &Running, signer: &Signer) -> Answer {
    let mut request = remote_write(&running.remote_write_url("ws-EXAMPLE"), "up", &[(1_700_000_000_000, 1.0)]);
    signer.sign(&mut request);
    send(&client(), request).await.unwrap()
}

/// An order of the control API.
pub async fn order(running: &Running, path: &str, body: &str) -> serde_json::Value {
    let request = http::Request::post(format!("{}/_sandbox/{path}", running.url())).body(body.as_bytes().to_vec());
    let answer = send(&client(), request.unwrap()).await.unwrap();
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

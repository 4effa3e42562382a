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

//! What stands at the doors of OTLP's receivers, on the real binary: client certificates, pages of other origins, compression,
//! sizes, and metadata that nobody asks for.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, collector::Collector, free_port, process::until};
use reqwest::{Certificate, Client, Identity, Method, StatusCode};

const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, and a certificate with its key that it issued.
struct Papers {
    authority: String,
    server: (String, String),
    client: (String, String),
}

fn papers() -> Result<Papers> {
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = rcgen::Issuer::new(params, key);
    let issued = |name: &str| -> Result<(String, String)> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    };
    Ok(Papers { authority: authority.pem(), server: issued("localhost")?, client: issued("client")? })
}

fn client(papers: &Papers, own: Option<&(String, String)>) -> Result<Client> {
    let builder = Client::builder().tls_certs_only([Certificate::from_pem(papers.authority.as_bytes())?]);
    let builder = match own {
        Some((certificate, key)) => builder.identity(Identity::from_pem(format!("{certificate}{key}").as_bytes())?),
        None => builder,
    };
    Ok(builder.build()?)
}

/// A field of wire type 2.
fn field(tag: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[tag << 3 | 2, body.len() as u8], body].concat()
}

fn request() -> Vec<u8> {
    let span = [field(1, &[1; 16]), field(2, &[2; 8]), field(5, b"span 7 ")].concat();
    field(1, &field(2, &field(2, &span)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_origins_compressions_and_sizes_are_minded() -> Result<()> {
    let (collector, port) = Collector::start().await?;
    let papers = papers()?;
    let http = free_port()?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (cert, key) = (file("cert.pem", &papers.server.0)?, file("key.pem", &papers.server.1)?);
    let ca = file("ca.pem", &papers.authority)?;
    let mut agent = Agent::prepare(&format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers:
        otlp:
          protocols:
            http:
              endpoint: 'localhost:{http}'
              include_metadata: true
              max_request_body_size: 64KiB
              tls: {{cert_file: '{cert}', key_file: '{key}', client_ca_file: '{ca}'}}
              cors: {{allowed_origins: ['https://*.example.com'], allowed_headers: [X-Tenant], max_age: 60}}
      remote_write:
        - {{name: collector, endpoint: 'http://127.0.0.1:{port}', protocol: http, compression: none}}
"
    ))?;
    agent.start_ready().await?;
    let url = format!("https://localhost:{http}/v1/traces");
    let stranger = client(&papers, None)?.post(&url).body(request()).send().await;
    ensure!(stranger.is_err(), "a client without a certificate is not talked to: {stranger:?}");
    let client = client(&papers, Some(&papers.client))?;
    let post = |body: Vec<u8>, packed: Option<&'static str>| {
        let request = client.post(&url).header("content-type", "application/x-protobuf").body(body);
        let request = request.header("origin", "https://shop.example.com").header("x-tenant", "a");
        match packed {
            Some(packing) => request.header("content-encoding", packing),
            None => request,
        }
        .send()
    };
    for (packing, body) in [
        (None, request()),
        (Some("zstd"), zstd::stream::encode_all(&request()[..], 3)?),
        (Some("gzip"), e2e::spans::gzip(&request(), 6)?),
    ] {
        let answer = post(body, packing).await?;
        assert_eq!(answer.status(), StatusCode::OK, "{packing:?}");
        let allowed = answer.headers().get("access-control-allow-origin").context("no word of CORS")?;
        assert_eq!(allowed, "https://shop.example.com");
    }
    let preflight = |origin: &'static str| {
        let asked = client.request(Method::OPTIONS, &url).header("origin", origin);
        asked
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-tenant")
            .send()
    };
    let answer = preflight("https://shop.example.com").await?;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()["access-control-max-age"], "60");
    let answer = preflight("https://example.org").await?;
    assert!(!answer.headers().contains_key("access-control-allow-origin"), "{answer:?}");
    let large = zstd::stream::encode_all(&vec![0; 1 << 20][..], 3)?;
    let answer = post(large, Some("zstd")).await?;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!answer.headers().contains_key("retry-after"), "it is too large for ever");
    until("the spans", PATIENCE, || async { (collector.numbers("/v1/traces").len() >= 3).then_some(()) }).await?;
    assert_eq!(collector.numbers("/v1/traces"), [7, 7, 7]);
    agent.stop()
}

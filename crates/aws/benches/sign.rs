//! One signed request: hash of the body, canonical request, signature, headers. Body sizes of remote write in practice.

use std::hint::black_box;

use aws::{CredentialSource, IdentityConfig, IdentityContext};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::Request;
use net::{Secret, SecretSource};
use url::Url;

const ENDPOINT: &str = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-EXAMPLE/api/v1/remote_write";

fn sign(c: &mut Criterion) {
    net::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let inline = |text: &str| SecretSource::Inline(Secret::new(text));
    let config = IdentityConfig {
        region: Some("us-east-1".to_owned()),
        source: CredentialSource::Static {
            access_key: inline("AKIDEXAMPLE"),
            secret_key: inline("not-a-real-secret"),
            session_token: None,
        },
        ..IdentityConfig::default()
    };
    let context = IdentityContext::new("bench").expect("clients");
    let url = Url::parse(ENDPOINT).expect("a literal URL");
    let identity = aws::identity(&config, &url, "aps", "bench", &context).expect("a complete block");

    let mut group = c.benchmark_group("sign");
    for kib in [1, 50, 250] {
        let body = Bytes::from(vec![b'x'; kib << 10]);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(format!("{kib} KiB")), &body, |b, body| {
            b.iter(|| {
                let mut request = Request::post(ENDPOINT)
                    .header("content-type", "application/x-protobuf")
                    .header("content-encoding", "snappy")
                    .body(body.clone())
                    .expect("a valid request");
                runtime.block_on(identity.authorize(&mut request)).expect("keys are there");
                black_box(request)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sign);
criterion_main!(benches);

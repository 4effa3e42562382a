//! The sandbox over TLS, and as a CONNECT proxy that plays AWS for a client that knows nothing of it.

mod support;

use std::net::SocketAddr;

use sandbox::{Authority, ProxyListener, Running, SandboxConfig, SandboxError, TlsListener};
use support::{PATIENCE, Signer, remote_write, send, start};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const AMP: &str = "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-EXAMPLE/api/v1/remote_write";

async fn proxy() -> (Running, reqwest::Client) {
    let authority = Authority::generate().unwrap();
    let root = reqwest::Certificate::from_pem(authority.certificate_pem().as_bytes()).unwrap();
    let listener = ProxyListener { listen: ANY_PORT, authority, hosts: vec!["played.example".to_owned()] };
    let running = start(SandboxConfig { record: true, proxy: Some(listener), ..SandboxConfig::default() }).await;
    let proxy = reqwest::Proxy::https(format!("http://{}", running.proxy_address().unwrap())).unwrap();
    let client = reqwest::Client::builder().proxy(proxy).tls_certs_only([root]).build().unwrap();
    (running, client)
}

#[tokio::test]
async fn a_client_that_means_aws_reaches_the_sandbox() {
    let (running, client) = proxy().await;
    let signer = Signer { region: "eu-west-1".to_owned(), ..Signer::new("aps") };
    for _ in 0..2 {
        let mut request = remote_write(AMP, "up", &[(1000, 1.0)]);
        signer.sign(&mut request);
        assert_eq!(send(&client, request).await.unwrap().status, 200);
    }
    let state = running.state();
    let destination = &state.destinations[0];
    assert_eq!(destination.host, "aps-workspaces.eu-west-1.amazonaws.com");
    assert_eq!((destination.resource.as_str(), destination.accepted), ("ws-EXAMPLE", 2));
    assert_eq!(state.tunnels["aps-workspaces.eu-west-1.amazonaws.com:443"], 1, "the connection is kept");
    assert_eq!(running.samples(Some("aps:ws-EXAMPLE"), None)[0].samples[0].count, 2);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn the_hosts_region_is_the_only_one_accepted() {
    let (running, client) = proxy().await;
    let mut request = remote_write(AMP, "up", &[(1000, 1.0)]);
    Signer::new("aps").sign(&mut request);
    let answer = send(&client, request).await.unwrap();
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("Credential should be scoped to a valid region"), "{}", answer.body);
    assert_eq!(running.state().recent_refusals[0].name, "scope_region");
}

#[tokio::test]
async fn virtual_host_buckets_and_sts_are_played_too() {
    let (running, client) = proxy().await;
    let mut put = http::Request::put("https://my-bucket.s3.us-east-1.amazonaws.com/a/b").body(b"x".to_vec()).unwrap();
    Signer::new("s3").sign(&mut put);
    // TLS protects the payload, so it need not be signed.
    assert_eq!(send(&client, put).await.unwrap().status, 200);
    assert_eq!(&running.object("my-bucket", "a/b").unwrap()[..], b"x");
    let mut who = http::Request::post("https://sts.us-east-1.amazonaws.com/")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(b"Action=GetCallerIdentity&Version=2011-06-15".to_vec())
        .unwrap();
    Signer::new("sts").sign(&mut who);
    let answer = send(&client, who).await.unwrap();
    assert!(answer.body.contains("<Account>000000000000</Account>"), "{}", answer.body);
    let unsigned = http::Request::post("https://sts.us-east-1.amazonaws.com/").body(Vec::new()).unwrap();
    let answer = send(&client, unsigned).await.unwrap();
    assert!(answer.status == 403 && answer.body.contains("MissingAuthenticationToken"), "{}", answer.body);
}

#[tokio::test]
async fn hosts_that_are_not_played_are_not_reached() {
    let (running, client) = proxy().await;
    let elsewhere = http::Request::get("https://example.com/").body(Vec::new()).unwrap();
    assert!(send(&client, elsewhere).await.is_err());
    assert_eq!(running.state().tunnels["example.com:443"], 1);
    let request = remote_write("https://played.example/api/v1/write", "up", &[(1, 1.0)]);
    assert_eq!(send(&client, request).await.unwrap().status, 204);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_sends_nothing() {
    let (running, _) = proxy().await;
    let proxy = reqwest::Proxy::https(format!("http://{}", running.proxy_address().unwrap())).unwrap();
    let stranger = Authority::generate().unwrap();
    let root = reqwest::Certificate::from_pem(stranger.certificate_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().proxy(proxy).tls_certs_only([root]).build().unwrap();
    assert!(send(&client, remote_write(AMP, "up", &[])).await.is_err());
    assert!(running.state().destinations.is_empty());
}

#[tokio::test]
async fn the_tls_listener_uses_the_certificate_it_was_given() {
    let authority = Authority::generate().unwrap();
    let (certificate_pem, key_pem) = authority.issue("127.0.0.1").unwrap();
    let tls = TlsListener { listen: ANY_PORT, certificate_pem, key_pem };
    let running = start(SandboxConfig { tls: Some(tls), ..SandboxConfig::default() }).await;
    let root = reqwest::Certificate::from_pem(authority.certificate_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let base = format!("https://{}", running.tls_address().unwrap());
    let mut request = remote_write(&format!("{base}/workspaces/ws/api/v1/remote_write"), "up", &[(1, 1.0)]);
    Signer::new("aps").sign(&mut request);
    assert_eq!(send(&client, request).await.unwrap().status, 200);
    assert!(running.wait_until(PATIENCE, |state| state.verified == 1).await);
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let tls = TlsListener { listen: ANY_PORT, certificate_pem: "x".to_owned(), key_pem: net::Secret::new("hush") };
    let error =
        sandbox::Sandbox::start(SandboxConfig { tls: Some(tls), ..SandboxConfig::default() }).await.unwrap_err();
    assert!(matches!(error, SandboxError::Certificate { .. }), "{error}");
    let running = start(SandboxConfig::default()).await;
    let taken = SandboxConfig { listen: running.address(), ..SandboxConfig::default() };
    let error = sandbox::Sandbox::start(taken).await.unwrap_err();
    assert!(error.to_string().contains("choose another address"), "{error}");
}

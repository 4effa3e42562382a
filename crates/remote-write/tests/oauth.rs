//! A destination behind OAuth 2.0: tokens are renewed when the far end does not take them any more.

mod support;

use net::{HttpAuth, OAuth2Config, ProxyConfig, Secret, SecretSource, TlsConfig};
use remote_write::DestinationState;
use support::{Fake, House, Running, config, refused, status};

fn bearer(seen: &support::Seen) -> String {
    let header = seen.headers.get(http::header::AUTHORIZATION);
    header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_revoked_before_its_time_is_replaced_at_once() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(500)).await;
    let tokens = std::sync::atomic::AtomicU32::new(0);
    // Every second request is the last one that its token is good for.
    let used = std::sync::atomic::AtomicU32::new(0);
    fake.follow(move |_, seen| {
        use std::sync::atomic::Ordering::SeqCst;
        if seen.path == "/token" {
            let number = tokens.fetch_add(1, SeqCst) + 1;
            used.store(0, SeqCst);
            return refused(200, &format!("{{\"access_token\":\"t{number}\",\"token_type\":\"bearer\"}}"));
        }
        let current = format!("Bearer t{}", tokens.load(SeqCst));
        if bearer(seen) == current && used.fetch_add(1, SeqCst) < 2 { status(200) } else { status(401) }
    });
    let mut config = config("a", &fake.url);
    config.shards = 1;
    config.batching.max_samples = 10;
    config.client.auth = Some(HttpAuth::OAuth2(Box::new(OAuth2Config {
        client_id: "id".into(),
        client_secret: SecretSource::Inline(Secret::new("not-a-real-secret")),
        scopes: Vec::new(),
        token_url: fake.url.join("/token").unwrap(),
        endpoint_params: Default::default(),
        timeout: None,
        tls: TlsConfig::default(),
        proxy: ProxyConfig::None,
    })));
    house.append(1, 60, 1_700_000_000_000, 1.0).await;
    let running = Running::new(&house, config, None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (60, 0));
    let asked: Vec<_> = fake.seen().iter().map(|seen| (seen.path.clone(), seen.status)).collect();
    assert_eq!(asked.iter().filter(|(path, _)| path == "/token").count(), 3, "{asked:?}");
    assert_eq!(running.status.snapshot().retries, 0, "nobody had to wait");
    assert_eq!(running.status.state(), DestinationState::Healthy);
    running.stop().await;
}

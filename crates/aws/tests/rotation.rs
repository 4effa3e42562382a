//! Credentials that live a second, under load: no signature is ever made with dead ones, and the source is asked by one.

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws::CredentialSource;
use axum::response::IntoResponse;
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_never_outlive_their_credentials_while_these_rotate_every_second() {
    let ends: Arc<Mutex<BTreeMap<String, SystemTime>>> = Arc::default();
    let issued = Arc::clone(&ends);
    let endpoint = Fake::start(move |_, n| {
        let (key, end) = (format!("ASIA{n}"), SystemTime::now() + Duration::from_secs(1));
        issued.lock().unwrap().insert(key.clone(), end);
        let expiration = jiff::Timestamp::try_from(end).unwrap();
        format!(r#"{{"AccessKeyId":"{key}","SecretAccessKey":"s","Token":"t","Expiration":"{expiration}"}}"#)
            .into_response()
    })
    .await;
    let source = CredentialSource::Container { endpoint: Some(endpoint.url("/")), token_file: None };
    let identity = build(&config(source));
    let signers: Vec<_> = (0..4)
        .map(|_| {
            let (identity, ends) = (Arc::clone(&identity), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut used = BTreeMap::<String, u64>::new();
                while used.len() < 4 {
                    let before = SystemTime::now();
                    let key = key(&identity).await.unwrap();
                    assert!(before < ends.lock().unwrap()[&key], "signed with credentials that were over");
                    *used.entry(key).or_default() += 1;
                    tokio::task::yield_now().await;
                }
                used.values().sum::<u64>()
            })
        })
        .collect();
    let mut signatures = 0;
    for signer in signers {
        signatures += tokio::time::timeout(Duration::from_secs(60), signer).await.unwrap().unwrap();
    }
    let fetches = endpoint.seen().len();
    assert_eq!(identity.status().refresh_failures, 0);
    assert!(fetches < 60 && signatures > 100, "{fetches} fetches for {signatures} signatures");
}

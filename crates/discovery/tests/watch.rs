//! Discovery through its public face, on real files and real sockets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::header, response::IntoResponse, routing::get};
use discovery::{
    DiscoveryConfig, DiscoveryError, DiscoveryMetrics, FileDiscovery, HttpDiscovery, TargetGroup, watch, watch_counted,
};
use tokio::sync::watch::Receiver;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

type Groups = Receiver<Arc<Vec<TargetGroup>>>;

const LONG: Duration = Duration::from_secs(3600);

fn files(patterns: &[String], refresh_interval: Duration) -> DiscoveryConfig {
    DiscoveryConfig::File(FileDiscovery { files: patterns.to_vec(), refresh_interval })
}

fn addresses(groups: &[TargetGroup]) -> Vec<String> {
    groups.iter().flat_map(|g| &g.targets).filter_map(|t| t.get("__address__")).map(str::to_owned).collect()
}

/// Waits until the published addresses are these.
async fn until(receiver: &mut Groups, want: &[&str]) {
    let waiting = receiver.wait_for(|groups| addresses(groups) == want);
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the list never came").unwrap();
}

#[tokio::test]
async fn static_groups_are_there_at_once() {
    let tracker = TaskTracker::new();
    let group = TargetGroup {
        source: "static/0".into(),
        targets: vec![[("__address__", "a:1")].into_iter().collect()],
        ..Default::default()
    };
    let mut receiver =
        watch(vec![DiscoveryConfig::Static(vec![group.clone()])], &tracker, CancellationToken::new()).unwrap();
    assert!(receiver.has_changed().unwrap());
    assert_eq!(**receiver.borrow_and_update(), vec![group]);
    let mut none = watch(vec![], &tracker, CancellationToken::new()).unwrap();
    assert!(none.has_changed().unwrap());
    assert!(none.borrow_and_update().is_empty());
}

#[tokio::test]
async fn a_file_is_followed_and_a_broken_one_keeps_its_targets() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("one.json"), r#"[{"targets":["a:1"]}]"#).unwrap();
    std::fs::write(at("two.yml"), "- targets: [b:1]").unwrap();
    let (tracker, stop, metrics) = (TaskTracker::new(), CancellationToken::new(), DiscoveryMetrics::default());
    let patterns = ["*.json", "*.yml"].map(|p| at(p).display().to_string());
    let mut receiver =
        watch_counted(vec![files(&patterns, Duration::from_millis(50))], &metrics, &tracker, stop.clone()).unwrap();
    until(&mut receiver, &["a:1", "b:1"]).await;
    let meta = receiver.borrow()[0].labels.get("__meta_filepath").map(str::to_owned);
    assert_eq!(meta, Some(at("one.json").display().to_string()));

    std::fs::write(at("one.json"), r#"[{"targets":["a:1","#).unwrap();
    while metrics.file_read_errors.get() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::write(at("two.yml"), "- targets: [b:2]").unwrap();
    until(&mut receiver, &["a:1", "b:2"]).await;
    std::fs::remove_file(at("one.json")).unwrap();
    until(&mut receiver, &["b:2"]).await;
    std::fs::write(at("three.yml"), "- targets: [c:1]").unwrap();
    until(&mut receiver, &["c:1", "b:2"]).await;

    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn a_change_is_noticed_long_before_the_next_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yaml");
    std::fs::write(&path, "- targets: [a:1]").unwrap();
    let tracker = TaskTracker::new();
    let config = files(&[path.display().to_string()], LONG);
    let mut receiver = watch(vec![config], &tracker, CancellationToken::new()).unwrap();
    until(&mut receiver, &["a:1"]).await;
    // As editors and config maps do it: another file takes the name.
    let next = folder.path().join("t.new");
    std::fs::write(&next, "- targets: [a:2]").unwrap();
    std::fs::rename(&next, &path).unwrap();
    until(&mut receiver, &["a:2"]).await;
}

#[tokio::test]
async fn an_impossible_pattern_is_refused() {
    let result = watch(vec![files(&["/a/*/b.json".into()], LONG)], &TaskTracker::new(), CancellationToken::new());
    assert!(matches!(result, Err(DiscoveryError::Pattern { .. })));
}

#[tokio::test]
async fn http_answers_are_followed_and_bad_ones_keep_the_last() {
    net::install_crypto_provider();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let app = Router::new().route(
        "/sd",
        get(move || {
            let call = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                let json = [(header::CONTENT_TYPE, "application/json")];
                match call {
                    0 => (json, r#"[{"targets":["a:1"],"labels":{"x":"y"}}]"#).into_response(),
                    1 => (axum::http::StatusCode::NO_CONTENT, json).into_response(),
                    2 => ([(header::CONTENT_TYPE, "text/html")], r#"[{"targets":["wrong:1"]}]"#).into_response(),
                    3 => (json, r#"[{"targets":["wrong:1"],"labls":{}}]"#).into_response(),
                    _ => (json, r#"[{"targets":["a:2"]}]"#).into_response(),
                }
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let config = HttpDiscovery {
        url: format!("http://someone:secret@{address}/sd?q=1").parse().unwrap(),
        refresh_interval: Duration::from_millis(100),
        client: net::HttpClientConfig::default(),
    };
    let (tracker, stop, metrics) = (TaskTracker::new(), CancellationToken::new(), DiscoveryMetrics::default());
    let mut receiver =
        watch_counted(vec![DiscoveryConfig::Http(Box::new(config))], &metrics, &tracker, stop.clone()).unwrap();
    receiver.changed().await.unwrap();
    let first = receiver.borrow_and_update().clone();
    assert_eq!(addresses(&first), ["a:1"]);
    assert_eq!(first[0].labels.get("__meta_url"), Some(format!("http://{address}/sd?q=1").as_str()));
    assert_eq!(first[0].labels.get("x"), Some("y"));
    // Nothing is published for the three bad answers: the next change is the good one.
    receiver.changed().await.unwrap();
    assert_eq!(addresses(&receiver.borrow_and_update().clone()), ["a:2"]);
    assert_eq!(metrics.http_failures.get(), 3);
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn tasks_end_when_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = TaskTracker::new();
    let pattern = folder.path().join("*.json").display().to_string();
    let mut receiver = watch(vec![files(&[pattern], LONG)], &tracker, CancellationToken::new()).unwrap();
    receiver.changed().await.unwrap();
    drop(receiver);
    tracker.close();
    tokio::time::timeout(Duration::from_secs(20), tracker.wait()).await.expect("a task stayed");
}

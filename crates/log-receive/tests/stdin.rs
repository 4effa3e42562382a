//! Lines of a stream.

mod support;

use log_receive::{ForwardConfig, StdinConfig, read_lines};
use support::{Store, texts};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_lines_are_durable_when_the_input_has_ended() {
    let mut store = Store::open();
    let forward = store.forward("stdin", ForwardConfig::new("piped"));
    let state = forward.state();
    read_lines(&b"one\n\ntwo\r\n\xff\nlast"[..], StdinConfig::default(), forward, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(state.status().lines, 5);
    let (lines, _) = store.lines(5).await;
    assert_eq!(texts(&lines), ["one", "", "two", "\u{fffd}", "last"]);
    assert!(lines.iter().all(|line| line.label("job") == "piped"));
    assert!(lines.is_sorted_by(|a, b| a.timestamp_ns < b.timestamp_ns));
}

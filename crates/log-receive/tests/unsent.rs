//! A source that is broken off while the queue has no room: what it had in memory is counted, where nobody sends it again.

mod support;

use std::time::Duration;

use log_receive::{ForwardConfig, ReceiveMetrics, StdinConfig, SyslogConfig, SyslogListener, read_lines};
use prometheus_client::{encoding::text::encode, registry::Registry};
use support::Store;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

/// Of all series of this name.
fn sum(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

const LINES: usize = 400;

/// More than the queue takes, in lines that do not compress.
fn line(n: usize) -> String {
    let noise = (0..256).map(|at| format!("{:016x}", (n as u64 * 1000 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    format!("<13>1 - - - - - - {n} {}\n", noise.collect::<String>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_standard_input_that_no_queue_took_are_counted() {
    let mut registry = Registry::default();
    let mut store = Store::sized(1 << 20);
    store.metrics = ReceiveMetrics::new(&mut registry);
    let forward = store.forward("stdin", ForwardConfig::new("in"));
    let (input, output) = tokio::io::duplex(1 << 10);
    let stop = CancellationToken::new();
    let reader =
        tokio::spawn(read_lines(tokio::io::BufReader::with_capacity(1, output), StdinConfig::default(), forward, stop));
    let (mut write, mut sent) = (input, 0);
    // Until it takes nothing more.
    for n in 0..LINES {
        if tokio::time::timeout(Duration::from_secs(2), write.write_all(line(n).as_bytes())).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < LINES, "the queue has room for all");
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
    let (taken, lost) =
        (sum(&registry, "sigpost_log_source_lines_total"), sum(&registry, "sigpost_log_source_dropped_lines_total"));
    assert!(lost > 0 && taken > 0, "{taken} {lost}");
    // Of those that were written whole, at most the pipe between holds some.
    assert!((sent as u64).abs_diff(taken + lost) <= 1, "{sent} were written, {taken} taken, {lost} lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_messages_that_no_queue_took_are_counted() {
    let mut registry = Registry::default();
    let mut store = Store::sized(1 << 20);
    store.metrics = ReceiveMetrics::new(&mut registry);
    let forward = store.forward("syslog", ForwardConfig::new("in"));
    let config = SyslogConfig::new("127.0.0.1:0");
    let socket = SyslogListener::listen(&config, &net::Sockets::default()).unwrap();
    let listener = SyslogListener::new(config, &socket, forward).unwrap();
    let address = listener.address();
    let running = tokio::spawn(listener.run(CancellationToken::new()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut sent = 0;
    for n in 0..LINES * 10 {
        if tokio::time::timeout(Duration::from_secs(2), stream.write_all(line(n).as_bytes())).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < LINES * 10, "the queue has room for all");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let (taken, lost) =
        (sum(&registry, "sigpost_log_source_lines_total"), sum(&registry, "sigpost_log_source_dropped_lines_total"));
    // What lies in the kernel's buffers was never taken in; all else is one or the other: 256 messages wait between the
    // connection and the queue alone.
    assert!(taken > 0 && lost >= 256 && taken + lost <= sent as u64 + 1, "{sent} sent, {taken} taken, {lost} lost");
}

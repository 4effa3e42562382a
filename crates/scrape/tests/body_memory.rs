//! What many targets with huge bodies can take of the process's memory, and of the other targets' scrapes. Alone in its
//! process: it looks at the most memory that the process ever had.

mod support;

use std::{net::SocketAddr, time::Duration};

use model::Labels;
use scrape::{JobConfig, ScrapeContext, TargetState};
use support::{Exporter, bench_in, group, job, text};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MIB: usize = 1 << 20;

/// A target that sends fifteen MiB of a comment, as fast as they are taken, and then nothing more.
async fn staller() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(stall(stream));
        }
    });
    address
}

async fn stall(mut stream: TcpStream) {
    let mut asked = vec![0; 64 << 10];
    let _ = stream.read(&mut asked).await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n# ";
    let piece = vec![b'x'; 64 << 10];
    if stream.write_all(head).await.is_err() {
        return;
    }
    for _ in 0..15 * MIB / piece.len() {
        if stream.write_all(&piece).await.is_err() {
            return;
        }
    }
    // Until the other side has had enough.
    while matches!(stream.read(&mut asked).await, Ok(read) if read > 0) {}
}

/// `VmHWM` of this process.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_targets_that_stall_in_a_huge_body_take_neither_the_memory_nor_the_turns_of_others() {
    const HOSTILE: usize = 40;
    let exporter = Exporter::start().await;
    let page: String = (0..10).map(|at| format!("small{{at=\"{at}\"}} {at}\n")).collect();
    let mut targets: Vec<Labels> = Vec::new();
    for at in 0..10 {
        let path = format!("/good/{at}");
        exporter.set(&path, text(&page));
        targets.push(exporter.target(&path));
    }
    // Larger than what is read without a turn.
    exporter.set("/large", text(&format!("large 1\n# {}\n", "x".repeat(20 * MIB))));
    targets.push(exporter.target("/large"));
    let context = ScrapeContext::new(1);
    let before = most_memory();
    let job = JobConfig { interval: Duration::from_secs(4), timeout: Duration::from_secs(3), ..job() };
    let bench = bench_in(context, job, exporter, targets.clone(), |_| {}, true).await;
    let count = |state| bench.pool().targets().iter().filter(|target| target.state == state).count();
    bench.until("all good targets up", || count(TargetState::Up) == 11).await;

    let address = staller().await;
    for at in 0..HOSTILE {
        let labels: Labels = [("__address__", address.to_string().as_str()), ("instance", &format!("/stall/{at}"))]
            .into_iter()
            .collect();
        targets.push(labels);
    }
    bench.groups.send_replace(group(targets));
    bench.until("all that stall down", || count(TargetState::Down) >= HOSTILE).await;
    let ups = |path: &str| bench.series(path, "up").iter().filter(|s| s.value == 1.0).count();
    let (good, large) = (ups("/good/0"), ups("/large"));
    bench.until("good targets go on", || ups("/good/0") >= good + 2 && ups("/large") >= large + 2).await;

    assert_eq!(ups("/stall/0"), 0);

    let grown = most_memory() - before;
    assert!(grown < 160 * MIB, "the process grew by {} MiB", grown / MIB);
}

//! Forty targets that answer with gzip bombs, at once: the agent's memory stays bounded, and a good target is not disturbed.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderName, StatusCode, header},
    routing::get,
};
use bytes::Bytes;
use e2e::{agent::Agent, process::until, receiver::Receiver, usage};

const TARGETS: u64 = 40;
/// What each answer becomes when it is unpacked: above the limit of a body.
const UNPACKED: usize = 96 << 20;
const MIB: u64 = 1 << 20;
/// The most memory that the agent may ever have had resident, development profile included.
const BOUND: u64 = 160 * MIB;

/// `UNPACKED` bytes of metrics as gzip. Made of one compressed part, repeated: each ends with a full flush, after which
/// nothing before it is referred to.
fn bomb() -> Result<Bytes> {
    let mut part = String::with_capacity(1 << 20);
    while part.len() < 1 << 20 {
        part.push_str("hostile_metric{path=\"/a/rather/long/label/value/that/compresses/well\"} 1\n");
    }
    let mut encoder = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut packed = Vec::with_capacity(part.len());
    encoder.compress_vec(part.as_bytes(), &mut packed, flate2::FlushCompress::Full)?;
    assert_eq!(encoder.total_in(), part.len() as u64);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for _ in 0..UNPACKED.div_ceil(part.len()) {
        out.write_all(&packed)?;
    }
    // The last block, empty. The sums that should follow are never reached.
    out.extend_from_slice(&[3, 0]);
    Ok(Bytes::from(out))
}

#[test]
fn the_bomb_is_what_it_says() -> Result<()> {
    let bomb = bomb()?;
    assert!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
    let mut unpacked = 0;
    let mut reader = flate2::bufread::GzDecoder::new(&bomb[..]);
    let mut part = vec![0; 1 << 20];
    // Ends with an error, since the sums are missing.
    while let Ok(n @ 1..) = std::io::Read::read(&mut reader, &mut part) {
        unpacked += n;
    }
    assert!(unpacked >= UNPACKED, "{unpacked}");
    Ok(())
}

struct Served {
    bomb: Bytes,
    scrapes: [AtomicU64; TARGETS as usize],
}

type Answer = (StatusCode, [(HeaderName, &'static str); 2], Bytes);

async fn hostile(State(served): State<Arc<Served>>, Path(n): Path<usize>) -> Answer {
    if let Some(count) = served.scrapes.get(n) {
        count.fetch_add(1, Ordering::SeqCst);
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4"), (header::CONTENT_ENCODING, "gzip")];
    (StatusCode::OK, headers, served.bomb.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_gzip_bombs_at_once_do_not_take_the_memory() -> Result<()> {
    let served = Arc::new(Served { bomb: bomb()?, scrapes: std::array::from_fn(|_| AtomicU64::new(0)) });
    let app = Router::new()
        .route("/bomb/{n}", get(hostile))
        .route("/good", get(|| async { "good 1\n" }))
        .with_state(Arc::clone(&served));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
    let receiver = Receiver::start(true).await?;
    let jobs: String = (0..TARGETS)
        .map(|n| format!("        - {{job_name: bomb-{n}, metrics_path: /bomb/{n}, static_configs: [{{targets: ['{address}']}}]}}\n"))
        .collect();
    let mut agent = Agent::prepare(&format!(
        "metrics:
  global: {{scrape_interval: 3s, scrape_timeout: 3s, remote_write: [{{url: '{}'}}]}}
  configs:
    - name: default
      scrape_configs:
        - {{job_name: good, metrics_path: /good, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{targets: ['{address}']}}]}}
{jobs}",
        receiver.url()
    ))?;
    agent.start_ready().await?;
    let ups = |job: &str| -> Vec<f64> {
        let key = format!("job=\"{job}\"");
        let recorded = receiver.recorded();
        let of = recorded.iter().filter(|(s, _)| s.starts_with("up{") && s.contains(&key));
        of.flat_map(|(_, samples)| samples.values().map(|(bits, _)| f64::from_bits(*bits))).collect()
    };
    let bombs: Vec<String> = (0..TARGETS).map(|n| format!("bomb-{n}")).collect();
    // A scrape that waits in vain for its turn asks nothing: so each has gone off once, and has been tried twice.
    until("each bomb to have gone off and to be scraped again", Duration::from_secs(60), || async {
        let gone_off = served.scrapes.iter().all(|n| n.load(Ordering::SeqCst) >= 1);
        (gone_off && bombs.iter().all(|job| ups(job).len() >= 2) && ups("good").len() >= 2).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    assert!(bombs.iter().all(|job| ups(job).iter().all(|up| *up == 0.0)), "a bomb was taken for metrics");
    assert!(ups("good").contains(&1.0));
    assert!(!receiver.recorded().keys().any(|s| s.starts_with("hostile_metric")));
    let used = usage::of(agent.pid().context("it runs")?)?;
    println!("peak {} MiB, now {} MiB, CPU {:.1} s", used.peak_rss_bytes / MIB, used.rss_bytes / MIB, used.cpu_seconds);
    assert!(used.peak_rss_bytes > 0);
    assert!(used.peak_rss_bytes <= BOUND, "peak {} MiB, bound {} MiB", used.peak_rss_bytes / MIB, BOUND / MIB);
    agent.stop()?;
    server.abort();
    Ok(())
}

//! When things happen, to the millisecond: time is Tokio's and stands still while anything is done.
//!
//! The targets are over their job's `target_limit`, so that every scrape fails without a socket: a real socket would be
//! overtaken by the clock.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use pipeline::MetricIntake;
use prometheus_client::registry::Registry;
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, Queue, QueueConfig};
use scrape::{Clock, JobConfig, Limits, ScrapeContext, ScrapeMetrics, ScrapePool};
use support::{Seen, group, job};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const START: i64 = 1_700_000_000_123;
const INTERVAL: i64 = 15_000;

struct Timed {
    queue: Queue,
    pool: ScrapePool,
    groups: tokio::sync::watch::Sender<Arc<Vec<discovery::TargetGroup>>>,
    _folder: tempfile::TempDir,
}

fn targets(n: usize) -> Vec<model::Labels> {
    (0..n).map(|i| [("__address__", format!("host-{i}:80").as_str())].into_iter().collect()).collect()
}

fn timed(seed: u64, n: usize) -> Timed {
    timed_by(seed, n, Box::leak(Box::default()))
}

/// `set`: milliseconds by which somebody has set the clock.
fn timed_by(seed: u64, n: usize, set: &'static AtomicI64) -> Timed {
    net::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let lane = LaneId::new("metrics-default").unwrap();
    let mut config = QueueConfig::new(folder.path());
    config.min_free = MinFree::NONE;
    let destination = DestinationSpec::new("test", vec![lane.clone()]);
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], vec![destination]).unwrap();
    let job = JobConfig {
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
        limits: Limits { targets: 1, ..Limits::default() },
        ..job()
    };
    let mut context = ScrapeContext::new(seed);
    context.clock = Clock::following_tokio(START).set_by(set);
    let (groups, mut receiver) = tokio::sync::watch::channel(group(targets(n)));
    receiver.mark_changed();
    let pool = ScrapePool::spawn(
        job,
        receiver,
        MetricIntake::new(queue.appender(&lane).unwrap()),
        ScrapeMetrics::registered(&mut Registry::default()),
        context,
        &TaskTracker::new(),
        CancellationToken::new(),
    )
    .unwrap();
    Timed { queue, pool, groups, _folder: folder }
}

impl Timed {
    /// Everything that was appended, by target.
    async fn all(self, instance: &str, name: &str) -> Vec<Seen> {
        tokio::time::resume();
        let intake = MetricIntake::new(self.queue.appender(&LaneId::new("metrics-default").unwrap()).unwrap());
        let seen = support::drain(&self.queue, &intake).await;
        seen.into_iter().filter(|s| s.name == name && s.label("instance") == instance).collect()
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn every_scrape_lies_on_its_point_of_the_wall_clock() {
    let first = timed(42, 2);
    pass(151).await;
    let first: Vec<i64> = first.all("host-0:80", "up").await.iter().map(|s| s.time).collect();
    assert_eq!(first.len(), 10);
    assert!(first[0] > START && first[0] <= START + INTERVAL);
    assert!(first.windows(2).all(|w| w[1] - w[0] == INTERVAL), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_points_and_another_seed_moves_them() {
    let mut offsets = Vec::new();
    for (seed, wait) in [(42, 0), (42, 7), (43, 0)] {
        pass(wait).await;
        let bench = timed(seed, 2);
        pass(16).await;
        offsets.push(bench.all("host-0:80", "up").await[0].time.rem_euclid(INTERVAL));
        tokio::time::pause();
    }
    assert_eq!(offsets[0], offsets[1]);
    assert_ne!(offsets[0], offsets[2]);
}

#[tokio::test(start_paused = true)]
async fn markers_of_a_removed_target_carry_the_first_point_without_it() {
    let bench = timed(42, 3);
    pass(46).await;
    let removed_at = START + 46_000;
    bench.groups.send_replace(group(targets(2)));
    // Two more points and a tenth of an interval are at most 31.5 s away.
    pass(14).await;
    assert_eq!(bench.pool.targets().len(), 2);
    pass(120).await;
    let up = bench.all("host-2:80", "up").await;
    let (markers, scrapes): (Vec<&Seen>, Vec<&Seen>) = up.iter().partition(|s| s.is_stale());
    assert_eq!((scrapes.len(), markers.len()), (3, 1));
    assert_eq!(markers[0].time, scrapes[2].time + INTERVAL);
    assert!(markers[0].time > removed_at && markers[0].time <= removed_at + INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_is_followed_in_both_directions() {
    for by in [-86_400_000i64, -40_000, -6_000, 6_000, 40_000, 86_400_000] {
        let set: &AtomicI64 = Box::leak(Box::default());
        let bench = timed_by(42, 2, set);
        pass(46).await;
        set.store(by, Ordering::Relaxed);
        pass(151).await;
        let times: Vec<i64> = bench.all("host-0:80", "up").await.iter().map(|sample| sample.time).collect();
        // One for each interval, one more or less where the clock was set: on the old clock, then on the new one.
        assert!((12..=14).contains(&times.len()), "{by}: {times:?}");
        let grid = times[0].rem_euclid(INTERVAL);
        let later = &times[5..];
        assert!(later.iter().all(|time| time.rem_euclid(INTERVAL) == grid), "{by}: {times:?}");
        assert!(later.windows(2).all(|pair| pair[1] - pair[0] == INTERVAL), "{by}: {times:?}");
        let end = START + 197_000 + by;
        assert!(end - times[times.len() - 1] <= INTERVAL, "{by}: {times:?}");
        tokio::time::pause();
    }
}

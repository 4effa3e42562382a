//! Targets that come, go, change and are too many; the end of a job and of the process.

mod support;

use std::time::Duration;

use model::Labels;
use relabel::{Action, Rule, RuleSource};
use scrape::{JobConfig, Limits, TargetState};
use support::{SOON, bench, bench_with, group, job, text};

const PAGE: &str = "a 1\nb 2\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_target_is_marked_after_two_more_points() {
    let bench = bench(job(), &[("/a", text(PAGE)), ("/b", text(PAGE))]).await;
    bench.until_sample("/a", "a", |_| true).await;
    bench.until_sample("/b", "a", |_| true).await;
    bench.groups.send_replace(group(vec![bench.exporter.target("/b")]));
    bench.until("one target", || bench.pool().targets().len() == 1).await;
    let last = bench.series("/a", "up").last().unwrap().time;
    assert!(bench.series("/a", "a").iter().all(|s| !s.is_stale()));
    let marker = bench.until_sample("/a", "a", |s| s.is_stale()).await;
    assert!(marker.time > last && marker.time <= last + 2 * 300, "{} after {last}", marker.time);
    for name in ["b", "up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"] {
        assert_eq!(bench.until_sample("/a", name, |s| s.is_stale()).await.time, marker.time, "{name}");
    }
    let requests = bench.exporter.requests("/a");
    bench.scrapes("/b", 2).await;
    assert_eq!(bench.exporter.requests("/a"), requests);
    assert!(bench.series("/b", "up").iter().all(|s| !s.is_stale()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_comes_back_in_time_goes_on_as_before() {
    let job = JobConfig { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), ..job() };
    let bench = bench(job, &[("/a", text(PAGE))]).await;
    bench.until_sample("/a", "a", |_| true).await;
    bench.groups.send_replace(group(vec![]));
    bench.until("no target", || bench.pool().targets().is_empty()).await;
    bench.groups.send_replace(group(vec![bench.exporter.target("/a")]));
    bench.scrapes("/a", 3).await;
    assert!(bench.seen().iter().all(|s| !s.is_stale()));
    assert_eq!(bench.series("/a", "scrape_series_added").last().unwrap().value, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_with_the_same_labels_is_not_marked() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.until_sample("/a", "a", |_| true).await;
    // Another URL under the same labels: its series are the same series.
    let mut other = bench.exporter.target("/a2");
    other.set("instance", "/a");
    bench.exporter.set("/a2", text(PAGE));
    bench.groups.send_replace(group(vec![other]));
    bench.until("the successor is scraped", || bench.exporter.requests("/a2") > 6).await;
    assert!(bench.seen().iter().all(|s| !s.is_stale()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_targets_fail_all_of_them() {
    let job = JobConfig { limits: Limits { targets: 1, ..Limits::default() }, ..job() };
    let bench = bench(job, &[("/a", text(PAGE))]).await;
    bench.exporter.set("/b", text(PAGE));
    bench.until_sample("/a", "a", |_| true).await;
    let both = vec![bench.exporter.target("/a"), bench.exporter.target("/b")];
    bench.groups.send_replace(group(both));
    bench.until_sample("/a", "a", |s| s.is_stale()).await;
    bench.until_sample("/b", "up", |s| s.value == 0.0).await;
    assert_eq!(bench.exporter.requests("/b"), 0);
    assert!(
        bench.pool().targets().iter().any(|t| { t.last_error.as_deref().is_some_and(|e| e.contains("target_limit")) })
    );
    assert!(bench.metric("prometheus_target_scrape_pool_exceeded_target_limit_total") >= 1.0);
    let recovered = bench.seen().iter().map(|s| s.time).max().unwrap();
    bench.groups.send_replace(group(vec![bench.exporter.target("/a")]));
    bench.until_sample("/a", "a", |s| s.time > recovered && s.value == 1.0).await;
}

fn keep_only(path: &str) -> Rule {
    Rule::new(RuleSource {
        source_labels: vec!["__metrics_path__".into()],
        regex: path.into(),
        action: Action::Keep,
        ..RuleSource::default()
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_targets_are_remembered_up_to_a_number_and_equal_ones_are_one() {
    let limits = Limits { keep_dropped_targets: 2, ..Limits::default() };
    let job = JobConfig { relabel: vec![keep_only("/a")], limits, ..job() };
    let exporter = support::Exporter::start().await;
    exporter.set("/a", text(PAGE));
    let targets: Vec<Labels> = ["/a", "/x", "/a", "/y", "/z"].iter().map(|p| exporter.target(p)).collect();
    let bench = bench_with(job, exporter, targets, |_| {}, true).await;
    bench.scrapes("/a", 2).await;
    assert_eq!(bench.pool().targets().len(), 1);
    let (dropped, count) = bench.pool().dropped();
    assert_eq!((dropped.len(), count), (2, 3));
    assert_eq!(dropped[0].get("__metrics_path__"), Some("/x"));
    let mut times: Vec<i64> = bench.series("/a", "up").iter().map(|s| s.time).collect();
    times.dedup();
    assert_eq!(times.len(), bench.series("/a", "up").len(), "the target was scraped twice at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_target_is_counted_and_the_others_run() {
    let exporter = support::Exporter::start().await;
    exporter.set("/a", text(PAGE));
    let broken = [("__address__", "host/path")].into_iter().collect();
    let targets = vec![broken, exporter.target("/a")];
    let bench = bench_with(job(), exporter, targets, |_| {}, true).await;
    bench.until_sample("/a", "a", |_| true).await;
    assert_eq!(bench.metric("prometheus_target_sync_failed_total{scrape_job=\"test\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_interval_keeps_what_is_remembered() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.scrapes("/a", 1).await;
    bench.pool().apply(JobConfig { interval: Duration::from_millis(400), ..job() }).unwrap();
    bench.until("the new interval", || bench.pool().targets()[0].interval == Duration::from_millis(400)).await;
    bench.scrapes("/a", 3).await;
    assert!(bench.seen().iter().all(|s| !s.is_stale()));
    assert!(bench.series("/a", "scrape_series_added").iter().skip(1).all(|s| s.value == 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_rules_end_the_old_series_before_the_new_begin() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.until_sample("/a", "b", |_| true).await;
    let drop_b = Rule::new(RuleSource {
        source_labels: vec!["__name__".into()],
        regex: "b".into(),
        action: Action::Drop,
        ..RuleSource::default()
    });
    bench.pool().apply(JobConfig { metric_relabel: vec![drop_b.unwrap()], ..job() }).unwrap();
    let marker = bench.until_sample("/a", "b", |s| s.is_stale()).await;
    bench.until_sample("/a", "a", |s| s.time > marker.time && s.value == 1.0).await;
    assert!(bench.series("/a", "b").iter().all(|s| s.time <= marker.time));
    let times: Vec<i64> = bench.series("/a", "a").iter().map(|s| s.time).collect();
    assert!(times.windows(2).all(|w| w[0] < w[1]), "out of order: {times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_change_changes_nothing() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    let mut broken = job();
    broken.client.tls.ca = Some(net::Pem::File("/nonexistent/ca.pem".into()));
    assert!(bench.pool().apply(broken).is_err());
    assert_eq!(bench.pool().job(), job());
    bench.scrapes("/a", 1).await;
    assert_eq!(bench.metric("prometheus_target_scrape_pool_reloads_failed_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_discovery_takes_over_with_its_first_list() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.scrapes("/a", 1).await;
    let (sender, receiver) = tokio::sync::watch::channel(group(vec![]));
    bench.pool().follow(receiver);
    bench.scrapes("/a", 2).await;
    bench.exporter.set("/b", text(PAGE));
    sender.send_replace(group(vec![bench.exporter.target("/a"), bench.exporter.target("/b")]));
    bench.until_sample("/b", "a", |_| true).await;
    // A discovery that ends leaves its list standing.
    drop(sender);
    bench.scrapes("/b", 2).await;
    assert!(bench.seen().iter().all(|s| !s.is_stale()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_marks_only_when_asked() {
    for markers in [false, true] {
        let mut bench = bench(job(), &[("/a", text(PAGE)), ("/b", text(PAGE))]).await;
        for path in ["/a", "/b"] {
            bench.until_sample(path, "a", |_| true).await;
        }
        let pool = bench.pool.take().unwrap();
        tokio::time::timeout(SOON, pool.shutdown(markers)).await.expect("the pool did not end");
        bench.tasks_end().await;
        bench.drained().await;
        for path in ["/a", "/b"] {
            for name in ["a", "b", "up"] {
                let last = bench.series(path, name).pop().unwrap();
                assert_eq!(last.is_stale(), markers, "{path} {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_shutdown_marks_series_with_timestamps_of_their_own() {
    for shutdown in [false, true] {
        let mut bench = bench(job(), &[("/a", text("timed 1 5\nplain 1\n"))]).await;
        bench.until_sample("/a", "timed", |_| true).await;
        bench.until("a finished scrape", || bench.pool().series() == 2).await;
        let pool = bench.pool.take().unwrap();
        let end = async { if shutdown { pool.shutdown(true).await } else { pool.retire().await } };
        tokio::time::timeout(SOON, end).await.expect("the pool did not end");
        bench.drained().await;
        assert!(bench.series("/a", "plain").pop().unwrap().is_stale());
        assert_eq!(bench.series("/a", "timed").pop().unwrap().is_stale(), shutdown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_job_marks_its_targets_in_due_time() {
    let mut bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.until_sample("/a", "a", |_| true).await;
    let pool = bench.pool.take().unwrap();
    let before = bench.seen().iter().map(|s| s.time).max().unwrap();
    tokio::time::timeout(SOON, pool.retire()).await.expect("the pool did not end");
    let marker = bench.until_sample("/a", "up", |s| s.is_stale()).await;
    assert!(marker.time > before);
    bench.tasks_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_token_ends_everything_at_once_without_markers() {
    let slow = support::Page { delay: Duration::from_secs(3600), ..text(PAGE) };
    let job = JobConfig { timeout: Duration::from_secs(3000), interval: Duration::from_secs(3000), ..job() };
    // The slow target's point would come in up to fifty minutes; the other's in a fraction of a second.
    let exporter = support::Exporter::start().await;
    exporter.set("/slow", slow);
    exporter.set("/a", text(PAGE));
    let mut quick = exporter.target("/a");
    quick.set("__scrape_interval__", "300ms");
    quick.set("__scrape_timeout__", "300ms");
    let targets = vec![exporter.target("/slow"), quick];
    let bench = bench_with(job, exporter, targets, |_| {}, true).await;
    bench.until_sample("/a", "a", |_| true).await;
    bench.stop.cancel();
    bench.tasks_end().await;
    assert!(bench.seen().iter().all(|s| !s.is_stale()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_pool_leaves_no_task() {
    let mut bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.scrapes("/a", 1).await;
    drop(bench.pool.take().unwrap());
    bench.tasks_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_costs_the_scrape_and_not_the_loop() {
    let exporter = support::Exporter::start().await;
    let page: String = (0..2000).map(|i| format!("m{{i=\"{i}\",pad=\"{:0>200}\"}} {i}.5\n", i * 7919)).collect();
    exporter.set("/a", text(&page));
    let targets = vec![exporter.target("/a")];
    // Room for a record or two, and a destination that holds and is never read.
    let bench = bench_with(
        job(),
        exporter,
        targets,
        |q| {
            q.max_bytes = 64 << 10;
            q.segment_bytes = Some(16 << 10);
            q.credit_bytes = 16 << 10;
        },
        false,
    )
    .await;
    bench.until("refused samples", || bench.metric("sigpost_scrape_refused_samples_total") >= 2000.0).await;
    assert!(bench.metric("sigpost_scrape_refused_batches_total") >= 1.0);
    let requests = bench.exporter.requests("/a");
    bench.until("the target is still scraped", || bench.exporter.requests("/a") > requests + 1).await;
    assert_eq!(bench.pool().targets()[0].state, TargetState::Up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_no_slow_target_and_still_marks() {
    let long = Duration::from_secs(3000);
    let exporter = support::Exporter::start().await;
    exporter.set("/a", text(PAGE));
    let mut target = exporter.target("/a");
    target.set("__scrape_interval__", "6s");
    target.set("__scrape_timeout__", "6s");
    let job = JobConfig { timeout: long, interval: long, ..job() };
    let mut bench = bench_with(job, exporter, vec![target], |_| {}, true).await;
    bench.until_sample("/a", "a", |_| true).await;
    let page = support::Page { delay: long, ..text(PAGE) };
    bench.exporter.set("/a", page);
    let before = bench.exporter.requests("/a");
    bench.until("a request hangs", || bench.exporter.requests("/a") > before).await;
    let pool = bench.pool.take().unwrap();
    tokio::time::timeout(SOON, pool.shutdown(true)).await.expect("the pool did not end");
    bench.until_sample("/a", "a", |s| s.is_stale()).await;
    bench.tasks_end().await;
    assert!(bench.series("/a", "up").iter().all(|s| s.value != 0.0), "the broken-off scrape was reported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_of_other_hosts_are_left_out_by_the_host_filter() {
    let exporter = support::Exporter::start().await;
    exporter.set("/a", text(PAGE));
    let (local, mut remote) = (exporter.target("/a"), exporter.target("/b"));
    remote.set("__address__", "10.255.255.1:1");
    let mut context = scrape::ScrapeContext::new(1);
    let filter = scrape::HostFilter { hostname: "this".into(), rules: vec![] };
    context.host_filter = Some(std::sync::Arc::new(filter));
    let bench = support::bench_in(context, job(), exporter, vec![remote, local], |_| {}, true).await;
    bench.until_sample("/a", "a", |_| true).await;
    assert_eq!(bench.pool().targets().len(), 1);
    assert_eq!(bench.pool().dropped().1, 0);
}

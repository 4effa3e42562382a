//! Single scrapes: what is asked, what counts as success, what a failure leaves behind.

mod support;

use std::{io::Write as _, time::Duration};

use scrape::{JobConfig, Limits, TargetState};
use support::{bench, job, status, text};

const PAGE: &str = "# TYPE a gauge\na 1\nb{x=\"y\"} 2\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_arrive_with_target_labels_and_report_series() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    let a = bench.until_sample("/a", "a", |_| true).await;
    assert_eq!((a.value, a.label("job")), (1.0, "test"));
    let same_scrape = |name: &'static str| bench.until_sample("/a", name, move |s| s.time == a.time);
    assert_eq!(same_scrape("b").await.label("x"), "y");
    assert_eq!(same_scrape("up").await.value, 1.0);
    assert_eq!(same_scrape("scrape_samples_scraped").await.value, 2.0);
    assert_eq!(same_scrape("scrape_samples_post_metric_relabeling").await.value, 2.0);
    assert_eq!(same_scrape("scrape_series_added").await.value, 2.0);
    assert!(same_scrape("scrape_duration_seconds").await.value > 0.0);
    bench.scrapes("/a", 2).await;
    assert_eq!(bench.series("/a", "scrape_series_added").last().unwrap().value, 0.0);
    assert!(bench.series("/a", "scrape_timeout_seconds").is_empty());

    let headers = bench.exporter.last_headers("/a");
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert!(header("accept").starts_with("application/openmetrics-text;version=1.0.0;q=0.4,"), "{}", header("accept"));
    assert_eq!(header("accept-encoding"), "gzip");
    assert_eq!(header("x-prometheus-scrape-timeout-seconds"), "0.3");
    assert!(header("user-agent").starts_with("Sigpost/"));

    let targets = bench.pool().targets();
    assert_eq!(targets.len(), 1);
    assert_eq!((targets[0].state, targets[0].last_error.as_deref()), (TargetState::Up, None));
    assert_eq!(targets[0].scrape_url, format!("http://{}/a", bench.exporter.address));
    assert!(targets[0].last_scrape.is_some() && targets[0].last_duration > Duration::ZERO);
    assert_eq!(bench.metric("prometheus_target_scrape_pool_targets{scrape_job=\"test\"}"), 1.0);
    assert_eq!(bench.metric("prometheus_sd_discovered_targets{config=\"test\",name=\"scrape\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_a_target_are_one_interval_apart() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.scrapes("/a", 6).await;
    let times: Vec<i64> = bench.series("/a", "up").iter().map(|s| s.time).collect();
    assert!(times.windows(2).all(|w| w[0] < w[1]), "{times:?}");
    // A busy machine may be late for one or miss one, but the points stay where they are.
    let on_grid = times.windows(2).filter(|w| (w[1] - w[0]) % 300 == 0).count();
    assert!(on_grid >= 1, "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_marks_the_series_once_and_reports_down() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.until_sample("/a", "a", |_| true).await;
    bench.exporter.set("/a", status(500));
    let marker = bench.until_sample("/a", "a", |s| s.is_stale()).await;
    let up = bench.until_sample("/a", "up", |s| s.time == marker.time).await;
    assert_eq!(up.value, 0.0);
    bench.scrapes("/a", 3).await;
    assert_eq!(bench.series("/a", "a").iter().filter(|s| s.is_stale()).count(), 1);
    assert!(bench.series("/a", "up").iter().all(|s| !s.is_stale()));
    let target = &bench.pool().targets()[0];
    assert_eq!(target.state, TargetState::Down);
    assert_eq!(target.last_error.as_deref(), Some("server returned HTTP status 500 Internal Server Error"));
    bench.exporter.set("/a", text(PAGE));
    bench.until_sample("/a", "a", |s| s.time > marker.time && s.value == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_that_vanishes_is_marked_at_that_scrape() {
    let bench = bench(job(), &[("/a", text(PAGE))]).await;
    bench.until_sample("/a", "b", |_| true).await;
    bench.exporter.set("/a", text("a 5\n"));
    let marker = bench.until_sample("/a", "b", |s| s.is_stale()).await;
    let a = bench.until_sample("/a", "a", |s| s.time == marker.time).await;
    assert_eq!(a.value, 5.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_page_fails_its_own_target_only() {
    let bench = bench(job(), &[("/good", text(PAGE)), ("/bad", text(PAGE))]).await;
    bench.until_sample("/bad", "a", |_| true).await;
    bench.exporter.set("/bad", text("a 7\nb{x=} oops\n"));
    let down = bench.until_sample("/bad", "up", |s| s.value == 0.0).await;
    bench.until_sample("/bad", "a", |s| s.is_stale() && s.time == down.time).await;
    bench.scrapes("/good", 2).await;
    assert!(bench.series("/good", "up").iter().all(|s| s.value == 1.0));
    assert!(bench.series("/bad", "a").iter().all(|s| s.value != 7.0), "part of a refused page was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_target_times_out_and_holds_up_nobody() {
    let slow = support::Page { delay: Duration::from_secs(3600), ..text(PAGE) };
    let bench = bench(job(), &[("/slow", slow), ("/good", text(PAGE))]).await;
    bench.until_sample("/slow", "up", |s| s.value == 0.0).await;
    bench.scrapes("/good", 2).await;
    let targets = bench.pool().targets();
    let slow = targets.iter().find(|t| t.labels.get("instance") == Some("/slow")).unwrap();
    assert!(slow.last_error.as_deref().unwrap().contains("0.3s"), "{:?}", slow.last_error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_nobody_listens_on_is_down() {
    let exporter = support::Exporter::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = [("__address__", free.to_string().as_str()), ("instance", "/gone")].into_iter().collect();
    let bench = support::bench_with(job(), exporter, vec![target], |_| {}, true).await;
    bench.until_sample("/gone", "up", |s| s.value == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_200_counts_and_redirects_are_followed() {
    let elsewhere = support::Page { headers: vec![("location", "/real".into())], ..status(302) };
    let bench = bench(job(), &[("/moved", elsewhere), ("/empty", status(204))]).await;
    bench.exporter.set("/real", text("real 1\n"));
    bench.until_sample("/moved", "real", |_| true).await;
    bench.until_sample("/empty", "up", |s| s.value == 0.0).await;
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_page_is_read_and_a_bomb_is_not() {
    let zipped = |body: &[u8]| support::Page {
        headers: vec![("content-type", "text/plain".into()), ("content-encoding", "gzip".into())],
        body: gzip(body),
        ..text("")
    };
    let mut bomb = b"# ".to_vec();
    bomb.resize(64 << 20, b'x');
    let job = JobConfig {
        limits: Limits { body_size: 1 << 20, ..Limits::default() },
        extra_metrics: true,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..job()
    };
    let bench = bench(job, &[("/zip", zipped(PAGE.as_bytes())), ("/bomb", zipped(&bomb))]).await;
    bench.until_sample("/zip", "a", |_| true).await;
    let size = bench.until_sample("/zip", "scrape_body_size_bytes", |_| true).await;
    assert_eq!(size.value, PAGE.len() as f64);
    assert_eq!(bench.until_sample("/zip", "scrape_timeout_seconds", |_| true).await.value, 1.0);
    bench.until_sample("/bomb", "up", |s| s.value == 0.0).await;
    bench.until_sample("/bomb", "scrape_body_size_bytes", |s| s.value == -1.0).await;
    assert!(bench.metric("prometheus_target_scrapes_exceeded_body_size_limit_total") >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_limit_fails_the_scrape_and_is_counted() {
    let job = JobConfig { limits: Limits { samples: 1, ..Limits::default() }, ..job() };
    let bench = bench(job, &[("/a", text(PAGE))]).await;
    bench.until_sample("/a", "up", |s| s.value == 0.0).await;
    assert!(bench.series("/a", "a").is_empty());
    assert!(bench.metric("prometheus_target_scrapes_exceeded_sample_limit_total") >= 1.0);
    assert!(bench.pool().targets()[0].last_error.as_deref().unwrap().contains("sample_limit"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openmetrics_is_read_as_such() {
    let page = support::Page {
        headers: vec![("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8".into())],
        ..text("# TYPE c counter\nc_total 3\n# EOF\n")
    };
    let bench = bench(job(), &[("/a", page)]).await;
    assert_eq!(bench.until_sample("/a", "c_total", |_| true).await.value, 3.0);
    // Without its end it is cut off, and refused.
    bench.exporter.set(
        "/a",
        support::Page { headers: vec![("content-type", "application/openmetrics-text".into())], ..text("c_total 4\n") },
    );
    bench.until_sample("/a", "up", |s| s.value == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_very_large_page_is_read_by_turns_and_asked_for_once_it_is_known() {
    let mut page = PAGE.to_owned() + "# ";
    page.extend(std::iter::repeat_n('x', 17 << 20));
    page.push('\n');
    let long = Duration::from_secs(4);
    let bench = bench(JobConfig { interval: long, timeout: long, ..job() }, &[("/big", text(&page))]).await;
    bench.until_sample("/big", "up", |s| s.value == 1.0).await;
    assert_eq!(bench.exporter.requests("/big"), 2);
    bench.scrapes("/big", 1).await;
    assert_eq!(bench.exporter.requests("/big"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_beyond_the_ceiling_needs_a_limit_of_its_own() {
    let mut page = PAGE.to_owned() + "# ";
    page.extend(std::iter::repeat_n('x', 65 << 20));
    page.push('\n');
    let long = Duration::from_secs(4);
    let free = JobConfig { interval: long, timeout: long, ..job() };
    let bench = bench(free.clone(), &[("/big", text(&page))]).await;
    bench.until_sample("/big", "up", |s| s.value == 0.0).await;
    bench.until("an error", || bench.pool().targets()[0].last_error.is_some()).await;
    let error = bench.pool().targets()[0].last_error.clone().unwrap();
    assert!(error.contains("larger than 64 MiB") && error.contains("body_size_limit"), "{error}");
    assert!(bench.metric("prometheus_target_scrapes_exceeded_body_size_limit_total") >= 1.0);
    let limits = Limits { body_size: 80 << 20, ..Limits::default() };
    bench.pool().apply(JobConfig { limits, ..free }).unwrap();
    bench.until_sample("/big", "up", |s| s.value == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_tells_how_many_series_its_targets_have() {
    let bench =
        bench(job(), &[("/a", text("a 1\nb 2\n")), ("/b", text("c{x=\"1\"} 1\n")), ("/none", status(500))]).await;
    bench.until("three series", || bench.pool().series() == 3).await;
    let count = |path: &str| {
        let targets = bench.pool().targets();
        targets.iter().find(|target| target.labels.get("instance") == Some(path)).unwrap().series
    };
    assert_eq!((count("/a"), count("/b"), count("/none")), (2, 1, 0));
    bench.exporter.set("/a", text("a 1\n"));
    bench.until("two series", || bench.pool().series() == 2).await;
}

//! What scraping counts, under Prometheus' names.
//!
//! Interval and synchronisation lengths are histograms here where Prometheus has summaries; `_sum` and `_count`, which
//! dashboards use, are the same.
//!
//! Keeps true: pools whose jobs have the same name (which other instances may have) share their series: gauges are the sum
//! over these pools, and the series stay until the last of them is gone.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::duration;

/// Label set: one name, one value.
pub(crate) type Label = [(&'static str, String); 1];

/// Tells pools apart, whatever their jobs are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolId(u64);

/// What a pool adds to the gauges of its job's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share {
    pub targets: usize,
    /// 0 for none.
    pub target_limit: u64,
    pub discovered: usize,
}

/// Shares by job name and pool.
type Shares = BTreeMap<String, BTreeMap<PoolId, Share>>;

/// Made per registry; shared by all pools that report to it.
#[derive(Debug, Clone)]
pub struct ScrapeMetrics {
    interval_length: Family<Label, Histogram, fn() -> Histogram>,
    pub(crate) sync_length: Family<Label, Histogram, fn() -> Histogram>,
    pub(crate) pools: Counter,
    pub(crate) pools_failed: Counter,
    pub(crate) reloads: Counter,
    pub(crate) reloads_failed: Counter,
    pub(crate) syncs: Family<Label, Counter>,
    pub(crate) sync_failed: Family<Label, Counter>,
    pub(crate) pool_targets: Family<Label, Gauge>,
    pub(crate) pool_target_limit: Family<Label, Gauge>,
    pub(crate) exceeded_target_limit: Counter,
    pub(crate) exceeded_label_limits: Counter,
    pub(crate) exceeded_sample_limit: Counter,
    pub(crate) exceeded_body_size: Counter,
    pub(crate) duplicate_timestamp: Counter,
    pub(crate) out_of_bounds: Counter,
    /// Stays at zero: samples are passed on in whatever order a target exposes them. Dashboards ask for it.
    pub(crate) out_of_order: Counter,
    pub(crate) discovered: Family<[(&'static str, String); 2], Gauge>,
    pub(crate) refused_samples: Counter,
    pub(crate) refused_batches: Counter,
    shares: Arc<Mutex<Shares>>,
    next_pool: Arc<AtomicU64>,
}

fn interval_buckets() -> Histogram {
    Histogram::new([1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0])
}

fn sync_buckets() -> Histogram {
    Histogram::new([0.001, 0.01, 0.1, 1.0, 10.0])
}

impl ScrapeMetrics {
    /// Registers everything (the registry adds `_total` to counters).
    pub fn registered(registry: &mut Registry) -> Arc<Self> {
        let m = Self {
            interval_length: Family::new_with_constructor(interval_buckets),
            sync_length: Family::new_with_constructor(sync_buckets),
            pools: Counter::default(),
            pools_failed: Counter::default(),
            reloads: Counter::default(),
            reloads_failed: Counter::default(),
            syncs: Family::default(),
            sync_failed: Family::default(),
            pool_targets: Family::default(),
            pool_target_limit: Family::default(),
            exceeded_target_limit: Counter::default(),
            exceeded_label_limits: Counter::default(),
            exceeded_sample_limit: Counter::default(),
            exceeded_body_size: Counter::default(),
            duplicate_timestamp: Counter::default(),
            out_of_bounds: Counter::default(),
            out_of_order: Counter::default(),
            discovered: Family::default(),
            refused_samples: Counter::default(),
            refused_batches: Counter::default(),
            shares: Arc::default(),
            next_pool: Arc::default(),
        };
        registry.register_with_unit(
            "prometheus_target_interval_length",
            "Actual intervals between scrapes",
            Unit::Seconds,
            m.interval_length.clone(),
        );
        registry.register_with_unit(
            "prometheus_target_sync_length",
            "Time it took to turn discovered targets into scraped ones",
            Unit::Seconds,
            m.sync_length.clone(),
        );
        let counters = [
            ("prometheus_target_scrape_pools", "Scrape pools created", &m.pools),
            ("prometheus_target_scrape_pools_failed", "Scrape pools that could not be created", &m.pools_failed),
            ("prometheus_target_scrape_pool_reloads", "Changes of a scrape pool's configuration", &m.reloads),
            ("prometheus_target_scrape_pool_reloads_failed", "Changes that failed", &m.reloads_failed),
            (
                "prometheus_target_scrape_pool_exceeded_target_limit",
                "Synchronisations that found more targets than target_limit",
                &m.exceeded_target_limit,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_label_limits",
                "Scrapes refused for a label limit",
                &m.exceeded_label_limits,
            ),
            (
                "prometheus_target_scrapes_exceeded_sample_limit",
                "Scrapes refused for the sample limit",
                &m.exceeded_sample_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_body_size_limit",
                "Scrapes refused for the body size limit",
                &m.exceeded_body_size,
            ),
            (
                "prometheus_target_scrapes_sample_duplicate_timestamp",
                "Samples left out: the series had one at that time",
                &m.duplicate_timestamp,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_bounds",
                "Samples left out: their time is too far ahead",
                &m.out_of_bounds,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_order",
                "Samples left out for their order: none, they are passed on as exposed",
                &m.out_of_order,
            ),
            (
                "sigpost_scrape_refused_samples",
                "Samples the queue did not take within one interval",
                &m.refused_samples,
            ),
            (
                "sigpost_scrape_refused_batches",
                "Scrapes the queue did not take within one interval",
                &m.refused_batches,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "prometheus_target_scrape_pool_sync",
            "Synchronisations of a scrape pool with discovery",
            m.syncs.clone(),
        );
        registry.register(
            "prometheus_target_sync_failed",
            "Discovered targets that cannot be scraped",
            m.sync_failed.clone(),
        );
        registry.register("prometheus_target_scrape_pool_targets", "Targets being scraped", m.pool_targets.clone());
        registry.register(
            "prometheus_target_scrape_pool_target_limit",
            "The configured target_limit, 0 for none",
            m.pool_target_limit.clone(),
        );
        registry.register("prometheus_sd_discovered_targets", "Targets that discovery found", m.discovered.clone());
        Arc::new(m)
    }

    /// Where targets of this interval tell how far apart their scrapes were; for keeping, since finding it costs more than
    /// telling.
    pub(crate) fn interval_length(&self, interval: Duration) -> Histogram {
        self.interval_length.get_or_create(&[("interval", duration::format(interval))]).clone()
    }

    pub(crate) fn new_pool(&self) -> PoolId {
        PoolId(self.next_pool.fetch_add(1, Ordering::Relaxed))
    }

    /// A pool of this job has these targets now.
    pub(crate) fn share(&self, job: &str, pool: PoolId, share: Share) {
        let mut shares = self.shares.lock();
        let pools = shares.entry(job.to_owned()).or_default();
        pools.insert(pool, share);
        self.publish(job, pools);
    }

    /// Sets a job's gauges. Under the lock, so that the last one to publish has seen all shares.
    fn publish(&self, job: &str, pools: &BTreeMap<PoolId, Share>) {
        let label = [("scrape_job", job.to_owned())];
        let count = |of: fn(&Share) -> usize| i64::try_from(pools.values().map(of).sum::<usize>()).unwrap_or(i64::MAX);
        // A limit and no limit together are no limit.
        let unlimited = pools.values().any(|share| share.target_limit == 0);
        let limit = pools.values().fold(0u64, |sum, share| sum.saturating_add(share.target_limit));
        let limit = if unlimited { 0 } else { i64::try_from(limit).unwrap_or(i64::MAX) };
        self.pool_targets.get_or_create(&label).set(count(|share| share.targets));
        self.pool_target_limit.get_or_create(&label).set(limit);
        self.discovered.get_or_create(&discovered_label(job)).set(count(|share| share.discovered));
    }

    /// A pool is gone: its share goes, and with the last one of the name the job's own series.
    pub(crate) fn forget(&self, job: &str, pool: PoolId) {
        let mut shares = self.shares.lock();
        if let Some(pools) = shares.get_mut(job) {
            pools.remove(&pool);
            if !pools.is_empty() {
                return self.publish(job, pools);
            }
            shares.remove(job);
        }
        let label = [("scrape_job", job.to_owned())];
        self.sync_length.remove(&label);
        self.syncs.remove(&label);
        self.sync_failed.remove(&label);
        self.pool_targets.remove(&label);
        self.pool_target_limit.remove(&label);
        self.discovered.remove(&discovered_label(job));
    }
}

pub(crate) fn discovered_label(job: &str) -> [(&'static str, String); 2] {
    [("config", job.to_owned()), ("name", "scrape".to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_dashboards_use_are_there() {
        let mut registry = Registry::default();
        let metrics = ScrapeMetrics::registered(&mut registry);
        metrics.interval_length(Duration::from_secs(15)).observe(15.0);
        metrics.sync_length.get_or_create(&[("scrape_job", "a".into())]).observe(0.1);
        metrics.discovered.get_or_create(&discovered_label("a")).set(3);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let shown = text();
        for line in [
            "prometheus_target_interval_length_seconds_sum{interval=\"15s\"} 15.0",
            "prometheus_target_interval_length_seconds_count{interval=\"15s\"} 1",
            "prometheus_target_sync_length_seconds_sum{scrape_job=\"a\"} 0.1",
            "prometheus_target_scrapes_exceeded_sample_limit_total 0",
            "prometheus_target_scrapes_sample_duplicate_timestamp_total 0",
            "prometheus_target_scrape_pools_total 0",
            "prometheus_sd_discovered_targets{config=\"a\",name=\"scrape\"} 3",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
        metrics.forget("a", metrics.new_pool());
        assert!(!text().contains("scrape_job=\"a\""));
    }

    #[test]
    fn pools_of_jobs_with_one_name_add_up_and_leave_one_by_one() {
        let mut registry = Registry::default();
        let metrics = ScrapeMetrics::registered(&mut registry);
        let (one, two) = (metrics.new_pool(), metrics.new_pool());
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let shows = |targets: i64, limit: i64, discovered: i64| {
            let text = text();
            for line in [
                format!("prometheus_target_scrape_pool_targets{{scrape_job=\"a\"}} {targets}\n"),
                format!("prometheus_target_scrape_pool_target_limit{{scrape_job=\"a\"}} {limit}\n"),
                format!("prometheus_sd_discovered_targets{{config=\"a\",name=\"scrape\"}} {discovered}\n"),
            ] {
                assert!(text.contains(&line), "{line} is not in\n{text}");
            }
        };
        metrics.share("a", one, Share { targets: 2, target_limit: 10, discovered: 5 });
        metrics.share("a", two, Share { targets: 3, target_limit: 20, discovered: 7 });
        shows(5, 30, 12);
        metrics.share("a", two, Share { targets: 1, target_limit: 0, discovered: 7 });
        shows(3, 0, 12);
        metrics.syncs.get_or_create(&[("scrape_job", "a".into())]).inc();
        metrics.forget("a", one);
        shows(1, 0, 7);
        assert!(text().contains("pool_sync_total{scrape_job=\"a\"} 1"));
        metrics.forget("a", two);
        assert!(!text().contains("\"a\""));
    }
}

//! `agent_config_*`, whether the last configuration was taken, and `agent_wal_storage_active_series`.

use std::{
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Default)]
pub struct LoadMetrics {
    successful: Gauge,
    at: Gauge<f64, AtomicU64>,
    failures: Counter,
}

impl LoadMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register(
            "agent_config_last_load_successful",
            "1 if the last configuration was taken",
            all.successful.clone(),
        );
        registry.register(
            "agent_config_last_load_success_timestamp_seconds",
            "When a configuration was last taken",
            all.at.clone(),
        );
        registry.register("agent_config_load_failures", "Configurations that were not taken", all.failures.clone());
        all
    }

    pub fn succeeded(&self) {
        self.successful.set(1);
        self.at.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()));
    }

    pub fn failed(&self) {
        self.successful.set(0);
        self.failures.inc();
    }
}

/// `agent_wal_storage_active_series`, under the name and label that Grafana Agent's dashboards ask for.
#[derive(Clone, Default)]
pub struct ActiveSeries(Family<[(&'static str, String); 1], Gauge>);

impl ActiveSeries {
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register("agent_wal_storage_active_series", "Series of the last successful scrapes", all.0.clone());
        all
    }

    /// Replaces what is shown: (instance, series).
    pub fn show(&self, counts: Vec<(String, u64)>) {
        self.0.clear();
        for (instance, series) in counts {
            let gauge = self.0.get_or_create_owned(&[("instance_group_name", instance)]);
            gauge.set(i64::try_from(series).unwrap_or(i64::MAX));
        }
    }
}

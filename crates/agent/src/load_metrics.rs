//! `agent_config_*`: whether the last configuration was taken.

use std::{
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
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

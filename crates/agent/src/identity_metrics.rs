//! Credentials as metrics: seconds to expiry, refreshes, failures, clock offset, by destination and source.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws::IdentityStatus;
use parking_lot::RwLock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

type Identities = BTreeMap<String, Arc<aws::Identity>>;

/// Who signs for which destination, as of now.
#[derive(Debug, Clone, Default)]
pub struct IdentityMetrics(Arc<RwLock<Identities>>);

impl IdentityMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register_collector(Box::new(Snapshot(all.clone())));
        all
    }

    /// Sets or clears the identity of a destination.
    pub fn put(&self, destination: &str, identity: Option<&Arc<aws::Identity>>) {
        let mut all = self.0.write();
        match identity {
            Some(identity) => drop(all.insert(destination.to_owned(), Arc::clone(identity))),
            None => drop(all.remove(destination)),
        }
    }
}

#[derive(Debug)]
struct Snapshot(IdentityMetrics);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    destination: String,
    source: String,
}

/// What a row shows; `None` leaves the row out.
type Figure = fn(&IdentityStatus) -> Option<f64>;

const FIGURES: &[(&str, &str, MetricType, Figure)] = &[
    (
        "credential_expiry_seconds",
        "Seconds until the credentials in use end, by the corrected clock; absent if they do not",
        MetricType::Gauge,
        to_expiry,
    ),
    ("credential_refreshes", "Fetches that gave credentials", MetricType::Counter, |s| Some(s.refreshes as f64)),
    ("credential_refresh_failures", "Fetches that gave none", MetricType::Counter, |s| Some(s.refresh_failures as f64)),
    ("clock_offset_seconds", "The service's clock minus the local one; absent until known", MetricType::Gauge, |s| {
        s.clock_offset_ms.map(|ms| ms as f64 / 1000.0)
    }),
];

fn to_expiry(status: &IdentityStatus) -> Option<f64> {
    let seconds = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let now = seconds(SystemTime::now()) + status.clock_offset_ms.unwrap_or(0) as f64 / 1000.0;
    status.expires.map(|at| seconds(at) - now)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows: Vec<(Labels, IdentityStatus)> = (self.0.0.read().iter())
            .map(|(name, identity)| {
                let status = identity.status();
                (Labels { destination: name.clone(), source: status.source.clone() }, status)
            })
            .collect();
        for (name, help, kind, figure) in FIGURES {
            let name = format!("sigpost_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, *kind)?;
            for (labels, status) in &rows {
                let Some(value) = figure(status) else { continue };
                let row = metric.encode_family(labels)?;
                match kind {
                    MetricType::Counter => ConstCounter::new(value).encode(row)?,
                    _ => ConstGauge::new(value).encode(row)?,
                }
            }
        }
        Ok(())
    }
}

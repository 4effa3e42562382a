//! The secrets of stores that a plan refers to: read at the start, kept fresh, shown as metrics.
//!
//! Reads no store itself (`aws` does). Keeps true: a store that does not answer delays a start for a bounded time and never
//! prevents it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use aws::{SecretKeeper, SecretStatus, SecretStoresConfig, VaultTokenStatus};
use config::Plan;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

/// How long a start or a reload waits for stores. Whoever needs a secret that is still missing then tries again by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// What keeps the secrets of the running plan fresh. Dropped, it stops.
#[derive(Debug, Clone)]
pub struct StoredSecrets(Arc<SecretKeeper>);

impl StoredSecrets {
    /// Begins with `plan`'s secrets and waits for them a while.
    pub async fn of(plan: &Plan) -> Result<Self> {
        let context =
            aws::IdentityContext::new(&crate::hostname::of_this_machine()).context("preparing the AWS clients")?;
        let secrets = Self(Arc::new(SecretKeeper::new(Arc::new(context))));
        secrets.follow(plan).await?;
        Ok(secrets)
    }

    /// Goes over to another plan's; what both refer to is not read again. Gives back the stores before, for `back_to`.
    pub async fn follow(&self, plan: &Plan) -> Result<SecretStoresConfig> {
        let before =
            self.0.follow(&plan.secret_stores, &plan.stored_secrets).context("preparing to read secret stores")?;
        if !self.0.settled(PATIENCE).await {
            tracing::warn!(
                waited_seconds = PATIENCE.as_secs(),
                "a secret store has not answered yet; going on without, what needs its secrets waits for them"
            );
        }
        Ok(before)
    }

    /// The plan that was followed last does not come.
    pub fn back_to(&self, stores: &SecretStoresConfig) {
        if let Err(error) = self.0.follow(stores, &[]) {
            tracing::error!(%error, "cannot go back to the former secret stores; known values stay in use");
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Snapshot(Arc::clone(&self.0))));
    }
}

#[derive(Debug)]
struct Snapshot(Arc<SecretKeeper>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reference: String,
}

/// What a row shows; `None` leaves the row out.
type Figure = fn(&SecretStatus) -> Option<f64>;

const FIGURES: &[(&str, &str, MetricType, Figure)] = &[
    (
        "secret_age_seconds",
        "Seconds since the store last answered with a value; absent until then",
        MetricType::Gauge,
        |s| s.read_at.map(|at| at.elapsed().unwrap_or_default().as_secs_f64()),
    ),
    ("secret_refreshes", "Answers of the store with a value", MetricType::Counter, |s| Some(s.refreshes as f64)),
    ("secret_refresh_failures", "Attempts to read the secret that failed", MetricType::Counter, |s| {
        Some(s.failures as f64)
    }),
];

type TokenFigure = fn(&VaultTokenStatus) -> Option<f64>;

/// Only where the configuration gives Vault's token itself.
const TOKEN_FIGURES: &[(&str, &str, MetricType, TokenFigure)] = &[
    (
        "vault_token_expiry_seconds",
        "Seconds until the configured Vault token ends; absent if it does not, or nobody knows",
        MetricType::Gauge,
        |t| {
            let ends = t.ends?;
            let now = SystemTime::now();
            Some(match ends.duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(over) => -over.duration().as_secs_f64(),
            })
        },
    ),
    ("vault_token_renewals", "Renewals of the configured Vault token", MetricType::Counter, |t| {
        Some(t.renewals as f64)
    }),
    (
        "vault_token_renewal_failures",
        "Attempts to look at the configured Vault token or to renew it that failed",
        MetricType::Counter,
        |t| Some(t.failures as f64),
    ),
];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(token) = self.0.vault_token() {
            for (name, help, kind, figure) in TOKEN_FIGURES {
                let Some(value) = figure(&token) else { continue };
                let name = format!("sigpost_{name}");
                let metric = encoder.encode_descriptor(&name, help, None, *kind)?;
                match kind {
                    MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                    _ => ConstGauge::new(value).encode(metric)?,
                }
            }
        }
        let rows = self.0.status();
        for (name, help, kind, figure) in FIGURES {
            let name = format!("sigpost_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, *kind)?;
            for status in &rows {
                let Some(value) = figure(status) else { continue };
                let labels = Labels { reference: status.reference.clone() };
                let row = metric.encode_family(&labels)?;
                match kind {
                    MetricType::Counter => ConstCounter::new(value).encode(row)?,
                    _ => ConstGauge::new(value).encode(row)?,
                }
            }
        }
        Ok(())
    }
}

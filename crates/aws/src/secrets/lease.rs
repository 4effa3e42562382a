//! Keeps the Vault token that the configuration gives alive: renews it when two thirds of its lease are over.
//!
//! Tokens of logins are not its business (`vault` renews and replaces those). Keeps true: a token without an end, or that may
//! not be renewed, is left alone and looked at again now and then; another token in the file is taken up within a minute;
//! what Vault refuses is told once, and asked again ever more slowly.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use net::{Backoff, Secret, SecretSource};
use parking_lot::Mutex;

use super::vault::{Life, Vault};

/// How often the source is looked at for another token.
const LOOK: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A lease is never renewed more often than this.
const SHORTEST: Duration = Duration::from_millis(200);

/// The configured token as pages and metrics show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VaultTokenStatus {
    /// When it ends, as far as Vault said; `None`: never, or not known yet.
    pub ends: Option<SystemTime>,
    /// Renewals that Vault granted.
    pub renewals: u64,
    /// Attempts to look at it or to renew it that failed.
    pub failures: u64,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Lease(Mutex<VaultTokenStatus>);

impl Lease {
    pub(super) fn status(&self) -> VaultTokenStatus {
        self.0.lock().clone()
    }

    /// Runs until it is dropped.
    pub(super) async fn keep(self: Arc<Self>, vault: Arc<Vault>, source: SecretSource) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut known: Option<(Secret, Life)> = None;
        loop {
            let wait = match self.turn(&vault, &source, &mut known).await {
                Ok(wait) => {
                    backoff.reset();
                    wait
                }
                Err(why) => {
                    self.failed(&why);
                    known = None;
                    backoff.next_delay().max(SHORTEST)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Looks at the token once, renews it if that is due; how long it can be left alone then.
    async fn turn(
        &self,
        vault: &Vault,
        source: &SecretSource,
        known: &mut Option<(Secret, Life)>,
    ) -> Result<Duration, String> {
        let token = source.load().await.map_err(|e| format!("the token for Vault: {e}"))?;
        let life = match known.take().filter(|(before, _)| *before == token) {
            Some((_, life)) => life,
            None => {
                let life = vault.life(&token).await?;
                self.saw(&life);
                life
            }
        };
        let life = match life.renewal_due() {
            Some(at) if at <= SystemTime::now() => {
                let renewed = vault.renew(&token).await?;
                self.renewed(&life, &renewed);
                renewed
            }
            _ => life,
        };
        let due = life.renewal_due().map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        *known = Some((token, life));
        Ok(due.map_or(LOOK, |due| due.clamp(SHORTEST, LOOK)))
    }

    fn saw(&self, life: &Life) {
        let mut status = self.0.lock();
        status.ends = life.ends;
        if status.last_error.take().is_some() {
            tracing::info!("Vault knows the configured token again");
        }
        if let (Some(ends), false) = (life.ends, life.renewable) {
            let left_seconds = ends.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
            tracing::warn!(
                left_seconds,
                "the configured Vault token ends and may not be renewed; put another in its place before, or log in with approle, kubernetes or aws"
            );
        }
    }

    fn renewed(&self, before: &Life, after: &Life) {
        let mut status = self.0.lock();
        status.renewals += 1;
        status.ends = after.ends;
        status.last_error = None;
        let lease_seconds = after.lease.as_secs();
        tracing::debug!(lease_seconds, "the configured Vault token is renewed");
        // Vault shortens the last leases before a token's longest life is over.
        if after.lease < before.lease / 2 {
            tracing::warn!(
                lease_seconds,
                "Vault renews the configured token for less and less: its longest life (max TTL) is nearly over; put another in its place"
            );
        }
    }

    fn failed(&self, why: &str) {
        let mut status = self.0.lock();
        status.failures += 1;
        if status.last_error.as_deref() != Some(why) {
            tracing::warn!(error = why, "the configured Vault token cannot be kept alive");
        }
        status.last_error = Some(why.to_owned());
    }
}

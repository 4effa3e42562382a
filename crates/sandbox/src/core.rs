//! What all connections share: identities, books, samples, objects, faults, clock. Locks are held for short work only.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::{
    arrivals::{Arrivals, IdentityState, State},
    clock::Clock,
    config::{Limits, SandboxConfig},
    error::SandboxError,
    fault::Faults,
    identity::Identities,
    objects::Objects,
    series::SeriesStore,
};

/// Shared by every connection and by [`crate::Running`].
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) region: Option<String>,
    pub(crate) identities: RwLock<Identities>,
    pub(crate) arrivals: Mutex<Arrivals>,
    pub(crate) series: Mutex<SeriesStore>,
    pub(crate) objects: Mutex<Objects>,
    pub(crate) faults: Mutex<Faults>,
    /// Permits are KiB of bodies in flight.
    pub(crate) body_room: Arc<Semaphore>,
    started_ms: i64,
    requests: AtomicU64,
    changes: watch::Sender<u64>,
}

/// What a state shall contain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) series: usize,
    pub(crate) objects: usize,
    pub(crate) metric: Option<String>,
}

impl Core {
    pub(crate) fn new(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let limits = config.limits.clone();
        let room = (limits.bodies_in_flight / 1024).clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            started_ms: config.clock.now_ms(),
            clock: config.clock.clone(),
            region: config.region.clone(),
            identities: RwLock::new(Identities::new(config.identities.iter().cloned())),
            arrivals: Mutex::new(Arrivals::default()),
            series: Mutex::new(SeriesStore::new(limits.clone(), config.record, config.sample_rules)),
            objects: Mutex::new(Objects::open(&config.objects, limits.clone())?),
            faults: Mutex::new(Faults::default()),
            body_room: Arc::new(Semaphore::new(room)),
            limits,
            requests: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        })
    }

    /// An id of the shape of AWS's, unique in this run.
    pub(crate) fn request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("5a4db0c5-0000-4000-8000-{number:012x}")
    }

    /// Wakes those who wait for a change.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Forgets what arrived and the waiting faults; identities and settings stay, the clock's shift ends.
    pub(crate) fn reset(&self) {
        *self.arrivals.lock() = Arrivals::default();
        self.series.lock().clear();
        self.objects.lock().clear();
        self.faults.lock().clear();
        self.clock.set_skew_ms(0);
        self.changed();
    }

    /// A picture of everything. Takes the locks one after the other.
    pub(crate) fn state(&self, scope: &Scope) -> State {
        let now_ms = self.clock.now_ms();
        let (samples, samples_per_second, history, series) = {
            let store = self.series.lock();
            (
                store.totals().clone(),
                store.rate().per_second(now_ms, 60),
                store.rate().history(now_ms, 60),
                store.latest(scope.metric.as_deref(), scope.series),
            )
        };
        let (objects, objects_total, object_bytes) = {
            let objects = self.objects.lock();
            (objects.latest(scope.objects), objects.len(), objects.bytes())
        };
        let identities = self.identities.read();
        let identities = identities
            .list()
            .into_iter()
            .map(|identity| IdentityState {
                access_key_id: identity.access_key_id.clone(),
                arn: identity.arn.clone(),
                is_temporary: identity.session_token.is_some(),
                expires_ms: identity.expires_at_ms(),
                allow: identity.allow.clone(),
            })
            .collect();
        let faults = self.faults.lock().waiting().to_vec();
        let arrivals = self.arrivals.lock();
        State {
            now_ms,
            skew_ms: self.clock.skew_ms(),
            started_ms: self.started_ms,
            verified: arrivals.verified,
            unsigned: arrivals.unsigned,
            refused: arrivals.refused,
            faulted: arrivals.faulted,
            unserved: arrivals.unserved,
            destinations: arrivals.destinations(now_ms),
            destinations_not_kept: arrivals.destinations_not_kept,
            refusals: arrivals.refusals(),
            recent_refusals: arrivals.recent_refusals(),
            samples,
            samples_per_second,
            history,
            series,
            objects,
            objects_total,
            object_bytes,
            identities,
            faults,
            tunnels: arrivals.tunnels().clone(),
        }
    }
}

//! What all connections share: identities, books, samples, objects, faults, clock. Locks are held for short work only.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::{
    arrivals::{Arrivals, IdentityState, State},
    authority::Authority,
    clock::Clock,
    config::{Limits, SandboxConfig},
    error::SandboxError,
    fault::Faults,
    identity::{Identities, Permission, permission},
    objects::Objects,
    records::Records,
    seal::Seal,
    series::SeriesStore,
    service::{Leases, LogGroups},
    session::Sessions,
    token_issuer::TokenIssuer,
    world::{TrustAnchor, World},
};

/// Shared by every connection and by [`crate::Running`].
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) region: Option<String>,
    names: Vec<String>,
    pub(crate) identities: RwLock<Identities>,
    pub(crate) world: RwLock<World>,
    pub(crate) sessions: Sessions,
    /// Makes and opens metadata tokens.
    pub(crate) seal: Seal,
    /// Tokens of Vault logins.
    pub(crate) leases: Leases,
    pub(crate) arrivals: Mutex<Arrivals>,
    pub(crate) series: Mutex<SeriesStore>,
    pub(crate) objects: Mutex<Objects>,
    pub(crate) records: Mutex<Records>,
    pub(crate) log_groups: Mutex<LogGroups>,
    pub(crate) faults: Mutex<Faults>,
    /// Permits are KiB of bodies in flight.
    pub(crate) body_room: Arc<Semaphore>,
    issuer: Mutex<Option<Arc<TokenIssuer>>>,
    anchor: Mutex<Option<Authority>>,
    started_ms: i64,
    requests: AtomicU64,
    changes: watch::Sender<u64>,
}

/// The `iss` of the sandbox's own tokens.
const OWN_ISSUER: &str = "https://oidc.sandbox.example";
/// The trust anchor of the sandbox's own authority.
const OWN_ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/sandbox";
/// Most identities in a state.
const IDENTITIES: usize = 1000;

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
        let mut world = World::default();
        if let Some(what) = config.world.problem() {
            return Err(SandboxError::World { what });
        }
        if !world.merge(config.world.clone()) {
            return Err(SandboxError::World { what: "it has more than a thousand items of one kind".to_owned() });
        }
        let room = (limits.bodies_in_flight / 1024).clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            started_ms: config.clock.now_ms(),
            clock: config.clock.clone(),
            region: config.region.clone(),
            names: config.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            identities: RwLock::new(Identities::new(config.identities.iter().cloned())),
            world: RwLock::new(world),
            sessions: Sessions::default(),
            seal: Seal::new()?,
            leases: Leases::default(),
            arrivals: Mutex::new(Arrivals::default()),
            series: Mutex::new(SeriesStore::new(limits.clone(), config.record, config.sample_rules)),
            objects: Mutex::new(Objects::open(&config.objects, limits.clone())?),
            records: Mutex::new(Records::new(limits.clone(), config.record)),
            log_groups: Mutex::new(LogGroups::default()),
            faults: Mutex::new(Faults::default()),
            body_room: Arc::new(Semaphore::new(room)),
            limits,
            issuer: Mutex::new(None),
            anchor: Mutex::new(None),
            requests: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        })
    }

    /// Whether a host name, as a client sent it, is one of this machine's own: an address, a loopback name, or one of the
    /// names that were told.
    pub(crate) fn is_own_name(&self, name: &str) -> bool {
        let name = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        name.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.names.contains(&name)
    }

    /// An id of the shape of AWS's, unique in this run.
    pub(crate) fn request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("5a4db0c5-0000-4000-8000-{number:012x}")
    }

    /// What policies say about an action of a key: its own, or for a session those of its role, as they are now.
    pub(crate) fn permission(&self, access_key_id: &str, action: &str) -> Permission {
        let (role_arn, own) = match self.identities.read().get(access_key_id) {
            Some(identity) => (identity.role_arn.clone(), permission(&identity.allow, &identity.deny, action)),
            None => return Permission::Missing,
        };
        match role_arn {
            None => own,
            Some(arn) => match self.world.read().role(&arn) {
                Some(role) => permission(&role.allow, &role.deny, action),
                None => Permission::Missing,
            },
        }
    }

    /// Ends the sessions of a role (`None`: of all) now, those of metadata documents included.
    pub(crate) fn expire_sessions(&self, role_arn: Option<&str>) -> usize {
        if role_arn.is_none() {
            self.leases.clear();
        }
        let ended = self.identities.write().expire_sessions(role_arn, self.clock.now_ms());
        self.changed();
        ended
    }

    /// The issuer that `POST token` uses, made and registered when first asked for.
    pub(crate) fn own_issuer(&self) -> Result<Arc<TokenIssuer>, SandboxError> {
        let mut own = self.issuer.lock();
        if let Some(issuer) = own.as_ref() {
            return Ok(Arc::clone(issuer));
        }
        let issuer = Arc::new(TokenIssuer::generate(OWN_ISSUER)?);
        self.world.write().merge(World { issuers: vec![issuer.trust()], ..World::default() });
        *own = Some(Arc::clone(&issuer));
        Ok(issuer)
    }

    /// The authority that `POST certificate` uses, with its trust anchor, made and registered when first asked for.
    pub(crate) fn own_anchor(&self) -> Result<(&'static str, Authority), SandboxError> {
        let mut own = self.anchor.lock();
        if let Some(authority) = own.as_ref() {
            return Ok((OWN_ANCHOR, authority.clone()));
        }
        let authority = Authority::generate()?;
        let anchor = TrustAnchor::new(OWN_ANCHOR, authority.certificate_pem());
        self.world.write().merge(World { trust_anchors: vec![anchor], ..World::default() });
        *own = Some(authority.clone());
        Ok((OWN_ANCHOR, authority))
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
        self.records.lock().clear();
        self.log_groups.lock().clear();
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
        let (records, records_total, records_not_kept) = {
            let records = self.records.lock();
            (records.rows(), records.total(), records.not_kept())
        };
        let identities = self.identities.read();
        let identities = identities
            .list()
            .into_iter()
            // Sessions that ended are of interest to nobody but those who still use them.
            .filter(|identity| identity.role_arn.is_none() || identity.expires_at_ms().is_none_or(|at| at > now_ms))
            .take(IDENTITIES)
            .map(|identity| IdentityState {
                access_key_id: identity.access_key_id.clone(),
                arn: identity.arn.clone(),
                is_temporary: identity.session_token.is_some(),
                expires_ms: identity.expires_at_ms(),
                allow: identity.allow.clone(),
                is_valid: identity.is_valid_at(now_ms),
                tags: identity.tags.clone(),
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
            principals: arrivals.principals(),
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
            records,
            records_total,
            records_not_kept,
            identities,
            faults,
            tunnels: arrivals.tunnels().clone(),
        }
    }
}

//! Sessions of roles: temporary credentials, made here and verified like every other key.
//!
//! Keeps true: each session has its own key id, secret and token from the system's randomness; none outlives what the
//! control API allows; documents of instances and containers are renewed before they end, as AWS does.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
};

use net::Secret;

use crate::{
    arn::Arn,
    clock::iso_utc,
    core::Core,
    identity::{Identity, moment},
    sigv4::sha256_hex,
    world::Role,
};

/// Documents of instances and containers live so long unless the control API says less.
const DOCUMENT_MS: i64 = 6 * 3_600_000;
/// They are renewed so long before their end (AWS: at least five minutes), but not before half their life is over.
const RENEWED_BEFORE_MS: i64 = 5 * 60_000;

/// What a session is made from.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) role: &'a Role,
    pub(crate) session_name: &'a str,
    pub(crate) lifetime_ms: i64,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A session as its caller gets it.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) access_key_id: String,
    pub(crate) secret: Secret,
    pub(crate) token: Secret,
    pub(crate) issued_ms: i64,
    pub(crate) expires_ms: i64,
    /// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub(crate) arn: String,
    /// `AROA...:SESSION`.
    pub(crate) user_id: String,
    pub(crate) account_id: String,
    pub(crate) role_arn: String,
}

impl Issued {
    pub(crate) fn expiration(&self) -> String {
        iso_utc(self.expires_ms)
    }
}

/// Why no session could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox keeps no more sessions, or its source of randomness failed")]
pub(crate) struct NoSession;

/// What limits sessions, and the documents handed out by metadata services.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Longest life of new sessions in milliseconds; 0: as asked for.
    longest_ms: AtomicI64,
    /// Counts up to make all documents new.
    generation: AtomicI64,
    documents: parking_lot::Mutex<BTreeMap<String, (i64, Issued)>>,
}

impl Sessions {
    pub(crate) fn set_longest_ms(&self, ms: i64) {
        self.longest_ms.store(ms.max(0), Ordering::Relaxed);
    }

    pub(crate) fn longest_ms(&self) -> i64 {
        self.longest_ms.load(Ordering::Relaxed)
    }

    /// Makes the next reading of each document give a new session; the old ones stay valid.
    pub(crate) fn rotate(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

/// What stands behind a role's name in `AROA...` ids: the same for the same ARN.
pub(crate) fn role_id(arn: &str) -> String {
    let digits: String = sha256_hex(arn.as_bytes()).to_ascii_uppercase().chars().take(17).collect();
    format!("AROA{digits}")
}

impl Core {
    /// Makes a session of a role.
    pub(crate) fn issue(&self, grant: Grant<'_>) -> Result<Issued, NoSession> {
        let now_ms = self.clock.now_ms();
        let longest = self.sessions.longest_ms();
        let lifetime = if longest > 0 { grant.lifetime_ms.min(longest) } else { grant.lifetime_ms };
        let mut random = [0u8; 64];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| NoSession)?;
        let hexed = hex::encode_upper(random);
        let part = |from: usize, to: usize| hexed.get(from..to).unwrap_or_default();
        let role = Arn::read(&grant.role.arn).ok_or(NoSession)?;
        let name = role.role_name().ok_or(NoSession)?;
        let mut expires_ms = now_ms.saturating_add(lifetime);
        if lifetime >= 60_000 {
            // AWS says whole seconds.
            expires_ms = expires_ms.div_euclid(1000) * 1000;
        }
        let issued = Issued {
            access_key_id: format!("ASIA{}", part(0, 16)),
            secret: Secret::new(part(16, 56)),
            token: Secret::new(format!("IQoJ{}", part(56, 128))),
            issued_ms: now_ms,
            expires_ms,
            arn: format!("arn:{}:sts::{}:assumed-role/{name}/{}", role.partition, role.account, grant.session_name),
            user_id: format!("{}:{}", role_id(&grant.role.arn), grant.session_name),
            account_id: role.account.to_owned(),
            role_arn: grant.role.arn.clone(),
        };
        let identity = Identity {
            session_token: Some(issued.token.clone()),
            expires_at: Some(moment(expires_ms)),
            account_id: issued.account_id.clone(),
            arn: issued.arn.clone(),
            user_id: issued.user_id.clone(),
            role_arn: Some(grant.role.arn.clone()),
            tags: grant.tags,
            ..Identity::user(issued.access_key_id.clone(), issued.secret.expose())
        };
        let is_room = self.identities.write().put_session(identity, now_ms);
        if !is_room {
            return Err(NoSession);
        }
        self.changed();
        Ok(issued)
    }

    /// The present document of an instance or container, renewed when its end is near or when told to rotate.
    pub(crate) fn document(&self, place: &str, role: &Role, session_name: &str) -> Result<Issued, NoSession> {
        let now_ms = self.clock.now_ms();
        let generation = self.sessions.generation.load(Ordering::Relaxed);
        let mut documents = self.sessions.documents.lock();
        if let Some((made_in, known)) = documents.get(place)
            && *made_in == generation
            && known.role_arn == role.arn
            && !self.is_nearly_over(known, now_ms)
        {
            return Ok(known.clone());
        }
        let issued = self.issue(Grant { role, session_name, lifetime_ms: DOCUMENT_MS, tags: BTreeMap::new() })?;
        if documents.len() >= 2000 {
            documents.clear();
        }
        documents.insert(place.to_owned(), (generation, issued.clone()));
        Ok(issued)
    }

    fn is_nearly_over(&self, issued: &Issued, now_ms: i64) -> bool {
        // The books know better when a session was ended by command.
        let ends_ms = self
            .identities
            .read()
            .get(&issued.access_key_id)
            .and_then(Identity::expires_at_ms)
            .unwrap_or(i64::MIN)
            .min(issued.expires_ms);
        let half = (issued.expires_ms - issued.issued_ms) / 2;
        // A shorter life by command holds for documents that are already out, too.
        let longest = self.sessions.longest_ms();
        let is_too_long = longest > 0 && issued.expires_ms - issued.issued_ms > longest;
        is_too_long || ends_ms.saturating_sub(now_ms) <= RENEWED_BEFORE_MS.min(half)
    }
}

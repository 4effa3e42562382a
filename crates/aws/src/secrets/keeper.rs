//! Keeps the values of stored secrets fresh: one task for each document of a store.
//!
//! Keeps true: nobody waits for a store but who asks to ([`SecretKeeper::settled`], with a limit); a failing store keeps the
//! last value in use, is told once, and is asked ever more slowly; a reference that nobody uses any more is not read.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};

use net::{Backoff, Secret, StoredSecret};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    SecretReference, SecretStoresConfig,
    cloud::Cloud,
    document::Document,
    lease::{Lease, VaultTokenStatus},
    vault::Vault,
};
use crate::{AwsError, IdentityContext};

/// Longer than any store's own limits.
const TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A refused value is read again at once, and then ever more slowly while the store has no other.
const FIRST_DOUBT: Duration = Duration::from_secs(1);
const LAST_DOUBT: Duration = Duration::from_secs(60);

/// One reference as pages and metrics show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretStatus {
    /// As written in the configuration; no secret.
    pub reference: String,
    /// When the store last answered with a value.
    pub read_at: Option<SystemTime>,
    /// Answers with a value.
    pub refreshes: u64,
    /// Attempts without.
    pub failures: u64,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

/// Reads the secrets that the configuration refers to, again and again. Dropped, it stops.
#[derive(Debug)]
pub struct SecretKeeper {
    context: Arc<IdentityContext>,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    config: SecretStoresConfig,
    stores: Option<Arc<Stores>>,
    /// By document.
    entries: BTreeMap<SecretReference, Entry>,
}

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    task: Task,
    tried: watch::Receiver<bool>,
}

/// Ends with its owner.
#[derive(Debug)]
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is known of one document, and who wants its members.
struct Kept {
    document: SecretReference,
    /// Told when a far end refuses a value of it.
    doubts: Arc<Notify>,
    state: Mutex<KeptState>,
}

#[derive(Default)]
struct KeptState {
    newest: Option<Document>,
    last_error: Option<String>,
    /// By reference.
    rows: BTreeMap<String, Row>,
}

/// One reference to a member of the document.
struct Row {
    key: Option<String>,
    users: Vec<Weak<StoredSecret>>,
    has_value: bool,
    voice: Voice,
    status: SecretStatus,
}

/// Lines about one secret: some at once, then one a minute, however often it changes or its store's words do. The metrics count
/// every one.
#[derive(Debug)]
struct Voice {
    left: u32,
    refilled_at: Instant,
    /// Lines that were not written since the last one that was.
    held_back: u64,
}

const LINES_AT_ONCE: u32 = 5;
const ANOTHER_LINE: Duration = Duration::from_secs(60);

impl Voice {
    fn new(now: Instant) -> Self {
        Self { left: LINES_AT_ONCE, refilled_at: now, held_back: 0 }
    }

    /// May a line be written now? With how many were not, since the last one.
    fn may_speak(&mut self, now: Instant) -> Option<u64> {
        while self.left < LINES_AT_ONCE && now.saturating_duration_since(self.refilled_at) >= ANOTHER_LINE {
            self.left += 1;
            self.refilled_at += ANOTHER_LINE;
        }
        if self.left == LINES_AT_ONCE {
            self.refilled_at = now;
        }
        if self.left == 0 {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.document).finish()
    }
}

#[derive(Debug)]
struct Stores {
    cloud: Arc<Cloud>,
    vault: Option<Arc<Vault>>,
    refresh: Duration,
    /// Of the token that the configuration gives.
    lease: Option<(Arc<Lease>, Task)>,
}

impl SecretKeeper {
    /// Reads nothing yet. `context` is whose connections and credential caches are used.
    pub fn new(context: Arc<IdentityContext>) -> Self {
        let book = Book { config: SecretStoresConfig::default(), stores: None, entries: BTreeMap::new() };
        Self { context, book: Mutex::new(book) }
    }

    /// Keeps exactly those of `secrets` (and of earlier calls) fresh that someone still holds. Needs a tokio runtime. Other
    /// stores than before are asked at once; values that were read stay in use. Fails where Vault's TLS files are unusable.
    /// Gives back the configuration before.
    pub fn follow(
        &self,
        config: &SecretStoresConfig,
        secrets: &[Arc<StoredSecret>],
    ) -> Result<SecretStoresConfig, AwsError> {
        let mut book = self.book.lock();
        book.entries.retain(|_, entry| entry.kept.is_used());
        let is_new = book.config != *config || book.stores.is_none();
        if is_new && (!secrets.is_empty() || !book.entries.is_empty()) {
            let stores = Arc::new(Stores::new(&self.context, config)?);
            book.stores = Some(Arc::clone(&stores));
            for entry in book.entries.values_mut() {
                *entry = Entry::start(Arc::clone(&entry.kept), &stores);
            }
        }
        let before = std::mem::replace(&mut book.config, config.clone());
        let Some(stores) = book.stores.clone() else { return Ok(before) };
        for secret in secrets {
            let Some(reference) = SecretReference::parse(secret.reference()) else { continue };
            let reference = match reference {
                Ok(reference) => reference,
                Err(why) => {
                    secret.fail(&why);
                    continue;
                }
            };
            let document = reference.document();
            let kept = match book.entries.get(&document) {
                Some(entry) => Arc::clone(&entry.kept),
                None => Arc::new(Kept { document: document.clone(), doubts: Arc::default(), state: Mutex::default() }),
            };
            kept.join(secret, reference.key());
            let runs = book.entries.get(&document).is_some_and(|entry| !entry.task.0.is_finished());
            if !runs {
                book.entries.insert(document, Entry::start(kept, &stores));
            }
        }
        Ok(before)
    }

    /// Waits until every reference was asked for once, whatever came of it, or until `limit` is over. True in the first case.
    pub async fn settled(&self, limit: Duration) -> bool {
        let tried: Vec<_> = self.book.lock().entries.values().map(|entry| entry.tried.clone()).collect();
        let all = async {
            for mut tried in tried {
                // The sender goes with the task, and then there is nothing to wait for.
                let _ = tried.wait_for(|done| *done).await;
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// The Vault token that the configuration gives, if it does.
    pub fn vault_token(&self) -> Option<VaultTokenStatus> {
        let stores = self.book.lock().stores.clone()?;
        stores.lease.as_ref().map(|(lease, _)| lease.status())
    }

    /// Every reference in use.
    pub fn status(&self) -> Vec<SecretStatus> {
        let book = self.book.lock();
        book.entries.values().flat_map(|entry| entry.kept.status()).collect()
    }
}

impl Stores {
    fn new(context: &Arc<IdentityContext>, config: &SecretStoresConfig) -> Result<Self, AwsError> {
        let cloud = Arc::new(Cloud::new(Arc::clone(context), config.clone()));
        let vault = config.vault.clone().map(|vault| Vault::new(vault, Arc::clone(&cloud))).transpose()?;
        let vault = vault.map(Arc::new);
        let lease = vault.as_ref().and_then(|vault| {
            let (lease, source) = (Arc::new(Lease::default()), vault.own_token()?);
            let task = tokio::spawn(Arc::clone(&lease).keep(Arc::clone(vault), source));
            Some((lease, Task(task)))
        });
        Ok(Self { cloud, vault, refresh: config.refresh, lease })
    }

    async fn read(&self, document: &SecretReference) -> Result<Document, String> {
        let read = async {
            match document {
                SecretReference::Vault { mount, path, version, .. } => match &self.vault {
                    Some(vault) => vault.read(mount, path, *version).await,
                    None => Err("there is no `vault` block that says where Vault is".to_owned()),
                },
                of_aws => self.cloud.read(of_aws).await,
            }
        };
        match tokio::time::timeout(TIMEOUT, read).await {
            Ok(document) => document,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }
}

impl Entry {
    fn start(kept: Arc<Kept>, stores: &Arc<Stores>) -> Self {
        let (done, tried) = watch::channel(false);
        let task = tokio::spawn(keep(Arc::clone(&kept), Arc::clone(stores), done));
        Self { kept, task: Task(task), tried }
    }
}

async fn keep(kept: Arc<Kept>, stores: Arc<Stores>, done: watch::Sender<bool>) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    let mut doubted = Backoff::new(FIRST_DOUBT, LAST_DOUBT);
    while kept.is_used() {
        let delay = match stores.read(&kept.document).await {
            Ok(document) => {
                backoff.reset();
                if kept.put(document) {
                    doubted.reset();
                }
                stores.refresh.mul_f64(0.9 + 0.2 * fastrand::f64())
            }
            Err(why) => {
                kept.fail(&why);
                FIRST_RETRY / 2 + backoff.next_delay().min(stores.refresh)
            }
        };
        done.send_replace(true);
        let early = async {
            kept.doubts.notified().await;
            tokio::time::sleep(doubted.next_delay()).await;
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = early => {}
        }
    }
}

impl Kept {
    fn is_used(&self) -> bool {
        self.state.lock().rows.values().any(Row::is_used)
    }

    fn join(&self, user: &Arc<StoredSecret>, key: Option<&str>) {
        user.tell_doubts(Arc::clone(&self.doubts));
        let mut state = self.state.lock();
        state.rows.retain(|_, row| row.is_used());
        let row = state.rows.entry(user.reference().to_owned()).or_insert_with(|| Row::new(user.reference(), key));
        row.users.retain(|held| held.strong_count() > 0);
        row.users.push(Arc::downgrade(user));
        let (newest, last_error) = (state.newest.clone(), state.last_error.clone());
        let Some(row) = state.rows.get_mut(user.reference()) else { return };
        match (newest, last_error) {
            (Some(document), _) => {
                row.take(document.pick(row.key.as_deref()));
            }
            (None, Some(why)) => user.fail(&why),
            (None, None) => {}
        }
    }

    /// True where a value is another than before.
    fn put(&self, document: Document) -> bool {
        let mut is_news = false;
        let mut state = self.state.lock();
        state.last_error = None;
        state.rows.retain(|_, row| row.is_used());
        for row in state.rows.values_mut() {
            is_news |= row.take(document.pick(row.key.as_deref()));
        }
        state.newest = Some(document);
        is_news
    }

    fn fail(&self, why: &str) {
        let mut state = self.state.lock();
        state.last_error = Some(why.to_owned());
        for row in state.rows.values_mut() {
            row.take(Err(why.to_owned()));
        }
    }

    fn status(&self) -> Vec<SecretStatus> {
        let state = self.state.lock();
        state.rows.values().filter(|row| row.is_used()).map(|row| row.status.clone()).collect()
    }
}

impl Row {
    fn new(reference: &str, key: Option<&str>) -> Self {
        let status = SecretStatus {
            reference: reference.to_owned(),
            read_at: None,
            refreshes: 0,
            failures: 0,
            last_error: None,
        };
        Self {
            key: key.map(ToOwned::to_owned),
            users: Vec::new(),
            has_value: false,
            voice: Voice::new(Instant::now()),
            status,
        }
    }

    fn is_used(&self) -> bool {
        self.users.iter().any(|user| user.strong_count() > 0)
    }

    /// Hands a new value on, or says why there is none; tells a person what is news. True where the value is another.
    fn take(&mut self, picked: Result<Secret, String>) -> bool {
        let reference = self.status.reference.as_str();
        let users = self.users.iter().filter_map(Weak::upgrade);
        let value = match picked {
            Ok(value) => value,
            Err(why) => {
                users.for_each(|user| user.fail(&why));
                self.status.failures += 1;
                if self.status.last_error.as_ref() != Some(&why)
                    && let Some(held_back) = self.voice.may_speak(Instant::now())
                {
                    tracing::warn!(
                        reference,
                        old_value_in_use = self.has_value,
                        lines_held_back = Some(held_back).filter(|n| *n > 0),
                        error = why,
                        "a secret cannot be read"
                    );
                }
                self.status.last_error = Some(why);
                return false;
            }
        };
        // Every one of them, not only up to the first to whom it is news.
        let is_another = users.filter(|user| user.put(value.clone())).count() > 0;
        let recovered = self.status.last_error.take().is_some();
        self.status.read_at = Some(SystemTime::now());
        self.status.refreshes += 1;
        let what = match (std::mem::replace(&mut self.has_value, true), is_another, recovered) {
            (false, ..) => "secret read",
            (true, true, _) => "the secret changed; the new one is in use",
            (true, false, true) => "the secret can be read again",
            (true, false, false) => return is_another,
        };
        if let Some(held_back) = self.voice.may_speak(Instant::now()) {
            tracing::info!(reference, lines_held_back = Some(held_back).filter(|n| *n > 0), "{what}");
        }
        is_another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_never_rests_is_told_some_times_and_then_once_a_minute() {
        let began = Instant::now();
        let mut voice = Voice::new(began);
        let spoken = |voice: &mut Voice, from: u64, to: u64| {
            (from..to).filter(|s| voice.may_speak(began + Duration::from_secs(*s)).is_some()).count()
        };
        assert_eq!(spoken(&mut voice, 0, 10), 5);
        assert_eq!(spoken(&mut voice, 10, 610), 10);
        // After a long rest it speaks at once again, and says what it held back.
        let late = began + Duration::from_secs(10_000);
        assert!(voice.may_speak(late).is_some_and(|held_back| held_back > 0));
        assert_eq!(voice.may_speak(late), Some(0));
    }
}

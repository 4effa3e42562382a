//! Values that must never be shown, and where they come from.
//!
//! Asks no store: whoever keeps [`StoredSecret`]s fresh does. Keeps true: no value is in a message or a `Debug`; [`SecretSource::load`]
//! holds no reactor up, whatever disk a file is on.

use std::{fmt, io, path::PathBuf, sync::Arc};

use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use crate::small_file::{SECRET_LIMIT, read_small_text};

/// A secret text. `Debug` and `Display` print `<secret>`; the memory is wiped when the last clone goes.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    /// Takes ownership of a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(SecretString::from(text.into())))
    }

    /// The secret itself; call it only where the bytes go on the wire or into a key.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A secret in a store (Secrets Manager, SSM, Vault), by its reference. Shared by all who use it; someone else keeps it fresh.
///
/// Two are equal when their references are: what is in them changes while they run.
pub struct StoredSecret {
    reference: String,
    state: RwLock<Stored>,
    doubt: RwLock<Option<Arc<Notify>>>,
}

#[derive(Default)]
struct Stored {
    value: Option<Secret>,
    version: u64,
    trouble: Option<String>,
}

impl StoredSecret {
    /// Nothing is read yet. `reference` is as written in the configuration; it names the secret and is none.
    pub fn new(reference: impl Into<String>) -> Self {
        Self { reference: reference.into(), state: RwLock::default(), doubt: RwLock::default() }
    }

    /// Whoever keeps it fresh is told here when its value is refused.
    pub fn tell_doubts(&self, to: Arc<Notify>) {
        *self.doubt.write() = Some(to);
    }

    /// A far end refused what was signed or sent with it: the store may have another by now.
    pub fn doubt(&self) {
        if let Some(keeper) = &*self.doubt.read() {
            keeper.notify_one();
        }
    }

    /// As written in the configuration, such as `vault://kv/agent#password`.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The newest value that was read. The error says why there is none.
    pub fn read(&self) -> io::Result<Secret> {
        let state = self.state.read();
        state.value.clone().ok_or_else(|| {
            let why = state.trouble.as_deref().unwrap_or("it is being asked for");
            io::Error::new(io::ErrorKind::NotFound, format!("the secret {} is not read yet: {why}", self.reference))
        })
    }

    /// 0 while nothing is read; higher with each new value.
    pub fn version(&self) -> u64 {
        self.state.read().version
    }

    /// A value was read. True when it is another than before.
    pub fn put(&self, value: Secret) -> bool {
        let mut state = self.state.write();
        state.trouble = None;
        if state.value.as_ref() == Some(&value) {
            return false;
        }
        state.value = Some(value);
        state.version += 1;
        true
    }

    /// Reading failed. What was read before stays in use.
    pub fn fail(&self, why: &str) {
        self.state.write().trouble = Some(why.to_owned());
    }
}

impl PartialEq for StoredSecret {
    fn eq(&self, other: &Self) -> bool {
        self.reference == other.reference
    }
}
impl Eq for StoredSecret {}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredSecret").field(&self.reference).finish()
    }
}

/// Where a secret comes from. Read again at each use, so that rotation needs no reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the configuration.
    Inline(Secret),
    /// A file whose content, less one trailing newline and surrounding blanks, is the secret.
    File(PathBuf),
    /// Kept in a store.
    Stored(Arc<StoredSecret>),
}

impl SecretSource {
    /// A far end refused it; see [`StoredSecret::doubt`].
    pub fn doubt(&self) {
        if let Self::Stored(stored) = self {
            stored.doubt();
        }
    }

    /// As [`Self::read`], with files read where waiting for a disk holds nobody up. Needs a tokio runtime.
    pub async fn load(&self) -> io::Result<Secret> {
        if !matches!(self, Self::File(_)) {
            return self.read();
        }
        let source = self.clone();
        match tokio::task::spawn_blocking(move || source.read()).await {
            Ok(read) => read,
            Err(_) => Err(io::Error::other("reading a secret file broke off")),
        }
    }

    /// Reads the secret now; a file makes the thread wait. Errors carry the path or the reference, never the content.
    pub fn read(&self) -> io::Result<Secret> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => read_small_text(path, SECRET_LIMIT)
                .map(|text| Secret::new(text.trim().to_owned()))
                .map_err(|e| io::Error::new(e.kind(), format!("reading secret file {}: {e}", path.display()))),
            Self::Stored(stored) => stored.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_beside_the_reactor_and_named_where_it_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let source = SecretSource::File(path.clone());
        let error = source.load().await.unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        std::fs::write(&path, "hunter2\n").unwrap();
        assert_eq!(source.load().await.unwrap().expose(), "hunter2");
    }

    #[test]
    fn a_stored_secret_keeps_its_last_value_and_says_why_there_is_none() {
        let stored = Arc::new(StoredSecret::new("vault://kv/agent#password"));
        let source = SecretSource::Stored(Arc::clone(&stored));
        let error = source.read().unwrap_err().to_string();
        assert!(error.contains("vault://kv/agent#password") && error.contains("being asked"), "{error}");
        stored.fail("vault is sealed");
        assert!(source.read().unwrap_err().to_string().contains("vault is sealed"));
        assert!(stored.put(Secret::new("one")));
        stored.fail("vault is gone");
        assert_eq!(source.read().unwrap().expose(), "one");
        assert!(!stored.put(Secret::new("one")) && stored.version() == 1);
        assert!(stored.put(Secret::new("two")) && stored.version() == 2);
        assert!(!format!("{source:?}").contains("two"));
        assert_eq!(*stored, StoredSecret::new("vault://kv/agent#password"), "equal by name");
    }
}

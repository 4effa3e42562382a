//! Values that must never be shown.

use std::{fmt, io, path::PathBuf, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

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

/// Where a secret comes from. Files are read again at each use, so that rotation needs no reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the configuration.
    Inline(Secret),
    /// A file whose content, less one trailing newline and surrounding blanks, is the secret.
    File(PathBuf),
}

impl SecretSource {
    /// Reads the secret now. Errors carry the path, never the content.
    pub fn read(&self) -> io::Result<Secret> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| Secret::new(text.trim().to_owned()))
                .map_err(|e| io::Error::new(e.kind(), format!("reading secret file {}: {e}", path.display()))),
        }
    }
}

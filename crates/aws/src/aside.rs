//! Work that waits for a disk, or computes for long, beside the reactor.
//!
//! Keeps true: a file on a disk that hangs holds up nobody but who needs it.

use std::path::Path;

use zeroize::Zeroizing;

/// Runs `work` on a thread that may wait; the error says that it broke off.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|_| "it broke off".to_owned())
}

/// A file's text, without blanks around it. The error is the system's, without the path.
pub(crate) async fn trimmed_text(path: &Path) -> Result<Zeroizing<String>, String> {
    let path = path.to_owned();
    let text = aside(move || std::fs::read_to_string(path).map(Zeroizing::new)).await?.map_err(|e| e.to_string())?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

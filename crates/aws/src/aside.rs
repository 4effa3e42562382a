//! Work beside others: what waits for a disk or computes for long, and what may break off.
//!
//! Keeps true: a file on a disk that hangs holds up nobody but who needs it, and a panic ends nobody's work but its own.

use std::{future::Future, path::Path};

use zeroize::Zeroizing;

/// Runs `work` on a thread that may wait; the error says that it broke off.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|_| "it broke off".to_owned())
}

/// Runs `work` in a task of its own, which ends with whoever waits for it. `None`: it panicked.
pub(crate) async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let mut task = tokio::task::JoinSet::new();
    task.spawn(work);
    task.join_next().await?.ok()
}

/// A file's text, without blanks around it. The error is the system's, without the path.
pub(crate) async fn trimmed_text(path: &Path) -> Result<Zeroizing<String>, String> {
    let path = path.to_owned();
    let text = aside(move || net::read_small_text(&path, net::SECRET_LIMIT)).await?.map_err(|e| e.to_string())?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_and_nobody_elses_end() {
        assert_eq!(apart(async { 7 }).await, Some(7));
        let role = "no role\n";
        let broken: Option<String> = apart(async move {
            let uri: http::Uri = format!("/{role}").parse().expect("an address");
            uri.to_string()
        })
        .await;
        assert_eq!(broken, None);
    }
}

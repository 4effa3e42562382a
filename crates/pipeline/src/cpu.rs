//! Keeps long computations and disk reads away from the threads that serve sockets.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` here; if `long` (more than about a millisecond, or a disk read) and the runtime has other threads, tells it
/// to move its other tasks to one of them first. Unlike `spawn_blocking` it needs no ownership of what `work` borrows and
/// cannot outlive its caller.
pub fn off_reactor<T>(long: bool, work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if long && handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::off_reactor;

    #[test]
    fn it_runs_without_a_runtime() {
        assert_eq!(off_reactor(true, || 1), 1);
    }

    #[tokio::test]
    async fn it_runs_where_there_is_one_thread_only() {
        assert_eq!(off_reactor(true, || 1), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_runs_where_there_are_several() {
        assert_eq!(tokio::spawn(async { off_reactor(true, || 1) }).await.unwrap(), 1);
    }
}
